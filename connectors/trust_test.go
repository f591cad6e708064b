package connectors_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/connectors/connectortest"
)

// TestSec_E1_nOAuth: what a foreign tenant writes into an address, and into every other claim it has a hand in, never counts for more
// than "somebody typed it", and is never part of the key.
func TestSec_E1_nOAuth(t *testing.T) {
	t.Parallel()
	const victim = "ada@work.example"
	e := startEntra(t, "")
	attacker := connectortest.EntraPerson{
		Person: connectortest.Person{ID: "b0000000-0000-4000-8000-00000000000b", Name: "Ada Work", Email: victim, Username: victim}, Tenant: connectortest.TenantB,
	}
	cfg := azureConfig(e)
	cfg.AllowedTenants = []string{connectortest.TenantA, "*", "consumers"}
	anyone := must[*connectors.Azure](t)(connectors.NewAzure(cfg))
	for _, claims := range []map[string]any{
		{},
		{"xms_edov": true}, {"xms_edov": "true"}, {"xms_edov": "1"}, {"xms_edov": 1}, {"xms_edov": false}, {"xms_edov": nil},
		{"email_verified": true}, {"verified_primary_email": []string{victim}}, {"verified_secondary_email": []string{victim}},
		{"xms_edov": true, "verified_primary_email": []string{victim}, "email_verified": true, "upn": victim, "unique_name": victim},
		{"acct": 0, "idp": "https://sts.windows.net/" + connectortest.TenantA + "/"},
		{"tenant": connectortest.TenantA, "TID": connectortest.TenantA, "Oid": "a0000000-0000-4000-8000-00000000000a", "EMAIL_VERIFIED": true},
	} {
		p := attacker
		p.Claims = claims
		e.SetPeople(p)
		id, err := signIn(t.Context(), anyone, e, connectortest.Continue)
		if err != nil {
			t.Fatalf("%v: %v", claims, err)
		}
		if id.EmailTrust != connectors.TrustReported || id.Email != victim {
			t.Errorf("%v: %s is %s", claims, id.Email, id.EmailTrust)
		}
		if id.Issuer != connectortest.TenantB || id.Subject != attacker.ID {
			t.Errorf("%v: the key is %s/%s", claims, id.Issuer, id.Subject)
		}
	}

	t.Log("a tenant that is not on the list does not come in at all")
	_, err := signIn(t.Context(), must[*connectors.Azure](t)(connectors.NewAzure(azureConfig(e))), e, connectortest.Continue)
	wantKind(t, err, connectors.NotAllowed)

	t.Log("no address of its own: the user name is not one")
	p := attacker
	p.Email = ""
	p.Claims = map[string]any{"upn": victim, "unique_name": victim, "xms_edov": true}
	e.SetPeople(p)
	id, err := signIn(t.Context(), anyone, e, connectortest.Continue)
	if err != nil || id.Email != "" || id.EmailTrust != connectors.TrustNone || id.Username != victim {
		t.Errorf("%v %+v", err, id)
	}
}

