package config

import "time"

func (r *reader) checkInvites(exists func(path, name string) bool) {
	r.duration("invites.lifetime", r.cfg.Invites.Lifetime, time.Hour, 30*24*time.Hour)
	r.list("invites.two_approvals", r.cfg.Invites.TwoApprovals, func(p, n string) { exists(p, n) })
}
