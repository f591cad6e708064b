// Package passkey makes and checks the ceremonies of WebAuthn: what a browser is asked, and whether what it answers is right.
//
// It is the only importer of go-webauthn, and knows no request and no database. The challenge of a ceremony is its handle: the caller keeps its hash,
// finds it again in what comes back (Answer.Challenge), and spends it before anything is checked here.
//
//	Create/Ask ─▶ options ─▶ browser ─▶ answer ─▶ Read ─▶ the caller spends the challenge ─▶ Register/Check
//
// It refuses to trust a statement about the make of an authenticator: none is asked for (attestation "none"), so a key bound to one device is one that
// says so itself, in data that it signs.
package passkey

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// Life is how long a challenge is good for.
const Life = 5 * time.Minute

// ErrNoName says that an issuer has no host name: browsers make no passkeys for an address.
var ErrNoName = errors.New("passkey: the host of the issuer is an IP address")

// ErrUnverified says that everything is right, but the authenticator did not make sure who holds it.
var ErrUnverified = errors.New("passkey: the user was not verified")

// Party is this server to browsers and authenticators. Make it with New.
type Party struct{ w *webauthn.WebAuthn }

// New makes the party of an issuer: its host is the RP ID, its origin the only one. name is what people read.
func New(issuer, name string) (*Party, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("passkey: issuer %q", issuer)
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil, ErrNoName
	}
	wait := webauthn.TimeoutConfig{Timeout: Life, TimeoutUVD: Life}
	w, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: name, RPOrigins: []string{u.Scheme + "://" + u.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationPreferred,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: wait, Registration: wait},
		// WebAuthn Level 3 §9.3: what nobody asked for is ignored. Password managers send some.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return &Party{w}, nil
}

// ID is the RP ID.
func (p *Party) ID() string { return p.w.Config.RPID }

// Key is a passkey as it is kept.
type Key struct {
	ID         []byte   // of the credential
	Public     []byte   // COSE
	Transports []string // how browsers reach it, by their own word
	Count      uint32   // of signatures, as the last one said; 0 = it does not count
	Syncs      bool     // it can be on several devices (backup eligible); this never changes
	Synced     bool     // and is (backup state)
	Verified   bool     // its user was verified when it was added, or beside another factor since: it may stand alone
}

// Person is who a passkey is for.
type Person struct {
	Handle        []byte // opaque, at most 64 bytes; no name and no address (WebAuthn Level 3 §14.6.1)
	Name, Display string // what the authenticator shows
	Keys          []Key
}

// user is a Person in the library's words.
type user struct{ Person }

func (u user) WebAuthnID() []byte          { return u.Handle }
func (u user) WebAuthnName() string        { return u.Name }
func (u user) WebAuthnDisplayName() string { return u.Display }
func (u user) WebAuthnCredentials() (list []webauthn.Credential) {
	for _, k := range u.Keys {
		c := webauthn.Credential{ID: k.ID, PublicKey: k.Public, Authenticator: webauthn.Authenticator{SignCount: k.Count},
			Flags: webauthn.CredentialFlags{UserPresent: true, UserVerified: k.Verified, BackupEligible: k.Syncs, BackupState: k.Synced}}
		for _, t := range k.Transports {
			c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
		}
		list = append(list, c)
	}
	return list
}

