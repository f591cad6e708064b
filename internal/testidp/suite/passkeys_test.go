package suite

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// addPasskey adds one on the page of passkeys, and returns the recovery codes, none unless it is the first factor that asks, and the page behind them.
func addPasskey(t testing.TB, b *testidp.Browser, a *testidp.Authenticator) (codes []string, next *testidp.Page) {
	t.Helper()
	p := b.Passkey(b.Get(idpOf(b)+"/account/passkeys").Want(200, "passkeys-add"), "passkeys-add", a)
	if p.Has("mfa-codes") {
		codes = strings.Fields(p.Text("mfa-codes"))
		p = b.Click(p, "mfa-codes-next")
	}
	return codes, p.Want(200, "passkeys")
}

// idpOf is the provider that a browser was at last.
func idpOf(b *testidp.Browser) string {
	u := b.Last().URL
	return u.Scheme + "://" + u.Host
}

// withPasskey is a person with a passkey, and the recovery codes that came with it.
func withPasskey(t testing.TB, idp *testidp.IDP, a *testidp.Authenticator, p testidp.Person) (testidp.Person, []string) {
	t.Helper()
	who, b := idp.User(p), idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), who).Want(200, "account-title")
	codes, _ := addPasskey(t, b, a)
	return who, codes
}

// trainersShowTwo is a policy under which a passkey that stands alone asks, too.
func trainersShowTwo(c *config.Config) { c.MFA.RequiredFor = []string{"trainer"} }

// mustShowTwo makes somebody, who is signed in with a passkey, one of those, and returns new recovery codes.
func mustShowTwo(t testing.TB, idp *testidp.IDP, b *testidp.Browser, who testidp.Person) []string {
	t.Helper()
	idp.Grant(who, "trainer")
	p := b.Submit(b.Get(idp.Issuer+"/account/security"), "security-codes-renew", nil).Want(200, "mfa-codes")
	return strings.Fields(p.Text("mfa-codes"))
}

// said is the summary of what is wrong on a page.
func said(p *testidp.Page) string { return strings.TrimSpace(p.Text("error-summary")) }

