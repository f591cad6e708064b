package provider

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-idp/latchkey/store"
)

// KeyConfig configures a KeySet. Zero durations are the defaults.
type KeyConfig struct {
	Store        *store.Store
	Master       MasterKeys
	Now          func() time.Time
	Logger       *slog.Logger
	Period       time.Duration // a key signs for so long; 90 days
	PublishAhead time.Duration // the next key is in the JWKS for so long before it signs; 24 h
	// Longest lives of what the keys protect: a retired key verifies until they are over.
	TokenLife   time.Duration // signed and sealed tokens; 10 min
	RefreshLife time.Duration // refresh tokens; 180 days
	HintLife    time.Duration // an expired ID token is still a good id_token_hint; 30 days
}

// KeySet holds the keys as one immutable snapshot, loaded from the database. States follow from the clock alone:
//
//	publish_at ≤ now            in the JWKS
//	active_at  ≤ now < retire_at signs
//	           now < delete_at  verifies
//
// Nothing ever stores a key id with a grant: the key is chosen when a token is signed.
type KeySet struct {
	c       KeyConfig
	snap    atomic.Pointer[keySnapshot]
	reload  sync.Mutex
	lastTry time.Time // of a reload for an unknown kid; guarded by reload
}

type keySnapshot struct {
	rows    []store.SigningKey
	signers map[string]*signer // by kid
	public  map[string]crypto.PublicKey
	sealers []sealKey // newest first
	macs    []macKey
	loaded  time.Time
	jwks    atomic.Pointer[jwksDoc]
}

type jwksDoc struct {
	until time.Time // the document changes by time alone
	body  []byte
	etag  string
}

// coreAlgs exist always; EdDSA and PS256 come with the first client that asks.
var coreAlgs = []string{algRS256, algES256, algSeal, algRefresh}

// NewKeySet makes an empty set; Ensure fills it.
func NewKeySet(c KeyConfig) (*KeySet, error) {
	if c.Store == nil {
		return nil, errors.New("provider: key set without a store")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Period, 90*24*time.Hour)
	def(&c.PublishAhead, 24*time.Hour)
	def(&c.TokenLife, 10*time.Minute)
	def(&c.RefreshLife, 180*24*time.Hour)
	def(&c.HintLife, 30*24*time.Hour)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &KeySet{c: c}, nil
}

// Ensure loads the keys and makes the ones every server needs. Two processes on an empty database end with one key per algorithm:
// creation is one conditional INSERT.
func (k *KeySet) Ensure(ctx context.Context) error {
	if err := k.Reload(ctx); err != nil {
		return err
	}
	for _, alg := range coreAlgs {
		if err := k.ensureAlg(ctx, alg); err != nil {
			return err
		}
	}
	return nil
}

func (k *KeySet) ensureAlg(ctx context.Context, alg string) error {
	now := k.c.Now()
	if k.snap.Load().pick(alg, now) != nil {
		return nil
	}
	row, err := k.newRow(alg, now, now)
	if err != nil {
		return err
	}
	if _, err := k.c.Store.CreateKey(ctx, row); err != nil {
		return fmt.Errorf("provider: create %s key: %w", alg, err)
	}
	return k.Reload(ctx)
}

// newRow makes a sealed key that is published at once and signs from active on.
func (k *KeySet) newRow(alg string, now, active time.Time) (*store.SigningKey, error) {
	material, err := generate(alg)
	if err != nil {
		return nil, err
	}
	var kid string
	if symmetric(alg) {
		var b [10]byte
		rand.Read(b[:])
		kid = hex.EncodeToString(b[:])
	} else {
		key, err := x509.ParsePKCS8PrivateKey(material)
		if err != nil {
			return nil, fmt.Errorf("provider: new key: %w", err)
		}
		if kid, err = thumbprint(key.(crypto.Signer).Public()); err != nil {
			return nil, fmt.Errorf("provider: new key: %w", err)
		}
	}
	retire := active.Add(k.c.Period)
	return &store.SigningKey{KID: kid, Alg: alg, PrivateSealed: k.c.Master.Seal(material, keyAAD(kid)), MasterKID: k.c.Master.ID(),
		PublishAt: store.At(now), ActiveAt: store.At(active), RetireAt: store.At(retire), DeleteAt: store.At(retire.Add(k.verifyLife(alg)))}, nil
}

