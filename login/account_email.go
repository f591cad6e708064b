package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// showEmail is GET /account/email.
func (l *Login) showEmail(w http.ResponseWriter, r *http.Request) error {
	if ok, err := l.Confirmed(w, r, emailPath); err != nil || !ok {
		return err
	}
	return l.mux.Render(w, r, http.StatusOK, l.emailPage(w, r))
}

func (l *Login) emailPage(w http.ResponseWriter, r *http.Request) *templates.EmailPage {
	current, _ := session.Current(r.Context())
	u := &current.Live.User
	return &templates.EmailPage{Base: l.mux.Base(w, r), Action: emailPath, Current: u.Email, Verified: !u.EmailVerifiedAt.IsZero(), CancelURL: accountPath}
}

// changeEmail is POST /account/email: a code goes to the new address. Nothing changes before it is proven (security.md F16), and whether it is
// somebody's is told to nobody but its owner.
func (l *Login) changeEmail(w http.ResponseWriter, r *http.Request) error {
	if ok, err := l.Confirmed(w, r, emailPath); err != nil || !ok {
		return err
	}
	current, _ := session.Current(r.Context())
	u := &current.Live.User
	said := typed{Email: strings.TrimSpace(r.PostFormValue("email"))}
	again := func(status int, e templates.FormErrors) error {
		page := l.emailPage(w, r)
		page.FormErrors, page.Email = e, said.Email
		return l.mux.Render(w, r, status, page)
	}
	key := wrongAddress(said.Email)
	if key == "" && said.Email == u.Email && !u.EmailVerifiedAt.IsZero() {
		key = "account_email.error_same"
	}
	if key != "" {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"email": key}})
	}
	return l.mailFirst(w, r, nil, store.Attempt{Purpose: store.AttemptEmail, UserID: u.ID}, l.emailCoded, said, again)
}

// wrongAddress is the key of what is wrong with an address that nobody looked up yet, "" for nothing.
func wrongAddress(email string) string {
	_, err := store.EmailKey(email)
	switch {
	case email == "":
		return "profile.error_email_required"
	case !validEmail(email), err != nil, mailDomain(email) == "":
		return "profile.error_email"
	}
	return ""
}

func (l *Login) emailCoded(_ *http.Request, _ *pending, handle string, row *store.Attempt) *coded {
	at := func(path string) string { return pathWith(path, nil, query{"join": handle}) }
	c := &coded{row: row, own: row.UserID, code: at(emailCodePath), resend: at(emailResendPath), change: emailPath, cancel: accountPath}
	c.proven = func(w http.ResponseWriter, r *http.Request, code *store.MailCode, said typed) error {
		return l.emailProven(w, r, c, code, said)
	}
	return c
}

// changing finds the change of an address that a code page is about: for the person and the browser that began it (security.md C5).
func (l *Login) changing(then func(http.ResponseWriter, *http.Request, *coded) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		handle := r.URL.Query().Get("join")
		row, err := l.attempt(r, nil, handle, store.AttemptEmail)
		if err == nil {
			if current, ok := session.Current(r.Context()); !ok || current.UserID != row.UserID {
				err = l.attemptOver(nil, nil)
			}
		}
		var over *web.Error
		if errors.As(err, &over) {
			page := *over
			page.Key, page.RestartURL = "error.change_expired", emailPath
			return &page
		} else if err != nil {
			return err
		}
		return then(w, r, l.emailCoded(r, nil, handle, row))
	}
}

// emailUndo is store.OneTime.Data of a link that takes a change of address back.
type emailUndo struct {
	Email string `json:"email"` // the address before, which was proven
	Other string `json:"other"` // the one that took its place
}

const purposeUndo = "email_undo"

// emailProven gives the account its new address, and tells the one before.
func (l *Login) emailProven(w http.ResponseWriter, r *http.Request, c *coded, code *store.MailCode, said typed) error {
	lang := l.mux.Base(w, r).Lang
	err := l.changeAddress(r.Context(), func(ctx context.Context) error {
		if err := l.useCode(ctx, c, code); err != nil {
			return err
		}
		before, err := l.store.ChangeEmail(ctx, c.row.UserID, c.row.UserID, said.Email)
		if err != nil {
			return err
		}
		if err := l.record(ctx, "email_changed", before.ID, "", map[string]any{"method": evidenceMail}); err != nil {
			return err
		}
		if sameAddress(before.Email, said.Email) {
			return nil
		}
		mail := templates.EmailChangedMail{At: l.now().In(before.Location())}
		if mail.UndoPath, mail.Days, err = l.undoLink(ctx, before, said.Email); err != nil {
			return err
		}
		return l.notice(ctx, before, before.Email, lang, mail)
	})
	switch {
	case errors.Is(err, errTaken): // it became somebody's meanwhile; whoever reads the mailbox may know
		page := l.emailPage(w, r)
		page.FormErrors = templates.FormErrors{Fields: map[string]string{"email": "complete.error_email"}}
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	case errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrExpired), errors.Is(err, store.ErrNotFound):
		return &web.Error{Status: http.StatusBadRequest, Key: "error.change_expired", Code: "change_expired", Err: err, RestartURL: emailPath}
	case err != nil:
		return wrap("change of an address", err)
	}
	return web.SeeOther(w, r, donePath(doneEmail))
}

