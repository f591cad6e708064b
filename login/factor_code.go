package login

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
)

// Whoever has the password of an administrator alone must not choose the second factor: their first one asks for a code from whoever runs the host (R64),
// unless the set-up link led there.

// EnrolmentTTL is how long such a code is good.
const EnrolmentTTL = 24 * time.Hour

const purposeEnrol = "enrol" // of store.OneTime

// NewEnrolmentCode makes the code with which a person adds their first second factor; one made before is worth nothing then. Audited.
func NewEnrolmentCode(ctx context.Context, st *store.Store, actor, userID string) (shown string, err error) {
	var b [recoveryBytes]byte
	rand.Read(b[:]) // never fails
	code := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	err = st.Tx(ctx, func(ctx context.Context) error {
		row := &store.OneTime{Hash: enrolmentHash(userID, code), Purpose: purposeEnrol, UserID: userID, ExpiresAt: store.At(st.Now().Add(EnrolmentTTL))}
		if err := st.CreateOneTime(ctx, row); err != nil {
			return err
		}
		return st.Audit(ctx, actor, "user.enrolment_code", "user:"+userID, nil)
	})
	return strings.ReplaceAll(groups(code), " ", "-"), err
}

// enrolmentHash ties a code to its person.
func enrolmentHash(userID, code string) string {
	return hashOf("enrolment\x00" + userID + "\x00" + code)
}

// needsCode says whether a person without a second factor adds the first one with a code only.
func (l *Login) needsCode(ctx context.Context, userID string) (bool, error) {
	if !l.factors.AdministratorCode {
		return false, nil
	}
	live, err := l.store.Live(ctx, userID)
	if err != nil {
		return false, err
	}
	model, err := l.store.Model(ctx)
	return err == nil && model.Administers(live, store.At(l.now())), err
}

// partialNeedsCode is needsCode for a half-finished sign-in.
func (l *Login) partialNeedsCode(ctx context.Context, partial *session.Partial) (bool, error) {
	c, err := l.unpack(partial)
	if err != nil || c.SetUp {
		return false, err
	}
	return l.needsCode(ctx, partial.UserID)
}

// sessionNeedsCode is needsCode for who is signed in: not who showed two factors already.
func (l *Login) sessionNeedsCode(ctx context.Context, s *session.Session) (bool, error) {
	if s.ACR != "1" {
		return false, nil
	}
	return l.needsCode(ctx, s.UserID)
}

// readEnrolmentCode reads the form's code, where one is needed: its hash for spendEnrolmentCode, or what is wrong with it.
func (l *Login) readEnrolmentCode(r *http.Request, userID string, needed bool) (hash, key string, err error) {
	if !needed {
		return "", "", nil
	}
	code, ok := typedRecovery(r.PostFormValue("enrolment_code"))
	if !ok {
		return "", "mfa.error_enrolment_code", nil
	}
	hash = enrolmentHash(userID, code)
	_, err = l.store.OneTime(r.Context(), purposeEnrol, hash)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUsed) || errors.Is(err, store.ErrExpired) {
		return "", "mfa.error_enrolment_code", nil
	}
	return hash, "", err
}

// spendEnrolmentCode uses a code up, in the transaction of the factor that it lets in; "" = none was needed.
func (l *Login) spendEnrolmentCode(ctx context.Context, hash string) error {
	if hash == "" {
		return nil
	}
	return l.store.UseOneTime(ctx, purposeEnrol, hash)
}
