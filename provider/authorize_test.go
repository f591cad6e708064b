package provider_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// TestSec_A5_NeverAnOpenRedirector: forty broken requests; each ends on our page or at the registered URI.
func TestSec_A5_NeverAnOpenRedirector(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := idp.RP(store.ClientMetadata{})
	b := idp.Browser()
	page := map[string][]string{
		"unknown client": {"client_id", "nobody"}, "no client": {"client_id", ""}, "client id of a novel": {"client_id", strings.Repeat("x", 5000)},
		"foreign URI": {"redirect_uri", "https://evil.example/"}, "userinfo": {"redirect_uri", "https://rp.example@evil.example/callback"},
		"no URI": {"redirect_uri", ""}, "suffix": {"redirect_uri", "https://rp.example/callback/.."}, "query": {"redirect_uri", "https://rp.example/callback?x"},
		"fragment": {"redirect_uri", "https://rp.example/callback#x"}, "case": {"redirect_uri", "https://RP.example/callback"}, "port": {"redirect_uri", "https://rp.example:443/callback"},
		"javascript": {"redirect_uri", "javascript:alert(1)"}, "data": {"redirect_uri", "data:text/html,x"}, "relative": {"redirect_uri", "/callback"}, "scheme-relative": {"redirect_uri", "//rp.example/callback"},
		"http": {"redirect_uri", "http://rp.example/callback"}, "backslash": {"redirect_uri", `https:\\rp.example\callback`}, "encoded": {"redirect_uri", "https://rp.example/%63allback"},
		"NUL": {"redirect_uri", "https://rp.example/callback\x00"}, "line break": {"redirect_uri", "https://rp.example/callback\r\nSet-Cookie: a=b"},
	}
	for name, more := range page {
		p := b.Get(rp.Start(more...).URL)
		if p.Status < 400 || p.Status >= 500 || !p.Has("error-page") || p.Header.Get("Location") != "" {
			t.Errorf("%s: %s", name, p)
			continue
		}
		if code := p.Text("error-code"); code != "invalid_request" && code != "invalid_client" {
			t.Errorf("%s: code %q", name, code)
		}
	}
	dup := rp.Start()
	for _, k := range []string{"client_id=x", "redirect_uri=https://evil.example/", "redirect_uri=" + url.QueryEscape(rp.RedirectURI)} {
		if p := b.Get(dup.URL + "&" + k); p.Status != 400 || !p.Has("error-page") {
			t.Errorf("duplicate %s: %s", k, p)
		}
	}
	if p := b.Get(idp.Issuer + "/oauth2/authorize?%zz"); p.Status != 400 || !p.Has("error-page") {
		t.Errorf("unreadable query: %s", p)
	}
	redirected := map[string]struct {
		more []string
		code string
	}{
		"no response type":     {[]string{"response_type", ""}, "invalid_request"},
		"token":                {[]string{"response_type", "token"}, "unsupported_response_type"},
		"id_token":             {[]string{"response_type", "id_token"}, "unsupported_response_type"},
		"code token":           {[]string{"response_type", "code token"}, "unsupported_response_type"},
		"none":                 {[]string{"response_type", "none"}, "unsupported_response_type"},
		"scope":                {[]string{"scope", "openid admin"}, "invalid_scope"},
		"scope in capitals":    {[]string{"scope", "OPENID"}, "invalid_scope"},
		"response mode":        {[]string{"response_mode", "web_message"}, "invalid_request"},
		"no challenge":         {[]string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request"},
		"plain":                {[]string{"code_challenge_method", "plain"}, "invalid_request"},
		"challenge too short":  {[]string{"code_challenge", "abc"}, "invalid_request"},
		"challenge, not b64":   {[]string{"code_challenge", strings.Repeat("!", 43)}, "invalid_request"},
		"max_age words":        {[]string{"max_age", "soon"}, "invalid_request"},
		"max_age negative":     {[]string{"max_age", "-1"}, "invalid_request"},
		"max_age fraction":     {[]string{"max_age", "1.5"}, "invalid_request"},
		"prompt unknown":       {[]string{"prompt", "create"}, "invalid_request"},
		"prompt none and more": {[]string{"prompt", "none login"}, "invalid_request"},
		"request object":       {[]string{"request", "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"},
		"request_uri":          {[]string{"request_uri", "https://evil.example/r"}, "request_uri_not_supported"},
		"registration":         {[]string{"registration", "{}"}, "registration_not_supported"},
		"claims":               {[]string{"claims", "email"}, "invalid_request"},
		"hint":                 {[]string{"id_token_hint", "x.y.z"}, "invalid_request"},
		"resource":             {[]string{"resource", "https://api.example"}, "invalid_target"},
		"silent":               {[]string{"prompt", "none"}, "login_required"},
	}
	for name, c := range redirected {
		a := rp.Start(c.more...)
		p := b.Get(a.URL)
		if !strings.HasPrefix(p.URL.String(), rp.RedirectURI+"?") {
			t.Errorf("%s: ended at %s", name, p)
			continue
		}
		if got := rp.Error(a, p.URL); got != c.code {
			t.Errorf("%s: %s, want %s", name, got, c.code)
		}
	}
	for _, k := range []string{"state=x", "scope=openid", "nonce=x", "response_type=code", "code_challenge=x", "prompt=login", "max_age=1"} {
		a := rp.Start("prompt", "login", "max_age", "5")
		p := b.Get(a.URL + "&" + k)
		if got := p.URL.Query().Get("error"); got != "invalid_request" || !strings.HasPrefix(p.URL.String(), rp.RedirectURI+"?") {
			t.Errorf("duplicate %s: %s at %s", k, got, p)
		}
	}
}

// TestSec_A6_TheBrowserCannotChangeTheRequest: between sign-in and consent the agent edits whatever it can.
func TestSec_A6_TheBrowserCannotChangeTheRequest(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(refreshing(store.ClientMetadata{}))
	evil := map[string]string{"response_type": "token", "scope": "openid email privileges offline_access", "redirect_uri": "https://evil.example/", "client_id": "x", "nonce": "evil", "state": "evil", "code_challenge": "x"}
	tamper := func(f *testidp.Form) {
		for k, v := range evil {
			f.Values.Set(k, v)
		}
		u, err := url.Parse(f.Action)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		for k, v := range evil {
			q.Set(k, v)
		}
		u.RawQuery = q.Encode()
		f.Action = u.String()
	}
	b := idp.Browser()
	a := rp.Start("scope", "openid email")
	p := b.Get(a.URL)
	f := p.Form("login-form")
	f.Values.Set("identifier", ada.Email)
	f.Values.Set("password", ada.Password)
	tamper(f)
	p = b.SendForm(p, f).Want(200, "consent-title")
	g := p.FormOf("consent-accept")
	tamper(g)
	set := rp.Finish(a, b.SendForm(p, g).URL)
	if set.Scope != "openid email" || set.IDToken.Nonce != a.Nonce {
		t.Errorf("scope %q nonce %q", set.Scope, set.IDToken.Nonce)
	}
}

// TestSec_A7_AFlowBelongsToItsBrowser: whoever carries its URL elsewhere gets nothing, and the victim's sign-in gives the thief no code.
func TestSec_A7_AFlowBelongsToItsBrowser(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(store.ClientMetadata{})
	thief, victim := idp.Browser(), idp.Browser()
	a := rp.Start()
	page := thief.Get(a.URL)
	p := victim.Get(page.URL.String())
	if p.Status != 400 || !p.Has("error-page") {
		t.Fatalf("another browser opens the flow: %s", p)
	}
	handle := page.URL.Query().Get("flow")
	if p := victim.Get(idp.Issuer + "/consent?flow=" + handle); p.Status != 400 {
		t.Errorf("consent in another browser: %s", p)
	}
	// Guesses and rubbish.
	for _, h := range []string{"", "x", strings.Repeat("a", 26), handle + "a", strings.ToUpper(handle), "../" + handle, "%00"} {
		if p := victim.Get(idp.Issuer + "/consent?flow=" + url.QueryEscape(h)); p.Status != 400 {
			t.Errorf("handle %q: %s", h, p)
		}
	}
	// A finished flow is finished.
	thief.SignIn(page, ada)
	end := thief.Consent(thief.Get(idp.Issuer + "/consent?flow=" + handle))
	rp.Code(a, end.URL)
	if p := thief.Get(idp.Issuer + "/consent?flow=" + handle); p.Status != 400 || !p.Has("error-page") {
		t.Errorf("a finished flow goes on: %s", p)
	}
}

func TestFlowsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada := idp.User(testidp.Person{})
		rp := idp.RP(store.ClientMetadata{})
		b := idp.Browser()
		page := b.Get(rp.Start().URL)
		time.Sleep(10*time.Minute + time.Second)
		if p := b.SignIn(page, ada); p.Status != 400 || !p.Has("error-page") {
			t.Errorf("an expired flow goes on: %s", p)
		}
	})
}