func symmetric(alg string) bool { return alg == algSeal || alg == algRefresh }

func keyAAD(kid string) string { return "signing_keys.private_sealed." + kid }

// verifyLife is how long a retired key of this kind still has something to verify.
func (k *KeySet) verifyLife(alg string) time.Duration {
	switch alg {
	case algRefresh:
		return k.c.RefreshLife
	case algSeal:
		return k.c.TokenLife + time.Minute
	}
	return k.c.TokenLife + k.c.HintLife
}

// Reload reads the keys again. Callers: start, every 30 s, a change in this or another process, an unknown kid.
func (k *KeySet) Reload(ctx context.Context) error {
	k.reload.Lock()
	defer k.reload.Unlock()
	return k.load(ctx)
}

func (k *KeySet) load(ctx context.Context) error {
	rows, err := k.c.Store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("provider: read signing keys: %w", err)
	}
	slices.SortFunc(rows, func(a, b store.SigningKey) int { return b.ActiveAt.Compare(a.ActiveAt.Time) })
	old := k.snap.Load()
	s := &keySnapshot{rows: rows, signers: map[string]*signer{}, public: map[string]crypto.PublicKey{}, loaded: k.c.Now()}
	for _, r := range rows {
		if symmetric(r.Alg) {
			raw, err := k.c.Master.Open(r.PrivateSealed, keyAAD(r.KID))
			if err != nil {
				return fmt.Errorf("provider: key %s: %w", r.KID, err)
			}
			if r.Alg == algSeal {
				sk, err := newSealKey(r, raw)
				if err != nil {
					return err
				}
				s.sealers = append(s.sealers, sk)
			} else {
				s.macs = append(s.macs, newMACKey(r, raw))
			}
			continue
		}
		if old != nil && old.signers[r.KID] != nil { // parsed once: a key never changes under its kid
			s.signers[r.KID], s.public[r.KID] = old.signers[r.KID], old.public[r.KID]
			continue
		}
		raw, err := k.c.Master.Open(r.PrivateSealed, keyAAD(r.KID))
		if err != nil {
			return fmt.Errorf("provider: key %s: %w", r.KID, err)
		}
		sg, err := newSigner(r.KID, r.Alg, raw)
		if err != nil {
			return err
		}
		s.signers[r.KID], s.public[r.KID] = sg, sg.key.Public()
	}
	k.snap.Store(s)
	return nil
}

// pick returns the key of alg that signs or seals at now: the newest active one. On a clock that runs behind the others', or was set back,
// there may be none yet; then the next one serves early, which harms nobody, since every process knows it.
func (s *keySnapshot) pick(alg string, now time.Time) *store.SigningKey {
	var early *store.SigningKey
	for i := range s.rows { // newest first
		r := &s.rows[i]
		switch {
		case r.Alg != alg || !now.Before(r.RetireAt.Time):
		case !now.Before(r.ActiveAt.Time):
			return r
		default:
			early = r
		}
	}
	return early
}

// ErrNoSuchKey: no key has this id.
var ErrNoSuchKey = errors.New("provider: no key has this id")

// ErrNextKeyWaits: a rotation is under way; its key is published and does not sign yet.
var ErrNextKeyWaits = errors.New("provider: the next key is published already and signs in less than a day")

// errNoKey: nothing signs this algorithm now.
var errNoKey = errors.New("provider: no active key")

