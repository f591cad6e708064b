package web

import (
	"context"
	"crypto/rand"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// kind of the route that answers.
type kind uint8

const (
	kindNone kind = iota // no route matched, or the request never got that far
	kindPage
	kindAPI
)

// response is one request's state and the writer its handlers see. There is one per request and it is never reused.
type response struct {
	http.ResponseWriter
	mux    *Mux
	id     string
	ip     netip.Addr
	secure bool
	kind   kind

	status int
	wrote  bool // the header is out
	cut    bool // the connection must end
	muted  bool // ServeMux itself is answering: keep its status and Allow, drop its text
	err    error

	frameOrigins string // sources of frame-src, likewise
	formTargets  string // further sources of form-action, each with a space before it
	imageOrigins string // further sources of img-src, likewise
	uiLocales    string
	token        string // form token of this response, once made

	attrs   []slog.Attr
	attrBuf [8]slog.Attr
}

type contextKey struct{}

func responseOf(ctx context.Context) *response {
	res, _ := ctx.Value(contextKey{}).(*response)
	return res
}

// writerOf finds our writer under whatever was wrapped around it.
func writerOf(w http.ResponseWriter) *response {
	for {
		switch x := w.(type) {
		case *response:
			return x
		case interface{ Unwrap() http.ResponseWriter }:
			w = x.Unwrap()
		default:
			return nil
		}
	}
}

// Unwrap serves http.ResponseController.
func (res *response) Unwrap() http.ResponseWriter { return res.ResponseWriter }

// take makes the response that of a route.
func (res *response) take(k kind, headers []header) {
	res.kind, res.muted, res.status = k, false, 0
	setHeaders(res.Header(), headers)
}

// WriteHeader implements http.ResponseWriter: the policy is added at the last moment, when its sources are known.
func (res *response) WriteHeader(status int) {
	if res.wrote {
		return
	}
	if res.muted {
		res.status = status
		return
	}
	if status >= 200 { // 1xx are not the answer
		res.wrote, res.status = true, status
		res.setPolicy()
		if res.kind == kindAPI {
			delete(res.Header(), "Set-Cookie")
		}
	}
	res.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (res *response) Write(b []byte) (int, error) {
	if res.muted {
		return len(b), nil
	}
	if !res.wrote {
		res.WriteHeader(http.StatusOK)
	}
	return res.ResponseWriter.Write(b)
}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	res := &response{ResponseWriter: w, mux: m, id: newRequestID()}
	res.attrs = res.attrBuf[:0]
	res.ip, res.secure = m.client(r)
	r = r.WithContext(context.WithValue(r.Context(), contextKey{}, res))
	started := time.Now()
	defer m.finish(res, r, started)
	w.Header()["X-Request-Id"] = []string{res.id}
	m.route(res, r)
}

func (m *Mux) route(res *response, r *http.Request) {
	if !m.hosts[strings.ToLower(r.Host)] {
		m.fail(res, r, &Error{Status: http.StatusMisdirectedRequest}) // security.md I1
		return
	}
	if r.Method == http.MethodConnect || !cleanPath(r.URL) {
		m.fail(res, r, &Error{Status: http.StatusNotFound})
		return
	}
	// A route of ours takes the response over by setting its kind; whatever ServeMux says in its own words stays unsaid.
	res.muted = true
	m.mux.ServeHTTP(res, r)
	if res.kind != kindNone {
		return
	}
	status := res.status // ServeMux's
	res.muted, res.status = false, 0
	if status != http.StatusMethodNotAllowed { // whose Allow header stays
		status = http.StatusNotFound
		delete(res.Header(), "Location")
	}
	m.fail(res, r, &Error{Status: status})
}

// cleanPath says whether a path is written the one way it can be: no empty or dot segments, no hidden slashes (security.md I5).
// ServeMux would redirect some of these and match others; nobody of ours sends any.
func cleanPath(u *url.URL) bool {
	p := u.Path
	if p == "" || p[0] != '/' || strings.Contains(p, "//") || strings.Contains(p, "/./") || strings.Contains(p, "/../") ||
		strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..") {
		return false
	}
	for i := range len(p) {
		if c := p[i]; c < ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	return u.RawPath == "" || !strings.Contains(strings.ToLower(u.RawPath), "%2f")
}

// finish writes the access line, and answers for a handler that panicked.
func (m *Mux) finish(res *response, r *http.Request, started time.Time) {
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler {
			res.cut = true
		} else {
			m.panicked(res, r, v)
		}
	}
	took := time.Since(started)
	if res.status == 0 {
		res.status = http.StatusOK // net/http sends it for a handler that wrote nothing
		if !res.wrote && !res.cut {
			res.WriteHeader(http.StatusOK)
		}
	}
	if m.c.Observe != nil {
		m.c.Observe(r.Pattern, r.Method, res.status, took)
	}
	level := slog.LevelInfo
	if res.status >= 500 {
		level = slog.LevelError
	}
	if m.c.Logger.Enabled(r.Context(), level) {
		var buf [16]slog.Attr
		line := append(buf[:0],
			slog.String("method", r.Method), slog.String("pattern", r.Pattern), slog.Int("status", res.status),
			slog.Duration("took", took), slog.String("ip", res.ip.String()), slog.String("ref", res.id))
		line = append(line, res.attrs...)
		if res.err != nil {
			line = append(line, slog.String("error", res.err.Error()))
		}
		m.c.Logger.LogAttrs(r.Context(), level, "request", line...)
	}
	if res.cut {
		panic(http.ErrAbortHandler)
	}
}

