package store

import "context"

// Event is a sign-in, a failure, a sign-out: no chain, a retention setting.
type Event struct {
	ID       string `db:"id"`
	At       Time   `db:"at"`
	Kind     string `db:"kind"`
	UserID   string `db:"user_id"`
	ClientID string `db:"client_id"`
	IP       string `db:"ip"`
	Data     string `db:"data"` // JSON
}

const eventColumns = "id, at, kind, user_id, client_id, ip, data"

func (e *Event) fields() []any {
	return []any{&e.ID, &e.At, &e.Kind, &e.UserID, &e.ClientID, &e.IP, &e.Data}
}

var record = `INSERT INTO events (` + eventColumns + `) VALUES (` + marks(eventColumns) + `)`

// Record stores an event. ID and At are filled when not set; no Data is {}.
func (s *Store) Record(ctx context.Context, e *Event) error {
	if e.ID == "" {
		e.ID = newID()
	}
	if e.At.IsZero() {
		e.At = At(s.now(ctx))
	}
	if e.Data == "" {
		e.Data = "{}"
	}
	_, err := s.exec(ctx, record, e.fields()...)
	return err
}

const eventsOf = `SELECT ` + eventColumns + ` FROM events WHERE user_id = ? AND user_id <> '' ORDER BY at DESC, id DESC LIMIT ?`

// EventsOf returns the n newest events of a user.
func (s *Store) EventsOf(ctx context.Context, userID string, n int) ([]Event, error) {
	return many[Event](ctx, s, eventsOf, userID, n)
}
