package suite

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors/connectortest"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// saysOf is what each fake says of its newcomer, as somebody would paste it.
func saysOf(id string, f *testidp.Fakes) any {
	type is = map[string]any
	switch id {
	case "google":
		return is{"iss": f.Google.Issuer, "aud": "latchkey", "sub": "104729000000000000018", "email": "grace@example.com", "email_verified": true, "name": "Grace H", "given_name": "Grace",
			"family_name": "H", "hd": "example.com"}
	case "azure":
		return is{"sub": "pairwise", "tid": connectortest.TenantA, "oid": adaOfA.ID, "ver": "2.0", "name": "Ada Work", "email": "ada@work.example", "preferred_username": "ada@work.example",
			"xms_edov": true, "groups": []string{"readers", "staff"}}
	case "facebook":
		return is{"id": f.Facebook.IDOf(testidp.FacebookApp, "ada"), "name": "Ada L", "first_name": "Ada", "last_name": "L", "email": "ada@example.com",
			"picture": is{"data": is{"is_silhouette": false, "url": "https://scontent.example/ada.jpg"}}}
	case "twitter":
		return is{"data": is{"id": "7700000000000000021", "name": "Ada L", "username": "ada_l", "confirmed_email": "ada@example.com", "verified": true}}
	case "oidc":
		return is{"id_token": is{"iss": f.OIDC.Issuer, "sub": "ana", "realm_access": is{"roles": []string{"reader", "editor"}}},
			"userinfo": is{"sub": "ana", "email": "ana@example.com", "email_verified": true, "name": "Ana Flores", "given_name": "Ana", "family_name": "Flores"}}
	}
	return is{"userinfo": is{"id": 583231, "login": "ada", "name": "Ada L", "avatar_url": nil, "email": nil, "site_admin": true},
		"emails": []any{is{"email": "583231+ada@users.noreply.example", "primary": false, "verified": true}, is{"email": "ada@example.com", "primary": true, "verified": true}}}
}

