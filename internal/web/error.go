package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Error is the only error that may speak to a person.
type Error struct {
	Status int            // HTTP status
	Key    string         // translation key of the explanation ("error.flow_expired"), never a Go error text; "" = by the status
	Args   map[string]any // of the explanation
	Code   string         // machine code shown on the page, data-error; "" = derived from the status
	Err    error          // logged, not shown
	Retry  time.Duration  // > 0: Retry-After

	RetryURL   string // the same once more at an upstream, "" = none
	RestartURL string // a way to start over, or another way in, "" = none
	ReturnURL  string // a way back to where the person came from, "" = none
	ReturnName string
}

func (e *Error) Error() string {
	s := strconv.Itoa(e.Status) + " " + e.Key
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// statusClientGone is what the access line says of a request whose client hung up: no answer was due.
const statusClientGone = 499

// retryUnavailable is when to come back after a database did not answer.
const retryUnavailable = 2 * time.Second

// explain translates any error into one that may be shown. Whatever nobody foresaw is a 500 that says nothing (security.md H6).
func explain(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		shown := *e
		if errors.Is(err, store.ErrUnavailable) && shown.Status != http.StatusServiceUnavailable {
			// Trouble with the database is never a wrong-reason 4xx (security.md J1).
			return &Error{Status: http.StatusServiceUnavailable, Err: err, Retry: retryUnavailable}
		}
		if shown.Status < 400 || shown.Status > 599 {
			shown.Status = http.StatusInternalServerError
		}
		return &shown
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: http.StatusServiceUnavailable, Err: err, Retry: retryUnavailable}
	case errors.As(err, &tooLarge):
		return &Error{Status: http.StatusRequestEntityTooLarge, Err: err}
	}
	return &Error{Status: http.StatusInternalServerError, Err: err}
}

// texts of statuses: the translation key and the machine code.
func byStatus(status int) (key, code string) {
	switch status {
	case http.StatusForbidden:
		return "error.forbidden", "access_denied"
	case http.StatusNotFound:
		return "error.not_found", "not_found"
	case http.StatusMethodNotAllowed:
		return "error.method", "method_not_allowed"
	case http.StatusRequestEntityTooLarge:
		return "error.too_large", "request_too_large"
	case http.StatusMisdirectedRequest:
		return "error.wrong_host", "misdirected_request"
	case http.StatusTooManyRequests:
		return "error.too_many", "too_many_requests"
	case http.StatusServiceUnavailable:
		return "error.unavailable", "temporarily_unavailable"
	}
	if status >= 500 {
		return "error.internal", "server_error"
	}
	return "error.bad_request", "invalid_request"
}

// fail answers with err: the one translation for pages, and for API routes whose package has no own.
func (m *Mux) fail(res *response, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		res.status = statusClientGone
		return
	}
	e := explain(err)
	key, code := byStatus(e.Status)
	if e.Key == "" {
		e.Key = key
	}
	if e.Code == "" {
		e.Code = code
	}
	res.err = err
	if res.wrote {
		// Too late to say anything. Cutting the connection keeps a half-written page from passing for a whole one.
		res.cut = true
		return
	}
	h := res.Header()
	for _, k := range []string{"Location", "Content-Length", "Content-Encoding", "Content-Type", "Content-Disposition", "Etag", "Last-Modified"} {
		delete(h, k) // of the answer that will not be given
	}
	h["Cache-Control"] = noStore
	if e.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.Retry.Seconds()))))
	}
	if res.kind == kindAPI || res.kind == kindNone && wantsJSON(r) {
		m.failJSON(res, e)
		return
	}
	m.failPage(res, r, e)
}

func (m *Mux) failPage(res *response, r *http.Request, e *Error) {
	if res.kind == kindNone {
		res.take(kindPage, m.pageHeaders)
	}
	page := &templates.ErrorPage{
		Base: m.base(res, r, false), Status: e.Status, Code: e.Code, Key: e.Key, Args: e.Args,
		RetryURL: e.RetryURL, RestartURL: e.RestartURL, ReturnURL: e.ReturnURL, ReturnName: e.ReturnName,
	}
	page.Error = true
	if err := m.c.Templates.Render(res, e.Status, page); err != nil && !res.wrote {
		// The last resort needs no template: it was rendered at start.
		m.c.Logger.LogAttrs(r.Context(), slog.LevelError, "error page not rendered", slog.String("error", err.Error()), slog.String("ref", res.id))
		res.Header().Set("Content-Type", "text/html; charset=utf-8")
		res.WriteHeader(http.StatusInternalServerError)
		_, _ = res.Write(m.c.Templates.Fatal(res.id)) // the peer is gone: nobody to tell
	}
}

// failJSON writes the shape of RFC 6749 §5.2 with the reference in place of a description.
func (m *Mux) failJSON(res *response, e *Error) {
	if res.kind == kindNone {
		res.take(kindAPI, m.apiHeaders)
	}
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(struct {
		Error string `json:"error"`
		Ref   string `json:"reference"`
	}{e.Code, res.id}) // two strings: cannot fail
	res.Header().Set("Content-Type", "application/json")
	res.WriteHeader(e.Status)
	_, _ = res.Write(b.Bytes()) // the peer is gone: nobody to tell
}

// wantsJSON says whether an address that is no route of ours was asked for by a program. It chooses the shape of a 404, nothing else.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	if strings.Contains(accept, "text/html") {
		return false
	}
	if strings.Contains(accept, "application/json") {
		return true
	}
	for _, prefix := range []string{"/oauth2/", "/.well-known/", "/api/"} {
		if strings.HasPrefix(r.URL.Path, prefix) {
			return true
		}
	}
	return false
}
