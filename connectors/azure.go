package connectors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Names of Microsoft's.
const (
	microsoft        = "https://login.microsoftonline.com"
	tenantPattern    = "{tenantid}"                           // stands in the issuer of common and organizations, braces included
	consumersTenant  = "9188040d-6c67-4c5b-b112-36a304b66dad" // all personal accounts
	tenantsKept      = 64
	anyTenant        = "*"
	consumersSpelled = "consumers"
)

var guidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// AzureConfig describes sign-in with Microsoft: Entra ID (work and school) and personal accounts.
type AzureConfig struct {
	Name                   string // "" = azure
	ClientID, ClientSecret string
	ClientAuth             string     // AuthPost, AuthBasic or AuthKey; "" = key with a key, else post
	ClientKey              *ClientKey // for AuthKey, with the certificate that Entra knows it by

	// Tenant says who may come: a tenant's GUID or domain; organizations (work and school accounts), common (those and personal ones) or
	// consumers (personal ones).
	Tenant string

	// AllowedTenants are the GUIDs of the tenants that organizations and common let in; it must not be empty there. "*" means any tenant of
	// an organisation, "consumers" personal accounts. Only a tenant that is named is believed when it says that it owns an address.
	AllowedTenants []string

	// TrustTenantEmail takes the addresses of a single tenant's own members for verified: its administrators type them.
	TrustTenantEmail bool

	// MapGroups says that a rule reads the groups claim: somebody in too many groups, whose token then names none, is refused.
	MapGroups bool

	Scopes []string // nil = openid profile email; those are always asked for
	Prompt string   // "" = select_account on organizations and common

	Authority string // of national clouds; "" = https://login.microsoftonline.com
	Issuer    string // of a single tenant by GUID whose issuer is not {Authority}/{Tenant}/v2.0 (External ID); "" = that

	KeepIDToken bool         // for signing out at Microsoft
	HTTP        *http.Client // nil = a safe default
	Now         func() time.Time
}

// Azure is the connector to Microsoft accounts. A person is (tid, oid) and nothing else: Issuer is the tenant, Subject the object in it.
// Neither e-mail nor user name is ever a key: both are what a tenant's administrator typed (security.md E1).
type Azure struct {
	cfg    AzureConfig
	client registered
	multi  bool // organizations, common
	home   *source
	other  *lru[*source] // of tenants, by tid
}

// NewAzure checks the configuration. It does not reach the network.
func NewAzure(cfg AzureConfig) (*Azure, error) {
	cfg.Name = cmp.Or(cfg.Name, "azure")
	z, err := newAzure(cfg)
	if err != nil {
		return nil, fmt.Errorf("connectors: %s: %w", cfg.Name, err)
	}
	return z, nil
}

