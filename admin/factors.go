package admin

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// resetFactors is POST /admin/users/{id}/reset-factors (R67): for somebody who lost them. Nobody resets their own: the account page asks for one of them.
func (a *Admin) resetFactors(w http.ResponseWriter, r *http.Request) error {
	ctx, by, reason := r.Context(), actor(r.Context()), strings.TrimSpace(r.PostFormValue("reset_reason"))
	again := func(status int, e templates.FormErrors) error {
		return a.renderUser(w, r, status, func(p *templates.UserPage) { p.FormErrors, p.ResetReason = e, reason })
	}
	u, err := a.person(ctx, r.PathValue("id"))
	if err != nil {
		return notFound(err)
	}
	if u.ID == by.ID {
		return again(http.StatusForbidden, templates.FormErrors{Form: "admin.error_self"})
	}
	err = a.c.ResetFactors(ctx, by.ID, u.ID, reason)
	var field *store.FieldError
	switch {
	case err == nil:
		return web.SeeOther(w, r, "/admin/users/"+u.ID+"?done=factors")
	case errors.As(err, &field) && field.Field == "reason":
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"reset_reason": "admin.error_factor_reason"}})
	case errors.Is(err, store.ErrNotFound):
		return again(http.StatusConflict, templates.FormErrors{Form: "admin.factors_none"})
	}
	return a.refused(err, again)
}
