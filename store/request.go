package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// PrivilegeRequest is somebody's wish for a privilege they do not hold (R108). It is decided once.
type PrivilegeRequest struct {
	ID        string `db:"id"`
	UserID    string `db:"user_id"`
	Privilege string `db:"privilege"`
	Reason    string `db:"reason"` // in the person's words
	CreatedAt Time   `db:"created_at"`
	ExpiresAt Time   `db:"expires_at"`
	DecidedAt Time   `db:"decided_at"`
	DecidedBy string `db:"decided_by"`
	Decision  string `db:"decision"`    // what became of it; "" = open, or expired and not yet asked anew
	Note      string `db:"note"`        // in the words of who decided
	Until     Time   `db:"valid_until"` // of an approval with an end
}

// What may become of a request.
const (
	RequestApproved  = "approved"
	RequestRefused   = "refused"
	RequestWithdrawn = "withdrawn"
	RequestExpired   = "expired"
	RequestClosed    = "closed" // the person was disabled or erased, or the privilege is gone
)

const (
	// RequestLife is how long a request waits for somebody.
	RequestLife = 30 * 24 * time.Hour
	// MaxRequestText is how many characters a reason or a note has at most.
	MaxRequestText = 500
)

// Errors of requests, beside those of the gate.
var (
	// ErrHeld: the person holds the privilege already. It is an ErrConflict.
	ErrHeld = fmt.Errorf("the privilege is held already: %w", ErrConflict)
	// ErrAsked: a request for the same is open. It is an ErrConflict.
	ErrAsked = fmt.Errorf("asked for already: %w", ErrConflict)
)

// State is Decision, or RequestExpired for one that nobody decided in time; "" = open.
func (r *PrivilegeRequest) State(now time.Time) string {
	if r.Decision == "" && !now.Before(r.ExpiresAt.Time) {
		return RequestExpired
	}
	return r.Decision
}

const requestColumns = "id, user_id, privilege, reason, created_at, expires_at, decided_at, decided_by, decision, note, valid_until"

var insertRequest = insertInto("privilege_requests", requestColumns)

const (
	requestByID = `SELECT ` + requestColumns + ` FROM privilege_requests WHERE id = ?`
	openRequest = `SELECT COUNT(*) FROM privilege_requests WHERE privilege = ? AND user_id = ? AND decided_at IS NULL`
	// A request that ran out ends when it did, not when somebody notices.
	endExpired = `UPDATE privilege_requests SET decided_at = expires_at, decided_by = 'system', decision = 'expired'
WHERE privilege = ? AND user_id = ? AND decided_at IS NULL AND expires_at <= ?`
	withdrawRequest = `UPDATE privilege_requests SET decided_at = ?, decided_by = user_id, decision = 'withdrawn'
WHERE id = ? AND user_id = ? AND decided_at IS NULL AND expires_at > ?`
	decideRequest = `UPDATE privilege_requests SET decided_at = ?, decided_by = ?, decision = ?, note = ?, valid_until = ?
WHERE id = ? AND decided_at IS NULL AND expires_at > ?`
	closeRequestsOf  = `UPDATE privilege_requests SET decided_at = ?, decided_by = ?, decision = 'closed' WHERE user_id = ? AND decided_at IS NULL`
	closeRequestsFor = `UPDATE privilege_requests SET decided_at = ?, decided_by = ?, decision = 'closed' WHERE privilege = ? AND decided_at IS NULL`
	eraseRequestsOf  = `UPDATE privilege_requests SET reason = '', note = '' WHERE user_id = ?`
)

// requestText refuses what no page would show whole.
func requestText(field, text string) error {
	if utf8.RuneCountInString(text) > MaxRequestText || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return invalid(field, fmt.Sprintf("more than %d characters, or no text", MaxRequestText))
	}
	return nil
}

// mayAsk says whether a privilege is one that people may ask for.
func (m *Model) mayAsk(p *Privilege) bool { return p.Requestable && m.Graph.CanAsk(p.Name) }

