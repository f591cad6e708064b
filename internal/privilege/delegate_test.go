package privilege

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestAllowed(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, append(builtIns(), parse("lead: staff helper; staff: helper; helper; boss: admin; crm:editor; trainee")...)...)
	lead := Actor{Effective: g.Closure("lead"), MayPass: true}
	c := func(names ...string) []string { return g.Closure(names...) }
	rule := func(confer []string, people ...any) Delegation {
		r, err := ParseRequirement(people, nil)
		if err != nil {
			t.Fatal(err)
		}
		return Delegation{Holder: "lead", Confer: confer, People: r}
	}
	narrowed := lead
	narrowed.Delegations = []Delegation{rule([]string{"helper"}), rule([]string{"staff"}, "helper")}
	foreign := lead
	foreign.Delegations = []Delegation{{Holder: "boss", Confer: []string{"admin"}}}
	admin := Actor{Effective: c("admin", "user"), MayPass: true}
	for name, k := range map[string]struct {
		actor         Actor
		self          bool
		before, after []string
		want          error
	}{
		"nothing changes":                      {Actor{}, true, c("admin"), c("admin"), nil},
		"gives what is held":                   {lead, false, c("user"), c("user", "staff"), nil},
		"takes what is held":                   {lead, false, c("staff"), c("user"), nil},
		"gives more":                           {lead, false, c("user"), c("customer"), ErrNotHeld},
		"gives what includes more":             {lead, false, c("user"), c("boss"), ErrNotHeld},
		"takes from the protected":             {lead, false, c("staff", "admin"), c("admin"), ErrProtected},
		"gives to the protected":               {lead, false, c("customer"), c("customer", "helper"), ErrProtected},
		"to oneself":                           {lead, true, c("lead"), c("lead", "staff", "user"), ErrSelf},
		"from oneself":                         {lead, true, c("lead"), c("user"), ErrSelf},
		"an administrator to himself":          {admin, true, c("admin"), c("admin", "crm:editor"), ErrSelf},
		"without the permission":               {Actor{Effective: lead.Effective}, false, c("user"), c("helper"), ErrNoPower},
		"an administrator without it":          {Actor{Effective: c("admin")}, false, c("user"), c("helper"), ErrNoPower},
		"an administrator":                     {admin, false, c("boss", "crm:editor"), c("user"), nil},
		"an administrator gives a client role": {admin, false, c("user"), c("crm:editor"), nil},
		"cron by an administrator":             {admin, false, c("user"), c("cron"), ErrCron},
		"cron by the operator":                 {Actor{Operator: true}, false, c("user"), c("cron"), ErrCron},
		"the operator":                         {Actor{Operator: true}, false, c("user"), c("boss"), nil},
		"a rule lets":                          {narrowed, false, c("user"), c("helper"), nil},
		"a rule stops":                         {narrowed, false, c("user"), c("staff"), ErrOutside},
		"a rule for those people":              {narrowed, false, c("helper"), c("staff"), nil},
		"a rule stops taking":                  {narrowed, false, c("lead"), c("user"), ErrOutside},
		"a rule of something not held":         {foreign, false, c("user"), c("staff"), nil},
		"and it gives nothing":                 {foreign, false, c("user"), c("admin"), ErrNotHeld},
	} {
		if err := g.Allowed(k.actor, Effect{Self: k.self, Before: k.before, After: k.after}); !errors.Is(err, k.want) || (err == nil) != (k.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, k.want)
		}
	}
}

func TestRadius(t *testing.T) {
	t.Parallel()
	var r Radius
	if r.String() != "nobody gains or loses anything" {
		t.Error(r)
	}
	r.Add(Effect{Before: []string{"a"}, After: []string{"a", "b"}}, 36)
	r.Add(Effect{Before: []string{"a"}, After: []string{"a", "c"}}, 1)
	r.Add(Effect{Before: []string{"a", "z"}, After: []string{"a"}}, 1)
	r.Add(Effect{Before: []string{"a"}, After: []string{"a"}}, 1000)
	if r.String() != "37 people gain b, c; 1 person loses z" || r.People != 38 {
		t.Error(r)
	}
}

