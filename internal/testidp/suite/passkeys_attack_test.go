package suite

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_C10_PasskeySignIn: what is no answer to this very challenge by a key that is known here, with its user verified, on our own pages, in this
// browser, for this flow, signs nobody in.
func TestSec_C10_PasskeySignIn(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: trainersShowTwo})
	key, weak := idp.Authenticator(), idp.Authenticator()
	weak.PIN = false
	ada, _ := withPasskey(t, idp, key, testidp.Person{})
	bob, codes := withPasskey(t, idp, weak, testidp.Person{})
	b := idp.Browser()
	page := func() *testidp.Page { return b.Get(idp.Issuer + "/login") }
	refused := func(what, want string, p *testidp.Page) {
		t.Helper()
		if text := said(p.Want(http.StatusUnprocessableEntity, "error-summary")); !strings.Contains(text, want) {
			t.Errorf("%s: %q", what, text)
		}
		if b.Get(idp.Issuer+"/account").URL.Path != "/login" {
			t.Fatalf("%s: signed in", what)
		}
	}
	const failed, old = "The passkey didn’t work", "That took too long"
	for what, c := range map[string]struct {
		lie  func(*testidp.Authenticator)
		want string
	}{
		"WrongOrigin":    {func(a *testidp.Authenticator) { a.LieOrigin = "https://evil.example" }, failed},
		"OtherPort":      {func(a *testidp.Authenticator) { a.LieOrigin = "https://localhost" }, failed},
		"PlainOrigin":    {func(a *testidp.Authenticator) { a.LieOrigin = strings.Replace(idp.Issuer, "https", "http", 1) }, failed},
		"WrongRPID":      {func(a *testidp.Authenticator) { a.LieRPID = "evil.example" }, failed},
		"Framed":         {func(a *testidp.Authenticator) { a.LieCross = true }, failed},
		"WrongKey":       {func(a *testidp.Authenticator) { a.LieKey = true }, failed},
		"NobodyTouched":  {func(a *testidp.Authenticator) { a.LieSilent = true }, failed},
		"OthersHandle":   {func(a *testidp.Authenticator) { a.LieHandle = bob.ID }, failed},
		"NoVerification": {func(a *testidp.Authenticator) { a.PIN, a.LieAsked = false, true }, "couldn’t confirm it’s you"},
		"NowSyncs":       {func(a *testidp.Authenticator) { a.Syncs = true }, failed},
	} {
		liar := key.Copy()
		c.lie(liar)
		refused(what, c.want, b.Passkey(page(), "login-with-passkey", liar))
	}
	// One that never verified its user is a second factor only, whatever it says today: whoever finds it can give it a PIN.
	if _, err := b.PasskeyForm(page(), "login-with-passkey", weak); !errors.Is(err, testidp.ErrNotAllowed) {
		t.Errorf("a browser asks for no verification: %v", err)
	}
	found := weak.Copy()
	found.PIN = true
	kinds, err := idp.Store.AskingKindsOf(context.Background(), bob.ID)
	if err != nil || len(kinds) != 1 {
		t.Errorf("a key without a PIN asks of other ways in: %v %v", kinds, err)
	}
	refused("a PIN set later", "as a second step only", b.Passkey(page(), "login-with-passkey", found))

	// Not an answer at all.
	f := page().FormOf("login-with-passkey")
	for _, text := range []string{"", "{}", "null", "[]", `{"id":"AQ","rawId":"AQ","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"","signature":""}}`, strings.Repeat("[", 20000)} {
		f.Values.Set("credential", text)
		refused(text[:min(20, len(text))], failed, b.SendForm(page(), f))
	}

	// A challenge is for one browser, one flow, one purpose and one use.
	rp := idp.RP(store.ClientMetadata{FirstParty: true})
	at, too := rp.Start(), rp.Start()
	answer := func(b *testidp.Browser, p *testidp.Page, button string, a *testidp.Authenticator) string {
		t.Helper()
		f, err := b.PasskeyForm(p, button, a)
		if err != nil {
			t.Fatal(err)
		}
		return f.Values.Get("credential")
	}
	with := func(p *testidp.Page, credential string) *testidp.Page {
		t.Helper()
		f := p.FormOf("login-with-passkey")
		f.Values.Set("credential", credential)
		return b.SendForm(p, f)
	}
	other := idp.Browser()
	refused("OtherBrowser", old, with(page(), answer(other, other.Get(idp.Issuer+"/login"), "login-with-passkey", key)))
	refused("OtherFlow", old, with(b.Get(at.URL), answer(b, b.Get(too.URL), "login-with-passkey", key)))
	refused("NoFlow", old, with(b.Get(at.URL), answer(b, page(), "login-with-passkey", key)))
	idp.Grant(ada, "trainer")
	p := b.SignIn(page(), ada).Want(200, "passkey-use")
	refused("SecondFactor", old, with(page(), answer(b, p, "passkey-use", key)))
	p = page()
	once := answer(b, p, "login-with-passkey", key)
	with(p, once).Want(200, "account-title")
	b = idp.Browser()
	refused("Replay", old, with(page(), once))

	// One that is removed, and one whose person is disabled.
	if err := idp.Store.DisableUser(context.Background(), "cli", ada.ID, "gone"); err != nil {
		t.Fatal(err)
	}
	refused("Disabled", failed, b.Passkey(page(), "login-with-passkey", key))
	stranger := idp.Authenticator()
	stranger.Keys = key.Copy().Keys
	stranger.Keys[0].ID = []byte("nobody has this credential")
	refused("Unknown", "isn’t registered here any more", b.Passkey(page(), "login-with-passkey", stranger))

	// The half-finished sign-in of one person takes no passkey of another, and no challenge of theirs.
	p = b.SignIn(page(), bob).Want(200, "passkey-use")
	f = p.FormOf("passkey-use")
	for _, a := range []*testidp.Authenticator{key, stranger} {
		f.Values.Set("credential", answer(b, page(), "login-with-passkey", a))
		refused("another's passkey", old, b.SendForm(p, f))
	}
	theirs := key.Copy()
	theirs.LieAny = true
	refused("another's passkey to one's own challenge", failed, b.Passkey(p, "passkey-use", theirs))
	forged := weak.Copy()
	forged.LieKey = true
	refused("second factor with another key", failed, b.Passkey(p, "passkey-use", forged))
	b.Passkey(b.Get(p.URL.String()), "passkey-use", weak).Want(200, "account-title")
	if len(codes) != 10 {
		t.Errorf("codes %v", codes)
	}
}

