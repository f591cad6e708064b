package connectortest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// checkAssertion verifies a client assertion (RFC 7523 §3): a fresh JWT of the application's own key, for this endpoint, used once.
func (o *op) checkAssertion(r *http.Request, c *Client) error {
	if r.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return errors.New("client_assertion_type is wrong")
	}
	parts := strings.Split(r.PostForm.Get("client_assertion"), ".")
	if len(parts) != 3 || c.Key == nil {
		return errors.New("the client assertion is no JWT, or the application has no key")
	}
	var head struct{ Alg, Kid string }
	var body struct {
		Iss, Sub, Aud, Jti string
		Exp, Iat           int64
	}
	for i, to := range []any{&head, &body} {
		b, err := decode64(parts[i])
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, to); err != nil {
			return err
		}
	}
	sig, err := decode64(parts[2])
	if err != nil || !verifies(c.Key, head.Alg, parts[0]+"."+parts[1], sig) {
		return errors.New("the client assertion's signature does not verify")
	}
	now := o.time()
	here := "http://" + r.Host + r.URL.Path
	switch {
	case body.Iss != c.ID || body.Sub != c.ID:
		return errors.New("the client assertion is of another client")
	case body.Aud != here:
		return fmt.Errorf("the client assertion is for %q, not for %q", body.Aud, here)
	case body.Exp <= now.Unix() || body.Exp > now.Add(time.Hour).Unix():
		return errors.New("the client assertion is expired or lasts too long")
	case body.Jti == "" || o.seen("assertion "+body.Jti):
		return errors.New("the client assertion was used before")
	}
	return nil
}

func verifies(key crypto.PublicKey, alg, signed string, sig []byte) bool {
	sum := sha256.Sum256([]byte(signed))
	switch k := key.(type) {
	case *rsa.PublicKey:
		if alg == "PS256" {
			return rsa.VerifyPSS(k, crypto.SHA256, sum[:], sig, nil) == nil
		}
		return alg == "RS256" && rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	case *ecdsa.PublicKey:
		return alg == "ES256" && len(sig) == 64 && ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	}
	return false
}

// seen remembers what may come once.
func (b *base) seen(s string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.once, s) {
		return true
	}
	b.once = append(b.once, s)
	return false
}
