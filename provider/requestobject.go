package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Request objects (OIDC Core §6, RFC 9101): an authorization request that the client signed. They are opened before anything else reads the request
// and become plain parameters, so that one set of checks judges both (security.md A14). A client has them when it registered an algorithm for them.

const (
	requestObjectLife = time.Hour      // how far ahead an exp may lie
	requestObjectOnce = 24 * time.Hour // how long a jti without exp is remembered
	requestFetch      = 5 * time.Second

	typRequestObject = "oauth-authz-req+jwt" // RFC 9101 §10.8
)

var requestObjectTyps = []string{"", "jwt", typRequestObject}

// openRequest returns the parameters that a request with a request object means, and the marker of its jti, "" = it has none. What is wrong with
// it is told the client; what was read over the network is not.
func (p *Provider) openRequest(ctx context.Context, c *Client, raw url.Values) (url.Values, string, *oauthError) {
	byValue := raw.Has("request")
	switch {
	case len(raw["request"])+len(raw["request_uri"]) > 1:
		return nil, "", refuse("invalid_request", "A request has one request object, in request or in request_uri.")
	case byValue && c.Metadata.RequestObjectAlg == "":
		return nil, "", refuse("request_not_supported", "The client is not registered for request objects.")
	case !byValue && (c.Metadata.RequestObjectAlg == "" || len(c.Metadata.RequestURIs) == 0):
		return nil, "", refuse("request_uri_not_supported", "The client is not registered for request objects by reference.")
	}
	jwt := raw.Get("request")
	if !byValue {
		uri := raw.Get("request_uri")
		if !slices.Contains(c.Metadata.RequestURIs, uri) {
			return nil, "", refuse("invalid_request_uri", "The request_uri is not registered.")
		}
		body, err := p.fetchRequest(ctx, uri)
		if err != nil {
			e := refuse("invalid_request_uri", "The request_uri could not be read.")
			e.cause = err
			return nil, "", e
		}
		jwt = strings.TrimSpace(string(body))
	}
	t, err := p.checkRequestObject(ctx, c, jwt)
	if err != nil {
		e := refuse("invalid_request_object", "The request object is refused: "+clean(err.Error())+".")
		if errors.Is(err, errNoClientKeys) {
			e.text = "The client's keys could not be read."
		}
		e.cause = err
		return nil, "", e
	}
	form, err := requestParameters(t, raw)
	if err != nil {
		return nil, "", refuse("invalid_request_object", "The request object is refused: "+clean(err.Error())+".")
	}
	return form, p.requestMarker(c, t), nil
}

// fetchRequest reads a request object. It is not kept, so the fragment, which would say when a copy is old (OIDC Core §6.2), has no use.
func (p *Provider) fetchRequest(ctx context.Context, uri string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestFetch)
	defer cancel()
	address, _, _ := strings.Cut(uri, "#")
	return fetchFrom(ctx, p.c.Outbound, address)
}

// checkRequestObject verifies who made it, for whom and until when (OIDC Core §6.1, §6.3; RFC 9101 §6).
func (p *Provider) checkRequestObject(ctx context.Context, c *Client, jwt string) (*clientJWT, error) {
	t, err := readJWT(jwt, []string{c.Metadata.RequestObjectAlg}, requestObjectTyps)
	if err != nil {
		return nil, err
	}
	aud, ok := t.claims.audience()
	switch {
	case t.claims.text("iss") != c.ID:
		return nil, errors.New("iss is not the client")
	case !ok || !slices.Contains(aud, p.c.Issuer):
		return nil, errors.New("aud is not this provider's issuer")
	case t.claims.text("sub") == c.ID: // RFC 9101 §10.8: an assertion that authenticates the client is no request
		return nil, errors.New("sub is the client")
	}
	if err := t.claims.inTime(p.c.Now(), requestObjectLife); err != nil {
		return nil, err
	}
	return t, p.verifyByClient(ctx, c, t)
}

// requestParameters are the parameters within t, over those beside it: inside wins (OIDC Core §6.1). What is typed as an RFC 9101 request stands
// alone, and nothing outside counts (§6.3).
func requestParameters(t *clientJWT, outside url.Values) (url.Values, error) {
	inside, err := parametersOf(t.claims)
	if err != nil {
		return nil, err
	}
	for _, k := range []string{"request", "request_uri"} {
		if _, ok := t.claims[k]; ok {
			return nil, fmt.Errorf("it has %s within", k) // RFC 9101 §4
		}
	}
	// Both must say the same where both say it: OIDC Core §6.1, RFC 9101 §5.
	for _, k := range []string{"client_id", "response_type"} {
		if in, out := inside.Get(k), outside.Get(k); in != "" && out != "" && in != out {
			return nil, fmt.Errorf("%s is another one beside it", k)
		}
	}
	form := url.Values{"client_id": {outside.Get("client_id")}}
	if t.typ != typRequestObject {
		for k, v := range outside {
			if k != "request" && k != "request_uri" {
				form[k] = v
			}
		}
	}
	for k, v := range inside {
		form[k] = v
	}
	return form, nil
}

// parametersOf writes the members of a request object as the parameters they stand for. Numbers stay numbers, claims stays JSON; a member of another
// type than its parameter has is refused, and names that are no parameters are not looked at.
func parametersOf(o jsonObject) (url.Values, error) {
	form := url.Values{}
	for _, k := range append(slices.Clone(known), "registration") {
		v, there := o[k]
		if !there {
			continue
		}
		switch v := v.(type) {
		case string:
			form.Set(k, v)
			continue
		case json.Number:
			n, err := strconv.ParseInt(v.String(), 10, 64)
			if k == "max_age" && err == nil {
				form.Set(k, strconv.FormatInt(n, 10))
				continue
			}
		case map[string]any:
			if k == "claims" || k == "registration" {
				b, err := json.Marshal(v)
				if err != nil {
					return nil, fmt.Errorf("%s is no JSON", k)
				}
				form.Set(k, string(b))
				continue
			}
		case []any:
			if list, ok := texts(v); ok && k == "resource" { // RFC 8707 §2: it may repeat
				form[k] = list
				continue
			}
		}
		return nil, fmt.Errorf("%s has a type that it cannot have", k)
	}
	return form, nil
}

func texts(list []any) ([]string, bool) {
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// requestMarker says which jti was used and until when that matters: a request object with a jti brings one answer (security.md A14). It is spent with
// the answer and not before, so that a reload or the way back from a page does no harm.
func (p *Provider) requestMarker(c *Client, t *clientJWT) string {
	jti := t.claims.text("jti")
	if jti == "" {
		return ""
	}
	until, _, ok := t.claims.date("exp")
	if !ok {
		until = p.c.Now().Add(requestObjectOnce)
	}
	return HashSecret("request\x00"+c.ID+"\x00"+jti) + " " + strconv.FormatInt(until.Add(clientSkew).Unix(), 10)
}

// spendRequest decides, by one INSERT, whether the request object behind q was answered before.
func (p *Provider) spendRequest(ctx context.Context, q *request) error {
	if q.marker == "" {
		return nil
	}
	key, until, _ := strings.Cut(q.marker, " ")
	at, err := strconv.ParseInt(until, 10, 64)
	if err != nil {
		return fmt.Errorf("provider: stored request: %w", err)
	}
	first, err := p.c.Store.Mark(ctx, key, time.Unix(at, 0))
	if err != nil {
		return err
	}
	if !first {
		return refuse("invalid_request_object", "The request object was used before.")
	}
	return nil
}