// world is a random installation for the model test.
type world struct {
	r      *rand.Rand
	defs   []Def
	people [][]string // what each was assigned
	power  []bool     // who may pass on and edit
	rules  []Delegation
}

func newWorld(r *rand.Rand) *world {
	w := &world{r: r, defs: append(builtIns(), Def{Name: "crm:editor"})}
	for i := range 2 + r.IntN(10) {
		d := Def{Name: fmt.Sprintf("p%d", i)}
		for range r.IntN(3) {
			if other := w.defs[r.IntN(len(w.defs))].Name; other != Cron && !slices.Contains(d.Includes, other) {
				d.Includes = append(d.Includes, other)
			}
		}
		w.defs = append(w.defs, d)
	}
	for range 3 + r.IntN(5) {
		var hs []string
		for range r.IntN(3) {
			if name := w.pick(); name != Cron {
				hs = append(hs, name)
			}
		}
		w.people, w.power = append(w.people, hs), append(w.power, r.IntN(2) == 0)
	}
	for range r.IntN(3) {
		d := Delegation{Holder: w.pick(), Confer: []string{w.pick()}}
		if r.IntN(2) == 0 {
			d.People, _ = ParseRequirement([]any{w.pick()}, nil)
		}
		w.rules = append(w.rules, d)
	}
	return w
}

func (w *world) pick() string { return w.defs[w.r.IntN(len(w.defs))].Name }

// edit is a change on paper: definitions and assignments after it, and the person whose user type it sets, else -1. ok is false for one that makes no
// sense.
func (w *world) edit() (defs []Def, people [][]string, typed int, ok bool) {
	defs, people = slices.Clone(w.defs), slices.Clone(w.people)
	i, j := w.r.IntN(len(people)), w.r.IntN(len(defs))
	typed = -1
	switch w.r.IntN(5) {
	case 0: // assign
		if slices.Contains(people[i], defs[j].Name) {
			return nil, nil, -1, false
		}
		people[i] = append(slices.Clone(people[i]), defs[j].Name)
	case 1: // take away
		if len(people[i]) == 0 {
			return nil, nil, -1, false
		}
		k := w.r.IntN(len(people[i]))
		people[i] = slices.Delete(slices.Clone(people[i]), k, k+1)
	case 2: // include
		defs[j].Includes = append(slices.Clone(defs[j].Includes), w.pick())
	case 3: // exclude
		if len(defs[j].Includes) == 0 {
			return nil, nil, -1, false
		}
		k := w.r.IntN(len(defs[j].Includes))
		defs[j].Includes = slices.Delete(slices.Clone(defs[j].Includes), k, k+1)
	case 4: // a type that brings nothing, or another than the one before it
		typed = i
		if j%2 == 0 {
			people[i] = []string{defs[j].Name}
		}
	}
	return defs, people, typed, true
}

// The oracle: the same rules once more, in the plainest way, sharing nothing with the engine but the definitions.

type set map[string]bool

func oracleHolds(defs []Def, assigned []string) set {
	s := set{}
	var visit func(string)
	visit = func(n string) {
		if s[n] {
			return
		}
		s[n] = true
		for _, d := range defs {
			if d.Name == n {
				for _, i := range d.Includes {
					visit(i)
				}
			}
		}
	}
	for _, n := range assigned {
		visit(n)
	}
	if len(assigned) == 0 {
		visit(User)
	}
	return s
}

// oracleAllows says whether actor may bring the world from before to after, where typed gets another user type.
func oracleAllows(w *world, defs []Def, people [][]string, actor, typed int) bool {
	mine := oracleHolds(w.defs, w.people[actor])
	for p := range people {
		before, after := oracleHolds(w.defs, w.people[p]), oracleHolds(defs, people[p])
		diff := set{}
		for n := range before {
			if !after[n] {
				diff[n] = true
			}
		}
		for n := range after {
			if !before[n] {
				if n == Cron {
					return false
				}
				diff[n] = true
			}
		}
		if len(diff) == 0 && p != typed {
			continue
		}
		if p == actor || !w.power[actor] {
			return false
		}
		if mine[Admin] {
			continue
		}
		for n := range before {
			if n != User && !mine[n] {
				return false
			}
		}
		ruled, theirs, within := false, false, set{User: true}
		for _, d := range w.rules {
			if !mine[d.Holder] {
				continue
			}
			ruled = true
			fits := true
			for _, n := range d.People.Names() {
				fits = fits && before[n]
			}
			if fits {
				theirs = true
				for n := range oracleHolds(w.defs, d.Confer) {
					within[n] = true
				}
			}
		}
		if ruled && !theirs {
			return false
		}
		for n := range diff {
			if n != User && !mine[n] || ruled && !within[n] {
				return false
			}
		}
	}
	return true
}

