package suite

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestActAs_Clients: which applications somebody gets to while acting, what they hear otherwise, and that the way on is as oneself.
func TestActAs_Clients(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace"})
	bob := idp.User(testidp.Person{Privileges: []string{"trainer"}})
	with := func(f func(*store.ClientMetadata)) *testidp.RP {
		m := takesActing()
		f(&m)
		return idp.RP(m)
	}
	plain := with(func(m *store.ClientMetadata) { m.AllowActAs = false })
	asks := with(func(m *store.ClientMetadata) { m.FirstParty = false })
	trainers := with(func(m *store.ClientMetadata) { m.RequiredPrivileges = []any{"trainer"} })
	google := with(func(m *store.ClientMetadata) { m.Connectors = []string{"google"} })
	good, elsewhere := with(func(*store.ClientMetadata) {}), with(func(*store.ClientMetadata) {})
	b := actFor(t, idp, bob, authority(t, idp, ada, bob, time.Hour, ""))
	limited := actFor(t, idp, bob, authority(t, idp, ada, bob, time.Hour, elsewhere.ID))
	for _, c := range []struct {
		name   string
		b      *testidp.Browser
		rp     *testidp.RP
		prompt string
		reason string
		silent string
	}{
		{"no opt-in", b, plain, "", "acting.only_client", "access_denied"},
		{"authority for another", limited, good, "", "acting.only_authority", "access_denied"},
		{"no consent", b, asks, "", "acting.only_consent", "access_denied"},
		{"asks for consent", b, good, "consent", "acting.only_consent", ""},
		{"not entitled", b, trainers, "", "acting.only_entitled", "access_denied"},
		{"sign in again", b, good, "login", "acting.only_sign_in", ""},
		{"another way in", b, google, "", "acting.only_sign_in", "login_required"},
	} {
		a := c.rp.Start("prompt", c.prompt)
		page := c.b.Get(a.URL).Want(403, "acting-page")
		if got := page.Attr("acting-page", "data-reason"); got != c.reason {
			t.Errorf("%s: %s", c.name, got)
		}
		if to := page.Attr("acting-return", "href"); c.rp.Error(a, parsed(t, to)) != "access_denied" {
			t.Errorf("%s: back with %s", c.name, to)
		}
		if c.silent != "" {
			a := c.rp.Start("prompt", "none")
			if got := c.rp.Error(a, c.b.Get(a.URL).URL); got != c.silent {
				t.Errorf("%s, silent: %s", c.name, got)
			}
		}
	}
	// With the consent of the person represented it goes.
	own := idp.Browser()
	a := asks.Start()
	asks.Finish(a, own.Consent(own.SignIn(own.Get(a.URL), ada)).URL)
	speaks(t, asks, tokensFor(b, asks), ada.ID, bob.ID)
	speaks(t, asks, tokensFor(b, asks, "prompt", "none"), ada.ID, bob.ID)
	speaks(t, elsewhere, tokensFor(limited, elsewhere), ada.ID, bob.ID)

	// offline_access is not granted: nothing outlives the session.
	if tok := tokensFor(b, good); strings.Contains(tok.Scope, "offline_access") || tok.Scope == "" {
		t.Errorf("scope %q", tok.Scope)
	}
	// A hint of the person represented fits; one's own leads to oneself.
	tok := tokensFor(b, good)
	a = good.Start("prompt", "none", "id_token_hint", tok.RawID)
	good.Code(a, b.Get(a.URL).URL)
	other := idp.Browser()
	a = good.Start()
	mine := good.Finish(a, other.SignIn(other.Get(a.URL), bob).URL)
	a = good.Start("prompt", "none", "id_token_hint", mine.RawID)
	if got := good.Error(a, b.Get(a.URL).URL); got != "login_required" {
		t.Errorf("one's own hint, silent: %s", got)
	}

	// On as oneself, with the same request.
	a = plain.Start()
	page := b.Submit(b.Get(a.URL), "acting-oneself", nil)
	speaks(t, plain, plain.Finish(a, page.URL), bob.ID, "")
	if b.Get(idp.Issuer + "/account").Has("acting-banner") {
		t.Error("still acting")
	}
}

