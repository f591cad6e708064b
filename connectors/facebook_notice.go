package connectors

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// maxNotice caps a signed_request in bytes.
const maxNotice = 8 << 10

// Deauthorized returns the person whom a signed_request is about: base64url(signature) "." base64url(JSON), the signature being an HMAC over
// the encoded JSON. Facebook sends one when somebody removes the app and one when they ask for their data to be deleted; the JSON does not
// say which, only the address does.
func (f *Facebook) Deauthorized(signedRequest string, now time.Time) (subject string, err error) {
	c, err := f.notice(signedRequest)
	if err != nil {
		return "", fail(Invalid, "signed_request: %w", err)
	}
	issued, ok := c.time("issued_at")
	switch {
	case !ok:
		return "", fail(Invalid, "signed_request: without the time it was made")
	case now.Sub(issued) > f.cfg.NoticeMaxAge:
		return "", fail(Invalid, "signed_request: made %s ago", now.Sub(issued).Round(time.Second))
	case issued.Sub(now) > tokenSkew:
		return "", fail(Invalid, "signed_request: made %s from now", issued.Sub(now).Round(time.Second))
	}
	subject, err = c.subject("user_id")
	if err != nil || !decimal.MatchString(subject) {
		return "", fail(Invalid, "signed_request: names nobody")
	}
	return subject, nil
}

// notice verifies the signature before it reads anything else.
func (f *Facebook) notice(signedRequest string) (claims, error) {
	if len(signedRequest) > maxNotice {
		return nil, errors.New("too long")
	}
	encodedSignature, payload, ok := strings.Cut(signedRequest, ".")
	if !ok || payload == "" {
		return nil, errors.New("not of two parts")
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(encodedSignature)
	if err != nil || len(signature) != sha256.Size || len(encodedSignature) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return nil, errors.New("the signature is none")
	}
	m := hmac.New(sha256.New, []byte(f.cfg.ClientSecret))
	m.Write([]byte(payload))
	if !hmac.Equal(signature, m.Sum(nil)) {
		return nil, errors.New("the signature is not Facebook's")
	}
	body, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil, errors.New("the payload is not base64url")
	}
	c, err := readClaims(body)
	if err != nil {
		return nil, err
	}
	if c.exact("algorithm") != "HMAC-SHA256" {
		return nil, errors.New("another algorithm than HMAC-SHA256")
	}
	return c, nil
}
