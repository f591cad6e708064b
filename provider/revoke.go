package provider

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// revoke serves RFC 7009. Unknown tokens and other clients' tokens answer 200 and nothing happens (§2.2); trouble with the database
// answers 503, never 200 (security.md B11). The hint is not needed: a token says what it is.
func (p *Provider) revoke(w http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return p.writeOAuthError(w, r, err)
	}
	ctx := r.Context()
	caller, err := p.authenticateClient(ctx, r, r.PostForm)
	if err != nil {
		return p.writeOAuthError(w, r, err)
	}
	tok := r.PostForm.Get("token")
	if tok == "" {
		return p.writeOAuthError(w, r, refuse("invalid_request", "The parameter 'token' is missing."))
	}
	if err := p.revokeToken(ctx, caller, tok); err != nil {
		return p.writeOAuthError(w, r, err)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

func (p *Provider) revokeToken(ctx context.Context, caller *Client, tok string) error {
	gid := ""
	if strings.HasPrefix(tok, prefixRefresh) {
		id, _, ok := p.c.Keys.parseRefresh(tok)
		if !ok {
			return nil
		}
		g, err := p.c.Store.Grant(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if g.ClientID != caller.ID {
			return nil
		}
		gid = id
	} else {
		a, err := p.readAccess(ctx, tok)
		if err != nil {
			return nil // not ours, or over: nothing to revoke
		}
		if a.ClientID != caller.ID {
			return nil
		}
		if a.GrantID == "" {
			_, err := p.c.Store.Mark(ctx, revocationMarker(a), time.Unix(a.Expires, 0))
			return err
		}
		gid = a.GrantID
	}
	// An access token goes with its grant: the client gave it back, and asks for nothing in the person's name any more.
	// Its row says when and why; no event is written beside it.
	_, err := p.c.Store.RevokeGrant(ctx, gid, "client")
	return err
}
