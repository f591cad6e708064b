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

// limits are the operator's numbers; everything else follows from them.
type limits struct {
	delayAfter, lockAfter int64
	lock                  time.Duration
}

// rules of an attempt. A known device has a lane of its own: nothing that happens elsewhere slows it down (security.md F6).
func (n limits) rules(k keys, known bool) []rule {
	const day = 24 * time.Hour
	if known {
		return []rule{{k.device, day, true, n.lane}}
	}
	return []rule{
		{k.pair, day, true, n.lane},
		{k.account, day, true, n.account},
		{k.network, time.Hour, false, n.network},
	}
}

// lane: one account from one network, or from one known device. By default five tries are free, then 1, 2, 4, 8, 16 s, and from the tenth
// failure on 15 minutes.
func (n limits) lane(tries int64) time.Duration {
	switch {
	case tries < n.delayAfter:
		return 0
	case tries >= n.lockAfter || tries-n.delayAfter > 20:
		return n.lock
	}
	return min(time.Second<<(tries-n.delayAfter), n.lock)
}

// account: one account from everywhere at once. It grows slowly, because the owner may be among those who try: by default free up to 10
// tries, the lock from the hundredth on, which is where SP 800-63B-4 §3.2.2 wants an end to it.
func (n limits) account(tries int64) time.Duration {
	return n.grow(tries, 2*n.delayAfter, min(10*n.lockAfter, 100))
}

// network: one network, all accounts (stuffing). Many honest people may share it: by default 100 free, the lock from the 200th on.
func (n limits) network(tries int64) time.Duration {
	return n.grow(tries, 20*n.delayAfter, 20*n.lockAfter)
}

// grow is nothing below from, rises steadily from one second, and is the lock at to.
func (n limits) grow(tries, from, to int64) time.Duration {
	switch {
	case tries < from:
		return 0
	case tries >= to:
		return n.lock
	}
	part := float64(tries-from) / float64(to-from)
	return time.Duration(float64(time.Second) * math.Pow(n.lock.Seconds(), part))
}

// messageTo: one address, from everywhere. Five are free, as somebody who mistypes or waits needs them; then the waits double from a minute to
// an hour, so that nobody's mailbox can be filled, and nobody be kept from a code for longer.
func messageTo(sent int64) time.Duration {
	if sent < 5 {
		return 0
	}
	return min(time.Minute<<min(sent-5, 10), time.Hour)
}

// messageFrom: one network, to all addresses: the network is asking us to write to strangers.
func messageFrom(sent int64) time.Duration {
	if sent < 50 {
		return 0
	}
	return min(time.Second<<min(sent-50, 20), time.Hour)
}

// factorWindow and factorMost: ten tries at a person's second factors an hour, whichever factors and from wherever (security.md F10). Only who has shown
// the first factor can use them up.
const (
	factorWindow = time.Hour
	factorMost   = 10
)

func factorTries(n int64) time.Duration {
	if n < factorMost {
		return 0
	}
	return factorWindow
}

// challengeWindow and challengeFree: each view of a sign-in page asks for a challenge, and many honest people may share a network. A burst is free; then
// it is one a second until a minute was quiet. Who gets none signs in by another way.
const (
	challengeWindow = time.Minute
	challengeFree   = 300
)

func challenges(n int64) time.Duration {
	if n < challengeFree {
		return 0
	}
	return time.Second
}

// askWindow and askMost: ten requests of one person, then none for a day. Each is a mail to several people.
const (
	askWindow = 24 * time.Hour
	askMost   = 10
)

func asked(n int64) time.Duration {
	if n < askMost {
		return 0
	}
	return askWindow
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
