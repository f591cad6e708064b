package login

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// FirstLife is how long a link from an administrator to set a password is good.
const FirstLife = 7 * 24 * time.Hour

// ErrNoAddress says that a link cannot be mailed: there is no mail here, or the person has no address.
var ErrNoAddress = errors.New("login: no address to mail to")

// PasswordLink makes a link through which a person sets their password (R129), for an actor who may give them one (store.MaySetPassword). With mail set it goes to
// their address alone, and using it proves that; else it is returned, to be handed over, and proves nothing but who has it, for as
// long as the actor may give one (store.LinkHolds). The one before it is dead.
// set nil = no mail is sent here. Audited.
func PasswordLink(ctx context.Context, st *store.Store, set *templates.Set, issuer, actor, userID string, mail bool) (link string, expires time.Time, err error) {
	token, now := newSecret(), st.Clock()
	expires = now.Add(FirstLife)
	err = st.Tx(ctx, func(ctx context.Context) error {
		if err := st.MaySetPassword(ctx, actor, userID); err != nil {
			return err
		}
		u, err := st.User(ctx, userID)
		if err != nil {
			return err
		}
		if mail && (set == nil || u.Email == "") {
			return ErrNoAddress
		}
		data, err := json.Marshal(reset{Email: u.Email, Shown: !mail, By: actor})
		if err != nil {
			return err
		}
		err = st.CreateOneTime(ctx, &store.OneTime{Hash: hashOf(token), Purpose: store.PurposeReset, UserID: userID, Data: string(data),
			CreatedAt: store.At(now), ExpiresAt: store.At(expires)})
		if err != nil {
			return err
		}
		if mail {
			text, err := set.Mail(u.Locale, templates.FirstPasswordMail{Path: resetPrefix + token, Days: int(FirstLife / (24 * time.Hour))})
			if err != nil {
				return err
			}
			err = st.Enqueue(ctx, &store.Message{Kind: store.KindMail, Recipient: u.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML, ExpiresAt: store.At(expires)})
			if err != nil {
				return err
			}
		}
		return st.Audit(ctx, actor, "user.password_link", "user:"+userID, map[string]bool{"mailed": mail})
	})
	if err != nil || mail {
		return "", expires, err
	}
	return strings.TrimSuffix(issuer, "/") + resetPrefix + token, expires, nil
}

// EditPerson is store.EditPerson with the word to the address before, when there is another now. set nil = no mail is sent here.
func EditPerson(ctx context.Context, st *store.Store, set *templates.Set, actor, userID string, version int64, p store.PersonEdit) error {
	return st.Tx(ctx, func(ctx context.Context) error {
		before, err := st.EditPerson(ctx, actor, userID, version, p)
		if err != nil || set == nil || before.Email == "" || sameAddress(before.Email, p.Email) {
			return err
		}
		now := st.Clock()
		text, err := set.Mail(before.Locale, templates.EmailChangedMail{At: now.In(before.Location())})
		if err != nil {
			return err
		}
		return st.Enqueue(ctx, &store.Message{Kind: store.KindMail, Recipient: before.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML, ExpiresAt: store.At(now.Add(noticeLife))})
	})
}

// Device names for people what a session was made with: "Firefox on Linux", or the half that is known.
func Device(b *templates.Base, userAgent string) string { return deviceText(b, userAgent) }
