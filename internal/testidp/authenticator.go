package testidp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Authenticator is a browser's part of WebAuthn and an authenticator with ES256 keys, all of which are discoverable. It refuses what browsers refuse; what
// an attacker would send instead is in the fields named Lie.
type Authenticator struct {
	Origin string // of the page
	PIN    bool   // it verifies its user
	Syncs  bool   // its keys can be on several devices
	Synced bool   // and are
	Counts bool   // it counts signatures

	LieOrigin string // what the client data say instead
	LieRPID   string // what the authenticator data say instead
	LieCross  bool   // the client data say that the page was framed by another
	LieHandle string // the user handle that it sends instead
	LiePIN    bool   // it says that it verified its user, and did not
	LieAny    bool   // it answers though none of its keys is asked for
	LieKey    bool   // it signs with another key
	LieAsked  bool   // it answers where it was to verify its user and cannot
	LieSilent bool   // it says that nobody touched it

	Keys []*AuthenticatorKey
}

// AuthenticatorKey is one credential.
type AuthenticatorKey struct {
	ID, Handle []byte
	RPID       string
	Count      uint32
	key        *ecdsa.PrivateKey
}

// What a browser throws instead of answering.
var (
	ErrNotAllowed = errors.New("NotAllowedError")
	ErrSecurity   = errors.New("SecurityError")
	ErrKnown      = errors.New("InvalidStateError")
)

// Authenticator returns an empty one that verifies its user and counts, on pages of the provider.
func (i *IDP) Authenticator() *Authenticator {
	return &Authenticator{Origin: i.Issuer, PIN: true, Counts: true}
}

type credentialJSON struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// ceremony is what a page asks for, of both kinds.
type ceremony struct {
	PublicKey struct {
		Challenge        string           `json:"challenge"`
		UserVerification string           `json:"userVerification"`
		RPID             string           `json:"rpId"`
		Allow            []credentialJSON `json:"allowCredentials"`

		RP struct {
			ID string `json:"id"`
		} `json:"rp"`
		User struct {
			ID, Name, DisplayName string
		} `json:"user"`
		Params []struct {
			Alg int `json:"alg"`
		} `json:"pubKeyCredParams"`
		Exclude   []credentialJSON `json:"excludeCredentials"`
		Selection struct {
			ResidentKey      string `json:"residentKey"`
			UserVerification string `json:"userVerification"`
		} `json:"authenticatorSelection"`
		Attestation string `json:"attestation"`
	} `json:"publicKey"`
}

func (a *Authenticator) read(options []byte) (c ceremony, err error) {
	if err := json.Unmarshal(options, &c); err != nil {
		return c, fmt.Errorf("options: %w: %.200s", err, options)
	}
	challenge, err := base64.RawURLEncoding.DecodeString(c.PublicKey.Challenge)
	if err != nil || len(challenge) < 16 {
		return c, fmt.Errorf("challenge %q: %v", c.PublicKey.Challenge, err)
	}
	u, err := url.Parse(a.Origin)
	rp := c.PublicKey.RPID + c.PublicKey.RP.ID // a ceremony has one of them
	if err != nil || rp == "" || u.Hostname() != rp && !strings.HasSuffix(u.Hostname(), "."+rp) {
		return c, ErrSecurity
	}
	return c, nil
}

// Create answers navigator.credentials.create: the credential as its toJSON is.
func (a *Authenticator) Create(options []byte) (string, error) {
	c, err := a.read(options)
	if err != nil {
		return "", err
	}
	o := &c.PublicKey
	handle, err := base64.RawURLEncoding.DecodeString(o.User.ID)
	switch {
	case err != nil || len(handle) == 0 || len(handle) > 64 || o.User.Name == "":
		return "", fmt.Errorf("user %+v", o.User)
	case o.Selection.ResidentKey != "required" || o.Attestation != "none":
		return "", fmt.Errorf("a passkey is asked for as %+v, attestation %q", o.Selection, o.Attestation)
	case len(o.Params) == 0 || o.Params[0].Alg != -7:
		return "", fmt.Errorf("algorithms %v", o.Params)
	case slices.ContainsFunc(o.Exclude, func(x credentialJSON) bool { return a.find(x.ID) != nil }):
		return "", ErrKnown
	case o.Selection.UserVerification == "required" && !a.PIN:
		return "", ErrNotAllowed
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	k := &AuthenticatorKey{ID: make([]byte, 32), Handle: handle, RPID: o.RP.ID, key: key}
	rand.Read(k.ID)
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return "", err
	}
	// COSE_Key (RFC 9053 §7.1.1): kty EC2, alg ES256, crv P-256, x, y.
	cose := slices.Concat([]byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 32}, public[1:33], []byte{0x22, 0x58, 32}, public[33:])
	data := a.data(k, 0x40) // attested credential data
	data = append(data, make([]byte, 16)...)
	data = slices.Concat(data, []byte{0, byte(len(k.ID))}, k.ID, cose)
	object := slices.Concat([]byte{0xa3, 0x63}, []byte("fmt"), []byte{0x64}, []byte("none"), []byte{0x67}, []byte("attStmt"), []byte{0xa0, 0x68}, []byte("authData"),
		[]byte{0x59, byte(len(data) >> 8), byte(len(data))}, data)
	a.Keys = append(a.Keys, k)
	return a.answer(k, map[string]any{
		"clientDataJSON": b64(a.clientData("webauthn.create", o.Challenge)), "attestationObject": b64(object), "transports": []string{"internal"},
	})
}

