package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/invites"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// mountInvites is the part of Mount about inviting people. Whose invitations somebody sees and may decide is the store's question.
func (a *Admin) mountInvites() {
	a.mux.Page("GET "+invites.ListPath, web.Needs("invites.view"), a.invites)
	a.mux.Page("GET /admin/new-invite", web.Needs("invites.create"), a.newInvite)
	a.mux.Page("POST "+invites.ListPath, web.Needs("invites.create"), a.confirmed("/admin/new-invite", a.createInvites))
	a.mux.Page("POST "+invites.ListPath+"/{id}/decide", web.Needs("invites.decide"), a.confirmed(invites.ListPath, a.decideInvite))
	a.mux.Page("POST "+invites.ListPath+"/{id}/send", web.Needs("invites.create"), a.confirmed(invites.ListPath, a.sendInvite))
	a.mux.Page("POST "+invites.ListPath+"/{id}/revoke", web.Needs("invites.create"), a.confirmed(invites.ListPath, a.revokeInvite))
}

// invites is GET /admin/invites: all for whoever may create accounts, their own for whoever may invite, newest first.
func (a *Admin) invites(w http.ResponseWriter, r *http.Request) error {
	return a.renderInvites(w, r, http.StatusOK, nil)
}

func (a *Admin) renderInvites(w http.ResponseWriter, r *http.Request, status int, change func(*templates.InvitesPage)) error {
	ctx := r.Context()
	base, err := a.base(w, r, "invites")
	if err != nil {
		return err
	}
	p := &templates.InvitesPage{Admin: base}
	decide := false
	people := false
	for _, can := range []struct {
		action string
		yes    *bool
	}{{"invites.create", &p.New}, {"invites.decide", &decide}, {"users.view", &people}} {
		if *can.yes, err = a.guard.Can(ctx, can.action); err != nil {
			return err
		}
	}
	list, more, err := a.store.Invites(ctx, actor(ctx).ID, searchable(r.URL.Query().Get("after")), pageSize)
	if err != nil {
		return err
	}
	if more {
		p.More = invites.ListPath + "?" + url.Values{"after": {list[len(list)-1].ID}}.Encode()
	}
	words, err := a.words(ctx, &p.Base)
	if err != nil {
		return err
	}
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	var makers []string
	for _, i := range list {
		makers = append(makers, i.CreatedBy)
	}
	if err := words.meet(makers); err != nil {
		return err
	}
	for i := range list {
		line, err := a.inviteLine(ctx, words, m, &list[i], p.New, decide, people)
		if err != nil {
			return err
		}
		p.List = append(p.List, line)
	}
	if change != nil {
		change(p)
	}
	return a.mux.Render(w, r, status, p)
}

func (a *Admin) inviteLine(ctx context.Context, words *words, m *store.Model, i *store.Invite, may, decide, people bool) (templates.InviteLine, error) {
	now := a.store.Clock()
	state := i.StateAt(now)
	l := templates.InviteLine{ID: i.ID, Email: i.Email, State: state, By: i.CreatedBy, Message: i.Message, Note: i.Note, When: words.when(i.CreatedAt.Time)}
	if n := words.Names[i.CreatedBy]; n != "" {
		l.By = n
	}
	if i.Open(now) {
		l.Until = words.when(i.ExpiresAt.Time)
	}
	if t := m.Type(i.UserType); t != nil {
		l.Type = t.In(words.b.Lang)
	}
	known := slices.DeleteFunc(slices.Clone(i.Privileges), func(n string) bool { return !m.Graph.Has(n) })
	for _, n := range plain(m.Graph.Closure(known...)) {
		l.Brings = append(l.Brings, words.Label(n))
	}
	for _, n := range i.Withheld {
		if kind, is := strings.CutPrefix(n, "type:"); is {
			if t := m.Type(kind); t != nil {
				kind = t.In(words.b.Lang)
			}
			l.Withheld = append(l.Withheld, kind)
			continue
		}
		l.Withheld = append(l.Withheld, words.Label(n))
	}
	l.Half = state == store.InviteProposed && i.ApprovedBy != ""
	if people {
		l.Person = i.UserID
	}
	if i.MessageID != "" && (state == store.InviteSent || state == store.InviteExpired) {
		switch msg, err := a.store.Message(ctx, i.MessageID); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return l, err
		case !msg.FailedAt.IsZero():
			l.Mail = "failed"
		case msg.SentAt.IsZero():
			l.Mail = "waiting"
		default:
			l.Mail = "sent"
		}
	}
	var err error
	if decide {
		if l.Decide, err = a.store.MayDecideInvite(ctx, actor(ctx).ID, i); err != nil {
			return l, err
		}
	}
	if may {
		l.Revoke = store.InviteMay(state, store.InviteRevoked)
		l.Send = store.InviteMay(state, store.InviteSent) && (i.Email == "" || a.c.Invites.Mail)
		l.Again = i.Sends > 0
	}
	return l, nil
}

