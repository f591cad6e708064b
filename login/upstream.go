package login

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Registration policies: whether somebody new gets an account (R42). A client may have one too; the stricter counts.
const (
	RegistrationOpen     = "open"     // at once
	RegistrationApproval = "approval" // made, but shut until `latchkey user enable`
	RegistrationInvite   = "invite"   // by invitation only
	RegistrationClosed   = "closed"   // never with this method, even with an invitation
)

// Linking policies: what happens when somebody new brings a proven address that belongs to an account (R37, R38).
const (
	LinkNever         = "never"         // they are told to sign in as usual
	LinkProve         = "prove"         // they may prove that account with its own method
	LinkVerified      = "verified"      // joined at once when both sides proved the address; otherwise as with prove
	LinkAuthoritative = "authoritative" // the same, but only on the word of who runs the mailbox (R38)
)

// AwaitingApproval is store.User.DisabledReason of an account that waits for an administrator.
const AwaitingApproval = "awaiting approval"

// Upstream is a connector with the operator's rules about the people it brings.
type Upstream struct {
	connectors.Connector
	Label string // "Google"
	Icon  string // of its button: google, facebook, x, microsoft, openid; any other is a key

	Registration string           // "" = invite
	Link         string           // "" = prove
	Domains      []string         // only people with a proven address in one of these become new accounts; empty = any
	EmailTrust   connectors.Trust // how far addresses are believed, whatever the connector says; "" = as it says
	TrustMFA     bool             // the upstream's amr and acr count as factors
	AllowAdmins  bool             // administrators may sign in through it, and its rules may make some (R41)
	Rules        []ClaimRule

	Revoke      bool // the access token is kept, sealed beside the link, and given back when that goes
	KeepIDToken bool // sealed beside the session
	Logout      bool // signing out here also leads through the upstream's sign-out
}

// ClaimRule gives a privilege for as long as the upstream's claim says so.
type ClaimRule struct {
	Claim     string // dots lead into objects: realm_access.roles; a list matches by any of its members
	Match     string // the exact value, "*" = any
	Privilege string
}

// newUpstreams checks the operator's list. Its order is that of the buttons.
func newUpstreams(list []Upstream) ([]*Upstream, error) {
	var out []*Upstream
	for i := range list {
		u := list[i]
		if u.Connector == nil {
			return nil, fmt.Errorf("login: connector %d is missing", i+1)
		}
		name := u.Name()
		u.Registration, u.Link = cmp.Or(u.Registration, RegistrationInvite), cmp.Or(u.Link, LinkProve)
		u.Label = cmp.Or(u.Label, name)
		switch {
		case !connectorName(name) || slices.Contains([]string{methodPassword, methodEmailCode, methodPhone}, name):
			return nil, fmt.Errorf("login: %q is no name for a connector", name)
		case slices.ContainsFunc(out, func(o *Upstream) bool { return o.Name() == name }):
			return nil, fmt.Errorf("login: two connectors are called %s", name)
		case !slices.Contains(strictness, u.Registration):
			return nil, fmt.Errorf("login: connector %s: registration %q", name, u.Registration)
		case !slices.Contains([]string{LinkNever, LinkProve, LinkVerified, LinkAuthoritative}, u.Link):
			return nil, fmt.Errorf("login: connector %s: link %q", name, u.Link)
		}
		for _, d := range u.Domains {
			if mailDomain("x@"+d) == "" {
				return nil, fmt.Errorf("login: connector %s: %q is no domain", name, d)
			}
		}
		out = append(out, &u)
	}
	return out, nil
}

