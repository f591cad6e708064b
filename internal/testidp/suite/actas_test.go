package suite

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// takesActing is a client of the operator's that takes people who act for others.
func takesActing() store.ClientMetadata {
	return store.ClientMetadata{Name: "Ledger", Scope: "openid profile email privileges offline_access", GrantTypes: []string{"authorization_code", "refresh_token"},
		RefreshTokens: "session", FirstParty: true, AllowActAs: true}
}

// authority lets one person act for another.
func authority(t testing.TB, idp *testidp.IDP, grantor, grantee testidp.Person, life time.Duration, client string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(rand.Text()))
	link := hex.EncodeToString(sum[:])
	ctx, until := context.Background(), store.At(idp.Now().Add(life))
	err := idp.Store.OfferAuthority(ctx, grantor.ID, &store.Authority{ClientID: client, LinkHash: link, LinkUntil: until, Until: until})
	if err == nil {
		_, err = idp.Store.TakeAuthority(ctx, grantee.ID, link)
	}
	if err != nil {
		t.Fatal(err)
	}
	list, err := idp.Store.AuthoritiesTaken(ctx, grantee.ID)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(a store.Authority) bool { return a.LinkHash == link })
	return list[i].ID
}

// actFor signs somebody in and lets them begin to act by an authority.
func actFor(t testing.TB, idp *testidp.IDP, who testidp.Person, id string) *testidp.Browser {
	t.Helper()
	b := idp.Browser()
	b.SignIn(b.Get(idp.Issuer+"/login"), who)
	b.Submit(b.Get(idp.Issuer+"/account/authorities"), "act-"+id, nil).Want(200, "acting-banner")
	return b
}

func tokensFor(b *testidp.Browser, rp *testidp.RP, more ...string) *testidp.Tokens {
	a := rp.Start(more...)
	return rp.Finish(a, b.Get(a.URL).URL)
}

// speaks fails the test unless all four places say who is represented and who acts ("" = nobody).
func speaks(t testing.TB, rp *testidp.RP, tok *testidp.Tokens, sub, actor string) {
	t.Helper()
	var want any
	if actor != "" {
		want = map[string]any{"sub": actor}
	}
	for place, m := range places(t, rp, tok) {
		if m["sub"] != sub || !reflect.DeepEqual(m["act"], want) {
			t.Errorf("%s: sub %v, act %v; want %s and %v", place, m["sub"], m["act"], sub, want)
		}
	}
}

