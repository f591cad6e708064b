package store_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// listed walks a list to its end and returns the ids, in order.
func listed(t testing.TB, s *store.Store, q store.PeopleQuery, page int, between func(n int)) (ids []string) {
	t.Helper()
	for n, after := 0, ""; ; n++ {
		list, next, err := s.People(t.Context(), q, after, page)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			ids = append(ids, list[i].ID)
		}
		if next == "" {
			return ids
		}
		if n > 200 {
			t.Fatalf("%+v: the list has no end", q)
		}
		if between != nil {
			between(n)
		}
		after = next
	}
}

// TestPeople: each way to narrow a list, and pairs of them, against what the rows say; whatever the size of its pages, nobody is there twice.
func TestPeople(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		people := map[string]*store.User{}
		add := func(name string, u store.User) {
			t.Helper()
			must(t, s.CreateUser(ctx, &u))
			people[name] = &u
		}
		add("ada", store.User{GivenName: "Ada", FamilyName: "Lovelace-Adams", Email: "ada@example.com", Username: "ada", Phone: "+442079460018"})
		add("ärger", store.User{GivenName: "ÄRGER", FamilyName: "O'Brien", Email: "zoe@example.com"})
		add("bob", store.User{GivenName: "Bob", FamilyName: "Lovelace", Username: "bob_%"})
		add("off", store.User{GivenName: "Olaf", Email: "olaf@example.com"})
		add("waits", store.User{GivenName: "Wanda", DisabledAt: store.At(s.Now()), DisabledReason: store.DisabledWaiting})
		add("gone", store.User{GivenName: "Lovelace", Email: "gone@example.com"})
		must(t, s.DisableUser(ctx, "cli", people["off"].ID, "left"))
		must(t, s.EraseUser(ctx, "cli", people["gone"].ID))
		must(t, s.SetPassword(ctx, "cli", people["ada"].ID, "x", false, ""))
		must(t, s.AddFactor(ctx, &store.Credential{ID: "app", UserID: people["ada"].ID, Kind: store.CredTOTP, Secret: "x"}, true))
		must(t, s.CreateIdentity(ctx, "cli", &store.Identity{UserID: people["bob"].ID, Connector: "google", Issuer: "i", Subject: "1", Evidence: store.Strings{"test"}}))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: people["bob"].ID, Privilege: "trainer"}))
		must(t, s.CreatePrivilege(ctx, "cli", &store.Privilege{Name: "coach", Includes: []string{"trainer"}}))
		must(t, s.Assign(ctx, "cli", &store.Assignment{UserID: people["ada"].ID, Privilege: "coach"}))
		must(t, s.SetUserType(ctx, "cli", people["ada"].ID, "900"))
		must(t, s.TouchLogin(ctx, people["ada"].ID, s.Now()))
		all := "ada bob off waits ärger"
		for _, c := range []struct {
			q    store.PeopleQuery
			want string
		}{
			{store.PeopleQuery{}, all},
			{store.PeopleQuery{Text: "ADA"}, "ada"}, // by address, username and two words of the name, and once
			{store.PeopleQuery{Text: " ada@"}, "ada"},
			{store.PeopleQuery{Text: "adams"}, "ada"},
			{store.PeopleQuery{Text: "love"}, "ada bob"},
			{store.PeopleQuery{Text: "love bo"}, "bob"},
			{store.PeopleQuery{Text: "love x"}, ""},
			{store.PeopleQuery{Text: "ärg"}, "ärger"},
			{store.PeopleQuery{Text: "Är O'b"}, "ärger"},
			{store.PeopleQuery{Text: "+44 20 7946"}, "ada"},
			{store.PeopleQuery{Text: "bob_%"}, "bob"},
			{store.PeopleQuery{Text: "%"}, ""}, // no pattern of any database (R5)
			{store.PeopleQuery{Text: "_"}, ""},
			{store.PeopleQuery{Text: "' OR 1=1 --"}, ""},
			{store.PeopleQuery{Text: "- -"}, ""},
			{store.PeopleQuery{Text: people["bob"].ID}, "bob"},
			{store.PeopleQuery{Text: people["gone"].ID}, ""},
			{store.PeopleQuery{Text: "lovelace", State: store.StateActive}, "ada bob"},
			{store.PeopleQuery{State: store.StateActive}, "ada bob ärger"},
			{store.PeopleQuery{State: store.StateDisabled}, "off"},
			{store.PeopleQuery{State: store.StateWaiting}, "waits"},
			{store.PeopleQuery{State: store.StateNew}, "bob off waits ärger"},
			{store.PeopleQuery{Privilege: "trainer"}, "ada bob"},
			{store.PeopleQuery{Privilege: "coach"}, "ada"},
			{store.PeopleQuery{Privilege: "user"}, all[4:]},
			{store.PeopleQuery{Privilege: "nothing"}, ""},
			{store.PeopleQuery{Type: "900"}, "ada"},
			{store.PeopleQuery{Type: "100"}, "bob off waits ärger"},
			{store.PeopleQuery{Way: store.CredPassword}, "ada"},
			{store.PeopleQuery{Way: store.WayPhone}, "ada"},
			{store.PeopleQuery{Way: "google"}, "bob"},
			{store.PeopleQuery{Way: "oidc"}, ""},
			{store.PeopleQuery{Factor: store.FactorYes}, "ada"},
			{store.PeopleQuery{Factor: store.FactorNo}, "bob off waits ärger"},
			{store.PeopleQuery{Factor: store.FactorNo, Privilege: "trainer"}, "bob"},
			{store.PeopleQuery{Factor: store.FactorYes, State: store.StateDisabled}, ""},
			{store.PeopleQuery{Text: "love", Way: "google", Type: "100"}, "bob"},
		} {
			for _, page := range []int{1, 2, 50} {
				var names []string
				ids := listed(t, s, c.q, page, nil)
				for name, u := range people {
					if slices.Contains(ids, u.ID) {
						names = append(names, name)
					}
				}
				slices.Sort(names)
				if got := strings.Join(names, " "); got != c.want || len(ids) != len(names) {
					t.Errorf("%+v, pages of %d: %q, %d lines; want %q", c.q, page, got, len(ids), c.want)
				}
			}
		}
		list, _, err := s.People(ctx, store.PeopleQuery{Text: "ada"}, "", 10)
		must(t, err)
		if p := list[0]; !p.Factor || strings.Join(p.Ways, " ") != "password phone" || !slices.Contains(p.HeldNow(), "coach") {
			t.Errorf("what the list says of somebody: %+v", p)
		}
		// Another name is found at once, and the one before is not.
		bob := people["bob"]
		bob, err = s.User(ctx, bob.ID)
		must(t, err)
		bob.FamilyName = "Babbage"
		must(t, s.UpdateUser(ctx, bob))
		equal(t, len(listed(t, s, store.PeopleQuery{Text: "babb"}, 9, nil)), 1, "by the new name")
		equal(t, len(listed(t, s, store.PeopleQuery{Text: "love"}, 9, nil)), 1, "by the old name")
		// A place that somebody made up is a page of the same list, and nothing else.
		for _, after := range []string{"x", "eyJzIjo5OX0", "eyJzIjotMX0", "eyJrIjoiXHUwMDAwIn0", "bnVsbA", "' OR 1=1 --"} {
			if list, _, err := s.People(ctx, store.PeopleQuery{Text: "ada"}, after, 10); err != nil || len(list) > 1 {
				t.Errorf("%q: %d, %v", after, len(list), err)
			}
		}
	})
}

