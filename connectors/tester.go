package connectors

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// probed is what a connector's test looks at.
type probed struct {
	client   *registered
	source   *source
	algs     []string
	scopes   []string
	noPKCE   bool
	warnings []string
	callback string // the redirect address of the trial exchange
}

// Test checks what can be checked without a person.
func (o *OIDC) Test(ctx context.Context) []Finding {
	return probed{
		client: &o.client, source: o.source, algs: o.cfg.Algorithms, scopes: o.cfg.Scopes, noPKCE: o.cfg.NoPKCE, warnings: o.Warnings(),
		callback: trialCallback(o.cfg.Name),
	}.run(ctx)
}

// Test checks what can be checked without a person.
func (g *Google) Test(ctx context.Context) []Finding { return g.oidc.Test(ctx) }

// Test checks what can be checked without a person. Of several tenants it asks the directory they share.
func (z *Azure) Test(ctx context.Context) []Finding {
	return probed{
		client: &z.client, source: z.home, algs: []string{"RS256"}, scopes: z.cfg.Scopes, warnings: z.Warnings(), callback: trialCallback(z.cfg.Name),
	}.run(ctx)
}

func trialCallback(name string) string { return "https://latchkey.invalid/callback/" + name }

func (p probed) run(ctx context.Context) []Finding {
	var list []Finding
	add := func(what string, ok bool, format string, a ...any) {
		list = append(list, Finding{What: what, OK: ok, Text: fmt.Sprintf(format, a...)})
	}
	for _, w := range p.warnings {
		add("settings", true, "warning: %s", w)
	}
	m, err := p.source.doc.get(ctx)
	if err != nil {
		add("discovery", false, "%s", plain(err))
		return list
	}
	add("discovery", true, "the issuer is %s", m.issuer)
	if keys, err := p.source.keys.get(ctx); err != nil {
		add("keys", false, "%s", plain(err))
	} else {
		add("keys", true, "%d keys can be used, from %s", len(keys), m.JWKS)
	}
	if len(m.algs) > 0 && !slices.ContainsFunc(m.algs, func(a string) bool { return slices.Contains(p.algs, a) }) {
		add("algorithms", false, "the provider signs with %s, of which none is allowed here", clean(strings.Join(m.algs, ", ")))
	}
	switch {
	case len(m.pkce) == 0 || p.noPKCE:
	case slices.Contains(m.pkce, "S256"):
		add("PKCE", true, "S256 is announced")
	default:
		add("PKCE", false, "the provider announces %s and not S256", clean(strings.Join(m.pkce, ", ")))
	}
	method := map[string]string{AuthBasic: "client_secret_basic", AuthPost: "client_secret_post", AuthNone: "none", AuthKey: "private_key_jwt"}[p.client.auth]
	if len(m.auth) > 0 && !slices.Contains(m.auth, method) {
		add("client authentication", false, "the provider announces %s and not %s", clean(strings.Join(m.auth, ", ")), method)
	}
	for _, s := range p.scopes {
		// Only for the three everybody lists: many providers keep their others to themselves.
		if len(m.scopes) > 0 && slices.Contains([]string{"openid", "profile", "email"}, s) && !slices.Contains(m.scopes, s) {
			add("scopes", false, "the provider does not announce the scope %s", s)
		}
	}
	p.credentials(ctx, m, add)
	return list
}

// credentials sends a code that nobody made: a provider that minds the code has taken our credentials.
func (p probed) credentials(ctx context.Context, m *metadata, add func(string, bool, string, ...any)) {
	const what = "client credentials"
	_, err := p.client.tokenCall(ctx, m.Token, url.Values{
		"grant_type": {"authorization_code"}, "code": {"latchkey-connector-test"}, "redirect_uri": {p.callback},
		"code_verifier": {"latchkey-connector-test-latchkey-connector-test"},
	})
	e, _ := errors.AsType[*Error](err)
	switch {
	case err == nil:
		add(what, false, "the provider redeemed a code that nobody made")
	case e != nil && e.Code == "invalid_grant":
		add(what, true, "accepted: %s", plain(err))
	case e != nil && (e.Code == "invalid_client" || e.Code == "unauthorized_client"):
		add(what, false, "refused: %s", plain(err))
	case e != nil && e.Kind == Misconfigured && e.Code != "":
		add(what, true, "not refused, but nothing more can be said: %s", plain(err))
	default:
		add(what, false, "%s", plain(err))
	}
}

// plain is an error without our prefix.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "connectors: ") }