// changeAddress runs a change of address in a transaction, and again when somebody else changed the account at the same time. errTaken says that the
// address is another account's.
func (l *Login) changeAddress(ctx context.Context, change func(context.Context) error) (err error) {
	for try := 0; ; try++ {
		err = l.store.Tx(ctx, change)
		var taken *store.FieldError
		switch {
		case !errors.Is(err, store.ErrConflict):
			return err
		case errors.As(err, &taken):
			return fmt.Errorf("%w: %w", errTaken, err)
		case try == 3:
			return err
		}
	}
}

var errTaken = errors.New("login: the address is another account's")

// undoLink makes the link that goes to the address before; "" for an address that was never proven. There is one for the oldest address of the last
// days: somebody who got into the account must not kill it with a second change.
func (l *Login) undoLink(ctx context.Context, before *store.User, other string) (path string, days int, err error) {
	if before.EmailVerifiedAt.IsZero() || before.Email == "" {
		return "", 0, nil
	}
	if there, err := l.store.HasOneTime(ctx, purposeUndo, before.ID); err != nil || there {
		return "", 0, err
	}
	token := newSecret()
	data, err := json.Marshal(emailUndo{before.Email, other})
	if err != nil {
		return "", 0, err
	}
	now := l.now()
	err = l.store.CreateOneTime(ctx, &store.OneTime{
		Hash: hashOf(token), Purpose: purposeUndo, UserID: before.ID, Data: string(data), CreatedAt: store.At(now), ExpiresAt: store.At(now.Add(undoLife)),
	})
	return undoPrefix + token, int(undoLife.Hours() / 24), err
}

// undoing finds the change that a link takes back.
func (l *Login) undoing(ctx context.Context, hash string) (*store.OneTime, *emailUndo, error) {
	link, err := l.store.OneTime(ctx, purposeUndo, hash)
	if err != nil {
		return nil, nil, err
	}
	undo := new(emailUndo)
	return link, undo, json.Unmarshal([]byte(link.Data), undo)
}

// showUndo is GET /login/undo/{token}: it consumes nothing, so the programs that look at mail do no harm.
func (l *Login) showUndo(w http.ResponseWriter, r *http.Request) error {
	_, undo, err := l.undoing(r.Context(), hashOf(r.PathValue("token")))
	if err != nil {
		return linkError(err, signInPath)
	}
	return l.mux.Render(w, r, http.StatusOK, &templates.UndoPage{Base: l.mux.Base(w, r), Action: undoPrefix + r.PathValue("token"), Email: undo.Email})
}

// undo is POST /login/undo/{token}: the account has its address again, and whoever is signed in to it is not any more. Then comes a new password, as
// whoever changed the address may know the old one.
func (l *Login) undo(w http.ResponseWriter, r *http.Request) error {
	ctx, hash, lang := r.Context(), hashOf(r.PathValue("token")), l.mux.Base(w, r).Lang
	next := ""
	err := l.changeAddress(ctx, func(ctx context.Context) error {
		link, undo, err := l.undoing(ctx, hash)
		if err != nil {
			return err
		}
		if err := l.store.UseOneTime(ctx, purposeUndo, hash); err != nil {
			return err
		}
		before, err := l.store.ChangeEmail(ctx, link.UserID, link.UserID, undo.Email)
		if err != nil {
			return err
		}
		if err := l.store.EndAccess(ctx, before.ID, "change of address taken back"); err != nil {
			return err
		}
		if err := l.record(ctx, "email_change_undone", before.ID, "", nil); err != nil {
			return err
		}
		if err := l.notice(ctx, before, before.Email, lang, templates.EmailChangedMail{At: l.now().In(before.Location())}); err != nil {
			return err
		}
		now, err := l.store.User(ctx, before.ID)
		if err != nil {
			return err
		}
		next, err = l.resetLink(ctx, now, nil)
		return err
	})
	switch {
	case errors.Is(err, errTaken):
		return &web.Error{Status: http.StatusConflict, Key: "error.undo_taken", Code: "undo_taken", Err: err, RestartURL: signInPath}
	case err != nil:
		return linkError(err, signInPath)
	case next == "":
		next = pathWith(signInPath, nil, query{"done": doneUndone})
	}
	return web.SeeOther(w, r, next)
}

// linkError says on a page what became of a link from a mail.
func linkError(err error, restart string) error {
	page := func(status int, key, code string) error {
		return &web.Error{Status: status, Key: key, Code: code, Err: err, RestartURL: restart}
	}
	switch {
	case errors.Is(err, store.ErrUsed):
		return page(http.StatusGone, "error.link_used", "link_used")
	case errors.Is(err, store.ErrExpired):
		return page(http.StatusGone, "error.link_expired", "link_expired")
	case errors.Is(err, store.ErrNotFound):
		return page(http.StatusNotFound, "error.link_unknown", "link_unknown")
	}
	return wrap("link from a mail", err)
}
