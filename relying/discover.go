package relying

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// finder looks something up at the provider until that has worked once: one at a time, and not again right after a failure.
type finder[T any] struct {
	now  func() time.Time
	look func(context.Context) (*T, error)

	looking chan struct{} // holds one token: who looks

	mu     sync.Mutex // guards what follows; never held while waiting
	found  *T
	outage *Error // why the provider could not be asked the last time
	downAt time.Time
}

func newFinder[T any](now func() time.Time, look func(context.Context) (*T, error)) finder[T] {
	return finder[T]{now: now, look: look, looking: make(chan struct{}, 1)}
}

// retryAfter is how long an outage is remembered: a provider that is down is not asked once per visitor.
const retryAfter = 2 * time.Second

// known returns what was found, and why the provider cannot be asked if that was seen a moment ago.
func (f *finder[T]) known() (*T, *Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outage != nil && f.now().Sub(f.downAt) >= retryAfter {
		f.outage = nil
	}
	return f.found, f.outage
}

func (f *finder[T]) down(e *Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outage, f.downAt = e, f.now()
}

func (f *finder[T]) get(ctx context.Context) (*T, error) {
	if t, _ := f.known(); t != nil {
		return t, nil
	}
	select {
	case f.looking <- struct{}{}:
		defer func() { <-f.looking }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	t, outage := f.known()
	if t != nil {
		return t, nil
	}
	if outage != nil {
		return nil, outage
	}
	// One visitor who gives up must not spoil it for those who wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	t, err := f.look(ctx)
	if err != nil {
		e := unavailable(err)
		f.down(e)
		return nil, e
	}
	f.mu.Lock()
	f.found = t
	f.mu.Unlock()
	return t, nil
}

// discover returns the provider.
func (c *Client) discover(ctx context.Context) (*provider, error) { return c.provider.get(ctx) }

// readMetadata asks for the discovery document; go-oidc holds its issuer against ours.
func readMetadata(ctx context.Context, client *http.Client, issuer string) (*oidc.Provider, *metadata, error) {
	op, err := oidc.NewProvider(oidc.ClientContext(ctx, client), issuer)
	if err != nil {
		return nil, nil, err
	}
	var m metadata
	if err := op.Claims(&m); err != nil {
		return nil, nil, err
	}
	return op, &m, nil
}

// authStyle is how a client says who it is. Never found out by trial: a code spent on a guess is gone. RFC 6749 §2.3.1: basic is what
// every server must accept.
func authStyle(secret string, methods []string) oauth2.AuthStyle {
	if secret == "" || len(methods) > 0 && !slices.Contains(methods, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// postForm sends an authenticated form to an endpoint of the provider.
func postForm(ctx context.Context, client *http.Client, endpoint string, style oauth2.AuthStyle, id, secret string, form url.Values) (*http.Response, error) {
	if style == oauth2.AuthStyleInParams {
		form.Set("client_id", id)
		if secret != "" {
			form.Set("client_secret", secret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if style == oauth2.AuthStyleInHeader {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) // RFC 6749 §2.3.1
	}
	return client.Do(req)
}