// TestActAs_Story: a link from hand to hand, an application that is told of both, and the way back. The application's own package says who acts.
func TestActAs_Story(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace", Privileges: []string{"trainer"}})
		bob := idp.User(testidp.Person{GivenName: "Bob", FamilyName: "Babbage"})
		rp := idp.RP(takesActing())

		a := idp.Browser()
		a.SignIn(a.Get(idp.Issuer+"/login"), ada).Want(200, "account-authorities")
		page := a.Submit(a.Get(idp.Issuer+"/account/authorities"), "authority-submit", map[string]string{"authority-days": "30", "authority-reason": "Holidays", "authority-client": rp.ID})
		link := page.Want(200, "authority-new").Text("authority-link")
		if !strings.HasPrefix(link, idp.Issuer+"/authority/") {
			t.Fatalf("the link is %s", link)
		}
		a.Get(link).Want(200, "authority-own")
		if a.Get(idp.Issuer + "/account/authorities").Has("authority-link") {
			t.Error("the link is shown again")
		}

		// Whoever opens it signs in first and comes back to it.
		b := idp.Browser()
		page = b.SignIn(b.Get(link).Want(200, "login-title"), bob).Want(200, "authority-take")
		if got := page.Text("authority-title") + page.Body; !strings.Contains(got, "Ada Lovelace") || !strings.Contains(got, "Holidays") {
			t.Errorf("the offer does not say whose it is:\n%s", page.Body)
		}
		page = b.Submit(page, "authority-take", nil).Want(200, "authorities-taken")
		if got := page.Text("authorities-taken"); !strings.Contains(got, "Ada Lovelace") || !strings.Contains(got, "Only Ledger") {
			t.Errorf("taken: %s", got)
		}
		c := idp.Browser()
		c.SignIn(c.Get(link), idp.User(testidp.Person{})).Want(410, "error-page")

		own := tokensFor(b, rp)
		speaks(t, rp, own, bob.ID, "")
		before, id := b.Cookie("__Host-latchkey"), between(page.Body, `name="authority" value="`, `"`)
		page = b.Submit(page, "act-"+id, nil).Want(200, "acting-banner")
		if got := page.Text("acting-banner"); !strings.HasPrefix(got, "You are acting for Ada Lovelace.") {
			t.Errorf("the banner says %q", got)
		}
		if b.Cookie("__Host-latchkey") == before { // security.md C1
			t.Error("the session's id is the same")
		}
		for _, hidden := range []string{"account-sessions", "account-connections", "account-authorities", "end-others"} {
			if page.Has(hidden) {
				t.Errorf("while acting the account shows #%s", hidden)
			}
		}
		if got := page.Text("account-about"); !strings.Contains(got, ada.Email) || strings.Contains(page.Body, "/account/apps/remove") {
			t.Errorf("the account is not Ada's, or not only to look at: %s", got)
		}

		tok := tokensFor(b, rp)
		speaks(t, rp, tok, ada.ID, bob.ID)
		_, info := rp.UserInfo(tok.AccessToken)
		if info["name"] != "Ada Lovelace" || !slices.Contains(stringList(info["privileges"]), "trainer") {
			t.Errorf("userinfo is not Ada's: %v", info)
		}
		if tok.Claims["auth_time"] != own.Claims["auth_time"] || !reflect.DeepEqual(tok.Claims["amr"], own.Claims["amr"]) {
			t.Errorf("the sign-in is not Bob's: %v", tok.Claims)
		}
		next, err := rp.Refresh(tok)
		if err != nil {
			t.Fatal(err)
		}
		speaks(t, rp, next, ada.ID, bob.ID)

		// Back, and what was for Ada is over; what was Bob's is not.
		page = b.Submit(b.Get(idp.Issuer+"/account"), "acting-stop", nil).Want(200, "account-title")
		if page.Has("acting-banner") || !strings.Contains(page.Text("account-about"), bob.Email) {
			t.Errorf("not back: %s", page.Body)
		}
		if _, err := rp.Refresh(next); err == nil {
			t.Error("a refresh token outlives the acting")
		}
		if status, _ := rp.UserInfo(next.AccessToken); status != 401 {
			t.Errorf("an access token outlives the acting: %d", status)
		}
		if status, _ := rp.UserInfo(own.AccessToken); status != 200 {
			t.Errorf("Bob's own token died: %d", status)
		}
		// Both find it in what happened.
		for _, who := range []string{ada.ID, bob.ID} {
			events, err := idp.Store.EventsOf(t.Context(), who, 50)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]int{}
			for _, e := range events {
				if strings.Contains(e.Data, ada.ID) && strings.Contains(e.Data, bob.ID) {
					seen[e.Kind]++
				}
			}
			if want := map[string]int{"act_as.start": 1, "act_as.sign_in": 1, "act_as.end": 1}; !reflect.DeepEqual(seen, want) {
				t.Errorf("events %v", seen)
			}
		}
	})
}