// Get answers navigator.credentials.get, with the newest key that fits.
func (a *Authenticator) Get(options []byte) (string, error) {
	c, err := a.read(options)
	if err != nil {
		return "", err
	}
	o := &c.PublicKey
	if o.UserVerification == "required" && !a.PIN && !a.LiePIN && !a.LieAsked {
		return "", ErrNotAllowed
	}
	for _, k := range slices.Backward(a.Keys) {
		if k.RPID != o.RPID || len(o.Allow) > 0 && !a.LieAny && !slices.ContainsFunc(o.Allow, func(x credentialJSON) bool { return x.ID == b64(k.ID) }) {
			continue
		}
		if a.Counts {
			k.Count++
		}
		return a.sign(k, o.Challenge)
	}
	return "", ErrNotAllowed
}

func (a *Authenticator) sign(k *AuthenticatorKey, challenge string) (string, error) {
	data, client := a.data(k, 0), a.clientData("webauthn.get", challenge)
	hash := sha256.Sum256(client)
	sum := sha256.Sum256(slices.Concat(data, hash[:]))
	key := k.key
	if a.LieKey {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return "", err
		}
	}
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	handle := k.Handle
	if a.LieHandle != "" {
		handle = []byte(a.LieHandle)
	}
	return a.answer(k, map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature), "userHandle": b64(handle)})
}

func (a *Authenticator) answer(k *AuthenticatorKey, response map[string]any) (string, error) {
	text, err := json.Marshal(map[string]any{
		"id": b64(k.ID), "rawId": b64(k.ID), "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{}, "response": response,
	})
	return string(text), err
}

// data is the authenticator data (WebAuthn Level 3 §6.1).
func (a *Authenticator) data(k *AuthenticatorKey, flags byte) []byte {
	rp := k.RPID
	if a.LieRPID != "" {
		rp = a.LieRPID
	}
	for bit, set := range map[byte]bool{0x01: !a.LieSilent, 0x04: a.PIN || a.LiePIN, 0x08: a.Syncs, 0x10: a.Synced} {
		if set {
			flags |= bit
		}
	}
	sum := sha256.Sum256([]byte(rp))
	return append(sum[:], flags, byte(k.Count>>24), byte(k.Count>>16), byte(k.Count>>8), byte(k.Count))
}

// clientData is the JSON that browsers write (WebAuthn Level 3 §5.8.1.1).
func (a *Authenticator) clientData(kind, challenge string) []byte {
	origin := a.Origin
	if a.LieOrigin != "" {
		origin = a.LieOrigin
	}
	return fmt.Appendf(nil, `{"type":%q,"challenge":%q,"origin":%q,"crossOrigin":%t}`, kind, challenge, origin, a.LieCross)
}

// find returns the key with this id, nil = none.
func (a *Authenticator) find(id string) *AuthenticatorKey {
	for _, k := range a.Keys {
		if b64(k.ID) == id {
			return k
		}
	}
	return nil
}

// Copy is a second authenticator with the same keys, as they are now.
func (a *Authenticator) Copy() *Authenticator {
	other := *a
	other.Keys = nil
	for _, k := range a.Keys {
		same := *k
		other.Keys = append(other.Keys, &same)
	}
	return &other
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// PasskeyForm is a form with a passkey in it, as the page's script would send it: the button's, filled with what the authenticator says to the options that
// the server gives. The error is the browser's.
func (b *Browser) PasskeyForm(p *Page, button string, a *Authenticator) (*Form, error) {
	b.t.Helper()
	f := p.FormOf(button)
	options := p.Attr(button+"-form", "data-options")
	answer := b.navigate(journey{method: http.MethodPost, to: b.resolve(p, options), from: p.URL, form: url.Values{"form_token": f.Values["form_token"]}})
	if answer.Status != http.StatusOK || answer.Header.Get("Content-Type") != "application/json" {
		b.t.Fatalf("options: %s, %.500s", answer, answer.Body)
	}
	do := a.Get
	if p.Attr(button+"-form", "data-passkey") == "create" {
		do = a.Create
	}
	credential, err := do(bytes.TrimSpace([]byte(answer.Body)))
	if err != nil {
		return nil, err
	}
	f.Values.Set("credential", credential)
	return f, nil
}

// Passkey presses the button of a passkey. What a browser refuses fails the test.
func (b *Browser) Passkey(p *Page, button string, a *Authenticator) *Page {
	b.t.Helper()
	f, err := b.PasskeyForm(p, button, a)
	if err != nil {
		b.t.Fatalf("%s: #%s: %v", p, button, err)
	}
	return b.SendForm(p, f)
}

// WithCredentialID replaces one credential id by another of the same length in what Create made: an attestation of nothing can say anything.
func WithCredentialID(credential, from, to string) string {
	var c map[string]any
	if err := json.Unmarshal([]byte(credential), &c); err != nil {
		return err.Error()
	}
	response := c["response"].(map[string]any)
	object, err := base64.RawURLEncoding.DecodeString(response["attestationObject"].(string))
	if err != nil {
		return err.Error()
	}
	response["attestationObject"] = b64(bytes.ReplaceAll(object, []byte(from), []byte(to)))
	c["id"], c["rawId"] = b64([]byte(to)), b64([]byte(to))
	text, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
