package store

import (
	"context"
	"fmt"
	"strings"
)

const (
	heldNow      = `SELECT privilege, COUNT(DISTINCT user_id) AS n FROM assignments WHERE ended_at IS NULL AND (valid_from IS NULL OR valid_from <= ?) AND (valid_until IS NULL OR valid_until > ?) GROUP BY privilege ORDER BY privilege`
	countHolders = `SELECT COUNT(DISTINCT user_id) FROM assignments WHERE ended_at IS NULL AND (valid_from IS NULL OR valid_from <= ?)
  AND (valid_until IS NULL OR valid_until > ?) AND privilege IN (?`
)

// HolderCounts is how many people were given each privilege themselves, and hold it now; user types by their nodes. What nobody holds is left out.
func (s *Store) HolderCounts(ctx context.Context) (map[string]int64, error) {
	now := At(s.now(ctx))
	rows, err := many[struct {
		Privilege string `db:"privilege"`
		N         int64  `db:"n"`
	}](ctx, s, heldNow, now, now)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int64, len(rows))
	for _, r := range rows {
		counts[r.Privilege] = r.N
	}
	return counts, nil
}

// CountHolders is how many people Holders lists: those who hold a privilege now, what includes it counted.
func (s *Store) CountHolders(ctx context.Context, name string) (int64, error) {
	g, err := s.Definitions(ctx)
	if err != nil {
		return 0, err
	}
	above := g.Above(name)
	if len(above) == 0 {
		return 0, fmt.Errorf("store: privilege %q: %w", name, ErrNotFound)
	}
	args := []any{At(s.now(ctx)), At(s.now(ctx))}
	for _, p := range above {
		args = append(args, p)
	}
	n, _, err := value[int64](ctx, s, countHolders+strings.Repeat(", ?", len(above)-1)+")", args...)
	return n, err
}
