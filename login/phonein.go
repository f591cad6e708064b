package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/phone"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Why a number alone does not open its account, as store.Partial.Owes of a sign-in that owes another proof too (phoneproof.go).
const (
	owesProofOld    = "phone_old"    // nobody proved it for long: it may be somebody else's by now
	owesProofNew    = "phone_new"    // it was put there a short while ago
	owesProofAdmin  = "phone_admin"  // who has the number would have power over others (security.md F12)
	owesProofFactor = "phone_factor" // it asks for two factors, and has but numbers for the second: one more message proves nothing more (R60)
)

var owesProof = []string{owesProofOld, owesProofNew, owesProofAdmin, owesProofFactor}

func unmarshal(plain []byte, into any) error {
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("login: sealed: %w", err)
	}
	return nil
}

// phoneIn goes on with a number whose code was right: it is whose number it is, or somebody new.
func (l *Login) phoneIn(w http.ResponseWriter, r *http.Request, d *dialling) error {
	var s settled
	var owes string
	var err error
	for try := 0; ; try++ {
		err = l.store.Tx(r.Context(), func(ctx context.Context) (err error) {
			s, owes, err = l.phoneInOnce(w, r.WithContext(ctx), d)
			return err
		})
		if !errors.Is(err, store.ErrConflict) || try == 3 {
			break
		}
	}
	switch {
	case err != nil:
		return l.linkFailed(d.p, err)
	case s.page != nil:
		return s.page
	case owedPaths[owes] != "":
		return toOwed(w, r, owes, d.p)
	case owes != "":
		return web.SeeOther(w, r, d.path(phoneProofPath))
	}
	return l.goOn(w, r, s.made, d.p)
}

// phoneInOnce uses the code up and decides. It runs in a transaction.
func (l *Login) phoneInOnce(w http.ResponseWriter, r *http.Request, d *dialling) (s settled, owes string, err error) {
	ctx := r.Context()
	if err := l.usePhoneCode(ctx, d); err != nil {
		return s, "", err
	}
	refuse := func(key, user string) error {
		s.page = &web.Error{Status: http.StatusForbidden, Key: "error." + key, Code: key, RestartURL: chooseURL(d.p)}
		return l.record(ctx, "sign_in_failed", user, d.p.clientID(), map[string]any{"method": methodPhone, "why": key})
	}
	u, err := l.store.UserByPhone(ctx, d.said.Number)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if !l.phoneMakes(d.p, d.invite) {
			return s, "", refuse("phone_closed", "")
		}
		if u, err = l.registerPhone(ctx, d); err != nil {
			return s, "", err
		}
	case err != nil:
		return s, "", err
	default:
		if owes, err = l.phoneOwes(ctx, u); err != nil {
			return s, "", err
		}
	}
	switch {
	case !u.Active(l.now()) && u.DisabledReason == AwaitingApproval && u.DeletedAt.IsZero():
		return s, "", refuse("awaiting_approval", u.ID)
	case !u.Active(l.now()):
		return s, "", refuse("account_disabled", u.ID)
	}
	if owes == "" {
		if err := l.store.ProvePhone(ctx, u.ID, d.said.Number); err != nil {
			return s, "", err
		}
		if owes, err = l.owing(ctx, u, amrPhone, ""); err != nil {
			return s, "", err
		}
	}
	proof := session.Proof{UserID: u.ID, Connector: methodPhone, AMR: amrPhone, Remember: d.said.Remember}
	if owes != "" {
		return s, owes, l.owe(w, r, proof, owes, d.p, carried{})
	}
	s.made, err = l.begin(r, u.ID, d.p, func(r *http.Request) (*session.Session, error) { return l.sessions.Start(w, r, proof) })
	return s, "", err
}

// usePhoneCode uses code and attempt up, once, and notes that it came back.
func (l *Login) usePhoneCode(ctx context.Context, d *dialling) error {
	if err := l.store.UseMailCode(ctx, d.code); err != nil {
		return err
	}
	if _, err := l.store.UseAttempt(ctx, d.row.StateHash, d.row.BrowserHash); err != nil {
		return err
	}
	if !d.hidden.Nobody {
		return nil
	}
	return l.limiter.CameBack(ctx, phone.Prefix(d.said.Number))
}

// phoneOwes says why a person's number alone does not open their account, "" = it does.
func (l *Login) phoneOwes(ctx context.Context, u *store.User) (string, error) {
	live, err := l.store.Live(ctx, u.ID)
	if err != nil {
		return "", err
	}
	model, err := l.store.Model(ctx)
	if err != nil {
		return "", err
	}
	proven, err := l.store.PhoneProof(ctx, u)
	if err != nil {
		return "", err
	}
	now := l.now()
	switch {
	case model.Administers(live, store.At(now)):
		return owesProofAdmin, nil
	// A number nobody ever proved is one that an operator wrote down for this person: there is no proof to grow old.
	case !proven.ProvenAt.IsZero() && now.Sub(proven.ProvenAt.Time) >= l.phone.ProveAgain:
		return owesProofOld, nil
	case !proven.ChangedAt.IsZero() && now.Sub(proven.ChangedAt.Time) < l.phone.Cooldown:
		return owesProofNew, nil
	}
	kinds, err := l.store.AskingKindsOf(ctx, u.ID)
	if err != nil || !onlySMS(kinds) {
		return "", err
	}
	return owesProofFactor, nil
}

