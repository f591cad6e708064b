// Package requests is asking for privileges, from the question to the answer: the store's rows, and the mails that tell people of them (R108).
//
//	Ask ────▶ store.AskPrivilege  ─┐ one transaction with the mails: to who could give it,
//	Decide ─▶ store.DecideRequest ─┘ and to who asked
//
// It owns whom a request is mailed to, and what for. It refuses to decide anything: who may ask, and who may give, is the store's question.
package requests

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Where people read of requests.
const (
	AccountPath = "/account/privileges"       // their own
	QueuePath   = "/admin/privilege-requests" // those they may decide
)

const (
	most         = 5                  // people who are told of one request
	mostLooked   = 20                 // at, to find them: some have no address, or want no mail
	decisionMail = 7 * 24 * time.Hour // how long it may take to send
)

// Desk is where requests are made and decided.
type Desk struct {
	Store     *store.Store
	Templates *templates.Set
	Mail      bool // mail is sent here; else people find out on their pages
}

// Ask is store.AskPrivilege with a mail to each of some people who could give it.
func (d *Desk) Ask(ctx context.Context, userID, name, reason string) (*store.PrivilegeRequest, error) {
	var to []store.User
	if d.Mail {
		may, err := d.Store.MayAskFor(ctx, userID)
		if err != nil {
			return nil, err
		}
		// For what will be refused nobody is looked up: all refusals take the same time.
		if slices.ContainsFunc(may, func(p store.Privilege) bool { return p.Name == name }) {
			if to, err = d.recipients(ctx, userID, name); err != nil {
				return nil, err
			}
		}
	}
	var asked *store.PrivilegeRequest
	err := d.Store.Tx(ctx, func(ctx context.Context) error {
		r, err := d.Store.AskPrivilege(ctx, userID, name, reason)
		if err != nil {
			return err
		}
		asked = r
		if len(to) == 0 {
			return nil
		}
		who, err := d.Store.User(ctx, userID)
		if err != nil {
			return err
		}
		for i := range to {
			err := d.enqueue(ctx, &to[i], "privilege_request:"+r.ID+":"+to[i].ID, r.ExpiresAt, templates.RequestMail{
				Who: described(who), Reason: r.Reason, Until: local(&to[i], r.ExpiresAt), Path: QueuePath,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return asked, err
}

// Decide is store.DecideRequest with a mail to the person who asked.
func (d *Desk) Decide(ctx context.Context, actor, id string, what store.Decision) (*store.PrivilegeRequest, error) {
	var decided *store.PrivilegeRequest
	err := d.Store.Tx(ctx, func(ctx context.Context) error {
		r, err := d.Store.DecideRequest(ctx, actor, id, what)
		if err != nil {
			return err
		}
		decided = r
		if !d.Mail {
			return nil
		}
		u, err := d.Store.User(ctx, r.UserID)
		if err != nil {
			return err
		}
		m, err := d.Store.Model(ctx)
		if err != nil {
			return err
		}
		if !m.Reaches(u, privilege.NoticeDecision, r.DecidedAt.Time) {
			return nil
		}
		return d.enqueue(ctx, u, "privilege_decision:"+r.ID, store.At(r.DecidedAt.Add(decisionMail)), templates.DecisionMail{
			Approved: r.Decision == store.RequestApproved, Asked: local(u, r.CreatedAt), Until: local(u, r.Until), Note: r.Note, Path: AccountPath,
		})
	})
	return decided, err
}

// recipients are some of the people who could give a privilege to a person; where there are none, administrators, who may know who runs the server.
func (d *Desk) recipients(ctx context.Context, userID, name string) (list []store.User, err error) {
	m, err := d.Store.Model(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := d.Store.Grantors(ctx, userID, name, mostLooked)
	if err == nil && len(ids) == 0 {
		var admins []store.Holder
		admins, err = d.Store.Holders(ctx, privilege.Admin, "", mostLooked)
		for _, h := range admins {
			if h.UserID != userID && !slices.Contains(ids, h.UserID) {
				ids = append(ids, h.UserID)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	now := d.Store.Now()
	for _, id := range ids {
		u, err := d.Store.User(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.Reaches(u, privilege.NoticeRequest, now) {
			list = append(list, *u)
		}
		if len(list) == most {
			break
		}
	}
	return list, nil
}

func (d *Desk) enqueue(ctx context.Context, to *store.User, key string, until store.Time, m templates.Mail) error {
	text, err := d.Templates.Mail(to.Locale, m)
	if err != nil {
		return err
	}
	return d.Store.Enqueue(ctx, &store.Message{Kind: "mail", Recipient: to.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML,
		DedupeKey: key, ExpiresAt: until})
}

// described is a person's name with the address, which tells two of one name apart.
func described(u *store.User) string {
	name := u.Name()
	switch {
	case name == "":
		return u.ID
	case u.Email == "" || u.Email == name:
		return name
	}
	return name + " (" + u.Email + ")"
}

// local is a time where a person is; zero stays zero.
func local(u *store.User, t store.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	if u.Zoneinfo != "" {
		if zone, err := time.LoadLocation(u.Zoneinfo); err == nil {
			return t.In(zone)
		}
	}
	return t.UTC()
}
