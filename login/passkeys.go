package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/passkey"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Passkeys is signing in with a passkey, and asking for one after another way.
type Passkeys struct {
	Party *passkey.Party
	Offer bool // suggest one after a sign-in with a password
}

const (
	methodPasskey = store.WayPasskey // store.Session.Connector of this method

	passkeyPath        = "/login/passkey"
	passkeyOptionsPath = passkeyPath + "/options"
)

func (l *Login) mountPasskeys(mux *web.Mux) {
	mux.Page("GET "+passkeyPath, web.Public, l.showPasskey)
	mux.Page("POST "+passkeyPath, web.Public, l.signInPasskey)
	mux.Page("POST "+passkeyOptionsPath, web.Public, l.askPasskey)
	mux.Page("GET "+passkeyFactorPath, web.Public, l.showPasskeyFactor) // guarded by the partial sign-in, or by the session that is to show more
	mux.Page("POST "+passkeyFactorPath, web.Public, l.enterPasskeyFactor)
	mux.Page("POST "+passkeyFactorPath+"/options", web.Public, l.askPasskeyFactor)
	mux.Page("GET "+passkeyEnrolPath, web.Public, l.showPasskeyEnrolment)
	mux.Page("POST "+passkeyEnrolPath, web.Public, l.enrolPasskey)
	mux.Page("POST "+passkeyEnrolPath+"/options", web.Public, l.askPasskeyEnrolment)
	l.mountAccountPasskeys(mux)
}

// What a challenge is for: store.Attempt.Connector of a row with AttemptPasskey.
const (
	challengeSignIn = "sign_in"
	challengeFactor = "factor"
	challengeAdd    = "add"
)

// challenged sends the options of a ceremony, and keeps the hash of its challenge: for one purpose, in this browser, and of one flow, half-finished sign-in
// or session, which binder names. Nothing is stored before a script asks, and of one network no more than the limiter lets through.
func (l *Login) challenged(w http.ResponseWriter, r *http.Request, purpose, userID, binder string, options []byte, challenge string) error {
	if wait, err := l.limiter.Challenge(r.Context(), web.ClientIP(r.Context())); err != nil {
		return wrap("passkey", err)
	} else if wait > 0 {
		return &web.Error{Status: http.StatusTooManyRequests, Key: "error.too_many", Retry: wait}
	}
	l.sessions.FlowCookie(w, r)
	now := l.now()
	err := l.store.CreateAttempt(r.Context(), &store.Attempt{
		StateHash: hashOf(challenge), BrowserHash: l.sessions.FlowBinding(r), Purpose: store.AttemptPasskey, Connector: purpose, UserID: userID, FlowHash: binder,
		CreatedAt: store.At(now), ExpiresAt: store.At(now.Add(passkey.Life)),
	})
	if err != nil {
		return wrap("passkey", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(options)
	return err
}

// errOldChallenge: the challenge of an answer is over, spent, another browser's or was made for something else.
var errOldChallenge = errors.New("login: challenge of a passkey")

// passkeyAnswer reads what a browser sent, and spends its challenge before anything is checked: whatever comes of it, the same answer is nothing the next
// time. A nil answer is none that can be read.
func (l *Login) passkeyAnswer(r *http.Request, purpose, userID, binder string) (*passkey.Answer, error) {
	a, err := passkey.Read(r.PostFormValue("credential"), purpose == challengeAdd)
	if err != nil {
		return nil, nil // whoever makes such an answer knows what is wrong with it
	}
	row, err := l.store.UseAttempt(r.Context(), hashOf(a.Challenge), l.sessions.FlowBinding(r))
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrExpired):
		return nil, errOldChallenge
	case err != nil:
		return nil, err
	case row.Purpose != store.AttemptPasskey || row.Connector != purpose || row.UserID != userID || row.FlowHash != binder:
		return nil, errOldChallenge
	}
	return a, nil
}