// TestStory_Passkey: a passkey is added, signs in alone, is asked for after the password of who must show two, is renamed, goes with an administrator's
// reset, and tokens tell the truth of it.
func TestStory_Passkey(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp, post := withMail(t, testidp.Options{Engine: engine, Config: trainersShowTwo})
		ada := idp.User(testidp.Person{GivenName: "Ada", Email: "ada@example.com"})
		rp := idp.RP(store.ClientMetadata{FirstParty: true})
		b := idp.Browser()
		b.SignIn(b.Get(idp.Issuer+"/login"), ada)
		key := idp.Authenticator()
		codes, p := addPasskey(t, b, key)
		if len(codes) != 0 || !strings.Contains(p.Text("passkeys"), "Stays on one device") || string(key.Keys[0].Handle) != ada.ID {
			t.Errorf("%v, %q, handle %q", codes, p.Text("passkeys"), key.Keys[0].Handle)
		}
		testidp.Within(t, waitLong, "a mail", func() bool { return len(post.Mails()) == 1 })
		if s := post.Mails()[0].Subject; !strings.HasSuffix(s, "A passkey was added") {
			t.Errorf("subject %q", s)
		}
		if _, err := b.PasskeyForm(p, "passkeys-add", key); !errors.Is(err, testidp.ErrKnown) {
			t.Errorf("the same device twice: %v", err)
		}
		// A second one, which is synced.
		cloud := idp.Authenticator()
		cloud.Syncs, cloud.Synced, cloud.Counts = true, true, false
		codes2, p := addPasskey(t, b, cloud)
		if len(codes2) != 0 || !strings.Contains(p.Text("passkeys"), "Synced between your devices") {
			t.Errorf("%v, %q", codes2, p.Text("passkeys"))
		}
		cloudID := rowOf(t, p, 1)
		p = b.Submit(p, "name-"+cloudID, map[string]string{"name-" + cloudID: "Cloud"}).Want(200, "passkeys")
		if !strings.Contains(p.Text("passkeys"), "Cloud") {
			t.Errorf("not renamed: %q", p.Text("passkeys"))
		}

		// Alone: nothing is typed, and nothing else asked.
		sole := func(a *testidp.Authenticator) *testidp.Tokens {
			t.Helper()
			b, at := idp.Browser(), rp.Start()
			return rp.Finish(at, b.Passkey(b.Get(at.URL), "login-with-passkey", a).URL)
		}
		if tokens := sole(key); tokens.Claims["sub"] != ada.ID || tokens.Claims["acr"] != "phrh" || amrOf(tokens) != "hwk user mfa" {
			t.Errorf("%v", tokens.Claims)
		}
		if tokens := sole(cloud); tokens.Claims["acr"] != "phr" || amrOf(tokens) != "swk user mfa" {
			t.Errorf("%v", tokens.Claims)
		}
		sole(cloud) // it does not count, and works again

		// It takes no way in from anybody. Who must show two is asked for it after a password: with a touch alone, then with a PIN; and without script there are
		// the recovery codes.
		any := idp.Browser()
		any.SignIn(any.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
		codes = mustShowTwo(t, idp, b, ada)
		second := func(a *testidp.Authenticator) *testidp.Tokens {
			t.Helper()
			b, at := idp.Browser(), rp.Start()
			p := b.SignIn(b.Get(at.URL), ada).Want(200, "passkey-use")
			b.Get(idp.Issuer+"/account").Want(200, "login-title")
			return rp.Finish(at, b.Passkey(p, "passkey-use", a).URL)
		}
		key.PIN = false
		if tokens := second(key); tokens.Claims["acr"] != "phrh" || amrOf(tokens) != "pwd hwk mfa" {
			t.Errorf("%v", tokens.Claims)
		}
		key.PIN = true
		if tokens := second(cloud); tokens.Claims["acr"] != "phr" || amrOf(tokens) != "pwd swk user mfa" {
			t.Errorf("%v", tokens.Claims)
		}
		other, at := idp.Browser(), rp.Start()
		p = other.SignIn(other.Get(at.URL), ada).Want(200, "passkey-missing")
		p = other.Submit(other.Click(p, "passkey-other"), "mfa-recovery-submit", map[string]string{"mfa-recovery-code": codes[0]})
		if tokens := rp.Finish(at, p.URL); tokens.Claims["acr"] != "2" {
			t.Errorf("%v", tokens.Claims)
		}

		// Of the two one goes, by its owner; the other by an administrator, and then the password is enough again.
		p = b.SendForm(b.Get(idp.Issuer+"/account/passkeys"), removeForm(t, b.Get(idp.Issuer+"/account/passkeys"), cloudID)).Want(200, "passkeys")
		if strings.Contains(p.Text("passkeys"), "Cloud") {
			t.Error("not removed")
		}
		idp.Revoke(ada, "trainer")
		n, err := idp.Store.ResetFactors(context.Background(), "cli", ada.ID, "lost")
		if err != nil || n != 1 {
			t.Fatalf("%d %v", n, err)
		}
		b = idp.Browser()
		p = b.Passkey(b.Get(idp.Issuer+"/login"), "login-with-passkey", key).Want(http.StatusUnprocessableEntity, "error-summary")
		if gone := p.Attr("passkey-use-form", "data-passkey-gone"); gone == "" || p.Attr("passkey-use-form", "data-rp") != "localhost" {
			t.Errorf("its keeper is not told: %q", gone)
		}
		b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
	})
}

// rowOf is the id of a line of the page of passkeys.
func rowOf(t testing.TB, p *testidp.Page, n int) string {
	t.Helper()
	parts := strings.Split(p.Body, `id="name-`)
	if len(parts) < n+2 {
		t.Fatalf("no passkey %d in %q", n, p.Text("passkeys"))
	}
	id, _, _ := strings.Cut(parts[n+1], `"`)
	return id
}

// removeForm is the form that removes one.
func removeForm(t testing.TB, p *testidp.Page, id string) *testidp.Form {
	t.Helper()
	f := p.FormOf("name-" + id)
	f.Action = strings.Replace(f.Action, "/rename", "/remove", 1)
	if !strings.Contains(p.Body, `action="`+f.Action+`"`) {
		t.Fatalf("no form for %s", f.Action)
	}
	return f
}

