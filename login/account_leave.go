package login

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	leavePath  = "/account/delete"
	exportPath = "/account/export"
)

// Leaving is whether people may end their own accounts, and how long they may take it back.
type Leaving struct {
	Allowed bool
	Grace   time.Duration // 0 = at once
}

func (l *Login) mountLeaving(mux *web.Mux) {
	mux.Page("POST "+exportPath, web.SignedIn, l.export)
	if l.leaving.Allowed {
		mux.Page("GET "+leavePath, web.SignedIn, l.showLeave)
		mux.Page("POST "+leavePath, web.SignedIn, l.leave)
	}
}

// export is POST /account/export: what there is about the person, as a file. It needs a recent sign-in: a session that was left open is worth no
// whole history.
func (l *Login) export(w http.ResponseWriter, r *http.Request) error {
	if ok, err := l.Confirmed(w, r, accountPath); err != nil || !ok {
		return err
	}
	ctx := r.Context()
	current, _ := session.Current(ctx)
	data, err := l.store.Export(ctx, current.UserID)
	if err != nil {
		return wrap("export of an account", err)
	}
	if err := l.record(ctx, "export", current.UserID, "", nil); err != nil {
		return wrap("export of an account", err)
	}
	b, err := json.MarshalIndent(map[string]any{"issuer": l.issuer, "exported_at": l.now().UTC().Format(time.RFC3339), "data": data}, "", "  ")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="my-data.json"`)
	_, _ = w.Write(append(b, '\n')) // the browser may have gone away
	return nil
}

// showLeave is GET /account/delete.
func (l *Login) showLeave(w http.ResponseWriter, r *http.Request) error {
	if ok, err := l.Confirmed(w, r, leavePath); err != nil || !ok {
		return err
	}
	current, _ := session.Current(r.Context())
	return l.mux.Render(w, r, http.StatusOK, l.leavePage(w, r, &current.Live.User))
}

func (l *Login) leavePage(w http.ResponseWriter, r *http.Request, u *store.User) *templates.LeavePage {
	return &templates.LeavePage{Base: l.mux.Base(w, r), Action: leavePath, CancelURL: accountPath, ExportURL: exportPath, ConfirmText: leaveText(u), Days: int(l.leaving.Grace / (24 * time.Hour)), AtOnce: l.leaving.Grace <= 0}
}

// leaveText is what has to be typed: what the person signs in with.
func leaveText(u *store.User) string {
	for _, s := range []string{u.Email, u.Username, u.Phone} {
		if s != "" {
			return s
		}
	}
	return u.ID
}

// leave is POST /account/delete (R11): at once nothing of the account can be used, and after the grace it is erased, unless its owner signs in before.
func (l *Login) leave(w http.ResponseWriter, r *http.Request) error {
	if ok, err := l.Confirmed(w, r, leavePath); err != nil || !ok {
		return err
	}
	ctx := r.Context()
	current, _ := session.Current(ctx)
	u := &current.Live.User
	page := l.leavePage(w, r, u)
	again := func(status int, e templates.FormErrors) error {
		page.FormErrors, page.Confirm = e, strings.TrimSpace(r.PostFormValue("confirm"))
		return l.mux.Render(w, r, status, page)
	}
	if !strings.EqualFold(strings.TrimSpace(r.PostFormValue("confirm")), leaveText(u)) {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"confirm": "people.error_confirm"}})
	}
	due := l.now().Add(l.leaving.Grace)
	err := l.store.Tx(ctx, func(ctx context.Context) error {
		if l.leaving.Grace > 0 { // else the address is gone with the account
			if err := l.notice(ctx, u, u.Email, page.Lang, templates.LeavingMail{Due: due.In(u.Location()), SignInPath: signInPath}); err != nil {
				return err
			}
		}
		return l.store.AskDeletion(ctx, u.ID, l.leaving.Grace)
	})
	switch {
	case errors.Is(err, store.ErrLastAdmin):
		return again(http.StatusConflict, templates.FormErrors{Form: "admin.error_last_admin"})
	case err != nil:
		return wrap("end of an account", err)
	}
	page.User, page.Due = nil, page.When(due.In(u.Location()))
	return l.mux.Render(w, r, http.StatusOK, page)
}