// sealedPasskey is the sealed part of a passkey's row. That it names the person keeps a row from being given to another.
type sealedPasskey struct {
	UserID     string   `json:"u"`
	ID         []byte   `json:"i"`
	Public     []byte   `json:"k"`
	Transports []string `json:"t,omitempty"`
}

// passkeyRow is the row's id for a credential's.
func passkeyRow(credential []byte) string {
	return hashOf("passkey\x00" + string(credential))
}

// keyOf opens a passkey's row.
func (l *Login) keyOf(c *store.Credential) (k passkey.Key, d store.PasskeyData, err error) {
	if d, err = c.Passkey(); err != nil {
		return k, d, err
	}
	plain, err := l.open(c.Secret, sealedFactor+c.ID)
	if err != nil {
		return k, d, fmt.Errorf("login: passkey %s: %w", c.ID, err)
	}
	var s sealedPasskey
	if err := json.Unmarshal(plain, &s); err != nil || s.UserID != c.UserID {
		return k, d, fmt.Errorf("login: passkey %s: %w", c.ID, errors.Join(err, store.ErrNotFound))
	}
	return passkey.Key{ID: s.ID, Public: s.Public, Transports: s.Transports, Count: uint32(c.Counter), Syncs: d.Syncs, Synced: d.Synced, Verified: d.Alone}, d, nil
}

// keysOf opens those of a person's passkeys that fits; nil = all.
func (l *Login) keysOf(ctx context.Context, userID string, fits func(store.PasskeyData) bool) (list []passkey.Key, err error) {
	rows, err := l.store.Passkeys(ctx, userID)
	for i := range rows {
		k, d, err := l.keyOf(&rows[i])
		if err != nil {
			return nil, err
		}
		if fits == nil || fits(d) {
			list = append(list, k)
		}
	}
	return list, err
}

// amrPasskey is what a passkey shows (RFC 8176 §2): a key in the one device that has it, or one that can be on several; that its user was verified; and
// that with this, or with the way they came by, it makes several factors.
func amrPasskey(syncs, verified bool) []string {
	amr := []string{"hwk"}
	if syncs {
		amr[0] = "swk"
	}
	if verified {
		amr = append(amr, "user")
	}
	return append(amr, "mfa")
}

// shownPasskey is a passkey whose answer was right.
type shownPasskey struct {
	row   *store.Credential
	data  store.PasskeyData // as it is to be kept
	proof *passkey.Proof
}

func (s *shownPasskey) amr() []string { return amrPasskey(s.data.Syncs, s.proof.Verified) }

// usePasskey notes the answer in the transaction of what comes of it.
func (l *Login) usePasskey(ctx context.Context, s *shownPasskey) error {
	if err := l.store.UsePasskey(ctx, s.row.UserID, s.row.ID, s.proof.Count, s.data); err != nil {
		return &spentError{err}
	}
	return nil
}

// checkPasskey checks an answer of a person's passkey. key says what to tell them, "" = it is right.
func (l *Login) checkPasskey(ctx context.Context, a *passkey.Answer, c *store.Credential, alone bool) (s *shownPasskey, key string, err error) {
	k, d, err := l.keyOf(c)
	if err != nil {
		return nil, "", err
	}
	proof, err := l.passkeys.Party.Check(a, k, []byte(c.UserID), alone)
	switch {
	case errors.Is(err, passkey.ErrUnverified):
		return nil, "passkeys.error_unverified", nil
	case err != nil:
		l.log.InfoContext(ctx, "passkey refused", "user", c.UserID, "passkey", c.ID, "error", err)
		return nil, "passkeys.error_failed", nil
	case alone && !d.Alone:
		// Nobody was asked for a PIN when it was added. Whoever finds such a key may give it one, so that it is verified today proves nothing (WebAuthn
		// Level 3 §7.2, step 21: uvInitialized).
		return nil, "passkeys.error_second", nil
	case proof.Copied:
		return nil, "passkeys.error_copied", l.passkeyCopied(ctx, c)
	}
	d.Synced = proof.Synced
	d.Alone = d.Alone || proof.Verified // beside another factor, then
	return &shownPasskey{c, d, proof}, "", nil
}

