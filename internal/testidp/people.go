package testidp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// Person is an account to make, and afterwards the one that was made.
type Person struct {
	GivenName, FamilyName string
	Email, Username       string // one of them is made up when both are empty
	Unverified            bool   // the e-mail address
	Phone                 string
	Password              string // default: a good one
	MustChange            bool   // the password
	Privileges            []string
	UserType              string // a value
	Profile               store.Profile

	ID string // filled in by User
}

// DefaultPassword of people.
const DefaultPassword = "correct horse battery staple"

// User makes an account with a password and its privileges, as the command line would.
func (i *IDP) User(p Person) Person {
	i.t.Helper()
	ctx := context.Background()
	if p.Email == "" && p.Username == "" {
		p.Email = strings.ToLower(rand.Text()[:10]) + "@example.com"
	}
	if p.Password == "" {
		p.Password = DefaultPassword
	}
	u := store.User{
		Email: p.Email, Username: p.Username, GivenName: p.GivenName, FamilyName: p.FamilyName, Phone: p.Phone,
		Profile: p.Profile,
	}
	now := store.At(i.Now())
	if p.Email != "" && !p.Unverified {
		u.EmailVerifiedAt = now
	}
	if p.Phone != "" {
		u.PhoneVerifiedAt = now
	}
	phc, err := i.Server.Passwords().Hash(ctx, p.Password)
	i.must(err)
	i.must(i.Store.CreateUser(ctx, &u))
	i.must(i.Store.SetPassword(ctx, "cli", u.ID, phc, p.MustChange, ""))
	p.ID = u.ID
	if p.UserType != "" {
		i.must(i.Store.SetUserType(ctx, "cli", u.ID, p.UserType))
	}
	i.Grant(p, p.Privileges...)
	return p
}

// Grant gives privileges, as the operator.
func (i *IDP) Grant(p Person, privileges ...string) {
	i.t.Helper()
	for _, name := range privileges {
		i.must(i.Store.Assign(context.Background(), "cli", &store.Assignment{UserID: p.ID, Privilege: name, GivenBy: "cli"}))
	}
}

// Revoke takes a privilege away.
func (i *IDP) Revoke(p Person, privilege string) {
	i.t.Helper()
	i.must(i.Store.Unassign(context.Background(), "cli", p.ID, privilege))
}

// Client registers an application and returns its id and secret; "" for one that has none.
func (i *IDP) Client(m store.ClientMetadata) (id, secret string) {
	i.t.Helper()
	c := store.Client{ID: strings.ToLower(rand.Text()), Source: "admin", Metadata: m}
	if provider.UsesSecret(m.TokenEndpointAuth) {
		raw := make([]byte, 32)
		rand.Read(raw) // never fails
		secret = base64.RawURLEncoding.EncodeToString(raw)
		kept := masterKeys().ClientSecret(c.ID, m.TokenEndpointAuth, secret)
		c.SecretHash, c.SecretSealed = kept.Hash, kept.Sealed
	}
	i.must(i.Store.CreateClient(context.Background(), "cli", &c))
	return c.ID, secret
}

// ClientSecret is how a secret is kept, as the server under test keeps it.
func ClientSecret(id, method, secret string) store.ClientSecret {
	return masterKeys().ClientSecret(id, method, secret)
}

// Outbox returns the newest mails and SMS that wait or were sent, newest first.
func (i *IDP) Outbox() []store.Message {
	i.t.Helper()
	ms, err := i.Store.Messages(context.Background(), 100)
	i.must(err)
	return ms
}

func (i *IDP) must(err error) {
	i.t.Helper()
	if err != nil {
		i.t.Fatal(err)
	}
}

// SignIn fills in the sign-in page and sends it.
func (b *Browser) SignIn(p *Page, who Person) *Page {
	b.t.Helper()
	return b.SignInAs(p, who, who.Password)
}

// SignInAs is SignIn with a password that need not be right.
func (b *Browser) SignInAs(p *Page, who Person, password string) *Page {
	b.t.Helper()
	name := who.Email
	if name == "" {
		name = who.Username
	}
	return b.Submit(p, "login-submit", map[string]string{"login-identifier": name, "login-password": password})
}

// Consent says yes.
func (b *Browser) Consent(p *Page) *Page {
	b.t.Helper()
	return b.Submit(p, "consent-accept", nil)
}

// Deny says no.
func (b *Browser) Deny(p *Page) *Page {
	b.t.Helper()
	return b.Submit(p, "consent-deny", nil)
}

func fetch(t testing.TB, rt http.RoundTripper, address string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}