// newInvite is GET /admin/new-invite.
func (a *Admin) newInvite(w http.ResponseWriter, r *http.Request) error {
	return a.renderNewInvite(w, r, http.StatusOK, func(*templates.NewInvitePage) {})
}

func (a *Admin) renderNewInvite(w http.ResponseWriter, r *http.Request, status int, change func(*templates.NewInvitePage)) error {
	ctx := r.Context()
	base, err := a.base(w, r, "invites")
	if err != nil {
		return err
	}
	p := &templates.NewInvitePage{Admin: base, MayMail: a.c.Invites.Mail, Days: "7"}
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	for i := range m.Types {
		t := &m.Types[i]
		if slices.Contains(t.Names, privilege.TypeAnonymous) {
			continue
		}
		p.Types = append(p.Types, templates.Choice{Value: t.Value, Label: t.In(base.Lang)})
	}
	if t := m.Newcomers(); t != nil {
		p.Type = t.Value
	}
	give, err := a.guard.Can(ctx, "users.privileges")
	if err != nil {
		return err
	}
	if give {
		if p.Names, err = a.names(ctx); err != nil {
			return err
		}
	}
	clients, err := a.store.Clients(ctx, "", pageSize)
	if err != nil {
		return err
	}
	for _, c := range clients {
		if c.DisabledAt.IsZero() && c.Metadata.ClientURI != "" { // where they could go on
			label := c.Metadata.Name
			if label == "" {
				label = c.ID
			}
			p.Clients = append(p.Clients, templates.Choice{Value: c.ID, Label: label})
		}
	}
	change(p)
	return a.mux.Render(w, r, status, p)
}

// createInvites is POST /admin/invites. Addresses that are none stop all of it; what becomes of each of the others stands on the page that answers.
func (a *Admin) createInvites(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	typed, kind, client, message, days := r.PostFormValue("emails"), r.PostFormValue("type"), r.PostFormValue("client"), strings.TrimSpace(r.PostFormValue("message")), r.PostFormValue("days")
	given := strings.Fields(strings.ReplaceAll(r.PostFormValue("privileges"), ",", " "))
	again := func(status int, e templates.FormErrors) error {
		return a.renderNewInvite(w, r, status, func(p *templates.NewInvitePage) {
			p.FormErrors, p.Emails, p.Privileges, p.Message, p.Client, p.Days = e, typed, strings.Join(given, " "), message, client, days
			if kind != "" {
				p.Type = kind
			}
		})
	}
	n := invites.New{Emails: addresses(typed), UserType: kind, Privileges: given, Message: message, ClientID: client, Locale: a.mux.Base(w, r).Lang}
	fields, args := map[string]string{}, map[string]any{}
	if wrong := slices.DeleteFunc(slices.Clone(n.Emails), isAddress); len(wrong) > 0 {
		fields["emails"], args["What"] = "invite.error_addresses", strings.Join(wrong[:min(len(wrong), 5)], ", ")
	}
	if len(n.Emails) > invites.MaxAddresses {
		fields["emails"] = "invite.error_many"
	}
	if name := a.unknown(ctx, given); name != "" {
		fields["privileges"], args["Name"] = "admin.error_privileges", name
	}
	if d, err := strconv.Atoi(days); err == nil && d >= 1 && d <= 30 {
		n.Life = time.Duration(d) * 24 * time.Hour
	} else { // also for a form that says nothing, which must not make a link
		fields["days"] = "invite.error_days"
	}
	m, err := a.store.Model(ctx)
	if err != nil {
		return err
	}
	if t := m.Newcomers(); t != nil && t.Value == kind {
		n.UserType = "" // that of newcomers, whichever it is when they come
	}
	if len(fields) > 0 {
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: fields, Args: args})
	}
	results, err := a.c.Invites.Create(ctx, actor(ctx).ID, n)
	var field *store.FieldError
	switch {
	case errors.Is(err, invites.ErrNoMail):
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"emails": "invite.error_no_mail"}})
	case errors.As(err, &field):
		key := map[string]string{"type": "admin.error_type", "privileges": "admin.error_privileges", "message": "invite.error_message", "client": "invite.error_client", "days": "invite.error_days"}[field.Field]
		if key == "" {
			return err
		}
		return again(http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{field.Field: key}, Args: map[string]any{"Name": field.Why}})
	case err != nil:
		return a.refused(err, again)
	}
	return a.renderInvites(w, r, http.StatusOK, func(p *templates.InvitesPage) {
		for _, res := range results {
			p.Results = append(p.Results, templates.InviteResult{Email: res.Email, State: resultOf(&res), Link: res.Link})
		}
	})
}

