package login

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// DryRunRequest asks what a sign-in through a connector would lead to.
type DryRunRequest struct {
	Connector string
	ClientID  string // the application the person comes from; "" = none
	Claims    []byte // what the upstream says, as connectors.Describer takes it. Nobody vouches for it
	Disowned  bool   // the person says that the account which has the address is not theirs
}

// Decisions of a DryRun.
const (
	DryEnter   = "enter"   // signed in to the account of the link
	DryCreate  = "create"  // a new account
	DryAwait   = "await"   // a new account that waits for approval
	DryClaim   = "claim"   // a new account, which gets the address of one that never proved it
	DryJoin    = "join"    // linked at once to the account that has the address
	DryProve   = "prove"   // asked to prove that account
	DryAddress = "address" // asked for an address, to be proven by a code
	DryRefuse  = "refuse"
)

// DryRun is what a sign-in would lead to. Nothing of it happened.
type DryRun struct {
	Connector string      `json:"connector"`
	Label     string      `json:"label"`
	Identity  DryIdentity `json:"identity"`
	Policy    DryPolicy   `json:"policy"`

	Decision string         `json:"decision"`
	Code     string         `json:"code,omitempty"` // with refuse: as on the page
	Key      string         `json:"-"`              // of the text that says why, with Args; of a refusal, the page's
	Args     map[string]any `json:"-"`
	Detail   string         `json:"detail,omitempty"`    // what the log would say of an identity that was not taken
	Alert    bool           `json:"alert,omitempty"`     // administrators would be told
	MayClaim bool           `json:"may_claim,omitempty"` // with prove: the person may say that the account is not theirs

	UserID string `json:"user,omitempty"`   // who would be signed in; with New an id that nobody has
	New    bool   `json:"new,omitempty"`    // there is no such account yet
	Holder string `json:"holder,omitempty"` // whose account has the proven address

	Evidence []string    `json:"evidence,omitempty"` // what a new link would rest on
	Filled   []DryFilled `json:"filled,omitempty"`   // what the profile would gain
	Rules    DryRules    `json:"rules"`

	Owes  []string `json:"owes,omitempty"`  // what comes before the session, in this order: factor, new_password, enrolment (of a factor)
	Proof string   `json:"proof,omitempty"` // with prove: what follows is what would be after a proof by this method; "" = nothing follows
	WayIn string   `json:"way_in,omitempty"`
	AMR   []string `json:"amr,omitempty"` // of the session
	ACR   string   `json:"acr,omitempty"`
}

// DryIdentity is the person as the connector would describe them.
type DryIdentity struct {
	Issuer      string `json:"issuer,omitempty"`
	Subject     string `json:"subject,omitempty"`
	Email       string `json:"email,omitempty"`
	EmailTrust  string `json:"email_trust,omitempty"`  // with the operator's word on it
	EmailProven bool   `json:"email_proven,omitempty"` // it counts
	Name        string `json:"name,omitempty"`
	GivenName   string `json:"given_name,omitempty"`
	FamilyName  string `json:"family_name,omitempty"`
	Username    string `json:"username,omitempty"`
}

// DryPolicy are the operator's rules as they apply.
type DryPolicy struct {
	Registration string   `json:"registration"` // the stricter of the connector's and the client's
	Link         string   `json:"link"`
	Domains      []string `json:"domains,omitempty"`
	DomainFits   bool     `json:"domain_fits"`
	MayAdmin     bool     `json:"may_admin"` // administrators may come in this way
}

// DryFilled is a fact about a person that is taken over.
type DryFilled struct {
	Field string `json:"field"`
	Value string `json:"value"`
}

// DryRules is what would come of the connector's claim rules.
type DryRules struct {
	Matched []string `json:"matched,omitempty"` // what they give for these claims
	Given   []string `json:"given,omitempty"`   // of that, what the person does not have from them yet
	Ended   []string `json:"ended,omitempty"`   // what they gave before and give no more
	Admin   []string `json:"admin,omitempty"`   // left out: it would make an administrator
	Refused []string `json:"refused,omitempty"` // left out: not defined, or the gate refused
}

// Errors of DryRun. Beside these it returns a *connectors.DocumentError for claims that cannot be read.
var (
	ErrDryConnector = errors.New("login: no such connector")
	ErrDryClient    = errors.New("login: no such client, or it is disabled")
)