func (m *Mux) panicked(res *response, r *http.Request, v any) {
	if m.c.Panicked != nil {
		m.c.Panicked()
	}
	m.c.Logger.LogAttrs(r.Context(), slog.LevelError, "handler panicked",
		slog.Any("panic", v), slog.String("stack", string(debug.Stack())), slog.String("pattern", r.Pattern), slog.String("ref", res.id))
	res.muted = false
	defer func() {
		if recover() != nil { // the error page panicked as well
			res.cut = true
		}
	}()
	m.fail(res, r, &Error{Status: http.StatusInternalServerError})
}

// maxFormKeys bounds what a form may hold (security.md I3).
const maxFormKeys = 100

// readForm limits the body and parses a form. Other bodies are the handler's to read, within the same limit.
func (m *Mux) readForm(res *response, r *http.Request, maxBody int64) error {
	if r.ContentLength > maxBody {
		return &Error{Status: http.StatusRequestEntityTooLarge}
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	r.Body = http.MaxBytesReader(res.ResponseWriter, r.Body, maxBody)
	if !isForm(r.Header.Get("Content-Type")) {
		return nil
	}
	if strings.Count(r.URL.RawQuery, "&") >= maxFormKeys {
		return &Error{Status: http.StatusBadRequest}
	}
	if err := r.ParseForm(); err != nil {
		if e := explain(err); e.Status == http.StatusRequestEntityTooLarge {
			return e
		}
		return &Error{Status: http.StatusBadRequest} // without the cause: it quotes what was sent
	}
	n := 0
	for _, values := range r.PostForm {
		n += len(values)
	}
	if n > maxFormKeys {
		return &Error{Status: http.StatusBadRequest}
	}
	return nil
}

func isForm(contentType string) bool {
	if contentType == "application/x-www-form-urlencoded" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == "application/x-www-form-urlencoded"
}

// newRequestID: 16 characters, 80 bits: unique, and nothing hangs on guessing it.
func newRequestID() string { return strings.ToLower(rand.Text()[:16]) }

// RequestID of this request, also the reference on error pages; "" outside of one.
func RequestID(ctx context.Context) string {
	if res := responseOf(ctx); res != nil {
		return res.id
	}
	return ""
}

// LogAttrs adds attributes to the one access line of this request. Never codes, tokens, phone numbers or query strings.
func LogAttrs(ctx context.Context, attrs ...slog.Attr) {
	if res := responseOf(ctx); res != nil {
		res.attrs = append(res.attrs, attrs...)
	}
}

// ClientIP is the peer, or the rightmost untrusted hop when the peer is a trusted proxy. Not valid outside of a request.
func ClientIP(ctx context.Context) netip.Addr {
	if res := responseOf(ctx); res != nil {
		return res.ip
	}
	return netip.Addr{}
}

// Secure says whether the browser's side of the connection is https.
func Secure(ctx context.Context) bool {
	res := responseOf(ctx)
	return res != nil && res.secure
}
