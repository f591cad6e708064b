package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	// idleEvery is how often accounts that nobody uses are looked for.
	idleEvery = time.Hour
	// idlePerRun bounds what one run does, of warnings and of removals each: a wrong setting is seen in the log before it has cost much, and a
	// mail server is not flooded.
	idlePerRun = 500
	idlePage   = 200
	idlePause  = 10 * time.Millisecond // between changes: each holds the gate, and requests wait for it
	// idleMailLife is how long a warning may wait for the mail server. The time it gives begins when it was sent.
	idleMailLife = 3 * 24 * time.Hour
)

// IdleStep is what is to be done about an account that nobody uses.
type IdleStep string

// The steps.
const (
	IdleUsed   IdleStep = "used"   // it is not idle, or not for long enough
	IdleKeep   IdleStep = "keep"   // never removed as things are: Why says why
	IdleWarn   IdleStep = "warn"   // a mail, now
	IdleWait   IdleStep = "wait"   // warned; or the warning is under way, or failed
	IdleRemove IdleStep = "remove" // erase it, now
)

// Reasons of IdleKeep and IdleWait. After holds stands the privilege.
const (
	idleAdministers = "has power over other accounts"
	idleHolds       = "holds "
	idleType        = "has a user type that is not there"
	idleNoAddress   = "has no proven e-mail address to warn"
	idleInactive    = "is disabled, not yet valid or no longer"
	idleWarned      = "was warned"
	idleUnsent      = "the warning waits to be sent"
	idleUndelivered = "the warning could not be delivered"
	idleNextRun     = "in the next run"
)

// idlePolicy is accounts.idle.
type idlePolicy struct {
	removeAfter, warnBefore time.Duration
	privileges              []string
}

func newIdlePolicy(c *config.Config) idlePolicy {
	i := c.Accounts.Idle
	return idlePolicy{i.RemoveAfter, i.WarnBefore, i.Privileges}
}

func (p idlePolicy) on() bool { return p.removeAfter > 0 }

// due is when an account may go: not used for remove_after, and warn_before after its warning was sent or is sent now.
func (p idlePolicy) due(last, sent time.Time) time.Time {
	due := last.Add(p.removeAfter)
	if after := sent.Add(p.warnBefore); after.After(due) {
		return after
	}
	return due
}

// decide is the whole rule, of facts alone. due is when a removal is due, of IdleWarn and IdleWait.
func (p idlePolicy) decide(u *store.Use, l *store.Live, m *store.Model, now time.Time) (step IdleStep, why string, due time.Time) {
	last := u.Last().Time
	if now.Before(last.Add(p.removeAfter - p.warnBefore)) {
		return IdleUsed, "", time.Time{}
	}
	switch at := store.At(now); {
	case !l.User.Active(now):
		return IdleKeep, idleInactive, time.Time{}
	case m.Administers(l, at):
		return IdleKeep, idleAdministers, time.Time{}
	}
	switch n := m.Beyond(l, store.At(now), p.privileges...); {
	case m.Type(l.User.UserType) == nil:
		return IdleKeep, idleType, time.Time{}
	case n != "":
		return IdleKeep, idleHolds + n, time.Time{}
	}
	if l.User.Email == "" || l.User.EmailVerifiedAt.IsZero() {
		return IdleKeep, idleNoAddress, time.Time{}
	}
	switch {
	case !u.Warned(l.User.EmailKey):
		return IdleWarn, "", p.due(last, now)
	case u.SentAt.IsZero() && u.Waits:
		return IdleWait, idleUnsent, u.DueAt.Time
	case u.SentAt.IsZero() && now.Before(u.WarnedAt.Add(p.warnBefore)):
		return IdleWait, idleUndelivered, u.DueAt.Time // and another one then: the mail server may have been down
	case u.SentAt.IsZero():
		return IdleWarn, "", p.due(last, now)
	}
	due = p.due(last, u.SentAt.Time)
	if u.DueAt.After(due) { // never before what the mail says
		due = u.DueAt.Time
	}
	if now.Before(due) {
		return IdleWait, idleWarned, due
	}
	return IdleRemove, "", due
}

// IdleAccount is an account that nobody used for long, and what a run does about it.
type IdleAccount struct {
	User    store.User
	Use     store.Use
	Step    IdleStep
	Why     string    // of IdleKeep and IdleWait, and of what a run did not get to
	Due     time.Time // when removal is due; zero = never
	Done    bool      // by this run
	Pending bool      // it is its turn, but a run does only so much
}

// idleRun warns and removes.
type idleRun struct {
	policy    idlePolicy
	store     *store.Store
	templates *templates.Set
	log       *slog.Logger
	now       func() time.Time
	actor     string
	dry       bool
	most      int // warnings, and removals
}

