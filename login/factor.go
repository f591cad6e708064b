package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// FactorPolicy says who may and who must have a second factor. It is asked whatever way somebody signs in (R60); the zero value lets nobody add one and
// asks those who have one.
type FactorPolicy struct {
	App            bool     // people may add an authenticator app
	Passkey        bool     // people may add a passkey; needs Config.Passkeys
	SMS            bool     // people may add a telephone number; needs Config.Phone
	AllowedFor     []string // privileges, of which a person must hold one to add a factor; empty = everybody. Who must have one may add one
	RequiredFor    []string // privileges; whoever holds one must have a factor
	Administrators bool     // and whoever has power over other people's accounts (privilege.Powers.Administers)
	// AdministratorCode: somebody with power over others adds the first factor with a code from NewEnrolmentCode, or by the set-up link.
	AdministratorCode bool
	AppName           string // how authenticator apps name this service
}

// What a sign-in still owes: store.Partial.Owes. It is owed in this order, so that nobody changes a password or adds a factor who has not shown the
// factor that is there.
const (
	owesFactor      = "factor"
	owesNewPassword = "new_password"
	owesEnrolment   = "enrolment" // of a second factor, because one is required
)

// owedPaths are the pages where it is settled.
var owedPaths = map[string]string{owesFactor: factorPath, owesNewPassword: newPasswordPath, owesEnrolment: enrolPath}

const (
	factorPath   = "/mfa"
	waysPath     = factorPath + "/ways"
	recoveryPath = factorPath + "/recovery"
	enrolPath    = factorPath + "/enrol"
)

// factorKind is what a sign-in knows of a kind of second factor.
type factorKind struct {
	kind string   // of store.FactorKinds
	path string   // of its page
	amr  []string // what it adds to a sign-in (RFC 8176 §2); the first names it
}

// factorKinds are all kinds there are, those first that people are asked for first. Another one is another row, in store.FactorKinds too, and its page.
var factorKinds = []factorKind{
	{store.CredPasskey, passkeyFactorPath, amrPasskey(false, false)},
	{store.CredTOTP, factorPath, amrFactor},
	{store.CredSMS, smsPath, amrSMS},
}

// amrFactor is what an authenticator app adds, and a recovery code, which stands in for any kind: both are one-time passwords.
var amrFactor = []string{"otp", "mfa"}

// after says whether a factor of this kind adds anything to a sign-in that proved amr: nothing counts twice (R60).
func (k *factorKind) after(amr []string) bool {
	return !slices.Contains(amr, k.amr[0]) && (k.kind != store.CredPasskey || !slices.Contains(amr, "swk")) // of a passkey there are two sorts
}

// kindOf finds a kind; it is one of factorKinds.
func (l *Login) kindOf(kind string) *factorKind {
	return &factorKinds[slices.IndexFunc(factorKinds, func(k factorKind) bool { return k.kind == kind })]
}

// kindsAfter are those of a person's kinds of factors that add something to a sign-in that proved amr, in the order they are asked for. Numbers are none
// where no messages are sent any more, and passkeys where there are none any more.
func (l *Login) kindsAfter(kinds, amr []string) (out []*factorKind) {
	gone := map[string]bool{store.CredSMS: l.phone == nil, store.CredPasskey: l.passkeys == nil}
	for i := range factorKinds {
		if k := &factorKinds[i]; slices.Contains(kinds, k.kind) && k.after(amr) && !gone[k.kind] {
			out = append(out, k)
		}
	}
	return out
}

func (l *Login) mountFactors(mux *web.Mux) {
	mux.Page("GET "+factorPath, web.Public, l.showFactor) // guarded by the partial sign-in, or by the session that is to show more
	mux.Page("POST "+factorPath, web.Public, l.enterFactor)
	mux.Page("GET "+waysPath, web.Public, l.showWays)
	mux.Page("GET "+recoveryPath, web.Public, l.showRecovery)
	mux.Page("POST "+recoveryPath, web.Public, l.enterRecovery)
	mux.Page("GET "+enrolPath, web.Public, l.showEnrolment)
	mux.Page("POST "+enrolPath, web.Public, l.enrol)
	l.mountSecurity(mux)
}