// passkeyCopied notes that a passkey's count of signatures went back (WebAuthn Level 3 §7.2, step 22): for the person, and for whoever reads the audit log.
func (l *Login) passkeyCopied(ctx context.Context, c *store.Credential) error {
	return l.store.Tx(ctx, func(ctx context.Context) error {
		if err := l.store.Audit(ctx, c.UserID, "user.passkey_copied", "user:"+c.UserID, map[string]string{"passkey": c.ID}); err != nil {
			return err
		}
		return l.factorNotice(ctx, c.UserID, templates.FactorMail{What: templates.FactorCopied})
	})
}

func (l *Login) passkeyPage(w http.ResponseWriter, r *http.Request, p *pending) *templates.PasskeyPage {
	app := p.dress(w)
	more := l.again(p, r)
	return &templates.PasskeyPage{Base: l.mux.Base(w, r), Action: pathWith(passkeyPath, p, more), Options: pathWith(passkeyOptionsPath, p, nil), App: app,
		BackURL: pathWith(signInPath, p, query{"choose": "1", "reauth": more["reauth"]})}
}

// again are the parameters of a sign-in that only confirms who is signed in.
func (l *Login) again(p *pending, r *http.Request) query {
	if p == nil && reauth(r) {
		return query{"reauth": "1"}
	}
	return query{}
}

