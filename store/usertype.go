package store

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// Texts are translations by language tag.
type Texts map[string]string

// Value implements driver.Valuer.
func (t Texts) Value() (driver.Value, error) {
	if len(t) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(map[string]string(t))
	return string(b), err
}

// Scan implements sql.Scanner.
func (t *Texts) Scan(v any) error { return scanJSON(v, (*map[string]string)(t)) }

// UserType is an entry of the short list from which each person has one (R83, R84).
type UserType struct {
	Value           string  `db:"value"`
	Position        int64   `db:"position"`
	Names           Strings `db:"names"`
	Text            string  `db:"label"`
	Texts           Texts   `db:"texts"`
	ReadOnly        bool    `db:"read_only"`
	HiddenLanguages Strings `db:"hidden_languages"`
	Mask            Strings `db:"mask"`
	Source          string  `db:"source"` // default or config
	CreatedAt       Time    `db:"created_at"`
	UpdatedAt       Time    `db:"updated_at"`
	DeletedAt       Time    `db:"deleted_at"`
	Privilege       string  `db:"-"` // what its node includes; "" = none
}

// Name is the claim user_type.
func (t *UserType) Name() string {
	if len(t.Names) == 0 {
		return t.Value
	}
	return t.Names[0]
}

// In is the text in a language, or as it is where nobody translated it.
func (t *UserType) In(lang string) string { return cmp.Or(t.Texts[lang], t.Text) }

const userTypeColumns = "value, position, names, label, texts, read_only, hidden_languages, mask, source, created_at, updated_at, deleted_at"

const userTypesLive = `SELECT ` + userTypeColumns + ` FROM user_types WHERE deleted_at IS NULL ORDER BY position, value`

// userTypes reads them; their privileges stand among the definitions, at their nodes.
func (s *Store) userTypes(ctx context.Context, g *privilege.Graph) ([]UserType, error) {
	list, err := many[UserType](ctx, s, userTypesLive)
	if err != nil {
		return nil, err
	}
	for i := range list {
		node := privilege.TypeNode(list[i].Value)
		if !g.Has(node) {
			return nil, fmt.Errorf("store: the user type %s has no node: %w", list[i].Value, ErrNotFound)
		}
		if in := g.Includes(node); len(in) > 0 {
			list[i].Privilege = in[0]
		}
	}
	return list, nil
}

// What a type's row may say of where it comes from.
const (
	sourceDefault = "default" // of this program
	sourceConfig  = "config"
)

var (
	insertUserType = insertInto("user_types", userTypeColumns)
	updateUserType = `UPDATE user_types SET position = :position, names = :names, label = :label, texts = :texts, read_only = :read_only,
  hidden_languages = :hidden_languages, mask = :mask, source = :source, updated_at = :updated_at, deleted_at = NULL WHERE value = :value`
)

const (
	deleteUserType = `UPDATE user_types SET deleted_at = ?, updated_at = ? WHERE value = ? AND deleted_at IS NULL`
	usersOfType    = `SELECT COUNT(*) FROM users WHERE user_type = ? AND deleted_at IS NULL`
	seedNode       = `INSERT INTO privileges (name, label, description, built_in, client_id, created_at, updated_at, source, texts)
VALUES (?, ?, '', FALSE, '', ?, ?, 'type', '{}') ON CONFLICT (name) DO UPDATE SET label = excluded.label, updated_at = excluded.updated_at, deleted_at = NULL`
	deletedType = `SELECT COUNT(*) FROM user_types WHERE value = ?`
)

// TypeInUse says that a type cannot go because people have it.
type TypeInUse struct {
	Value  string
	People int64
}

func (e *TypeInUse) Error() string {
	return fmt.Sprintf("store: user type %s: %d people have it", e.Value, e.People)
}

// Unwrap is ErrConflict.
func (e *TypeInUse) Unwrap() error { return ErrConflict }

// SetUserTypes makes the list exactly types, in that order; nil is the defaults. One that people have cannot vanish (*TypeInUse, R90). What a type's
// privilege was stays as history. The operator only: to change a type is to change all of its people. Audited; nothing is written where
// nothing changed.
func (s *Store) SetUserTypes(ctx context.Context, actor string, types []privilege.UserType) error {
	if !operator(actor) {
		return fmt.Errorf("store: user types: %w", ErrForbidden)
	}
	source := sourceConfig
	if types == nil {
		types, source = privilege.DefaultTypes(), sourceDefault
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			g, err := s.graph(ctx)
			if err != nil {
				return err
			}
			have, err := s.userTypes(ctx, g)
			if err != nil {
				return err
			}
			if sameTypes(have, types, source) {
				return nil
			}
			if err := privilege.CheckTypes(types, g.Has); err != nil {
				return invalid("user_types", err.Error())
			}
			return s.writeTypes(ctx, actor, have, types, source, true)
		})
	})
}

func sameTypes(have []UserType, types []privilege.UserType, source string) bool {
	if len(have) != len(types) {
		return false
	}
	for i, t := range types {
		if have[i].Source != source || !reflect.DeepEqual(have[i].plain(), normal(t)) {
			return false
		}
	}
	return true
}

// normal makes the ways to say nothing one.
func normal(t privilege.UserType) privilege.UserType {
	for _, list := range []*[]string{&t.Names, &t.HiddenLanguages, &t.Mask} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if len(t.Texts) == 0 {
		t.Texts = nil
	}
	return t
}

func (t *UserType) plain() privilege.UserType {
	return normal(privilege.UserType{Value: t.Value, Names: t.Names, Text: t.Text, Texts: t.Texts, Privilege: t.Privilege, ReadOnly: t.ReadOnly,
		HiddenLanguages: t.HiddenLanguages, Mask: t.Mask})
}

