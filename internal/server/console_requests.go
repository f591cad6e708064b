package server

import (
	"context"
	"time"

	"github.com/latchkey-idp/latchkey/internal/requests"
	"github.com/latchkey-idp/latchkey/store"
)

// Request is somebody's open wish for a privilege, as the command line shows it.
type Request struct {
	ID        string    `json:"id"`
	Privilege string    `json:"privilege"`
	UserID    string    `json:"user"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Requests lists up to n open ones that an actor may decide, oldest first, after the one with the id after. more says that there are others.
func (c *Console) Requests(ctx context.Context, actor, after string, n int) (list []Request, more bool, err error) {
	rows, more, err := c.Store.OpenRequests(ctx, actor, after, n)
	if err != nil {
		return nil, false, err
	}
	for _, r := range rows {
		u, err := c.Store.User(ctx, r.UserID)
		if err != nil {
			return nil, false, err
		}
		list = append(list, Request{r.ID, r.Privilege, r.UserID, u.Name(), u.Email, r.Reason, r.CreatedAt.UTC(), r.ExpiresAt.UTC()})
	}
	return list, more, nil
}

// DecideRequest approves or refuses one. The person hears of it by mail, as from the page.
func (c *Console) DecideRequest(ctx context.Context, actor, id string, d store.Decision) (*store.PrivilegeRequest, error) {
	t, err := pages(c.cfg, false)
	if err != nil {
		return nil, err
	}
	desk := requests.Desk{Store: c.Store, Templates: t, Mail: c.cfg.Mail.On()}
	return desk.Decide(ctx, actor, id, d)
}
