package login

import (
	"context"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// factorNotice mails somebody that what guards their account changed; it joins the transaction of the change. Nothing is sent where no mail is, or to
// who has no address. An address that was never proven gets it too: the owner of the account may well be the one who reads it.
func (l *Login) factorNotice(ctx context.Context, userID string, m templates.FactorMail) error {
	if l.codeKey == nil {
		return nil
	}
	return factorNotice(ctx, l.store, l.templates, userID, m)
}

func factorNotice(ctx context.Context, st *store.Store, set *templates.Set, userID string, m templates.FactorMail) error {
	u, err := st.User(ctx, userID)
	if err != nil || u.Email == "" {
		return err
	}
	m.At, m.Path = st.Clock().In(u.Location()), securityPath
	text, err := set.Mail(u.Locale, m)
	if err != nil {
		return err
	}
	return st.Enqueue(ctx, &store.Message{Kind: store.KindMail, Recipient: u.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML,
		ExpiresAt: store.At(st.Clock().Add(noticeLife))})
}

// ResetFactors is store.ResetFactors with the mail that tells the person. set nil = no mail is sent here.
func ResetFactors(ctx context.Context, st *store.Store, set *templates.Set, actor, userID, reason string) (n int, err error) {
	err = st.Tx(ctx, func(ctx context.Context) error {
		if n, err = st.ResetFactors(ctx, actor, userID, reason); err != nil || set == nil {
			return err
		}
		return factorNotice(ctx, st, set, userID, templates.FactorMail{What: templates.FactorReset})
	})
	return n, err
}
