package suite

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// auditors is a read-only user type, and a privilege that includes others.
func auditors(c *config.Config) {
	c.Privileges = map[string]config.Privilege{"auditor": {Includes: []string{"helper"}}, "helper": {}, "crm:editor": {Includes: []string{"helper"}}}
	c.UserTypes = []config.UserType{{Value: "500", Names: []string{"auditor"}, Text: "Auditor", Privilege: "auditor", ReadOnly: true}}
}

// rights of a token response, in the four places that speak of them.
func places(t testing.TB, rp *testidp.RP, tok *testidp.Tokens) map[string]map[string]any {
	t.Helper()
	status, info := rp.UserInfo(tok.AccessToken)
	if status != 200 {
		t.Fatalf("userinfo: %d", status)
	}
	var inspected map[string]any
	if err := json.Unmarshal([]byte(rp.Introspect(tok.AccessToken).Body), &inspected); err != nil {
		t.Fatal(err)
	}
	return map[string]map[string]any{"ID token": tok.Claims, "access token": payload(t, tok.AccessToken), "userinfo": info, "introspection": inspected}
}

// TestRightsAreTheSameEverywhere: one function says what a person may do, so the four places cannot disagree; every shape that a client
// may ask for.
func TestRightsAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: auditors})
	ada := idp.User(testidp.Person{UserType: "500", Privileges: []string{"trainer"}})
	scope := "openid privileges"
	for name, c := range map[string]struct {
		meta store.ClientMetadata
		path []string
		want any
	}{
		"usual":   {store.ClientMetadata{}, []string{"privileges"}, []any{"auditor", "helper", "trainer"}},
		"few":     {store.ClientMetadata{VisiblePrivileges: []string{"helper"}}, []string{"privileges"}, []any{"helper"}},
		"nested":  {store.ClientMetadata{PrivilegesClaim: "realm_access.roles"}, []string{"realm_access", "roles"}, []any{"auditor", "helper", "trainer"}},
		"a text":  {store.ClientMetadata{PrivilegesFormat: "string", PrivilegesClaim: "roles"}, []string{"roles"}, "auditor helper trainer"},
		"no more": {store.ClientMetadata{VisiblePrivileges: []string{"developer"}}, []string{"privileges"}, []any{}},
	} {
		c.meta.Scope, c.meta.FirstParty = scope, true
		rp := idp.RP(c.meta)
		b := idp.Browser()
		a := rp.Start()
		for place, m := range places(t, rp, rp.Finish(a, b.SignIn(b.Get(a.URL), ada).URL)) {
			var v any = m
			for _, k := range c.path {
				next, _ := v.(map[string]any)
				v = next[k]
			}
			if !reflect.DeepEqual(v, c.want) || m["user_type"] != "auditor" || m["readonly"] != true {
				t.Errorf("%s, %s: %v, type %v, readonly %v", name, place, v, m["user_type"], m["readonly"])
			}
		}
	}
}

// TestTokensEndWithWhatTheyRestOn: a privilege until a moment is in no token that outlives it, and gone from the next (R122).
func TestTokensEndWithWhatTheyRestOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Config: auditors})
		ada := idp.User(testidp.Person{})
		until := idp.Now().Add(3 * time.Minute).Truncate(time.Second)
		if err := idp.Store.Assign(context.Background(), "cli", &store.Assignment{UserID: ada.ID, Privilege: "auditor", Until: store.At(until)}); err != nil {
			t.Fatal(err)
		}
		rp := idp.RP(store.ClientMetadata{Scope: "openid privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token"}, FirstParty: true})
		b := idp.Browser()
		a := rp.Start()
		tok := rp.Finish(a, b.SignIn(b.Get(a.URL), ada).URL)
		if got := payload(t, tok.AccessToken)["exp"]; got != float64(until.Unix()) || tok.Claims["exp"] != float64(until.Unix()) {
			t.Errorf("the tokens end at %v and %v, what they say at %v", got, tok.Claims["exp"], until.Unix())
		}
		if left := time.Until(tok.Expiry); left > 3*time.Minute {
			t.Errorf("expires_in says %v", left)
		}
		time.Sleep(3 * time.Minute)
		next, err := rp.Refresh(tok)
		if err != nil {
			t.Fatal(err)
		}
		if got := payload(t, next.AccessToken); !reflect.DeepEqual(got["privileges"], []any{"user"}) || got["exp"].(float64)-got["iat"].(float64) != 600 {
			t.Errorf("afterwards: %v for %v s", got["privileges"], got["exp"].(float64)-got["iat"].(float64))
		}
	})
}

