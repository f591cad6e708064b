package server

import (
	"context"
	"time"

	"github.com/latchkey-idp/latchkey/internal/invites"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
)

// Invite is an invitation as the command line shows it.
type Invite struct {
	ID         string    `json:"id"`
	Email      string    `json:"email,omitempty"`
	State      string    `json:"state"`
	By         string    `json:"by"`
	Type       string    `json:"type,omitempty"`
	Privileges []string  `json:"privileges,omitempty"`
	Withheld   []string  `json:"withheld,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	UserID     string    `json:"user,omitempty"`
	Link       string    `json:"link,omitempty"`  // to hand over; only when it was just made
	Error      string    `json:"error,omitempty"` // why nothing was made for the address
}

func (c *Console) inviteView(i *store.Invite) Invite {
	return Invite{ID: i.ID, Email: i.Email, State: i.StateAt(c.Now()), By: i.CreatedBy, Type: i.UserType, Privileges: i.Privileges, Withheld: i.Withheld,
		CreatedAt: i.CreatedAt.UTC(), ExpiresAt: i.ExpiresAt.UTC(), UserID: i.UserID}
}

// NewInvites is what the command line sends.
type NewInvites struct {
	Emails                        []string // none = a link to hand over
	Type, Message, Client, Locale string
	Privileges                    []string
	Life                          time.Duration
}

// Invite invites by the service that the pages use; the errors are those of it.
func (c *Console) Invite(ctx context.Context, actor string, n NewInvites) (list []Invite, err error) {
	t, err := pages(c.cfg, false)
	if err != nil {
		return nil, err
	}
	desk := invites.Desk{Store: c.Store, Templates: t, Issuer: c.cfg.Issuer, Mail: c.cfg.Mail.On(), Life: c.cfg.Invites.Lifetime, TwoFor: c.cfg.Invites.TwoApprovals}
	results, err := desk.Create(ctx, actor, invites.New{Emails: n.Emails, UserType: n.Type, Privileges: n.Privileges, Message: n.Message, ClientID: n.Client, Locale: n.Locale, Life: n.Life})
	for _, r := range results {
		view := Invite{Email: r.Email}
		if r.Err != nil {
			view.Error = r.Err.Error()
		} else {
			view = c.inviteView(r.Invite)
			view.Link = r.Link
		}
		list = append(list, view)
	}
	return list, err
}

// Errors of inviting that the command line has words of its own for.
var (
	ErrNoMail = invites.ErrNoMail // addresses, where no mail is sent
	ErrCron   = privilege.ErrCron // people, to what is for programs
)

// Invites lists up to n that an actor may see, newest first, after the one with the id after. more says that there are others.
func (c *Console) Invites(ctx context.Context, actor, after string, n int) (list []Invite, more bool, err error) {
	rows, more, err := c.Store.Invites(ctx, actor, after, n)
	for i := range rows {
		list = append(list, c.inviteView(&rows[i]))
	}
	return list, more, err
}