// TestActAs_WithoutAuthority: nobody begins to act whom nobody lets, whatever they send, and the answer is the same.
func TestActAs_WithoutAuthority(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, bob, eve := idp.User(testidp.Person{}), idp.User(testidp.Person{}), idp.User(testidp.Person{})
	root, other := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{})
	id := authority(t, idp, ada, bob, time.Hour, "")
	gone := authority(t, idp, ada, eve, time.Hour, "")
	if err := idp.Store.EndAuthority(t.Context(), ada.ID, gone); err != nil {
		t.Fatal(err)
	}
	b := idp.Browser()
	page := b.SignIn(b.Get(idp.Issuer+"/login"), eve)
	body := ""
	for name, form := range map[string]url.Values{
		"nothing":              {},
		"unknown":              {"authority": {"x"}},
		"another's":            {"authority": {id}},
		"ended":                {"authority": {gone}},
		"by permission":        {"user": {ada.ID}, "reason": {"x"}},
		"for nobody":           {"user": {"nobody"}, "reason": {"x"}},
		"for oneself":          {"user": {eve.ID}, "reason": {"x"}},
		"for an administrator": {"user": {root.ID}, "reason": {"x"}},
		"as Lino's su":         {"su": {ada.ID}, "acting_for": {ada.ID}, "acting_by": {"permission"}},
	} {
		f := page.Form("sign-out")
		f.Action = "/account/act"
		for k, v := range form {
			f.Values[k] = v
		}
		before := idp.Store.Counts().Writes
		got := b.SendForm(page, f)
		if got.Status != 403 || got.Attr("error-page", "data-error") != "access_denied" || idp.Store.Counts().Writes != before {
			t.Errorf("%s: %d, %d writes", name, got.Status, idp.Store.Counts().Writes-before)
		}
		if said := got.Text("error-description"); body != "" && said != body {
			t.Errorf("%s: another answer: %s", name, said)
		} else {
			body = said
		}
	}
	if b.Get(idp.Issuer + "/account").Has("acting-banner") {
		t.Fatal("acting")
	}
	// An administrator does, with a reason, and it is written down.
	b = idp.Browser()
	page = b.SignIn(b.Get(idp.Issuer+"/login"), root)
	send := func(user, reason string) *testidp.Page {
		f := page.Form("sign-out")
		f.Action, f.Values["user"], f.Values["reason"] = "/account/act", []string{user}, []string{reason}
		return b.SendForm(page, f)
	}
	send(root.ID, "x").Want(403, "error-page")
	send("nobody", "x").Want(403, "error-page")
	send(other.ID, " ").Want(422, "error-page")
	send(other.ID, "two\nlines").Want(422, "error-page")
	send(other.ID, "asked by telephone").Want(200, "acting-banner")
	entries, err := idp.Store.AuditEntries(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	last := entries[len(entries)-1]
	if last.Action != "act_as.start" || last.Actor != root.ID || last.Target != "user:"+other.ID || !strings.Contains(last.Diff, "asked by telephone") {
		t.Errorf("audit %+v", last)
	}
}

// whileActing are the routes open to somebody who acts: everything else is for the person themselves. The list is here a second time on purpose.
var whileActing = []string{"GET /account", "POST /account/act/stop", "GET /logged-out", "GET /logout", "POST /logout", "GET /oauth2/authorize", "POST /oauth2/authorize",
	"GET /oauth2/logout", "POST /oauth2/logout", "POST /oauth2/logout/confirm", "POST /preferences", "GET /{$}"}

// TestActAs_EveryOtherRouteRefuses: whoever acts changes nothing of either person: passwords, factors, addresses, links, authorities, sessions,
// consents, administration. A route that nobody thought about is closed.
func TestActAs_EveryOtherRouteRefuses(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Demo: true, Fakes: testidp.NewFakes(t, "oidc", "facebook")})
	ada, bob := idp.User(testidp.Person{Privileges: []string{"admin"}}), idp.User(testidp.Person{Privileges: []string{"admin"}})
	b := actFor(t, idp, bob, authority(t, idp, ada, bob, time.Hour, ""))
	token := b.Get(idp.Issuer + "/account").Form("acting-stop").Values.Get("form_token")
	session := []*http.Cookie{{Name: "__Host-latchkey", Value: b.Cookie("__Host-latchkey")}, {Name: "__Host-latchkey-flow", Value: b.Cookie("__Host-latchkey-flow")}}
	self := http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {idp.Issuer}}
	var open []string
	for _, r := range idp.Server.Mux().Routes() {
		if r.Kind == "api" {
			continue // reads no session
		}
		if slices.Contains(r.Options, "while_acting") {
			open = append(open, r.Pattern)
			continue
		}
		before := idp.Store.Counts().Writes
		got := hit(t, idp, r, ask{header: self, cookies: session, body: url.Values{"form_token": {token}}})
		if got.Status != 403 || !strings.Contains(got.Body, `data-error="acting"`) || !strings.Contains(got.Body, `id="acting-stop"`) {
			t.Errorf("%s: %d %.300s", r.Pattern, got.Status, got.Body)
		}
		if n := idp.Store.Counts().Writes - before; n != 0 {
			t.Errorf("%s: wrote %d times", r.Pattern, n)
		}
	}
	slices.Sort(open)
	want := slices.Sorted(slices.Values(whileActing))
	if !slices.Equal(open, want) {
		t.Errorf("open while acting:\n%s\nwant\n%s", strings.Join(open, "\n"), strings.Join(want, "\n"))
	}
	// One signs out, both ways.
	page := b.Get(idp.Issuer+"/logout").Want(200, "acting-banner")
	b.Submit(page, "logout-confirm", nil).Want(200, "logout-done")
	b.Get(idp.Issuer+"/account").Want(200, "login-title")
}

