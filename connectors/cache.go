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

// get returns the document, at most an hour old unless the upstream is down.
func (c *cached[T]) get(ctx context.Context) (T, error) {
	c.mu.Lock()
	now := c.now()
	if within(now, c.at, freshFor) || c.err != nil && c.running == nil && within(now, c.tried, pauseAfter) {
		defer c.mu.Unlock()
		return c.result(now)
	}
	return c.wait(ctx)
}

// renew fetches the document again, at most once a minute however often it is asked, and returns the newest.
func (c *cached[T]) renew(ctx context.Context) (T, error) {
	c.mu.Lock()
	now := c.now()
	if c.running == nil && within(now, c.renewed, renewEvery) {
		defer c.mu.Unlock()
		return c.result(now)
	}
	if c.running == nil {
		c.renewed = now
	}
	return c.wait(ctx)
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

// wait joins the fetch that runs, or begins one. c.mu is held on entry and released.
func (c *cached[T]) wait(ctx context.Context) (T, error) {
	var zero T
	running := c.running
	if running == nil {
		running = make(chan struct{})
		c.running = running
		// Not bound to the request that happens to be first: others wait for it too.
		go c.fetch(context.WithoutCancel(ctx), running)
	}
	c.mu.Unlock()
	select {
	case <-ctx.Done():
		return zero, &Error{Kind: Upstream, Err: fmt.Errorf("waiting for the upstream: %w", ctx.Err())}
	case <-running:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.result(c.now())
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
