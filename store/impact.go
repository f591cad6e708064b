package store

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// leads says of a name which of the moved privileges it leads to, before and after an edit: bits by their places.
type leads struct{ before, after []uint64 }

// weigh adds up what an edit does to everybody who holds something of touched: one look per assignment, and no list of names per person.
func (s *Store) weigh(ctx context.Context, before, after *privilege.Graph, touched, moved []string, out *Impact) error {
	words := (len(moved) + 63) / 64
	of := map[string]leads{}
	for n, b := range before.Reach(moved) {
		of[n] = leads{before: b}
	}
	for n, a := range after.Reach(moved) {
		of[n] = leads{of[n].before, a}
	}
	row := func() leads { return leads{make([]uint64, words), make([]uint64, words)} }
	now, all, gained, lost := row(), row(), make([]uint64, words), make([]uint64, words)
	var people, gain, lose int
	count := func(l leads) (any bool) {
		var more, less uint64
		for w := range l.before {
			g, d := l.after[w]&^l.before[w], l.before[w]&^l.after[w]
			more, less = more|g, less|d
			gained[w], lost[w] = gained[w]|g, lost[w]|d
		}
		if more|less == 0 {
			return false
		}
		people++
		if more != 0 {
			gain++
		}
		if less != 0 {
			lose++
		}
		return true
	}
	add := func(to, l leads) {
		for w, b := range l.before {
			to.before[w] |= b
		}
		for w, a := range l.after {
			to.after[w] |= a
		}
	}
	names := slices.Collect(maps.Keys(of)) // what leads to nothing that moves has no say
	err := s.eachHolder(ctx, touched, names, atOnce, func(_ string, held string) error {
		for _, l := range []leads{now, all} {
			clear(l.before)
			clear(l.after)
		}
		for name := range strings.SplitSeq(held, " ") {
			name, waits := strings.CutPrefix(name, later)
			l := of[name]
			if add(all, l); !waits {
				add(now, l)
			}
		}
		if !count(now) {
			count(all) // not today, then when all has begun
		}
		return nil
	})
	if err != nil {
		return err
	}
	out.People, out.Gain, out.Lose = people, gain, lose
	for i, m := range moved {
		if gained[i/64]&(1<<(i%64)) != 0 {
			out.Gained = append(out.Gained, m)
		}
		if lost[i/64]&(1<<(i%64)) != 0 {
			out.Lost = append(out.Lost, m)
		}
	}
	slices.Sort(out.Gained)
	slices.Sort(out.Lost)
	return nil
}

// atOnce is how many people one statement of eachHolder reads: few enough for the patience that PostgreSQL has with one, however many there are.
const atOnce = 5000

// holder is what somebody holds, now or later: names in one text, with later before what begins later.
type holder struct{ userID, held string }

func (h *holder) fields() []any { return []any{&h.userID, &h.held} }

// eachHolder hands everybody who holds something of touched, now or later, with what they hold of names (nil = all), in the order of their ids. It
// reads them in parts of n people: outside of a transaction each is of its own moment.
func (s *Store) eachHolder(ctx context.Context, touched, names []string, n int, each func(user, held string) error) error {
	if len(touched) == 0 {
		return nil
	}
	in := func(args *[]any, column string, list []string) string {
		if list == nil || len(list) > manyNames {
			return ""
		}
		for _, n := range list {
			*args = append(*args, n)
		}
		return ` AND ` + column + ` IN (?` + strings.Repeat(`, ?`, len(list)-1) + `)`
	}
	now := At(s.now(ctx))
	for after, more := "", true; more; {
		var args []any
		query := `SELECT DISTINCT t.user_id FROM assignments t WHERE t.ended_at IS NULL` + in(&args, "t.privilege", touched) + ` AND t.user_id > ? ORDER BY t.user_id LIMIT 1 OFFSET ?`
		last, full, err := value[string](ctx, s, query, append(args, after, n-1)...)
		if err != nil {
			return err
		}
		within := func(args *[]any, column string) string {
			*args = append(*args, after)
			if !full {
				return ` AND ` + column + ` > ?`
			}
			*args = append(*args, last)
			return ` AND ` + column + ` > ? AND ` + column + ` <= ?`
		}
		args = []any{now, now}
		query = `SELECT a.user_id, STRING_AGG(CASE WHEN a.valid_from > ? THEN '` + later + `' || a.privilege ELSE a.privilege END, ' ') FROM assignments a
WHERE a.ended_at IS NULL AND (a.valid_until IS NULL OR a.valid_until > ?)` + within(&args, "a.user_id") + in(&args, "a.privilege", names)
		if len(touched) <= manyNames {
			query += ` AND a.user_id IN (SELECT t.user_id FROM assignments t WHERE t.ended_at IS NULL` + in(&args, "t.privilege", touched) + within(&args, "t.user_id") + `)`
		}
		people, err := many[holder](ctx, s, query+` GROUP BY a.user_id ORDER BY a.user_id`, args...)
		if err != nil {
			return err
		}
		for _, h := range people {
			if err := each(h.userID, h.held); err != nil {
				return err
			}
		}
		after, more = last, full
	}
	return nil
}