// TestPeople_PagedWhileAdded is R125's check: 250 people in pages, one more after each, and nobody twice or left out.
func TestPeople_PagedWhileAdded(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		n := 0
		add := func() string {
			u := store.User{GivenName: fmt.Sprintf("Person%03d", n), FamilyName: "Same", Username: fmt.Sprintf("p%03d", n)}
			n++
			must(t, s.CreateUser(t.Context(), &u))
			return u.ID
		}
		var want []string
		for range 250 {
			want = append(want, add())
		}
		for _, q := range []store.PeopleQuery{{}, {Text: "same"}, {Text: "p"}, {State: store.StateNew, Factor: store.FactorNo}} {
			ids := listed(t, s, q, 100, func(int) { add() })
			seen := map[string]bool{}
			for _, id := range ids {
				if seen[id] {
					t.Errorf("%+v: %s twice", q, id)
				}
				seen[id] = true
			}
			for _, id := range want {
				if !seen[id] {
					t.Errorf("%+v: %s is in no page", q, id)
				}
			}
		}
	})
}

// TestPeople_AnyCollation: a database sorts as its operator's language does, where "ch" is one letter that comes after "h" and "aa" the last of all; people
// are found by what their names begin with all the same.
func TestPeople_AnyCollation(t *testing.T) {
	t.Parallel()
	for _, locale := range []string{"cs", "da"} {
		base := storetest.URL(t, store.Postgres)
		at, err := url.Parse(base)
		must(t, err)
		name := strings.TrimPrefix(at.Path, "/") + "_" + locale
		db := behind(t, store.Postgres, base)
		run(t, db, `CREATE DATABASE `+name+` TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE '`+locale+`'`)
		t.Cleanup(func() {
			if _, err := db.Exec(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
				t.Error(err)
			}
		})
		at.Path = "/" + name
		s := storetest.OpenWith(t, store.Postgres, store.Config{URL: at.String()})
		must(t, s.Migrate(t.Context()))
		for _, who := range []string{"chleba", "aage", "c-d", "c.e"} {
			u := store.User{GivenName: who, Email: who + "@example.com", Username: who}
			must(t, s.CreateUser(t.Context(), &u))
			for n := 1; n <= len(who); n++ {
				if ids := listed(t, s, store.PeopleQuery{Text: who[:n]}, 10, nil); !slices.Contains(ids, u.ID) {
					t.Errorf("%s: nobody is found by %q", locale, who[:n])
				}
			}
		}
	}
}
