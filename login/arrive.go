package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// arrival is an identity whose upstream has vouched for it, and what its person said since.
type arrival struct {
	up *Upstream
	id connectors.Identity
	p  *pending

	invite  *invited // that is open in this browser; it may not fit: see fits
	invited bool     // the account was just made of it

	anew          bool   // the person was asked to sign in at the upstream, and not let through by a session they had there
	disowned      bool   // the account that has the address is not theirs
	completed     bool   // the page for what the upstream did not say was filled in, with:
	email         string // proven by a code in a mail
	given, family string

	rules ruled // what came of the operator's rules

	use func(context.Context) error // uses up the attempt it waited in, inside the transaction; nil = there is none
}

// ruled is what came of the operator's claim rules: what they give for the claims, what of that would have made an administrator through a connector
// that may not, and what the gate refused to give or take.
type ruled struct{ matched, admin, refused []string }

// settled is what became of an arrival.
type settled struct {
	made       *session.Session // a complete sign-in
	page       *web.Error       // a refusal
	decision   linkDecision
	holder     string // with linkProve
	incomplete bool   // the client needs what nobody said yet
	owes       string // what comes before the session
	taken      bool   // the address became somebody else's after the mail
}

// arrive decides whose account an identity opens, and goes on.
func (l *Login) arrive(w http.ResponseWriter, r *http.Request, a *arrival) error {
	s, err := l.settle(w, r, a)
	switch {
	case err != nil:
		return wrap("sign-in through a connector", err)
	case s.page != nil:
		return s.page
	case s.incomplete:
		return l.sendTo(w, r, completePath, store.AttemptComplete, "", a)
	case s.decision.step == linkProve:
		return l.sendTo(w, r, linkPath, store.AttemptJoin, s.holder, a)
	case s.owes != "":
		return toOwed(w, r, s.owes, a.p)
	}
	return l.goOn(w, r, s.made, a.p)
}

// sendTo keeps the identity and leads to the page where its person goes on.
func (l *Login) sendTo(w http.ResponseWriter, r *http.Request, path, purpose, userID string, a *arrival) error {
	handle, err := l.wait(w, r, purpose, userID, a)
	if err != nil {
		return wrap("an identity that waits", err)
	}
	return web.SeeOther(w, r, pathWith(path, a.p, query{"join": handle}))
}

// settle runs settleOnce in a transaction, and again when somebody else was quicker: two tabs of one new person, say. What they made is
// there then, and decides.
func (l *Login) settle(w http.ResponseWriter, r *http.Request, a *arrival) (s settled, err error) {
	for try := 0; ; try++ {
		err = l.store.Tx(r.Context(), func(ctx context.Context) (err error) {
			s, err = l.settleOnce(w, r.WithContext(ctx), a)
			return err
		})
		if !errors.Is(err, store.ErrConflict) || try == 3 {
			return s, err
		}
	}
}

func (l *Login) settleOnce(w http.ResponseWriter, r *http.Request, a *arrival) (settled, error) {
	ctx := r.Context()
	a.invited = false
	f, rows, err := l.gather(ctx, a)
	if err != nil {
		return settled{}, err
	}
	s := settled{decision: decideLink(f)}
	if f.known && f.ownerActive && s.decision.why == "error.admin_connector" { // unless it was a claim that made them one, and it is gone
		if err := l.grantByClaims(ctx, a, rows.owner.User.ID); err != nil {
			return s, err
		}
		if f, rows, err = l.gather(ctx, a); err != nil {
			return s, err
		}
		s.decision = decideLink(f)
	}
	switch s.decision.step {
	case linkRefuse:
		s.page = l.refusal(a, s.decision)
		return s, l.recordRefusal(ctx, a, rows, s.decision)
	case linkProve:
		s.holder = rows.holder.User.ID
		return s, nil
	}
	var owner *store.User
	if rows.owner != nil {
		owner = &rows.owner.User
	} else if s.decision.step == linkJoin {
		owner = &rows.holder.User
	}
	if l.lacksEmail(a, owner) {
		if !a.completed {
			s.incomplete = true
			return s, nil
		}
		if a.email != "" {
			if _, err := l.store.UserByLogin(ctx, a.email); err == nil {
				s.taken = true
				return s, nil
			} else if !errors.Is(err, store.ErrNotFound) {
				return s, err
			}
		}
	}
	if a.use != nil {
		if err := a.use(ctx); err != nil {
			return s, err
		}
	}
	link := rows.link
	switch s.decision.step {
	case linkClaim:
		if err := l.store.QuarantineHolder(ctx, a.up.actor(), rows.holder.User.ID, a.id.Email); err != nil {
			return s, err
		}
		if err := l.alert(ctx, a, "address_claimed", rows.holder.User.ID); err != nil {
			return s, err
		}
		fallthrough
	case linkCreate, linkAwait:
		if owner, err = l.register(ctx, a); err != nil {
			return s, err
		}
		evidence := []string{evidenceNew}
		if a.email != "" {
			evidence = append(evidence, evidenceMail)
		}
		link, err = l.connect(ctx, a, owner.ID, evidence...)
	case linkJoin:
		link, err = l.connect(ctx, a, owner.ID, evidenceBoth)
	}
	if err != nil {
		return s, err
	}
	if err := l.refresh(ctx, a, link, owner); err != nil {
		return s, err
	}
	if !owner.Active(l.now()) {
		s.page = l.refusal(a, linkDecision{why: "error.awaiting_approval"})
		return s, l.record(ctx, "sign_in_failed", owner.ID, a.p.clientID(), map[string]any{"method": a.up.Name(), "why": "awaiting approval"})
	}
	proof := a.proof(owner.ID)
	if s.owes, err = l.owing(ctx, owner, proof.AMR, ""); err != nil {
		return s, err
	}
	if s.owes != "" {
		return s, l.owe(w, r, proof, s.owes, a.p, carried{Side: a.side(), SetUp: a.invited && s.owes == owesEnrolment})
	}
	s.made, err = l.enter(w, r, a, owner.ID)
	return s, err
}