// TestSec_G1_Model: random installations, actors and edits of every kind. The engine decides as the oracle, and whatever is let through,
// nobody ever gains what no authorised other person could have conferred.
func TestSec_G1_Model(t *testing.T) {
	t.Parallel()
	rounds := 1500
	if raceEnabled || testing.Short() {
		rounds = 300
	}
	done, refused := 0, 0
	for seed := range uint64(rounds) {
		w := newWorld(rand.New(rand.NewPCG(seed, 7)))
		if _, err := NewGraph(w.defs); err != nil {
			continue
		}
		// What the powerful hold at first bounds what anybody else may ever gain.
		source := make([]set, len(w.people))
		for p := range w.people {
			source[p] = oracleHolds(w.defs, w.people[p])
			for q := range w.people {
				if held := oracleHolds(w.defs, w.people[q]); q != p && w.power[q] {
					for n := range held {
						source[p][n] = true
					}
					if held[Admin] {
						for _, d := range w.defs {
							source[p][d.Name] = true
						}
					}
				}
			}
		}
		for range 60 {
			defs, people, typed, ok := w.edit()
			if !ok {
				continue
			}
			after, err := NewGraph(defs)
			if err != nil {
				continue // a cycle, cron, a client's role within admin
			}
			before, err := NewGraph(w.defs)
			if err != nil {
				t.Fatal(err)
			}
			actor := w.r.IntN(len(people))
			a := Actor{Effective: before.effectiveOf(w.people[actor]), MayPass: w.power[actor], Delegations: w.rules}
			var refusal error
			for p := range people {
				if err := before.Allowed(a, Effect{Self: p == actor, Before: before.effectiveOf(w.people[p]), After: after.effectiveOf(people[p]), Power: p == typed}); err != nil {
					refusal = err
					break
				}
			}
			if want := oracleAllows(w, defs, people, actor, typed); (refusal == nil) != want {
				t.Fatalf("seed %d: the engine says %v, the oracle %v", seed, refusal, want)
			}
			if refusal != nil {
				refused++
				continue
			}
			done++
			w.defs, w.people = defs, people
			for p := range people {
				for n := range oracleHolds(defs, people[p]) {
					if n != User && !source[p][n] && !gainable(w, source, p, n) {
						t.Fatalf("seed %d: person %d holds %s, which nobody could have given them", seed, p, n)
					}
				}
			}
		}
	}
	if done < rounds || refused < rounds {
		t.Errorf("%d edits went through and %d were refused: too few to prove anything", done, refused)
	}
}

// gainable: somebody powerful gained it themselves meanwhile, from another who could give it.
func gainable(w *world, source []set, p int, n string) bool {
	for q := range w.people {
		if q != p && w.power[q] && (source[q][n] || source[q][Admin]) {
			return true
		}
	}
	return false
}

func (g *Graph) effectiveOf(assigned []string) []string {
	hs := make([]Holding, len(assigned))
	for i, n := range assigned {
		hs[i].Privilege = n
	}
	return g.Effective(hs, at(0))
}

func at(hours int) time.Time { return time.Date(2026, 5, 1, hours, 0, 0, 0, time.UTC) }

