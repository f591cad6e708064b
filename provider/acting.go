package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// actingHere says whether a client takes the person who acts, and until when: it opted in, and the authority is not for another.
func (p *Provider) actingHere(ctx context.Context, c *Client, sess *session.Session) (ok bool, ends store.Time, err error) {
	if !c.Metadata.AllowActAs {
		return false, ends, nil
	}
	ends, err = p.c.Store.MayActNow(ctx, sess.Live, sess.For, sess.ActingBy, c.ID)
	if errors.Is(err, store.ErrForbidden) {
		return false, ends, nil
	}
	return err == nil, ends, err
}

// onlyOneself tells somebody who acts why they cannot go on for the other, and lets them go on as themselves, with the same request.
func (p *Provider) onlyOneself(w http.ResponseWriter, r *http.Request, q *request, f facts, handle string) error {
	back, err := p.deniedURL(q, "The person acts for another, which is not possible here.")
	if err != nil {
		return err
	}
	page := &templates.ActingPage{Base: p.c.Mux.Base(w, r), App: templates.App{Name: q.client.name()}, Key: oneselfKey(f, q.client),
		Action: "/account/act/stop?flow=" + url.QueryEscape(handle), ReturnURL: back}
	web.FormAction(w, q.redirect)
	return p.c.Mux.Render(w, r, http.StatusForbidden, page)
}

// oneselfKey is the text that says why stepOneself.
func oneselfKey(f facts, c *Client) string {
	switch {
	case !f.signedIn: // by a way the client does not take
	case !c.Metadata.AllowActAs:
		return "acting.only_client"
	case !f.actingHere:
		return "acting.only_authority"
	case !f.entitled:
		return "acting.only_entitled"
	case f.owes:
		return "acting.only_owes"
	case !f.consentGiven && (f.consentNeeded || slices.Contains(f.prompt, "consent")):
		return "acting.only_consent"
	}
	return "acting.only_sign_in"
}

// recordActing keeps an event for each of the two when a client is let in: the one request to the authorization endpoint that writes although
// everything is known.
func (p *Provider) recordActing(ctx context.Context, q *request, sess *session.Session) error {
	data, err := json.Marshal(map[string]string{"actor": sess.UserID, "for": sess.ActingFor, "by": sess.ActingBy})
	if err != nil {
		return err
	}
	ip := ""
	if a := web.ClientIP(ctx); a.IsValid() {
		ip = a.String()
	}
	p.c.Observe("acting", "code")
	return p.c.Store.Tx(ctx, func(ctx context.Context) error {
		for _, id := range []string{sess.UserID, sess.ActingFor} {
			if err := p.c.Store.Record(ctx, &store.Event{Kind: "act_as.sign_in", UserID: id, ClientID: q.client.ID, IP: ip, Data: string(data)}); err != nil {
				return err
			}
		}
		return nil
	})
}