// DryRun says what a sign-in with these claims would lead to, by the code that signs people in, in a transaction that is undone: facts, decision,
// account, link, profile, privileges and session are made, looked at and gone. then is called where there would be a session, within the transaction,
// with the ctx that sees all of it; it may be called more than once. It must be short: see store.DryRun.
//
// The claims prove nothing, which is why nothing may stay: whoever may call this learns whose address it is and what somebody may do.
func (l *Login) DryRun(ctx context.Context, req DryRunRequest, then func(context.Context, *DryRun) error) (*DryRun, error) {
	up := l.upstream(req.Connector)
	if up == nil {
		return nil, ErrDryConnector
	}
	describer, ok := up.Connector.(connectors.Describer)
	if !ok {
		return nil, ErrDryConnector
	}
	id, trouble := describer.Describe(req.Claims) // outside: while the transaction is open, others may wait
	if bad, ok := errors.AsType[*connectors.DocumentError](trouble); ok {
		return nil, bad
	}
	// What it would log did not happen.
	dry := &Login{store: l.store, sessions: l.sessions, log: slog.New(slog.DiscardHandler), now: l.now, codeKey: l.codeKey, issuer: l.issuer,
		factors: l.factors, upstreams: l.upstreams, seal: l.seal, open: l.open}
	var out *DryRun
	for try := 0; ; try++ {
		err := l.store.DryRun(session.Without(ctx), func(ctx context.Context) (err error) {
			out = &DryRun{Connector: up.Name(), Label: up.Label}
			p, err := dry.dryPending(ctx, req.ClientID)
			if err != nil {
				return err
			}
			out.Policy = DryPolicy{Registration: up.registration(p), Link: up.Link, Domains: up.Domains}
			if !p.admits(up.Name()) {
				out.refuse(&web.Error{Key: "error.connector_unknown", Code: "unknown_connector"}, up)
				return nil
			}
			a, err := newArrival(up, id, p)
			if trouble != nil {
				err = trouble
			}
			if err != nil {
				page, _ := errors.AsType[*web.Error](dry.upstreamError(up, p, err))
				out.refuse(page, up)
				out.Detail = err.Error()
				return nil
			}
			a.disowned = req.Disowned
			if err := dry.dryArrive(ctx, a, out); err != nil || out.AMR == nil {
				return err
			}
			return then(ctx, out)
		})
		if !errors.Is(err, store.ErrConflict) || try == 3 { // as settle
			return out, err
		}
	}
}

// dryPending is the request of an application that asks for nothing in particular.
func (l *Login) dryPending(ctx context.Context, clientID string) (*pending, error) {
	if clientID == "" {
		return nil, nil
	}
	client, err := l.store.Client(ctx, clientID)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && !client.DisabledAt.IsZero():
		return nil, ErrDryClient
	case err != nil:
		return nil, err
	}
	return &pending{flow: &store.Flow{ClientID: client.ID}, form: url.Values{}, client: client}, nil
}

