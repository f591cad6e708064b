package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Invite is an invitation to make one account, with what it is to hold. It goes
//
//	proposed ─▶ approved ─▶ sent ─▶ opened ─▶ accepted
//	    └─▶ declined          └───────┴─▶ (any of these) expired, revoked
//
// and each step is a conditional UPDATE, so that of two at once one is made.
type Invite struct {
	ID          string  `db:"id"`
	Email       string  `db:"email"`     // to whom its link is mailed; "" = a link for whoever it is handed to
	EmailKey    string  `db:"email_key"` // made by the store
	UserType    string  `db:"user_type"` // value; "" = that of newcomers
	Privileges  Strings `db:"privileges"`
	Message     string  `db:"message"`   // in the words of who invites
	ClientID    string  `db:"client_id"` // the application where the person goes on, "" = none
	Locale      string  `db:"locale"`    // of the mail
	State       string  `db:"state"`     // see StateAt, which knows of time
	Needs       int64   `db:"needs"`     // how many others must approve: 0 where the inviter could give it all, 2 for what two must agree to
	LifeMS      int64   `db:"life_ms"`   // how long its link is good
	CreatedAt   Time    `db:"created_at"`
	CreatedBy   string  `db:"created_by"`
	ApprovedAt  Time    `db:"approved_at"`
	ApprovedBy  string  `db:"approved_by"` // by whose right its privileges are given
	SecondBy    string  `db:"second_by"`   // who approved it too
	Note        string  `db:"note"`        // why it was declined
	TokenHash   string  `db:"token_hash"`  // of the newest link; "" = there is none
	Sends       int64   `db:"sends"`
	SentAt      Time    `db:"sent_at"`
	MessageID   string  `db:"message_id"` // the mail with the newest link
	OpenedAt    Time    `db:"opened_at"`
	BrowserHash string  `db:"browser_hash"` // where it was opened last
	ExpiresAt   Time    `db:"expires_at"`   // of the proposal, then of the link
	EndedAt     Time    `db:"ended_at"`
	EndedBy     string  `db:"ended_by"`
	UserID      string  `db:"user_id"`  // whose account it became
	Withheld    Strings `db:"withheld"` // what was not given any more when it was accepted: names of privileges, and "type:VALUE"
}

// States of an invitation.
const (
	InviteProposed = "proposed" // waits for approval
	InviteApproved = "approved" // has no link yet
	InviteSent     = "sent"
	InviteOpened   = "opened" // somebody goes on with it, in one browser
	InviteAccepted = "accepted"
	InviteDeclined = "declined"
	InviteExpired  = "expired"
	InviteRevoked  = "revoked"
)

const (
	// InviteLife is how long a link is good unless somebody says otherwise; MaxInviteLife is the most.
	InviteLife    = 7 * 24 * time.Hour
	MaxInviteLife = 30 * 24 * time.Hour
	// inviteWait is how long a proposal waits, and what is approved for its link.
	inviteWait = 30 * 24 * time.Hour
	// inviteOpen is how long an opened one goes on without its link: whoever uses the browser tomorrow does not inherit it.
	inviteOpen = time.Hour
	// MaxInvitesADay is how many links one person sends or proposes in a day, MaxInviteMails how many mails an address gets in one, over all
	// invitations (security.md: no means to flood a mailbox).
	MaxInvitesADay = 200
	MaxInviteMails = 5
	mostInvited    = 20 // privileges of one
)

// ErrInviteLimit: the inviter, or the address, had as many as a day may bring.
var ErrInviteLimit = errors.New("store: too many invitations")

// inviteSteps is the state machine: what may become of what.
var inviteSteps = map[string][]string{
	InviteProposed: {InviteApproved, InviteDeclined, InviteExpired, InviteRevoked},
	InviteApproved: {InviteSent, InviteExpired, InviteRevoked},
	InviteSent:     {InviteSent, InviteOpened, InviteExpired, InviteRevoked},
	InviteOpened:   {InviteOpened, InviteSent, InviteAccepted, InviteExpired, InviteRevoked},
}

// InviteMay says whether an invitation in one state may become another.
func InviteMay(from, to string) bool { return slices.Contains(inviteSteps[from], to) }

// before are the states from which one is reached, for a condition in SQL: names of ours, with no need to be quoted.
func before(to string) string {
	var list []string
	for _, from := range []string{InviteProposed, InviteApproved, InviteSent, InviteOpened} {
		if InviteMay(from, to) {
			list = append(list, "'"+from+"'")
		}
	}
	return "state IN (" + strings.Join(list, ", ") + ")"
}

