package server

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/latchkey-idp/latchkey/internal/web"
)

// newLogger writes to w; nil means standard error.
func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	if w == nil {
		w = os.Stderr
	}
	o := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(refHandler{slog.NewTextHandler(w, o)})
	}
	return slog.New(refHandler{slog.NewJSONHandler(w, o)})
}

// refHandler adds the request's reference, the one error pages show, to everything logged with its context.
type refHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h refHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := web.RequestID(ctx); id != "" && !hasRef(r) {
		r.AddAttrs(slog.String("ref", id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h refHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return refHandler{h.Handler.WithAttrs(as)}
}

// WithGroup implements slog.Handler.
func (h refHandler) WithGroup(name string) slog.Handler { return refHandler{h.Handler.WithGroup(name)} }

// hasRef: the access line brings it along.
func hasRef(r slog.Record) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == "ref"
		return !found
	})
	return found
}