// dryArrive is arrive with a look at what was there before and what is there afterwards.
func (l *Login) dryArrive(ctx context.Context, a *arrival, out *DryRun) error {
	id := &a.id
	out.Identity = DryIdentity{Issuer: id.Issuer, Subject: id.Subject, Email: id.Email, EmailTrust: string(a.up.trust(id)), EmailProven: a.up.proven(id),
		Name: id.Name, GivenName: id.GivenName, FamilyName: id.FamilyName, Username: id.Username}
	f, rows, err := l.gather(ctx, a)
	if err != nil {
		return err
	}
	out.Policy.DomainFits, out.Policy.MayAdmin = f.domainFits, f.mayAdmin
	var before store.User
	switch {
	case rows.owner != nil:
		before = rows.owner.User
	case rows.holder != nil:
		before, out.Holder = rows.holder.User, rows.holder.User.ID
	}
	held := []store.Assignment(nil)
	if before.ID != "" {
		if held, err = l.store.Assignments(ctx, before.ID); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return err
	}
	s, err := l.settleOnce(nowhere{}, r, a)
	if err != nil {
		return err
	}
	d := s.decision
	out.Alert, out.MayClaim = d.alert, d.mayClaim
	switch {
	case d.step == linkRefuse:
		out.refuse(s.page, a.up)
		if rows.owner != nil {
			out.UserID = rows.owner.User.ID
		}
		return nil
	case s.incomplete:
		out.decide(DryAddress)
		return nil
	case d.step == linkProve:
		out.decide(DryProve)
		if proven, err := l.dryProof(ctx, r, a, &before, out); err != nil || !proven {
			return err
		}
	case d.step == linkEnter:
		out.decide(DryEnter)
	case d.step == linkJoin:
		out.decide(DryJoin)
	default:
		out.decide(map[linkStep]string{linkCreate: DryCreate, linkAwait: DryAwait, linkClaim: DryClaim}[d.step])
		out.New, before, held = true, store.User{}, nil
	}
	link, err := l.store.Identity(ctx, id.Connector, id.Issuer, id.Subject)
	if err != nil {
		return err
	}
	out.UserID = link.UserID
	if !f.known {
		out.Evidence = link.Evidence
	}
	after, err := l.store.User(ctx, out.UserID)
	if err != nil {
		return err
	}
	out.Filled = dryFilled(&before, after)
	now, err := l.store.Assignments(ctx, out.UserID)
	if err != nil {
		return err
	}
	out.Rules = DryRules{Matched: a.rules.matched, Given: byRules(a.up, now, held), Ended: byRules(a.up, held, now), Admin: a.rules.admin, Refused: a.rules.refused}
	if out.Decision == DryProve {
		return nil
	}
	out.WayIn = a.up.Name()
	return l.drySession(ctx, a, s, out)
}

// dryProof goes on as if the person had proven the holder's account by its password, as link does; false where that is no way.
func (l *Login) dryProof(ctx context.Context, r *http.Request, a *arrival, holder *store.User, out *DryRun) (bool, error) {
	_, err := l.store.Password(ctx, holder.ID)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && (l.owesPassword(holder) || !l.admits(a.p, methodPassword)):
		return false, nil
	case err != nil:
		return false, err
	}
	a.use = func(context.Context) error { return nil } // nothing waits
	if err := l.join(ctx, &linkRequest{row: &store.Attempt{UserID: holder.ID}, a: a, p: a.p}, methodPassword); err != nil {
		if _, moved := errors.AsType[*web.Error](err); moved { // the world changed since the first look
			err = store.ErrConflict
		}
		return false, err
	}
	out.Proof, out.WayIn = methodPassword, methodPassword
	if err := l.dryOwed(ctx, holder.ID, amrPassword, out); err != nil || len(out.Owes) > 0 {
		return true, err
	}
	_, err = l.begin(r, holder.ID, a.p, func(r *http.Request) (*session.Session, error) {
		return l.sessions.Start(nowhere{}, r, session.Proof{UserID: holder.ID, Connector: methodPassword, AMR: amrPassword})
	})
	return true, err
}

// drySession is what the session would say. Where something comes before it, it is what it would say after that.
func (l *Login) drySession(ctx context.Context, a *arrival, s settled, out *DryRun) error {
	switch {
	case s.made != nil:
		out.AMR, out.ACR = slices.Clone([]string(s.made.AMR)), s.made.ACR
		return nil
	case s.owes == "": // it waits for approval
		if err := l.store.EnableUser(ctx, "system", out.UserID); err != nil {
			return err
		}
	}
	return l.dryOwed(ctx, out.UserID, a.proof(out.UserID).AMR, out)
}

// dryOwed is what comes before the session of somebody who proved amr, and what the session says after it.
func (l *Login) dryOwed(ctx context.Context, userID string, amr []string, out *DryRun) error {
	u, err := l.store.User(ctx, userID)
	if err != nil {
		return err
	}
	done := ""
	for len(out.Owes) <= len(owedPaths) {
		owes, err := l.owing(ctx, u, amr, done)
		if err != nil {
			return err
		}
		if owes == "" {
			break
		}
		out.Owes = append(out.Owes, owes)
		if owes == owesNewPassword {
			amr, done = session.Methods(amr, amrPassword...), owes
		} else {
			amr = session.Methods(amr, amrFactor...)
		}
	}
	out.AMR, out.ACR = slices.Clone(amr), session.ACR(amr)
	return nil
}

// decide sets the decision and its text.
func (d *DryRun) decide(decision string) {
	d.Decision, d.Key, d.Args = decision, "preview.decision_"+decision, map[string]any{"Provider": d.Label}
}