// owing is the one question whether a sign-in that proved amr is complete, whichever way it came (security.md C10): what it owes next, "" = nothing. done
// is what is settled in the same transaction.
func (l *Login) owing(ctx context.Context, u *store.User, amr []string, done string) (string, error) {
	if shown, err := l.factorShown(ctx, u.ID, amr); err != nil || !shown {
		return owesFactor, err
	}
	if l.owesPassword(u) && done != owesNewPassword {
		return owesNewPassword, nil
	}
	if session.ACR(amr) != "1" || !l.factors.asks() {
		return "", nil
	}
	live, err := l.store.Live(ctx, u.ID)
	if err != nil {
		return "", err
	}
	if must, err := l.mustHaveFactor(ctx, live); err != nil || !must {
		return "", err
	}
	// A passkey that asks nothing of its own is asked for now.
	if has, err := l.store.HasFactor(ctx, u.ID); err != nil || has {
		return owesFactor, err
	}
	return owesEnrolment, nil
}

// asked says whether a person is asked for a second factor of theirs, whichever way they come.
func (l *Login) asked(ctx context.Context, u *store.Live) (bool, error) {
	kinds, err := l.store.AskingKindsOf(ctx, u.User.ID)
	if err != nil || len(kinds) > 0 {
		return err == nil, err
	}
	if must, err := l.mustHaveFactor(ctx, u); err != nil || !must {
		return false, err
	}
	return l.store.HasFactor(ctx, u.User.ID)
}

// factorShown says whether a sign-in showed as much as a person's second factors ask for; who has none, or a passkey that stands alone, is asked for nothing.
func (l *Login) factorShown(ctx context.Context, userID string, amr []string) (bool, error) {
	if showsFactor(amr) {
		return true, nil
	}
	kinds, err := l.store.AskingKindsOf(ctx, userID)
	// Who has nothing but numbers, and came in by one, showed as much with anything else beside it.
	return len(kinds) == 0 || onlySMS(kinds) && session.ACR(amr) != "1", err
}

// onlySMS says whether a person has second factors, and all are numbers.
func onlySMS(kinds []string) bool { return slices.Equal(kinds, []string{store.CredSMS}) }

// showsFactor says whether a sign-in showed a second factor, or an upstream that is trusted with it did. A number beside the password makes two factors
// too, but for who has an app it is the weaker way around it: a stolen number and a password must not do where the app guards the account.
func showsFactor(amr []string) bool {
	has := func(m string) bool { return slices.Contains(amr, m) }
	return has("mfa") || has("otp") || has("hwk") || has("swk") || has(amrFederated) && has("sms")
}

// adds says whether the policy lets people add factors of a kind.
func (f *FactorPolicy) adds(kind string) bool {
	return map[string]bool{store.CredPasskey: f.Passkey, store.CredTOTP: f.App, store.CredSMS: f.SMS}[kind]
}

// addable says whether the policy lets people add a factor of a kind that adds something to a sign-in that proved amr.
func (l *Login) addable(kind string, amr []string) bool {
	return l.factors.adds(kind) && l.kindOf(kind).after(amr)
}

// asks says whether the policy asks anybody for a second factor.
func (f *FactorPolicy) asks() bool { return f.Administrators || len(f.RequiredFor) > 0 }

// mustHaveFactor says whether the policy asks a person for a second factor, whatever the application.
func (l *Login) mustHaveFactor(ctx context.Context, u *store.Live) (bool, error) {
	if !l.factors.asks() {
		return false, nil
	}
	model, err := l.store.Model(ctx)
	if err != nil {
		return false, err
	}
	held := model.Effective(u, store.At(l.now()))
	return l.factors.Administrators && model.Powers.Administers(held) || holdsAny(held, l.factors.RequiredFor), nil
}

func holdsAny(held, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(held, n) })
}

// mayAddFactor says whether a person may add one.
func (l *Login) mayAddFactor(ctx context.Context, u *store.Live) (bool, error) {
	if !slices.ContainsFunc(store.FactorKinds, l.factors.adds) {
		return false, nil
	}
	if len(l.factors.AllowedFor) == 0 {
		return true, nil
	}
	model, err := l.store.Model(ctx)
	if err != nil {
		return false, err
	}
	if holdsAny(model.Effective(u, store.At(l.now())), l.factors.AllowedFor) {
		return true, nil
	}
	return l.mustHaveFactor(ctx, u)
}

// LeastACR is what a person must reach whatever the application asks: provider.Config.LeastACR.
func (l *Login) LeastACR(ctx context.Context, u *store.Live) (string, error) {
	must, err := l.mustHaveFactor(ctx, u)
	if err != nil || !must {
		return "1", err
	}
	return "2", nil
}