func TestNextEndAndHeldUntil(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, append(builtIns(), parse("lead: staff; staff: helper; helper")...)...)
	h := func(name string, from, until int) Holding {
		x := Holding{Privilege: name}
		if from > 0 {
			x.From = at(from)
		}
		if until > 0 {
			x.Until = at(until)
		}
		return x
	}
	for name, c := range map[string]struct {
		hs        []Holding
		next      int // 0 = never
		held      string
		heldUntil int // 0 = no end, -1 = not held
	}{
		"nothing":                         {nil, 0, "staff", -1},
		"for good":                        {[]Holding{h("lead", 0, 0)}, 0, "helper", 0},
		"for a while":                     {[]Holding{h("lead", 0, 9)}, 9, "helper", 9},
		"the longer of two":               {[]Holding{h("lead", 0, 9), h("staff", 0, 12)}, 9, "staff", 12},
		"one that changes nothing":        {[]Holding{h("lead", 0, 9), h("staff", 0, 7)}, 9, "staff", 9},
		"one for good beside it":          {[]Holding{h("staff", 0, 7), h("staff", 0, 0)}, 0, "staff", 0},
		"over":                            {[]Holding{h("staff", 0, 4)}, 0, "staff", -1},
		"not yet":                         {[]Holding{h("staff", 6, 9)}, 0, "staff", -1},
		"what comes cannot be waited for": {[]Holding{h("staff", 0, 7), h("staff", 6, 9)}, 7, "staff", 7},
		"unknown":                         {[]Holding{h("nobody", 0, 7)}, 0, "nobody", -1},
	} {
		next := g.NextEnd(c.hs, at(5))
		if (c.next == 0) != next.IsZero() || c.next > 0 && !next.Equal(at(c.next)) {
			t.Errorf("%s: next end %v", name, next)
		}
		until, ok := g.HeldUntil(c.hs, at(5), c.held)
		if ok != (c.heldUntil >= 0) || ok && (c.heldUntil == 0) != until.IsZero() || c.heldUntil > 0 && !until.Equal(at(c.heldUntil)) {
			t.Errorf("%s: held until %v %v", name, until, ok)
		}
	}
	if until, ok := g.HeldUntil([]Holding{h("lead", 0, 9), h("customer", 0, 6)}, at(5), "helper", "customer"); !ok || !until.Equal(at(6)) {
		t.Errorf("of two: %v %v", until, ok)
	}
}

// TestAllowed_Moved: what is given for good to somebody who holds it for a while is given all the same.
func TestAllowed_Moved(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, append(builtIns(), parse("staff: helper; helper")...)...)
	e := Effect{Before: g.Closure("staff", "user"), After: g.Closure("staff", "user"), Moved: g.Closure("staff")}
	if err := g.Allowed(Actor{Effective: g.Closure("helper"), MayPass: true}, e); !errors.Is(err, ErrProtected) {
		t.Error(err)
	}
	if err := g.Allowed(Actor{Effective: g.Closure("staff"), MayPass: true}, e); err != nil {
		t.Error(err)
	}
	if err := g.Allowed(Actor{Effective: g.Closure("staff")}, e); !errors.Is(err, ErrNoPower) {
		t.Error(err)
	}
	if err := g.Allowed(Actor{Operator: true}, Effect{Moved: []string{Cron}}); !errors.Is(err, ErrCron) {
		t.Error(err)
	}
}

// TestAllowed_Power: a change that moves nothing, and is power over the person all the same.
func TestAllowed_Power(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, append(builtIns(), parse("staff: helper; helper")...)...)
	staff := Actor{Effective: g.Closure("staff"), MayPass: true}
	helpers, err := ParseRequirement([]any{"helper"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	narrowed := staff
	narrowed.Delegations = []Delegation{{Holder: "staff", Confer: []string{"helper"}, People: helpers}}
	for name, c := range map[string]struct {
		actor Actor
		self  bool
		holds []string
		want  error
	}{
		"somebody's":                     {staff, false, []string{"helper"}, nil},
		"one's own":                      {staff, true, []string{"staff"}, ErrSelf},
		"an administrator's own":         {Actor{Effective: []string{Admin}, MayPass: true}, true, []string{Admin}, ErrSelf},
		"without the permission":         {Actor{Effective: g.Closure("staff")}, false, []string{"user"}, ErrNoPower},
		"of who holds more":              {staff, false, []string{Admin}, ErrProtected},
		"of one of the people of a rule": {narrowed, false, []string{"helper"}, nil},
		"of another":                     {narrowed, false, []string{"user"}, ErrOutside},
		"the operator":                   {Actor{Operator: true}, false, []string{Admin}, nil},
	} {
		if err := g.Allowed(c.actor, Effect{Self: c.self, Before: c.holds, After: c.holds, Power: true}); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