// TestAzureTrust: who vouches for an address, and who does not.
func TestAzureTrust(t *testing.T) {
	t.Parallel()
	e := startEntra(t, "")
	const mail = "ada@work.example"
	person := func(tenant string, claims map[string]any) connectortest.EntraPerson {
		return connectortest.EntraPerson{
			Person: connectortest.Person{ID: "a0000000-0000-4000-8000-00000000000a", Email: mail, Username: mail, Claims: claims}, Tenant: tenant,
			GuestIn: map[string]string{connectortest.TenantA: "a0000000-0000-4000-8000-0000000000aa"},
		}
	}
	c := func(change func(*connectors.AzureConfig)) *connectors.Azure {
		cfg := azureConfig(e)
		change(&cfg)
		return must[*connectors.Azure](t)(connectors.NewAzure(cfg))
	}
	listed := c(func(*connectors.AzureConfig) {})
	personal := c(func(cfg *connectors.AzureConfig) { cfg.AllowedTenants = []string{"consumers"} })
	single := c(func(cfg *connectors.AzureConfig) { cfg.Tenant, cfg.AllowedTenants = connectortest.TenantA, nil })
	trusting := c(func(cfg *connectors.AzureConfig) {
		cfg.Tenant, cfg.AllowedTenants, cfg.TrustTenantEmail = connectortest.TenantA, nil, true
	})
	const verified, reported = connectors.TrustVerified, connectors.TrustReported
	for _, row := range []struct {
		what   string
		c      *connectors.Azure
		person connectortest.EntraPerson
		want   connectors.Trust
	}{
		{"edov true", listed, person(connectortest.TenantA, map[string]any{"xms_edov": true}), verified},
		{"edov text", listed, person(connectortest.TenantA, map[string]any{"xms_edov": "true"}), verified},
		{"edov text 1", listed, person(connectortest.TenantA, map[string]any{"xms_edov": "1"}), verified},
		{"edov 1", listed, person(connectortest.TenantA, map[string]any{"xms_edov": 1}), verified},
		{"edov false", listed, person(connectortest.TenantA, map[string]any{"xms_edov": false}), reported},
		{"edov text false", listed, person(connectortest.TenantA, map[string]any{"xms_edov": "false"}), reported},
		{"edov absent", listed, person(connectortest.TenantA, nil), reported},
		{"edov null", listed, person(connectortest.TenantA, map[string]any{"xms_edov": nil}), reported},
		{"edov 2", listed, person(connectortest.TenantA, map[string]any{"xms_edov": 2}), reported},
		{"edov True", listed, person(connectortest.TenantA, map[string]any{"xms_edov": "True"}), reported},
		{"edov list", listed, person(connectortest.TenantA, map[string]any{"xms_edov": []bool{true}}), reported},
		{"edov object", listed, person(connectortest.TenantA, map[string]any{"xms_edov": map[string]any{"x": true}}), reported},
		{"primary", listed, person(connectortest.TenantA, map[string]any{"verified_primary_email": []string{"x@y.example", "ADA@work.example"}}), verified},
		{"primary of others", listed, person(connectortest.TenantA, map[string]any{"verified_primary_email": []string{"x@y.example"}}), reported},
		{"primary of numbers", listed, person(connectortest.TenantA, map[string]any{"verified_primary_email": []any{1, nil}}), reported},
		{"secondary", listed, person(connectortest.TenantA, map[string]any{"verified_secondary_email": []string{mail}}), reported},
		{"email_verified, which Entra does not send", listed, person(connectortest.TenantA, map[string]any{"email_verified": true}), reported},
		{"personal", personal, person(connectortest.Consumers, nil), verified},
		{"one tenant", single, person(connectortest.TenantA, nil), reported},
		{"one tenant, edov", single, person(connectortest.TenantA, map[string]any{"xms_edov": true}), verified},
		{"one trusted tenant", trusting, person(connectortest.TenantA, nil), verified},
		{"guest of a trusted tenant", trusting, person(connectortest.TenantB, nil), reported},
		{"guest of a trusted tenant, edov", trusting, person(connectortest.TenantB, map[string]any{"xms_edov": true}), verified},
	} {
		e.SetPeople(row.person)
		id, err := signIn(t.Context(), row.c, e, connectortest.Continue)
		if err != nil {
			t.Errorf("%s: %v", row.what, err)
		} else if id.EmailTrust != row.want {
			t.Errorf("%s: %s, want %s", row.what, id.EmailTrust, row.want)
		}
	}
}