// TestActAs_EndsAtOnce: whatever takes the ground away, the next request is one's own and the tokens are dead (R103: the check is made on every
// request, and not when the menu is drawn).
func TestActAs_EndsAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, engine string) {
		idp := testidp.Start(t, testidp.Options{Engine: engine})
		ctx := t.Context()
		for name, c := range map[string]struct {
			do         func(ada, bob testidp.Person, id string) error
			back       func(ada, bob testidp.Person) error // what undoes it; the acting stays over
			signedOut  bool
			stillActor bool // the session goes on acting: only this client is lost
		}{
			"the grantor ends it": {do: func(ada, _ testidp.Person, id string) error { return idp.Store.EndAuthority(ctx, ada.ID, id) }},
			"the grantee ends it": {do: func(_, bob testidp.Person, id string) error { return idp.Store.EndAuthority(ctx, bob.ID, id) }},
			"the grantor is disabled": {do: func(ada, _ testidp.Person, _ string) error { return idp.Store.DisableUser(ctx, "cli", ada.ID, "x") },
				back: func(ada, _ testidp.Person) error { return idp.Store.EnableUser(ctx, "cli", ada.ID) }},
			"the actor is disabled": {do: func(_, bob testidp.Person, _ string) error { return idp.Store.DisableUser(ctx, "cli", bob.ID, "x") },
				back: func(_, bob testidp.Person) error { return idp.Store.EnableUser(ctx, "cli", bob.ID) }, signedOut: true},
			"the grantor rises": {do: func(ada, _ testidp.Person, _ string) error {
				return idp.Store.Assign(ctx, "cli", &store.Assignment{UserID: ada.ID, Privilege: "advocate"})
			}, back: func(ada, _ testidp.Person) error { return idp.Store.Unassign(ctx, "cli", ada.ID, "advocate") }},
			"the grantor is erased": {do: func(ada, _ testidp.Person, _ string) error { return idp.Store.EraseUser(ctx, "cli", ada.ID) }},
			"the grantor signs out everywhere": {do: func(ada, _ testidp.Person, _ string) error {
				return idp.Store.EndSessionsOf(ctx, ada.ID, "", "x", true)
			}, stillActor: true},
		} {
			ada, bob := idp.User(testidp.Person{}), idp.User(testidp.Person{})
			rp := idp.RP(takesActing())
			id := authority(t, idp, ada, bob, time.Hour, "")
			b := actFor(t, idp, bob, id)
			tok := tokensFor(b, rp)
			speaks(t, rp, tok, ada.ID, bob.ID)
			if err := c.do(ada, bob, id); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			check := func(when string) {
				t.Helper()
				if _, err := rp.Refresh(tok); err == nil {
					t.Errorf("%s, %s: refreshed", name, when)
				}
				if status, _ := rp.UserInfo(tok.AccessToken); status != 401 {
					t.Errorf("%s, %s: userinfo %d", name, when, status)
				}
				for _, token := range []string{tok.AccessToken, tok.RefreshToken} {
					if r := rp.Introspect(token); r.JSON["active"] != false {
						t.Errorf("%s, %s: introspection %s", name, when, r.Body)
					}
				}
			}
			check("at once")
			page := b.Get(idp.Issuer + "/account")
			switch {
			case c.signedOut:
				page.Want(200, "login-title")
			case c.stillActor:
				page.Want(200, "acting-banner")
			case page.Status != 200 || page.Has("acting-banner") || !strings.Contains(page.Text("account-about"), bob.Email):
				t.Errorf("%s: still acting: %d", name, page.Status)
			}
			if c.back != nil {
				if err := c.back(ada, bob); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				check("and for good")
				if page := b.Get(idp.Issuer + "/account"); page.Has("acting-banner") {
					t.Errorf("%s: acting again by itself", name)
				}
			}
			if c.signedOut || c.stillActor {
				continue
			}
			// The application gets oneself now, and nobody else.
			speaks(t, rp, tokensFor(b, rp), bob.ID, "")
		}
	})
}

