package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// Preview is what an application's tokens would say about a person now; nothing is written.
type (
	Preview        = provider.Preview
	PreviewRequest = provider.PreviewRequest
)

// ConsentRemembered is Preview.Consent of a person who agreed before.
const ConsentRemembered = provider.ConsentRemembered

// Errors of Preview.
var (
	ErrNoClient = provider.ErrNoClient
	ErrNoUser   = provider.ErrNoUser
)

// Preview computes what a sign-in would lead to, by the code that issues.
func (c *Console) Preview(ctx context.Context, r PreviewRequest) (*Preview, error) {
	dry, err := c.dryRunner("")
	if err != nil {
		return nil, err
	}
	return c.previewer(dry).Preview(ctx, r)
}

// Explain says what a person holds and why; the zero time is now.
func (c *Console) Explain(ctx context.Context, userID string, at time.Time) (*explain.Person, error) {
	return explain.Of(ctx, c.Store, userID, at)
}

// Past is what an access token of the past rested on.
type Past struct {
	At       time.Time       `json:"at"`
	ClientID string          `json:"client_id"`
	Grant    string          `json:"grant,omitempty"`
	UserID   string          `json:"user,omitempty"` // "" = a client's own
	Scope    []string        `json:"scope,omitempty"`
	Person   *explain.Person `json:"explanation,omitempty"`
}

// Errors of ExplainToken.
var (
	ErrNotToken  = errors.New("this is neither an access token of ours nor the id (jti) of one")
	ErrGrantGone = errors.New("the grant it came from is not kept any more")
)

// ExplainToken explains an access token, of any age, by itself (a JWT; its signature is not looked at, so nothing is said of whether it is genuine) or by its jti.
func (c *Console) ExplainToken(ctx context.Context, tokenOrJTI string) (*Past, error) {
	return explainToken(ctx, c.Store, tokenOrJTI)
}

func explainToken(ctx context.Context, st *store.Store, tokenOrJTI string) (*Past, error) {
	jti, claimed := tokenOrJTI, ""
	if parts := strings.Split(tokenOrJTI, "."); len(parts) == 3 {
		b, err := base64.RawURLEncoding.DecodeString(parts[1])
		var claims struct {
			ID       string `json:"jti"`
			ClientID string `json:"client_id"`
		}
		if err != nil || json.Unmarshal(b, &claims) != nil || claims.ID == "" {
			return nil, ErrNotToken
		}
		jti, claimed = claims.ID, claims.ClientID
	}
	t, err := provider.ReadJTI(jti)
	if err != nil {
		return nil, ErrNotToken
	}
	out := &Past{At: t.At, Grant: t.GrantID, ClientID: claimed}
	if t.GrantID == "" {
		return out, nil
	}
	g, err := st.Grant(ctx, t.GrantID)
	if errors.Is(err, store.ErrNotFound) {
		return out, errors.Join(ErrGrantGone, err)
	}
	if err != nil {
		return out, err
	}
	out.ClientID, out.UserID, out.Scope = g.ClientID, g.UserID, g.Scope
	if g.UserID != "" {
		out.Person, err = explain.Of(ctx, st, g.UserID, t.At)
	}
	return out, err
}
