package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// mountStatic serves the assets. They are the same for everybody and carry their content's hash in the path, so they need neither
// session nor form token: the API kind of route.
func (s *Server) mountStatic() {
	static := s.templates.Static()
	s.mux.API("GET /static/{hash}/{file...}", func(w http.ResponseWriter, r *http.Request) error {
		static.ServeHTTP(w, r)
		return nil
	})
}

// mountOutbox adds the page that shows mail and SMS instead of sending them. It exists in the demonstration only: whoever sees it can
// read everybody's codes.
func (s *Server) mountOutbox() {
	s.mux.Page("GET /dev/outbox", web.Public, func(w http.ResponseWriter, r *http.Request) error {
		ms, err := s.store.Messages(r.Context(), 100)
		if err != nil {
			return err
		}
		page := &templates.OutboxPage{Base: s.mux.Base(w, r)}
		for _, m := range ms {
			if m.Recipient == "" {
				continue // it only looks like a message: nobody who may come in has the number
			}
			page.Messages = append(page.Messages, templates.OutboxMessage{Kind: m.Kind, To: m.Recipient, Subject: m.Subject, Text: m.Text,
				At: m.CreatedAt.UTC().Format("2006-01-02 15:04:05 MST"), Status: messageStatus(m, s.now())})
		}
		return s.mux.Render(w, r, http.StatusOK, page)
	})
}

func messageStatus(m store.Message, now time.Time) string {
	switch {
	case !m.SentAt.IsZero():
		return "sent"
	case !m.FailedAt.IsZero():
		return "given up"
	case !m.ExpiresAt.IsZero() && !now.Before(m.ExpiresAt.Time):
		return "expired"
	}
	return "waiting"
}

// DemoClient is the sample application's registration.
type DemoClient struct {
	ID, Secret                                        string
	Name, BaseURL, RedirectURI, PostLogoutRedirectURI string
	BackChannelLogoutURI                              string
}

// demoClientID is fixed, so that the demonstration finds its client again.
const demoClientID = "sample-app"

// EnsureDemoClient registers the sample application and fills in its id and secret. The secret is generated once and kept in dir,
// readable by its owner only; the database has the hash, as of any client.
func (s *Server) EnsureDemoClient(ctx context.Context, dir string, app *DemoClient) (err error) {
	app.ID = demoClientID
	if app.Secret, err = secretFile(filepath.Join(dir, "sample-app.secret"), newSecret); err != nil {
		return err
	}
	meta := store.ClientMetadata{
		Name: app.Name, ClientURI: app.BaseURL, RedirectURIs: []string{app.RedirectURI}, PostLogoutRedirectURIs: []string{app.PostLogoutRedirectURI},
		GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "openid profile email phone address privileges offline_access",
		RefreshTokens:        "session", // its session lasts as long as the sign-in here, and ends with it
		Resources:            []string{strings.TrimSuffix(app.BaseURL, "/") + "/api"},
		BackChannelLogoutURI: app.BackChannelLogoutURI,
		AllowActAs:           true, // and shows who it really is
	}
	want := hashSecret(app.Secret)
	for try := 0; ; try++ {
		c, err := s.store.Client(ctx, app.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			err = s.store.CreateClient(ctx, actorSystem, &store.Client{ID: app.ID, Source: SourceAdmin, SecretHash: want, Metadata: meta})
		case err == nil && (c.SecretHash != want || !sameMetadata(c.Metadata, meta)):
			err = bringUpToDate(ctx, s.store, c, meta, store.ClientSecret{Hash: want})
		}
		if errors.Is(err, store.ErrConflict) && try < 3 {
			continue // somebody else wrote it meanwhile: look again
		}
		if err != nil {
			return fmt.Errorf("server: sample application: %w", err)
		}
		return nil
	}
}
