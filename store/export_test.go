package store

import (
	"context"
	"fmt"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// LimitPages makes the database full once it has grown by n pages.
func LimitPages(s *Store, n int) error {
	return s.writer.do(context.Background(), true, func(on runner) error {
		rows, err := on.query(context.Background(), "PRAGMA page_count", nil)
		if err != nil {
			return err
		}
		var have int
		for rows.Next() {
			if err := rows.Scan(&have); err != nil {
				return err
			}
		}
		if err := rows.Close(); err != nil {
			return err
		}
		_, err = on.exec(context.Background(), fmt.Sprintf("PRAGMA max_page_count = %d", have+n), nil)
		return err
	})
}

// Forget drops what is kept in memory, as a change by another process does.
func (s *Store) Forget() { s.cache.drop(0, true) }

// EachHolder reads in parts of a size that a test can fill.
func (s *Store) EachHolder(ctx context.Context, touched, names []string, n int, each func(user, held string) error) error {
	return s.eachHolder(ctx, touched, names, n, each)
}

// KeepSnapshot does what Watch does when the definitions changed.
func (s *Store) KeepSnapshot(ctx context.Context) error { return s.keepSnapshot(ctx) }

// Snapshot is the graph of the snapshot, nil when there is none that is of now and whole.
func (s *Store) Snapshot(ctx context.Context) (*privilege.Graph, error) { return s.snapshot(ctx) }

// GraphNow is what a transaction would decide on.
func (s *Store) GraphNow(ctx context.Context) (*privilege.Graph, error) { return s.graph(ctx) }

// GraphPast reads past the snapshot.
func (s *Store) GraphPast(ctx context.Context) (*privilege.Graph, error) {
	g, _, err := s.readGraph(ctx)
	return g, err
}
