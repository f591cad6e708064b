package provider

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// Preview is what would happen if a person signed in to an application now, and what its tokens would say.
type Preview struct {
	Step     string     `json:"step"`              // issue or consent; login = the client does not take this way in; owes = something is asked for first
	Refused  string     `json:"refused,omitempty"` // an OAuth error instead, and why
	Reason   string     `json:"reason,omitempty"`
	Required string     `json:"required,omitempty"` // the client's requirement in words
	Unmet    [][]string `json:"unmet,omitempty"`    // groups of which the person holds no member

	WayIn      string   `json:"way_in,omitempty"`     // by which the person is taken to come
	Owes       string   `json:"owes,omitempty"`       // with that, or before the session that the tokens come from: second_factor, account (something is missing in it)
	Connectors []string `json:"connectors,omitempty"` // the ways in that the client takes; none = all
	Consent    string   `json:"consent,omitempty"`    // not_needed, remembered or asked
	NewScopes  []string `json:"new_scopes,omitempty"` // with asked: those the person has not agreed to before

	Scope         []string       `json:"scope"`
	IDToken       map[string]any `json:"id_token,omitempty"`
	AccessToken   map[string]any `json:"access_token,omitempty"`
	UserInfo      map[string]any `json:"userinfo,omitempty"`
	Introspection map[string]any `json:"introspection,omitempty"`
}

// PreviewRequest asks for one.
type PreviewRequest struct {
	UserID, ClientID string
	Scope            []string // nil = all that the client may ask for
	Connector        string   // the way in; "" = password, or the first that the client takes
	ACR              string   // "" = 1
	AMR              []string // nil = of one factor
}

// Values of Preview.Consent.
const (
	ConsentNotNeeded  = "not_needed"
	ConsentRemembered = "remembered"
	ConsentAsked      = "asked"
)

// Errors of Preview.
var (
	ErrNoClient = errors.New("provider: no such client, or it is disabled")
	ErrNoUser   = errors.New("provider: no such person, or the account is not active")
)

// Preview decides and computes with the very code that issues, and writes nothing: no grant, no code, no event.
func (p *Provider) Preview(ctx context.Context, r PreviewRequest) (*Preview, error) {
	c, err := p.client(ctx, r.ClientID)
	if errors.Is(err, errNoClient) {
		return nil, ErrNoClient
	}
	if err != nil {
		return nil, err
	}
	l, err := p.c.Store.Live(ctx, r.UserID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoUser
	}
	if err != nil {
		return nil, err
	}
	now := p.c.Now()
	if p.alive(ctx, nil, l, now) != nil {
		return nil, ErrNoUser
	}
	held, err := p.rights(ctx, l, now)
	if err != nil {
		return nil, err
	}
	out := &Preview{Scope: r.Scope}
	if out.Scope == nil {
		out.Scope = strings.Fields(c.Metadata.Scope)
		if len(out.Scope) == 0 {
			out.Scope = []string{scopeOpenID, scopeProfile, scopeEmail}
		}
	}
	out.Scope = slices.DeleteFunc(slices.Clone(out.Scope), func(s string) bool { return !c.hasScope(s) })
	req, err := c.requirement()
	if err != nil {
		return nil, err
	}
	out.Required, out.Unmet = req.String(), req.Unmet(held.effective)
	out.Connectors = c.Metadata.Connectors
	s := &Session{UserID: r.UserID, Connector: wayIn(c, r.Connector), AuthTime: now.Unix(), ACR: orDefault(r.ACR, "1"), AMR: r.AMR}
	out.WayIn = s.Connector
	if s.AMR == nil {
		s.AMR = []string{"fed"}
		if s.Connector == wayPassword {
			s.AMR = []string{"pwd"}
		}
	}
	fa := facts{started: now, signedIn: len(out.Connectors) == 0 || slices.Contains(out.Connectors, s.Connector), authTime: now, acr: s.ACR,
		entitled: req.Met(held.effective), owes: p.c.Owes != nil && p.c.Owes(c.Client, &l.User) != ""}
	if fa.signedIn {
		if err := p.previewFactor(ctx, out, &fa, s, c, l); err != nil {
			return nil, err
		}
	}
	q := &request{client: c, scopes: out.Scope} // one that asks for nothing in particular
	if fa.consentNeeded, err = p.consentNeeded(ctx, q, r.UserID, digests(q), now); err != nil {
		return nil, err
	}
	if err := p.previewConsent(ctx, out, c, r.UserID, fa.consentNeeded); err != nil {
		return nil, err
	}
	next, refused := decide(fa, now)
	if refused != nil {
		out.Refused, out.Reason = refused.code, refused.text
		return out, nil
	}
	out.Step = map[step]string{stepIssue: "issue", stepConsent: "consent", stepLogin: "login", stepOwes: "owes"}[next]
	if next == stepOwes {
		out.Owes = strings.TrimSpace(out.Owes + " account")
	}
	if next == stepLogin || next == stepOwes { // what is said then may change what the tokens say
		return out, nil
	}
	f := &flow{live: l, rights: held, now: now}
	audience := c.audience(p.c.Issuer)
	if slices.Contains(out.Scope, scopeOpenID) && !slices.Contains(audience, p.c.Issuer) {
		audience = append(slices.Clone(audience), p.c.Issuer)
	}
	ac, extra := p.accessContents(f, c, s, "", out.Scope, audience)
	if out.AccessToken, err = asMap(ac, extra); err != nil {
		return nil, err
	}
	if slices.Contains(out.Scope, scopeOpenID) {
		out.IDToken = p.idContents(f, c, s, p.c.IDTokenLife, out.Scope, RequestedClaims{})
		out.UserInfo = userinfoContents(c, l, held, out.Scope, RequestedClaims{}, "")
	}
	out.Introspection, err = asMap(introspected{Active: true, Issuer: ac.Issuer, Subject: ac.Subject, Audience: ac.Audience, ClientID: ac.ClientID,
		Expires: ac.Expires, Issued: ac.Issued, Scope: ac.Scope, Type: "Bearer", AuthTime: ac.AuthTime, ACR: ac.ACR, AMR: ac.AMR, Username: l.User.Username},
		userClaims(claimsInput{target: toIntrospection, scopes: out.Scope, user: &l.User, rights: held, client: c}))
	if err != nil {
		return nil, err
	}
	for _, m := range []map[string]any{out.AccessToken, out.Introspection} {
		delete(m, "jti") // of no token
		delete(m, "gid")
		delete(m, "sid") // of no session
	}
	return out, nil
}

