package connectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// MaxDocument is how long a document for Describe may be, in bytes.
const MaxDocument = 64 << 10

// maxDepth bounds objects and lists within each other.
const maxDepth = 32

// Describer makes an Identity of what the upstream says about a person, by the code that Identify ends with, and reaches no network. It proves
// nothing: anybody can write such a document. It serves to try out settings, never to sign anybody in.
//
// The document is a JSON object of at most 64 KiB: the claims of an ID Token (with those that userinfo adds), the profile of Facebook or of a
// provider of plain OAuth 2.0, X's answer to users/me. Where an upstream says it in two places, {"id_token": {…}, "userinfo": {…}} and
// {"userinfo": {…}, "emails": […]} keep them apart. Members that only tie a token to its sign-in (aud, exp, nonce) are not looked at.
//
// An error is a *DocumentError when the document cannot be read, else an *Error that Identify would have returned.
type Describer interface {
	Describe(document []byte) (Identity, error)
}

// Problems of a document.
const (
	DocumentTooLong  = "too_long"  // over 64 KiB
	DocumentTooDeep  = "too_deep"  // more than 32 levels
	DocumentNoJSON   = "no_json"   // At says from which byte on
	DocumentNoObject = "no_object" // JSON, but no object
	DocumentNoPart   = "no_part"   // Name ought to be an object
	DocumentEmpty    = "empty"     // there is none
	DocumentRepeated = "repeated"  // Name comes twice in one object
	DocumentToken    = "token"     // Name is a token itself instead of the claims in it
)

// DocumentError says why a document for Describe cannot be read.
type DocumentError struct {
	Problem string // one of the constants
	Name    string // the member it is about, "" = the whole
	At      int64  // the byte, counted from 1
}

func (e *DocumentError) Error() string {
	s := "connectors: the document: " + e.Problem
	if e.Name != "" {
		s += fmt.Sprintf(" %q", e.Name)
	}
	if e.At > 0 {
		s += fmt.Sprintf(" at byte %d", e.At)
	}
	return s
}

// readDocument is readClaims for what a person pasted: bounded, with errors that say what to mend.
func readDocument(b []byte) (claims, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, &DocumentError{Problem: DocumentEmpty}
	}
	if len(b) > MaxDocument {
		return nil, &DocumentError{Problem: DocumentTooLong}
	}
	if depth(b) > maxDepth { // before anything is decoded
		return nil, &DocumentError{Problem: DocumentTooDeep}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		at := int64(len(b)) // it breaks off
		if s, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = s.Offset
		}
		return nil, &DocumentError{Problem: DocumentNoJSON, At: at}
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, &DocumentError{Problem: DocumentNoObject}
	}
	if name, twice := repeated(b); twice {
		return nil, &DocumentError{Problem: DocumentRepeated, Name: clean(name)}
	}
	c, err := readClaims(b)
	if err != nil { // something follows
		return nil, &DocumentError{Problem: DocumentNoJSON, At: d.InputOffset() + 1}
	}
	return c, nil
}

// depth is how many brackets are open at once in b, outside of strings. It is an upper bound for anything that is JSON.
func depth(b []byte) (most int) {
	open, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			open++
			most = max(most, open)
		case c == '}', c == ']':
			open--
		}
	}
	return most
}

// apart takes a document apart that names its parts: main, which must be there, and others, all objects but for emails. With any other member the
// document is the claims themselves, and the only part.
func (c claims) apart(main string, others ...string) (map[string]any, error) {
	_, there := c[main]
	for k := range c {
		there = there && (k == main || slices.Contains(others, k))
	}
	if !there {
		return map[string]any{main: c}, nil
	}
	parts := map[string]any{}
	for k, v := range c {
		if k == partEmails {
			parts[k] = v // in whatever shape the provider has it
			continue
		}
		switch v := v.(type) {
		case map[string]any:
			part := claims(v)
			for name, member := range part {
				if member == nil { // as readClaims has it
					delete(part, name)
				}
			}
			parts[k] = part
		case string:
			return nil, &DocumentError{Problem: DocumentToken, Name: k}
		default:
			return nil, &DocumentError{Problem: DocumentNoPart, Name: k}
		}
	}
	return parts, nil
}