// TestSec_F8_PasskeysTellNobody: what a browser is asked is the same whoever is meant, and names no passkey.
func TestSec_F8_PasskeysTellNobody(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, _ := withPasskey(t, idp, idp.Authenticator(), testidp.Person{})
	rp := idp.RP(store.ClientMetadata{})
	var asked []string
	for _, hint := range []string{ada.Email, "nobody@example.com"} {
		b := idp.Browser()
		p := b.Get(rp.Start("login_hint", hint).URL)
		f := p.FormOf("login-with-passkey")
		f.Action = p.Attr("login-with-passkey-form", "data-options")
		body := b.SendForm(p, f).Body
		if strings.Contains(body, "allowCredentials") {
			t.Errorf("%s", body)
		}
		i := strings.Index(body, `"challenge":"`) + len(`"challenge":"`)
		asked = append(asked, body[:i]+body[i+43:])
	}
	if asked[0] != asked[1] {
		t.Errorf("%s\n%s", asked[0], asked[1])
	}
}

// TestSec_A9_PasskeyAnswerOnce: of many copies of one answer, sent at once, one signs in.
func TestSec_A9_PasskeyAnswerOnce(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	key := idp.Authenticator()
	key.Counts = false // or the count would do it
	withPasskey(t, idp, key, testidp.Person{})
	b := idp.Browser()
	p := b.Get(idp.Issuer + "/login")
	f, err := b.PasskeyForm(p, "login-with-passkey", key)
	if err != nil {
		t.Fatal(err)
	}
	cookie := b.Cookie("__Host-latchkey-flow")
	var mu sync.Mutex
	var statuses []int
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			req, err := http.NewRequest(http.MethodPost, idp.Issuer+"/login/passkey", strings.NewReader(f.Values.Encode()))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.AddCookie(&http.Cookie{Name: "__Host-latchkey-flow", Value: cookie})
			res, err := idp.HTTP().Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			statuses = append(statuses, res.StatusCode)
		})
	}
	wait.Wait()
	slices.Sort(statuses)
	if want := []int{303, 422, 422, 422, 422, 422, 422, 422}; !slices.Equal(statuses, want) {
		t.Errorf("%v", statuses)
	}
}