// refusal is the page for a decision.
func (l *Login) refusal(a *arrival, d linkDecision) *web.Error {
	page := a.up.refusal(http.StatusForbidden, d.why, strings.TrimPrefix(d.why, "error."), nil)
	page.RestartURL = chooseURL(a.p)
	return page
}

func (l *Login) recordRefusal(ctx context.Context, a *arrival, rows linkRows, d linkDecision) error {
	user := ""
	if rows.owner != nil {
		user = rows.owner.User.ID
	}
	if d.alert && rows.holder != nil {
		if err := l.alert(ctx, a, "identity_conflict", rows.holder.User.ID); err != nil {
			return err
		}
	} else if d.alert {
		if err := l.alert(ctx, a, "identity_conflict", ""); err != nil {
			return err
		}
	}
	return l.record(ctx, "sign_in_failed", user, a.p.clientID(), map[string]any{"method": a.up.Name(), "why": strings.TrimPrefix(d.why, "error.")})
}

// alert is an event that administrators should look at: it names the subject, which is what they need and no secret.
func (l *Login) alert(ctx context.Context, a *arrival, kind, userID string) error {
	l.log.WarnContext(ctx, "connector: "+kind, "connector", a.up.Name(), "issuer", a.id.Issuer, "subject", a.id.Subject, "user", userID)
	return l.record(ctx, kind, userID, a.p.clientID(), map[string]any{"connector": a.up.Name(), "issuer": a.id.Issuer, "subject": a.id.Subject})
}

// lacksEmail: an address is asked for only when the client requires one and nobody has any (R32).
func (l *Login) lacksEmail(a *arrival, owner *store.User) bool {
	if a.p == nil || !l.asks(a.p.client) || a.up.proven(&a.id) {
		return false
	}
	return owner == nil && !a.invite.names() || owner != nil && owner.Email == ""
}

// register makes a person's account, and looks at the policy itself: no caller can forget it (security.md F17).
func (l *Login) register(ctx context.Context, a *arrival) (*store.User, error) {
	i := a.invite
	if fits, err := l.fits(ctx, a); err != nil {
		return nil, err
	} else if fits != inviteFits {
		i = nil
	}
	policy := policyFor(a.up.registration(a.p), i)
	if policy != RegistrationOpen && policy != RegistrationApproval {
		return nil, fmt.Errorf("login: registration through %s is %s", a.up.Name(), policy)
	}
	u := &store.User{GivenName: a.given, FamilyName: a.family}
	if policy == RegistrationApproval {
		u.DisabledAt, u.DisabledReason = store.At(l.now()), AwaitingApproval
	}
	if email := a.provenEmail(); email != "" {
		u.Email, u.EmailVerifiedAt = email, store.At(l.now())
	}
	fillProfile(u, &a.id)
	if err := l.newUser(ctx, i, u); err != nil {
		return nil, err
	}
	a.invited = i != nil
	return u, l.store.Audit(ctx, a.up.actor(), "user.create", "user:"+u.ID, map[string]string{"registration": registrationWord(policy, i)})
}

// What a link rests on: store.Identity.Evidence. The address as the upstream gave it, and how far it vouches for it, stand beside it.
const (
	evidenceNew     = "new_account"   // the account was made with it
	evidenceBoth    = "both_verified" // two proven addresses were the same, and the operator allows that
	evidenceMail    = "mail_code"     // and its person proved an address by a code in a mail
	evidenceAccount = "account_page"  // connected by somebody signed in, who had just proven who they are
	evidenceProof   = "proof:"        // and the method by which the account was proven at the sign-in
)

