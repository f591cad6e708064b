package store

import (
	"context"
	"time"
)

// Rows that several processes share expire by one clock: the database's. No query asks it; instead each process measures how far its own
// clock is off, when it opens the database and every minute, and reckons with that (security.md J6). On SQLite there is one machine and
// one clock.

// clockSlack is below what a measurement over a network can tell, and below what matters.
const clockSlack = 500 * time.Millisecond

const databaseClock = `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`

// Clock is the time all processes of this database agree on, not cut.
func (s *Store) Clock() time.Time { return s.ownClock().Add(time.Duration(s.offset.Load())) }

// measureClock compares this process's clock with the database's.
func (s *Store) measureClock(ctx context.Context) error {
	if s.Engine() != Postgres || s.conf.KeepClock {
		return nil
	}
	before := s.ownClock()
	ms, _, err := value[int64](ctx, s, databaseClock)
	if err != nil {
		return err
	}
	trip := s.ownClock().Sub(before)
	off := time.UnixMilli(ms).Sub(before.Add(trip / 2))
	if off.Abs() <= clockSlack+trip/2 {
		off = 0
	}
	if old := time.Duration(s.offset.Swap(int64(off))); (off - old).Abs() > clockSlack {
		s.log.WarnContext(ctx, "this machine's clock differs from the database's, which is reckoned with; keep them in step", "off", off)
	}
	return nil
}
