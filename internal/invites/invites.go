// Package invites is inviting people, from the proposal to the account: the store's rows, the links, and the mails that bring them and tell of them.
//
//	Create ──▶ store.ProposeInvite ─▶ (Decide) ─▶ Send: a link, in a mail or to hand over
//	Accept ──▶ store.AcceptInvite ─▶ a mail to who invited
//
// It owns the tokens of links, and what is mailed to whom. It refuses to decide anything: who may invite, approve and give is the store's question, and
// whether a way to sign in takes invited people is that of the sign-in pages.
package invites

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	// Path is where a link leads, before its token.
	Path = "/invite/"
	// ListPath is where invitations are made and decided.
	ListPath = "/admin/invites"
	// MaxAddresses is how many may be invited at once.
	MaxAddresses = 100

	noticeLife = 7 * 24 * time.Hour // how long a word about an invitation is worth sending
)

// ErrNoMail: no mail is sent here, so that only links can be handed over.
var ErrNoMail = errors.New("invites: no mail is sent here")

// Desk is where people are invited.
type Desk struct {
	Store     *store.Store
	Templates *templates.Set
	Issuer    string        // of links: a Host header never gets into one (security.md F15)
	Mail      bool          // mail is sent here
	Life      time.Duration // of a link; 0 = store.InviteLife
	TwoFor    []string      // what two others must agree to give
}

// New is what somebody wants to send.
type New struct {
	Emails     []string // none = one link to hand over
	UserType   string
	Privileges []string
	Message    string
	ClientID   string
	Locale     string        // of the mails
	Life       time.Duration // of the links; 0 = the desk's
}

// Result is what became of one address.
type Result struct {
	Email  string
	Invite *store.Invite
	Link   string // to hand over; it is shown now and never again
	Err    error  // an ErrConflict for an address that is known or invited, store.ErrInvalid for what is none, store.ErrInviteLimit
}

// HashOf is how a token is kept.
func HashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Create invites each address by itself, and sends at once what needs nobody's approval; the results say what became of each. What is wrong with all of them is
// an error, and then nothing was made.
func (d *Desk) Create(ctx context.Context, actor string, n New) ([]Result, error) {
	if len(n.Emails) > 0 && !d.Mail {
		return nil, ErrNoMail
	}
	m, err := d.Store.Model(ctx)
	if err != nil {
		return nil, err
	}
	brings := n.Privileges
	if t := m.Type(n.UserType); t != nil {
		brings = append(slices.Clone(brings), privilege.TypeNode(n.UserType))
	}
	closure := m.Graph.Closure(brings...)
	two := slices.ContainsFunc(d.TwoFor, func(name string) bool { return slices.Contains(closure, name) })
	emails := n.Emails
	if len(emails) == 0 {
		emails = []string{""}
	}
	var out []Result
	for _, email := range emails {
		r := Result{Email: email}
		r.Err = d.Store.Tx(ctx, func(ctx context.Context) error {
			r.Invite, r.Link = nil, ""
			i := store.Invite{Email: email, UserType: n.UserType, Privileges: n.Privileges, Message: n.Message, ClientID: n.ClientID, Locale: n.Locale,
				LifeMS: cmp.Or(n.Life, d.Life, store.InviteLife).Milliseconds()}
			if err := d.Store.ProposeInvite(ctx, actor, &i, two); err != nil {
				return err
			}
			r.Invite = &i
			if i.State != store.InviteApproved {
				return nil
			}
			var err error
			r.Invite, r.Link, err = d.Send(ctx, actor, i.ID)
			return err
		})
		if r.Err != nil && !about(r.Err) {
			return out, r.Err
		}
		out = append(out, r)
	}
	return out, nil
}

// about says whether an error is about one address, and not about what is sent to all.
func about(err error) bool {
	var field *store.FieldError
	return errors.As(err, &field) && field.Field == "email" || errors.Is(err, store.ErrInviteLimit)
}

