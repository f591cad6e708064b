package password

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

// imported returns what verifies hashes of a format that other programs made, nil for our own and for none. After a success they are hashed anew.
func imported(hash string) func(hash, pw string) (bool, error) {
	switch {
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
		return verifyBcrypt
	case strings.HasPrefix(hash, djangoPrefix):
		return verifyDjango
	}
	return nil
}

// Importable says whether hash is one that Verify can read: our own argon2id without a pepper, bcrypt, or Django's pbkdf2_sha256. It is for hashes that
// are brought from elsewhere, so that an account does not get one that nobody can sign in with.
func (h *Hasher) Importable(ctx context.Context, hash string) error {
	if verify := imported(hash); verify != nil {
		if err := h.enter(ctx); err != nil {
			return err
		}
		defer h.leave()
		_, err := verify(hash, "a password, to see whether the hash can be read")
		return err
	}
	p, err := parsePHC(hash)
	if err == nil && p.keyID != "" && h.peppers[p.keyID] == nil {
		err = errPHC
	}
	return err
}

// maxBcryptCost keeps an imported hash from holding a slot for seconds: each step doubles it, and 14 takes about half of one.
const maxBcryptCost = 14

// verifyBcrypt looks at 72 bytes only, as bcrypt does; the hash that replaces it looks at all.
func verifyBcrypt(hash, pw string) (bool, error) {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > maxBcryptCost {
		return false, errors.New("password: a bcrypt hash that cannot be used")
	}
	for _, typed := range spellings(pw) {
		err = bcrypt.CompareHashAndPassword([]byte(hash), []byte(typed))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, errors.New("password: a bcrypt hash that cannot be read")
		}
	}
	return false, nil
}

// spellings are pw as it was typed, which is what whoever made the hash had, and in our own normal form where that differs.
func spellings(pw string) []string {
	if n := norm.NFKC.String(pw); n != pw {
		return []string{pw, n}
	}
	return []string{pw}
}

const (
	djangoPrefix = "pbkdf2_sha256$" // and iterations$salt$hash: django.contrib.auth.hashers.PBKDF2PasswordHasher
	// maxIterations is twice what Django 6 does by itself, and about a second: more would hold a slot for too long.
	maxIterations = 2_500_000
)

// verifyDjango reads Django's default format. The salt is text, used as it stands.
func verifyDjango(hash, pw string) (bool, error) {
	unusable := errors.New("password: a pbkdf2_sha256 hash that cannot be used")
	parts := strings.Split(hash, "$")
	if len(hash) > 512 || len(parts) != 4 || parts[2] == "" {
		return false, unusable
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil || n < 1000 || n > maxIterations || strconv.Itoa(n) != parts[1] {
		return false, unusable
	}
	want, err := base64.StdEncoding.Strict().DecodeString(parts[3])
	if err != nil || len(want) != sha256.Size {
		return false, unusable
	}
	for _, typed := range spellings(pw) {
		got, err := pbkdf2.Key(sha256.New, typed, []byte(parts[2]), n, sha256.Size)
		if err != nil {
			return false, unusable
		}
		if subtle.ConstantTimeCompare(got, want) == 1 {
			return true, nil
		}
	}
	return false, nil
}