// TestSec_E6_GoogleTrust: whose address Google vouches for, and how far.
func TestSec_E6_GoogleTrust(t *testing.T) {
	t.Parallel()
	g := startGoogle(t)
	c := must[*connectors.Google](t)(connectors.NewGoogle(googleConfig(g)))
	for _, row := range []struct {
		email    string
		verified any
		hd       any
		want     connectors.Trust
	}{
		{"ada@gmail.com", true, connectortest.Absent, connectors.TrustAuthoritative},
		{"Ada@GMail.com", true, connectortest.Absent, connectors.TrustAuthoritative},
		{"ada@gmail.com", false, connectortest.Absent, connectors.TrustReported},
		{"ada@gmail.com", nil, connectortest.Absent, connectors.TrustReported},
		{"ada@example.com", true, "example.com", connectors.TrustAuthoritative},
		{"ada@example.com", false, "example.com", connectors.TrustReported},
		{"ada@example.com", true, connectortest.Absent, connectors.TrustVerified},
		{"ada@example.com", true, nil, connectors.TrustVerified},
		{"ada@example.com", true, "", connectors.TrustVerified},
		{"ada@example.com", true, 5, connectors.TrustVerified},
		{"ada@example.com", true, []string{"example.com"}, connectors.TrustVerified},
		{"ada@notgmail.com", true, connectortest.Absent, connectors.TrustVerified},
		{"ada@gmail.com.evil.example", true, connectortest.Absent, connectors.TrustVerified},
		{"gmail.com@evil.example", true, connectortest.Absent, connectors.TrustVerified},
		{"ada@gmaıl.com", true, connectortest.Absent, connectors.TrustVerified}, // a look-alike without the dot
		{"ada@example.com", "true", connectortest.Absent, connectors.TrustReported},
		{"ada@example.com", 1, connectortest.Absent, connectors.TrustReported},
		{"ada@gmail.com", "true", connectortest.Absent, connectors.TrustReported},
		{"", true, "example.com", connectors.TrustNone},
	} {
		g.SetPeople(connectortest.Person{ID: "1", Email: row.email, Verified: row.verified, Claims: map[string]any{"hd": row.hd}})
		id, err := signIn(t.Context(), c, g, connectortest.Continue)
		if err != nil {
			t.Errorf("%+v: %v", row, err)
		} else if id.EmailTrust != row.want || id.Email != row.email {
			t.Errorf("%+v: %q is %s", row, id.Email, id.EmailTrust)
		}
	}
}

// TestSec_E6_GoogleHostedDomains: the rule is checked in the token, whatever the request hinted at; the key is sub.
func TestSec_E6_GoogleHostedDomains(t *testing.T) {
	t.Parallel()
	g := startGoogle(t)
	cfg := googleConfig(g)
	cfg.HostedDomains = []string{"Example.com", "sub.example.org"}
	c := must[*connectors.Google](t)(connectors.NewGoogle(cfg))
	for _, row := range []struct {
		hd any
		ok bool
	}{
		{"example.com", true}, {"EXAMPLE.com", true}, {"sub.example.org", true},
		{connectortest.Absent, false}, {nil, false}, {"", false}, {"example.org", false}, {"notexample.com", false}, {"evil.example.com", false},
		{"example.com.evil.example", false}, {"example.com\n", false}, {[]string{"example.com"}, false}, {7, false}, {true, false}, {"*", false},
	} {
		g.SetPeople(connectortest.Person{ID: "1", Email: "ada@example.com", Verified: true, Claims: map[string]any{"hd": row.hd}})
		a := attempt()
		a.DomainHint = "example.com"
		_, err := signInAs(t.Context(), c, g, a, connectortest.Continue)
		if row.ok && err != nil {
			t.Errorf("%q: %v", row.hd, err)
		} else if !row.ok && (err == nil || connectors.KindOf(err) != connectors.NotAllowed) {
			t.Errorf("%q: accepted, or %v", row.hd, err)
		}
	}

	t.Log("who buys a lapsed domain gets its addresses, and another sub")
	var keys []string
	for _, sub := range []string{"111", "222"} {
		g.SetPeople(connectortest.Person{ID: sub, Email: "ada@example.com", Verified: true, Claims: map[string]any{"hd": "example.com"}})
		id, err := signIn(t.Context(), c, g, connectortest.Continue)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, id.Issuer+" "+id.Subject)
	}
	if keys[0] == keys[1] {
		t.Errorf("one key for two people: %s", keys[0])
	}

	t.Log("the hint")
	hint := func(domains []string, wish string) string {
		cfg.HostedDomains = domains
		a := attempt()
		a.DomainHint = wish
		to, err := must[*connectors.Google](t)(connectors.NewGoogle(cfg)).AuthURL(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		return query(t, to).Get("hd")
	}
	for want, got := range map[string]string{
		"":              hint(nil, ""),
		"one.example":   hint([]string{"one.example"}, "other.example"),
		"*":             hint([]string{"one.example", "two.example"}, "other.example"),
		"two.example":   hint([]string{"one.example", "two.example"}, "two.example"),
		"three.example": hint(nil, "three.example"),
	} {
		if got != want {
			t.Errorf("hd %q, want %q", got, want)
		}
	}
}

