package server_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// TestSec_I6_TLSVersions asks the live listener.
func TestSec_I6_TLSVersions(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Issuer = "https://localhost:8443"
	dir := t.TempDir()
	c.HTTP.TLS = config.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	writeCertificate(t, c.HTTP.TLS, 1)
	r := start(t, c, server.Options{Load: func() (*config.Config, error) { return c, nil }})
	dial := func(cfg *tls.Config) (tls.ConnectionState, error) {
		cfg.InsecureSkipVerify = true
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", r.public, cfg)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.ConnectionState(), nil
	}
	if st, err := dial(&tls.Config{NextProtos: []string{"h2"}}); err != nil || st.Version != tls.VersionTLS13 || st.NegotiatedProtocol != "h2" {
		t.Errorf("a modern client: %x %q, %v", st.Version, st.NegotiatedProtocol, err)
	}
	if st, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12}); err != nil || st.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2: %v", err)
	}
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if _, err := dial(&tls.Config{MinVersion: v, MaxVersion: v}); err == nil {
			t.Errorf("%s was spoken", tls.VersionName(v))
		}
	}
	// TLS 1.2 without forward secrecy or with CBC.
	for _, suite := range []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA} {
		if _, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}); err == nil {
			t.Errorf("%s was spoken", tls.CipherSuiteName(suite))
		}
	}
	req, err := http.NewRequest(http.MethodGet, "https://"+r.public+"/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "localhost:8443"
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if !strings.Contains(resp.Header.Get("Strict-Transport-Security"), "max-age=") {
		t.Error("no HSTS over TLS")
	}

	// A renewed certificate needs no restart; a broken one changes nothing.
	serial := func() int64 {
		st, err := dial(&tls.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return st.PeerCertificates[0].SerialNumber.Int64()
	}
	writeCertificate(t, c.HTTP.TLS, 2)
	if err := r.Reload(t.Context()); err != nil || serial() != 2 {
		t.Errorf("reload: %v, serial %d, want 2", err, serial())
	}
	if err := os.WriteFile(c.HTTP.TLS.CertFile, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err == nil || serial() != 2 {
		t.Errorf("a broken certificate: %v, serial %d", err, serial())
	}
}

func writeCertificate(t *testing.T, to config.TLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{to.CertFile: {Type: "CERTIFICATE", Bytes: der}, to.KeyFile: {Type: "PRIVATE KEY", Bytes: priv}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSec_I3_SlowClients: who sends slowly is cut off, who sends too much is refused, and others are served meanwhile.
func TestSec_I3_SlowClients(t *testing.T) {
	t.Parallel()
	r := start(t, testConfig(t), server.Options{})
	const n = 200
	cut := make(chan time.Duration, n)
	for range n {
		begin := time.Now()
		c, err := net.Dial("tcp", r.public)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = c.SetReadDeadline(begin.Add(30 * time.Second))
			// An answer (408) or the end of the connection; a deadline of ours means that the server waited on.
			_, err := io.Copy(io.Discard, c)
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				cut <- -1
				return
			}
			cut <- time.Since(begin)
		}()
	}
	for range 20 {
		at := time.Now()
		if code, _ := r.get(r.public, "/oauth2/jwks"); code != http.StatusOK || time.Since(at) > time.Second {
			t.Errorf("beside %d slow connections: %d after %v", n, code, time.Since(at))
		}
	}
	for range n {
		if d := <-cut; d < 0 || d < 4*time.Second {
			t.Fatalf("a slow connection was cut after %v, want about 5 s", d)
		}
	}
}

// TestSec_I3_HeaderSize: 32 KiB of header and no more.
func TestSec_I3_HeaderSize(t *testing.T) {
	t.Parallel()
	r := start(t, testConfig(t), server.Options{})
	for size, want := range map[int]int{24 << 10: http.StatusOK, 33 << 10: http.StatusRequestHeaderFieldsTooLarge, 1 << 20: http.StatusRequestHeaderFieldsTooLarge} {
		c, err := net.Dial("tcp", r.public)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		var b bytes.Buffer
		b.WriteString("GET /oauth2/jwks HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\nX-Large: ")
		b.WriteString(strings.Repeat("x", size))
		b.WriteString("\r\n\r\n")
		go func() { _, _ = c.Write(b.Bytes()) }() // the server may hang up in the middle
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
		} else if _ = resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("%d bytes: %d, want %d", size, resp.StatusCode, want)
		}
		_ = c.Close()
	}
}

// TestSec_I3_MaxConnections: the bound holds, and a place that becomes free is used.
func TestSec_I3_MaxConnections(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Limits.MaxConnections = 2
	r := start(t, c, server.Options{})
	var held []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", r.public)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	answered := make(chan int, 1)
	go func() {
		code, _ := r.get(r.public, "/oauth2/jwks")
		answered <- code
	}()
	select {
	case code := <-answered:
		t.Fatalf("a third connection was served: %d", code)
	case <-time.After(300 * time.Millisecond):
	}
	_ = held[0].Close()
	if code := <-answered; code != http.StatusOK {
		t.Errorf("after one was free: %d", code)
	}
}

// TestSec_I3_IdleConnectionsGiveWay: somebody who fills all places and leaves them idle keeps nobody out.
func TestSec_I3_IdleConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Limits.MaxConnections = 3
	r := start(t, c, server.Options{})
	idle, conns := make([]*bufio.Reader, 3), make([]net.Conn, 3)
	for i := range idle {
		conn, err := net.Dial("tcp", r.public)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "GET /oauth2/jwks HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		idle[i], conns[i] = bufio.NewReader(conn), conn
		resp, err := http.ReadResponse(idle[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		at := time.Now()
		if code, body := r.get(r.public, "/oauth2/jwks"); code != http.StatusOK || time.Since(at) > 2*time.Second {
			t.Fatalf("with all places idle: %d %s after %v", code, body, time.Since(at))
		}
	}
	gone := 0
	for i := range idle {
		_ = conns[i].SetDeadline(time.Now().Add(time.Second))
		if _, err := idle[i].ReadByte(); errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			gone++
		}
	}
	if gone == 0 {
		t.Error("all idle connections are still there: where did the others get their places from?")
	}
}
