package privilege

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors of Allowed, beside those of CanAssign.
var (
	// ErrSelf says that the change is about the actor (R12, R97).
	ErrSelf = errors.New("privilege: nobody changes what they may do themselves")
	// ErrProtected says that the person holds something the actor lacks (R96).
	ErrProtected = errors.New("privilege: the person holds more")
	// ErrNoPower says that the actor lacks the permission to pass anything on.
	ErrNoPower = errors.New("privilege: the permission is missing")
	// ErrOutside says that no rule of delegation lets the actor give this to this person.
	ErrOutside = errors.New("privilege: outside of what was delegated")
	// ErrTemporary says that the actor holds it only for a while, and would give it without an end.
	ErrTemporary = errors.New("privilege: held for a while, given for good")
)

// Delegation narrows what holders of a privilege may pass on: what, and to whom. Without any that names something they hold, it is whatever
// they hold, to anybody who is not protected.
type Delegation struct {
	Holder string      // whoever holds this
	Confer []string    // may pass on these, with what they include
	People Requirement // to people who meet this, before the change
}

// Actor is who changes something.
type Actor struct {
	Operator    bool     // whoever runs the server: everything but cron
	Effective   []string // sorted closure, before the change
	MayPass     bool     // holds the permission for this kind of change
	Delegations []Delegation
}

// Effect is what a change does to one person: their sorted effective closures.
type Effect struct {
	Self          bool // the person is the actor
	Before, After []string
	// Moved is what is given or taken whatever the person holds besides: giving for good what somebody holds until Friday changes no closure
	// today.
	Moved []string
	// Power says that the change is power over the person even where nothing is gained or lost: a user type also says who may change nothing.
	Power bool
}

// Diff returns what is gained and lost, sorted.
func (e Effect) Diff() (gained, lost []string) {
	return missing(e.After, e.Before), missing(e.Before, e.After)
}

// missing is what list has and other has not; both are sorted.
func missing(list, other []string) (out []string) {
	for _, n := range list {
		if !holds(other, n) {
			out = append(out, n)
		}
	}
	return out
}

// Allowed is the gate over effects (security.md G1, G2): whatever a change is made of (an assignment, a user type, what a privilege includes),
// what it does to each person must be what the actor could have given or taken away one by one. nil = yes; else an error that is ErrCron,
// ErrSelf, ErrNoPower, ErrProtected, ErrNotHeld or ErrOutside.
//
// It is the graph before the change: to know what delegations include.
func (g *Graph) Allowed(a Actor, e Effect) error {
	gained, lost := e.Diff()
	changed := merge(append(gained, lost...), e.Moved)
	if len(changed) == 0 && !e.Power {
		return nil
	}
	if holds(e.After, Cron) || holds(e.Moved, Cron) {
		return ErrCron
	}
	if a.Operator {
		return nil
	}
	if e.Self {
		return ErrSelf
	}
	if !a.MayPass {
		return ErrNoPower
	}
	if holds(a.Effective, Admin) {
		return nil
	}
	if n := Lacks(a.Effective, e.Before); n != "" {
		return fmt.Errorf("%w: %s", ErrProtected, n)
	}
	for _, n := range changed {
		if n != User && !holds(a.Effective, n) {
			return fmt.Errorf("%w: %s", ErrNotHeld, n)
		}
	}
	rules := slices.DeleteFunc(slices.Clone(a.Delegations), func(d Delegation) bool { return !holds(a.Effective, d.Holder) })
	if len(rules) == 0 {
		return nil
	}
	var may []string
	theirs := false // one of the people that were delegated
	for _, d := range rules {
		if d.People.Met(e.Before) {
			may, theirs = append(may, d.Confer...), true
		}
	}
	if !theirs {
		return ErrOutside
	}
	within := g.Closure(may...)
	for _, n := range changed {
		if n != User && !holds(within, n) {
			return fmt.Errorf("%w: %s", ErrOutside, n)
		}
	}
	return nil
}

// Lacks is the first privilege of a person that an actor does not hold, "" when there is none: power over somebody's account is power to be
// them (R96). A holder of admin lacks nothing. Both are sorted effective closures.
func Lacks(actor, person []string) string {
	if holds(actor, Admin) {
		return ""
	}
	for _, n := range person {
		if n != User && !holds(actor, n) {
			return n
		}
	}
	return ""
}

// Radius is what a change would do, over everybody it touches.
type Radius struct {
	People       int // who gain or lose anything
	Gain, Lose   int // of them
	Gained, Lost []string
}

// Add counts an effect on n people.
func (r *Radius) Add(e Effect, n int) {
	gained, lost := e.Diff()
	if len(gained)+len(lost) == 0 || n == 0 {
		return
	}
	r.People += n
	if len(gained) > 0 {
		r.Gain += n
		r.Gained = merge(r.Gained, gained)
	}
	if len(lost) > 0 {
		r.Lose += n
		r.Lost = merge(r.Lost, lost)
	}
}

func merge(a, b []string) []string {
	a = append(slices.Clip(a), b...)
	slices.Sort(a)
	return slices.Compact(a)
}

// String is one line for a person: "37 people gain developer, staff; 2 people lose admin".
func (r Radius) String() string {
	var parts []string
	if r.Gain > 0 {
		parts = append(parts, people(r.Gain, "gain")+strings.Join(r.Gained, ", "))
	}
	if r.Lose > 0 {
		parts = append(parts, people(r.Lose, "lose")+strings.Join(r.Lost, ", "))
	}
	if len(parts) == 0 {
		return "nobody gains or loses anything"
	}
	return strings.Join(parts, "; ")
}

func people(n int, do string) string {
	if n == 1 {
		return "1 person " + do + "s "
	}
	return fmt.Sprintf("%d people %s ", n, do)
}