// MayAskFor are the privileges a person may ask for now, in the order of their names: those marked as such that they neither hold nor wait for.
// Somebody who may change nothing may ask for nothing (R85).
func (s *Store) MayAskFor(ctx context.Context, userID string) ([]Privilege, error) {
	l, err := s.livePerson(ctx, userID)
	if err != nil {
		return nil, err
	}
	m, err := s.Model(ctx)
	if err != nil {
		return nil, err
	}
	if m.ReadOnly(&l.User) {
		return nil, nil
	}
	all, err := s.Privileges(ctx)
	if err != nil {
		return nil, err
	}
	asked, err := s.RequestsOf(ctx, userID, manyRequests)
	if err != nil {
		return nil, err
	}
	now := s.now(ctx)
	held := m.Effective(l, At(now))
	return slices.DeleteFunc(all, func(p Privilege) bool {
		return !m.mayAsk(&p) || slices.Contains(held, p.Name) ||
			slices.ContainsFunc(asked, func(r PrivilegeRequest) bool { return r.Privilege == p.Name && r.State(now) == "" })
	}), nil
}

// AskPrivilege notes that a person asks for a privilege. ErrNotFound for what there is not, and alike for what nobody may ask for; ErrHeld, ErrAsked;
// ErrForbidden for somebody inactive or read-only (R85); ErrInvalid for a reason too long. Audited, without the reason: that is the
// person's to take away.
func (s *Store) AskPrivilege(ctx context.Context, userID, name, reason string) (*PrivilegeRequest, error) {
	reason = strings.TrimSpace(reason)
	if err := requestText("reason", reason); err != nil {
		return nil, err
	}
	var asked *PrivilegeRequest
	err := s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, gate); err != nil { // else an account that is shut at this moment would keep a request
			return err
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		l, err := s.livePerson(ctx, userID)
		if err != nil {
			return err
		}
		now := s.now(ctx)
		if !l.User.Active(now) || m.ReadOnly(&l.User) {
			return fmt.Errorf("store: asks for a privilege: %w", ErrForbidden)
		}
		if !m.Graph.Has(name) { // it may be anything: PostgreSQL takes no NUL
			return errNotFound("privilege")
		}
		p, err := one[Privilege](ctx, s, "privilege", privilegeNamed, name)
		if err != nil {
			return err
		}
		if !m.mayAsk(p) {
			return errNotFound("privilege")
		}
		if slices.Contains(m.Effective(l, At(now)), name) {
			return fmt.Errorf("store: %w", ErrHeld)
		}
		if _, err := s.exec(ctx, endExpired, name, userID, At(now)); err != nil {
			return err
		}
		switch n, _, err := value[int64](ctx, s, openRequest, name, userID); {
		case err != nil:
			return err
		case n > 0:
			return fmt.Errorf("store: %w", ErrAsked)
		}
		r := PrivilegeRequest{ID: newID(), UserID: userID, Privilege: name, Reason: reason, CreatedAt: At(now), ExpiresAt: At(now.Add(RequestLife))}
		if _, err := s.named(ctx, insertRequest, &r); err != nil {
			return err
		}
		asked = &r
		return s.Audit(ctx, userID, "request.ask", "user:"+userID, map[string]string{"privilege": name, "request": r.ID})
	})
	return asked, err
}

// WithdrawRequest takes back one's own request. ErrNotFound also for somebody else's (security.md G6), ErrUsed for one that is decided, ErrExpired,
// ErrForbidden for somebody inactive or read-only.
func (s *Store) WithdrawRequest(ctx context.Context, userID, id string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		r, err := s.PrivilegeRequest(ctx, id)
		if err != nil {
			return err
		}
		if r.UserID != userID {
			return errNotFound("request")
		}
		l, err := s.livePerson(ctx, userID)
		if err != nil {
			return err
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		now := s.now(ctx)
		if !l.User.Active(now) || m.ReadOnly(&l.User) {
			return fmt.Errorf("store: withdraws a request: %w", ErrForbidden)
		}
		n, err := s.exec(ctx, withdrawRequest, At(now), id, userID, At(now))
		if err := changed(n, err, r.over(now)); err != nil {
			return err
		}
		return s.Audit(ctx, userID, "request.withdraw", "user:"+userID, map[string]string{"privilege": r.Privilege, "request": id})
	})
}

// over is why nothing can be done with a request any more.
func (r *PrivilegeRequest) over(now time.Time) error {
	if r.State(now) == RequestExpired {
		return fmt.Errorf("store: request: %w", ErrExpired)
	}
	return fmt.Errorf("store: request: %w", ErrUsed)
}

// Decision is what somebody makes of a request.
type Decision struct {
	Approve bool
	Note    string // for the person who asked
	Until   Time   // of an approval; zero = for good
}