func query(t *testing.T, address string) url.Values {
	t.Helper()
	return must[*url.URL](t)(url.Parse(address)).Query()
}

// TestGoogleOldIssuer: tokens that name the issuer without its scheme are of the same issuer; no other spelling is.
func TestGoogleOldIssuer(t *testing.T) {
	t.Parallel()
	g := startGoogle(t)
	c := must[*connectors.Google](t)(connectors.NewGoogle(googleConfig(g)))
	g.OldIssuer(true)
	id, err := signIn(t.Context(), c, g, connectortest.Continue)
	if err != nil || id.Issuer != g.Issuer {
		t.Errorf("%v, issuer %q", err, id.Issuer)
	}
	for _, iss := range []string{"http://accounts.google.com", "accounts.google.com/", "Accounts.google.com", "https://accounts.google.com.evil.example", "https://accounts.google.com"} {
		g.Forge(func(tok *connectortest.Token) { tok.Claims["iss"] = iss })
		_, err := signIn(t.Context(), c, g, connectortest.Continue)
		wantKind(t, err, connectors.Invalid)
	}
}

// TestSec_E3_VerifiedSpellings: the generic connector takes the boolean true for true, and other spellings only where the operator says that
// this provider sends them.
func TestSec_E3_VerifiedSpellings(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	strict := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f)))
	cfg := oidcConfig(f)
	cfg.LenientBooleans = true
	lenient := must[*connectors.OIDC](t)(connectors.NewOIDC(cfg))
	cfg = oidcConfig(f)
	cfg.AssumeEmailVerified = true
	assuming := must[*connectors.OIDC](t)(connectors.NewOIDC(cfg))
	if len(strict.Warnings()) != 1 || len(assuming.Warnings()) != 2 { // both: http
		t.Errorf("warnings: %q, %q", strict.Warnings(), assuming.Warnings())
	}
	for _, row := range []struct {
		sent            any
		strict, lenient bool
	}{
		{true, true, true}, {"true", false, true}, {1, false, true}, {"1", false, true}, {json.Number("1"), false, true},
		{false, false, false}, {"false", false, false}, {0, false, false}, {nil, false, false}, {connectortest.Absent, false, false}, {"TRUE", false, false},
		{"yes", false, false}, {2, false, false}, {[]bool{true}, false, false}, {map[string]any{"true": true}, false, false}, {"", false, false}, {1.5, false, false},
	} {
		f.SetPeople(connectortest.Person{ID: "ana", Email: "ana@example.com", Claims: map[string]any{"email_verified": row.sent}})
		for c, want := range map[*connectors.OIDC]bool{strict: row.strict, lenient: row.lenient, assuming: true} {
			id, err := signIn(t.Context(), c, f, connectortest.Continue)
			if err != nil {
				t.Errorf("%v: %v", row.sent, err)
				continue
			}
			level := connectors.TrustReported
			if want {
				level = connectors.TrustVerified
			}
			if id.EmailTrust != level {
				t.Errorf("%#v: %s, want %s", row.sent, id.EmailTrust, level)
			}
		}
	}
	f.SetPeople(connectortest.Person{ID: "ana", Verified: true})
	if id, err := signIn(t.Context(), assuming, f, connectortest.Continue); err != nil || id.EmailTrust != connectors.TrustNone {
		t.Errorf("without an address: %v %s", err, id.EmailTrust)
	}
}

