package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// Where a client's truth is.
const (
	SourceConfig = "config" // the configuration file; changes made elsewhere are refused, because the next start would undo them
	SourceAdmin  = "admin"  // the database
)

// actorSystem is who the audit log names for what follows from the configuration file.
const actorSystem = "system"

// syncClients makes the database agree with the file. A client that left the file is disabled and not deleted: its consents and its
// history stay, and putting it back is enough to undo a mistake. Nothing is written where nothing changed, so that starting
// ten processes leaves one line in the audit log.
func syncClients(ctx context.Context, st *store.Store, master provider.MasterKeys, file []fileClient) error {
	have, err := allClients(ctx, st)
	if err != nil {
		return err
	}
	if err := checkFileClients(ctx, st, file, have); err != nil {
		return err
	}
	named := map[string]bool{}
	for _, f := range file {
		named[f.id] = true
		if err := syncClient(ctx, st, master, f, have[f.id]); err != nil {
			return fmt.Errorf("server: client %s: %w", f.id, err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(have)) {
		if c := have[id]; c.Source == SourceConfig && !named[id] && c.DisabledAt.IsZero() {
			if err := st.SetClientDisabled(ctx, actorSystem, id, true); err != nil {
				return fmt.Errorf("server: client %s left the file: %w", id, err)
			}
		}
	}
	return nil
}

// allClients by id.
func allClients(ctx context.Context, st *store.Store) (map[string]*store.Client, error) {
	have := map[string]*store.Client{}
	for after := ""; ; {
		page, err := st.Clients(ctx, after, 500)
		if err != nil {
			return nil, fmt.Errorf("server: read clients: %w", err)
		}
		if len(page) == 0 {
			return have, nil
		}
		after = page[len(page)-1].ID
		for i := range page {
			have[page[i].ID] = &page[i]
		}
	}
}

// checkFileClients says everything that is wrong before anything is written.
func checkFileClients(ctx context.Context, st *store.Store, file []fileClient, have map[string]*store.Client) error {
	rows, err := st.Privileges(ctx)
	if err != nil {
		return fmt.Errorf("server: read privileges: %w", err)
	}
	known := map[string]bool{}
	for _, p := range rows {
		known[p.Name] = true
	}
	uris := map[string][]string{}
	for id, c := range have {
		uris[id] = c.Metadata.RedirectURIs
	}
	for _, f := range file {
		uris[f.id] = f.meta.RedirectURIs
	}
	var bad config.Error
	for i, f := range file {
		add := func(text string) {
			bad.Problems = append(bad.Problems, config.Problem{Path: fmt.Sprintf("clients[%d]", i), Text: f.id + ": " + text})
		}
		if c := have[f.id]; c != nil && c.Source != SourceConfig {
			add("was also registered in the database; remove it there (latchkey client remove) or here")
		}
		if err := sharedScheme(f.id, f.meta.RedirectURIs, uris); err != nil {
			add(err.Error())
		}
		if err := CheckClient(f.id, f.meta, func(name string) bool { return known[name] }); err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				add(line)
			}
		}
	}
	if len(bad.Problems) > 0 {
		return &bad
	}
	return nil
}

func syncClient(ctx context.Context, st *store.Store, master provider.MasterKeys, f fileClient, c *store.Client) error {
	if c == nil {
		c = &store.Client{ID: f.id, Source: SourceConfig, Metadata: f.meta}
		kept := f.kept(master, c)
		c.SecretHash, c.SecretSealed = kept.Hash, kept.Sealed
		if err := st.CreateClient(ctx, actorSystem, c); err != nil {
			return err
		}
	} else if err := bringUpToDate(ctx, st, c, f.meta, f.kept(master, c)); err != nil {
		return err
	}
	if f.disabled != !c.DisabledAt.IsZero() {
		return st.SetClientDisabled(ctx, actorSystem, f.id, f.disabled)
	}
	return nil
}

// kept is how the file's secret is kept in the row c: as it is there already, if that is the same secret. Sealed anew at each start it would look
// like a change.
func (f fileClient) kept(master provider.MasterKeys, c *store.Client) store.ClientSecret {
	if f.secret == "" {
		return store.ClientSecret{Hash: f.secretHash}
	}
	kept := master.ClientSecret(f.id, f.meta.TokenEndpointAuth, f.secret)
	if kept.Sealed == "" || c.SecretSealed == "" {
		return kept
	}
	if there, err := master.OpenClientSecret(f.id, c.SecretSealed); err == nil && there == f.secret {
		kept.Sealed = c.SecretSealed
	}
	return kept
}

// bringUpToDate writes what differs. The secret that left the file is dead at once: it may have left because it leaked.
func bringUpToDate(ctx context.Context, st *store.Store, c *store.Client, meta store.ClientMetadata, secret store.ClientSecret) error {
	if !sameMetadata(c.Metadata, meta) {
		next := *c
		next.Metadata = meta
		if err := st.UpdateClient(ctx, actorSystem, &next); err != nil {
			return err
		}
	}
	if c.SecretHash != secret.Hash || c.SecretSealed != secret.Sealed {
		return st.RotateClientSecret(ctx, actorSystem, c.ID, secret, 0)
	}
	return nil
}