// DecideRequest approves or refuses a request, once. Approving gives the privilege through the gate in the same transaction; refusing needs the same
// power, and nobody decides their own (security.md G12). ErrForbidden comes before all that would tell of the request: ErrUsed, ErrExpired. ErrInvalid
// for the note, and for an end that the gate refuses. Audited.
func (s *Store) DecideRequest(ctx context.Context, actor, id string, d Decision) (*PrivilegeRequest, error) {
	d.Note = strings.TrimSpace(d.Note)
	if err := requestText("note", d.Note); err != nil {
		return nil, err
	}
	var decided *PrivilegeRequest
	err := s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		r, err := s.PrivilegeRequest(ctx, id)
		if err != nil {
			return err
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		a, err := s.actor(ctx, m, actor, privilege.EditUserPrivilege)
		if err != nil {
			return err
		}
		l, err := s.Live(ctx, r.UserID)
		if err != nil {
			return err
		}
		if err := s.mayDecide(ctx, m, a, actor, r, l); err != nil {
			return err
		}
		now := s.now(ctx)
		if r.State(now) != "" {
			return r.over(now)
		}
		r.Decision, r.DecidedAt, r.DecidedBy, r.Note, r.Until = RequestRefused, At(now), actor, d.Note, Time{}
		if d.Approve {
			r.Decision, r.Until = RequestApproved, d.Until
		}
		n, err := s.exec(ctx, decideRequest, r.DecidedAt, r.DecidedBy, r.Decision, r.Note, r.Until, id, At(now))
		if err := changed(n, err, fmt.Errorf("store: request: %w", ErrUsed)); err != nil {
			return err
		}
		if d.Approve {
			given := Assignment{UserID: r.UserID, Privilege: r.Privilege, Reason: d.Note, Until: d.Until, Source: SourceRequest, SourceRef: id}
			if err := s.Assign(ctx, actor, &given); err != nil {
				return err
			}
		}
		decided = r
		action := "request.refuse"
		if d.Approve {
			action = "request.approve"
		}
		return s.Audit(ctx, actor, action, "user:"+r.UserID, map[string]any{"privilege": r.Privilege, "request": id, "until": r.Until})
	})
	return decided, err
}

// mayDecide asks the gate, on paper: may this actor give the person what they ask for?
func (s *Store) mayDecide(ctx context.Context, m *Model, a privilege.Actor, actorID string, r *PrivilegeRequest, l *Live) error {
	if actorID == r.UserID {
		return forbidden(privilege.ErrSelf)
	}
	if !m.Graph.Has(r.Privilege) { // which would move nothing, and so be anybody's
		return errNotFound("request")
	}
	now := s.now(ctx)
	return forbidden(m.Graph.Allowed(a, privilege.Effect{Before: m.Graph.Effective(l.holdings(), now), Moved: m.Graph.Closure(r.Privilege),
		After: m.Graph.Effective(append(l.holdings(), privilege.Holding{Privilege: r.Privilege}), now)}))
}

const (
	openRequests  = `SELECT ` + requestColumns + ` FROM privilege_requests WHERE decided_at IS NULL AND expires_at > ? ORDER BY expires_at, id LIMIT ?`
	openRequests2 = `SELECT ` + requestColumns + ` FROM privilege_requests WHERE decided_at IS NULL AND expires_at > ?
  AND (expires_at, id) > (SELECT a.expires_at, a.id FROM privilege_requests a WHERE a.id = ?) ORDER BY expires_at, id LIMIT ?`
)

// openAfter is a page of open requests, whoever may decide them, in the order in which they run out, which is that in which they were made. after is the
// id of the one before, "" = from the first.
func (s *Store) openAfter(ctx context.Context, after string, n int) ([]PrivilegeRequest, error) {
	now := At(s.now(ctx))
	if after != "" && !isID(after) {
		return nil, nil
	}
	if after == "" {
		return many[PrivilegeRequest](ctx, s, openRequests, now, n)
	}
	return many[PrivilegeRequest](ctx, s, openRequests2, now, after, n)
}

// manyRequests is a page of what is read at once.
const manyRequests = 200

// OpenRequests are those that an actor may decide, or could if they were not read-only (R85), oldest first: up to n after the one with the id after.
// What somebody may not decide is neither shown to them nor counted (security.md G13). more says that there are others.
func (s *Store) OpenRequests(ctx context.Context, actor, after string, n int) (list []PrivilegeRequest, more bool, err error) {
	return s.openRequestsFor(ctx, actor, after, n, 0)
}

