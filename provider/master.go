package provider

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

var b64 = base64.RawURLEncoding

// MasterKeys are the operator's keys, newest first: the first seals, all open. Nothing else protects the database's secrets, so they
// never lie in it.
type MasterKeys struct {
	keys []masterKey
}

type masterKey struct {
	id   string // first 16 hex digits of a hash of a derived value; says nothing about the key
	raw  []byte
	aead cipher.AEAD
}

// NewMasterKeys takes keys of 32 bytes, newest first.
func NewMasterKeys(keys ...[]byte) (MasterKeys, error) {
	var m MasterKeys
	if len(keys) == 0 {
		return m, errors.New("provider: no master key")
	}
	for i, k := range keys {
		if len(k) != 32 {
			return MasterKeys{}, fmt.Errorf("provider: master key %d has %d bytes, not 32", i+1, len(k))
		}
		sealing, err := hkdf.Key(sha256.New, k, nil, "latchkey/seal-column", 32)
		if err != nil {
			return MasterKeys{}, fmt.Errorf("provider: master key: %w", err)
		}
		blk, err := aes.NewCipher(sealing)
		if err != nil {
			return MasterKeys{}, fmt.Errorf("provider: master key: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(blk)
		if err != nil {
			return MasterKeys{}, fmt.Errorf("provider: master key: %w", err)
		}
		id, err := hkdf.Key(sha256.New, k, nil, "latchkey/key-id", 8)
		if err != nil {
			return MasterKeys{}, fmt.Errorf("provider: master key: %w", err)
		}
		m.keys = append(m.keys, masterKey{hex.EncodeToString(id), k, aead})
	}
	return m, nil
}

// Derive returns 32 bytes for a purpose, from the newest key: HKDF-SHA-256 with info "latchkey/<purpose>" (RFC 5869).
func (m MasterKeys) Derive(purpose string) []byte { return m.DeriveAll(purpose, 32)[0] }

// DeriveAll returns n bytes for a purpose from every key, newest first.
func (m MasterKeys) DeriveAll(purpose string, n int) [][]byte {
	var out [][]byte
	for _, k := range m.keys {
		b, err := hkdf.Key(sha256.New, k.raw, nil, "latchkey/"+purpose, n)
		if err != nil { // only for absurd lengths
			panic(err)
		}
		out = append(out, b)
	}
	return out
}

// ID of the newest key.
func (m MasterKeys) ID() string { return m.keys[0].id }

// Seal encrypts with the newest key. aad binds the value to its place ("table.column.row"), so that sealed values cannot be swapped.
func (m MasterKeys) Seal(plain []byte, aad string) string {
	k := m.keys[0]
	return k.id + ":" + b64.EncodeToString(k.aead.Seal(nil, nil, plain, []byte(aad)))
}

// Open decrypts what Seal made with any of the keys. The error never contains the value.
func (m MasterKeys) Open(sealed, aad string) ([]byte, error) {
	id, body, ok := strings.Cut(sealed, ":")
	if !ok {
		return nil, errors.New("provider: not a sealed value")
	}
	raw, err := b64.DecodeString(body)
	if err != nil || len(raw) < 28 {
		return nil, errors.New("provider: a sealed value is damaged")
	}
	for _, k := range m.keys {
		if k.id == id {
			plain, err := k.aead.Open(nil, nil, raw, []byte(aad))
			if err != nil {
				return nil, errors.New("provider: a sealed value does not open: changed, or moved from another row")
			}
			return plain, nil
		}
	}
	return nil, fmt.Errorf("provider: a value was sealed with master key %s, which is not configured", id)
}