func parsed(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestActAs_CodesInBetween: a code is worth what the session is when it is redeemed.
func TestActAs_CodesInBetween(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, bob, eve := idp.User(testidp.Person{}), idp.User(testidp.Person{}), idp.User(testidp.Person{})
	m := takesActing()
	m.FirstParty = false
	rp := idp.RP(m)
	for _, who := range []testidp.Person{ada, bob, eve} {
		b := idp.Browser()
		a := rp.Start()
		rp.Finish(a, b.Consent(b.SignIn(b.Get(a.URL), who)).URL)
	}
	id, second := authority(t, idp, ada, bob, time.Hour, ""), authority(t, idp, eve, bob, time.Hour, "")
	b := actFor(t, idp, bob, id)
	a := rp.Start()
	code := rp.Code(a, b.Get(a.URL).URL)
	b.Submit(b.Get(idp.Issuer+"/account"), "acting-stop", nil)
	if r := rp.Redeem(code, a.Verifier); r.ErrorCode() != "invalid_grant" {
		t.Errorf("a code of the acting, afterwards: %d %s", r.Status, r.Body)
	}
	// For another person meanwhile.
	act := func(id string) {
		b.Submit(b.Get(idp.Issuer+"/account/authorities"), "act-"+id, nil).Want(200, "acting-banner")
	}
	act(id)
	a = rp.Start()
	code = rp.Code(a, b.Get(a.URL).URL)
	b.Submit(b.Get(idp.Issuer+"/account"), "acting-stop", nil)
	act(second)
	if r := rp.Redeem(code, a.Verifier); r.ErrorCode() != "invalid_grant" {
		t.Errorf("a code for Ada, acting for Eve: %d %s", r.Status, r.Body)
	}
	// One's own code stays one's own.
	b.Submit(b.Get(idp.Issuer+"/account"), "acting-stop", nil)
	a = rp.Start()
	at := b.Get(a.URL).URL
	act(id)
	speaks(t, rp, rp.Finish(a, at), bob.ID, "")
	// The authority ends in the minute of the code.
	a = rp.Start()
	code = rp.Code(a, b.Get(a.URL).URL)
	if err := idp.Store.EndAuthority(t.Context(), ada.ID, id); err != nil {
		t.Fatal(err)
	}
	if r := rp.Redeem(code, a.Verifier); r.ErrorCode() != "invalid_grant" {
		t.Errorf("after the end of the authority: %d %s", r.Status, r.Body)
	}
}

// TestSec_A19_ActClaim: no setting of a client takes the place of act, and only who acts brings it.
func TestSec_A19_ActClaim(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, bob := idp.User(testidp.Person{Privileges: []string{"trainer"}}), idp.User(testidp.Person{})
	b := actFor(t, idp, bob, authority(t, idp, ada, bob, time.Hour, ""))
	own := idp.Browser()
	own.SignIn(own.Get(idp.Issuer+"/login"), bob)
	for _, claim := range []string{"act", "act.sub", "may_act"} {
		for _, format := range []string{"jwt", "opaque"} {
			m := takesActing()
			m.PrivilegesClaim, m.AccessTokenFormat = claim, format
			rp := idp.RP(m)
			asked := `{"id_token":{"act":{"essential":true}},"userinfo":{"act":null}}`
			for _, c := range []struct {
				b          *testidp.Browser
				sub, actor string
			}{{b, ada.ID, bob.ID}, {own, bob.ID, ""}} {
				tok := tokensFor(c.b, rp, "claims", asked)
				var want any
				if c.actor != "" {
					want = map[string]any{"sub": c.actor}
				}
				status, info := rp.UserInfo(tok.AccessToken)
				inspected := rp.Introspect(tok.AccessToken).JSON
				for place, said := range map[string]map[string]any{"ID token": tok.Claims, "userinfo": info, "introspection": inspected} {
					if status != 200 || said["sub"] != c.sub || !reflect.DeepEqual(said["act"], want) || said["may_act"] != nil || said["privileges"] == nil {
						t.Errorf("%s, %s, %s: %v", claim, format, place, said)
					}
				}
			}
		}
	}
}
