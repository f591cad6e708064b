package throttle

import (
	"math"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// rule is one counter and what it costs.
type rule struct {
	key     string
	window  time.Duration // idle for so long, it is forgotten
	reserve bool          // counted before the try, so that the bound is exact; else after a failure
	delay   func(n int64) time.Duration
}

const lock = 15 * time.Minute

// rules of an attempt. A known device has a lane of its own: nothing that happens elsewhere slows it down (security.md F6).
func (k keys) rules(known bool) []rule {
	const day = 24 * time.Hour
	if known {
		return []rule{{k.device, day, true, laneDelay}}
	}
	return []rule{
		{k.pair, day, true, laneDelay},
		{k.account, day, true, accountDelay},
		{k.network, time.Hour, false, networkDelay},
	}
}

// laneDelay: one account from one network, or from one known device. Five tries are free, then 1, 2, 4, 8, 16 s, and from the tenth
// failure on 15 minutes.
func laneDelay(n int64) time.Duration {
	switch {
	case n < 5:
		return 0
	case n >= 10:
		return lock
	}
	return time.Second << (n - 5)
}

// accountDelay: one account from everywhere at once. It grows slowly, because the owner may be among those who try: free up to 30
// tries, 15 minutes from the hundredth on, which is where SP 800-63B-4 §3.2.2 wants an end to it.
func accountDelay(n int64) time.Duration { return grow(n, 30, 100) }

// networkDelay: one network, all accounts (stuffing). Many honest people may share it.
func networkDelay(n int64) time.Duration { return grow(n, 100, 200) }

// grow is nothing below from, doubles steadily from one second, and is the lock at to.
func grow(n, from, to int64) time.Duration {
	switch {
	case n < from:
		return 0
	case n >= to:
		return lock
	}
	part := float64(n-from) / float64(to-from)
	return time.Duration(float64(time.Second) * math.Pow(lock.Seconds(), part))
}

// decide is pure: how long until every counter is content.
func decide(rules []rule, counters map[string]store.Throttle, now time.Time) time.Duration {
	wait := time.Duration(0)
	for _, r := range rules {
		c, ok := counters[r.key]
		if !ok {
			continue
		}
		since := now.Sub(c.LastAt.Time)
		if since < 0 {
			since = 0 // a clock that went back must not make anybody wait longer than the delay
		}
		wait = max(wait, r.delay(c.N)-since)
	}
	return wait
}
