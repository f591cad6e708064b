package server

import (
	"context"
	"errors"

	"github.com/latchkey-idp/latchkey/admin"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/provider"
)

// openAdmin builds the pages of administration.
func (s *Server) openAdmin(context.Context) (err error) {
	s.admin, err = admin.New(admin.Config{
		Store: s.store, Mux: s.mux, Guard: s.guard, Desk: &rights.Desk{Store: s.store, File: s.config}, Requests: s.requests, Logger: s.log,
		Confirmed: s.login.Confirmed, Label: s.login.Label, Preview: s.preview, PastToken: s.pastToken,
	})
	return err
}

// config is the configuration in force.
func (s *Server) config() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// preview is a sign-in on paper, by the code that issues.
func (s *Server) preview(ctx context.Context, userID, clientID string, scope []string) (*admin.Preview, error) {
	p, err := s.provider.Preview(ctx, provider.PreviewRequest{UserID: userID, ClientID: clientID, Scope: scope})
	switch {
	case errors.Is(err, provider.ErrNoUser):
		return nil, admin.ErrNoUser
	case errors.Is(err, provider.ErrNoClient):
		return nil, admin.ErrNoClient
	case err != nil:
		return nil, err
	}
	return &admin.Preview{Required: p.Required, Unmet: p.Unmet, Refused: p.Refused, Consent: p.Step == "consent", Scope: p.Scope,
		IDToken: p.IDToken, AccessToken: p.AccessToken, UserInfo: p.UserInfo, Introspection: p.Introspection}, nil
}

// pastToken is what an access token of any age rested on.
func (s *Server) pastToken(ctx context.Context, token string) (*admin.PastToken, error) {
	p, err := explainToken(ctx, s.store, token)
	switch {
	case errors.Is(err, ErrNotToken):
		return nil, admin.ErrNotToken
	case errors.Is(err, ErrGrantGone):
		return nil, admin.ErrTokenGone
	case err != nil:
		return nil, err
	}
	return &admin.PastToken{At: p.At, ClientID: p.ClientID, Person: p.Person}, nil
}