func sameMetadata(a, b store.ClientMetadata) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// syncPrivileges creates what the file defines and is not there, brings labels and descriptions up to date, then sets what each
// includes and whether people may ask for it. One that left the file stays, now an administrator's to change: people may hold it, and a role that
// vanishes with a line of text would be a surprise.
func syncPrivileges(ctx context.Context, st *store.Store, file map[string]config.Privilege) error {
	rows, err := st.Privileges(ctx)
	if err != nil {
		return fmt.Errorf("server: read privileges: %w", err)
	}
	have := map[string]store.Privilege{}
	for _, p := range rows {
		have[p.Name] = p
		if _, declared := file[p.Name]; !declared && p.Source == store.PrivilegeConfig {
			if err := st.DescribePrivilege(ctx, actorSystem, p.Name, p.Label, p.Description, p.Texts, store.PrivilegeAdmin); err != nil {
				return fmt.Errorf("server: privilege %s left the file: %w", p.Name, err)
			}
		}
	}
	names := slices.Sorted(maps.Keys(file))
	for _, name := range names {
		f := file[name]
		if old, ok := have[name]; ok {
			label, text := cmp.Or(f.Label, old.Label), cmp.Or(f.Description, old.Description)
			texts, source := labelsOf(f.Texts), store.PrivilegeConfig
			if old.BuiltIn {
				source = store.PrivilegeBuiltIn
			}
			if label != old.Label || text != old.Description || !maps.Equal(texts, old.Texts) || source != old.Source {
				if err := st.DescribePrivilege(ctx, actorSystem, name, label, text, texts, source); err != nil {
					return fmt.Errorf("server: privilege %s: %w", name, err)
				}
			}
			continue
		}
		owner, _, isRole := strings.Cut(name, ":")
		if !isRole {
			owner = ""
		}
		p := store.Privilege{Name: name, Label: f.Label, Description: f.Description, ClientID: owner, Source: store.PrivilegeConfig,
			Texts: labelsOf(f.Texts)}
		if err := st.CreatePrivilege(ctx, actorSystem, &p); err != nil {
			return fmt.Errorf("server: privilege %s: %w", name, err)
		}
	}
	for _, name := range names { // all exist now, so that one may include another that comes later
		if !sameNames(have[name].Includes, file[name].Includes) {
			if err := st.SetIncludes(ctx, actorSystem, name, file[name].Includes); err != nil {
				return fmt.Errorf("server: privilege %s: includes: %w", name, err)
			}
		}
	}
	for _, name := range names { // what each brings is settled
		if file[name].Requestable == have[name].Requestable {
			continue
		}
		if err := st.SetRequestable(ctx, actorSystem, name, file[name].Requestable); err != nil {
			return fmt.Errorf("server: privilege %s: requestable: %w", name, err)
		}
	}
	return nil
}

func labelsOf(texts map[string]config.Text) store.Labels {
	if len(texts) == 0 {
		return nil
	}
	out := store.Labels{}
	for lang, t := range texts {
		out[lang] = store.Label{Label: t.Label, Description: t.Description}
	}
	return out
}

// syncRights makes user types, permissions and rules of delegation those of the file.
func syncRights(ctx context.Context, st *store.Store, c *config.Config) error {
	bad := func(path string, err error) error {
		var inUse *store.TypeInUse
		if errors.As(err, &inUse) {
			who := fmt.Sprintf("%d people have it; give them", inUse.People)
			if inUse.People == 1 {
				who = "1 person has it; give them"
			}
			return configError(c, path, fmt.Errorf("the type %s is not there any more, and %s another one first (latchkey user set-type)", inUse.Value, who))
		}
		if errors.Is(err, store.ErrLastAdmin) {
			return configError(c, path, errors.New("nobody could administer Latchkey afterwards"))
		}
		var def *privilege.DefError
		if errors.As(err, &def) {
			return unreadable(err)
		}
		return fmt.Errorf("server: user types: %w", err)
	}
	if err := st.SetUserTypes(ctx, actorSystem, c.Types()); err != nil {
		return bad("user_types", err)
	}
	if err := st.SetPowers(ctx, actorSystem, c.Permissions); err != nil {
		return fmt.Errorf("server: permissions: %w", err)
	}
	rules := make([]store.DelegationRule, len(c.Delegations))
	for i, d := range c.Delegations {
		rules[i] = store.DelegationRule(d)
	}
	if err := st.SetDelegations(ctx, actorSystem, rules); err != nil {
		return fmt.Errorf("server: delegations: %w", err)
	}
	return nil
}

// unreadable is of definitions that are missing or make no sense, whoever made them so (R89).
func unreadable(err error) error {
	return fmt.Errorf("server: who may do what cannot be read: %w", err)
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// newSecret is 256 random bits in characters that need no escaping anywhere.
func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// hashSecret is how a client's secret is kept.
func hashSecret(s string) string { return provider.HashSecret(s) }

func newID() string { return strings.ToLower(rand.Text()) }
