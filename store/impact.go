package store

import (
	"context"
	"database/sql"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// maskBits is how many privileges a change may move to be weighed by bits: the rest is rare and goes the long way.
const maskBits = 64

// leads says of a name which of the moved privileges it leads to, before and after an edit, by their places.
type leads struct{ before, after uint64 }

// weighByBits groups everybody who holds something of touched by what the edit does to them, when it moves few privileges: one look per assignment, and
// no list of names per person.
func (s *Store) weighByBits(ctx context.Context, before, after *privilege.Graph, touched, moved []string, out *Impact) error {
	of := map[string]leads{}
	for i, m := range moved {
		for _, n := range before.Above(m) {
			l := of[n]
			l.before |= 1 << i
			of[n] = l
		}
		for _, n := range after.Above(m) {
			l := of[n]
			l.after |= 1 << i
			of[n] = l
		}
	}
	type effect struct{ gained, lost uint64 }
	counts := map[effect]int{}
	var user string
	var now, all leads
	flush := func() {
		if user == "" {
			return
		}
		e := effect{now.after &^ now.before, now.before &^ now.after}
		if e == (effect{}) { // not today, then when all has begun
			e = effect{all.after &^ all.before, all.before &^ all.after}
		}
		if e != (effect{}) {
			counts[e]++
		}
	}
	query, args := s.holdingsOf(ctx, touched)
	err := s.read(ctx, query, args, func(r *sql.Rows) error {
		user, now, all = "", leads{}, leads{}
		clear(counts)
		var id, name sql.RawBytes
		var waits int64
		for r.Next() {
			if err := r.Scan(&id, &name, &waits); err != nil {
				return err
			}
			if string(id) != user {
				flush()
				user, now, all = string(id), leads{}, leads{}
			}
			l := of[string(name)]
			all.before, all.after = all.before|l.before, all.after|l.after
			if waits == 0 {
				now.before, now.after = now.before|l.before, now.after|l.after
			}
		}
		flush()
		return r.Err()
	})
	if err != nil {
		return err
	}
	for e, n := range counts {
		var gained, lost []string
		for i, m := range moved {
			if e.gained&(1<<i) != 0 {
				gained = append(gained, m)
			}
			if e.lost&(1<<i) != 0 {
				lost = append(lost, m)
			}
		}
		out.Add(privilege.Effect{Before: lost, After: gained}, n)
	}
	return nil
}

// holdingsOf asks for what everybody holds, now or later, who holds something of touched; person by person.
func (s *Store) holdingsOf(ctx context.Context, touched []string) (string, []any) {
	now := At(s.now(ctx))
	query := `SELECT a.user_id, a.privilege, CASE WHEN a.valid_from > ? THEN 1 ELSE 0 END AS waits FROM assignments a
WHERE a.ended_at IS NULL AND (a.valid_until IS NULL OR a.valid_until > ?)`
	args := []any{now, now}
	if len(touched) <= manyNames {
		query += ` AND a.user_id IN (SELECT t.user_id FROM assignments t WHERE t.ended_at IS NULL AND t.privilege IN (?` + strings.Repeat(`, ?`, len(touched)-1) + `))`
		for _, n := range touched {
			args = append(args, n)
		}
	}
	return query + ` ORDER BY a.user_id`, args
}
