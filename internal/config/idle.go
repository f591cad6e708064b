package config

import (
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// checkIdle bounds what removes accounts: no typing mistake may cost somebody theirs within days.
func (r *reader) checkIdle(exists func(path, name string) bool, powers privilege.Powers) {
	const day, path = 24 * time.Hour, "accounts.idle"
	at := func(key string) string { return join(path, key) }
	if g := r.cfg.Accounts.DeletionGrace; g < 0 || g > 90*day {
		r.problem("accounts.deletion_grace", "must be between 0s and 90d")
	}
	i := r.cfg.Accounts.Idle
	graph, err := privilege.NewGraph(r.definitions())
	r.list(at("privileges"), i.Privileges, func(p, n string) {
		if exists(p, n) && err == nil && powers.Administers(graph.Closure(n)) {
			r.problem(p, "%s brings power over other people's accounts; nobody who has that is ever removed", r.show(p, n))
		}
	})
	least := func(d time.Duration) time.Duration {
		if r.production() {
			return d
		}
		return time.Millisecond // so that one can watch it
	}
	r.duration(at("warn_before"), i.WarnBefore, least(7*day), 365*day)
	if i.RemoveAfter == 0 {
		return
	}
	r.duration(at("remove_after"), i.RemoveAfter, least(30*day), 20*365*day)
	if i.WarnBefore > i.RemoveAfter/2 && !r.spoilt[at("warn_before")] && !r.spoilt[at("remove_after")] {
		r.problem(at("warn_before"), "is %s; it can be at most half of remove_after, %s", formatDuration(i.WarnBefore), formatDuration(i.RemoveAfter/2))
	}
	if !r.cfg.Mail.On() {
		r.problem(at("remove_after"), "needs the block mail: nobody's account is removed without a warning")
	}
}