// Send gives an approved invitation a link, or a new one: the one before is dead. It goes to the address that was invited; where none was it is returned, to be
// handed over. Its errors are store.SendInvite's, and ErrNoMail.
func (d *Desk) Send(ctx context.Context, actor, id string) (i *store.Invite, link string, err error) {
	var secret [32]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	token, message := base64.RawURLEncoding.EncodeToString(secret[:]), strings.ToLower(rand.Text())
	err = d.Store.Tx(ctx, func(ctx context.Context) error {
		before, err := d.Store.Invite(ctx, id)
		if err != nil {
			return err
		}
		if before.Email == "" {
			message = ""
		}
		if i, err = d.Store.SendInvite(ctx, actor, id, HashOf(token), message); err != nil {
			return err
		}
		if i.Email == "" {
			return nil
		}
		if !d.Mail {
			return ErrNoMail
		}
		who := ""
		if u, err := d.Store.User(ctx, i.CreatedBy); err == nil {
			who = u.Name()
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		text, err := d.Templates.Mail(i.Locale, templates.InviteMail{Who: who, Message: i.Message, Path: Path + token, Days: days(i)})
		if err != nil {
			return err
		}
		return d.Store.Enqueue(ctx, &store.Message{ID: message, Kind: store.KindMail, Recipient: i.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML, ExpiresAt: i.ExpiresAt})
	})
	if err != nil || i.Email != "" {
		return i, "", err
	}
	return i, strings.TrimSuffix(d.Issuer, "/") + Path + token, nil
}

// days is how long a link is good, rounded down but for the last one.
func days(i *store.Invite) int {
	return max(1, int(time.Duration(i.LifeMS)*time.Millisecond/(24*time.Hour)))
}

// Decide approves a proposal, which sends what has an address, or declines it. Who proposed it hears of it.
func (d *Desk) Decide(ctx context.Context, actor, id string, approve bool, note string) (i *store.Invite, err error) {
	err = d.Store.Tx(ctx, func(ctx context.Context) error {
		if !approve {
			if i, err = d.Store.DeclineInvite(ctx, actor, id, note); err != nil {
				return err
			}
			return d.tell(ctx, i, templates.InviteDecidedMail{Email: i.Email, Note: i.Note, Path: ListPath})
		}
		if i, err = d.Store.ApproveInvite(ctx, actor, id); err != nil || i.State != store.InviteApproved {
			return err
		}
		if i.Email != "" {
			if i, _, err = d.Send(ctx, actor, id); err != nil {
				return err
			}
		}
		return d.tell(ctx, i, templates.InviteDecidedMail{Approved: true, Email: i.Email, Path: ListPath})
	})
	return i, err
}

// Accept is store.AcceptInvite with the word to who invited, in one transaction.
func (d *Desk) Accept(ctx context.Context, id, browserHash string, u *store.User) (i *store.Invite, err error) {
	err = d.Store.Tx(ctx, func(ctx context.Context) error {
		if i, err = d.Store.AcceptInvite(ctx, id, browserHash, u); err != nil {
			return err
		}
		who := u.Name()
		if who == "" {
			who = i.Email
		}
		return d.tell(ctx, i, templates.InviteAcceptedMail{Who: who, Withheld: len(i.Withheld) > 0, Path: ListPath})
	})
	return i, err
}

// tell mails who invited what became of it, where there is mail and they want such words.
func (d *Desk) tell(ctx context.Context, i *store.Invite, mail templates.Mail) error {
	if !d.Mail {
		return nil
	}
	u, err := d.Store.User(ctx, i.CreatedBy)
	if errors.Is(err, store.ErrNotFound) { // the operator
		return nil
	} else if err != nil {
		return err
	}
	m, err := d.Store.Model(ctx)
	if err != nil {
		return err
	}
	now := d.Store.Clock()
	if !m.Reaches(u, privilege.NoticeDecision, now) {
		return nil
	}
	text, err := d.Templates.Mail(u.Locale, mail)
	if err != nil {
		return err
	}
	return d.Store.Enqueue(ctx, &store.Message{Kind: store.KindMail, Recipient: u.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML, ExpiresAt: store.At(now.Add(noticeLife))})
}
