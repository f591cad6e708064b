package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/admin"
	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// openAdmin builds the pages of administration.
func (s *Server) openAdmin(context.Context) (err error) {
	s.admin, err = admin.New(admin.Config{
		Store: s.store, Mux: s.mux, Guard: s.guard, Desk: &rights.Desk{Store: s.store, File: s.config}, Requests: s.requests, Invites: s.invites, Logger: s.log,
		ResetFactors: func(ctx context.Context, actor, userID, reason string) error {
			_, err := login.ResetFactors(ctx, s.store, s.mailTexts(), actor, userID, reason)
			return err
		},
		Facts: s.facts,
		Account: admin.Account{
			Edit: func(ctx context.Context, actor, userID string, version int64, p store.PersonEdit) error {
				return login.EditPerson(ctx, s.store, s.mailTexts(), actor, userID, version, p)
			},
			Link: func(ctx context.Context, actor, userID string, mail bool) (string, time.Time, error) {
				link, until, err := login.PasswordLink(ctx, s.store, s.mailTexts(), s.config().Issuer, actor, userID, mail)
				if errors.Is(err, login.ErrNoAddress) {
					err = admin.ErrNoAddress
				}
				return link, until, err
			},
			Device: login.Device, Mails: func() bool { return s.mailTexts() != nil }, Passwords: func() bool { return s.config().Login.Password.Enabled },
		},
		Confirmed: s.login.Confirmed, Label: s.login.Label, Preview: s.preview, PreviewClaims: s.previewClaims,
		Connectors: s.connectorIDs, PastToken: s.pastToken,
	})
	return err
}

// facts are what administrators are shown of how the service is set up.
func (s *Server) facts() admin.Facts {
	c := s.config()
	return admin.Facts{HTTPS: strings.HasPrefix(c.Issuer, "https://"), Production: c.Environment == config.Production, Mail: c.Mail.On(),
		SMS: c.Login.Phone.Enabled, Down: s.login.Down()}
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
	return adminPreview(p), nil
}

func adminPreview(p *provider.Preview) *admin.Preview {
	if p == nil {
		return nil
	}
	return &admin.Preview{WayIn: p.WayIn, WaysIn: p.Connectors, Step: p.Step, Factor: strings.HasPrefix(p.Owes, "second_factor"), Refused: p.Refused, Required: p.Required, Unmet: p.Unmet, Consent: p.Consent,
		NewScopes: p.NewScopes, Scope: p.Scope, IDToken: p.IDToken, AccessToken: p.AccessToken, UserInfo: p.UserInfo, Introspection: p.Introspection}
}

func (s *Server) connectorIDs() []string { return s.login.Connectors() }

// previewClaims is a sign-in on paper through a connector.
func (s *Server) previewClaims(ctx context.Context, c admin.Claims) (*admin.Arrival, error) {
	p, err := s.PreviewUpstream(ctx, UpstreamPreviewRequest{Connector: c.Connector, ClientID: c.ClientID, Scope: c.Scope, Claims: c.Document, Disowned: c.Disowned})
	if bad, ok := errors.AsType[*PreviewError](err); ok {
		return nil, &admin.FieldError{Field: bad.Field, Key: bad.Key, Args: bad.Args}
	}
	if err != nil {
		return nil, err
	}
	id, rules := &p.Identity, &p.Rules
	a := &admin.Arrival{
		Label: p.Label, Subject: id.Subject, Issuer: id.Issuer, Name: id.Name, Given: id.GivenName, Family: id.FamilyName, Username: id.Username,
		Email: id.Email, EmailTrust: id.EmailTrust,
		Decision: p.Decision, Key: p.Key, Args: p.Args, Code: p.Code, Detail: p.Detail, Alert: p.Alert, MayDisown: p.MayClaim,
		Registration: p.Policy.Registration, Link: p.Policy.Link, Domains: p.Policy.Domains, DomainFits: p.Policy.DomainFits,
		UserID: p.UserID, New: p.New, Holder: p.Holder, RulesMatch: rules.Matched, RulesGive: rules.Given, RulesEnd: rules.Ended, RulesAdmin: rules.Admin,
		RulesRefused: rules.Refused, Owes: p.Owes, Proof: p.Proof, WayIn: p.WayIn, AMR: p.AMR, ACR: p.ACR, Preview: adminPreview(p.Client),
	}
	for _, f := range p.Filled {
		a.Filled = append(a.Filled, admin.Fact(f))
	}
	return a, nil
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

// mailTexts are the words of mails, nil where none is sent.
func (s *Server) mailTexts() *templates.Set {
	if s.codeKey() == nil {
		return nil
	}
	return s.templates
}
