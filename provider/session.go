package provider

import (
	"encoding/json"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"
)

// Session is what a grant remembers of its sign-in: facts only. Claims, privileges, keys and algorithms are never kept; they are
// computed when a token is made. Its JSON lies in grants.facts and inside codes.
type Session struct {
	UserID    string          `json:"u,omitempty"` // "" for client_credentials
	AuthTime  int64           `json:"at,omitempty"`
	ACR       string          `json:"acr,omitempty"`
	AMR       []string        `json:"amr,omitempty"`
	SID       string          `json:"sid,omitempty"` // the session.s sid
	Connector string          `json:"c,omitempty"`
	Nonce     string          `json:"n,omitempty"`
	Claims    json.RawMessage `json:"cl,omitempty"` // the claims parameter (OIDC Core §5.5), checked
	GrantEnd  int64           `json:"ge,omitempty"` // absolute end of the grant, Unix seconds
	Offline   bool            `json:"o,omitempty"`  // the grant outlives the session
	Refresh   bool            `json:"r,omitempty"`  // a refresh token is due at the exchange
	Actor     string          `json:"ac,omitempty"` // who really signed in, acting for UserID; "" = UserID themselves
	ActingBy  string          `json:"ab,omitempty"` // store.Session.ActingBy

	// Of this request only.
	requestedAt                    time.Time
	skew                           time.Duration // fosite's clock minus ours; it reads the process's, we the database's
	accessEnd, refreshEnd, codeEnd time.Time
	idClaims                       *jwt.IDTokenClaims
	idAlg                          string
}

var _ openid.Session = (*Session)(nil)

// SetExpiresAt implements fosite.Session. Nothing outlives the grant's end.
func (s *Session) SetExpiresAt(k fosite.TokenType, t time.Time) {
	if s.GrantEnd != 0 && t.Unix() > s.GrantEnd {
		t = time.Unix(s.GrantEnd, 0).UTC()
	}
	switch k {
	case fosite.AccessToken:
		s.accessEnd = t
	case fosite.RefreshToken:
		s.refreshEnd = t
	case fosite.AuthorizeCode:
		s.codeEnd = t
	}
}

// GetExpiresAt implements fosite.Session.
func (s *Session) GetExpiresAt(k fosite.TokenType) time.Time {
	switch k {
	case fosite.AccessToken:
		return s.accessEnd
	case fosite.RefreshToken:
		return s.refreshEnd
	case fosite.AuthorizeCode:
		return s.codeEnd
	}
	return time.Time{}
}

// GetUsername implements fosite.Session; nothing uses it.
func (s *Session) GetUsername() string { return "" }

// GetSubject implements fosite.Session.
func (s *Session) GetSubject() string { return s.UserID }

// Clone implements fosite.Session: a value copy, without what belongs to one request.
func (s *Session) Clone() fosite.Session {
	c := *s
	c.idClaims = nil
	return &c
}

// IDTokenClaims implements openid.Session: what fosite's own checks read.
func (s *Session) IDTokenClaims() *jwt.IDTokenClaims {
	if s.idClaims == nil {
		s.idClaims = &jwt.IDTokenClaims{Subject: s.UserID, AuthTime: time.Unix(s.AuthTime, 0).Add(s.skew).UTC(), RequestedAt: s.requestedAt.Add(s.skew),
			AuthenticationContextClassReference: s.ACR, Nonce: s.Nonce}
	}
	return s.idClaims
}

// IDTokenHeaders implements openid.Session. fosite takes the hash for at_hash from the number in "alg": EdDSA has none and means
// SHA-512 (OIDC Core §3.1.3.6 with RFC 8037).
func (s *Session) IDTokenHeaders() *jwt.Headers {
	alg := s.idAlg
	if alg == algEdDSA {
		alg = "Ed512" // the digits are read from the third character on
	}
	return &jwt.Headers{Extra: map[string]any{"alg": alg}}
}
