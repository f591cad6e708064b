package provider

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/ory/fosite"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/store"
)

// oauthError is what a client hears: a registered code and a plain sentence.
type oauthError struct {
	status int
	code   string
	text   string
	cause  error // logged only
}

func (e *oauthError) Error() string {
	if e.cause != nil {
		return e.code + ": " + e.text + ": " + e.cause.Error()
	}
	return e.code + ": " + e.text
}

func (e *oauthError) Unwrap() error { return e.cause }

func refuse(code, text string) *oauthError {
	return &oauthError{status: http.StatusBadRequest, code: code, text: text}
}

// standardCode maps the codes fosite invented to the ones the registry has (RFC 6749 §4.1.2.1, §5.2; OIDC Core §3.1.2.6).
var standardCode = map[string]string{
	"invalid_state":        "invalid_request",
	"insufficient_entropy": "invalid_request",
	"jti_known":            "invalid_client",
	"token_inactive":       "invalid_token",
	"token_expired":        "invalid_token",
	"scope_not_granted":    "invalid_scope",
	"request_unauthorized": "invalid_client",
	"error":                "server_error",
	"misconfiguration":     "server_error",
}

// toOAuth is the one translation from whatever went wrong to what a client hears.
func toOAuth(err error) *oauthError {
	var oe *oauthError
	switch {
	case errors.As(err, &oe):
		return oe
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// security.md J1: never 401 or a wrong-reason 400 for trouble of ours.
		return &oauthError{http.StatusServiceUnavailable, "temporarily_unavailable", "The service is busy. Try again in a moment.", err}
	case errors.Is(err, errReplay), errors.Is(err, errDead):
		return &oauthError{http.StatusBadRequest, "invalid_grant", "The grant is invalid, expired, revoked or was used before.", err}
	case errors.Is(err, errNoClient):
		return &oauthError{http.StatusUnauthorized, "invalid_client", "Client authentication failed.", err}
	}
	var fe *fosite.RFC6749Error
	if !errors.As(err, &fe) {
		return &oauthError{http.StatusInternalServerError, "server_error", "Something went wrong on our side.", err}
	}
	code := fe.ErrorField
	if c, ok := standardCode[code]; ok {
		code = c
	}
	status := fe.CodeField
	switch code {
	case "server_error":
		return &oauthError{http.StatusInternalServerError, code, "Something went wrong on our side.", err}
	case "invalid_client":
		status = http.StatusUnauthorized
	case "invalid_grant":
		// One text for unknown, expired, foreign and spent: the difference is nobody's business outside the log.
		return &oauthError{http.StatusBadRequest, code, "The grant is invalid, expired, revoked or was used before.", err}
	default:
		if status < 400 || status > 499 || status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound {
			status = http.StatusBadRequest // RFC 6749 §5.2
		}
	}
	text := fe.HintField
	if text == "" {
		text = fe.DescriptionField
	}
	return &oauthError{status, code, clean(text), err}
}

// clean keeps error_description within RFC 6749 §5.2's characters and free of quotes.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < 0x20 || r > 0x7e:
			return ' '
		}
		return r
	}, s)
}

// writeOAuthError answers a client in JSON (RFC 6749 §5.2).
func (p *Provider) writeOAuthError(w http.ResponseWriter, r *http.Request, err error) error {
	e := toOAuth(err)
	h := w.Header()
	switch e.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="`+p.c.Issuer+`"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
	p.logRefusal(r.Context(), e)
	return writeJSON(w, e.status, map[string]string{"error": e.code, "error_description": e.text})
}

// writeBearerError answers a resource request (RFC 6750 §3).
func (p *Provider) writeBearerError(w http.ResponseWriter, r *http.Request, e *oauthError, challenge string) error {
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	} else {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+p.c.Issuer+`"`+challenge)
	}
	p.logRefusal(r.Context(), e)
	return writeJSON(w, e.status, map[string]string{"error": e.code, "error_description": e.text})
}

func (p *Provider) logRefusal(ctx context.Context, e *oauthError) {
	p.c.Observe("refused", e.code)
	attrs := []slog.Attr{slog.String("oauth_error", e.code)}
	if e.cause != nil {
		attrs = append(attrs, slog.String("cause", debugText(e.cause)))
	}
	web.LogAttrs(ctx, attrs...)
	if e.status >= 500 {
		p.c.Logger.ErrorContext(ctx, "token endpoint failed", "oauth_error", e.code, "err", debugText(e.cause), "ref", web.RequestID(ctx))
	}
}

// debugText is for the log: fosite keeps the reason behind the code it answers.
func debugText(err error) string {
	if err == nil {
		return ""
	}
	var fe *fosite.RFC6749Error
	if errors.As(err, &fe) {
		if d := fe.Debug(); d != "" {
			return fe.ErrorField + ": " + d
		}
		return fe.ErrorField + ": " + fe.HintField
	}
	return err.Error()
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeBody(w, status, body)
}

func writeBody(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8")
	h.Set("Cache-Control", "no-store") // RFC 6749 §5.1
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
