package server_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

// withRights has a user type, permissions and a rule of delegation of its own.
func withRights(base *config.Config) *config.Config {
	c := *base
	c.Privileges = map[string]config.Privilege{"helper": {}, "staff": {Includes: []string{"helper"}}}
	c.UserTypes = []config.UserType{{Value: "300", Names: []string{"helpdesk"}, Text: "Help desk", Privilege: "staff"}}
	c.Permissions = map[string][]string{"staff": {"invite_user"}}
	c.Delegations = []config.Delegation{{Holder: "staff", Confer: []string{"helper"}}}
	return &c
}

// inForce is what a server goes by, in a line.
func inForce(t *testing.T, st *store.Store) string {
	t.Helper()
	m, err := st.Model(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, u := range m.Types {
		parts = append(parts, u.Value+"="+u.Privilege)
	}
	for _, p := range []string{"staff", "trainer"} {
		for _, perm := range m.Powers.Of([]string{p}) {
			parts = append(parts, p+" may "+string(perm))
		}
	}
	for _, d := range m.Delegations {
		parts = append(parts, d.Holder+" gives "+strings.Join(d.Confer, "+"))
	}
	if m.Graph.Has("fresh") {
		parts = append(parts, "fresh")
	}
	return strings.Join(parts, ", ")
}

const (
	rightsOfFile = "000=, 100=user, 300=staff, 900=admin, staff may invite_user, staff gives helper"
	rightsOfNone = "000=, 100=user, 900=admin"
)

// TestReload_Rights: user types, permissions and rules of delegation are set together or not at all, and a type that people have does not vanish (R90).
func TestReload_Rights(t *testing.T) {
	t.Parallel()
	base := testConfig(t)
	full := withRights(base)
	next := make(chan *config.Config, 1)
	hup := make(chan os.Signal, 1)
	r := start(t, full, server.Options{Reload: hup, Load: func() (*config.Config, error) { return <-next, nil }})
	reload := func(c *config.Config) { next <- c; hup <- syscall.SIGHUP }
	if got := inForce(t, r.Store()); got != rightsOfFile {
		t.Fatalf("at the start: %s", got)
	}
	ana := &store.User{Username: "ana"}
	must(t, r.Store().CreateUser(t.Context(), ana))
	must(t, r.Store().SetUserType(t.Context(), "cli", ana.ID, "300"))

	without := *base
	without.Privileges = map[string]config.Privilege{"fresh": {}}
	without.Permissions = map[string][]string{"trainer": {"view_audit"}}
	reload(&without)
	eventually(t, "the type is named", func() bool {
		return r.log.has("user_types: the type 300 is not there any more, and 1 person has it; give them another one first (latchkey user set-type)")
	})
	if got := inForce(t, r.Store()); got != rightsOfFile {
		t.Errorf("after a refused reload: %s", got)
	}
	// A start is refused the same way, as a mistake in the configuration.
	if s, err := server.New(&without, server.Options{Logger: discard}); !errors.As(err, new(*config.Error)) || !strings.Contains(err.Error(), "the type 300") {
		t.Errorf("a start without the type: %v", err)
		if err == nil {
			_ = s.Close()
		}
	}
	must(t, r.Store().SetUserType(t.Context(), "cli", ana.ID, "100"))
	reload(&without)
	eventually(t, "it is applied", func() bool { return inForce(t, r.Store()) == rightsOfNone+", trainer may view_audit, fresh" })
	if !r.log.has("applied=\"[privileges user_types permissions delegations]\"") {
		t.Errorf("the log does not name what was applied: %s", r.log)
	}

	// The last administrator's type cannot lose what it brings.
	root := &store.User{Username: "root"}
	must(t, r.Store().CreateUser(t.Context(), root))
	must(t, r.Store().SetPassword(t.Context(), "cli", root.ID, "$argon2id$", false, ""))
	must(t, r.Store().SetUserType(t.Context(), "cli", root.ID, "900"))
	weak := without
	weak.UserTypes = []config.UserType{{Value: "900", Names: []string{"admin"}, Text: "Administrator", Privilege: "trainer"}}
	reload(&weak)
	eventually(t, "the administrators are named", func() bool { return r.log.has("user_types: nobody could administer Latchkey afterwards") })
	if got := inForce(t, r.Store()); got != rightsOfNone+", trainer may view_audit, fresh" {
		t.Errorf("after a refused reload: %s", got)
	}
	whole(t, r.Store())
}

// TestReload_RightsOfTwoProcesses: two servers on one database reload the same file at once. It is written once, and both go by it.
func TestReload_RightsOfTwoProcesses(t *testing.T) {
	t.Parallel()
	base := testConfig(t)
	full := withRights(base)
	var servers []*running
	for range 2 {
		servers = append(servers, start(t, base, server.Options{Load: func() (*config.Config, error) { return full, nil }}))
	}
	entries := func() (out []string) {
		list, err := servers[0].Store().AuditEntries(t.Context(), 0, 1000)
		must(t, err)
		for _, e := range list {
			out = append(out, e.Action+" "+e.Target)
		}
		return out
	}
	var wg sync.WaitGroup
	errs := make([]error, len(servers))
	for i, s := range servers {
		wg.Go(func() { errs[i] = s.Reload(context.Background()) })
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	for i, s := range servers {
		eventually(t, "both go by it", func() bool { return inForce(t, s.Store()) == rightsOfFile })
		_ = i
	}
	for _, want := range []string{"user_type.set user_type:300", "permissions.set permissions", "delegations.set delegations", "privilege.create privilege:staff"} {
		n := 0
		for _, e := range entries() {
			if e == want {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%q is written %d times: %v", want, n, entries())
		}
	}
	// What one process changes, the other knows at the latest a second later: somebody's type, a permission.
	ana := &store.User{Username: "ana"}
	must(t, servers[0].Store().CreateUser(t.Context(), ana))
	must(t, servers[0].Store().SetUserType(t.Context(), "cli", ana.ID, "300"))
	must(t, servers[0].Store().SetPowers(t.Context(), "system", map[string][]string{"staff": {"invite_user", "view_audit"}}))
	may := func(s *running, p privilege.Permission) bool {
		m, err := s.Store().Model(t.Context())
		must(t, err)
		l, err := s.Store().Live(t.Context(), ana.ID)
		must(t, err)
		return m.May(l, store.At(s.Store().Now()), p)
	}
	eventually(t, "the other knows", func() bool { return may(servers[1], privilege.ViewAudit) })
	// While somebody has it, neither can take the type away.
	if err := servers[1].Reload(context.Background()); err != nil {
		t.Errorf("the same file again: %v", err)
	}
	before := len(entries())
	if i := slices.Index(entries(), "permissions.set permissions"); i < 0 || may(servers[0], privilege.ViewAudit) {
		t.Error("the file's permissions are not back")
	}
	must(t, servers[0].Reload(context.Background()))
	if n := len(entries()); n != before {
		t.Errorf("a reload of the same file wrote %d entries", n-before)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func whole(t *testing.T, st *store.Store) {
	t.Helper()
	if n, broken, err := st.VerifyAudit(t.Context()); err != nil || broken != 0 || n == 0 {
		t.Errorf("audit: %d entries, broken at %d: %v", n, broken, err)
	}
}
