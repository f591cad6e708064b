package connectors

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How long what an upstream publishes is kept.
const (
	freshFor   = time.Hour        // then it is fetched again
	staleFor   = 24 * time.Hour   // and serves this long while the upstream is down
	pauseAfter = 5 * time.Second  // after a failure nobody asks
	renewEvery = time.Minute      // how often an unknown key may make us fetch again
	fetchLimit = requestTimeout   // one fetch, whoever waits for it
	patience   = 2 * time.Second  // waiting for it with a copy at hand
	tokenSkew  = 60 * time.Second // how far ahead an upstream's clock may be
)

// cached is one document of an upstream: fetched when it is first needed, by one caller for all who wait, and kept. An upstream that is down
// costs at most one request every few seconds, and nothing at all while the copy at hand still serves.
type cached[T any] struct {
	load func(ctx context.Context) (T, error)
	now  func() time.Time

	mu      sync.Mutex
	value   T
	at      time.Time // when value was fetched, zero = never
	err     error     // of the last fetch
	tried   time.Time // when that ended
	renewed time.Time // when renew last began a fetch
	running chan struct{}
}

func within(now, since time.Time, d time.Duration) bool {
	age := now.Sub(since)
	return !since.IsZero() && age >= 0 && age < d // a clock that was set back makes nothing last longer
}

// get returns the document, at most an hour old unless the upstream is down or slow.
func (c *cached[T]) get(ctx context.Context) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if within(now, c.at, freshFor) || c.err != nil && c.running == nil && within(now, c.tried, pauseAfter) {
		return c.result(now)
	}
	var enough <-chan time.Time
	if within(now, c.at, staleFor) { // one that stalls must not hold up those whom the copy serves
		if c.begin(ctx); c.err != nil && within(now, c.tried, renewEvery) {
			return c.result(now) // it was down a moment ago
		}
		t := time.NewTimer(patience)
		defer t.Stop()
		enough = t.C
	}
	if err := c.wait(ctx, enough); err != nil {
		var zero T
		return zero, err
	}
	return c.result(c.now())
}

// renew fetches the document again, at most once a minute however often it is asked, and returns the newest. What could not be fetched is
// an error, whatever copy there is: that one was not enough.
func (c *cached[T]) renew(ctx context.Context) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var zero T
	if now := c.now(); c.running != nil || !within(now, c.renewed, renewEvery) {
		if c.running == nil {
			c.renewed = now
		}
		if err := c.wait(ctx, nil); err != nil {
			return zero, err
		}
	}
	if c.err != nil {
		return zero, c.err
	}
	return c.result(c.now())
}

// result is what there is: a value that may be stale, else the last error. c.mu is held.
func (c *cached[T]) result(now time.Time) (T, error) {
	var zero T
	switch {
	case within(now, c.at, staleFor):
		return c.value, nil
	case c.err != nil:
		return zero, c.err
	}
	return zero, fail(Upstream, "nothing could be fetched")
}

// begin returns the fetch that runs, which it begins if none does. c.mu is held.
func (c *cached[T]) begin(ctx context.Context) chan struct{} {
	if c.running == nil {
		c.running = make(chan struct{})
		// Not bound to the request that happens to be first: others wait for it too.
		go c.fetch(context.WithoutCancel(ctx), c.running)
	}
	return c.running
}

// wait waits for a fetch, until it was enough. c.mu is held, and released meanwhile.
func (c *cached[T]) wait(ctx context.Context, enough <-chan time.Time) error {
	running := c.begin(ctx)
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-ctx.Done():
		return &Error{Kind: Upstream, Err: fmt.Errorf("waiting for the upstream: %w", ctx.Err())}
	case <-enough:
	case <-running:
	}
	return nil
}

func (c *cached[T]) fetch(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	var v T
	err := error(fail(Upstream, "the answer could not be read"))
	defer func() {
		// A parser that panics on a hostile answer must not take the process with it: this goroutine has no other guard.
		if r := recover(); r != nil {
			err = fail(Upstream, "the answer could not be read: %v", r)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err, c.tried, c.running = err, c.now(), nil
		if err == nil {
			c.value, c.at = v, c.tried
		}
		close(done)
	}()
	v, err = c.load(ctx)
}