func newAzure(cfg AzureConfig) (*Azure, error) {
	cfg.Tenant = strings.ToLower(cfg.Tenant)
	if cfg.Tenant == consumersSpelled {
		cfg.Tenant = consumersTenant
	}
	cfg.Authority = strings.TrimSuffix(cmp.Or(cfg.Authority, microsoft), "/")
	if cfg.ClientAuth == "" && cfg.ClientKey != nil {
		cfg.ClientAuth = AuthKey
	}
	cfg.ClientAuth = cmp.Or(cfg.ClientAuth, AuthPost)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	z := &Azure{multi: cfg.Tenant == "organizations" || cfg.Tenant == "common"}
	allowed, err := tenants(cfg.AllowedTenants)
	if err != nil {
		return nil, err
	}
	cfg.AllowedTenants = allowed
	isDomain := domainForm.MatchString(cfg.Tenant)
	switch {
	case !nameForm.MatchString(cfg.Name):
		return nil, fmt.Errorf("%q is no name for a connector", cfg.Name)
	case !z.multi && !isDomain && !guidForm.MatchString(cfg.Tenant):
		return nil, fmt.Errorf("tenant %q is no GUID, no domain and none of organizations, common and consumers", cfg.Tenant)
	case z.multi && len(allowed) == 0:
		return nil, fmt.Errorf("tenant %s lets every organisation in: name the allowed tenants, or say %q", cfg.Tenant, anyTenant)
	case !z.multi && len(allowed) > 0:
		return nil, errors.New("a list of allowed tenants goes with organizations or common")
	case cfg.Tenant == "organizations" && slices.Contains(allowed, consumersTenant):
		return nil, errors.New("personal accounts cannot come in through organizations: use common")
	case cfg.TrustTenantEmail && (z.multi || cfg.Tenant == consumersTenant):
		return nil, errors.New("trust in a tenant's addresses goes with a single tenant")
	case cfg.ClientAuth == AuthNone:
		return nil, errors.New("a client secret or key is needed")
	case cfg.Issuer != "" && !guidForm.MatchString(cfg.Tenant):
		return nil, errors.New("an issuer goes with a tenant's GUID")
	}
	if err := checkURL(cfg.Authority); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if cfg.Issuer != "" {
		if err := checkURL(cfg.Issuer); err != nil {
			return nil, fmt.Errorf("issuer: %w", err)
		}
	}
	for _, s := range []string{"email", "profile", "openid"} { // profile brings oid
		if !slices.Contains(cfg.Scopes, s) {
			cfg.Scopes = append([]string{s}, cfg.Scopes...)
		}
	}
	if cfg.Prompt == "" && z.multi {
		cfg.Prompt = "select_account" // or the browser's present session is taken without asking
	}
	z.cfg = cfg
	z.client = registered{id: cfg.ClientID, secret: cfg.ClientSecret, auth: cfg.ClientAuth, key: cfg.ClientKey, http: newHTTP(cfg.HTTP), now: cfg.Now}
	if err := z.client.check(); err != nil {
		return nil, err
	}
	z.home = newSource(&z.client, wellKnown(cfg.Authority+"/"+cfg.Tenant+"/v2.0"), "", Endpoints{}, z.acceptHome)
	z.other = newLRU[*source](tenantsKept, staleFor, cfg.Now)
	return z, nil
}

// tenants checks a list of allowed tenants.
func tenants(list []string) ([]string, error) {
	var out []string
	for _, t := range list {
		t = strings.ToLower(t)
		if t == consumersSpelled {
			t = consumersTenant
		}
		if t != anyTenant && !guidForm.MatchString(t) {
			return nil, fmt.Errorf("allowed tenant %q is no GUID, and neither %q nor consumers", t, anyTenant)
		}
		out = append(out, t)
	}
	return out, nil
}

// acceptHome says which issuer the discovery document of the configured tenant may name.
func (z *Azure) acceptHome(issuer string) error {
	switch {
	case z.multi:
		return exactly(z.issuerOf(tenantPattern))(issuer)
	case guidForm.MatchString(z.cfg.Tenant):
		return exactly(z.issuerOf(z.cfg.Tenant))(issuer)
	}
	// A domain: which tenant that is, the document says.
	if tid := z.tenantIn(issuer); tid == "" || tid == consumersTenant {
		return fmt.Errorf("the discovery document of %s names the issuer %q, which is no tenant", z.cfg.Tenant, clean(issuer))
	}
	return nil
}

// issuerOf is what tokens of a tenant say.
func (z *Azure) issuerOf(tid string) string {
	if z.cfg.Issuer != "" && tid == z.cfg.Tenant {
		return z.cfg.Issuer
	}
	return z.cfg.Authority + "/" + tid + "/v2.0"
}

// tenantIn is the GUID in an issuer of our authority, "" when there is none.
func (z *Azure) tenantIn(issuer string) string {
	rest, ok := strings.CutPrefix(issuer, z.cfg.Authority+"/")
	if !ok {
		return ""
	}
	tid, ok := strings.CutSuffix(rest, "/v2.0")
	if !ok || !guidForm.MatchString(tid) {
		return ""
	}
	return tid
}

// Name is the connector's id.
func (z *Azure) Name() string { return z.cfg.Name }

