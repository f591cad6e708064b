package privilege

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRequirement_R79 holds the vectors of R79: roles that inherit, AND of members, OR within a member.
func TestRequirement_R79(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, parse(`user_role; site_user: user_role; expert: site_user; site_staff: expert; supervisor: user_role; explorer: user_role;
		site_admin: site_staff supervisor explorer; office: user_role; both: site_user office; admin`)...)
	for _, c := range []struct {
		role, requirement string
		want              bool
	}{
		{"site_user", `[]`, true},
		{"user_role", `["site_user"]`, false},
		{"site_user", `["site_user","office"]`, false},
		{"both", `["site_user","office"]`, true},
		{"site_user", `[["site_user","office"]]`, true},
		{"office", `[["site_user","office"]]`, true},
		{"user_role", `[["site_user","office"]]`, false},
		{"site_admin", `["supervisor","explorer","site_staff","expert"]`, true},
		{"site_staff", `["supervisor"]`, false},
		{"site_admin", `["office"]`, false}, // the wildcard that is none
		{"admin", `["site_user"]`, false},
		{"admin", `["admin"]`, true},
		{"both", `["office",["supervisor","site_user"]]`, true},
		{"office", `["office",["supervisor","site_user"]]`, false},
	} {
		r, err := ParseRequirementJSON([]byte(c.requirement), g.Has)
		if err != nil {
			t.Fatalf("%s: %v", c.requirement, err)
		}
		if got := r.Met(g.Closure(c.role)); got != c.want {
			t.Errorf("%s against %s: %v", c.role, c.requirement, got)
		}
	}
	if r := (Requirement{}); !r.Met(nil) || !r.Empty() {
		t.Error("the empty requirement refuses a visitor")
	}
}

