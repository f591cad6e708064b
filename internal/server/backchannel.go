package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/delivery"
	"github.com/latchkey-idp/latchkey/internal/notify"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// logoutTimeout is of one try: an application that takes longer is asked again.
const logoutTimeout = 10 * time.Second

// openLogouts makes the worker that tells applications of ended sessions. It has senders of its own: an application that does not answer delays no
// mail, and a mail server no sign-out.
func (s *Server) openLogouts(context.Context) error {
	client := logoutClient(s.cfg)
	var err error
	s.logouts, err = delivery.New(delivery.Config{Store: s.store, Logger: s.log, Timeout: logoutTimeout,
		Observe: func(result string) { s.metrics.logouts.WithLabelValues(result).Inc() },
		Logout: func(ctx context.Context, m store.Message) error {
			return sendLogout(ctx, client, s.provider.LogoutToken, m)
		},
	})
	return err
}

// logoutClient follows no redirect, whoever registered the address: an application would choose where our token goes. Addresses that are not public,
// and plain http, are the operator's to allow (security.md D1).
func logoutClient(c *config.Config) *http.Client {
	client := *web.Outbound(!c.Logout.InnerAddresses && c.Environment == config.Production)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// sendLogout is delivery.Config.Logout (Back-Channel Logout 1.0 §2.5, §2.8).
func sendLogout(ctx context.Context, client *http.Client, token func(context.Context, store.Message) (string, string, error), m store.Message) error {
	fail := func(code int, permanent bool, words string) error {
		return &notify.Error{Stage: "logout", Code: code, Permanent: permanent, Words: words}
	}
	jwt, uri, err := token(ctx, m)
	if errors.Is(err, provider.ErrLogoutUnwanted) {
		return fail(0, true, "the application is gone, disabled, or takes no back-channel logout any more")
	}
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, strings.NewReader(url.Values{"logout_token": {jwt}}.Encode()))
	if err != nil {
		return fail(0, true, "its address is none")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(r)
	switch {
	case errors.Is(err, web.ErrNotPublic), errors.Is(err, web.ErrRefused):
		return fail(0, true, "its address is not public or not https; see logout.inner_addresses")
	case err != nil:
		return fail(0, false, "no answer: "+plainly(err))
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10)) // so that the connection can be used again
	_ = res.Body.Close()
	switch code := res.StatusCode; {
	case code == http.StatusOK, code == http.StatusNoContent: // §2.8; some frameworks answer 204
		return nil
	case code == http.StatusBadRequest, code == http.StatusNotImplemented:
		return fail(code, true, fmt.Sprintf("the application refused it with status %d", code))
	default: // an application being replaced answers 404, 502 or a redirect for a while
		e := &notify.Error{Stage: "logout", Code: code, Words: fmt.Sprintf("the application answered with status %d", code)}
		if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 {
			e.After = min(time.Duration(n)*time.Second, 15*time.Minute)
		}
		return e
	}
}

// plainly leaves the address out, which the row's client says.
func plainly(err error) string {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return err.Error()
}