// MostACR is what a person can reach on the page of second factors, with one that they have or may add: provider.Config.MostACR.
func (l *Login) MostACR(ctx context.Context, u *store.Live) (string, error) {
	if most, err := l.mostPasskey(ctx, u.User.ID); err != nil || most != "" {
		return most, err
	}
	can, err := l.store.HasFactor(ctx, u.User.ID)
	if err == nil && !can {
		can, err = l.mayAddFactor(ctx, u)
	}
	if err != nil || !can {
		return "1", err
	}
	return "2", nil
}

// FirstOwed is LeastACR for a sign-in that begins: a person whose factor asks is asked for it, required or not.
func (l *Login) FirstOwed(ctx context.Context, u *store.Live) (string, error) {
	asked, err := l.asked(ctx, u)
	if err != nil || asked {
		return "2", err
	}
	return l.LeastACR(ctx, u)
}

// Assured is nil when the session of a request shows as much as its person must show, and an error for them when not: a session from before the policy
// asked, say. Pages of administration ask it (security.md C10).
func (l *Login) Assured(ctx context.Context) error {
	s, ok := session.Current(ctx)
	if !ok || s.ACR != "1" {
		return nil
	}
	must, err := l.mustHaveFactor(ctx, s.Live)
	if err != nil || !must {
		return wrap("second factor", err)
	}
	return &web.Error{Status: http.StatusForbidden, Key: "error.factor_needed", Code: "factor_needed", RestartURL: factorPath}
}

// shown says whether a session is as strong as its account: whoever has a second factor, or must have one, showed it (security.md C11).
func (l *Login) shown(ctx context.Context, s *session.Session) (bool, error) {
	if showsFactor(s.AMR) {
		return true, nil
	}
	if shown, err := l.factorShown(ctx, s.UserID, s.AMR); err != nil || !shown {
		return false, err
	}
	least, err := l.LeastACR(ctx, s.Live)
	return session.Reaches(s.ACR, least), err
}

// carried is the sealed part of a half-finished sign-in: what is to be done when nothing more is owed.
type carried struct {
	Side  *carriedSide `json:"s,omitempty"` // the upstream's side of the session
	Join  string       `json:"j,omitempty"` // handle of the identity that waits for this proof
	SetUp bool         `json:"u,omitempty"` // the set-up link led here
}

// carriedSide is store.UpstreamSession before there is a session.
type carriedSide struct {
	Issuer  string `json:"i"`
	Subject string `json:"s"`
	SID     string `json:"d,omitempty"`
	IDToken string `json:"t,omitempty"` // only where it is kept
	Anew    bool   `json:"a,omitempty"`
}

const sealedPartial = "partials.data." // and the user's id

// pack seals c for the row of a partial sign-in of a user.
func (l *Login) pack(userID string, c carried) (string, error) {
	if c == (carried{}) {
		return "", nil
	}
	plain, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return l.seal(plain, sealedPartial+userID), nil
}

func (l *Login) unpack(p *session.Partial) (c carried, err error) {
	if p.Data == "" {
		return c, nil
	}
	plain, err := l.open(p.Data, sealedPartial+p.UserID)
	if err != nil {
		return c, fmt.Errorf("login: partial sign-in: %w", err)
	}
	return c, json.Unmarshal(plain, &c)
}

// owe begins a half-finished sign-in. It joins the transaction of r's context.
func (l *Login) owe(w http.ResponseWriter, r *http.Request, proof session.Proof, owes string, p *pending, c carried) (err error) {
	if proof.Data, err = l.pack(proof.UserID, c); err != nil {
		return err
	}
	_, err = l.sessions.StartPartial(w, r, proof, owes, p.hash())
	return err
}

// toOwed leads to the page where what is owed is settled.
func toOwed(w http.ResponseWriter, r *http.Request, owes string, p *pending) error {
	return web.SeeOther(w, r, owedURL(r, owedPaths[owes], p))
}

// owedURL is a page of a half-finished sign-in. One that only confirms who is signed in says so all the way.
func owedURL(r *http.Request, path string, p *pending) string {
	more := query{}
	if p == nil && reauth(r) {
		more["reauth"] = "1"
	}
	return pathWith(path, p, more)
}

// owed returns the partial sign-in of this browser that owes one of these, and the flow it belongs to. A flow of another tab does not fit: each tab has
// its own handle (security.md A23). The error is for people, and leads to where a sign-in begins.
func (l *Login) owed(r *http.Request, owes ...string) (*session.Partial, *store.User, *pending, error) {
	p, err := l.pending(r)
	if err != nil {
		return nil, nil, nil, l.deadEnd(r, err)
	}
	partial, user, err := l.sessions.CurrentPartial(r)
	if err != nil {
		return nil, nil, p, startOver(p, err)
	}
	if !slices.Contains(owes, partial.Owes) || partial.FlowHash != p.hash() || l.noPassword && partial.Owes == owesNewPassword || !l.ConnectorEnabled(partial.Connector) { // security.md E11
		return nil, nil, p, startOver(p, &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired"})
	}
	return partial, user, p, nil
}

// startOver leads a page about a partial sign-in that is over, used up or never begun back into the flow.
func startOver(p *pending, err error) error {
	var e *web.Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
		return wrap("partial sign-in", err)
	}
	page := *e
	page.RestartURL = SignInURL(p.id())
	return &page
}

