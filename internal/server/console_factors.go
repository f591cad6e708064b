package server

import (
	"context"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/templates"
)

// ResetFactors takes a person's second factors, ends their sessions and tells them by mail, which the server sends. It returns how many there were; the
// errors are store.ResetFactors's.
func (c *Console) ResetFactors(ctx context.Context, actor, userID, reason string) (int, error) {
	var texts *templates.Set
	if c.cfg.Mail.On() {
		var err error
		if texts, err = pages(c.cfg, false); err != nil {
			return 0, err
		}
	}
	return login.ResetFactors(ctx, c.Store, texts, actor, userID, reason)
}

// EnrolmentCode makes the code with which a person with power over others adds their first second factor, and says until when it is good.
func (c *Console) EnrolmentCode(ctx context.Context, actor, userID string) (code string, until time.Time, err error) {
	code, err = login.NewEnrolmentCode(ctx, c.Store, actor, userID)
	return code, c.Store.Now().Add(login.EnrolmentTTL), err
}