// Warnings are what an operator should be told about this configuration, at each start.
func (z *Azure) Warnings() []string {
	var w []string
	if slices.Contains(z.cfg.AllowedTenants, anyTenant) {
		w = append(w, "every organisation's tenant may sign in: whoever makes one becomes its administrator")
	}
	if z.cfg.TrustTenantEmail {
		w = append(w, "addresses of the tenant's members count as verified: its administrators can write any address into them")
	}
	return w
}

// AuthURL is where the browser goes.
func (z *Azure) AuthURL(ctx context.Context, a Attempt) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, z.client.http.Timeout)
	defer cancel()
	m, err := z.home.doc.get(ctx)
	if err != nil {
		return "", err
	}
	p := url.Values{"response_mode": {"query"}} // a POST from there brings no cookie of ours
	prompt := a.Prompt
	if prompt == "" && a.MaxAge != nil && *a.MaxAge == 0 {
		prompt = "login"
	}
	if prompt == "" && a.LoginHint == "" {
		prompt = z.cfg.Prompt
	}
	set(p, "prompt", prompt)
	if prompt != "select_account" { // the two exclude each other
		set(p, "login_hint", a.LoginHint)
	}
	set(p, "domain_hint", a.DomainHint)
	return authURL(m.Authorization, &z.client, z.cfg.Scopes, true, a, p)
}

// Identify redeems a callback.
func (z *Azure) Identify(ctx context.Context, a Attempt, callback url.Values) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, z.client.http.Timeout)
	defer cancel()
	code, err := callbackCode(callback)
	if err != nil {
		return Identity{}, err
	}
	m, err := z.home.doc.get(ctx)
	if err != nil {
		return Identity{}, err
	}
	// Microsoft sends no iss. If one comes it must be of this authority, before the code goes anywhere, and that of the token afterwards.
	iss, sent := callback["iss"]
	if sent && z.tenantIn(iss[0]) == "" && (z.cfg.Issuer == "" || iss[0] != z.cfg.Issuer) || !sent && m.sendsIss {
		return Identity{}, fail(Invalid, "the callback is not of %s", z.cfg.Authority)
	}
	t, err := z.client.redeem(ctx, m.Token, code, a.RedirectURI, a.Verifier)
	if err != nil {
		return Identity{}, err
	}
	if t.id == "" {
		return Identity{}, fail(Upstream, "the token endpoint sent no ID Token")
	}
	tid, err := z.tenantOf(t.id, m)
	if err != nil {
		return Identity{}, err
	}
	src, issuer := z.home, z.issuerOf(tid)
	if z.multi {
		src = z.other.get(tid, func() *source {
			return newSource(&z.client, wellKnown(issuer), "", Endpoints{}, exactly(issuer))
		})
	}
	c, err := checkIDToken(ctx, t.id, src.keys, &expected{
		issuers: []string{issuer}, keyIssuers: []string{issuer, z.cfg.Authority + "/" + tenantPattern + "/v2.0"},
		clientID: z.client.id, nonce: a.Nonce, access: t.access, algs: []string{"RS256"}, now: z.cfg.Now,
	})
	if err != nil {
		return Identity{}, err
	}
	if sent && iss[0] != issuer {
		return Identity{}, fail(Invalid, "the callback is of another tenant than the ID Token")
	}
	id, err := z.identity(tid, c)
	if err == nil && z.cfg.KeepIDToken {
		id.IDToken = t.id
	}
	return id, err
}

// tenantOf reads the tenant that a token says it is of, before anything about it is verified: only what is a GUID and allowed here goes
// on, and then its issuer and keys must be that tenant's.
func (z *Azure) tenantOf(raw string, home *metadata) (string, error) {
	if err := checkJOSE(raw, []string{"RS256"}, []string{"", "jwt"}); err != nil {
		return "", fail(Invalid, "the ID Token: %w", err)
	}
	c, err := unverified(raw)
	if err != nil {
		return "", fail(Invalid, "the ID Token: %w", err)
	}
	tid, _ := c["tid"].(string)
	return tid, z.checkTenant(tid, home)
}