// TestSec_A8_IssuerInEveryResponseMode; the harness checks it on every redirect of every test as well.
func TestSec_A8_IssuerInEveryResponseMode(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(store.ClientMetadata{})
	b := idp.Browser()
	if rp.Metadata()["authorization_response_iss_parameter_supported"] != true {
		t.Error("not announced")
	}
	code(t, b, rp, ada)
	for _, prompt := range []string{"", "none"} {
		a := rp.Start("response_mode", "fragment", "prompt", prompt)
		p := b.Get(a.URL)
		if p.URL.RawQuery != "" || p.URL.Fragment == "" {
			t.Errorf("fragment: %s", p)
		}
		rp.Code(a, p.URL)
	}
	for name, prompt := range map[string]string{"code": "none", "error": "none login"} {
		a := rp.Start("response_mode", "form_post", "prompt", prompt)
		p := b.Get(a.URL)
		f := p.Form("form-post-response")
		if p.Status != 200 || f.Action != rp.RedirectURI || f.Values.Get("iss") != idp.Issuer || f.Values.Get("state") != a.State || !f.Values.Has(name) {
			t.Errorf("form_post %s: %s %v", name, p, f.Values)
		}
		if f.Values.Has("form_token") {
			t.Error("our form token leaves for the client")
		}
		if !strings.Contains(p.Header.Get("Content-Security-Policy"), "form-action 'self' https://rp.example") {
			t.Errorf("form-action: %s", p.Header.Get("Content-Security-Policy"))
		}
	}
	// A client that sent no state gets none (OAuth 2.0; the certification suite insists).
	a := rp.Start("state", "")
	if q := b.Get(a.URL).URL.Query(); q.Has("state") || q.Get("code") == "" {
		t.Errorf("without state: %v", q)
	}
}