// TestUpstreamPreview_EqualsTheRealThing: through every connector, a preview from pasted claims says what the tokens of the sign-in right after it say,
// for somebody new and for the same person again, and no row of any table changed.
func TestUpstreamPreview_EqualsTheRealThing(t *testing.T) {
	t.Parallel()
	for i, n := range newcomers {
		engine := []string{"sqlite", "postgres"}[i%2]
		t.Run(n.id+" "+engine, func(t *testing.T) {
			t.Parallel()
			n.rule.Privilege = "trainer"
			idp := testidp.Start(t, testidp.Options{Engine: engine, Fakes: testidp.NewFakes(t, n.id), Server: server.Options{NoBackground: true}, Config: func(c *config.Config) {
				testidp.Connector(c, n.id).Privileges = []config.ClaimRule{n.rule}
			}})
			if n.today != nil {
				n.today(idp.Fakes)
			}
			claims, err := json.Marshal(saysOf(n.id, idp.Fakes))
			if err != nil {
				t.Fatal(err)
			}
			rp := idp.RP(wiki(func(m *store.ClientMetadata) { m.FirstParty, m.RequiredPrivileges = false, []any{"trainer"} }))
			console, err := server.OpenConsole(context.Background(), idp.Config, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			defer console.Close()
			preview := func() *server.UpstreamPreview {
				t.Helper()
				before := storetest.ContentsOf(t, idp.URL)
				r := server.UpstreamPreviewRequest{Connector: n.id, ClientID: rp.ID, Claims: claims}
				p, err := idp.Server.PreviewUpstream(context.Background(), r)
				if err != nil {
					t.Fatal(err)
				}
				beside, err := console.PreviewUpstream(context.Background(), r)
				if err != nil {
					t.Fatal(err)
				}
				if after := storetest.ContentsOf(t, idp.URL); !maps.Equal(before, after) {
					t.Errorf("something was written:\nbefore %v\nafter  %v", before, after)
				}
				a, b := *p, *beside
				if p.New { // each made an id of nobody
					a.UserID, b.UserID = "", ""
				}
				a.Client, b.Client = nil, nil
				if !reflect.DeepEqual(a, b) {
					t.Errorf("the server says %+v, the console %+v", a, b)
				}
				if p.Client == nil || beside.Client == nil {
					t.Fatalf("no tokens: %+v", p)
				}
				return p
			}
			same := func(p *server.UpstreamPreview, tok *testidp.Tokens) {
				t.Helper()
				said := map[string]map[string]any{"ID token": p.Client.IDToken, "access token": p.Client.AccessToken, "userinfo": p.Client.UserInfo, "introspection": p.Client.Introspection}
				for place, real := range places(t, rp, tok) {
					got, want := bare(t, said[place]), bare(t, real)
					if p.New {
						delete(got, "sub")
						delete(want, "sub")
					}
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s:\npreview %v\nreal    %v", place, got, want)
					}
				}
			}

			first := preview()
			if first.Decision != server.PreviewCreate || !first.New || !slices.Equal(first.Rules.Given, []string{"trainer"}) || first.Client.Step != "consent" ||
				first.Client.Consent != "asked" || len(first.Client.NewScopes) != 5 || !strings.Contains(first.Text, "new account") {
				t.Errorf("%+v\n%+v", first.DryRun, first.Client)
			}
			b := idp.Browser()
			login := rp.Start()
			same(first, rp.Finish(login, b.Consent(b.Through(b.Get(login.URL), n.id, n.person)).URL))

			second := preview()
			if second.Decision != server.PreviewEnter || second.New || second.Client.Step != "issue" || second.Client.Consent != "remembered" || second.Rules.Given != nil {
				t.Errorf("%+v\n%+v", second.DryRun, second.Client)
			}
			b = idp.Browser()
			login = rp.Start()
			same(second, rp.Finish(login, b.Through(b.Get(login.URL), n.id, n.person).URL))
		})
	}
}

// TestUpstreamPreview_AfterAProof: where a proof is asked for, the preview says what the tokens say after one by password.
func TestUpstreamPreview_AfterAProof(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Fakes: testidp.NewFakes(t, "oidc"), Server: server.Options{NoBackground: true}, Config: func(c *config.Config) {
		testidp.Connector(c, "oidc").Privileges = []config.ClaimRule{{Claim: "team", Match: "blue", Privilege: "trainer"}}
	}})
	idp.Fakes.OIDC.SetPeople(connectortest.Person{ID: "ana", Email: "ana@example.com", Verified: true, Claims: map[string]any{"team": "blue"}})
	ana := idp.User(testidp.Person{Email: "ana@example.com"})
	rp := idp.RP(wiki())
	before := storetest.ContentsOf(t, idp.URL)
	p, err := idp.Server.PreviewUpstream(context.Background(), server.UpstreamPreviewRequest{Connector: "oidc", ClientID: rp.ID,
		Claims: []byte(`{"sub":"ana","email":"ana@example.com","email_verified":true,"team":"blue"}`)})
	if err != nil || p.Decision != server.PreviewProve || p.Holder != ana.ID || p.Proof != "password" || !slices.Equal(p.Rules.Given, []string{"trainer"}) || p.Client == nil {
		t.Fatalf("%v %+v", err, p)
	}
	if after := storetest.ContentsOf(t, idp.URL); !maps.Equal(before, after) {
		t.Errorf("something was written:\nbefore %v\nafter  %v", before, after)
	}
	b := idp.Browser()
	login := rp.Start()
	page := b.Through(b.Get(login.URL), "oidc", "ana").Want(200, "link-title")
	page = b.Submit(page, "link-submit", map[string]string{"login-identifier": ana.Email, "login-password": ana.Password})
	tok := rp.Finish(login, page.URL)
	said := map[string]map[string]any{"ID token": p.Client.IDToken, "access token": p.Client.AccessToken, "userinfo": p.Client.UserInfo, "introspection": p.Client.Introspection}
	for place, real := range places(t, rp, tok) {
		if got, want := bare(t, said[place]), bare(t, real); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\npreview %v\nreal    %v", place, got, want)
		}
	}
}

