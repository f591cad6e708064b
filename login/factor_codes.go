package login

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strings"
)

// recoveryCodes is how many codes a set has (R68).
const recoveryCodes = 10

// recoveryBytes are 80 bits: a plain hash of that cannot be searched (security.md F14).
const recoveryBytes = 10

// newRecoveryCodes makes a set: as people read them, and as they are kept.
func newRecoveryCodes(userID string) (shown, hashes []string) {
	for range recoveryCodes {
		var b [recoveryBytes]byte
		rand.Read(b[:]) // never fails
		code := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
		shown = append(shown, strings.ReplaceAll(groups(code), " ", "-"))
		hashes = append(hashes, recoveryHash(userID, code))
	}
	return shown, hashes
}

// recoveryHash ties a code to its person.
func recoveryHash(userID, code string) string {
	sum := sha256.Sum256([]byte("recovery code\x00" + userID + "\x00" + code))
	return hex.EncodeToString(sum[:])
}

// typedRecovery is a recovery code as it was meant; ok is false for what can be none.
func typedRecovery(s string) (code string, ok bool) {
	code = strings.ToLower(typedCode(s))
	b, err := base32.StdEncoding.DecodeString(strings.ToUpper(code))
	return code, err == nil && len(b) == recoveryBytes
}
