package provider

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/latchkey-idp/latchkey/store"
)

// Prefixes name the kind of an opaque token. They are authenticated, so kinds cannot be swapped (security.md A13).
const (
	prefixCode    = "ac_"
	prefixAccess  = "at_"
	prefixRefresh = "rt_"
)

// maxSealed bounds what is decoded at all: a code with a large claims parameter stays under it, a megabyte of rubbish does not.
const maxSealed = 16 << 10

type sealKey struct {
	row  store.SigningKey
	id   [4]byte // first bytes of SHA-256(kid): says which key opens it
	aead cipher.AEAD
}

type macKey struct {
	row store.SigningKey
	key []byte
}

func newSealKey(r store.SigningKey, raw []byte) (sealKey, error) {
	blk, err := aes.NewCipher(raw)
	if err != nil {
		return sealKey{}, fmt.Errorf("provider: key %s: %w", r.KID, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(blk)
	if err != nil {
		return sealKey{}, fmt.Errorf("provider: key %s: %w", r.KID, err)
	}
	k := sealKey{row: r, aead: aead}
	h := sha256.Sum256([]byte(r.KID))
	copy(k.id[:], h[:])
	return k, nil
}

func newMACKey(r store.SigningKey, raw []byte) macKey { return macKey{r, raw} }

// seal encrypts v under the active key: prefix + base64url(key id 4 | nonce 12 | ciphertext | tag 16), prefix and key id authenticated.
func (k *KeySet) seal(prefix string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("provider: seal: %w", err)
	}
	snap := k.snap.Load()
	row := snap.pick(algSeal, k.c.Now())
	for _, sk := range snap.sealers {
		if row == nil || sk.row.KID != row.KID {
			continue
		}
		buf := make([]byte, 4, 4+12+len(plain)+16)
		copy(buf, sk.id[:])
		buf = sk.aead.Seal(buf, nil, plain, append([]byte(prefix), sk.id[:]...))
		return prefix + b64.EncodeToString(buf), nil
	}
	return "", fmt.Errorf("%w for %s", errNoKey, algSeal)
}

// open reverses seal; false for anything it did not make. It never touches the database.
func (k *KeySet) open(prefix, tok string, v any) bool {
	body, ok := strings.CutPrefix(tok, prefix)
	if !ok || len(body) > maxSealed {
		return false
	}
	raw, err := strictB64(body)
	if err != nil || len(raw) < 4+28 {
		return false
	}
	now := k.c.Now()
	for _, sk := range k.snap.Load().sealers {
		if string(sk.id[:]) != string(raw[:4]) || !now.Before(sk.row.DeleteAt.Time) {
			continue
		}
		plain, err := sk.aead.Open(nil, nil, raw[4:], append([]byte(prefix), sk.id[:]...))
		if err != nil {
			continue
		}
		return json.Unmarshal(plain, v) == nil
	}
	return false
}

var b64Strict = base64.RawURLEncoding.Strict()

// strictB64 refuses the spellings that decode to the same bytes: a token has one form. The decoder itself skips line breaks.
func strictB64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return b64Strict.DecodeString(s)
}

var gidEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newGrantID returns 16 random bytes as the 26 characters a grant's row is keyed by.
func newGrantID() string {
	var b [16]byte
	rand.Read(b[:])
	return gidEncoding.EncodeToString(b[:])
}

func gidBytes(gid string) (b [16]byte, ok bool) {
	raw, err := gidEncoding.DecodeString(gid)
	if err != nil || len(raw) != 16 {
		return b, false
	}
	copy(b[:], raw)
	return b, true
}

// refreshToken derives the token of a generation: rt_ + base64url(grant id 16 | generation 4 | HMAC-SHA-256 32). The same generation is
// the same token for as long as the key is the active one, so a client that retries gets what it missed (security.md B2); and a copy of
// the database does not contain it.
func (k *KeySet) refreshToken(gid string, gen int64) (string, error) {
	id, ok := gidBytes(gid)
	if !ok || gen < 1 || gen > 1<<31 {
		return "", fmt.Errorf("provider: no refresh token for grant %q generation %d", gid, gen)
	}
	snap := k.snap.Load()
	row := snap.pick(algRefresh, k.c.Now())
	for _, mk := range snap.macs {
		if row != nil && mk.row.KID == row.KID {
			return prefixRefresh + b64.EncodeToString(mk.token(id, uint32(gen))), nil
		}
	}
	return "", fmt.Errorf("%w for %s", errNoKey, algRefresh)
}

func (mk macKey) token(id [16]byte, gen uint32) []byte {
	b := make([]byte, 0, 52)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, gen)
	m := hmac.New(sha256.New, mk.key)
	m.Write([]byte(prefixRefresh))
	m.Write(b)
	return m.Sum(b)
}

// parseRefresh checks the MAC before anybody asks the database: forged tokens cost no statement.
func (k *KeySet) parseRefresh(tok string) (gid string, gen int64, ok bool) {
	body, has := strings.CutPrefix(tok, prefixRefresh)
	if !has || len(body) != 70 {
		return "", 0, false
	}
	raw, err := strictB64(body)
	if err != nil || len(raw) != 52 {
		return "", 0, false
	}
	id, g := [16]byte(raw[:16]), binary.BigEndian.Uint32(raw[16:20])
	now := k.c.Now()
	for _, mk := range k.snap.Load().macs {
		if now.Before(mk.row.DeleteAt.Time) && hmac.Equal(mk.token(id, g), raw) {
			return gidEncoding.EncodeToString(id[:]), int64(g), true
		}
	}
	return "", 0, false
}