// TestSec_A15_FreshSignInReallyHappens through the pages.
func TestSec_A15_FreshSignInReallyHappens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada, eve := idp.User(testidp.Person{}), idp.User(testidp.Person{})
		rp := idp.RP(store.ClientMetadata{})
		b := idp.Browser()
		first := tokens(t, b, rp, ada)
		authTime := func(s *testidp.Tokens) int64 { return int64(s.Claims["auth_time"].(float64)) }
		time.Sleep(time.Hour)
		for _, more := range [][]string{{"prompt", "login"}, {"max_age", "0"}, {"max_age", "3599"}, {"prompt", "select_account"}} {
			a := rp.Start(more...)
			p := b.Get(a.URL).Want(200, "login-title")
			now := time.Now().Unix()
			set := rp.Finish(a, b.SignIn(p, ada).URL)
			if authTime(set) < now {
				t.Errorf("%v: auth_time %d is not that of the new sign-in (%d)", more, authTime(set), now)
			}
			time.Sleep(time.Hour)
		}
		for _, more := range [][]string{{"max_age", "3601"}, {"prompt", "none"}, {"max_age", "10000", "prompt", "none"}, {"id_token_hint", first.RawID, "prompt", "none"}} {
			a := rp.Start(more...)
			set := rp.Finish(a, b.Get(a.URL).URL)
			if authTime(set) >= time.Now().Unix() {
				t.Errorf("%v: auth_time moved", more)
			}
		}
		for _, more := range [][]string{{"max_age", "10", "prompt", "none"}, {"max_age", "0", "prompt", "none"}} {
			a := rp.Start(more...)
			if got := rp.Error(a, b.Get(a.URL).URL); got != "login_required" {
				t.Errorf("%v: %s", more, got)
			}
		}
		// A hint for somebody else: silent refusal, or a page; signing in as the wrong person is refused.
		other := tokens(t, idp.Browser(), rp, eve)
		a := rp.Start("prompt", "none", "id_token_hint", other.RawID)
		if got := rp.Error(a, b.Get(a.URL).URL); got != "login_required" {
			t.Errorf("hint for another: %s", got)
		}
		a = rp.Start("id_token_hint", other.RawID)
		p := b.Get(a.URL).Want(200, "login-title")
		if got := rp.Error(a, b.SignIn(p, ada).URL); got != "login_required" {
			t.Errorf("signed in as another than hinted: %s", got)
		}
		// claims.id_token.sub is the same wish in another dress (OIDC Core §5.5.1).
		a = rp.Start("prompt", "none", "claims", `{"id_token":{"sub":{"value":"`+eve.ID+`"}}}`)
		if got := rp.Error(a, b.Get(a.URL).URL); got != "login_required" {
			t.Errorf("claims.sub of another: %s", got)
		}
		a = rp.Start("claims", `{"id_token":{"acr":{"essential":true,"values":["phr"]}}}`, "prompt", "none")
		if got := rp.Error(a, b.Get(a.URL).URL); got != "unmet_authentication_requirements" {
			t.Errorf("acr out of reach: %s", got)
		}
	})
}