// TestSec_PasskeyCopied: a count of signatures that goes back is refused, alone and as a second factor, and the person and the audit log hear of it.
func TestSec_PasskeyCopied(t *testing.T) {
	t.Parallel()
	idp, post := withMail(t, testidp.Options{Config: trainersShowTwo})
	key := idp.Authenticator()
	ada, _ := withPasskey(t, idp, key, testidp.Person{Email: "ada@example.com"})
	idp.Grant(ada, "trainer")
	thief := key.Copy()
	b := idp.Browser()
	for range 2 {
		b.Passkey(b.Get(idp.Issuer+"/login"), "login-with-passkey", key).Want(200, "account-title")
		b = idp.Browser()
	}
	p := b.Passkey(b.Get(idp.Issuer+"/login"), "login-with-passkey", thief).Want(http.StatusUnprocessableEntity, "error-summary")
	if !strings.Contains(said(p), "may have been copied") {
		t.Errorf("%q", said(p))
	}
	p = b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "passkey-use")
	thief.Keys[0].Count = 0
	b.Passkey(p, "passkey-use", thief).Want(http.StatusUnprocessableEntity, "error-summary")
	b.Get(idp.Issuer+"/account").Want(200, "login-title")
	testidp.Within(t, waitLong, "the mails", func() bool { return len(post.Mails()) == 3 })
	entries, err := idp.Store.AuditEntries(context.Background(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if e.Action == "user.passkey_copied" && e.Target == "user:"+ada.ID {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d entries", n)
	}
}

// TestSec_F18_PasskeyEnrolment: nobody adds a passkey to an account without having shown the factor that guards it, with another's challenge, from another
// page, or one that another account has; and nobody loses the last way in, or the last factor that they must have.
func TestSec_F18_PasskeyEnrolment(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: trainersShowTwo})
	key := idp.Authenticator()
	ada, _ := withPasskey(t, idp, key, testidp.Person{})
	idp.Grant(ada, "trainer")
	bob := idp.User(testidp.Person{})

	// Half a session adds nothing.
	half := idp.Browser()
	half.SignIn(half.Get(idp.Issuer+"/login"), ada).Want(200, "passkey-use")
	half.Get(idp.Issuer+"/account/passkeys").Want(200, "login-title")

	b, other := idp.Browser(), idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), bob)
	other.Passkey(other.Get(idp.Issuer+"/login"), "login-with-passkey", key)
	page := func(b *testidp.Browser) *testidp.Page {
		return b.Get(idp.Issuer+"/account/passkeys").Want(200, "passkeys-add")
	}
	for what, lie := range map[string]func(*testidp.Authenticator){
		"origin": func(a *testidp.Authenticator) { a.LieOrigin = "https://evil.example" },
		"RP ID":  func(a *testidp.Authenticator) { a.LieRPID = "evil.example" },
		"framed": func(a *testidp.Authenticator) { a.LieCross = true },
		"touch":  func(a *testidp.Authenticator) { a.LieSilent = true },
	} {
		liar := idp.Authenticator()
		lie(liar)
		if text := said(b.Passkey(page(b), "passkeys-add", liar).Want(422, "error-summary")); !strings.Contains(text, "didn’t work") {
			t.Errorf("%s: %q", what, text)
		}
	}
	fresh := idp.Authenticator()
	f, err := other.PasskeyForm(page(other), "passkeys-add", fresh)
	if err != nil {
		t.Fatal(err)
	}
	mine := page(b).FormOf("passkeys-add")
	mine.Values.Set("credential", f.Values.Get("credential"))
	if text := said(b.SendForm(page(b), mine).Want(422, "error-summary")); !strings.Contains(text, "too long") {
		t.Errorf("another's challenge: %q", text)
	}
	// The credential of another account, made up to answer one's own challenge.
	twin := idp.Authenticator()
	f, err = b.PasskeyForm(page(b), "passkeys-add", twin)
	if err != nil {
		t.Fatal(err)
	}
	id := func(a *testidp.Authenticator) string { return string(a.Keys[len(a.Keys)-1].ID) }
	f.Values.Set("credential", testidp.WithCredentialID(f.Values.Get("credential"), id(twin), id(key)))
	if text := said(b.SendForm(page(b), f).Want(422, "error-summary")); !strings.Contains(text, "has a passkey for your account already") {
		t.Errorf("another's credential: %q", text)
	}
	long := page(b)
	f, err = b.PasskeyForm(long, "passkeys-add", idp.Authenticator())
	if err != nil {
		t.Fatal(err)
	}
	f.Values.Set("name", strings.Repeat("a", 51))
	b.SendForm(long, f).Want(422, "passkey-name-error")
	if has, err := idp.Store.HasFactor(context.Background(), bob.ID); err != nil || has {
		t.Errorf("something was added: %v", err)
	}

	idp.Revoke(ada, "trainer")
	// The last way in stays; a way that opens nothing for her alone does not count.
	if _, err := idp.Store.WaysIn(context.Background(), ada.ID, []string{store.WayPasskey}); err != nil {
		t.Fatal(err)
	}
	idp = idp.Restart(func(c *config.Config) { c.Login.Password.Enabled = false })
	p := other.Get(idp.Issuer + "/account/passkeys")
	if !strings.Contains(p.Text("passkeys"), "your only way to sign in") {
		t.Errorf("%q", p.Text("passkeys"))
	}
	row := rowOf(t, p, 0)
	f = p.FormOf("name-" + row)
	for _, path := range []string{"/account/passkeys/", "/account/security/"} {
		f.Action = path + row + "/remove"
		if text := said(other.SendForm(p, f).Want(http.StatusConflict, "error-summary")); !strings.Contains(text, "only way to sign in") {
			t.Errorf("%q", text)
		}
	}
	// Nothing but a passkey is left to sign in with, and the page says what it needs.
	idp.Browser().Get(idp.Issuer+"/login").Want(200, "login-passkey-missing")
}

