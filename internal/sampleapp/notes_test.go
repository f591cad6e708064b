package sampleapp

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// The shelf has an end, however many come.
func TestShelf(t *testing.T) {
	t.Parallel()
	s := newShelf()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 300 {
				owner := fmt.Sprint(n, "-", i)
				s.add(owner, "x")
				s.ring(owner, 1)
				s.know(owner, "x")
			}
		})
	}
	wg.Wait()
	if len(s.notes) != maxOwners || len(s.owners) != maxOwners || len(s.rings) != maxOwners || len(s.names) != maxOwners {
		t.Errorf("%d, %d, %d and %d owners", len(s.notes), len(s.owners), len(s.rings), len(s.names))
	}
	s.add("visitor:a", "one")
	s.add("sub:b", "zero")
	s.move("visitor:a", "sub:b")
	s.move("visitor:a", "sub:b") // a second time brings nothing
	s.move("visitor:none", "sub:c")
	if got := s.of("sub:b"); !slices.Equal(got, []string{"zero", "one"}) || s.of("visitor:a") != nil || s.of("sub:c") != nil {
		t.Errorf("%v", got)
	}
}
