package throttle

import (
	"context"
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
	Device                          string // as in Attempt: a browser that signed in with the number before has a lane of its own
	Nobody                          bool   // the number is nobody's: it is served from a share of its own, and with its neighbours in view
	Empty                           bool   // nothing will be sent: it counts against number and address all the same (security.md F8)
}

// Allowance is the answer.
type Allowance struct {
	Limit string        // which one is reached: number, address, client, country, money; "" = none
	Wait  time.Duration // until it is not, with Limit
	Empty bool          // nothing may be sent, and nobody who asks is to notice
	Why   string        // of Empty where something was to be sent: prefix, share
	Alarm bool          // the day is over the alarm
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
//
// What could be used up by asking for numbers nobody has is kept from those who have an account: the prefix and a share of the money count
// newcomers only, and beyond them nothing is sent, in silence. What counts everybody's asking, number and address, cannot tell who has an account.
func (l *Limiter) Allow(ctx context.Context, n Texts, t Text) (Allowance, error) {
	const hour, day = time.Hour, 24 * time.Hour
	cost := n.Price(t.Country)
	var a Allowance
	// All are asked, so that the time does not tell.
	newcomer := t.Nobody && !t.Empty
	shares := []store.Budget{
		{Key: KeyPrefix + t.Prefix, Window: day, Max: n.PrefixDay, Floor: n.Unanswered, Share: Answered},
		{Key: KeyNewcomer, Window: day, MaxSpent: max(n.Newcomers, 1), Cost: cost},
	}
	for i, why := range []string{"prefix", "share"} {
		shares[i].Free = !newcomer || a.Empty
		over, err := l.store.Reserve(ctx, shares[i:i+1])
		if err != nil {
			return a, fmt.Errorf("throttle: %w", err)
		}
		if newcomer && over != nil && !a.Empty {
			a.Empty, a.Why = true, why
		}
	}
	a.Empty = a.Empty || t.Empty
	lane := ""
	if t.Device != "" {
		known, err := l.store.Marked(ctx, l.keys(Attempt{Account: codeOf + t.Number, IP: t.IP, Device: t.Device}).known)
		if err != nil {
			return a, fmt.Errorf("throttle: %w", err)
		}
		if known { // whoever asks for the owner's number elsewhere does not keep them from a code
			lane = t.Device
		}
	}
	list := []store.Budget{
		{Key: KeyDay, Window: day, MaxSpent: n.PerDay, Cost: cost, Free: a.Empty},
		{Key: KeyCountry + t.Country, Window: day, Max: n.CountryDay, Free: a.Empty},
		{Key: l.mac("sms-client", t.Client), Window: hour, Max: n.ClientHour, Free: a.Empty},
		{Key: l.mac("sms-from", network(t.IP)), Window: hour, Max: n.AddressHour},
		{Key: l.mac("sms-gap", t.Number, lane), Window: n.Gap, Max: 1},
		{Key: l.mac("sms-hour", t.Number, lane), Window: hour, Max: n.NumberHour},
		{Key: l.mac("sms-day", t.Number, lane), Window: day, Max: n.NumberDay},
	}
	limits := map[string]string{}
	for i, name := range []string{"money", "country", "client", "address", "number", "number", "number"} {
		limits[list[i].Key] = name
	}
	over, err := l.store.Reserve(ctx, list)
	switch {
	case err != nil:
		return a, fmt.Errorf("throttle: %w", err)
	case over != nil:
		a.Limit, a.Wait = limits[over.Key], max(over.ExpiresAt.Sub(l.now()), time.Second)
		return a, nil
	}
	a.Spent = list[0].Spent
	a.Alarm = !a.Empty && a.Spent >= n.Alarm
	return a, nil
}

// codeOf and a number are the Account of tries at the codes sent to it.
const codeOf = "code:"

// CodeTry is a try at a code that was sent to a number.
func CodeTry(number string, ip netip.Addr, device string) Attempt {
	return Attempt{Account: codeOf + number, IP: ip, Device: device}
}

// CameBack notes that the code of a message to a newcomer was entered: the numbers around are asked for by people.
func (l *Limiter) CameBack(ctx context.Context, prefix string) error {
	if err := l.store.CameBack(ctx, KeyPrefix+prefix); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	return nil
}