// connectorName: ^[a-z][a-z0-9_-]{0,31}$.
func connectorName(s string) bool {
	if s == "" || len(s) > 32 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// strictness of registration policies, least first.
var strictness = []string{RegistrationOpen, RegistrationApproval, RegistrationInvite, RegistrationClosed}

// registration is the policy for somebody new who comes through u on behalf of p.
func (u *Upstream) registration(p *pending) string { return stricter(u.Registration, p) }

// stricter is a method's policy or that of p's client, whichever is less open. One that nobody knows shuts the door.
func stricter(policy string, p *pending) string {
	strict := slices.Index(strictness, cmp.Or(policy, RegistrationInvite))
	if strict < 0 {
		return RegistrationClosed
	}
	if p != nil && p.client.Metadata.Registration != "" {
		other := slices.Index(strictness, p.client.Metadata.Registration)
		if other < 0 {
			return RegistrationClosed
		}
		strict = max(strict, other)
	}
	return strictness[strict]
}

// upstream finds a configured connector, nil for none.
func (l *Login) upstream(name string) *Upstream {
	for _, u := range l.upstreams {
		if u.Name() == name {
			return u
		}
	}
	return nil
}

// upstreamNames are the configured connectors.
func (l *Login) upstreamNames() []string {
	names := make([]string, len(l.upstreams))
	for i, u := range l.upstreams {
		names[i] = u.Name()
	}
	return names
}

// WaysIn are all ways to sign in of this configuration.
func (l *Login) WaysIn() []string { return append(l.ownWays(), l.upstreamNames()...) }

// Connectors are the ids of the upstreams.
func (l *Login) Connectors() []string { return l.upstreamNames() }

// ownWays are those that need no upstream.
func (l *Login) ownWays() (list []string) {
	if !l.noPassword {
		list = append(list, methodPassword)
	}
	if l.emailCode {
		list = append(list, methodEmailCode)
	}
	if l.dials() {
		list = append(list, methodPhone)
	}
	if l.passkeys != nil {
		list = append(list, methodPasskey)
	}
	return list
}

// ConnectorEnabled says whether a way to sign in exists in this configuration: provider.Config.ConnectorEnabled and
// session.Config.Enabled (security.md E11).
func (l *Login) ConnectorEnabled(id string) bool {
	return id == "" || slices.Contains(l.ownWays(), id) || l.upstream(id) != nil
}

// Label names a connector for people, also one that is gone from the configuration.
func (l *Login) Label(name string) string {
	if u := l.upstream(name); u != nil {
		return u.Label
	}
	return name
}

// admits says whether a way to sign in is one of those the client takes: all, unless it names some.
func (p *pending) admits(method string) bool {
	return p == nil || len(p.client.Metadata.Connectors) == 0 || slices.Contains(p.client.Metadata.Connectors, method)
}

// admits says whether a way of our own to sign in is switched on and one that the client takes.
func (l *Login) admits(p *pending, method string) bool {
	return slices.Contains(l.ownWays(), method) && p.admits(method)
}

// query are further parameters of a link.
type query map[string]string

// methods are the buttons of a page, in the operator's order.
func (l *Login) methods(p *pending, more query) []templates.Method {
	var list []templates.Method
	for _, u := range l.upstreams {
		if p.admits(u.Name()) {
			list = append(list, templates.Method{ID: u.Name(), Label: u.Label, Icon: u.Icon, URL: startURL(u, p, more), Down: l.health.isDown(u.Name(), l.now())})
		}
	}
	return list
}

// phoneMethod puts the button of sign-in by phone in front of the others: it is no upstream's.
func (l *Login) phoneMethod(b *templates.Base, p *pending, more query, list []templates.Method) []templates.Method {
	if !l.dials() || !p.admits(methodPhone) {
		return list
	}
	return append([]templates.Method{{ID: methodPhone, Label: b.T("phone.method"), Icon: "phone", URL: pathWith(phonePath, p, more)}}, list...)
}

func startURL(u *Upstream, p *pending, more query) string {
	return pathWith(startPrefix+u.Name(), p, more)
}

// pathWith is a path of ours with the flow and further parameters.
func pathWith(path string, p *pending, more query) string {
	q := url.Values{}
	if p != nil {
		q.Set("flow", p.handle)
	}
	for k, v := range more {
		if v != "" {
			q.Set(k, v)
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// automatic is the upstream a sign-in of p goes to without being asked (R53), nil = people choose: the one that the request names, the
// client's default, or the only way in.
func (l *Login) automatic(p *pending) *Upstream {
	if p == nil {
		return nil
	}
	if u := l.upstream(p.param("connector")); u != nil && p.admits(u.Name()) {
		return u
	}
	if u := l.upstream(p.client.Metadata.DefaultConnector); u != nil && p.admits(u.Name()) {
		return u
	}
	if l.admits(p, methodPassword) || l.admits(p, methodEmailCode) || l.admits(p, methodPhone) {
		return nil
	}
	var only *Upstream
	for _, u := range l.upstreams {
		if p.admits(u.Name()) {
			if only != nil {
				return nil
			}
			only = u
		}
	}
	return only
}

// trust is how far an address is believed.
func (u *Upstream) trust(id *connectors.Identity) connectors.Trust {
	switch {
	case id.Email == "":
		return connectors.TrustNone
	case u.EmailTrust != "":
		return u.EmailTrust
	case id.EmailTrust == connectors.TrustVerified, id.EmailTrust == connectors.TrustAuthoritative, id.EmailTrust == connectors.TrustReported:
		return id.EmailTrust
	}
	return connectors.TrustReported
}

// proven says whether the upstream vouches for the address.
func (u *Upstream) proven(id *connectors.Identity) bool {
	t := u.trust(id)
	return t == connectors.TrustVerified || t == connectors.TrustAuthoritative
}

// runsMailbox says whether the upstream is the one to ask whose address it is.
func (u *Upstream) runsMailbox(id *connectors.Identity) bool {
	return u.trust(id) == connectors.TrustAuthoritative
}

const amrFederated = "fed"

// amr is what a sign-in through u proves: somebody else's word, and with trust_mfa what they say of it (R60).
func (u *Upstream) amr(id *connectors.Identity) []string {
	amr := []string{amrFederated}
	if !u.TrustMFA {
		return amr
	}
	for _, m := range id.AMR {
		if len(amr) < 10 && shortWord(m) && !slices.Contains(amr, m) {
			amr = append(amr, m)
		}
	}
	// OpenID Connect Extended Authentication Profile ACR Values 1.0 §2, and our own value for two factors.
	if slices.Contains([]string{"phr", "phrh", "2"}, id.ACR) && !slices.Contains(amr, "mfa") {
		amr = append(amr, "mfa")
	}
	return amr
}

// shortWord: the form of the values of RFC 8176 §2.
func shortWord(s string) bool {
	if s == "" || len(s) > 16 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// mayAdmin says whether an administrator may come in this way: because the operator allows it, or because the upstream that is believed in
// this says that there were two factors (R41).
func (u *Upstream) mayAdmin(id *connectors.Identity) bool {
	return u.AllowAdmins || u.TrustMFA && session.ACR(u.amr(id)) != "1"
}

// refusal is a page about a connector.
func (u *Upstream) refusal(status int, key, code string, err error) *web.Error {
	return &web.Error{Status: status, Key: key, Code: code, Err: err, Args: map[string]any{"Provider": u.Label}}
}

// actor is who acts in the audit log when an upstream's word makes or changes something.
func (u *Upstream) actor() string { return store.ConnectorActor(u.Name()) }
