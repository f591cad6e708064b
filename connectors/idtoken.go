package connectors

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"
)

// tokenMaxAge is how long ago an ID Token may have been made: we ask for it in the moment we want it.
const tokenMaxAge = 10 * time.Minute

// expected is what a JWT of an upstream must say.
type expected struct {
	issuers    []string // accepted spellings, the exact values
	keyIssuers []string // what a key that names an issuer may name; nil = issuers
	clientID   string
	nonce      string
	access     string // the access token that came along, "" = none
	algs       []string
	now        func() time.Time
}

func (e *expected) signature(keys *keySet) *signature {
	s := &signature{keys: keys, algs: e.algs, keyIssuers: e.keyIssuers}
	if s.keyIssuers == nil {
		s.keyIssuers = e.issuers
	}
	return s
}

// issuer is the accepted spelling that the token uses.
func (e *expected) issuer(raw string) (string, error) {
	c, err := unverified(raw)
	if err != nil {
		return "", err
	}
	iss, _ := c["iss"].(string)
	if !slices.Contains(e.issuers, iss) {
		return "", fmt.Errorf("the issuer is %q", clean(iss))
	}
	return iss, nil
}

// checkIDToken verifies an ID Token (OpenID Connect Core §3.1.3.7) and returns its claims.
func checkIDToken(ctx context.Context, raw string, keys *keySet, e *expected) (claims, error) {
	c, err := e.idToken(ctx, raw, keys)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			err = fail(Invalid, "the ID Token: %w", err)
		}
		return nil, err
	}
	return c, nil
}

func (e *expected) idToken(ctx context.Context, raw string, keys *keySet) (claims, error) {
	if err := checkJOSE(raw, e.algs, []string{"", "jwt", "application/jwt"}); err != nil {
		return nil, err
	}
	iss, err := e.issuer(raw)
	if err != nil {
		return nil, err
	}
	sig := e.signature(keys)
	if _, err := verifierFor(iss, e.clientID, sig, e.now).Verify(ctx, raw); err != nil {
		if sig.trouble != nil {
			return nil, sig.trouble
		}
		return nil, err
	}
	// From here on the claims are the upstream's. They are read by exact name, which go-oidc does not do.
	c, err := unverified(raw)
	if err != nil {
		return nil, err
	}
	if err := e.common(c); err != nil {
		return nil, err
	}
	if n := c.exact("nonce"); e.nonce == "" || subtle.ConstantTimeCompare([]byte(n), []byte(e.nonce)) != 1 {
		return nil, errors.New("the nonce is not that of this sign-in")
	}
	if h, ok := c["at_hash"]; ok {
		if err := checkHash(h, e.access, algOf(raw)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// common are the checks of claims that every JWT of an upstream must pass.
func (e *expected) common(c claims) error {
	if iss, _ := c["iss"].(string); !slices.Contains(e.issuers, iss) {
		return fmt.Errorf("the issuer is %q", clean(iss))
	}
	aud := c.list("aud")
	if members, ok := c["aud"].([]any); !slices.Contains(aud, e.clientID) || ok && len(members) != len(aud) {
		return errors.New("made for another client")
	}
	// With several audiences azp must say that it was issued to us; alone it must not say otherwise.
	if azp, ok := c["azp"]; ok && azp != e.clientID || !ok && len(aud) > 1 {
		return errors.New("issued to another client")
	}
	now := e.now()
	exp, ok := c.time("exp")
	if !ok || !now.Before(exp) {
		return errors.New("expired, or without an expiry")
	}
	iat, ok := c.time("iat")
	switch {
	case !ok:
		return errors.New("without the time it was made")
	case now.Sub(iat) > tokenMaxAge:
		return fmt.Errorf("made %s ago", now.Sub(iat).Round(time.Second))
	case iat.Sub(now) > tokenSkew:
		return fmt.Errorf("made %s from now: one of the clocks is wrong", iat.Sub(now).Round(time.Second))
	}
	if _, there := c["nbf"]; there {
		if nbf, ok := c.time("nbf"); !ok || nbf.Sub(now) > tokenSkew {
			return errors.New("not valid yet")
		}
	}
	if _, there := c["sub"]; there {
		if _, isText := c["sub"].(string); !isText {
			return errors.New("sub is no string")
		}
	}
	return nil
}

// checkHash compares at_hash (OpenID Connect Core §3.1.3.6).
func checkHash(claim any, access, alg string) error {
	want, ok := claim.(string)
	if !ok || access == "" {
		return errors.New("at_hash without an access token, or no string")
	}
	var h hash.Hash
	switch {
	case strings.HasSuffix(alg, "256"):
		h = sha256.New()
	case strings.HasSuffix(alg, "384"):
		h = sha512.New384()
	default:
		h = sha512.New()
	}
	h.Write([]byte(access))
	sum := h.Sum(nil)
	if got := encode64(sum[:len(sum)/2]); subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return errors.New("at_hash belongs to another access token")
	}
	return nil
}

func algOf(raw string) string {
	head, _, _ := strings.Cut(raw, ".")
	b, _ := decode64(head)
	h, _ := readClaims(b)
	return h.exact("alg")
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode64 takes one spelling of each value (RFC 7515 §2): with line breaks, which Go skips, or other bits behind the last, a JWT that was
// seen before would look like a new one.
func decode64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line breaks in base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// maxSID is the longest name of an upstream's session, in bytes.
const maxSID = 1000

// logoutEvent is the member of events that makes a JWT a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// checkLogoutToken verifies a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6). A replay within its ten minutes ends what is
// ended already.
func checkLogoutToken(ctx context.Context, raw string, keys *keySet, e *expected) (subject, sid string, err error) {
	subject, sid, err = e.logoutToken(ctx, raw, keys)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			err = fail(Invalid, "the logout token: %w", err)
		}
		return "", "", err
	}
	return subject, sid, nil
}

func (e *expected) logoutToken(ctx context.Context, raw string, keys *keySet) (subject, sid string, err error) {
	if err := checkJOSE(raw, e.algs, []string{"", "jwt", "logout+jwt", "application/logout+jwt"}); err != nil {
		return "", "", err
	}
	iss, err := e.issuer(raw)
	if err != nil {
		return "", "", err
	}
	sig := e.signature(keys)
	if _, err := verifierFor(iss, e.clientID, sig, e.now).VerifyLogout(ctx, raw); err != nil {
		if sig.trouble != nil {
			return "", "", sig.trouble
		}
		return "", "", err
	}
	c, err := unverified(raw)
	if err != nil {
		return "", "", err
	}
	if err := e.common(c); err != nil {
		return "", "", err
	}
	events, _ := c["events"].(map[string]any)
	if _, ok := events[logoutEvent].(map[string]any); !ok {
		return "", "", errors.New("no logout event")
	}
	if _, ok := c["nonce"]; ok {
		return "", "", errors.New("has a nonce: an ID Token")
	}
	if c.exact("jti") == "" {
		return "", "", errors.New("without jti")
	}
	subject, sid = c.exact("sub"), c.exact("sid")
	if _, there := c["sub"]; there && !isKey(subject, 255) {
		return "", "", errors.New("names nobody")
	}
	if _, there := c["sid"]; there && !isKey(sid, maxSID) {
		return "", "", errors.New("names no session")
	}
	if subject == "" && sid == "" {
		return "", "", errors.New("names neither a person nor a session")
	}
	return subject, sid, nil
}
