package provider

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-idp/latchkey/store"
)

// keysFor makes a key set in memory: no database, fixed times.
func keysFor(t testing.TB, now time.Time, algs ...string) *KeySet {
	t.Helper()
	raw := make([]byte, 32)
	rand.Read(raw)
	m, err := NewMasterKeys(raw)
	if err != nil {
		t.Fatal(err)
	}
	k := &KeySet{c: KeyConfig{Master: m, Now: func() time.Time { return now }, Period: 24 * time.Hour, TokenLife: time.Hour, HintLife: time.Hour, RefreshLife: time.Hour}}
	s := &keySnapshot{signers: map[string]*signer{}, public: nil, loaded: now}
	for _, alg := range append([]string{algSeal, algRefresh}, algs...) {
		mat, err := generate(alg)
		if err != nil {
			t.Fatal(err)
		}
		row := store.SigningKey{KID: alg + "-kid", Alg: alg, PublishAt: store.At(now.Add(-time.Hour)), ActiveAt: store.At(now.Add(-time.Hour)), RetireAt: store.At(now.Add(time.Hour)), DeleteAt: store.At(now.Add(2 * time.Hour))}
		s.rows = append(s.rows, row)
		switch alg {
		case algSeal:
			sk, err := newSealKey(row, mat)
			if err != nil {
				t.Fatal(err)
			}
			s.sealers = append(s.sealers, sk)
		case algRefresh:
			s.macs = append(s.macs, newMACKey(row, mat))
		default:
			if s.signers[row.KID], err = newSigner(row.KID, alg, mat); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.snap.Store(s)
	return k
}

func TestSec_A13_TokensAreNotMalleable(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	k := keysFor(t, now)
	gid := newGrantID()
	rt, err := k.refreshToken(gid, 7)
	if err != nil {
		t.Fatal(err)
	}
	if g, gen, ok := k.parseRefresh(rt); !ok || g != gid || gen != 7 || len(rt) != 73 {
		t.Fatalf("refresh token %q does not read back: %q %d %v", rt, g, gen, ok)
	}
	if again, _ := k.refreshToken(gid, 7); again != rt {
		t.Error("the same generation gave another token")
	}
	code, err := k.seal(prefixCode, &sealedCode{GID: gid, Client: "app", Session: &Session{UserID: "u"}})
	if err != nil {
		t.Fatal(err)
	}
	at, err := k.seal(prefixAccess, &accessClaims{Issuer: "i", Subject: "u", GrantID: gid})
	if err != nil {
		t.Fatal(err)
	}
	opens := func(tok string) string {
		var sc sealedCode
		var ac accessClaims
		if _, _, ok := k.parseRefresh(tok); ok {
			return prefixRefresh
		}
		if k.open(prefixCode, tok, &sc) {
			return prefixCode
		}
		if k.open(prefixAccess, tok, &ac) {
			return prefixAccess
		}
		return ""
	}
	toks := []string{rt, code, at}
	for _, tok := range toks {
		if got := opens(tok); got != tok[:3] {
			t.Fatalf("%q opens as %q", tok, got)
		}
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=.+/ \n%"
	rnd := mrand.New(mrand.NewPCG(1, 2)) // a fixed seed: a failure can be repeated
	n := 300_000
	if testing.Short() {
		n = 10_000
	}
	for range n {
		tok := toks[rnd.IntN(3)]
		var m string
		switch i := rnd.IntN(len(tok)); rnd.IntN(6) {
		case 0:
			m = tok[:i] // truncated
		case 1:
			m = tok + string(alphabet[rnd.IntN(len(alphabet))]) // extended
		case 2:
			m = tok[:i] + string(alphabet[rnd.IntN(len(alphabet))]) + tok[i+1:] // one character
		case 3:
			m = toks[rnd.IntN(3)][:3] + tok[3:] // another kind
		case 4:
			c := tok[i : i+1] // case
			m = tok[:i] + strings.ToUpper(c) + tok[i+1:]
			if m == tok {
				m = tok[:i] + strings.ToLower(c) + tok[i+1:]
			}
		default:
			m = tok[:i] + tok[i:] + "=" // padding
		}
		if m != tok && m != rt && m != code && m != at && opens(m) != "" {
			t.Fatalf("a changed token opened: %q from %q", m, tok)
		}
	}
}

func TestSealedTokensEndWithTheirKey(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	k := keysFor(t, now)
	tok, err := k.seal(prefixAccess, &accessClaims{Subject: "u"})
	if err != nil {
		t.Fatal(err)
	}
	rt, err := k.refreshToken(newGrantID(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var ac accessClaims
	for _, c := range []struct {
		at    time.Duration
		opens bool
		seals bool
	}{{0, true, true}, {61 * time.Minute, true, false}, {2 * time.Hour, false, false}} {
		k.c.Now = func() time.Time { return now.Add(c.at) }
		if got := k.open(prefixAccess, tok, &ac); got != c.opens {
			t.Errorf("after %v: opens %v", c.at, got)
		}
		if _, _, ok := k.parseRefresh(rt); ok != c.opens {
			t.Errorf("after %v: refresh token reads %v", c.at, ok)
		}
		if _, err := k.seal(prefixAccess, &ac); (err == nil) != c.seals {
			t.Errorf("after %v: seals: %v", c.at, err)
		}
	}
}

func TestSec_H1_SealedColumnsCannotBeSwapped(t *testing.T) {
	t.Parallel()
	a, b := make([]byte, 32), make([]byte, 32)
	rand.Read(a)
	rand.Read(b)
	old, err := NewMasterKeys(a)
	if err != nil {
		t.Fatal(err)
	}
	both, err := NewMasterKeys(b, a)
	if err != nil {
		t.Fatal(err)
	}
	sealed := old.Seal([]byte("secret"), "signing_keys.private_sealed.k1")
	if got, err := both.Open(sealed, "signing_keys.private_sealed.k1"); err != nil || string(got) != "secret" {
		t.Errorf("the older key does not open: %v", err)
	}
	for what, try := range map[string]func() error{
		"another row": func() error { _, err := old.Open(sealed, "signing_keys.private_sealed.k2"); return err },
		"another master key": func() error {
			m, _ := NewMasterKeys(b)
			_, err := m.Open(sealed, "signing_keys.private_sealed.k1")
			return err
		},
		"changed": func() error {
			_, err := old.Open(sealed[:len(sealed)-2]+"AA", "signing_keys.private_sealed.k1")
			return err
		},
		"cut": func() error { _, err := old.Open(sealed[:30], "signing_keys.private_sealed.k1"); return err },
	} {
		if try() == nil {
			t.Errorf("%s: opened", what)
		}
	}
	if _, err := NewMasterKeys(a[:31]); err == nil {
		t.Error("a short master key was taken")
	}
}

func TestSignaturesVerifyWithAnIndependentLibrary(t *testing.T) {
	t.Parallel()
	for _, alg := range SigningAlgs {
		mat, err := generate(alg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x509.ParsePKCS8PrivateKey(mat); err != nil {
			t.Fatal(err)
		}
		sg, err := newSigner("kid-1", alg, mat)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 { // ECDSA halves are shorter than 32 bytes now and then
			payload := fmt.Sprintf(`{"n":%d}`, i)
			tok, err := sg.sign(typAccess, []byte(payload))
			if err != nil {
				t.Fatal(err)
			}
			jws, err := jose.ParseSignedCompact(tok, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			got, err := jws.Verify(sg.key.Public())
			if err != nil || string(got) != payload {
				t.Fatalf("%s: %v", alg, err)
			}
			h := jws.Signatures[0].Protected
			if h.KeyID != "kid-1" || h.ExtraHeaders[jose.HeaderType] != "at+jwt" {
				t.Fatalf("%s: header %+v", alg, h)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := keysFor(f, time.Unix(1_700_000_000, 0))
	tok, err := k.seal(prefixCode, &sealedCode{GID: newGrantID(), Session: &Session{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok)
	f.Add("rt_" + strings.Repeat("A", 70))
	f.Add("ac_")
	f.Fuzz(func(t *testing.T, s string) {
		var sc sealedCode
		if k.open(prefixCode, s, &sc) && s != tok {
			t.Fatalf("opened %q", s)
		}
		if _, _, ok := k.parseRefresh(s); ok {
			t.Fatalf("read %q", s)
		}
	})
}
