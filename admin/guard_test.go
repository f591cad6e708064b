package admin

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// The Guard answers from what the person of the request holds at that moment; nobody, and whoever acts for another, may do nothing.
func TestGuard(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	var log bytes.Buffer
	g := NewGuard(s, slog.New(slog.NewTextHandler(&log, nil)))
	person := func(name string, privileges ...string) *store.Live {
		t.Helper()
		u := store.User{Username: name}
		if err := s.CreateUser(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
		for _, p := range privileges {
			if err := s.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: p}); err != nil {
				t.Fatal(err)
			}
		}
		l, err := s.Live(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	boss, advocate, ada := person("bea", "admin"), person("vera", "advocate"), person("ada")
	of := func(l, represented *store.Live) context.Context {
		return session.With(t.Context(), &session.Session{Live: l, For: represented})
	}
	requires, err := privilege.ParseRequirement([]any{"staff"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := privilege.NewRules(map[string]privilege.Requirement{"explain": requires})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		ctx   context.Context
		rules privilege.Rules
		may   []string
	}{
		{"nobody", t.Context(), privilege.Rules{}, nil},
		{"an administrator", of(boss, nil), privilege.Rules{}, []string{"users.view", "users.export", "users.create", "users.edit", "users.status", "users.password", "users.delete", "users.sessions", "users.end_sessions", "users.history", "users.privileges", "users.act_as", "users.authorities", "users.reset_factors", "invites.view", "invites.create", "invites.decide", "requests.view", "requests.decide", "privileges.view", "privileges.edit", "explain.view"}},
		{"without what a section requires", of(boss, nil), rules, []string{"users.view", "users.export", "users.create", "users.edit", "users.status", "users.password", "users.delete", "users.sessions", "users.end_sessions", "users.history", "users.privileges", "users.act_as", "users.authorities", "users.reset_factors", "invites.view", "invites.create", "invites.decide", "requests.view", "requests.decide", "privileges.view", "privileges.edit"}},
		{"an administrator who acts for another", of(boss, ada), privilege.Rules{}, nil},
		{"somebody acting for an administrator", of(ada, boss), privilege.Rules{}, nil},
		{"an advocate", of(advocate, nil), privilege.Rules{}, []string{"users.view", "users.export", "users.sessions"}},
		{"anybody", of(ada, nil), privilege.Rules{}, nil},
	} {
		g.Set(Rules{Requires: c.rules})
		for _, a := range privilege.Actions() {
			want := slices.Contains(c.may, a.Name)
			can, err := g.Can(c.ctx, a.Name)
			if err != nil || can != want {
				t.Errorf("%s, %s: shown %v %v", c.name, a.Name, can, err)
			}
			err = g.Authorize(c.ctx, a.Name)
			var e *web.Error
			if want != (err == nil) || !want && (!errors.As(err, &e) || e.Status != http.StatusForbidden || e.Code != "not_permitted") {
				t.Errorf("%s, %s: %v", c.name, a.Name, err)
			}
		}
		if any, err := g.Any(c.ctx); err != nil || any != (c.may != nil) {
			t.Errorf("%s: any page %v %v", c.name, any, err)
		}
	}
	if log.Len() != 0 {
		t.Errorf("logged without a flag: %s", log.String())
	}

	// Each check of a flagged action and question is one line.
	g.Set(Rules{Requires: rules, Debug: func(action, question string) bool { return action == "explain.view" && question == QuestionRun }})
	for _, ask := range []func(){
		func() { _ = g.Authorize(of(boss, nil), "explain.view") },
		func() { _ = g.Authorize(of(boss, nil), "users.view") },
		func() { _, _ = g.Can(of(boss, nil), "explain.view") },
	} {
		ask()
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "unmet=staff") || !strings.Contains(text, "user="+boss.User.ID) || strings.Contains(text, "bea") {
		t.Errorf("logged: %s", text)
	}
}

// What is kept is one line that people can read.
func TestUnfit(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"": "", "Ä <b>": "", "äääää": "", "ääääää": "admin.error_long", "a\x00": "admin.error_characters", "a\nb": "admin.error_characters", "\xff": "admin.error_characters",
		strings.Repeat("\xff", 9): "admin.error_characters"} {
		fields := map[string]string{}
		unfit(fields, "x", value, 5)
		if fields["x"] != want {
			t.Errorf("%q: %q, want %q", value, fields["x"], want)
		}
	}
	for in, want := range map[string]string{" ada ": "ada", "a\x00b": "a\ufffdb", "\xff": "\ufffd", strings.Repeat("ä", 300): strings.Repeat("ä", searchSize)} {
		if got := searchable(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
