package store

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxCached bounds the clients kept, and apart from them the ids known to be nobody's, which strangers choose.
const maxCached = 4096

// cache keeps what every request needs and nobody changes often. All of it goes at any change: this process's own at once, another's when
// Watch sees the change counter move.
type cache struct {
	mu      sync.RWMutex
	round   uint64 // raised by every drop: what was read before one is not kept after it
	clients map[string]*Client
	misses  map[string]struct{}
	model   *Model
	seen    int64 // the change counter as far as it is known
	onDrop  []func()
}

// CachedClient is Client from memory; misses are kept too. The value is shared: READ ONLY. It is stale for at most a second after a
// change by another process, while Watch runs.
func (s *Store) CachedClient(ctx context.Context, id string) (*Client, error) {
	if s.inTx(ctx) != nil {
		return s.Client(ctx, id)
	}
	c := &s.cache
	c.mu.RLock()
	hit, known := c.clients[id]
	_, miss := c.misses[id]
	round := c.round
	c.mu.RUnlock()
	switch {
	case known:
		return hit, nil
	case miss:
		return nil, errNoClient
	}
	v, err := s.Client(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.round != round {
		return v, err
	}
	if err != nil {
		put(&c.misses, id, struct{}{})
	} else {
		put(&c.clients, id, v)
	}
	return v, err
}

var errNoClient = errNotFound("client")

// put adds to a bounded map; when it is full any one entry goes.
func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	if len(*m) >= maxCached {
		for k := range *m {
			delete(*m, k)
			break
		}
	}
	(*m)[key] = v
}

// OnChange registers f, called when this or another process changed clients, privileges or keys, after the commit and not under a lock.
func (s *Store) OnChange(f func()) {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	s.cache.onDrop = append(s.cache.onDrop, f)
}

// drop forgets everything. seen is the change counter this is about; next says that it may only be the one after the last known, as
// otherwise another process changed something too, which Watch must still see.
func (c *cache) drop(seen int64, next bool) []func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.round++
	c.clients, c.misses, c.model = nil, nil, nil
	if !next || seen == c.seen+1 {
		c.seen = seen
	}
	return append([]func(){}, c.onDrop...)
}

const (
	raiseChanges = `UPDATE counters SET n = n + 1 WHERE name = 'changes' RETURNING n`
	readChanges  = `SELECT n FROM counters WHERE name = 'changes'`
)

// changed tells every process, after the commit, that cached things changed. It belongs into the change's Tx.
func (s *Store) changed(ctx context.Context) error {
	var n int64
	var ok bool
	if _, err := s.write(ctx, raiseChanges, nil, single(&n, &ok)); err != nil {
		return err
	}
	s.onCommit(ctx, func() {
		for _, f := range s.cache.drop(n, true) {
			f()
		}
		s.wantSnapshot()
	})
	return nil
}

func (s *Store) changeCounter(ctx context.Context) (int64, error) {
	n, ok, err := value[int64](ctx, s, readChanges)
	if err == nil && !ok {
		err = errNotFound("change counter")
	}
	return n, err
}

// Watch keeps the caches fresh (change counter every second) until ctx ends, and the snapshot of the definitions. While the counter cannot be read
// nothing is trusted for longer than that second.
func (s *Store) Watch(ctx context.Context) {
	ctx = context.WithValue(ctx, upkeepKey{}, true)
	s.wantSnapshot()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.keepSnapshots(ctx) }) // apart, as the caches do not wait for a write
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	down := false
	for round := 1; ; round++ {
		if round%60 == 0 { // once a minute
			if err := s.measureClock(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "the database's clock was not read", "err", err)
			}
		}
		n, err := s.changeCounter(ctx)
		if ctx.Err() != nil {
			return
		}
		c := &s.cache
		c.mu.RLock()
		seen := c.seen
		c.mu.RUnlock()
		switch {
		case err != nil:
			if !down {
				s.log.WarnContext(ctx, "change counter not read: cached clients and privileges are dropped", "err", err)
			}
			down = true
			c.drop(seen, false)
		case n != seen:
			for _, f := range c.drop(n, false) {
				f()
			}
			s.wantSnapshot() // whoever made the change may be gone: a command
			down = false
		default:
			down = false
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