// TestUpstreamPreview_TheApplicationsSide: what the application requires, whom it takes, what it asks for first; and mistakes, told to people.
func TestUpstreamPreview_TheApplicationsSide(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Demo: true, Fakes: testidp.NewFakes(t, "oidc"), Config: func(c *config.Config) {
		testidp.Connector(c, "oidc").TrustMFA = true
	}})
	ask := func(claims string, client func(*store.ClientMetadata)) *server.UpstreamPreview {
		t.Helper()
		rp := idp.RP(wiki(client))
		p, err := idp.Server.PreviewUpstream(context.Background(), server.UpstreamPreviewRequest{Connector: "oidc", ClientID: rp.ID, Claims: []byte(claims)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := ask(`{"sub":"ana"}`, func(m *store.ClientMetadata) { m.RequiredPrivileges = []any{"trainer"} }); p.Decision != server.PreviewCreate || p.Client.Refused != "access_denied" ||
		p.Client.AccessToken != nil || !reflect.DeepEqual(p.Client.Unmet, [][]string{{"trainer"}}) {
		t.Errorf("%+v %+v", p, p.Client)
	}
	if p := ask(`{"sub":"ana"}`, only("password")); p.Decision != server.PreviewRefuse || p.Code != "unknown_connector" || p.Client != nil || p.Text == "" {
		t.Errorf("%+v", p)
	}
	if p := ask(`{"sub":"ana","email":"ana@example.com"}`, func(m *store.ClientMetadata) { m.RequireEmail = true }); p.Decision != server.PreviewAddress || p.Client != nil {
		t.Errorf("%+v", p)
	}
	if p := ask(`{"sub":"ana","amr":["pwd","otp"]}`, only("oidc")); p.ACR != "2" || p.Client.IDToken["acr"] != "2" || p.Client.Consent != "not_needed" ||
		!slices.Equal(p.Client.Connectors, []string{"oidc"}) {
		t.Errorf("%+v %+v", p, p.Client)
	}
	for claims, key := range map[string]string{`{"sub":"ana"`: "preview.document_no_json", ` `: "preview.document_empty", `[]`: "preview.document_no_object", `{"a":1,"a":2}`: "preview.document_repeated",
		`{"id_token":"x"}`: "preview.document_token", `{"id_token":{},"userinfo":1}`: "preview.document_no_part",
		`{"sub":"` + strings.Repeat("x", server.MaxPreviewClaims) + `"}`: "preview.document_too_long", strings.Repeat(`{"a":`, 40): "preview.document_too_deep"} {
		_, err := idp.Server.PreviewUpstream(context.Background(), server.UpstreamPreviewRequest{Connector: "oidc", Claims: []byte(claims)})
		if e, ok := errors.AsType[*server.PreviewError](err); !ok || e.Field != "claims" || e.Key != key || e.Error() == "" || e.Error() == key {
			t.Errorf("%.20s: %v", claims, err)
		}
	}
	for _, c := range []struct{ connector, client, field string }{{"gogle", "", "connector"}, {"oidc", "nothing", "client"}} {
		_, err := idp.Server.PreviewUpstream(context.Background(), server.UpstreamPreviewRequest{Connector: c.connector, ClientID: c.client, Claims: []byte(`{"sub":"ana"}`)})
		if e, ok := errors.AsType[*server.PreviewError](err); !ok || e.Field != c.field || !strings.Contains(e.Error(), c.connector[:2]) && !strings.Contains(e.Error(), c.client) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	list, err := idp.Store.Users(context.Background(), "", 10)
	if err != nil || len(list) != 0 {
		t.Errorf("%d people: %v", len(list), err)
	}
}
