package connectors

import (
	"slices"
	"sync"
	"time"
)

// lru keeps the most recently used values, each for a time: what names its keys is sent to us, and memory must not grow with it.
type lru[T any] struct {
	limit int
	ttl   time.Duration
	now   func() time.Time

	mu      sync.Mutex
	entries []lruEntry[T] // most recently used last; few enough to walk
}

type lruEntry[T any] struct {
	key   string
	value T
	made  time.Time
}

func newLRU[T any](limit int, ttl time.Duration, now func() time.Time) *lru[T] {
	return &lru[T]{limit: limit, ttl: ttl, now: now}
}

// get returns the value for key, made by create when there is none or it is too old.
func (l *lru[T]) get(key string, create func() T) T {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	e := lruEntry[T]{key: key, made: now}
	if i := slices.IndexFunc(l.entries, func(e lruEntry[T]) bool { return e.key == key }); i >= 0 {
		old := l.entries[i]
		l.entries = slices.Delete(l.entries, i, i+1)
		if within(now, old.made, l.ttl) {
			e = old
			l.entries = append(l.entries, e)
			return e.value
		}
	}
	e.value = create()
	if len(l.entries) >= l.limit {
		l.entries = slices.Delete(l.entries, 0, len(l.entries)-l.limit+1)
	}
	l.entries = append(l.entries, e)
	return e.value
}

func (l *lru[T]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}