// TestOptionalClaims: every claim that may be missing is missing, null or of another type, and nothing breaks.
func TestOptionalClaims(t *testing.T) {
	t.Parallel()
	optional := []string{"email", "email_verified", "name", "given_name", "family_name", "preferred_username", "picture", "locale", "amr", "acr", "auth_time", "sid",
		"hd", "xms_edov", "verified_primary_email", "idp", "groups", "hasgroups", "updated_at", "address", "nbf"}
	values := []any{connectortest.Absent, nil, 0, 1.5, 1e300, true, "", "x", "  ", strings.Repeat("y", 2000), []any{}, []any{nil, 1, "a", []any{}}, map[string]any{}, map[string]any{"a": map[string]any{"b": nil}},
		"line\nbreak", "\x00", "\ufffd"}
	for name, up := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up.make(nil)
			for _, claim := range optional {
				for _, v := range values {
					up.Forge(func(tok *connectortest.Token) {
						tok.Claims[claim] = v
						if v == connectortest.Absent {
							delete(tok.Claims, claim)
						}
					})
					id, err := signIn(t.Context(), c, up, connectortest.Continue)
					what := fmt.Sprintf("%s = %.20v", claim, v)
					if err != nil {
						// A limit on its time that cannot be read is no limit that holds.
						if claim == "nbf" && connectors.KindOf(err) == connectors.Invalid {
							continue
						}
						t.Errorf("%s: %v", what, err)
						continue
					}
					if id.Subject == "" || id.Issuer == "" {
						t.Errorf("%s: no key", what)
					}
					if (id.Email == "") != (id.EmailTrust == connectors.TrustNone) {
						t.Errorf("%s: address %q is %s", what, id.Email, id.EmailTrust)
					}
					for _, s := range []string{id.Name, id.GivenName, id.FamilyName, id.Username, id.PictureURL, id.Locale, id.Email} {
						if strings.ContainsAny(s, "\n\x00") || len(s) > 1000 {
							t.Errorf("%s: %q came through", what, s)
						}
					}
				}
			}
		})
	}
}

// TestSec_E12_Addresses: what is no plain address is no address.
func TestSec_E12_Addresses(t *testing.T) {
	t.Parallel()
	f := startOIDC(t, connectortest.OIDCOptions{})
	c := must[*connectors.OIDC](t)(connectors.NewOIDC(oidcConfig(f)))
	for address, ok := range map[string]bool{
		"ana@example.com": true, "ana+tag@example.com": true, "аna@example.com": true, "ana@exämple.com": true, "a@b": true,
		"ana@evil@example.com": false, "ana": false, "@example.com": false, "ana@": false, "Ana <ana@example.com>": false, "ana@example.com,b@c.d": false,
		"ana@example.com\nBcc: x@y.z": false, `"ana@evil"@example.com`: false, "ana(comment)@example.com": false, "ana @example.com": false,
		"ana@example.com\u202e": false, strings.Repeat("a", 250) + "@b.cd": false, "ana@[127.0.0.1]": false, "ana@exa\u200bmple.com": false, "ana\u00a0@example.com": false,
	} {
		f.SetPeople(connectortest.Person{ID: "ana", Email: address, Verified: true})
		id, err := signIn(t.Context(), c, f, connectortest.Continue)
		if err != nil {
			t.Fatal(err)
		}
		if (id.Email != "") != ok || ok && id.Email != address {
			t.Errorf("%q became %q (%s)", address, id.Email, id.EmailTrust)
		}
	}
}
