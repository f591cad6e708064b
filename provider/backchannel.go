package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// logoutEvent is the one member of events (Back-Channel Logout 1.0 §2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutTokenLife is the life of a logout token: it is made when it is sent, so this is for clocks and slow answers (§4 asks for at most two minutes).
const logoutTokenLife = 2 * time.Minute

// ErrLogoutUnwanted is LogoutToken's answer for a client that is gone, disabled or wants no back-channel logout any more.
var ErrLogoutUnwanted = errors.New("provider: the client takes no back-channel logout")

// LogoutToken makes the token that tells a client what a message of the outbox says, and where to send it. A token is of one try: its jti is the
// message and the try, so that a client that remembers them takes the second one when its answer to the first was lost.
func (p *Provider) LogoutToken(ctx context.Context, m store.Message) (token, uri string, err error) {
	var l store.Logout
	if err := json.Unmarshal([]byte(m.Text), &l); err != nil {
		return "", "", fmt.Errorf("provider: logout: %w", err)
	}
	c, err := p.client(ctx, m.Recipient)
	if errors.Is(err, errNoClient) {
		return "", "", ErrLogoutUnwanted
	}
	if err != nil {
		return "", "", err
	}
	if c.Metadata.BackChannelLogoutURI == "" {
		return "", "", ErrLogoutUnwanted
	}
	now := p.c.Now()
	claims := map[string]any{
		"iss": p.c.Issuer, "sub": l.Subject, "aud": c.ID, "iat": now.Unix(), "exp": now.Add(logoutTokenLife).Unix(),
		"jti": fmt.Sprintf("%s.%d", m.ID, m.Attempts), "events": map[string]any{logoutEvent: struct{}{}},
	}
	if l.SID != "" {
		claims["sid"] = session.SID(l.SID)
	} else {
		// Of a person, and not of a session: what they began after it is not meant.
		claims["iat"] = m.CreatedAt.Unix()
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", "", fmt.Errorf("provider: logout token: %w", err)
	}
	sg, err := p.c.Keys.signerFor(ctx, c.idTokenAlg()) // §2.4: as ID tokens are signed
	if err != nil {
		return "", "", err
	}
	token, err = sg.sign(typLogout, payload)
	return token, c.Metadata.BackChannelLogoutURI, err
}