func (s *Store) writeTypes(ctx context.Context, actor string, have []UserType, types []privilege.UserType, source string, audited bool) error {
	now := At(s.now(ctx))
	for i := range have {
		if slices.ContainsFunc(types, func(t privilege.UserType) bool { return t.Value == have[i].Value }) {
			continue
		}
		n, _, err := value[int64](ctx, s, usersOfType, have[i].Value)
		if err != nil {
			return err
		}
		if n > 0 {
			return &TypeInUse{have[i].Value, n}
		}
		if _, err := s.exec(ctx, deleteUserType, now, now, have[i].Value); err != nil {
			return err
		}
		if err := s.Audit(ctx, actor, "user_type.delete", "user_type:"+have[i].Value, nil); err != nil {
			return err
		}
	}
	for i, t := range types {
		row := UserType{Value: t.Value, Position: int64(i), Names: t.Names, Text: t.Text, Texts: t.Texts, ReadOnly: t.ReadOnly,
			HiddenLanguages: t.HiddenLanguages, Mask: t.Mask, Source: source, CreatedAt: now, UpdatedAt: now}
		at := slices.IndexFunc(have, func(h UserType) bool { return h.Value == t.Value })
		if at >= 0 && have[at].Position == row.Position && have[at].Source == source && reflect.DeepEqual(have[at].plain(), normal(t)) {
			continue
		}
		n, err := s.named(ctx, updateUserType, &row)
		if err == nil && n == 0 {
			_, err = s.named(ctx, insertUserType, &row)
		}
		if err != nil {
			return err
		}
		if _, err := s.exec(ctx, seedNode, privilege.TypeNode(t.Value), t.Text, now, now); err != nil {
			return err
		}
		before := ""
		if at >= 0 {
			before = have[at].Privilege
		}
		if err := s.setTypePrivilege(ctx, actor, t.Value, before, t.Privilege); err != nil {
			return err
		}
		if !audited {
			continue
		}
		if err := s.Audit(ctx, actor, "user_type.set", "user_type:"+t.Value, map[string]any{"names": t.Names, "privilege": t.Privilege, "was": before, "readonly": t.ReadOnly}); err != nil {
			return err
		}
	}
	return s.changed(ctx)
}

func (s *Store) setTypePrivilege(ctx context.Context, actor, value, before, after string) error {
	if before == after {
		return nil
	}
	now, node := At(s.now(ctx)), privilege.TypeNode(value)
	if before != "" {
		if _, err := s.exec(ctx, endInclude, now, actor, node, before); err != nil {
			return err
		}
	}
	if after == "" {
		return nil
	}
	_, err := s.exec(ctx, insertInclude, newID(), node, after, now, actor)
	return err
}

const (
	setUserType = `UPDATE users SET user_type = ?, updated_at = ?, version = version + 1 WHERE id = ? AND deleted_at IS NULL`
	endTypeOf   = `UPDATE assignments SET ended_at = ?, ended_by = ? WHERE user_id = ? AND source = 'type' AND ended_at IS NULL`
)

// SetUserType gives a person another type, through the gate: what the type brings, and what the one before it brought, must be the actor's
// to give, and for good. Whatever it brings, nobody sets their own, or that of somebody who holds more: a type also says who may change nothing. ErrNotFound, ErrForbidden, ErrLastAdmin. Audited.
func (s *Store) SetUserType(ctx context.Context, actor, userID, value string) error {
	return s.Tx(ctx, func(ctx context.Context) error {
		return s.keepingAdmin(ctx, func(ctx context.Context) error {
			m, err := s.model(ctx)
			if err != nil {
				return err
			}
			next := m.Type(value)
			if next == nil || slices.Contains(next.Names, privilege.TypeAnonymous) {
				return fmt.Errorf("store: user type %q: %w", value, ErrNotFound)
			}
			l, err := s.livePerson(ctx, userID)
			if err != nil {
				return err
			}
			before := l.User.UserType
			old, node := privilege.TypeNode(before), privilege.TypeNode(value)
			after := slices.DeleteFunc(l.holdings(), func(h privilege.Holding) bool { return h.Privilege == old })
			after = append(after, privilege.Holding{Privilege: node})
			if err := s.allow(ctx, m, actor, privilege.EditUserPrivilege, l, after, m.Graph.Closure(old, node)); err != nil {
				return err
			}
			if before == value {
				return nil
			}
			if err := s.allowForGood(ctx, m, actor, m.Graph.Closure(node)...); err != nil {
				return err
			}
			now := At(s.now(ctx))
			if _, err := s.exec(ctx, endTypeOf, now, actor, userID); err != nil {
				return err
			}
			if err := s.giveType(ctx, actor, userID, value); err != nil {
				return err
			}
			n, err := s.exec(ctx, setUserType, value, now, userID)
			if err := changed(n, err, errNotFound("user")); err != nil {
				return err
			}
			return s.Audit(ctx, actor, "user.set_type", "user:"+userID, map[string]string{"type": value, "was": before})
		})
	})
}

// giveType assigns a person to a type's node.
func (s *Store) giveType(ctx context.Context, actor, userID, value string) error {
	a := Assignment{ID: newID(), UserID: userID, Privilege: privilege.TypeNode(value), GivenBy: actor, Source: SourceType, SourceRef: value, CreatedAt: At(s.now(ctx))}
	_, err := s.named(ctx, insertAssignment, &a)
	return err
}

// newcomersType is the type that new people have: the one named user.
func (s *Store) newcomersType(ctx context.Context) (string, error) {
	m, err := s.Model(ctx)
	if err != nil {
		return "", err
	}
	t := m.Newcomers()
	if t == nil {
		return "", errors.New("store: there is no user type named user")
	}
	return t.Value, nil
}