// TestRefresh_RequirementLost: who may not sign in to an application any more gets no new tokens for it (R120, R122).
func TestRefresh_RequirementLost(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: auditors})
	ada := idp.User(testidp.Person{Privileges: []string{"auditor"}})
	rp := idp.RP(store.ClientMetadata{Scope: "openid privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token"}, FirstParty: true,
		RequiredPrivileges: []any{"helper"}})
	b := idp.Browser()
	a := rp.Start()
	tok := rp.Finish(a, b.SignIn(b.Get(a.URL), ada).URL)
	idp.Revoke(ada, "auditor")
	if _, info := rp.UserInfo(tok.AccessToken); !reflect.DeepEqual(info["privileges"], []any{"user"}) {
		t.Errorf("userinfo at once: %v", info["privileges"])
	}
	if _, err := rp.Refresh(tok); err == nil {
		t.Error("refreshed without what the client requires")
	}
}

// TestPreview_EqualsTheRealThing: a preview says what the tokens then say, and writes nothing.
func TestPreview_EqualsTheRealThing(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			idp := testidp.Start(t, testidp.Options{Engine: engine, Config: auditors})
			ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", UserType: "500", Privileges: []string{"trainer"}})
			eve := idp.User(testidp.Person{})
			rp := idp.RP(store.ClientMetadata{Scope: "openid profile email privileges", RequiredPrivileges: []any{"helper", []any{"trainer", "developer"}}})
			ask := func(user string) *provider.Preview {
				t.Helper()
				before := idp.Store.Counts()
				p, err := idp.Server.Provider().Preview(context.Background(), provider.PreviewRequest{UserID: user, ClientID: rp.ID, AMR: []string{"pwd"}})
				if err != nil {
					t.Fatal(err)
				}
				if after := idp.Store.Counts(); after.Writes != before.Writes || after.Transactions != before.Transactions {
					t.Errorf("a preview wrote: %+v, %+v", before, after)
				}
				return p
			}
			said := ask(ada.ID)
			if said.Step != "consent" || said.Required != "helper and (trainer or developer)" {
				t.Errorf("%+v", said)
			}
			b := idp.Browser()
			a := rp.Start()
			tok := rp.Finish(a, b.Consent(b.SignIn(b.Get(a.URL), ada)).URL)
			if again := ask(ada.ID); again.Step != "issue" {
				t.Errorf("after consent: %s", again.Step)
			}
			previews := map[string]map[string]any{"ID token": said.IDToken, "access token": said.AccessToken, "userinfo": said.UserInfo, "introspection": said.Introspection}
			for place, real := range places(t, rp, tok) {
				got, want := bare(t, previews[place]), bare(t, real)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s:\npreview %v\nreal    %v", place, got, want)
				}
			}
			if p := ask(eve.ID); p.Refused != "access_denied" || len(p.Unmet) != 2 || p.AccessToken != nil {
				t.Errorf("%+v", p)
			}
			if _, err := idp.Server.Provider().Preview(context.Background(), provider.PreviewRequest{UserID: "nobody", ClientID: rp.ID}); err != provider.ErrNoUser {
				t.Error(err)
			}
			if _, err := idp.Server.Provider().Preview(context.Background(), provider.PreviewRequest{UserID: ada.ID, ClientID: "nothing"}); err != provider.ErrNoClient {
				t.Error(err)
			}

			// A token of the past is explained by its id, whatever changed since.
			past, err := provider.ReadJTI(payload(t, tok.AccessToken)["jti"].(string))
			if err != nil {
				t.Fatal(err)
			}
			g, err := idp.Store.Grant(context.Background(), past.GrantID)
			if err != nil || g.UserID != ada.ID || g.ClientID != rp.ID {
				t.Fatalf("%+v %v", g, err)
			}
			time.Sleep(5 * time.Millisecond)
			idp.Revoke(ada, "trainer")
			if err := idp.Store.SetUserType(context.Background(), "cli", ada.ID, "100"); err != nil {
				t.Fatal(err)
			}
			then, err := explain.Of(context.Background(), idp.Store, ada.ID, past.At)
			if err != nil || !slices.Equal(then.Effective, []string{"auditor", "helper", "trainer"}) {
				t.Errorf("then: %+v %v", then, err)
			}
			if line, ok := then.Line("helper"); !ok || !slices.Equal(line.Why[0].Path, []string{"type/500", "auditor", "helper"}) || line.Why[0].Source.Kind != store.SourceType {
				t.Errorf("why: %+v", line)
			}
			now, err := explain.Of(context.Background(), idp.Store, ada.ID, time.Time{})
			if err != nil || !slices.Equal(now.Effective, []string{"user"}) {
				t.Errorf("now: %+v %v", now, err)
			}
			boss := idp.User(testidp.Person{Privileges: []string{"admin"}})
			not, err := now.Not(context.Background(), idp.Store, "helper")
			if err != nil || !slices.Equal(not.Through, []string{"auditor", "crm:editor"}) || !slices.Equal(not.Grantors, []string{boss.ID}) {
				t.Errorf("why not: %+v %v", not, err)
			}
		})
	}
}