// TestActAs_ClientChangesItsMind: an application that takes nobody who acts any more loses those it has.
func TestActAs_ClientChangesItsMind(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, bob := idp.User(testidp.Person{}), idp.User(testidp.Person{})
	rp := idp.RP(takesActing())
	b := actFor(t, idp, bob, authority(t, idp, ada, bob, time.Hour, ""))
	tok := tokensFor(b, rp)
	c, err := idp.Store.Client(t.Context(), rp.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.Metadata.AllowActAs = false
	if err := idp.Store.UpdateClient(t.Context(), "cli", c); err != nil {
		t.Fatal(err)
	}
	if _, err := rp.Refresh(tok); err == nil {
		t.Error("refreshed")
	}
	if status, _ := rp.UserInfo(tok.AccessToken); status != 401 {
		t.Errorf("userinfo %d", status)
	}
	b.Get(rp.Start().URL).Want(403, "acting-page")
}

// TestActAs_AuthorityEnds: tokens end with the authority, and so does the acting.
func TestActAs_AuthorityEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{})
		ada, bob := idp.User(testidp.Person{}), idp.User(testidp.Person{})
		rp := idp.RP(takesActing())
		b := actFor(t, idp, bob, authority(t, idp, ada, bob, 5*time.Minute, ""))
		end := idp.Now().Add(5 * time.Minute)
		tok := tokensFor(b, rp)
		if exp, ok := payload(t, tok.AccessToken)["exp"].(float64); !ok || int64(exp) > end.Unix() {
			t.Errorf("the access token ends at %v, the authority at %d", exp, end.Unix())
		}
		time.Sleep(5*time.Minute + time.Second)
		if _, err := rp.Refresh(tok); err == nil {
			t.Error("refreshed")
		}
		if page := b.Get(idp.Issuer + "/account"); page.Has("acting-banner") {
			t.Error("still acting")
		}
		speaks(t, rp, tokensFor(b, rp), bob.ID, "")
	})
}

// TestActAs_FormsFromBefore: a form that was drawn for the one person is not sent for the other.
func TestActAs_FormsFromBefore(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{})
	ada, bob := idp.User(testidp.Person{}), idp.User(testidp.Person{})
	id := authority(t, idp, ada, bob, time.Hour, "")
	b := idp.Browser()
	before := b.SignIn(b.Get(idp.Issuer+"/login"), bob)
	b.Submit(b.Get(idp.Issuer+"/account/authorities"), "act-"+id, nil)
	b.Submit(before, "sign-out", nil).Want(403, "error-page")
	acting := b.Get(idp.Issuer + "/account")
	if err := idp.Store.EndAuthority(t.Context(), ada.ID, id); err != nil {
		t.Fatal(err)
	}
	if page := b.Submit(acting, "sign-out", nil).Want(403, "error-page"); page.Attr("error-page", "data-error") != "form_expired" {
		t.Errorf("%s", page.Body)
	}
	// Only the link's owner's words are on the page, as text.
	a := idp.Browser()
	a.SignIn(a.Get(idp.Issuer+"/login"), ada)
	client := idp.RP(takesActing()).ID
	for _, c := range []struct {
		form  map[string]string
		field string
	}{
		{map[string]string{"authority-reason": strings.Repeat("x", 201)}, "authority-reason-error"},
		{map[string]string{"authority-days": "8"}, "authority-days-error"},
		{map[string]string{"authority-client": "nobody"}, "authority-client-error"},
	} {
		page := a.Submit(a.Get(idp.Issuer+"/account/authorities"), "authority-submit", c.form).Want(422, c.field)
		if page.Has("authority-link") {
			t.Error("a link all the same")
		}
	}
	page := a.Submit(a.Get(idp.Issuer+"/account/authorities"), "authority-submit", map[string]string{"authority-reason": "<b>now</b>", "authority-client": client})
	link := page.Want(200, "authority-link").Text("authority-link")
	if page = b.Get(link).Want(200, "authority-take"); !strings.Contains(page.Body, "&lt;b&gt;now") {
		t.Errorf("%s", page.Body)
	}
	// Taken back before anybody came.
	page = a.Get(idp.Issuer + "/account/authorities")
	a.Submit(page, "end-"+between(page.Text("authorities-given")+page.Body, `id="end-`, `"`), nil).Want(200, "authorities-title")
	b.Submit(b.Get(idp.Issuer+"/account"), "sign-out", nil)
	c := idp.Browser()
	c.SignIn(c.Get(link), idp.User(testidp.Person{})).Want(410, "error-page")
	c.Get(idp.Issuer+"/authority/unknown").Want(404, "error-page")
}