// each goes through everybody who was not used for long, the longest first, and hands them to tell after what was to be done is done.
func (r *idleRun) each(ctx context.Context, tell func(IdleAccount) error) error {
	m, err := r.store.Model(ctx)
	if err != nil {
		return err
	}
	left := map[IdleStep]int{IdleWarn: r.most, IdleRemove: r.most}
	cutoff := r.now().Add(r.policy.warnBefore - r.policy.removeAfter)
	var after *store.Use
	for {
		page, err := r.store.UnusedSince(ctx, cutoff, after, idlePage)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			after = &page[i]
			l, err := r.store.Live(ctx, after.UserID)
			if err != nil {
				return err
			}
			a := IdleAccount{User: l.User, Use: *after}
			a.Step, a.Why, a.Due = r.policy.decide(after, l, m, r.now())
			if a.Step == IdleUsed {
				continue
			}
			if err := r.act(ctx, &a, left); err != nil {
				return err
			}
			if err := tell(a); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}

// act does what is due, unless it is a dry run or the run has done its share.
func (r *idleRun) act(ctx context.Context, a *IdleAccount, left map[IdleStep]int) error {
	n, bounded := left[a.Step]
	switch {
	case bounded && n == 0:
		a.Pending, a.Why = true, idleNextRun
		return nil
	case bounded:
		left[a.Step]--
	}
	if r.dry {
		return nil
	}
	if !a.Use.SentAt.IsZero() { // the outbox forgets
		if err := r.store.NoteWarningSent(ctx, &a.Use); err != nil {
			return err
		}
	}
	var err error
	switch a.Step {
	case IdleWarn:
		a.Done, err = r.warn(ctx, a.User.ID)
	case IdleRemove:
		a.Done, err = r.remove(ctx, a.User.ID)
		if errors.Is(err, store.ErrLastAdmin) { // the rules above let no administrator through; the store's has the last word
			a.Step, a.Why, err = IdleKeep, idleAdministers, nil
		}
	default:
		return nil
	}
	if err == nil {
		select {
		case <-time.After(idlePause):
		case <-ctx.Done():
		}
	}
	return err
}

func (r *idleRun) warn(ctx context.Context, id string) (bool, error) {
	return r.store.WarnIdle(ctx, id, func(u *store.Use, l *store.Live, m *store.Model) (*store.Message, store.Time, error) {
		now := r.now()
		step, _, due := r.policy.decide(u, l, m, now)
		if step != IdleWarn {
			return nil, store.Time{}, nil
		}
		text, err := r.templates.Mail(l.User.Locale, templates.IdleMail{Since: u.Last().UTC(), Due: due.UTC(), SignInPath: login.SignInURL("")})
		if err != nil {
			return nil, store.Time{}, err
		}
		return &store.Message{Kind: "mail", Recipient: l.User.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML,
			ExpiresAt: store.At(now.Add(min(idleMailLife, r.policy.warnBefore)))}, store.At(due), nil
	})
}

func (r *idleRun) remove(ctx context.Context, id string) (bool, error) {
	return r.store.EraseIdle(ctx, r.actor, id, func(u *store.Use, l *store.Live, m *store.Model) bool {
		step, _, _ := r.policy.decide(u, l, m, r.now())
		return step == IdleRemove
	})
}

// idle is the background's run.
func (s *Server) idle(ctx context.Context) error {
	r := &idleRun{policy: newIdlePolicy(s.cfg), store: s.store, templates: s.templates, log: s.log, now: s.now, actor: "system", most: idlePerRun}
	return r.logged(ctx)
}

// logged is each for a log: who was removed by id, the rest as numbers.
func (r *idleRun) logged(ctx context.Context) error {
	var warned, removed, waiting int
	err := r.each(ctx, func(a IdleAccount) error {
		switch {
		case a.Done && a.Step == IdleRemove:
			removed++
			r.log.InfoContext(ctx, "removed an account that nobody used", "user", a.User.ID, "last_use", a.Use.Last().UTC().Format(time.RFC3339))
		case a.Done:
			warned++
		case a.Pending:
			waiting++
		}
		return nil
	})
	if warned+removed+waiting > 0 {
		r.log.InfoContext(ctx, "accounts that nobody uses", "warned", warned, "removed", removed, "left_for_the_next_run", waiting)
	}
	return err
}

// ErrIdleOff says that accounts.idle.remove_after is not set.
var ErrIdleOff = errors.New("accounts.idle.remove_after is not set, so no account is removed for not being used")

// Idle goes through the accounts that nobody used for long. Unless dry it does what is due, as the server does every hour.
func (c *Console) Idle(ctx context.Context, actor string, dry bool) ([]IdleAccount, error) {
	policy := newIdlePolicy(c.cfg)
	if !policy.on() {
		return nil, ErrIdleOff
	}
	set, err := pages(c.cfg, false)
	if err != nil {
		return nil, err
	}
	r := &idleRun{policy: policy, store: c.Store, templates: set, log: c.log, now: c.now, actor: actor, dry: dry, most: idlePerRun}
	list := []IdleAccount{}
	err = r.each(ctx, func(a IdleAccount) error {
		list = append(list, a)
		return nil
	})
	slices.SortStableFunc(list, func(x, y IdleAccount) int { return x.Use.Last().Compare(y.Use.Last().Time) })
	return list, err
}