// bare leaves out what no two tokens share.
func bare(t testing.TB, m map[string]any) map[string]any {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(out, func(k string, _ any) bool {
		return slices.Contains([]string{"iat", "exp", "jti", "gid", "sid", "nonce", "at_hash", "auth_time", "updated_at"}, k)
	})
	return out
}

// TestDebugPermissions: one check is one line, and only where client and action are flagged, in development (R104, R105).
func TestDebugPermissions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		environment    string
		client, action bool
		lines          int
	}{{config.Development, true, true, 1}, {config.Development, true, false, 0}, {config.Development, false, true, 0}, {config.Production, true, true, 0}} {
		var out syncBuffer
		idp := testidp.Start(t, testidp.Options{Server: server.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))}, Config: func(cfg *config.Config) {
			cfg.Environment = c.environment
			if c.action {
				cfg.DebugPermissions = []string{"sign_in"}
			}
		}})
		bob := idp.User(testidp.Person{Email: "bob@example.com", Privileges: []string{"trainer"}})
		rp := idp.RP(store.ClientMetadata{RequiredPrivileges: []any{"trainer", []any{"developer", "advocate"}}, DebugPermissions: c.client, FirstParty: true})
		b := idp.Browser()
		b.SignIn(b.Get(rp.Start().URL), bob)
		var lines []string
		for _, l := range strings.Split(out.String(), "\n") {
			if strings.Contains(l, `msg="permission check"`) {
				lines = append(lines, l)
			}
		}
		if len(lines) != c.lines {
			t.Errorf("%+v: %d lines: %s", c, len(lines), lines)
		}
		for _, l := range lines {
			for _, want := range []string{"action=sign_in", "client=" + rp.ID, "user=" + bob.ID, "user_type=user", `requires="trainer and (developer or advocate)"`,
				`unmet="developer or advocate"`, "granted=false"} {
				if !strings.Contains(l, want) {
					t.Errorf("lacks %s: %s", want, l)
				}
			}
			if strings.Contains(l, "bob@") {
				t.Errorf("personal data: %s", l)
			}
		}
	}
}
