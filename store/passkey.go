package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// PasskeyData is Credential.Data of a passkey: what of it is no secret.
type PasskeyData struct {
	Alone  bool `json:"alone,omitempty"`  // it proves two factors by itself, so it is a way in; else it is a second factor only
	Free   bool `json:"free,omitempty"`   // it did from the start, so it asks nothing of the person's other ways in; this never changes
	Syncs  bool `json:"syncs,omitempty"`  // it can be on several devices; this never changes
	Synced bool `json:"synced,omitempty"` // and is, as its last answer said
}

// Passkey reads the data of a passkey.
func (c *Credential) Passkey() (d PasskeyData, err error) {
	if c.Kind != CredPasskey {
		return d, errors.New("store: no passkey")
	}
	if err := json.Unmarshal([]byte(c.Data), &d); err != nil {
		return d, fmt.Errorf("store: passkey %s: %w", c.ID, err)
	}
	return d, nil
}

// Text is d as Credential.Data has it.
func (d PasskeyData) Text() string {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // three booleans
	}
	return string(b)
}

// passkeyAlone and passkeyFree are the conditions of PasskeyData.Alone and Free, as Text writes them; the data of other kinds is not asked.
const (
	passkeyAlone = `(kind = 'passkey' AND data LIKE '%"alone":true%')`
	passkeyFree  = `(kind = 'passkey' AND data LIKE '%"free":true%')`
)

const passkey = `SELECT ` + credentialColumns + ` FROM credentials WHERE id = ? AND kind = 'passkey'`

// Passkey returns a passkey by its id, which is the hash of the credential's; ErrNotFound when nobody has it.
func (s *Store) Passkey(ctx context.Context, id string) (*Credential, error) {
	return one[Credential](ctx, s, "passkey", passkey, id)
}

const passkeysOf = `SELECT ` + credentialColumns + ` FROM credentials WHERE user_id = ? AND kind = 'passkey'`

// Passkeys returns a person's passkeys, in no order.
func (s *Store) Passkeys(ctx context.Context, userID string) ([]Credential, error) {
	return many[Credential](ctx, s, passkeysOf, userID)
}

// A count that stays at zero is no count (WebAuthn Level 3 §7.2, step 22).
const (
	usePasskey      = `UPDATE credentials SET counter = ?, data = ?, last_used_at = ? WHERE id = ? AND user_id = ? AND kind = 'passkey' AND counter < ?`
	usePasskeyCount = `UPDATE credentials SET data = ?, last_used_at = ? WHERE id = ? AND user_id = ? AND kind = 'passkey' AND counter = 0`
)

// UsePasskey notes an answer of a person's passkey, with the count of signatures in it. ErrUsed when an answer with this count or a later one was noted
// before, or the passkey is gone.
func (s *Store) UsePasskey(ctx context.Context, userID, id string, count uint32, d PasskeyData) (err error) {
	var n int64
	if now := At(s.now(ctx)); count == 0 {
		n, err = s.exec(ctx, usePasskeyCount, d.Text(), now, id, userID)
	} else {
		n, err = s.exec(ctx, usePasskey, int64(count), d.Text(), now, id, userID, int64(count))
	}
	return changed(n, err, fmt.Errorf("store: passkey: %w", ErrUsed))
}

// passkeysAlone counts the passkeys that a person can sign in with.
func (s *Store) passkeysAlone(ctx context.Context, userID string) (n int, err error) {
	list, err := s.Passkeys(ctx, userID)
	for i := range list {
		d, err := list[i].Passkey()
		if err != nil {
			return 0, err
		}
		if d.Alone {
			n++
		}
	}
	return n, err
}
