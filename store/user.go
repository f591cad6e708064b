package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Address is the OIDC address claim (Core §5.1.1).
type Address struct {
	Formatted  string `json:"formatted,omitempty"`
	Street     string `json:"street_address,omitempty"`
	Locality   string `json:"locality,omitempty"`
	Region     string `json:"region,omitempty"`
	PostalCode string `json:"postal_code,omitempty"`
	Country    string `json:"country,omitempty"` // ISO 3166-1 alpha-2, upper case
}

// Profile holds the standard claims that nothing is ever searched by; TEXT JSON.
type Profile struct {
	MiddleName   string  `json:"middle_name,omitempty"`
	Nickname     string  `json:"nickname,omitempty"`
	Website      string  `json:"website,omitempty"`
	ProfileURL   string  `json:"profile,omitempty"`
	Picture      string  `json:"picture,omitempty"`
	Gender       string  `json:"gender,omitempty"`
	Birthdate    string  `json:"birthdate,omitempty"` // YYYY-MM-DD, or YYYY, or 0000-MM-DD
	Organization string  `json:"organization,omitempty"`
	Address      Address `json:"address,omitzero"`
}

// Value implements driver.Valuer.
func (p Profile) Value() (driver.Value, error) { b, err := json.Marshal(p); return string(b), err }

// Scan implements sql.Scanner.
func (p *Profile) Scan(v any) error { return scanJSON(v, p) }

// User is a person's account. ID is the OIDC sub: random, permanent, never reused.
type User struct {
	ID              string  `db:"id"`
	Username        string  `db:"username"`     // optional, unique without regard to case; "" = none
	UsernameKey     string  `db:"username_key"` // made by the store
	Email           string  `db:"email"`        // as given
	EmailKey        string  `db:"email_key"`    // made by the store: NFC, trimmed, lower case, domain IDNA; unique where not ""
	EmailVerifiedAt Time    `db:"email_verified_at"`
	Phone           string  `db:"phone"` // E.164; unique where not ""
	PhoneVerifiedAt Time    `db:"phone_verified_at"`
	GivenName       string  `db:"given_name"`
	FamilyName      string  `db:"family_name"`
	Locale          string  `db:"locale"`   // BCP 47
	Zoneinfo        string  `db:"zoneinfo"` // IANA
	Profile         Profile `db:"profile"`
	UserType        string  `db:"user_type"` // the value of a UserType; CreateUser and SetUserType write it
	MustChange      bool    `db:"must_change_password"`
	ValidFrom       Time    `db:"valid_from"`
	ValidUntil      Time    `db:"valid_until"`
	DisabledAt      Time    `db:"disabled_at"`
	DisabledReason  string  `db:"disabled_reason"`
	DeletedAt       Time    `db:"deleted_at"` // tombstone: everything personal is gone, the id stays taken
	LastLoginAt     Time    `db:"last_login_at"`
	CreatedAt       Time    `db:"created_at"`
	UpdatedAt       Time    `db:"updated_at"`
	Version         int64   `db:"version"` // optimistic lock, raised by every update
}

// Active says whether the account may be used at this instant.
func (u *User) Active(now time.Time) bool {
	return u.DisabledAt.IsZero() && u.DeletedAt.IsZero() &&
		(u.ValidFrom.IsZero() || !now.Before(u.ValidFrom.Time)) &&
		(u.ValidUntil.IsZero() || now.Before(u.ValidUntil.Time))
}

// Name is the display name: both names, else the one there is, else the username, else the e-mail address, else "".
func (u *User) Name() string {
	switch {
	case u.GivenName != "" && u.FamilyName != "":
		return u.GivenName + " " + u.FamilyName
	case u.FamilyName != "":
		return u.FamilyName
	case u.GivenName != "":
		return u.GivenName
	case u.Username != "":
		return u.Username
	}
	return u.Email
}

// Location is the person's time zone, UTC where they named none.
func (u *User) Location() *time.Location {
	if u.Zoneinfo != "" {
		if zone, err := time.LoadLocation(u.Zoneinfo); err == nil {
			return zone
		}
	}
	return time.UTC
}

const userColumns = "id, username, username_key, email, email_key, email_verified_at, phone, phone_verified_at, given_name, family_name, " +
	"locale, zoneinfo, profile, user_type, must_change_password, valid_from, valid_until, disabled_at, disabled_reason, deleted_at, " +
	"last_login_at, created_at, updated_at, version"

func (u *User) fields() []any {
	return []any{&u.ID, &u.Username, &u.UsernameKey, &u.Email, &u.EmailKey, &u.EmailVerifiedAt, &u.Phone, &u.PhoneVerifiedAt, &u.GivenName, &u.FamilyName,
		&u.Locale, &u.Zoneinfo, &u.Profile, &u.UserType, &u.MustChange, &u.ValidFrom, &u.ValidUntil, &u.DisabledAt, &u.DisabledReason, &u.DeletedAt,
		&u.LastLoginAt, &u.CreatedAt, &u.UpdatedAt, &u.Version}
}

// newID is a random id: 26 characters, 130 bits.
func newID() string { return strings.ToLower(rand.Text()) }

