package login

import (
	"cmp"
	"context"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// noticeLife is how long a word about one's account is worth sending, should the mail server be down.
const noticeLife = 2 * 24 * time.Hour

// letter is a mail to an address, in words of lang. Without an address it is one that is given up at once: whoever asked for it waits for the same
// work, and nobody gets anything (security.md F8).
func (l *Login) letter(to, lang string, m templates.Mail, end time.Time) (*store.Message, error) {
	text, err := l.templates.Mail(lang, m)
	if err != nil {
		return nil, err
	}
	if to == "" {
		return &store.Message{Kind: "mail", FailedAt: store.At(l.now()), LastError: "the address is nobody's", ExpiresAt: store.At(end)}, nil
	}
	return &store.Message{Kind: "mail", Recipient: to, Subject: text.Subject, Text: text.Text, HTML: text.HTML, ExpiresAt: store.At(end)}, nil
}

// notice tells a person of a change, in the transaction of the change. Without mail, or without an address, nobody is told.
func (l *Login) notice(ctx context.Context, u *store.User, to, lang string, m templates.Mail) error {
	if l.codeKey == nil || to == "" {
		return nil
	}
	message, err := l.letter(to, cmp.Or(u.Locale, lang), m, l.now().Add(noticeLife))
	if err != nil {
		return err
	}
	return l.store.Enqueue(ctx, message)
}