// Parts of a document.
const (
	partToken    = "id_token"
	partUserInfo = "userinfo"
	partEmails   = "emails"
)

// tokenDocument are the claims of a document about an ID Token, and those of userinfo apart, nil for none.
func tokenDocument(document []byte) (token, info claims, err error) {
	c, err := readDocument(document)
	if err != nil {
		return nil, nil, err
	}
	parts, err := c.apart(partToken, partUserInfo)
	if err != nil {
		return nil, nil, err
	}
	token, _ = parts[partToken].(claims)
	info, _ = parts[partUserInfo].(claims)
	if _, there := token["sub"]; there {
		if _, isText := token["sub"].(string); !isText { // as when it is verified
			return nil, nil, fail(Invalid, "the ID Token: sub is no string")
		}
	}
	return token, info, nil
}

// described are the claims of a document, with what userinfo says put to them as at a sign-in.
func (o *OIDC) described(document []byte) (claims, error) {
	c, info, err := tokenDocument(document)
	if err != nil {
		return nil, err
	}
	if iss, there := c["iss"]; there && !slices.Contains(o.accepted, c.exact("iss")) {
		return nil, fail(Invalid, "the ID Token: the issuer is %q", clean(fmt.Sprint(iss)))
	}
	if info != nil && !o.cfg.NoUserInfo {
		return o.withUserInfo(c, info)
	}
	return c, nil
}

// Describe makes an Identity of an ID Token's claims; see Describer.
func (o *OIDC) Describe(document []byte) (Identity, error) {
	c, err := o.described(document)
	if err != nil {
		return Identity{}, err
	}
	return o.identity(c)
}

// Describe makes an Identity of an ID Token's claims; see Describer.
func (g *Google) Describe(document []byte) (Identity, error) {
	c, err := g.oidc.described(document)
	if err != nil {
		return Identity{}, err
	}
	return g.identity(c)
}

// Describe makes an Identity of an ID Token's claims; see Describer. Of a tenant that is configured by a domain only Microsoft can say which it
// is, so that any but the one of personal accounts is taken for it here.
func (z *Azure) Describe(document []byte) (Identity, error) {
	c, _, err := tokenDocument(document)
	if err != nil {
		return Identity{}, err
	}
	tid := c.exact("tid")
	home := &metadata{issuer: z.issuerOf(tid)}
	if tid == consumersTenant {
		home.issuer = ""
	}
	if err := z.checkTenant(tid, home); err != nil {
		return Identity{}, err
	}
	if iss, there := c["iss"]; there && iss != z.issuerOf(tid) {
		return Identity{}, fail(Invalid, "the ID Token: the issuer is %q", clean(fmt.Sprint(iss)))
	}
	return z.identity(tid, c)
}

// Describe makes an Identity of /me; see Describer.
func (f *Facebook) Describe(document []byte) (Identity, error) {
	me, err := readDocument(document)
	if err != nil {
		return Identity{}, err
	}
	return f.identity(me, "")
}

// Describe makes an Identity of X's answer to users/me; see Describer.
func (t *Twitter) Describe(document []byte) (Identity, error) {
	me, err := readDocument(document)
	if err != nil {
		return Identity{}, err
	}
	return t.identity(me, "")
}

// Describe makes an Identity of the profile; see Describer. Where the provider tells addresses elsewhere and the document has no emails, the
// person has told none.
func (o *OAuth2) Describe(document []byte) (Identity, error) {
	c, err := readDocument(document)
	if err != nil {
		return Identity{}, err
	}
	parts, err := c.apart(partUserInfo, partEmails)
	if err != nil {
		return Identity{}, err
	}
	c, _ = parts[partUserInfo].(claims)
	id, err := o.identity(c)
	if err != nil {
		return Identity{}, err
	}
	if o.cfg.Emails.URL != "" {
		id.Email, id.EmailTrust = "", TrustNone
		if list, there := parts[partEmails]; there {
			if id.Email, id.EmailTrust, err = o.listed(list); err != nil {
				return Identity{}, err
			}
		}
	}
	return o.assumed(id), nil
}
