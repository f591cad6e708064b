package login

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"time"

	"github.com/latchkey-idp/latchkey/store"
)

// What codes by mail and by SMS have in common.

// randomDigits is a code of n digits, each value as likely as any other.
func randomDigits(n int) string {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(math.Pow10(n))))
	if err != nil {
		panic(err) // never: crypto/rand ends the program instead
	}
	return fmt.Sprintf("%0*d", n, v)
}

// hashCode ties a code to its attempt, which is one browser's and one flow's (security.md F13). Without the key its few values could be tried on what the
// database has.
func hashCode(key []byte, kind, attempt, code string) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s code\x00%s\x00%s", kind, attempt, code)
	return hex.EncodeToString(h.Sum(nil))
}

// endOfCode is when a code ends that is good until then: not after its flow.
func endOfCode(until time.Time, p *pending) store.Time {
	if p != nil && p.flow.ExpiresAt.Before(until) {
		until = p.flow.ExpiresAt.Time
	}
	return store.At(until)
}

// minutes rounds, but never to none.
func minutes(d time.Duration) int { return max(1, int((d+10*time.Second)/time.Minute)) }