// passkeySignIn is the flow of a sign-in with a passkey. The error is for people.
func (l *Login) passkeySignIn(r *http.Request) (*pending, error) {
	p, err := l.pending(r)
	if err != nil {
		return nil, l.deadEnd(r, err)
	}
	if !l.admits(p, methodPasskey) { // the page has no such button
		return nil, startOver(p, &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired"})
	}
	return p, nil
}

// showPasskey is GET /login/passkey: the button alone.
func (l *Login) showPasskey(w http.ResponseWriter, r *http.Request) error {
	p, err := l.passkeySignIn(r)
	if err != nil {
		return err
	}
	return l.mux.Render(w, r, http.StatusOK, l.passkeyPage(w, r, p))
}

// askPasskey is POST /login/passkey/options. What it says is the same for everybody: it names no account and no passkey (security.md F8).
func (l *Login) askPasskey(w http.ResponseWriter, r *http.Request) error {
	p, err := l.passkeySignIn(r)
	if err != nil {
		return err
	}
	options, challenge, err := l.passkeys.Party.Ask(nil)
	if err != nil {
		return wrap("passkey", err)
	}
	return l.challenged(w, r, challengeSignIn, "", p.hash(), options, challenge)
}

// signInPasskey is POST /login/passkey: the passkey is all that is shown, so it must have verified its user.
func (l *Login) signInPasskey(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p, err := l.passkeySignIn(r)
	if err != nil {
		return err
	}
	page := l.passkeyPage(w, r, p)
	again := func(key string) error {
		page.FormErrors = templates.FormErrors{Form: key}
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	failed := func(userID, key string) error {
		if err := l.record(ctx, "sign_in_failed", userID, p.clientID(), map[string]any{"method": methodPasskey}); err != nil {
			return wrap("passkey", err)
		}
		return again(key)
	}
	a, err := l.passkeyAnswer(r, challengeSignIn, "", p.hash())
	switch {
	case errors.Is(err, errOldChallenge):
		return again("passkeys.error_old")
	case err != nil:
		return wrap("passkey", err)
	case a == nil:
		return again("passkeys.error_failed")
	}
	c, err := l.store.Passkey(ctx, passkeyRow(a.ID))
	if errors.Is(err, store.ErrNotFound) {
		page.Gone, page.RPID = base64.RawURLEncoding.EncodeToString(a.ID), l.passkeys.Party.ID()
		return failed("", "passkeys.error_gone")
	} else if err != nil {
		return wrap("passkey", err)
	}
	user, err := l.store.User(ctx, c.UserID)
	if err != nil {
		return wrap("passkey", err)
	}
	shown, key, err := l.checkPasskey(ctx, a, c, true)
	switch {
	case err != nil:
		return wrap("passkey", err)
	case key != "":
		return failed(user.ID, key)
	case !user.Active(l.now()): // no more than that it didn't work
		return failed(user.ID, "passkeys.error_failed")
	}
	proof := session.Proof{UserID: user.ID, Connector: methodPasskey, AMR: shown.amr(), Remember: r.PostFormValue("remember") != ""}
	err = l.passed(w, r, user, proof, p, func(ctx context.Context) error { return l.usePasskey(ctx, shown) })
	var spent *spentError
	if errors.As(err, &spent) && errors.Is(err, store.ErrUsed) { // taken away meanwhile, or an answer with a later count came first
		return failed(user.ID, "passkeys.error_failed")
	}
	return err
}

// passkeyPerson is who a passkey is made for, with those that there are.
func (l *Login) passkeyPerson(ctx context.Context, u *store.User) (who passkey.Person, err error) {
	who = passkey.Person{Handle: []byte(u.ID), Name: loginName(u), Display: u.Name()}
	who.Keys, err = l.keysOf(ctx, u.ID, nil)
	return who, err
}

// askNewPasskey sends the options for a new passkey of a person.
func (l *Login) askNewPasskey(w http.ResponseWriter, r *http.Request, u *store.User, binder string) error {
	who, err := l.passkeyPerson(r.Context(), u)
	if err != nil {
		return wrap("passkey", err)
	}
	options, challenge, err := l.passkeys.Party.Create(who)
	if err != nil {
		return wrap("passkey", err)
	}
	return l.challenged(w, r, challengeAdd, u.ID, binder, options, challenge)
}

// newPasskey reads and checks the answer with a new passkey for a person. key says what to tell them, "" = it is right.
func (l *Login) newPasskey(r *http.Request, u *store.User, binder, name string) (c *store.Credential, amr []string, key string, err error) {
	a, err := l.passkeyAnswer(r, challengeAdd, u.ID, binder)
	switch {
	case errors.Is(err, errOldChallenge):
		return nil, nil, "passkeys.error_old", nil
	case err != nil:
		return nil, nil, "", err
	case a == nil:
		return nil, nil, "passkeys.error_failed", nil
	}
	k, err := l.passkeys.Party.Register(a, []byte(u.ID))
	if err != nil {
		l.log.InfoContext(r.Context(), "passkey refused", "user", u.ID, "error", err)
		return nil, nil, "passkeys.error_failed", nil
	}
	id := passkeyRow(k.ID)
	// Two accounts with one credential would be one too many (WebAuthn Level 3 §7.1, step 26).
	if _, err := l.store.Passkey(r.Context(), id); err == nil {
		return nil, nil, "passkeys.error_known", nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, nil, "", err
	}
	plain, err := json.Marshal(sealedPasskey{UserID: u.ID, ID: k.ID, Public: k.Public, Transports: k.Transports})
	if err != nil {
		return nil, nil, "", err
	}
	data := store.PasskeyData{Alone: k.Verified, Free: k.Verified, Syncs: k.Syncs, Synced: k.Synced}
	c = &store.Credential{ID: id, UserID: u.ID, Kind: store.CredPasskey, Label: name, Secret: l.seal(plain, sealedFactor+id), Data: data.Text(), Counter: int64(k.Count)}
	return c, amrPasskey(k.Syncs, k.Verified), "", nil
}

// hasPasskey says whether a person has a passkey that may be asked for after amr.
func (l *Login) hasPasskey(ctx context.Context, userID string) (bool, error) {
	kinds, err := l.store.FactorKindsOf(ctx, userID)
	return l.passkeys != nil && slices.Contains(kinds, store.CredPasskey), err
}