// signerFor returns the active signer of alg, making the first key of a rarer algorithm when a client asks for it.
func (k *KeySet) signerFor(ctx context.Context, alg string) (*signer, error) {
	for range 2 {
		s := k.snap.Load()
		if r := s.pick(alg, k.c.Now()); r != nil {
			return s.signers[r.KID], nil
		}
		if !slices.Contains(SigningAlgs, alg) {
			break
		}
		if err := k.ensureAlg(ctx, alg); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w for %s", errNoKey, alg)
}

// verifyKey returns the public key under kid while it still verifies; alg must be the key's own (security.md B7).
func (k *KeySet) verifyKey(ctx context.Context, kid, alg string) (crypto.PublicKey, bool) {
	for try := range 2 {
		s := k.snap.Load()
		now := k.c.Now()
		for _, r := range s.rows {
			if r.KID == kid {
				if r.Alg != alg || !now.Before(r.DeleteAt.Time) {
					return nil, false
				}
				return s.public[kid], true
			}
		}
		// A key another process made within the last seconds: look once, not for every forged kid.
		if try == 0 && !k.reloadForUnknown(ctx) {
			return nil, false
		}
	}
	return nil, false
}

func (k *KeySet) reloadForUnknown(ctx context.Context) bool {
	k.reload.Lock()
	defer k.reload.Unlock()
	now := k.c.Now()
	if now.Sub(k.lastTry) < 10*time.Second {
		return false
	}
	k.lastTry = now
	if err := k.load(ctx); err != nil {
		k.c.Logger.ErrorContext(ctx, "signing keys not reloaded", "err", err)
		return false
	}
	return true
}

// Maintain publishes successors ahead of time. Any number of processes may call it at any time.
func (k *KeySet) Maintain(ctx context.Context) error {
	if err := k.Ensure(ctx); err != nil {
		return err
	}
	now := k.c.Now()
	last := map[string]store.SigningKey{}
	for _, r := range k.snap.Load().rows {
		if l, ok := last[r.Alg]; !ok || r.RetireAt.After(l.RetireAt.Time) {
			last[r.Alg] = r
		}
	}
	made := false
	for alg, l := range last {
		if now.Before(l.RetireAt.Add(-k.c.PublishAhead)) || !now.Before(l.RetireAt.Time) {
			continue
		}
		row, err := k.newRow(alg, now, l.RetireAt.Time)
		if err != nil {
			return err
		}
		created, err := k.c.Store.CreateKey(ctx, row)
		if err != nil {
			return fmt.Errorf("provider: publish next %s key: %w", alg, err)
		}
		if created {
			k.c.Logger.InfoContext(ctx, "next signing key published", "alg", alg, "kid", row.KID, "signs_from", l.RetireAt.Time)
		}
		made = made || created
	}
	if made {
		return k.Reload(ctx)
	}
	return nil
}

// Rotate makes the next key of alg ("" = every algorithm in use). It signs after PublishAhead, or at once when now is true: then
// clients that cached the JWKS fail until they fetch it again, so that is for emergencies. The old key verifies until its tokens end.
func (k *KeySet) Rotate(ctx context.Context, actor, alg string, now bool) ([]string, error) {
	if err := k.Ensure(ctx); err != nil {
		return nil, err
	}
	algs := []string{alg}
	if alg == "" {
		algs = nil
		for _, r := range k.snap.Load().rows {
			if !slices.Contains(algs, r.Alg) {
				algs = append(algs, r.Alg)
			}
		}
		slices.Sort(algs)
	} else if !slices.Contains(SigningAlgs, alg) && !symmetric(alg) {
		return nil, fmt.Errorf("provider: no algorithm %q: use one of %v", alg, SigningAlgs)
	}
	var kids []string
	for _, a := range algs {
		at := k.c.Now()
		active := at
		if !now {
			active = at.Add(k.c.PublishAhead)
		}
		row, err := k.newRow(a, at, active)
		if err != nil {
			return kids, err
		}
		err = k.c.Store.ReplaceKeys(ctx, actor, row, active, active.Add(k.verifyLife(a)))
		if errors.Is(err, store.ErrConflict) {
			return kids, fmt.Errorf("%w (%s)", ErrNextKeyWaits, a)
		}
		if err != nil {
			return kids, fmt.Errorf("provider: rotate %s: %w", a, err)
		}
		kids = append(kids, row.KID)
	}
	return kids, k.Reload(ctx)
}

// Retire takes a key out of use at once: it neither signs nor verifies afterwards, and leaves the JWKS. For a key that leaked.
func (k *KeySet) Retire(ctx context.Context, actor, kid string) error {
	now := k.c.Now()
	err := k.c.Store.RetireKey(ctx, actor, kid, now, now)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNoSuchKey
	}
	if err != nil {
		return fmt.Errorf("provider: retire key %s: %w", kid, err)
	}
	return k.Ensure(ctx)
}