func (z *Azure) checkTenant(tid string, home *metadata) error {
	if !guidForm.MatchString(tid) {
		return fail(Invalid, "the ID Token's tid is no GUID")
	}
	if !z.admits(tid, home) {
		return fail(NotAllowed, "tenant %s is not allowed", tid)
	}
	return nil
}

// admits says whether people of a tenant may come in.
func (z *Azure) admits(tid string, home *metadata) bool {
	switch {
	case z.cfg.Issuer != "" || guidForm.MatchString(z.cfg.Tenant):
		return tid == z.cfg.Tenant
	case !z.multi:
		return tid == z.tenantIn(home.issuer)
	case z.named(tid):
		return true
	}
	return tid != consumersTenant && slices.Contains(z.cfg.AllowedTenants, anyTenant)
}

// named says whether the operator chose this very tenant.
func (z *Azure) named(tid string) bool {
	return !z.multi || slices.Contains(z.cfg.AllowedTenants, tid)
}

// identity makes an Identity of verified claims.
func (z *Azure) identity(tid string, c claims) (Identity, error) {
	if v, ok := c["ver"]; ok && v != "2.0" {
		return Identity{}, fail(Invalid, "an ID Token of version %q", clean(c.exact("ver")))
	}
	oid := c.exact("oid")
	if !guidForm.MatchString(oid) {
		return Identity{}, fail(Invalid, "the ID Token's oid is no GUID")
	}
	if z.cfg.MapGroups && c.groupsOverage() {
		return Identity{}, &Error{Kind: Misconfigured, Code: "groups_overage", Detail: "this person is in more groups than a token holds (200), so that the rules about groups " +
			"cannot be applied: let the application emit only groups assigned to it, or use app roles"}
	}
	id, err := identityOf(c, ClaimNames{}.withDefaults())
	if err != nil {
		return Identity{}, err
	}
	id.Connector, id.Issuer, id.Subject = z.cfg.Name, tid, oid
	id.EmailTrust = z.trust(tid, id.Email, c)
	return id, nil
}

// groupsOverage says that groups were left out because there are too many.
func (c claims) groupsOverage() bool {
	names, _ := c["_claim_names"].(map[string]any)
	_, distributed := names["groups"]
	return distributed || c.yes("hasgroups", true)
}

// trust judges an address. What a tenant says about itself counts only if the operator chose that tenant.
func (z *Azure) trust(tid, email string, c claims) Trust {
	switch {
	case email == "":
		return TrustNone
	case tid == consumersTenant:
		return TrustVerified // Microsoft checked it itself
	case !z.named(tid):
		return TrustReported
	// Entra spells it true, "true", "1" or 1; absent is not true.
	case c.yes("xms_edov", true),
		slices.ContainsFunc(c.list("verified_primary_email"), func(s string) bool { return strings.EqualFold(s, email) }),
		z.cfg.TrustTenantEmail && !c.guest(tid):
		return TrustVerified
	}
	return TrustReported
}

// guest says that another directory vouches for this person, whose address the tenant did not give out.
func (c claims) guest(tid string) bool {
	idp, there := c["idp"]
	own := []any{"https://sts.windows.net/" + tid + "/", c["iss"]}
	return there && !slices.Contains(own, idp) || strings.Contains(strings.ToUpper(c.exact("preferred_username")), "#EXT#")
}

// EndSessionURL is Microsoft's sign-out page. Which account is meant it takes from the optional claim login_hint of the ID Token; without
// one it asks.
func (z *Azure) EndSessionURL(ctx context.Context, idToken, postLogoutRedirectURI, state string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, z.client.http.Timeout)
	defer cancel()
	m, err := z.home.doc.get(ctx)
	if err != nil || m.EndSession == "" {
		return "", err
	}
	p := url.Values{}
	if c, err := unverified(idToken); err == nil { // it was verified when it came
		set(p, "logout_hint", c.text("login_hint"))
	}
	return endSessionURL(m.EndSession, postLogoutRedirectURI, state, p)
}