// StateAt is what an invitation is at a moment: one whose time is over has expired, whether or not somebody wrote that down.
func (i *Invite) StateAt(now time.Time) string {
	if InviteMay(i.State, InviteExpired) && !now.Before(i.ExpiresAt.Time) {
		return InviteExpired
	}
	return i.State
}

// Open says whether anything can still become of it.
func (i *Invite) Open(now time.Time) bool { return len(inviteSteps[i.StateAt(now)]) > 0 }

const inviteColumns = "id, email, email_key, user_type, privileges, message, client_id, locale, state, needs, life_ms, created_at, created_by, approved_at, approved_by, second_by, note, " +
	"token_hash, sends, sent_at, message_id, opened_at, browser_hash, expires_at, ended_at, ended_by, user_id, withheld"

var insertInvite = insertInto("invites", inviteColumns)

const (
	// One that ran out ends when it did, not when somebody notices.
	endOverdueInvite = `UPDATE invites SET state = 'expired', ended_at = expires_at, ended_by = 'system', token_hash = '', browser_hash = ''
WHERE email_key = ? AND email_key <> '' AND ended_at IS NULL AND expires_at <= ?`
	openInviteFor = `SELECT COUNT(*) FROM invites WHERE email_key = ? AND email_key <> '' AND ended_at IS NULL`
	invitesBy     = `SELECT CAST(COALESCE(SUM(CASE WHEN sends > 1 THEN sends ELSE 1 END), 0) AS BIGINT) FROM invites WHERE created_by = ? AND created_at > ?`
	invitesTo     = `SELECT CAST(COALESCE(SUM(CASE WHEN sends > 1 THEN sends ELSE 1 END), 0) AS BIGINT) FROM invites WHERE email_key = ? AND created_at > ?`
)

// inviteText takes lines of a person, and nothing that no page or mail would show as such.
func inviteText(field, text string) error {
	if utf8.RuneCountInString(text) > MaxRequestText || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' }) {
		return invalid(field, fmt.Sprintf("more than %d characters, or no text", MaxRequestText))
	}
	return nil
}

// ProposeInvite makes an invitation by somebody who may invite. What the actor could give themselves is approved at once, unless two is set: then two
// others must agree to it. All else waits for somebody who could give it. It reads Email, UserType, Privileges, Message, ClientID, Locale and LifeMS, and
// fills the rest. A FieldError says which is unfit; ErrConflict for an address that has an account or an open invitation; ErrInviteLimit; ErrForbidden.
// Audited, without the address: that is in the row, which ends.
func (s *Store) ProposeInvite(ctx context.Context, actor string, i *Invite, two bool) error {
	next := Invite{ID: newID(), Email: strings.TrimSpace(i.Email), UserType: i.UserType, Message: strings.TrimSpace(i.Message), ClientID: i.ClientID, Locale: i.Locale, LifeMS: i.LifeMS}
	next.Privileges = slices.Compact(slices.Sorted(slices.Values(i.Privileges)))
	if next.LifeMS == 0 {
		next.LifeMS = InviteLife.Milliseconds()
	}
	if err := inviteText("message", next.Message); err != nil {
		return err
	}
	if life := time.Duration(next.LifeMS) * time.Millisecond; life < time.Minute || next.LifeMS > MaxInviteLife.Milliseconds() {
		return invalid("days", "the life of the link")
	}
	if len(next.Privileges) > mostInvited {
		return invalid("privileges", "too many")
	}
	var err error
	if next.EmailKey, err = emailKey(next.Email); err != nil {
		return err
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, gate); err != nil { // and two of one inviter are counted one after the other
			return err
		}
		m, err := s.model(ctx)
		if err != nil {
			return err
		}
		may, err := s.actor(ctx, m, actor, privilege.InviteUser)
		switch {
		case err != nil:
			return err
		case !may.Operator && !may.MayPass:
			return forbidden(fmt.Errorf("%w: %s", privilege.ErrNoPower, privilege.InviteUser))
		}
		if err := s.inviteFits(ctx, m, &next); err != nil {
			return err
		}
		now := At(s.now(ctx))
		if err := s.inviteRoom(ctx, actor, &next, now); err != nil {
			return err
		}
		next.CreatedAt, next.CreatedBy, next.ExpiresAt = now, actor, At(now.Add(inviteWait))
		next.State, next.Needs = InviteProposed, 1
		switch err := s.mayBack(ctx, m, actor, &next); {
		case err != nil && !gateSays(err):
			return err
		case two && !operator(actor):
			next.Needs = 2
		case err == nil:
			next.State, next.Needs, next.ApprovedAt, next.ApprovedBy = InviteApproved, 0, now, actor
		}
		if _, err := s.named(ctx, insertInvite, &next); err != nil {
			return err
		}
		fill(ctx, s, i, next)
		return s.Audit(ctx, actor, "invite.propose", "invite:"+next.ID, map[string]any{"privileges": next.Privileges, "type": next.UserType, "state": next.State})
	})
}

