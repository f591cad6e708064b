package store

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// leads says of a name which of the moved privileges it leads to: bits by their places. Only of a touched name it differs before and after an edit;
// of all others same is both.
type leads struct{ same, before, after []uint64 }

// weigh adds up what an edit does to everybody who holds something of touched: one look per assignment, and no list of closures per person. none is nil
// where it makes no difference who holds nothing.
func (s *Store) weigh(ctx context.Context, before, after *privilege.Graph, touched, moved []string, none *nothing, out *Impact) error {
	words := (len(moved) + 63) / 64
	of, then := map[string]leads{}, after.Reach(moved)
	for n, b := range before.Reach(moved) {
		of[n] = leads{same: b}
	}
	for _, n := range touched {
		of[n] = leads{before: of[n].same, after: then[n]}
	}
	row := func() []uint64 { return make([]uint64, words) }
	l, gained, lost := leads{row(), row(), row()}, row(), row()
	var people, gain, lose int
	count := func() (any bool) {
		var more, less uint64
		for w, same := range l.same {
			g, d := l.after[w]&^l.before[w]&^same, l.before[w]&^l.after[w]&^same
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
	add := func(name string) {
		to := of[name]
		or(l.same, to.same)
		or(l.before, to.before)
		or(l.after, to.after)
	}
	asUser := of[userPrivilege]
	stage := func(names []string) bool {
		clear(l.same)
		clear(l.before)
		clear(l.after)
		for _, name := range names {
			add(name)
		}
		if none != nil && all(names, none.before) {
			or(l.before, asUser.same)
			or(l.before, asUser.before)
		}
		if none != nil && all(names, none.after) {
			or(l.after, asUser.same)
			or(l.after, asUser.after)
		}
		return count()
	}
	var names []string
	if none == nil {
		names = slices.Collect(maps.Keys(of)) // what leads to nothing that moves has no say
	}
	var now, waits []string
	err := s.eachHolder(ctx, touched, names, atOnce, func(_ string, held string) error {
		now, waits = now[:0], waits[:0]
		for name := range strings.SplitSeq(held, " ") {
			if n, begins := strings.CutPrefix(name, later); begins {
				waits = append(waits, n)
			} else {
				now = append(now, strings.TrimPrefix(name, ending))
			}
		}
		if !stage(now) && len(waits) > 0 { // nothing today, then when all has begun
			stage(append(now, waits...))
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

// or adds bits to sum. more is as long, or nil.
func or(sum, more []uint64) {
	if len(more) == 0 {
		return
	}
	sum = sum[:len(more)]
	for w, b := range more {
		sum[w] |= b
	}
}

// atOnce is how many people one statement of eachHolder reads: few enough for the patience that PostgreSQL has with one, and for the parameters it
// may have, however many people there are.
const atOnce = 2000

// holder is what somebody holds, now or later: names in one text, with later before what begins later and ending before
// what does not last.
type holder struct{ userID, held string }

func (h *holder) fields() []any { return []any{&h.userID, &h.held} }

// onlyID is a row of one id.
type onlyID string

func (u *onlyID) fields() []any { return []any{(*string)(u)} }

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
	for after := ""; ; {
		var args []any
		query := `SELECT DISTINCT user_id FROM assignments WHERE ended_at IS NULL` + in(&args, "privilege", touched) + ` AND user_id > ? ORDER BY user_id LIMIT ?`
		ids, err := many[onlyID](ctx, s, query, append(args, after, n)...)
		if err != nil || len(ids) == 0 {
			return err
		}
		// By their ids: PostgreSQL would rather walk through everybody between the first and the last.
		args = []any{now, now}
		for _, id := range ids {
			args = append(args, string(id))
		}
		query = `SELECT user_id, STRING_AGG(CASE WHEN valid_from > ? THEN '` + later + `' WHEN valid_until IS NULL THEN '' ELSE '` + ending + `' END || privilege, ' ') FROM assignments
WHERE ended_at IS NULL AND (valid_until IS NULL OR valid_until > ?) AND user_id IN (?` + strings.Repeat(`, ?`, len(ids)-1) + `)` +
			in(&args, "privilege", names) + ` GROUP BY user_id ORDER BY user_id`
		people, err := many[holder](ctx, s, query, args...)
		if err != nil {
			return err
		}
		for _, h := range people {
			if err := each(h.userID, h.held); err != nil {
				return err
			}
		}
		after = string(ids[len(ids)-1])
	}
}