// previewFactor goes on as if the person had shown the second factor that the sign-in, the application or their account asks for, and could.
func (p *Provider) previewFactor(ctx context.Context, out *Preview, fa *facts, s *Session, c *Client, l *store.Live) error {
	if p.c.FirstOwed == nil { // a Previewer without a policy
		return nil
	}
	if err := p.assurance(ctx, fa, c, l); err != nil {
		return err
	}
	first, err := p.c.FirstOwed(ctx, l)
	if err != nil {
		return err
	}
	if !session.Reaches(fa.acrLeast, first) {
		fa.acrLeast = first
	}
	if fa.assured(fa.acr) {
		return nil
	}
	if fa.acrMost, err = p.c.MostACR(ctx, l); err != nil || !fa.assured(fa.acrMost) {
		return err
	}
	out.Owes = "second_factor"
	more := []string{"otp", "mfa"}
	if !fa.assured("2") { // by a passkey
		more = map[string][]string{"phr": {"swk", "user", "mfa"}, "phrh": {"hwk", "user", "mfa"}}[fa.acrMost]
	}
	s.AMR = session.Methods(s.AMR, more...)
	s.ACR = session.ACR(s.AMR)
	fa.acr = s.ACR
	return nil
}

const wayPassword = "password"

// wayIn is the way in of a preview that names none.
func wayIn(c *Client, wanted string) string {
	takes := c.Metadata.Connectors
	switch {
	case wanted != "":
		return wanted
	case len(takes) > 0 && !slices.Contains(takes, wayPassword):
		return takes[0]
	}
	return wayPassword
}

// previewConsent says what the person was or would be asked.
func (p *Provider) previewConsent(ctx context.Context, out *Preview, c *Client, userID string, needed bool) error {
	switch {
	case c.Metadata.FirstParty:
		out.Consent = ConsentNotNeeded
		return nil
	case !needed:
		out.Consent = ConsentRemembered
		return nil
	}
	out.Consent, out.NewScopes = ConsentAsked, out.Scope
	known, err := p.c.Store.Consent(ctx, userID, c.ID)
	switch {
	case err == nil: // the page marks what is new
		out.NewScopes = slices.DeleteFunc(slices.Clone(out.Scope), func(s string) bool { return slices.Contains(known.Scope, s) })
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	return nil
}

func asMap(base any, extra map[string]any) (m map[string]any, err error) {
	b, err := merge(base, extra)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	return m, err
}

// PastToken is what the id of an access token says: which grant it came from, and when.
type PastToken struct {
	GrantID string // "" = of a client alone
	At      time.Time
}

// ReadJTI reads the id of an access token of ours, of any age: which grant, and the millisecond it was made in.
func ReadJTI(jti string) (PastToken, error) {
	b, err := b64.DecodeString(jti)
	if err != nil || len(b) != 30 {
		return PastToken{}, errors.New("provider: not the id of a token of ours")
	}
	var ms int64
	for _, x := range b[16:22] {
		ms = ms<<8 | int64(x)
	}
	t := PastToken{At: time.UnixMilli(ms).UTC()}
	if [16]byte(b[:16]) != ([16]byte{}) {
		t.GrantID = gidEncoding.EncodeToString(b[:16])
	}
	return t, nil
}

// NewPreviewer is a provider that can do nothing but Preview: for the command line, beside a running server. Of c it needs Issuer, Store, Owes, what it says
// of second factors and the lives of tokens.
func NewPreviewer(c Config) *Previewer {
	return &Previewer{Provider{c: Config{Issuer: c.Issuer, Store: c.Store, Now: c.Store.Clock, Owes: c.Owes, LeastACR: c.LeastACR, MostACR: c.MostACR, FirstOwed: c.FirstOwed,
		AccessLife: c.AccessLife, IDTokenLife: c.IDTokenLife}}}
}

// Previewer is made by NewPreviewer.
type Previewer struct{ p Provider }

// Preview is Provider.Preview.
func (v *Previewer) Preview(ctx context.Context, r PreviewRequest) (*Preview, error) {
	return v.p.Preview(ctx, r)
}