func TestRequirement_R80(t *testing.T) {
	t.Parallel()
	known := func(n string) bool { return slices.Contains([]string{"a", "b", "c", "crm:editor"}, n) }
	for _, c := range []struct{ in, want string }{ // want: the error, or = and the text for people
		{`[]`, `=everybody`},
		{`["a"]`, `=a`},
		{`["a","b"]`, `=a and b`},
		{`[["a","b"]]`, `=a or b`},
		{`["a",["b","crm:editor"]]`, `=a and (b or crm:editor)`},
		{`[["a"],"b"]`, `=a and b`},
		{`[[]]`, `[0]: an empty list of alternatives, which nobody can meet`},
		{`[[["a"]]]`, `[0][0]: want the name of a privilege, not a list within a list of alternatives`},
		{`["a","d"]`, `[1]: unknown privilege "d"`},
		{`["a",["b","d"]]`, `[1][1]: unknown privilege "d"`},
		{`null`, `privilege: requirement: want a list, not null`},
		{`[null]`, `[0]: want the name of a privilege, not null`},
		{`[[null]]`, `[0][0]: want the name of a privilege, not null`},
		{`"a"`, `privilege: requirement: want a list, not a text`},
		{`{"a":1}`, `privilege: requirement: want a list, not a map`},
		{`[1]`, `[0]: want the name of a privilege, not a number`},
		{`[true]`, `[0]: want the name of a privilege, not true or false`},
		{`[{}]`, `[0]: want the name of a privilege, not a map`},
		{`["A"]`, `[0]: "A" is not a name; use a letter, then at most 49 of a-z 0-9 _ -`},
		{`["d",[],["e"]]`, "[0]: unknown privilege \"d\"\n[1]: an empty list of alternatives, which nobody can meet\n[2][0]: unknown privilege \"e\""},
		{`[] []`, `privilege: requirement: text after its end`},
	} {
		r, err := ParseRequirementJSON([]byte(c.in), known)
		got := "=" + r.String()
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
	if _, err := ParseRequirement([]any{"a", []string{"b", "c"}}, nil); err != nil {
		t.Errorf("a list of strings: %v", err)
	}
	if r, err := ParseRequirement(nil, known); err != nil || !r.Empty() {
		t.Errorf("none: %v", err)
	}
}

func TestRequirement_Names(t *testing.T) {
	t.Parallel()
	r, err := ParseRequirement([]any{"c", []any{"b", "c"}, "a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Names(), " "); got != "a b c" {
		t.Error(got)
	}
}

// TestHas_R72 is the any, the all and the mixed form.
func TestHas_R72(t *testing.T) {
	t.Parallel()
	effective := []string{"a", "c", "e"}
	for _, c := range []struct {
		names    string
		any, all bool
	}{{"", false, true}, {"a", true, true}, {"b", false, false}, {"a b", true, false}, {"e a", true, true}, {"b d", false, false}} {
		names := strings.Fields(c.names)
		if HasAny(effective, names...) != c.any || HasAll(effective, names...) != c.all {
			t.Errorf("%q: any %v, all %v", c.names, HasAny(effective, names...), HasAll(effective, names...))
		}
	}
	for text, want := range map[string]bool{`["a",["b","c"]]`: true, `["a",["b","d"]]`: false, `["b",["a","c"]]`: false} {
		r, err := ParseRequirementJSON([]byte(text), nil)
		if err != nil || r.Met(effective) != want {
			t.Errorf("%s: %v, %v", text, r.Met(effective), err)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	g := mustGraph(t, parse("user: basics; basics; admin: staff; staff: z helper; z: helper; helper: aid; aid; long: l1; l1: staff; crm:editor")...)
	src := func(p, text string) Source { return Source{Holding: Holding{Privilege: p}, Text: text} }
	over := src("helper", "once by Cem")
	over.Until = now
	hs := []Source{src("long", "by Ana"), src("admin", "by Bo"), over, src("gone", "by Di"), src("aid", "by Eve")}
	for _, c := range []struct {
		hs     []Source
		target string
		want   string
	}{
		{hs, "helper", "by Ana: long l1 staff helper; by Bo: admin staff helper"},
		{hs, "aid", "by Ana: long l1 staff helper aid; by Bo: admin staff helper aid; by Eve: aid"},
		{hs, "admin", "by Bo: admin"},
		{hs, "crm:editor", ""},
		{hs, "user", ""},
		{hs, "nothing", ""},
		{nil, "user", "default: user"},
		{nil, "basics", "default: user basics"},
		{nil, "aid", ""},
		{[]Source{over, src("gone", "")}, "user", "default: user"},
	} {
		var got []string
		for _, d := range g.Explain(c.hs, now, c.target) {
			from := d.Source.Text
			if d.Default {
				from = "default"
			}
			got = append(got, from+": "+strings.Join(d.Path, " "))
			if d.Direct() != (len(d.Path) == 1) {
				t.Error("Direct")
			}
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("why %s: %q, want %q", c.target, strings.Join(got, "; "), c.want)
		}
	}
	if d := mustGraph(t, parse("a")...).Explain(nil, now, "user"); len(d) != 1 || !d[0].Default {
		t.Errorf("user on a graph without it: %v", d)
	}
}

// TestExplain_AgreesWithEffective: what is effective has a reason, what is not has none.
func TestExplain_AgreesWithEffective(t *testing.T) {
	t.Parallel()
	r := newRand()
	now := time.Unix(1_800_000_000, 0)
	for range 200 {
		defs := randomDAG(r)
		g := mustGraph(t, defs...)
		var hs []Holding
		var sources []Source
		for range r.IntN(4) {
			h := Holding{Privilege: defs[r.IntN(len(defs))].Name}
			if r.IntN(3) == 0 {
				h.Until = now
			}
			hs = append(hs, h)
			sources = append(sources, Source{Holding: h})
		}
		effective := g.Effective(hs, now)
		for _, d := range defs {
			why := g.Explain(sources, now, d.Name)
			if HasAny(effective, d.Name) != (len(why) > 0) {
				t.Fatalf("%s: effective %v, reasons %v\n%v", d.Name, effective, why, defs)
			}
			for _, w := range why {
				for i := 1; i < len(w.Path); i++ {
					if !HasAny(g.Closure(w.Path[i-1]), w.Path[i]) {
						t.Fatalf("a step that is none: %v", w.Path)
					}
				}
			}
		}
	}
}

func FuzzParseRequirement(f *testing.F) {
	for _, s := range []string{`[]`, `[[]]`, `[[["a"]]]`, `null`, `["a",["b","c"]]`, `[null]`, `{"a":[]}`, `["a","a"]`, `[1e999]`, `[["crm:x"],"b"]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRequirementJSON(text, nil)
		if err != nil {
			if !r.Empty() || r.Names() != nil {
				t.Fatal("a requirement and an error")
			}
			return
		}
		var list []any
		if json.Unmarshal(text, &list) != nil || list == nil {
			t.Fatalf("%q is accepted and is no list", text)
		}
		if r.Empty() != (len(list) == 0) {
			t.Fatalf("%q lets everybody in", text)
		}
		if !r.Met(r.Names()) {
			t.Fatalf("%q cannot be met by all it names", text)
		}
		if !r.Empty() && r.Met(nil) {
			t.Fatalf("%q is met by nobody's nothing", text)
		}
	})
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(7, 8)) }