// registerPhone makes the account of somebody whose number nobody has, and looks at the policy itself (security.md F17).
func (l *Login) registerPhone(ctx context.Context, d *dialling) (*store.User, error) {
	policy := l.phoneRegistration(d.p, d.invite)
	if policy != RegistrationOpen && policy != RegistrationApproval {
		return nil, fmt.Errorf("login: registration by phone is %s", policy)
	}
	u := &store.User{Phone: d.said.Number, PhoneVerifiedAt: store.At(l.now())}
	if policy == RegistrationApproval {
		u.DisabledAt, u.DisabledReason = store.At(l.now()), AwaitingApproval
	}
	if err := l.newUser(ctx, d.invite, u); err != nil {
		return nil, err
	}
	if err := l.store.ProvePhone(ctx, u.ID, u.Phone); err != nil {
		return nil, err
	}
	return u, l.store.Audit(ctx, store.ConnectorActor(methodPhone), "user.create", "user:"+u.ID, map[string]string{"registration": registrationWord(policy, d.invite)})
}

// newPhoneAccount is POST /login/phone/new: the number passed to somebody else, who gets an account of their own. The one before loses the number
// and hears of it (security.md F12).
func (l *Login) newPhoneAccount(w http.ResponseWriter, r *http.Request) error {
	partial, u, p, err := l.owedProof(r)
	if err != nil {
		return err
	}
	var s settled
	err = l.store.Tx(r.Context(), func(ctx context.Context) error {
		r := r.WithContext(ctx)
		s = settled{}
		if may, err := l.mayLeaveNumber(ctx, partial, p); err != nil {
			return err
		} else if !may {
			s.page = &web.Error{Status: http.StatusForbidden, Key: "error.phone_closed", Code: "phone_closed", RestartURL: chooseURL(p)}
			return nil
		}
		if err := l.store.EndPartial(ctx, partial.ID); err != nil {
			return err
		}
		if _, _, err := l.store.SetPhone(ctx, store.ConnectorActor(methodPhone), u.ID, ""); err != nil {
			return err
		}
		if err := l.phoneLost(ctx, u); err != nil {
			return err
		}
		made, err := l.registerPhone(ctx, &dialling{use: toSignIn, p: p, said: dialled{Number: u.Phone}})
		if err != nil {
			return err
		}
		if !made.Active(l.now()) {
			s.page = &web.Error{Status: http.StatusForbidden, Key: "error.awaiting_approval", Code: "awaiting_approval", RestartURL: chooseURL(p)}
			return nil
		}
		proof := session.Proof{UserID: made.ID, Connector: methodPhone, AMR: amrPhone, Remember: partial.Remember}
		if s.owes, err = l.owing(ctx, made, proof.AMR, ""); err != nil {
			return err
		}
		if s.owes != "" {
			return l.owe(w, r, proof, s.owes, p, carried{})
		}
		s.made, err = l.begin(r, made.ID, p, func(r *http.Request) (*session.Session, error) { return l.sessions.Start(w, r, proof) })
		return err
	})
	switch {
	case err != nil:
		return l.linkFailed(p, err)
	case s.page != nil:
		return s.page
	case s.owes != "":
		return toOwed(w, r, s.owes, p)
	}
	return l.goOn(w, r, s.made, p)
}

// phoneLost tells the owner of an account that its number is somebody else's now, ends what came in by it, and keeps the event.
func (l *Login) phoneLost(ctx context.Context, u *store.User) error {
	if err := l.endPhoneSessions(ctx, u.ID, "", "the number passed on"); err != nil {
		return err
	}
	if err := l.mailPhone(ctx, u, "lost"); err != nil {
		return err
	}
	return l.record(ctx, "phone_lost", u.ID, "", map[string]any{})
}

// endPhoneSessions ends the sessions that began with a number, but keep.
func (l *Login) endPhoneSessions(ctx context.Context, userID, keep, reason string) error {
	list, err := l.store.SessionsOf(ctx, userID)
	if err != nil {
		return err
	}
	for _, n := range list {
		if n.Connector == methodPhone && n.ID != keep {
			if err := l.store.EndSession(ctx, n.ID, reason); err != nil {
				return err
			}
		}
	}
	return nil
}

// mailPhone tells the owner of an account by mail that its number changed, where there is an address and mail.
func (l *Login) mailPhone(ctx context.Context, u *store.User, change string) error {
	if l.codeKey == nil || u.Email == "" {
		return nil
	}
	text, err := l.templates.Mail(u.Locale, templates.PhoneMail{Change: change, AccountPath: accountPath})
	if err != nil {
		return err
	}
	return l.store.Enqueue(ctx, &store.Message{Kind: store.KindMail, Recipient: u.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML,
		ExpiresAt: store.At(l.now().Add(noticeLife))})
}
