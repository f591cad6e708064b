package login

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// linkRequest is a request to /login/link: an identity waits to be connected to row.UserID's account, either until that account is proven
// (AttemptJoin) or for the word of who is signed in to it (AttemptConfirm).
type linkRequest struct {
	handle  string
	row     *store.Attempt
	a       *arrival
	p       *pending
	current *session.Session // with AttemptConfirm
}

func (l *Login) linkRequest(r *http.Request) (*linkRequest, error) {
	p, err := l.pending(r)
	if err != nil {
		return nil, l.deadEnd(r, err)
	}
	q := &linkRequest{handle: r.URL.Query().Get("join"), p: p}
	if q.row, q.a, err = l.waits(r, p, q.handle, store.AttemptJoin, store.AttemptConfirm); err != nil {
		return nil, err
	}
	if q.row.Purpose == store.AttemptConfirm {
		current, ok := session.Current(r.Context())
		if !ok || current.UserID != q.row.UserID { // security.md C5: a link is for one person only
			return nil, l.attemptOver(p, nil)
		}
		q.current = current
	}
	q.a.use = func(ctx context.Context) error {
		_, err := l.store.UseAttempt(ctx, q.row.StateHash, q.row.BrowserHash)
		return err
	}
	return q, nil
}

// showLink is GET /login/link.
func (l *Login) showLink(w http.ResponseWriter, r *http.Request) error {
	q, err := l.linkRequest(r)
	if err != nil {
		return err
	}
	page, err := l.linkPage(w, r, q)
	if err != nil {
		return wrap("page to link", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// linkPage never names the account that has the address: whoever can prove it knows.
func (l *Login) linkPage(w http.ResponseWriter, r *http.Request, q *linkRequest) (*templates.LinkPage, error) {
	app := q.p.dress(w)
	page := &templates.LinkPage{
		Base: l.mux.Base(w, r), Action: pathWith(linkPath, q.p, query{"join": q.handle}), App: app, Provider: q.a.up.Label, Icon: q.a.up.Icon,
		Account: identityName(q.a), CancelURL: chooseURL(q.p),
	}
	if q.current != nil {
		u := &q.current.Live.User
		page.Confirm, page.CancelURL = &templates.Person{Name: u.Name(), Email: u.Email}, connectionsPath
		return page, nil
	}
	page.NoPassword = !l.admits(q.p, methodPassword)
	for _, m := range l.methods(q.p, query{"join": q.handle}) {
		if m.ID != q.a.up.Name() { // as itself it would only come back here
			page.Methods = append(page.Methods, m)
		}
	}
	err := l.store.Tx(r.Context(), func(ctx context.Context) error {
		f, _, err := l.gather(ctx, q.a)
		page.MayClaim = decideLink(f).mayClaim
		return err
	})
	return page, err
}

// identityName is how the upstream calls the person.
func identityName(a *arrival) string {
	for _, s := range []string{a.id.Email, cleanName(a.id.Username), cleanName(a.id.Name)} {
		if s != "" {
			return s
		}
	}
	return a.id.Subject
}

// link is POST /login/link.
func (l *Login) link(w http.ResponseWriter, r *http.Request) error {
	q, err := l.linkRequest(r)
	if err != nil {
		return err
	}
	switch {
	case q.current != nil:
		return l.confirmLink(w, r, q)
	case r.PostFormValue("decision") == "claim":
		q.a.disowned = true
		return l.linkFailed(q.p, l.arrive(w, r, q.a))
	}
	in := credentials{identifier: strings.TrimSpace(r.PostFormValue("identifier")), password: r.PostFormValue("password")}
	again := func(status int, e templates.FormErrors) error {
		page, err := l.linkPage(w, r, q)
		if err != nil {
			return wrap("page to link", err)
		}
		page.FormErrors, page.Identifier = e, in.identifier
		return l.mux.Render(w, r, status, page)
	}
	if !l.admits(q.p, methodPassword) {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Form: "login.error_wrong"})
	}
	if missing := in.missing(); len(missing) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: missing})
	}
	attempt, user, wait, err := l.checkPassword(r, in, q.p)
	if err != nil {
		return passwordTrouble(err)
	}
	if status, e := passwordRefused(w, user, wait); status != 0 {
		return again(status, e)
	}
	key := ""
	switch {
	case user.ID != q.row.UserID:
		key = "link.error_other"
	case l.owesPassword(user): // a sign-in that owes something proves nothing yet (security.md C10)
		key = "link.error_must_change"
	}
	if key != "" { // the password was right, and whose it is may see that it was tried
		if err := l.record(r.Context(), "sign_in_failed", user.ID, q.p.clientID(), map[string]any{"method": methodPassword, "why": strings.TrimPrefix(key, "link.error_")}); err != nil {
			return wrap("link", err)
		}
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Form: key})
	}
	proof := session.Proof{UserID: user.ID, Connector: methodPassword, AMR: amrPassword}
	owes, err := l.owing(r.Context(), user, proof.AMR, "")
	if err != nil {
		return wrap("link", err)
	}
	if owes != "" { // the identity waits on: a sign-in that owes something proves nothing yet (security.md C10)
		if err := l.limiter.Succeeded(r.Context(), attempt); err != nil {
			return wrap("link", err)
		}
		if err := l.owe(w, r, proof, owes, q.p, carried{Join: q.handle}); err != nil {
			return wrap("start of a partial sign-in", err)
		}
		return toOwed(w, r, owes, q.p)
	}
	var made *session.Session
	err = l.store.Tx(r.Context(), func(ctx context.Context) error {
		if err := l.limiter.Succeeded(ctx, attempt); err != nil {
			return err
		}
		if err := l.join(ctx, q, methodPassword); err != nil {
			return err
		}
		made, err = l.begin(r.WithContext(ctx), user.ID, q.p, func(r *http.Request) (*session.Session, error) { return l.sessions.Start(w, r, proof) })
		return err
	})
	if err != nil {
		return l.linkFailed(q.p, err)
	}
	return l.goOn(w, r, made, q.p)
}