// TestSec_A16_ConsentIsAskedWhenItMust.
func TestSec_A16_ConsentIsAskedWhenItMust(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "L"})
	ctx := context.Background()
	b := idp.Browser()
	rp := idp.RP(refreshing(store.ClientMetadata{Name: "Wiki", Scope: "openid profile email phone offline_access"}))
	tokens(t, b, rp, ada, "scope", "openid")
	asks := func(rp *testidp.RP, more ...string) bool {
		t.Helper()
		p := b.Get(rp.Start(more...).URL)
		if p.Status == 0 {
			return false
		}
		return p.Want(200, "consent-title").Has("consent-accept")
	}
	if asks(rp, "scope", "openid") {
		t.Error("known consent is asked again")
	}
	if !asks(rp, "scope", "openid email") {
		t.Error("a new scope is not asked")
	}
	tokens(t, b, rp, ada, "scope", "openid profile")
	tokens(t, b, rp, ada, "scope", "openid phone") // one after the other, and both are remembered
	if asks(rp, "scope", "openid profile phone") {
		t.Error("a later consent forgot the earlier one")
	}
	if !asks(rp, "scope", "openid", "prompt", "consent") {
		t.Error("prompt=consent is not asked")
	}
	if !asks(rp, "scope", "openid", "claims", `{"userinfo":{"name":null}}`) {
		t.Error("other claims are not asked")
	}
	a := rp.Start("scope", "openid email", "prompt", "none")
	if got := rp.Error(a, b.Get(a.URL).URL); got != "consent_required" {
		t.Errorf("silent: %s", got)
	}
	// Denied: the client hears it, and nothing is remembered.
	a = rp.Start("scope", "openid email")
	p := b.Get(a.URL).Want(200, "consent-title")
	if p.Text("consent-client-name") != "Wiki" || !p.Has("scope-email") {
		t.Error("the page does not say who asks for what")
	}
	if got := rp.Error(a, b.Deny(p).URL); got != "access_denied" {
		t.Errorf("denied: %s", got)
	}
	if !asks(rp, "scope", "openid email") {
		t.Error("a refusal was remembered as a yes")
	}
	// A changed name asks again.
	c, err := idp.Store.Client(ctx, rp.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.Metadata.Name = "Wiki 2"
	if err := idp.Store.UpdateClient(ctx, "cli", c); err != nil {
		t.Fatal(err)
	}
	if !asks(rp, "scope", "openid") {
		t.Error("a changed client name is not asked")
	}
	// First-party clients are the operator's choice; native and public offline ones always ask.
	if asks(idp.RP(store.ClientMetadata{FirstParty: true})) {
		t.Error("a first-party client asks")
	}
	native := idp.RP(public(store.ClientMetadata{ApplicationType: "native", RedirectURIs: []string{"http://127.0.0.1/callback"}}))
	tokens(t, b, native, ada)
	if !asks(native) {
		t.Error("a native client is not asked about every time")
	}
	spa := idp.RP(public(refreshing(store.ClientMetadata{})))
	tokens(t, b, spa, ada)
	if !asks(spa) {
		t.Error("a public client that wants to stay is not asked about every time")
	}
	if asks(spa, "scope", "openid email") {
		t.Error("a public web client is asked about although it wants nothing new")
	}
}

