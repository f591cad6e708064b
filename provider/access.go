package provider

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-idp/latchkey/store"
)

// errBadToken: not a token of ours, or not one of this kind, or over.
var errBadToken = errors.New("provider: invalid token")

// maxJWT bounds what is parsed at all (security.md B9).
const maxJWT = 16 << 10

// accessToken is an access token that verified; whether it still counts is asked of the database, every time.
type accessToken struct {
	accessClaims
	kid, alg string // of the key that signed it; "" = sealed
}

// readAccess verifies an access token of either form without the database. An ID token is never one: typ is checked (RFC 9068 §4).
func (p *Provider) readAccess(ctx context.Context, tok string) (*accessToken, error) {
	now := p.c.Now()
	if strings.HasPrefix(tok, prefixAccess) {
		a := new(accessToken)
		if !p.c.Keys.open(prefixAccess, tok, &a.accessClaims) || now.Unix() >= a.Expires {
			return nil, errBadToken
		}
		return a, nil
	}
	sum := sha256.Sum256([]byte(tok))
	a := p.seen.get(sum)
	if a != nil { // the signature was checked; the key may have been taken out of use since
		if _, ok := p.c.Keys.verifyKey(ctx, a.kid, a.alg); !ok {
			return nil, errBadToken
		}
	} else {
		raw, kid, alg, err := p.accessPayload(ctx, tok, sum)
		if err != nil {
			return nil, err
		}
		a = &accessToken{kid: kid, alg: alg}
		if err := json.Unmarshal(raw, &a.accessClaims); err != nil || a.Issuer != p.c.Issuer || a.ID == "" || a.ClientID == "" {
			return nil, errBadToken
		}
		if now.Unix() < a.Expires {
			p.seen.put(sum, a)
		}
	}
	if now.Unix() >= a.Expires {
		return nil, errBadToken
	}
	return a, nil
}

// accessPayload verifies the signature, unless this very token is one that was signed or verified here before.
func (p *Provider) accessPayload(ctx context.Context, tok string, sum [32]byte) (payload []byte, kid, alg string, err error) {
	if by, ok := p.seen.signedBy(sum); ok {
		if _, ok := p.c.Keys.verifyKey(ctx, by.kid, by.alg); !ok {
			return nil, "", "", errBadToken
		}
		_, rest, _ := strings.Cut(tok, ".")
		middle, _, _ := strings.Cut(rest, ".")
		if payload, err = b64.DecodeString(middle); err != nil {
			return nil, "", "", errBadToken
		}
		return payload, by.kid, by.alg, nil
	}
	payload, h, err := p.verifyJWT(ctx, tok, typAccess)
	return payload, h.KeyID, h.Algorithm, err
}

// verifyJWT checks a JWT of our own making: size and shape first, then typ, then the algorithm that belongs to its kid (security.md B7,
// B9). It returns payload and header; exp is the caller's business.
func (p *Provider) verifyJWT(ctx context.Context, tok, typ string) (payload []byte, h jose.Header, err error) {
	if len(tok) > maxJWT || strings.Count(tok, ".") != 2 {
		return nil, h, errBadToken
	}
	jws, err := jose.ParseSignedCompact(tok, joseAlgs)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, h, errBadToken
	}
	h = jws.Signatures[0].Protected
	if t, _ := h.ExtraHeaders[jose.HeaderType].(string); t != typ || h.KeyID == "" || h.JSONWebKey != nil {
		return nil, h, errBadToken
	}
	if _, crit := h.ExtraHeaders["crit"]; crit {
		return nil, h, errBadToken
	}
	key, ok := p.c.Keys.verifyKey(ctx, h.KeyID, h.Algorithm)
	if !ok {
		return nil, h, errBadToken
	}
	if payload, err = jws.Verify(key); err != nil {
		return nil, h, errBadToken
	}
	return payload, h, nil
}

// hint reads an ID token given back to us; an expired one is as good (OIDC Core §3.1.2.1, RP-Initiated Logout §2).
func (p *Provider) hint(ctx context.Context, tok string) (*idHint, error) {
	raw, _, err := p.verifyJWT(ctx, tok, typJWT)
	if err != nil {
		return nil, err
	}
	h := new(idHint)
	if err := json.Unmarshal(raw, h); err != nil || h.Issuer != p.c.Issuer || h.Subject == "" || h.Audience == "" || h.Expires == 0 { // signed userinfo has no exp
		return nil, errBadToken
	}
	return h, nil
}

type idHint struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	SID      string `json:"sid"`
	Expires  int64  `json:"exp"`
}

// liveAccess says whether the token still stands, and reads what stands behind it: one statement.
func (p *Provider) liveAccess(ctx context.Context, a *accessToken) (*store.Grant, *store.Live, error) {
	if a.GrantID == "" { // client_credentials: the client, and a marker should it have been revoked
		if _, err := p.client(ctx, a.ClientID); errors.Is(err, errNoClient) {
			return nil, nil, errDead
		} else if err != nil {
			return nil, nil, err
		}
		revoked, err := p.c.Store.Marked(ctx, revocationMarker(a))
		if err != nil {
			return nil, nil, err
		}
		if revoked {
			return nil, nil, errDead
		}
		return nil, nil, nil
	}
	g, l, err := p.c.Store.LiveGrant(ctx, a.GrantID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, errDead
	}
	if err != nil {
		return nil, nil, err
	}
	if g.ClientID != a.ClientID || g.UserID != a.Subject {
		return nil, nil, errDead
	}
	if _, err := p.client(ctx, g.ClientID); errors.Is(err, errNoClient) {
		return nil, nil, errDead
	} else if err != nil {
		return nil, nil, err
	}
	return g, l, p.alive(ctx, g, l, p.c.Now())
}

func revocationMarker(a *accessToken) string {
	return HashSecret("revoked\x00" + a.ClientID + "\x00" + a.ID)
}

// hasScope of the token, exactly.
func (a *accessToken) hasScope(s string) bool { return slices.Contains(strings.Fields(a.Scope), s) }

// verified remembers access tokens whose signature was made or checked here, by SHA-256 of the whole token: many as the bare fact, the
// latest with their claims. Both are bounded. Only the signature is remembered; whether its key still stands, whether the token is over
// and whether it is live is asked every time.
type verified struct {
	mu     sync.RWMutex
	tokens generations[*accessToken]
	signed generations[signedBy]
}

type signedBy struct{ kid, alg string }

func newVerified(tokens, signed int) *verified {
	return &verified{tokens: generations[*accessToken]{max: tokens}, signed: generations[signedBy]{max: signed}}
}

func (v *verified) get(k [32]byte) *accessToken {
	v.mu.RLock()
	defer v.mu.RUnlock()
	a, _ := v.tokens.get(k)
	return a
}

func (v *verified) signedBy(k [32]byte) (signedBy, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.signed.get(k)
}

func (v *verified) put(k [32]byte, a *accessToken) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tokens.put(k, a)
	v.signed.put(k, signedBy{a.kid, a.alg})
}

// generations is a bounded map: when the young one is full it becomes the old one, which stays readable, and the old one is forgotten.
type generations[T any] struct {
	young, old map[[32]byte]T
	max        int
}

func (g *generations[T]) get(k [32]byte) (T, bool) {
	if v, ok := g.young[k]; ok {
		return v, true
	}
	v, ok := g.old[k]
	return v, ok
}

func (g *generations[T]) put(k [32]byte, v T) {
	if g.young == nil || len(g.young) >= g.max {
		g.old, g.young = g.young, map[[32]byte]T{}
	}
	g.young[k] = v
}
