package login

import (
	"context"
	"time"

	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// tellLife is how long it may take to send what people are told of acting.
const tellLife = 7 * 24 * time.Hour

// tellTaken tells the grantor of an authority who took it: whoever had the link first may be somebody else than it was meant for.
func (l *Login) tellTaken(ctx context.Context, a *store.Authority, grantee *store.User) error {
	to, err := l.store.User(ctx, a.Grantor)
	if err != nil {
		return err
	}
	m := templates.AuthorityMail{Who: nameOr(grantee), Until: a.Until.In(to.Location()), Path: authoritiesPath}
	if a.ClientID != "" {
		app, err := l.app(ctx, a.ClientID)
		if err != nil {
			return err
		}
		m.Where = app.Name
	}
	until := a.TakenAt.Add(tellLife)
	if a.Until.Before(until) {
		until = a.Until.Time
	}
	return l.tell(ctx, to, "authority_taken", a.ID, until, m)
}

// tellActedFor tells the person represented that an administrator began to act for them, whom they never let.
func (l *Login) tellActedFor(ctx context.Context, s *session.Session, reason string) error {
	to, at := &s.For.User, s.LastSeenAt
	return l.tell(ctx, to, "acted_for", s.ID, at.Add(tellLife),
		templates.ActedForMail{Who: nameOr(&s.Live.User), At: at.In(to.Location()), Reason: reason})
}

// tell puts a mail of a kind into the outbox, in the Tx of what it tells about and in the person's language.
func (l *Login) tell(ctx context.Context, to *store.User, kind, about string, until time.Time, m templates.Mail) error {
	if l.codeKey == nil { // no mail is sent here
		return nil
	}
	model, err := l.store.Model(ctx)
	if err != nil || !model.Reaches(to, kind, l.store.Clock()) {
		return err
	}
	text, err := l.templates.Mail(to.Locale, m)
	if err != nil {
		return err
	}
	return l.store.Enqueue(ctx, &store.Message{Kind: "mail", Recipient: to.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML,
		DedupeKey: kind + ":" + about, ExpiresAt: store.At(until)})
}

// nameOr is somebody's name, or their id.
func nameOr(u *store.User) string {
	if name := u.Name(); name != "" {
		return name
	}
	return u.ID
}
