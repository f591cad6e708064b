package store

import (
	"context"
	"fmt"
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