// TestSec_R64_PasskeyNeedsTheCode: an administrator's first passkey is no way around the code from whoever runs the host, at a sign-in, on the account's page
// or at the offer.
func TestSec_R64_PasskeyNeedsTheCode(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		c.MFA.Administrators, c.MFA.AdministratorCode, c.Passkeys.Offer = config.MFARequired, config.MFARequired, true
	}})
	ada, bob := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{})
	b := idp.Browser()
	p := b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "mfa-enrol-title")
	enrol := func(code string) *testidp.Page {
		t.Helper()
		p = b.Get(idp.Issuer+"/mfa/enrol/passkey").Want(200, "passkey-create")
		f, err := b.PasskeyForm(p, "passkey-create", idp.Authenticator())
		if err != nil {
			t.Fatal(err)
		}
		f.Values.Set("enrolment_code", code)
		return b.SendForm(p, f)
	}
	for _, wrong := range []string{"", "aaaa-bbbb-cccc-dddd"} {
		enrol(wrong).Want(http.StatusUnprocessableEntity, "mfa-enrolment-code-error")
	}
	code, err := login.NewEnrolmentCode(context.Background(), idp.Store, "cli", ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	enrol(code).Want(200, "mfa-codes")

	// Where nobody must have a factor, the other two pages ask as well.
	idp = idp.Restart(func(c *config.Config) { c.MFA.Administrators = config.MFAOffered })
	late := idp.Browser()
	late.SignIn(late.Get(idp.Issuer+"/login"), bob).Want(200, "account-title")
	idp.Grant(bob, "admin")
	for page, button := range map[string]string{"/account/passkeys": "passkeys-add", "/login/offer-passkey": "passkey-create"} {
		p := late.Get(idp.Issuer+page).Want(200, button)
		late.Passkey(p, button, idp.Authenticator()).Want(http.StatusUnprocessableEntity, "mfa-enrolment-code-error")
	}
	if has, err := idp.Store.HasFactor(context.Background(), bob.ID); err != nil || has {
		t.Errorf("added without a code: %v", err)
	}
}