// Create begins to add a passkey: the options for the browser, as JSON, and their challenge. Those that the person has are excluded.
func (p *Party) Create(who Person) (options []byte, challenge string, err error) {
	made, state, err := p.w.BeginRegistration(user{who}, webauthn.WithExclusions(webauthn.Credentials(user{who}.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return nil, "", fmt.Errorf("passkey: %w", err)
	}
	options, err = json.Marshal(made)
	return options, state.Challenge, err
}

// Ask begins to ask for a passkey: any that the browser has when keys is empty, and then its user must be verified; else one of keys.
func (p *Party) Ask(keys []Key) (options []byte, challenge string, err error) {
	var made *protocol.CredentialAssertion
	var state *webauthn.SessionData
	if len(keys) == 0 {
		made, state, err = p.w.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	} else {
		made, state, err = p.w.BeginLogin(user{Person{Handle: []byte("-"), Keys: keys}}, webauthn.WithUserVerification(protocol.VerificationPreferred))
	}
	if err != nil {
		return nil, "", fmt.Errorf("passkey: %w", err)
	}
	options, err = json.Marshal(made)
	return options, state.Challenge, err
}

// Answer is what a browser sent, and nothing of it is proven yet.
type Answer struct {
	Challenge string
	ID        []byte // of the credential
	got       *protocol.ParsedCredentialAssertionData
	made      *protocol.ParsedCredentialCreationData
}

// Read reads the JSON of a browser's answer: created when it is to add a passkey.
func Read(text string, created bool) (*Answer, error) {
	if created {
		made, err := protocol.ParseCredentialCreationResponseBytes([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("passkey: %w", err)
		}
		return &Answer{Challenge: made.Response.CollectedClientData.Challenge, ID: made.RawID, made: made}, nil
	}
	got, err := protocol.ParseCredentialRequestResponseBytes([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return &Answer{Challenge: got.Response.CollectedClientData.Challenge, ID: got.RawID, got: got}, nil
}

// Register checks an answer to Create for the person with this handle, and returns the new key (WebAuthn Level 3 §7.1).
func (p *Party) Register(a *Answer, handle []byte) (*Key, error) {
	if a.made == nil {
		return nil, errors.New("passkey: not an answer to Create")
	}
	state := webauthn.SessionData{Challenge: a.Challenge, RelyingPartyID: p.ID(), UserID: handle,
		UserVerification: protocol.VerificationPreferred, CredParams: webauthn.CredentialParametersDefault()}
	c, err := p.w.CreateCredential(user{Person{Handle: handle}}, state, a.made)
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	k := &Key{ID: c.ID, Public: c.PublicKey, Count: c.Authenticator.SignCount, Syncs: c.Flags.BackupEligible, Synced: c.Flags.BackupState, Verified: c.Flags.UserVerified}
	for _, t := range c.Transport {
		k.Transports = append(k.Transports, string(t))
	}
	return k, nil
}

// Proof is what an answer to Ask showed.
type Proof struct {
	Verified bool   // the authenticator made sure who holds it
	Synced   bool   // backup state, today
	Count    uint32 // of signatures
	Copied   bool   // the count went back: there may be a second copy of the key
}

// Check checks an answer to Ask that is said to come from k of the person with this handle (WebAuthn Level 3 §7.2). alone says that Ask named no keys:
// then the answer names the person too, and who holds the key was verified, or the error is ErrUnverified.
func (p *Party) Check(a *Answer, k Key, handle []byte, alone bool) (*Proof, error) {
	if a.got == nil {
		return nil, errors.New("passkey: not an answer to Ask")
	}
	who := user{Person{Handle: handle, Keys: []Key{k}}}
	state := webauthn.SessionData{Challenge: a.Challenge, RelyingPartyID: p.ID(), UserVerification: protocol.VerificationPreferred}
	var c *webauthn.Credential
	var err error
	if alone {
		_, c, err = p.w.ValidatePasskeyLogin(func(_, _ []byte) (webauthn.User, error) { return who, nil }, state, a.got)
	} else {
		state.UserID, state.AllowedCredentialIDs = handle, [][]byte{k.ID}
		c, err = p.w.ValidateLogin(who, state, a.got)
	}
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	flags := a.got.Response.AuthenticatorData.Flags
	if alone && !flags.UserVerified() { // after the signature, so that it is the authenticator's own word
		return nil, ErrUnverified
	}
	return &Proof{Verified: flags.UserVerified(), Synced: flags.HasBackupState(), Count: a.got.Response.AuthenticatorData.Counter, Copied: c.Authenticator.CloneWarning}, nil
}