// resultOf is the word for what became of an address.
func resultOf(r *invites.Result) string {
	var field *store.FieldError
	switch {
	case errors.Is(r.Err, store.ErrInviteLimit):
		return "limit"
	case errors.As(r.Err, &field) && errors.Is(r.Err, store.ErrConflict) && field.Why == "is invited":
		return "invited"
	case errors.Is(r.Err, store.ErrConflict):
		return "known"
	case r.Err != nil:
		return "address"
	case r.Link != "":
		return "link"
	case r.Invite.State == store.InviteProposed:
		return "waiting"
	}
	return "sent"
}

// addresses are those of a long field, each once: one on a line, or with commas or semicolons between.
func addresses(s string) (list []string) {
	for _, one := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;", r) }) {
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
		if len(list) > invites.MaxAddresses {
			break
		}
	}
	return list
}

func isAddress(s string) bool {
	_, err := store.EmailKey(s)
	return err == nil && !strings.ContainsAny(s, "\"()<>[]\\:")
}

// decideInvite is POST /admin/invites/{id}/decide.
func (a *Admin) decideInvite(w http.ResponseWriter, r *http.Request) error {
	decision := r.PostFormValue("decision")
	if decision != "approve" && decision != "decline" {
		return a.inviteAgain(w, r, http.StatusUnprocessableEntity, templates.FormErrors{Form: "asking.queue_choose"})
	}
	i, err := a.c.Invites.Decide(r.Context(), actor(r.Context()).ID, r.PathValue("id"), decision == "approve", r.PostFormValue("note"))
	if err != nil {
		return a.inviteRefused(w, r, err)
	}
	done := "declined"
	switch {
	case i.State == store.InviteProposed:
		done = "half"
	case i.State == store.InviteSent:
		done = "sent"
	case decision == "approve":
		done = "approved"
	}
	return web.SeeOther(w, r, invites.ListPath+"?done="+done)
}

// sendInvite is POST /admin/invites/{id}/send.
func (a *Admin) sendInvite(w http.ResponseWriter, r *http.Request) error {
	i, link, err := a.c.Invites.Send(r.Context(), actor(r.Context()).ID, r.PathValue("id"))
	switch {
	case err != nil:
		return a.inviteRefused(w, r, err)
	case link == "":
		return web.SeeOther(w, r, invites.ListPath+"?done=sent")
	}
	return a.renderInvites(w, r, http.StatusOK, func(p *templates.InvitesPage) {
		p.Results = []templates.InviteResult{{Email: i.Email, State: "link", Link: link}}
	})
}

// revokeInvite is POST /admin/invites/{id}/revoke.
func (a *Admin) revokeInvite(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.store.RevokeInvite(r.Context(), actor(r.Context()).ID, r.PathValue("id")); err != nil {
		return a.inviteRefused(w, r, err)
	}
	return web.SeeOther(w, r, invites.ListPath+"?done=revoked")
}

func (a *Admin) inviteAgain(w http.ResponseWriter, r *http.Request, status int, e templates.FormErrors) error {
	return a.renderInvites(w, r, status, func(p *templates.InvitesPage) { p.FormErrors, p.Wrong = e, r.PathValue("id") })
}

// inviteRefused says on the list why nothing was done with an invitation.
func (a *Admin) inviteRefused(w http.ResponseWriter, r *http.Request, err error) error {
	say := func(status int, key string) error {
		return a.inviteAgain(w, r, status, templates.FormErrors{Form: key})
	}
	var field *store.FieldError
	switch {
	case errors.As(err, &field) && field.Field == "note":
		return a.inviteAgain(w, r, http.StatusUnprocessableEntity, templates.FormErrors{Fields: map[string]string{"note": "admin.error_long"}})
	case errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrExpired):
		return say(http.StatusConflict, "invite.error_over")
	case errors.Is(err, store.ErrInviteLimit):
		return say(http.StatusTooManyRequests, "invite.error_limit")
	case errors.Is(err, store.ErrConflict):
		return say(http.StatusConflict, "invite.error_twice")
	case errors.Is(err, invites.ErrNoMail):
		return say(http.StatusConflict, "invite.error_no_mail")
	case errors.Is(err, store.ErrNotFound):
		return &web.Error{Status: http.StatusNotFound, Err: err, RestartURL: invites.ListPath}
	}
	return a.refused(err, func(status int, e templates.FormErrors) error { return a.inviteAgain(w, r, status, e) })
}