// join connects the identity that waits to the account that was just proven, if the policy still says so. It runs in a transaction.
func (l *Login) join(ctx context.Context, q *linkRequest, method string) error {
	if err := q.a.use(ctx); err != nil {
		return err
	}
	f, rows, err := l.gather(ctx, q.a)
	if err != nil {
		return err
	}
	if d := decideLink(f); d.step != linkProve && d.step != linkJoin || rows.holder.User.ID != q.row.UserID {
		return l.attemptOver(q.p, nil) // the world changed since the page was shown
	}
	link, err := l.connect(ctx, q.a, q.row.UserID, evidenceProof+method)
	if err != nil {
		return err
	}
	return l.refresh(ctx, q.a, link, &rows.holder.User)
}

// arriveWithProof is the way back from another upstream that was to prove the account an identity waits for.
func (l *Login) arriveWithProof(w http.ResponseWriter, r *http.Request, handle string, prover *arrival) error {
	row, a, err := l.waits(r, prover.p, handle, store.AttemptJoin)
	if err != nil {
		return err
	}
	q := l.joining(handle, row, a, prover.p)
	var made *session.Session
	var page *web.Error
	owes := ""
	err = l.store.Tx(r.Context(), func(ctx context.Context) error {
		page, owes = nil, ""
		f, rows, err := l.gather(ctx, prover)
		if err != nil {
			return err
		}
		switch d := decideLink(f); {
		case d.step != linkEnter && f.known:
			page = l.refusal(prover, d)
			return l.recordRefusal(ctx, prover, rows, d)
		case d.step != linkEnter, rows.owner.User.ID != row.UserID:
			page = prover.up.refusal(http.StatusForbidden, "error.link_other", "link_other", nil)
			page.RestartURL = pathWith(linkPath, q.p, query{"join": handle})
			return nil
		case l.owesPassword(&rows.owner.User):
			page = prover.up.refusal(http.StatusForbidden, "link.error_must_change", "must_change", nil)
			return nil
		}
		proof := prover.proof(row.UserID)
		if owes, err = l.owing(ctx, &rows.owner.User, proof.AMR, ""); err != nil {
			return err
		}
		if owes != "" { // as with a password
			return l.owe(w, r.WithContext(ctx), proof, owes, q.p, carried{Side: prover.side(), Join: handle})
		}
		if err := l.join(ctx, q, prover.up.Name()); err != nil {
			return err
		}
		owner, err := l.store.User(ctx, row.UserID) // as join left it
		if err != nil {
			return err
		}
		if err := l.refresh(ctx, prover, rows.link, owner); err != nil {
			return err
		}
		made, err = l.enter(w, r.WithContext(ctx), prover, owner.ID)
		return err
	})
	switch {
	case err != nil:
		return l.linkFailed(q.p, err)
	case page != nil:
		return page
	case owes != "":
		return toOwed(w, r, owes, q.p)
	}
	return l.goOn(w, r, made, q.p)
}

// joining is the identity that waits in row for a proof of its account.
func (l *Login) joining(handle string, row *store.Attempt, a *arrival, p *pending) *linkRequest {
	a.use = func(ctx context.Context) error {
		_, err := l.store.UseAttempt(ctx, row.StateHash, row.BrowserHash)
		return err
	}
	return &linkRequest{handle: handle, row: row, a: a, p: p}
}