// setKeys fills what uniqueness and sign-in go by, and refuses values that could stand for somebody else's.
func (u *User) setKeys() error {
	var err error
	if u.UsernameKey, err = usernameKey(u.Username); err != nil {
		return err
	}
	if u.EmailKey, err = emailKey(u.Email); err != nil {
		return err
	}
	if u.Phone != "" && !isE164(u.Phone) {
		return invalid("phone", "not E.164")
	}
	if !u.ValidFrom.IsZero() && !u.ValidUntil.IsZero() && !u.ValidFrom.Before(u.ValidUntil.Time) {
		return invalid("valid_until", "not after valid_from")
	}
	return nil
}

var insertUser = insertInto("users", userColumns)

// CreateUser fills ID, keys, times and version. A FieldError says which of username, e-mail and phone is taken (ErrConflict) or unfit
// (ErrInvalid). Without any assignment a person holds "user" (R7), so no row is needed for that.
func (s *Store) CreateUser(ctx context.Context, u *User) error {
	if err := u.setKeys(); err != nil {
		return err
	}
	if u.ID == "" {
		u.ID = newID()
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		now := At(s.now(ctx))
		value, err := s.newcomersType(ctx)
		if err != nil {
			return err
		}
		next := *u
		next.CreatedAt, next.UpdatedAt, next.Version, next.UserType = now, now, 1, value
		if _, err := s.named(ctx, insertUser, &next); err != nil {
			return err
		}
		fill(ctx, s, u, next)
		if err := s.putWords(ctx, wordsOfUser(&next)); err != nil {
			return err
		}
		return s.giveType(ctx, "system", next.ID, value)
	})
}

const updateUser = `UPDATE users SET username = :username, username_key = :username_key, email = :email, email_key = :email_key,
  email_verified_at = :email_verified_at, phone = :phone, phone_verified_at = :phone_verified_at, given_name = :given_name,
  family_name = :family_name, locale = :locale, zoneinfo = :zoneinfo, profile = :profile,
  must_change_password = :must_change_password, valid_from = :valid_from, valid_until = :valid_until, updated_at = :updated_at, version = version + 1
WHERE id = :id AND version = :version AND deleted_at IS NULL`

// UpdateUser writes everything but the state of the account (DisableUser, EnableUser) and the last sign-in, if the row still has
// u.Version; ErrConflict otherwise. It raises u.Version. A validity that would leave no administrator is ErrLastAdmin.
func (s *Store) UpdateUser(ctx context.Context, u *User) error {
	if err := u.setKeys(); err != nil {
		return err
	}
	update := func(ctx context.Context) error {
		next := *u
		next.UpdatedAt = At(s.now(ctx))
		n, err := s.named(ctx, updateUser, &next)
		if err := changed(n, err, fmt.Errorf("store: user %s: changed since it was read: %w", u.ID, ErrConflict)); err != nil {
			return err
		}
		next.Version++
		fill(ctx, s, u, next)
		return s.setWords(ctx, &next)
	}
	if u.ValidFrom.IsZero() && u.ValidUntil.IsZero() {
		return s.Tx(ctx, update)
	}
	return s.Tx(ctx, func(ctx context.Context) error { return s.keepingAdmin(ctx, update) })
}

const userByID = `SELECT ` + userColumns + ` FROM users WHERE id = ?`

// User returns the row, also of a disabled or erased account.
func (s *Store) User(ctx context.Context, id string) (*User, error) {
	return one[User](ctx, s, "user", userByID, id)
}