// inviteFits refuses what there is not.
func (s *Store) inviteFits(ctx context.Context, m *Model, i *Invite) error {
	if t := m.Type(i.UserType); i.UserType != "" && (t == nil || slices.Contains(t.Names, privilege.TypeAnonymous)) {
		return invalid("type", "no such type")
	}
	for _, name := range i.Privileges {
		if _, node := privilege.TypeOf(name); node || !m.Graph.Has(name) {
			return invalid("privileges", name)
		}
	}
	if slices.Contains(m.Graph.Closure(i.Privileges...), privilege.Cron) { // which nobody could approve
		return forbidden(privilege.ErrCron)
	}
	if i.ClientID == "" {
		return nil
	}
	if len(i.ClientID) > 200 || !utf8.ValidString(i.ClientID) || strings.ContainsRune(i.ClientID, 0) {
		return invalid("client", "no such application")
	}
	c, err := s.CachedClient(ctx, i.ClientID)
	if errors.Is(err, ErrNotFound) || err == nil && !c.DisabledAt.IsZero() {
		return invalid("client", "no such application")
	}
	return err
}

// inviteRoom refuses an address that is taken, and what is too much for a day.
func (s *Store) inviteRoom(ctx context.Context, actor string, i *Invite, now Time) error {
	day := At(now.Add(-24 * time.Hour))
	if !operator(actor) {
		switch n, _, err := value[int64](ctx, s, invitesBy, actor, day); {
		case err != nil:
			return err
		case n >= MaxInvitesADay:
			return ErrInviteLimit
		}
	}
	if i.EmailKey == "" {
		return nil
	}
	switch _, err := s.UserByLogin(ctx, i.Email); {
	case err == nil:
		return &FieldError{"email", "has an account", ErrConflict}
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if _, err := s.exec(ctx, endOverdueInvite, i.EmailKey, now); err != nil {
		return err
	}
	switch n, _, err := value[int64](ctx, s, openInviteFor, i.EmailKey); {
	case err != nil:
		return err
	case n > 0:
		return &FieldError{"email", "is invited", ErrConflict}
	}
	switch n, _, err := value[int64](ctx, s, invitesTo, i.EmailKey, day); {
	case err != nil:
		return err
	case n >= MaxInviteMails:
		return ErrInviteLimit
	}
	return nil
}

// gateSays tells a refusal of mayBack from trouble with the database.
func gateSays(err error) bool {
	return errors.Is(err, ErrForbidden) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrNotFound)
}

// mayBack asks the gate, on paper: could this actor make such an account, and give it all that? ErrForbidden, ErrInvalid for what they hold for a while.
func (s *Store) mayBack(ctx context.Context, m *Model, actorID string, i *Invite) error {
	who, err := s.actor(ctx, m, actorID, privilege.CreateUser)
	switch {
	case err != nil:
		return err
	case !who.Operator && !who.MayPass:
		return forbidden(fmt.Errorf("%w: %s", privilege.ErrNoPower, privilege.CreateUser))
	}
	giver, err := s.actor(ctx, m, actorID, privilege.EditUserPrivilege)
	if err != nil {
		return err
	}
	newcomer, err := s.newcomersType(ctx)
	if err != nil {
		return err
	}
	now := s.now(ctx)
	held := []privilege.Holding{{Privilege: privilege.TypeNode(newcomer)}}
	if i.UserType != "" && i.UserType != newcomer {
		if m.Type(i.UserType) == nil {
			return fmt.Errorf("store: user type: %w", ErrNotFound)
		}
		node := privilege.TypeNode(i.UserType)
		after := []privilege.Holding{{Privilege: node}}
		if err := forbidden(m.Graph.Allowed(giver, privilege.Effect{Before: m.Graph.Effective(held, now), After: m.Graph.Effective(after, now),
			Moved: m.Graph.Closure(privilege.TypeNode(newcomer), node), Power: true})); err != nil {
			return err
		}
		if err := s.allowForGood(ctx, m, actorID, m.Graph.Closure(node)...); err != nil {
			return err
		}
		held = after
	}
	for _, name := range i.Privileges {
		if !m.Graph.Has(name) { // which would move nothing, and so be anybody's
			return fmt.Errorf("store: privilege: %w", ErrNotFound)
		}
		after := append(slices.Clone(held), privilege.Holding{Privilege: name})
		if err := forbidden(m.Graph.Allowed(giver, privilege.Effect{Before: m.Graph.Effective(held, now), After: m.Graph.Effective(after, now),
			Moved: m.Graph.Closure(name), Power: true})); err != nil {
			return err
		}
		if err := s.allowUntil(ctx, m, actorID, name, Time{}); err != nil {
			return err
		}
		held = after
	}
	return nil
}