// confirmLink connects the identity that waits to the account of who is signed in.
func (l *Login) confirmLink(w http.ResponseWriter, r *http.Request, q *linkRequest) error {
	if r.PostFormValue("decision") != "connect" {
		return web.SeeOther(w, r, connectionsPath)
	}
	var page *web.Error
	err := l.store.Tx(r.Context(), func(ctx context.Context) (err error) {
		if err := q.a.use(ctx); err != nil {
			return err
		}
		if page, err = l.mayConnect(ctx, q.a, q.row.UserID); err != nil || page != nil {
			return err
		}
		link := identityOf(q.a, q.row.UserID, evidenceAccount)
		if err := l.store.CreateIdentity(ctx, q.row.UserID, link); err != nil {
			return err
		}
		owner, err := l.store.User(ctx, q.row.UserID)
		if err != nil {
			return err
		}
		return l.refresh(ctx, q.a, link, owner)
	})
	switch {
	case errors.Is(err, store.ErrConflict): // linked meanwhile: whose it is shows on the page
		return web.SeeOther(w, r, connectionsPath)
	case err != nil:
		return l.linkFailed(q.p, err)
	case page != nil:
		return page
	}
	return web.SeeOther(w, r, connectionsPath)
}

// mayConnect says why an identity cannot be connected to a person's account, nil when it can.
func (l *Login) mayConnect(ctx context.Context, a *arrival, userID string) (*web.Error, error) {
	refuse := func(key string) *web.Error {
		page := l.refusal(a, linkDecision{why: key})
		page.RestartURL = connectionsPath
		return page
	}
	f, rows, err := l.gather(ctx, a)
	switch {
	case err != nil:
		return nil, err
	case f.known && (f.quarantined || rows.owner.User.ID != userID):
		return refuse("error.identity_taken"), nil // and not whose it is
	}
	u, err := l.store.Live(ctx, userID)
	if err != nil {
		return nil, err
	}
	model, err := l.store.Model(ctx)
	if err != nil {
		return nil, err
	}
	if model.Administers(u, store.At(l.now())) && !f.mayAdmin {
		return refuse("error.admin_connector"), nil
	}
	return nil, nil
}

// linkFailed explains an identity that was used up meanwhile: the same form, sent twice at once.
func (l *Login) linkFailed(p *pending, err error) error {
	if errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExpired) || errors.Is(err, store.ErrConflict) {
		return &web.Error{Status: http.StatusBadRequest, Key: "error.sign_in_expired", Code: "sign_in_expired", Err: err, RestartURL: chooseURL(p)}
	}
	return wrap("link", err)
}

// arriveToLink is the way back from an upstream that is to be connected to the account of who is signed in. Nothing is connected before
// that person has seen both names (security.md C5).
func (l *Login) arriveToLink(w http.ResponseWriter, r *http.Request, row *store.Attempt, a *arrival) error {
	current, ok := session.Current(r.Context())
	if !ok || current.UserID != row.UserID {
		return l.attemptOver(nil, nil)
	}
	link, err := l.store.Identity(r.Context(), a.up.Name(), a.id.Issuer, a.id.Subject)
	switch {
	case err == nil && link.UserID == row.UserID && link.QuarantinedAt.IsZero():
		return web.SeeOther(w, r, connectionsPath) // is so already
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return wrap("link", err)
	}
	var page *web.Error
	err = l.store.Tx(r.Context(), func(ctx context.Context) (err error) {
		page, err = l.mayConnect(ctx, a, row.UserID)
		return err
	})
	if err != nil {
		return wrap("link", err)
	}
	if page != nil {
		return page
	}
	return l.sendTo(w, r, linkPath, store.AttemptConfirm, row.UserID, a)
}

// arriveToConfirm is the way back from an upstream that was to confirm who is signed in.
func (l *Login) arriveToConfirm(w http.ResponseWriter, r *http.Request, row *store.Attempt, a *arrival) error {
	current, ok := session.Current(r.Context())
	if !ok || current.UserID != row.UserID {
		return l.attemptOver(nil, nil)
	}
	link, err := l.store.Identity(r.Context(), a.up.Name(), a.id.Issuer, a.id.Subject)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return wrap("confirmation", err)
	}
	if err != nil || link.UserID != row.UserID {
		page := a.up.refusal(http.StatusForbidden, "error.link_other", "link_other", nil)
		page.RestartURL = connectionsPath
		return page
	}
	s, err := l.settle(w, r, a)
	switch {
	case err != nil:
		return wrap("confirmation", err)
	case s.page != nil:
		return s.page
	case s.owes != "":
		return web.SeeOther(w, r, pathWith(owedPaths[s.owes], nil, query{"reauth": "1"}))
	case s.made == nil || s.made.UserID != row.UserID:
		return l.attemptOver(nil, nil)
	}
	return l.toPlace(w, r, connectionsPath)
}