// TestSec_F14_CodesShowTheFactor: whoever has the password alone of somebody with a passkey that asks nothing makes no recovery codes: with one of them
// they would have shown two factors, and an administrator's own factor would need no code from the host.
func TestSec_F14_CodesShowTheFactor(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Config: func(c *config.Config) {
		c.MFA.Administrators, c.MFA.AdministratorCode = config.MFAOffered, config.MFARequired
	}})
	key := idp.Authenticator()
	ada, _ := withPasskey(t, idp, key, testidp.Person{})
	idp.Grant(ada, "admin")
	b := idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), ada).Want(200, "account-title")
	p := b.Submit(b.Get(idp.Issuer+"/account/security"), "security-codes-renew", nil).Want(200, "passkey-use")
	if f, err := idp.Store.Factors(context.Background(), ada.ID); err != nil || len(f.Codes) > 0 {
		t.Errorf("%d codes for a password: %v", len(f.Codes), err)
	}
	// With the passkey there are some, and she is where she was.
	p = b.Passkey(p, "passkey-use", key).Want(200, "security-title")
	b.Submit(p, "security-codes-renew", nil).Want(200, "mfa-codes")
}

// TestSec_F18_OneFirstFactor: of two half-finished sign-ins that add the factor that somebody must have, the second adds none, though a passkey that
// stands alone was first.
func TestSec_F18_OneFirstFactor(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine, Config: trainersShowTwo})
		bob := idp.User(testidp.Person{Privileges: []string{"trainer"}})
		half := func() func() int {
			b := idp.Browser()
			b.SignIn(b.Get(idp.Issuer+"/login"), bob).Want(200, "mfa-enrol-title")
			p := b.Get(idp.Issuer+"/mfa/enrol/passkey").Want(200, "passkey-create")
			f, err := b.PasskeyForm(p, "passkey-create", idp.Authenticator())
			if err != nil {
				t.Fatal(err)
			}
			return func() int { return b.SendForm(p, f).Status }
		}
		sends := [2]func() int{half(), half()}
		var statuses [2]int
		var wait sync.WaitGroup
		for i, send := range sends {
			wait.Go(func() { statuses[i] = send() })
		}
		wait.Wait()
		slices.Sort(statuses[:])
		if f, err := idp.Store.Factors(context.Background(), bob.ID); err != nil || len(f.List) != 1 || statuses != [2]int{200, 400} {
			t.Errorf("%d factors, %v, %v", len(f.List), statuses, err)
		}
	})
}

// TestSec_F3_PasskeyChallengesEnd: one network does not fill the database with challenges that nobody answers.
func TestSec_F3_PasskeyChallengesEnd(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	b := idp.Browser()
	p := b.Get(idp.Issuer + "/login")
	f := p.FormOf("login-with-passkey")
	f.Action = p.Attr("login-with-passkey-form", "data-options")
	for range 400 {
		if answer := b.SendForm(p, f); answer.Status != http.StatusOK {
			if answer.Status != http.StatusTooManyRequests || answer.Header.Get("Retry-After") != "1" {
				t.Errorf("%s, Retry-After %q", answer, answer.Header.Get("Retry-After"))
			}
			return
		}
	}
	t.Error("no end")
}