// Reseal seals every key, and every client secret that is kept, anew under the newest master key; the number of rows it changed.
func (k *KeySet) Reseal(ctx context.Context, actor string) (int, error) {
	n, err := k.c.Store.ResealKeys(ctx, actor, func(r store.SigningKey) (string, string, error) {
		if r.MasterKID == k.c.Master.ID() {
			return r.PrivateSealed, r.MasterKID, nil
		}
		raw, err := k.c.Master.Open(r.PrivateSealed, keyAAD(r.KID))
		if err != nil {
			return "", "", err
		}
		return k.c.Master.Seal(raw, keyAAD(r.KID)), k.c.Master.ID(), nil
	})
	if err != nil {
		return n, fmt.Errorf("provider: reseal keys: %w", err)
	}
	secrets, err := k.c.Store.ResealClientSecrets(ctx, actor, func(id, sealed string) (string, error) {
		if strings.HasPrefix(sealed, k.c.Master.ID()+":") {
			return sealed, nil
		}
		secret, err := k.c.Master.OpenClientSecret(id, sealed)
		if err != nil {
			return "", err
		}
		return k.c.Master.ClientSecret(id, authSecretJWT, secret).Sealed, nil
	})
	if err != nil {
		return n, fmt.Errorf("provider: reseal secrets of clients: %w", err)
	}
	return n + secrets, nil
}

// JWKS returns the public keys (RFC 7517 §5) as prepared bytes, with their ETag.
func (k *KeySet) JWKS() (body []byte, etag string) {
	s := k.snap.Load()
	now := k.c.Now()
	if d := s.jwks.Load(); d != nil && now.Before(d.until) {
		return d.body, d.etag
	}
	d := s.buildJWKS(now)
	s.jwks.Store(d)
	return d.body, d.etag
}

func (s *keySnapshot) buildJWKS(now time.Time) *jwksDoc {
	d := &jwksDoc{until: now.Add(time.Minute)}
	soon := func(t time.Time) {
		if t.After(now) && t.Before(d.until) {
			d.until = t
		}
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, r := range s.rows {
		soon(r.PublishAt.Time)
		soon(r.DeleteAt.Time)
		if symmetric(r.Alg) || !now.Before(r.DeleteAt.Time) {
			continue
		}
		if signs := s.pick(r.Alg, now); now.Before(r.PublishAt.Time) && (signs == nil || signs.KID != r.KID) {
			continue
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.public[r.KID], KeyID: r.KID, Algorithm: r.Alg, Use: "sig"})
	}
	body, err := json.Marshal(set)
	if err != nil { // public keys we parsed ourselves
		panic(err)
	}
	sum := sha256.Sum256(body)
	d.body, d.etag = body, `"`+b64.EncodeToString(sum[:12])+`"`
	return d
}

// List returns the rows for `latchkey key list`, newest first; nothing secret is opened.
func (k *KeySet) List() []store.SigningKey { return slices.Clone(k.snap.Load().rows) }

// State of a key at now, in one word.
func State(r store.SigningKey, now time.Time) string {
	switch {
	case !now.Before(r.DeleteAt.Time):
		return "deleted"
	case !now.Before(r.RetireAt.Time):
		return "retired"
	case !now.Before(r.ActiveAt.Time):
		return "active"
	case !now.Before(r.PublishAt.Time):
		return "next"
	}
	return "planned"
}