// connect links the identity, with what the link rests on: the person and administrators can read it.
func (l *Login) connect(ctx context.Context, a *arrival, userID string, evidence ...string) (*store.Identity, error) {
	link := identityOf(a, userID, evidence...)
	return link, l.store.CreateIdentity(ctx, a.up.actor(), link)
}

func identityOf(a *arrival, userID string, evidence ...string) *store.Identity {
	return &store.Identity{
		UserID: userID, Connector: a.up.Name(), Issuer: a.id.Issuer, Subject: a.id.Subject,
		Email: a.id.Email, EmailTrust: string(a.up.trust(&a.id)), Evidence: evidence,
	}
}

// refresh brings link, profile and privileges in line with what the upstream says today.
func (l *Login) refresh(ctx context.Context, a *arrival, link *store.Identity, u *store.User) error {
	if err := l.store.TouchIdentity(ctx, link.ID, a.id.Email, string(a.up.trust(&a.id))); err != nil {
		return err
	}
	if err := l.keepToken(ctx, a, link); err != nil {
		return err
	}
	changed := fillProfile(u, &a.id)
	if u.GivenName == "" && u.FamilyName == "" && a.given+a.family != "" {
		u.GivenName, u.FamilyName, changed = a.given, a.family, true
	}
	mail, err := l.refreshEmail(ctx, a, u)
	if err != nil {
		return err
	}
	if changed || mail {
		if err := l.store.UpdateUser(ctx, u); err != nil {
			return err
		}
	}
	return l.grantByClaims(ctx, a, u.ID)
}

// provenEmail is the address that the upstream vouches for, else the one that its person proved by mail, "" for none.
func (a *arrival) provenEmail() string {
	if a.up.proven(&a.id) {
		return a.id.Email
	}
	return a.email
}

// refreshEmail gives an account without an address the proven one, and notes the proof of one it has. An address that somebody else has
// stays theirs.
func (l *Login) refreshEmail(ctx context.Context, a *arrival, u *store.User) (changed bool, err error) {
	said := a.provenEmail()
	if said == "" || u.Email != "" && !u.EmailVerifiedAt.IsZero() {
		return false, nil
	}
	holder, err := l.store.UserByLogin(ctx, said)
	switch {
	case errors.Is(err, store.ErrNotFound) && u.Email == "" && validEmail(said):
		u.Email, u.EmailVerifiedAt = said, store.At(l.now())
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case holder.ID == u.ID:
		u.EmailVerifiedAt = store.At(l.now())
		return true, nil
	}
	return false, nil
}

// grantByClaims re-evaluates the operator's rules. What would make an administrator through a connector that may not is left out (R41);
// what made one stays, if all that is missing today is the second factor.
func (l *Login) grantByClaims(ctx context.Context, a *arrival, userID string) error {
	names := privilegesFrom(a.up.Rules, a.id.Claims)
	a.rules = ruled{matched: slices.Clone(names)}
	if len(names) > 0 && !a.up.mayAdmin(&a.id) {
		model, err := l.store.Model(ctx)
		if err != nil {
			return err
		}
		held, err := l.store.Assignments(ctx, userID)
		if err != nil {
			return err
		}
		made := func(n string) bool {
			return a.up.TrustMFA && slices.ContainsFunc(held, func(h store.Assignment) bool {
				return h.Privilege == n && h.GivenBy == a.up.actor() && h.EndedAt.IsZero()
			})
		}
		names = slices.DeleteFunc(names, func(n string) bool { return model.Powers.Administers(model.Graph.Closure(n)) && !made(n) })
		a.rules.admin = slices.DeleteFunc(slices.Clone(a.rules.matched), func(n string) bool { return slices.Contains(names, n) })
	}
	refused, err := l.store.SyncUpstreamPrivileges(ctx, userID, a.up.Name(), names)
	a.rules.refused = refused
	if err == nil && len(refused) > 0 {
		l.log.WarnContext(ctx, "a connector's rules give or take what they may not", "connector", a.up.Name(), "user", userID, "privileges", refused)
	}
	return err
}

// proof is what the arrival shows of a user.
func (a *arrival) proof(userID string) session.Proof {
	return session.Proof{UserID: userID, Connector: a.up.Name(), AMR: a.up.amr(&a.id)}
}

// enter makes the session, and keeps the upstream's side of it.
func (l *Login) enter(w http.ResponseWriter, r *http.Request, a *arrival, userID string) (*session.Session, error) {
	return l.begin(r, userID, a.p, func(r *http.Request) (*session.Session, error) {
		made, err := l.sessions.Start(w, r, a.proof(userID))
		if err != nil {
			return nil, err
		}
		return made, l.keepSide(r.Context(), made, a.side())
	})
}
