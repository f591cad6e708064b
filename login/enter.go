package login

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// begin turns a complete proof into a session: start makes it (a new id, the old one ends), and the sign-in is remembered in the
// same transaction. start gets the request with the transaction in its context.
func (l *Login) begin(r *http.Request, userID string, p *pending, start func(*http.Request) (*session.Session, error)) (*session.Session, error) {
	var made *session.Session
	err := l.store.Tx(r.Context(), func(ctx context.Context) (err error) {
		if made, err = start(r.WithContext(ctx)); err != nil {
			return err
		}
		if err = l.store.TouchLogin(ctx, userID, l.now()); err != nil {
			return err
		}
		return l.record(ctx, "sign_in", userID, p.clientID(), map[string]any{"method": made.Connector, "amr": made.AMR})
	})
	return made, err
}

// goOn is where every complete sign-in ends: the flow goes on with the new session, or the person lands where they wanted to go, or on their account. A
// passkey may be suggested before.
func (l *Login) goOn(w http.ResponseWriter, r *http.Request, made *session.Session, p *pending) error {
	if offers, err := l.offersPasskey(r, made); err != nil {
		return wrap("passkey", err)
	} else if offers {
		return web.SeeOther(w, r, pathWith(passkeyOfferPath, p, nil))
	}
	switch {
	case p == nil && reauth(r):
		return l.toPlace(w, r, l.waysPath())
	case p == nil:
		return l.toPlace(w, r, accountPath)
	}
	return l.done(w, r.WithContext(session.With(r.Context(), made)), p.handle)
}

// toPlace leads to the page that was kept for after the sign-in, or else to another.
func (l *Login) toPlace(w http.ResponseWriter, r *http.Request, otherwise string) error {
	return web.SeeOther(w, r, cmp.Or(l.sessions.TakePlace(w, r), otherwise))
}

// reauth says whether a sign-in only confirms who is signed in.
func reauth(r *http.Request) bool { return r.URL.Query().Get("reauth") != "" }

// record keeps an event of a person: a sign-in, a failure, a sign-out. It holds nothing that was typed.
func (l *Login) record(ctx context.Context, kind, userID, clientID string, data map[string]any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return l.store.Record(ctx, &store.Event{
		At: store.At(l.now()), Kind: kind, UserID: userID, ClientID: clientID, IP: web.ClientIP(ctx).String(), Data: string(b),
	})
}