// over is why nothing can be done with an invitation any more.
func (i *Invite) over(now time.Time) error {
	if i.StateAt(now) == InviteExpired {
		return fmt.Errorf("store: invitation: %w", ErrExpired)
	}
	return fmt.Errorf("store: invitation: %w", ErrUsed)
}

// inviteFor reads one for somebody who may see it, with the gate's lock held: everybody's for whoever may create accounts, their own for whoever may
// invite. ErrNotFound for all others, as for what there is not (security.md G6).
func (s *Store) inviteFor(ctx context.Context, actor, id string) (*Model, *Invite, error) {
	if err := s.lock(ctx, gate); err != nil {
		return nil, nil, err
	}
	m, err := s.model(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, err := s.actor(ctx, m, actor, privilege.CreateUser)
	if err != nil {
		return nil, nil, err
	}
	own, err := s.actor(ctx, m, actor, privilege.InviteUser)
	if err != nil {
		return nil, nil, err
	}
	i, err := s.Invite(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if all.Operator || all.MayPass || own.MayPass && i.CreatedBy == actor {
		return m, i, nil
	}
	return nil, nil, errNotFound("invitation")
}

var (
	approveInvite = `UPDATE invites SET state = 'approved', approved_at = ?, approved_by = ?, second_by = ?, expires_at = ?
WHERE id = ? AND ` + before(InviteApproved) + ` AND approved_by = ? AND expires_at > ?`
	halfApprove   = `UPDATE invites SET approved_by = ? WHERE id = ? AND ` + before(InviteApproved) + ` AND approved_by = '' AND expires_at > ?`
	declineInvite = `UPDATE invites SET state = 'declined', note = ?, ended_at = ?, ended_by = ? WHERE id = ? AND ` + before(InviteDeclined) + ` AND expires_at > ?`
	revokeInvite  = `UPDATE invites SET state = 'revoked', ended_at = ?, ended_by = ?, token_hash = '', browser_hash = '' WHERE id = ? AND ` + before(InviteRevoked) + ` AND expires_at > ?`
	sendInvite    = `UPDATE invites SET state = 'sent', token_hash = ?, sends = sends + 1, sent_at = ?, message_id = ?, browser_hash = '', expires_at = ?
WHERE id = ? AND ` + before(InviteSent) + ` AND expires_at > ?`
	openInvite = `UPDATE invites SET state = 'opened', opened_at = ?, browser_hash = ? WHERE token_hash = ? AND token_hash <> '' AND ` + before(InviteOpened) + ` AND expires_at > ?`
	takeInvite = `UPDATE invites SET state = 'accepted', ended_at = ?, ended_by = ?, user_id = ?, withheld = ?, token_hash = '', browser_hash = ''
WHERE id = ? AND ` + before(InviteAccepted) + ` AND browser_hash = ? AND opened_at > ? AND expires_at > ?`
	invitedUser     = `UPDATE invites SET user_id = ?, ended_by = ?, withheld = ? WHERE id = ?`
	revokeInvitesOf = `UPDATE invites SET state = 'revoked', ended_at = ?, ended_by = ?, token_hash = '', browser_hash = ''
WHERE (created_by = ? OR approved_by = ? OR second_by = ?) AND ended_at IS NULL`
	eraseInvitesOf = `UPDATE invites SET email = '', email_key = '', message = '', note = '' WHERE user_id = ? AND user_id <> ''`
	eraseInvitesBy = `UPDATE invites SET message = '' WHERE created_by = ?`
)

// ApproveInvite approves a proposal by somebody who could give all it brings, and is not who made it (security.md G12). Where two must agree the first
// leaves it proposed. ErrForbidden comes before all that would tell of its state: ErrUsed, ErrExpired, and ErrConflict for one's own second word. Audited.
func (s *Store) ApproveInvite(ctx context.Context, actor, id string) (*Invite, error) {
	return s.inviteStep(ctx, actor, id, "invite.approve", nil, func(ctx context.Context, m *Model, i *Invite, now Time) (int64, error) {
		if i.CreatedBy == actor {
			return 0, forbidden(privilege.ErrSelf)
		}
		if err := s.mayBack(ctx, m, actor, i); err != nil {
			return 0, err
		}
		switch {
		case i.Needs < 2 || operator(actor):
			return s.exec(ctx, approveInvite, now, actor, "", At(now.Add(inviteWait)), id, i.ApprovedBy, now)
		case i.ApprovedBy == "":
			return s.exec(ctx, halfApprove, actor, id, now)
		case i.ApprovedBy == actor:
			return 0, fmt.Errorf("store: approved by the same person: %w", ErrConflict)
		}
		return s.exec(ctx, approveInvite, now, i.ApprovedBy, actor, At(now.Add(inviteWait)), id, i.ApprovedBy, now)
	})
}

// DeclineInvite refuses a proposal, by whoever could approve it. Audited, without the note.
func (s *Store) DeclineInvite(ctx context.Context, actor, id, note string) (*Invite, error) {
	note = strings.TrimSpace(note)
	if err := inviteText("note", note); err != nil {
		return nil, err
	}
	return s.inviteStep(ctx, actor, id, "invite.decline", nil, func(ctx context.Context, m *Model, i *Invite, now Time) (int64, error) {
		if i.CreatedBy == actor {
			return 0, forbidden(privilege.ErrSelf)
		}
		if err := s.mayBack(ctx, m, actor, i); err != nil {
			return 0, err
		}
		return s.exec(ctx, declineInvite, note, now, actor, id, now)
	})
}

// RevokeInvite ends an open invitation: its link is dead, in whatever browser it is open. Its maker may, and whoever could approve it. Audited.
func (s *Store) RevokeInvite(ctx context.Context, actor, id string) (*Invite, error) {
	return s.inviteStep(ctx, actor, id, "invite.revoke", nil, func(ctx context.Context, m *Model, i *Invite, now Time) (int64, error) {
		if err := s.mayHandle(ctx, m, actor, i); err != nil {
			return 0, err
		}
		return s.exec(ctx, revokeInvite, now, actor, id, now)
	})
}

// mayHandle lets its maker send and revoke an invitation, and whoever could approve it. What there is not any more stands in nobody's way.
func (s *Store) mayHandle(ctx context.Context, m *Model, actor string, i *Invite) error {
	if i.CreatedBy == actor {
		return nil
	}
	err := s.mayBack(ctx, m, actor, i)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// SendInvite gives an approved invitation a link, or a new one, which ends the one before. message is the mail that brings it, "" = it is handed over.
// ErrInviteLimit for an address, or an inviter, that had enough. Audited.
func (s *Store) SendInvite(ctx context.Context, actor, id, tokenHash, message string) (*Invite, error) {
	return s.inviteStep(ctx, actor, id, "invite.send", map[string]any{"mailed": message != ""}, func(ctx context.Context, m *Model, i *Invite, now Time) (int64, error) {
		if err := s.mayHandle(ctx, m, actor, i); err != nil {
			return 0, err
		}
		if i.Sends > 0 {
			day := At(now.Add(-24 * time.Hour))
			by, _, err := value[int64](ctx, s, invitesBy, actor, day)
			if err != nil {
				return 0, err
			}
			to, _, err := value[int64](ctx, s, invitesTo, i.EmailKey, day)
			if err != nil {
				return 0, err
			}
			if i.Sends >= MaxInviteMails || i.EmailKey != "" && to >= MaxInviteMails || by >= MaxInvitesADay && !operator(actor) {
				return 0, ErrInviteLimit
			}
		}
		return s.exec(ctx, sendInvite, tokenHash, now, message, At(now.Add(time.Duration(i.LifeMS)*time.Millisecond)), id, now)
	})
}

// inviteStep runs a conditional UPDATE on an invitation the actor may see. No row changed says that it is over, or not at that point.
func (s *Store) inviteStep(ctx context.Context, actor, id, action string, data map[string]any, step func(ctx context.Context, m *Model, i *Invite, now Time) (int64, error)) (out *Invite, err error) {
	err = s.Tx(ctx, func(ctx context.Context) error {
		m, i, err := s.inviteFor(ctx, actor, id)
		if err != nil {
			return err
		}
		now := At(s.now(ctx))
		n, err := step(ctx, m, i, now)
		if err := changed(n, err, i.over(now.Time)); err != nil {
			return err
		}
		if out, err = s.Invite(ctx, id); err != nil {
			return err
		}
		return s.Audit(ctx, actor, action, "invite:"+id, data)
	})
	return out, err
}