// TestActAs_DatabaseDown: not knowing whether somebody may act is neither yes nor no.
func TestActAs_DatabaseDown(t *testing.T) {
	t.Parallel()
	gate := testidp.NewGate(t)
	idp := testidp.Start(t, testidp.Options{URL: gate.URL})
	ada, bob := idp.User(testidp.Person{}), idp.User(testidp.Person{})
	rp := idp.RP(takesActing())
	b := actFor(t, idp, bob, authority(t, idp, ada, bob, time.Hour, ""))
	tok := tokensFor(b, rp)
	gate.Shut()
	b.Get(idp.Issuer+"/account").Want(503, "error-page")
	if status, _ := rp.UserInfo(tok.AccessToken); status != 503 {
		t.Errorf("userinfo %d", status)
	}
	gate.Open()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if page := b.Get(idp.Issuer + "/account"); page.Status == 200 {
			page.Want(200, "acting-banner")
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the database did not come back")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if status, _ := rp.UserInfo(tok.AccessToken); status != 200 {
		t.Errorf("afterwards: userinfo %d", status)
	}
	if _, err := rp.Refresh(tok); errors.Is(err, context.Canceled) || err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestActAs_Browser: the banner, the pages and the way back in a real browser, with and without script, in both languages.
func TestActAs_Browser(t *testing.T) {
	t.Parallel()
	idp := testidp.Start(t, testidp.Options{Plain: true})
	ada := idp.User(testidp.Person{GivenName: "Ada", FamilyName: "Lovelace"})
	bob := idp.User(testidp.Person{GivenName: "Bob", FamilyName: "Babbage"})
	m := takesActing()
	m.AllowActAs, m.Name = false, "Wiki"
	plain := idp.RP(m)
	idp.RP(takesActing())
	for _, lang := range []string{"en", "de"} {
		for _, scripts := range []bool{true, false} {
			look := func(*chrome, string) {}
			if scripts {
				look = func(c *chrome, name string) { c.look(lang + "-" + name) }
			}
			a, b := newChrome(t, scripts), newChrome(t, scripts)
			for c, who := range map[*chrome]testidp.Person{a: ada, b: bob} {
				c.open(idp.Issuer+"/login", "login-title")
				if lang == "de" {
					c.do(chromedp.Click(chromedp.CSS(`button[lang="de"]`)), chromedp.WaitVisible(chromedp.CSS(`button[lang="en"]`)))
				}
				c.fill("login-identifier", who.Email)
				c.fill("login-password", who.Password)
				c.click("login-submit", "account-title")
			}
			a.click("account-authorities-open", "authority-form")
			look(a, "authorities")
			a.click("authority-submit", "authority-new")
			look(a, "authority-made")
			b.open(a.text("authority-link"), "authority-take")
			look(b, "authority")
			b.click("authority-take", "authorities-taken")
			look(b, "authorities-taken")
			list, err := idp.Store.AuthoritiesTaken(t.Context(), bob.ID)
			if err != nil {
				t.Fatal(err)
			}
			b.click("act-"+list[len(list)-1].ID, "acting-banner")
			if got := b.text("acting-banner"); !strings.Contains(got, "Ada Lovelace") {
				t.Errorf("%s: the banner says %s", lang, got)
			}
			look(b, "acting-account")
			b.open(idp.Issuer+"/account/authorities", "error-page")
			look(b, "acting-refused")
			b.open(plain.Start().URL, "acting-page")
			look(b, "acting-page")
			b.click("acting-stop", "account-title")
			if got := b.text("account-title"); !strings.Contains(got, "Bob") {
				t.Errorf("%s: not back: %s", lang, got)
			}
			for _, x := range list {
				if err := idp.Store.EndAuthority(t.Context(), ada.ID, x.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