// settleOwed goes on after the person settled what partial owed: to what it owes next, or it makes the session. settle does it, in the transaction of
// the rest; since is what was proven by it. made is nil when something else is owed, and then the answer was sent.
func (l *Login) settleOwed(w http.ResponseWriter, r *http.Request, partial *session.Partial, u *store.User, p *pending, since []string, settle func(context.Context) error) (made *session.Session, err error) {
	if slices.Contains(owesProof, partial.Owes) { // whatever it was proven by, the number is theirs
		first := settle
		settle = func(ctx context.Context) error {
			if err := first(ctx); err != nil {
				return err
			}
			err := l.store.ProvePhone(ctx, u.ID, u.Phone)
			if errors.Is(err, store.ErrConflict) { // it changed hands meanwhile
				return &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err}
			}
			return err
		}
	}
	if partial.Owes == owesEnrolment { // there was no factor when it began: one that came meanwhile is to be shown, whether it asks of itself or not
		add := settle
		settle = func(ctx context.Context) error {
			if err := add(ctx); err != nil {
				return err
			}
			f, err := l.store.Factors(ctx, u.ID) // AddFactor locked the person
			if err == nil && len(f.List) > 1 {
				err = fmt.Errorf("login: there is a second factor: %w", store.ErrConflict)
			}
			return err
		}
	}
	owes := ""
	if partial.SessionID == "" {
		if owes, err = l.owing(r.Context(), u, session.Methods(partial.AMR, since...), partial.Owes); err != nil {
			return nil, wrap("second factor", err)
		}
	}
	if owes != "" {
		err = l.store.Tx(r.Context(), func(ctx context.Context) error {
			if err := settle(ctx); err != nil {
				return err
			}
			_, err := l.sessions.Advance(w, r.WithContext(ctx), partial, since, owes)
			return err
		})
		if err != nil {
			return nil, err
		}
		return nil, toOwed(w, r, owes, p)
	}
	c, err := l.unpack(partial)
	if err != nil {
		return nil, err
	}
	var q *linkRequest
	if c.Join != "" {
		row, a, err := l.waits(r, p, c.Join, store.AttemptJoin)
		if err != nil {
			return nil, err
		}
		q = l.joining(c.Join, row, a, p)
	}
	complete := func(r *http.Request) (*session.Session, error) {
		ctx := r.Context()
		if err := settle(ctx); err != nil {
			return nil, err
		}
		if q != nil {
			if err := l.join(ctx, q, partial.Connector); err != nil {
				return nil, err
			}
		}
		made, err := l.sessions.Complete(w, r, partial, since)
		if err != nil || c.Side == nil {
			return made, err
		}
		return made, l.keepSide(ctx, made, c.Side)
	}
	if partial.SessionID == "" {
		return l.begin(r, partial.UserID, p, complete)
	}
	err = l.store.Tx(r.Context(), func(ctx context.Context) (err error) {
		if made, err = complete(r.WithContext(ctx)); err != nil {
			return err
		}
		return l.record(ctx, "step_up", made.UserID, p.clientID(), map[string]any{"amr": made.AMR})
	})
	return made, err
}

// keepSide keeps the upstream's side of a new session.
func (l *Login) keepSide(ctx context.Context, made *session.Session, c *carriedSide) error {
	side := &store.UpstreamSession{SessionID: made.ID, Connector: made.Connector, Issuer: c.Issuer, Subject: c.Subject, SID: c.SID, Anew: c.Anew}
	if c.IDToken != "" {
		side.Sealed = l.seal([]byte(c.IDToken), sealedSession+made.ID)
	}
	return l.store.CreateUpstreamSession(ctx, side)
}

// side is the upstream's side of what comes of an arrival.
func (a *arrival) side() *carriedSide {
	s := &carriedSide{Issuer: a.id.Issuer, Subject: a.id.Subject, SID: a.id.SID, Anew: a.anew}
	if a.up.KeepIDToken || a.up.Logout {
		s.IDToken = a.id.IDToken
	}
	return s
}