// refuse takes over the page that would say no.
func (d *DryRun) refuse(page *web.Error, up *Upstream) {
	d.Decision, d.Code, d.Key, d.Args = DryRefuse, page.Code, page.Key, page.Args
	if d.Args == nil {
		d.Args = map[string]any{"Provider": up.Label}
	}
}

// byRules are the privileges that rules of a connector gave in one list and not in the other.
func byRules(up *Upstream, in, notIn []store.Assignment) (names []string) {
	has := func(list []store.Assignment, name string) bool {
		return slices.ContainsFunc(list, func(h store.Assignment) bool {
			return h.Privilege == name && h.Source == store.SourceConnector && h.SourceRef == up.Name() && h.EndedAt.IsZero()
		})
	}
	for _, h := range in {
		if has(in, h.Privilege) && !has(notIn, h.Privilege) && !slices.Contains(names, h.Privilege) {
			names = append(names, h.Privilege)
		}
	}
	return names
}

// dryFilled are the facts that a sign-in took over.
func dryFilled(before, after *store.User) (list []DryFilled) {
	for _, f := range []struct{ name, before, after string }{
		{"given_name", before.GivenName, after.GivenName}, {"family_name", before.FamilyName, after.FamilyName},
		{"nickname", before.Profile.Nickname, after.Profile.Nickname}, {"picture", before.Profile.Picture, after.Profile.Picture},
		{"locale", before.Locale, after.Locale}, {"email", before.Email, after.Email},
	} {
		if f.before != f.after {
			list = append(list, DryFilled{f.name, f.after})
		}
	}
	if before.EmailVerifiedAt.IsZero() && !after.EmailVerifiedAt.IsZero() {
		list = append(list, DryFilled{"email_verified", "true"})
	}
	return list
}

// nowhere takes a response that nobody reads.
type nowhere http.Header

// Header implements http.ResponseWriter.
func (n nowhere) Header() http.Header { return http.Header(n) }

// Write implements http.ResponseWriter.
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (nowhere) WriteHeader(int) {}

// DryRunConfig is for NewDryRunner.
type DryRunConfig struct {
	Store      *store.Store
	Connectors []Upstream
	NoPassword bool // nobody signs in with one, so nobody owes one
	Mail       bool // the server sends mail, so that people are asked for an address where a client requires one
	Factors    FactorPolicy
	Now        func() time.Time // nil = the store's clock
}

// DryRunner is made by NewDryRunner.
type DryRunner struct{ l *Login }

// NewDryRunner is a Login that can do nothing but DryRun: for the command line, beside a running server.
func NewDryRunner(c DryRunConfig) (*DryRunner, error) {
	upstreams, err := newUpstreams(c.Connectors)
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = c.Store.Clock
	}
	key := make([]byte, 64) // of cookies that nobody gets
	rand.Read(key)
	sessions, err := session.New(session.Config{Store: c.Store, Keys: [][]byte{key}, Now: c.Now})
	if err != nil {
		return nil, err
	}
	l := &Login{store: c.Store, sessions: sessions, now: c.Now, upstreams: upstreams, noPassword: c.NoPassword, factors: c.Factors,
		seal: func([]byte, string) string { return "" }} // nothing is kept
	if c.Mail {
		l.codeKey = key
	}
	return &DryRunner{l}, nil
}

// DryRun is Login.DryRun.
func (d *DryRunner) DryRun(ctx context.Context, req DryRunRequest, then func(context.Context, *DryRun) error) (*DryRun, error) {
	return d.l.DryRun(ctx, req, then)
}

// Owes is Login.Owes.
func (d *DryRunner) Owes(c *store.Client, u *store.User) string { return d.l.Owes(c, u) }

// LeastACR is Login.LeastACR.
func (d *DryRunner) LeastACR(ctx context.Context, u *store.Live) (string, error) {
	return d.l.LeastACR(ctx, u)
}

// MostACR is Login.MostACR.
func (d *DryRunner) MostACR(ctx context.Context, u *store.Live) (string, error) {
	return d.l.MostACR(ctx, u)
}

// FirstOwed is Login.FirstOwed.
func (d *DryRunner) FirstOwed(ctx context.Context, u *store.Live) (string, error) {
	return d.l.FirstOwed(ctx, u)
}
