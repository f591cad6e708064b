package provider

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

// What clients sign: assertions that prove who they are (RFC 7523) and authorization requests (RFC 9101). Both are read here, before any other
// parser sees them.

// clientSkew is how far a client's clock may differ from ours.
const clientSkew = 30 * time.Second

// jsonObject is a JSON object that somebody signed, read by exact name. Numbers stay as they were written.
type jsonObject map[string]any

// readObject decodes one JSON object, the whole of b. A name that comes twice is refused: which of the two counts is anybody's guess (RFC 8259 §4).
func readObject(b []byte) (jsonObject, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var o jsonObject
	if err := d.Decode(&o); err != nil || o == nil {
		return nil, errors.New("not a JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	if repeatsName(b) {
		return nil, errors.New("a name comes twice")
	}
	return o, nil
}

// repeatsName says whether some object within b, which is valid JSON, has a name twice.
func repeatsName(b []byte) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var open []map[string]bool // names of the objects and lists that are open, nil for lists
	name := false              // a name comes next
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		switch t {
		case json.Delim('{'):
			open, name = append(open, map[string]bool{}), true
			continue
		case json.Delim('['):
			open, name = append(open, nil), false
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if s, ok := t.(string); ok && name {
				names := open[len(open)-1]
				if names[s] {
					return true
				}
				names[s], name = true, false
				continue
			}
		}
		name = len(open) > 0 && open[len(open)-1] != nil // a value ended
	}
}

// text is a string member, "" when it is absent or no string.
func (o jsonObject) text(name string) string {
	s, _ := o[name].(string)
	return s
}

// date is a NumericDate (RFC 7519 §2): seconds, possibly with a fraction. there says whether the member is; ok, whether it is one.
func (o jsonObject) date(name string) (t time.Time, there, ok bool) {
	v, there := o[name]
	n, isNumber := v.(json.Number)
	if !isNumber {
		return time.Time{}, there, false
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1<<40 {
		return time.Time{}, true, false
	}
	return time.UnixMilli(int64(math.Floor(f * 1000))), true, true
}

// audience is aud, one string or several; false when it is neither.
func (o jsonObject) audience() ([]string, bool) {
	switch v := o["aud"].(type) {
	case string:
		return []string{v}, true
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, len(out) > 0
	}
	return nil, false
}

// inTime checks exp, iat and nbf as far as they are there: nothing over, nothing from the future, and no exp later than longest from now.
func (o jsonObject) inTime(now time.Time, longest time.Duration) error {
	if exp, there, ok := o.date("exp"); there {
		switch {
		case !ok:
			return errors.New("exp is no time")
		case !now.Before(exp.Add(clientSkew)):
			return errors.New("expired")
		case exp.Sub(now) > longest+clientSkew:
			return fmt.Errorf("exp is more than %s from now", longest)
		}
	}
	for _, name := range []string{"iat", "nbf"} {
		if at, there, ok := o.date(name); there && (!ok || at.Sub(now) > clientSkew) {
			return fmt.Errorf("%s is no time, or one to come", name)
		}
	}
	return nil
}

// clientJWT is a JWT whose shape and header are good. Its claims are nobody's until verify said so.
type clientJWT struct {
	raw      string
	alg, kid string
	typ      string // lower case, without application/
	claims   jsonObject
}

// readJWT looks at a JWT before anything else does (security.md B7, B9): size, three parts, an algorithm of the list, a type of the list, and no
// header that brings or names keys of its own: only registered ones count.
func readJWT(raw string, algs, types []string) (*clientJWT, error) {
	if len(raw) > maxJWT {
		return nil, fmt.Errorf("longer than %d bytes", maxJWT)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a signed JWT in compact form")
	}
	var decoded [3][]byte
	for i, part := range parts {
		b, err := strictB64(part)
		if err != nil {
			return nil, errors.New("not base64url")
		}
		decoded[i] = b
	}
	h, err := readObject(decoded[0])
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	t := &clientJWT{raw: raw, alg: h.text("alg"), kid: h.text("kid"), typ: strings.TrimPrefix(strings.ToLower(h.text("typ")), "application/")}
	if !slices.Contains(algs, t.alg) {
		return nil, fmt.Errorf("signed with %q, which this client may not use here", clean(t.alg))
	}
	if !slices.Contains(types, t.typ) {
		return nil, fmt.Errorf("of type %q", clean(t.typ))
	}
	for _, name := range []string{"crit", "jku", "jwk", "x5u", "b64", "zip", "enc"} {
		if _, ok := h[name]; ok {
			return nil, fmt.Errorf("the header has %s", name)
		}
	}
	for name, v := range map[string]string{"kid": t.kid, "typ": t.typ} {
		if _, ok := h[name]; ok && v == "" {
			return nil, fmt.Errorf("%s is no text", name)
		}
	}
	if t.claims, err = readObject(decoded[1]); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	return t, nil
}

// verify says whether key, whose type must be that of the algorithm, made the signature.
func (t *clientJWT) verify(key any) bool {
	if !keyFits(t.alg, key) {
		return false
	}
	jws, err := jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.alg)})
	if err != nil || len(jws.Signatures) != 1 {
		return false
	}
	_, err = jws.Verify(key)
	return err == nil
}

// keyFits: a public key of one kind only for each asymmetric algorithm, bytes only for HS256. An RSA key is never a shared secret (security.md B7).
func keyFits(alg string, key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return (alg == algRS256 || alg == algPS256) && bits >= 2048 && bits <= 8192 // RFC 7518 §3.3; larger ones cost us, not them
	case *ecdsa.PublicKey:
		return alg == algES256 && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return alg == algEdDSA && len(k) == ed25519.PublicKeySize
	case []byte:
		return alg == algHS256 && len(k) >= 32 // RFC 7518 §3.2
	}
	return false
}