// TestStory_PasskeyStepUp: applications ask for a passkey, whatever was shown before; what cannot be reached is refused.
func TestStory_PasskeyStepUp(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: trainersShowTwo})
	cloud, key := idp.Authenticator(), idp.Authenticator()
	cloud.Syncs, cloud.Synced = true, true
	ada, _ := withPasskey(t, idp, cloud, testidp.Person{})
	first := idp.Browser()
	first.Passkey(first.Get(idp.Issuer+"/login"), "login-with-passkey", cloud)
	codes := mustShowTwo(t, idp, first, ada)
	rp := idp.RP(store.ClientMetadata{FirstParty: true})
	b := idp.Browser()
	at := rp.Start()
	p := b.Click(b.SignIn(b.Get(at.URL), ada).Want(200, "passkey-use"), "passkey-other")
	if tokens := rp.Finish(at, b.Submit(p, "mfa-recovery-submit", map[string]string{"mfa-recovery-code": codes[0]}).URL); tokens.Claims["acr"] != "2" {
		t.Errorf("%v", tokens.Claims)
	}
	for _, more := range [][]string{{"acr_values", "phr", "prompt", "none"}} {
		at = rp.Start(more...)
		if code := rp.Error(at, b.Get(at.URL).URL); code != "interaction_required" {
			t.Errorf("%v: %s", more, code)
		}
	}
	at = rp.Start("acr_values", "phrh")
	if code := rp.Error(at, b.Get(at.URL).URL); code != "unmet_authentication_requirements" {
		t.Errorf("phrh: %s", code)
	}
	at = rp.Start("acr_values", "phr")
	p = b.Get(at.URL).Want(200, "passkey-use")
	b.Get(p.URL.String()).Want(200, "passkey-use") // asked again, it says the same
	if tokens := rp.Finish(at, b.Passkey(p, "passkey-use", cloud).URL); tokens.Claims["acr"] != "phr" || amrOf(tokens) != "pwd otp mfa swk user" {
		t.Errorf("%v", tokens.Claims)
	}
	// Another one that stays on its device, and then only that will do.
	addPasskey(t, b, key)
	at = rp.Start("acr_values", "phrh")
	p = b.Get(at.URL).Want(200, "passkey-use")
	if _, err := b.PasskeyForm(p, "passkey-use", cloud); !errors.Is(err, testidp.ErrNotAllowed) {
		t.Errorf("the synced one is asked for: %v", err)
	}
	if tokens := rp.Finish(at, b.Passkey(p, "passkey-use", key).URL); tokens.Claims["acr"] != "phrh" {
		t.Errorf("%v", tokens.Claims)
	}
}

// TestStory_PasskeyRequired: who must have a second factor may choose a passkey for it; switched off, those who have one are let in by a recovery code and
// by nothing less.
func TestStory_PasskeyRequired(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) { c.MFA.Administrators = config.MFARequired }})
	ada := idp.User(testidp.Person{Privileges: []string{"admin"}})
	key := idp.Authenticator()
	rp := idp.RP(store.ClientMetadata{FirstParty: true})
	b := idp.Browser()
	at := rp.Start()
	p := b.Click(b.SignIn(b.Get(at.URL), ada).Want(200, "mfa-use-passkey"), "mfa-use-passkey").Want(200, "passkey-create")
	p = b.Passkey(p, "passkey-create", key).Want(200, "mfa-codes")
	codes := strings.Fields(p.Text("mfa-codes"))
	if tokens := rp.Finish(at, b.Click(p, "mfa-codes-next").URL); tokens.Claims["acr"] != "phrh" || amrOf(tokens) != "pwd hwk user mfa" {
		t.Errorf("%v", tokens.Claims)
	}
	p = b.Get(idp.Issuer + "/account/passkeys")
	if !strings.Contains(p.Text("passkeys"), "This is the last one") {
		t.Errorf("%q", p.Text("passkeys"))
	}
	// Alone it is enough for administration.
	alone := idp.Browser()
	alone.Passkey(alone.Get(idp.Issuer+"/login"), "login-with-passkey", key).Want(200, "account-title")
	alone.Get(idp.Issuer+"/admin/users").Want(200, "users-title")

	idp = idp.Restart(func(c *config.Config) { c.Passkeys.Enabled = false })
	alone.Get(idp.Issuer+"/account").Want(200, "login-title") // a way in that is gone (security.md E11)
	late := idp.Browser()
	p = late.Get(idp.Issuer + "/login")
	if p.Has("login-with-passkey") {
		t.Error("switched off, and offered")
	}
	late.Get(idp.Issuer+"/login/passkey").Want(http.StatusNotFound, "error-page")
	p = late.SignIn(p, ada).Want(200, "mfa-recovery-title")
	late.Submit(p, "mfa-recovery-submit", map[string]string{"mfa-recovery-code": codes[0]}).Want(200, "account-title")
}