// TestSec_A17_NoMarkupFromParameters.
func TestSec_A17_NoMarkupFromParameters(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{GivenName: `<script>alert("g")</script>`})
	payload := `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	rp := idp.RP(refreshing(store.ClientMetadata{Name: payload}))
	for _, k := range []string{"state", "login_hint", "ui_locales", "nonce", "scope", "redirect_uri", "client_id", "acr_values", "display"} {
		b := idp.Browser()
		b.Headers.Set("Accept-Language", payload)
		p := b.Get(rp.Start(k, payload).URL)
		for range 3 {
			if p.Status == 0 {
				break
			}
			if strings.Contains(p.Body, "<script>alert") || strings.Contains(p.Body, "<img src=x") {
				t.Errorf("%s: markup on %s", k, p)
			}
			if !p.Has("login-form") {
				break
			}
			p = b.SignIn(p, ada)
		}
	}
}

// TestSec_A18_TokensStayOutOfURLs and pages out of caches.
func TestSec_A18_TokensStayOutOfURLs(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	rp := idp.RP(store.ClientMetadata{})
	b := idp.Browser()
	p := b.Get(rp.Start().URL)
	for _, x := range b.Log {
		if got := x.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", x.URL.Path, got)
		}
		if got := x.Header.Get("Referrer-Policy"); got != "same-origin" {
			t.Errorf("%s: Referrer-Policy %q", x.URL.Path, got)
		}
	}
	if !p.Has("login-form") {
		t.Error("no sign-in page")
	}
	types, _ := rp.Metadata()["response_types_supported"].([]any)
	if len(types) != 1 || types[0] != "code" {
		t.Errorf("announced response types: %v", types)
	}
}

// TestSec_A23_TabsDoNotMix: two tabs, two people; finishing one does not finish or alter the other, and a changed person voids a consent.
func TestSec_A23_TabsDoNotMix(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, eve := idp.User(testidp.Person{}), idp.User(testidp.Person{})
	rp, other := idp.RP(store.ClientMetadata{}), idp.RP(store.ClientMetadata{})
	b := idp.Browser()
	one, two := rp.Start(), other.Start()
	p1, p2 := b.Get(one.URL), b.Get(two.URL)
	c1 := b.SignIn(p1, ada).Want(200, "consent-title")
	c2 := b.SignIn(p2, eve).Want(200, "consent-title")
	set := other.Finish(two, b.Consent(c2).URL)
	if set.IDToken.Subject != eve.ID {
		t.Error("tab two is somebody else's")
	}
	// Tab one was opened for Ada; Eve is signed in now and clicks yes there: the code, if any, is Eve's and she said yes.
	end := b.Consent(c1)
	if end.Status == 0 {
		if set := rp.Finish(one, end.URL); set.IDToken.Subject != eve.ID {
			t.Error("a code for somebody who is not signed in")
		}
	}
	if p := b.Get(two.URL); p.Status != 0 {
		t.Errorf("a second use of the same request: %s", p)
	}
}

// TestPostedAuthorizationRequest: OIDC Core §3.1.2.1; the session's Lax cookie does not come with a cross-site POST.
func TestPostedAuthorizationRequest(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	rp := idp.RP(store.ClientMetadata{})
	b := idp.Browser()
	tokens(t, b, rp, ada)
	a := rp.Start()
	u, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	u.RawQuery = ""
	end := b.CrossSitePost(u.String(), q)
	rp.Finish(a, end.URL)
	if first := b.Log[len(b.Log)-2]; first.Method != "POST" || first.Status != http.StatusSeeOther {
		t.Errorf("the POST answered %d", first.Status)
	}
	if p := b.CrossSitePost(u.String(), url.Values{"client_id": {rp.ID}, "x": {strings.Repeat("y", 20000)}}); p.Status != 400 {
		t.Errorf("a huge request: %s", p)
	}
}

func TestRequiredPrivileges(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{Privileges: []string{"user"}})
	rp := idp.RP(store.ClientMetadata{Name: "Payroll", RequiredPrivileges: []any{[]any{"trainer", "developer"}}})
	b := idp.Browser()
	a := rp.Start()
	p := b.SignIn(b.Get(a.URL), ada)
	if p.Status != 403 || p.Text("error-code") != "access_denied" {
		t.Fatalf("without the privilege: %s", p)
	}
	back, err := url.Parse(p.Attr("error-return", "href"))
	if err != nil || rp.Error(a, back) != "access_denied" {
		t.Errorf("the way back: %v", back)
	}
	a = rp.Start("prompt", "none")
	if got := rp.Error(a, b.Get(a.URL).URL); got != "access_denied" {
		t.Errorf("silent: %s", got)
	}
	idp.Grant(ada, "trainer")
	tokens(t, b, rp, ada)
}

// TestAuthorize_OtherWayIn: a session that began in a way the client does not take counts as none (R53).
func TestAuthorize_OtherWayIn(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada := idp.User(testidp.Person{})
	b := idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), ada)
	for _, c := range []struct {
		takes []string
		in    bool
	}{{nil, true}, {[]string{"google", "password"}, true}, {[]string{"google"}, false}} {
		rp := idp.RP(store.ClientMetadata{FirstParty: true, Connectors: c.takes})
		a := rp.Start("prompt", "none")
		got := b.Get(a.URL).URL.Query()
		if in := got.Get("code") != ""; in != c.in || !in && got.Get("error") != "login_required" {
			t.Errorf("takes %v: %v", c.takes, got)
		}
	}
}