// openRequestsFor is OpenRequests that looks at no more than so many rows, 0 = all.
func (s *Store) openRequestsFor(ctx context.Context, actor, after string, n, rows int) (list []PrivilegeRequest, more bool, err error) {
	m, err := s.Model(ctx)
	if err != nil {
		return nil, false, err
	}
	a, _, err := s.reader(ctx, m, actor, privilege.EditUserPrivilege)
	if errors.Is(err, ErrForbidden) || err == nil && !a.Operator && !a.MayPass {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for looked := 0; ; {
		page, err := s.openAfter(ctx, after, manyRequests)
		if err != nil {
			return nil, false, err
		}
		for i := range page {
			r := &page[i]
			after = r.ID
			if !a.Operator && m.Graph.CanAssign(a.Effective, r.Privilege) != nil {
				continue // whoever they are: nobody has to be looked up
			}
			l, err := s.Live(ctx, r.UserID)
			if err != nil {
				return nil, false, err
			}
			if s.mayDecide(ctx, m, a, actor, r, l) != nil {
				continue
			}
			if len(list) == n {
				return list, true, nil
			}
			list = append(list, *r)
		}
		if len(page) < manyRequests {
			return list, false, nil
		}
		if looked += len(page); rows > 0 && looked >= rows {
			return list, true, nil
		}
	}
}

// CountOpenRequests counts those that an actor may decide, up to most, among the oldest two hundred of all: the number stands on every page of
// administration, and strangers who ask for much must not make each of them slow.
func (s *Store) CountOpenRequests(ctx context.Context, actor string, most int) (int, error) {
	list, _, err := s.openRequestsFor(ctx, actor, "", most, manyRequests)
	return len(list), err
}

// PrivilegeRequest reads one, whatever became of it. ErrNotFound.
func (s *Store) PrivilegeRequest(ctx context.Context, id string) (*PrivilegeRequest, error) {
	if !isID(id) {
		return nil, errNotFound("request")
	}
	return one[PrivilegeRequest](ctx, s, "request", requestByID, id)
}

// isID says whether a text has the form of newID. One from a form or an address may be anything, and PostgreSQL takes neither NUL nor what is not UTF-8.
func isID(s string) bool {
	return len(s) == 26 && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') })
}

const requestsOf = `SELECT ` + requestColumns + ` FROM privilege_requests WHERE user_id = ? ORDER BY created_at DESC, id DESC LIMIT ?`

// RequestsOf are the n newest requests of a person, whatever became of them. Those decided go with the events of their time.
func (s *Store) RequestsOf(ctx context.Context, userID string, n int) ([]PrivilegeRequest, error) {
	return many[PrivilegeRequest](ctx, s, requestsOf, userID, n)
}

var errNoRequest = invalid("requestable", "nobody may ask for cron, or for what brings admin")

const setRequestable = `UPDATE privileges SET requestable = ?, updated_at = ? WHERE name = ? AND deleted_at IS NULL`

// SetRequestable says whether people may ask for a privilege. ErrNotFound, ErrForbidden as for DescribePrivilege, ErrInvalid for one that
// nobody may be let ask for (cron, and what brings admin). Audited; nothing is written where nothing changes.
func (s *Store) SetRequestable(ctx context.Context, actor, name string, yes bool) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.mayDefine(ctx, actor, name); err != nil {
			return err
		}
		p, err := one[Privilege](ctx, s, "privilege", privilegeNamed, name)
		if err != nil {
			return err
		}
		if _, node := privilege.TypeOf(name); node {
			return errNotFound("privilege")
		}
		if err := p.editable(actor); err != nil {
			return err
		}
		if p.Requestable == yes {
			return nil
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		// What the file says was checked with the file. What an administrator made of it since is asked when somebody asks.
		if yes && actor != "system" && !m.Graph.CanAsk(name) {
			return errNoRequest
		}
		if _, err := s.exec(ctx, setRequestable, yes, At(s.now(ctx)), name); err != nil {
			return err
		}
		if err := s.Audit(ctx, actor, "privilege.set_requestable", "privilege:"+name, map[string]bool{"requestable": yes}); err != nil {
			return err
		}
		return s.changed(ctx)
	})
}