// TestStory_PasskeyOffer: after a password, where the browser said that it can; "not now" holds, and who has one is not asked.
func TestStory_PasskeyOffer(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) { c.Passkeys.Offer = true }})
	ada, bob := idp.User(testidp.Person{}), idp.User(testidp.Person{})
	rp := idp.RP(store.ClientMetadata{FirstParty: true})
	signIn := func(b *testidp.Browser, address string, who testidp.Person, able string) *testidp.Page {
		t.Helper()
		p := b.Get(address)
		f := p.FormOf("login-submit")
		f.Values = url.Values{"form_token": f.Values["form_token"], "identifier": {who.Email}, "password": {who.Password}, "passkeys": {able}}
		return b.SendForm(p, f)
	}
	b := idp.Browser()
	signIn(b, idp.Issuer+"/login", ada, "").Want(200, "account-title")
	b, at := idp.Browser(), rp.Start()
	p := signIn(b, at.URL, ada, "1").Want(200, "offer-title")
	rp.Finish(at, b.Submit(p, "offer-later", nil).URL)
	signIn(idp.Browser(), idp.Issuer+"/login", ada, "1").Want(200, "account-title")

	key := idp.Authenticator()
	b, at = idp.Browser(), rp.Start()
	p = b.Passkey(signIn(b, at.URL, bob, "1").Want(200, "offer-title"), "passkey-create", key)
	if tokens := rp.Finish(at, p.URL); tokens.Claims["acr"] != "phrh" {
		t.Errorf("%v", tokens.Claims)
	}
	b.Get(idp.Issuer+"/login/offer-passkey").Want(200, "account-title")             // by the back button
	signIn(idp.Browser(), idp.Issuer+"/login", bob, "1").Want(200, "account-title") // the password is worth what it was
}

// TestPasskeysNeedAName: an issuer that is an address has none, and says nothing of them.
func TestPasskeysNeedAName(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) { c.Issuer = strings.Replace(c.Issuer, "localhost", "127.0.0.1", 1) }})
	ada, b := idp.User(testidp.Person{}), idp.Browser()
	p := b.Get(idp.Issuer + "/login")
	if p.Has("login-with-passkey") || strings.Contains(p.Body, "passkey.js") {
		t.Error("passkeys on an address")
	}
	if p = b.SignIn(p, ada); p.Has("account-passkeys") {
		t.Error("passkeys on an address")
	}
	b.Get(idp.Issuer+"/account/passkeys").Want(http.StatusNotFound, "error-page")
}

// TestTime_Passkeys: a challenge is good for five minutes, and "not now" for thirty days.
func TestTime_Passkeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Config: func(c *config.Config) { c.Passkeys.Offer = true }})
		key := idp.Authenticator()
		withPasskey(t, idp, key, testidp.Person{})
		for after, want := range map[time.Duration]int{299 * time.Second: http.StatusOK, 301 * time.Second: http.StatusUnprocessableEntity} {
			b := idp.Browser()
			p := b.Get(idp.Issuer + "/login")
			f, err := b.PasskeyForm(p, "login-with-passkey", key)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(after)
			if p = b.SendForm(p, f); p.Status != want {
				t.Errorf("after %s: %s", after, p)
			}
		}
		bob := idp.User(testidp.Person{})
		offered := func() bool {
			b := idp.Browser()
			p := b.Get(idp.Issuer + "/login")
			f := p.FormOf("login-submit")
			f.Values = url.Values{"form_token": f.Values["form_token"], "identifier": {bob.Email}, "password": {bob.Password}, "passkeys": {"1"}}
			if p = b.SendForm(p, f); p.Has("offer-later") {
				b.Submit(p, "offer-later", nil)
				return true
			}
			return false
		}
		for day, want := range []bool{true, false} {
			if got := offered(); got != want {
				t.Errorf("on day %d: offered %v", day, got)
			}
		}
		time.Sleep(29*24*time.Hour + 23*time.Hour)
		if offered() {
			t.Error("offered on the thirtieth day")
		}
		time.Sleep(2 * time.Hour)
		if !offered() {
			t.Error("never offered again")
		}
	})
}
