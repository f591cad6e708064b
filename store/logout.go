package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// Logout is what an application is told of: the Text of a Message of KindLogout, as JSON. The message's Recipient is the client, its About the user.
type Logout struct {
	Subject string `json:"sub"`           // as the application's tokens said it
	SID     string `json:"sid,omitempty"` // of the session's row; "" = all sessions the person began there before the message
}

// How long an application that does not answer is tried. One that is told of a person rather than of a session may hear it for a short time only: they
// may have come back since.
const (
	logoutLife       = 24 * time.Hour
	logoutLifePerson = 10 * time.Minute
)

// clientGrant is whom one client knows by one session.
type clientGrant struct {
	ClientID string         `db:"client_id"`
	UserID   string         `db:"user_id"`
	SID      string         `db:"sid"`
	Metadata ClientMetadata `db:"metadata"`
}

// Revoked and ended grants count: the application's own session goes on without them.
const clientsOfSessions = `SELECT DISTINCT g.client_id, g.user_id, g.sid, c.metadata FROM grants g JOIN clients c ON c.id = g.client_id
WHERE g.sid IN (?) AND g.user_id <> '' ORDER BY g.client_id, g.user_id, g.sid`

const sidsAtOnce = 500 // placeholders of one statement

// endSessions is dropSessions where sessions end for their people: the applications they used are told, in the same Tx.
func (s *Store) endSessions(ctx context.Context, reason, query string, args ...any) error {
	gone, err := s.dropSessions(ctx, reason, query, args...)
	if err != nil {
		return err
	}
	sids := make([]string, 0, len(gone))
	for i := range gone {
		sids = append(sids, gone[i].SID)
	}
	for some := range slices.Chunk(sids, sidsAtOnce) {
		list, err := s.clientsOf(ctx, some)
		if err != nil {
			return err
		}
		if err := s.tellLogout(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) clientsOf(ctx context.Context, sids []string) ([]clientGrant, error) {
	q, in, err := sqlx.In(clientsOfSessions, sids)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return many[clientGrant](ctx, s, q, in...)
}

// tellLogout puts a message for each of them into the outbox, unless its client wants none.
func (s *Store) tellLogout(ctx context.Context, list []clientGrant) error {
	for i := range list {
		g := &list[i]
		if g.Metadata.BackChannelLogoutURI == "" {
			continue
		}
		if err := s.enqueueLogout(ctx, g.ClientID, Logout{Subject: g.UserID, SID: g.SID}, logoutLife); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) enqueueLogout(ctx context.Context, clientID string, l Logout, life time.Duration) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return s.Enqueue(ctx, &Message{Kind: KindLogout, Recipient: clientID, About: l.Subject, Text: string(text), ExpiresAt: At(s.now(ctx).Add(life))})
}

// Grants that outlived their session: nothing of it is left that could end, and yet its application goes on.
const orphansOf = `SELECT DISTINCT g.client_id, g.user_id, g.sid, c.metadata FROM grants g JOIN clients c ON c.id = g.client_id
WHERE g.user_id = ? AND g.revoked_at IS NULL AND g.expires_at > ? AND NOT EXISTS (SELECT 1 FROM sessions n WHERE n.sid = g.sid)
ORDER BY g.client_id, g.sid`

// tellOrphans tells the applications of a user's live grants whose session is over already. Its caller revokes them in the same Tx.
func (s *Store) tellOrphans(ctx context.Context, userID string) error {
	list, err := many[clientGrant](ctx, s, orphansOf, userID, At(s.now(ctx)))
	if err != nil {
		return err
	}
	return s.tellLogout(ctx, list)
}

const sidsOfClient = `SELECT DISTINCT g.client_id, g.user_id, g.sid, c.metadata FROM grants g JOIN clients c ON c.id = g.client_id
WHERE g.user_id = ? AND g.client_id = ? AND g.revoked_at IS NULL AND g.expires_at > ? ORDER BY g.sid`

// tellRevoked tells one application that a person took everything back that they allowed it. The session here goes on, so it is told of the person:
// of a session it would believe that it never comes again. One that understands sessions only gets each.
func (s *Store) tellRevoked(ctx context.Context, userID, clientID string) error {
	list, err := many[clientGrant](ctx, s, sidsOfClient, userID, clientID, At(s.now(ctx)))
	if err != nil || len(list) == 0 || list[0].Metadata.BackChannelLogoutURI == "" {
		return err
	}
	if list[0].Metadata.BackChannelLogoutSession {
		return s.tellLogout(ctx, list)
	}
	return s.enqueueLogout(ctx, clientID, Logout{Subject: userID}, logoutLifePerson)
}

// SessionClients are the ids of the clients that were given something in a session, in their order.
func (s *Store) SessionClients(ctx context.Context, sid string) ([]string, error) {
	list, err := s.clientsOf(ctx, []string{sid})
	var ids []string
	for i := range list {
		ids = append(ids, list[i].ClientID)
	}
	return slices.Compact(ids), err
}

const logoutsOf = `SELECT ` + messageColumns + ` FROM outbox WHERE about = ? AND about <> '' AND kind = 'logout' ORDER BY created_at DESC, id DESC LIMIT ?`

// LogoutsOf returns the n newest messages that told applications of a user's ended sessions, whatever became of them.
func (s *Store) LogoutsOf(ctx context.Context, userID string, n int) ([]Message, error) {
	return many[Message](ctx, s, logoutsOf, userID, n)
}

// States of a message of KindLogout.
const (
	LogoutConfirmed = "confirmed"
	LogoutWaiting   = "waiting"
	LogoutGivenUp   = "given_up"
)

// LogoutState says what became of a message of KindLogout.
func (m *Message) LogoutState() string {
	switch {
	case !m.SentAt.IsZero():
		return LogoutConfirmed
	case !m.FailedAt.IsZero():
		return LogoutGivenUp
	}
	return LogoutWaiting
}