// UsersByID returns the rows of several people, in the order of ids; ids that are nobody's are left out.
func (s *Store) UsersByID(ctx context.Context, ids []string) (list []User, err error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	for part := range slices.Chunk(ids, manyNames) {
		args := make([]any, len(part))
		for i, id := range part {
			args[i] = id
		}
		some, err := many[User](ctx, s, usersByID+strings.Repeat(", ?", len(part)-1)+") ORDER BY id", args...)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

const usersByID = `SELECT ` + userColumns + ` FROM users WHERE id IN (?`

// The second condition is what lets the partial unique index serve.
const (
	userByEmail    = `SELECT ` + userColumns + ` FROM users WHERE email_key = ? AND email_key <> ''`
	userByPhone    = `SELECT ` + userColumns + ` FROM users WHERE phone = ? AND phone <> ''`
	userByUsername = `SELECT ` + userColumns + ` FROM users WHERE username_key = ? AND username_key <> ''`
)

// UserByLogin finds the account by e-mail, username or E.164 number, by equality of keys, never LIKE (R5). The three cannot be mistaken
// for each other: a username has no @ and at least one letter.
func (s *Store) UserByLogin(ctx context.Context, identifier string) (*User, error) {
	query, key := userByUsername, ""
	var err error
	switch id := strings.TrimSpace(identifier); {
	case strings.Contains(id, "@"):
		query = userByEmail
		key, err = emailKey(id)
	case looksLikePhone(id):
		query, key = userByPhone, phoneKey(id)
	default:
		key, err = usernameKey(id)
	}
	if err != nil || key == "" {
		return nil, fmt.Errorf("store: user: %w", ErrNotFound)
	}
	return one[User](ctx, s, "user", query, key)
}

const users = `SELECT ` + userColumns + ` FROM users WHERE id > ? AND deleted_at IS NULL ORDER BY id LIMIT ?`

// Users returns up to n accounts with ids above after, in the order of ids; erased ones are left out.
func (s *Store) Users(ctx context.Context, after string, n int) ([]User, error) {
	return many[User](ctx, s, users, after, n)
}

// last sorts behind everything that begins alike.
const last = "\U0010FFFF"

var live = `SELECT ` + prefixed("u", userColumns) + `, a.privilege, a.valid_from, a.valid_until
FROM users u LEFT JOIN assignments a ON a.user_id = u.id AND a.ended_at IS NULL WHERE u.id = ?`

// Live reads a user and his assignments in one statement.
func (s *Store) Live(ctx context.Context, userID string) (*Live, error) {
	l := new(Live)
	err := s.read(ctx, live, []any{userID}, func(r *sql.Rows) error { return scanLive(r, l.User.fields(), l) })
	if err != nil {
		return nil, err
	}
	if l.User.ID == "" {
		return nil, fmt.Errorf("store: user: %w", ErrNotFound)
	}
	return l, nil
}

// scanLive scans rows of head and a holding each. Head is the same in every row and scanned once.
func scanLive(r *sql.Rows, head []any, l *Live) error {
	var name sql.NullString
	var from, until Time
	dest := append(head, &name, &from, &until)
	for first := true; r.Next(); first = false {
		if err := r.Scan(dest...); err != nil {
			return err
		}
		if name.Valid {
			l.Holdings = append(l.Holdings, Holding{name.String, from, until})
		}
		if first {
			for i := range head {
				dest[i] = skip{}
			}
		}
	}
	return r.Err()
}

// skip is a column that was scanned before.
type skip struct{}

// Scan implements sql.Scanner.
func (skip) Scan(any) error { return nil }

const (
	disableUser = `UPDATE users SET disabled_at = ?, disabled_reason = ?, updated_at = ?, version = version + 1
WHERE id = ? AND disabled_at IS NULL AND deleted_at IS NULL`
	enableUser = `UPDATE users SET disabled_at = NULL, disabled_reason = '', updated_at = ?, version = version + 1
WHERE id = ? AND disabled_at IS NOT NULL AND deleted_at IS NULL`
)

// DisableUser shuts an account: sessions, half-finished sign-ins, open requests and invitations end, grants are revoked, all in one audited transaction. ErrLastAdmin
// when nobody could administer afterwards; ErrForbidden for oneself (R12) and for somebody who holds more than the actor (R96).
// An account that is disabled already stays as it is.
func (s *Store) DisableUser(ctx context.Context, actor, id, reason string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if actor == id {
			return fmt.Errorf("store: disable oneself: %w", forbidden(privilege.ErrSelf))
		}
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			if err := s.mayManage(ctx, actor, id, privilege.EditUserStatus); err != nil {
				return err
			}
			now := At(s.now(ctx))
			n, err := s.exec(ctx, disableUser, now, reason, now, id)
			if err != nil || n == 0 {
				return err
			}
			if _, err := s.exec(ctx, closeRequestsOf, now, actor, id); err != nil {
				return err
			}
			if _, err := s.exec(ctx, revokeInvitesOf, now, actor, id, id, id); err != nil {
				return err
			}
			if err := s.UseOneTimesOf(ctx, PurposeReset, id); err != nil { // it would be good again with the account
				return err
			}
			if err := s.endAccess(ctx, id, "", "user disabled"); err != nil {
				return err
			}
			return s.Audit(ctx, actor, "user.disable", "user:"+id, nil) // the reason stands in the row, which erasure blanks
		})
	})
}

// EnableUser opens a disabled account again. It revives no session and no grant (R10).
func (s *Store) EnableUser(ctx context.Context, actor, id string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		if err := s.lock(ctx, gate); err != nil {
			return err
		}
		if err := s.mayManage(ctx, actor, id, privilege.EditUserStatus); err != nil {
			return err
		}
		n, err := s.exec(ctx, enableUser, At(s.now(ctx)), id)
		if err != nil || n == 0 {
			return err
		}
		return s.Audit(ctx, actor, "user.enable", "user:"+id, nil)
	})
}

const deletePartialsOf = `DELETE FROM partials WHERE user_id = ? AND id <> ?`

// endAccess ends every session, half-finished sign-in and grant of a user, but for the ones of keepSession.
func (s *Store) endAccess(ctx context.Context, userID, keepSession, reason string) error {
	if _, err := s.exec(ctx, deletePartialsOf, userID, keepSession); err != nil {
		return err
	}
	return s.EndSessionsOf(ctx, userID, keepSession, reason, true)
}

const touchLogin = `UPDATE users SET last_login_at = ? WHERE id = ?`

// TouchLogin notes a sign-in; it is no change that another editor of the row must see.
func (s *Store) TouchLogin(ctx context.Context, id string, at time.Time) error {
	_, err := s.exec(ctx, touchLogin, At(at), id)
	return err
}
