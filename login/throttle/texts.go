package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// Texts are the operator's numbers for text messages, which cost money (security.md F11). Sums are in millionths.
type Texts struct {
	Gap                                                                   time.Duration // between two messages to one number
	NumberHour, NumberDay, PrefixDay, AddressHour, ClientHour, CountryDay int64
	Unanswered                                                            int64 // messages of a prefix after which one code in five must have come back
	Price                                                                 func(country string) int64
	PerDay, Alarm, Newcomers                                              int64 // sums of a day; Newcomers 0 = nothing goes to numbers nobody has
}

// Answered: of the messages to a prefix one in so many must come back.
const Answered = 5

// Text is one message somebody asks for.
type Text struct {
	Number, Prefix, Country, Client string // Client "" = no application
	IP                              netip.Addr
	Nobody                          bool // the number is nobody's: it is served from a share of its own
	Notice                          bool // it holds no code that could come back
	Empty                           bool // nothing will be sent: it counts against number, address, prefix and client all the same (security.md F8)
}

// Allowance is the answer.
type Allowance struct {
	Limit string        // which one is reached: number, address, client, prefix, country, money; "" = none
	Wait  time.Duration // until it is not, with Limit
	Empty bool          // nothing may be sent, and nobody is to notice
	Alarm bool          // this message takes the day over the alarm
	Spent int64         // of the day
}

// Keys of the counters an operator looks at. Those of numbers and addresses are HMACs.
const (
	KeyPrefix   = "sms:prefix:"
	KeyCountry  = "sms:country:"
	KeyDay      = "sms:day"
	KeyNewcomer = "sms:new"
)

// Allow says whether a message may be sent, and counts it. It belongs into the Tx that enqueues the message; with a Limit the caller must roll
// back. All processes and restarts share the counters.
func (l *Limiter) Allow(ctx context.Context, n Texts, t Text) (Allowance, error) {
	const hour, day = time.Hour, 24 * time.Hour
	cost := n.Price(t.Country)
	var a Allowance
	// Those who have an account are not to pay for an attack by those who have none. Whose share is used up sees what everybody sees, and all are
	// asked for it, so that the time does not tell.
	over, err := l.store.Reserve(ctx, []store.Budget{{Key: KeyNewcomer, Window: day, MaxSpent: max(n.Newcomers, 1), Cost: cost, Free: !t.Nobody || t.Empty}})
	if err != nil {
		return a, fmt.Errorf("throttle: %w", err)
	}
	a.Empty = t.Empty || t.Nobody && over != nil
	client := t.Client
	if client == "" {
		client = "none"
	}
	unanswered := n.Unanswered
	if t.Notice { // nobody answers it
		unanswered = 0
	}
	list := []store.Budget{
		{Key: KeyDay, Window: day, MaxSpent: n.PerDay, Cost: cost, Free: a.Empty},
		{Key: KeyCountry + t.Country, Window: day, Max: n.CountryDay, Free: a.Empty},
		{Key: KeyPrefix + t.Prefix, Window: day, Max: n.PrefixDay, Floor: unanswered, Share: Answered},
		{Key: l.mac("sms-gap", t.Number), Window: n.Gap, Max: 1},
		{Key: l.mac("sms-hour", t.Number), Window: hour, Max: n.NumberHour},
		{Key: l.mac("sms-day", t.Number), Window: day, Max: n.NumberDay},
		{Key: l.mac("sms-from", network(t.IP)), Window: hour, Max: n.AddressHour},
		{Key: l.mac("sms-client", client), Window: hour, Max: n.ClientHour},
	}
	limits := map[string]string{}
	for i, name := range []string{"money", "country", "prefix", "number", "number", "number", "address", "client"} {
		limits[list[i].Key] = name
	}
	over, err = l.store.Reserve(ctx, list)
	switch {
	case err != nil:
		return a, fmt.Errorf("throttle: %w", err)
	case over != nil:
		if limits[over.Key] == "" {
			return a, errors.New("throttle: a budget nobody asked for")
		}
		a.Limit, a.Wait = limits[over.Key], max(over.ExpiresAt.Sub(l.now()), time.Second)
		return a, nil
	}
	a.Spent = list[0].Spent
	a.Alarm = !a.Empty && a.Spent >= n.Alarm && a.Spent-cost < n.Alarm
	return a, nil
}

// CameBack notes that a code sent to a number was entered: its neighbours are asked for by people.
func (l *Limiter) CameBack(ctx context.Context, prefix string) error {
	if err := l.store.CameBack(ctx, KeyPrefix+prefix); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	return nil
}
