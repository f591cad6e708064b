package passkey

import (
	"errors"
	"strings"
	"testing"
)

// TestNew: the RP ID is the issuer's host, without scheme and port, and an address has none.
func TestNew(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"https://login.example.com": "login.example.com", "https://login.example.com:8443": "login.example.com", "http://localhost:8080": "localhost",
		"https://192.0.2.1": "", "http://127.0.0.1:8080": "", "https://[2001:db8::1]:8443": "",
	} {
		p, err := New(issuer, "Latchkey")
		switch {
		case want == "" && !errors.Is(err, ErrNoName):
			t.Errorf("%s: %v", issuer, err)
		case want != "" && (err != nil || p.ID() != want):
			t.Errorf("%s: %v %v", issuer, p, err)
		}
	}
	if _, err := New("login.example.com", "Latchkey"); err == nil || errors.Is(err, ErrNoName) {
		t.Errorf("no address at all: %v", err)
	}
}

// TestOptions: a sign-in alone demands a verified user and names no keys; beside another way it names them, and a new one is discoverable, and excludes
// those that there are.
func TestOptions(t *testing.T) {
	t.Parallel()
	p, err := New("https://login.example.com", "Latchkey")
	if err != nil {
		t.Fatal(err)
	}
	keys := []Key{{ID: []byte("a key that there is"), Public: []byte("x"), Transports: []string{"internal"}}}
	const id = "YSBrZXkgdGhhdCB0aGVyZSBpcw"
	check := func(what string, options []byte, challenge string, err error, has, lacks []string) {
		t.Helper()
		if err != nil || len(challenge) < 43 || !strings.Contains(string(options), challenge) {
			t.Errorf("%s: %s %q %v", what, options, challenge, err)
		}
		for _, s := range has {
			if !strings.Contains(string(options), s) {
				t.Errorf("%s lacks %s: %s", what, s, options)
			}
		}
		for _, s := range lacks {
			if strings.Contains(string(options), s) {
				t.Errorf("%s has %s: %s", what, s, options)
			}
		}
	}
	options, challenge, err := p.Ask(nil)
	check("alone", options, challenge, err, []string{`"userVerification":"required"`, `"rpId":"login.example.com"`}, []string{"allowCredentials"})
	options, challenge, err = p.Ask(keys)
	check("beside", options, challenge, err, []string{`"userVerification":"preferred"`, id, `"internal"`}, nil)
	options, challenge, err = p.Create(Person{Handle: []byte("1"), Name: "ada@example.com", Keys: keys})
	check("new", options, challenge, err, []string{`"residentKey":"required"`, `"attestation":"none"`, `"excludeCredentials":[{`, id, `"timeout":300000`}, nil)
}
