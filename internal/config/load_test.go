package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// dev is the least file; prod the least for production.
const (
	dev  = "environment: development\n"
	prod = "issuer: https://login.example.com\nsecrets: {master_keys: [\"${KEY}\"]}\nlogin: {password: {min_length: 15}}\nhttp: {trusted_proxies: [127.0.0.1]}\ndatabase: {url: sqlite:/var/lib/x.db}\n"
)

func mustRead(t *testing.T, text string) *Config {
	t.Helper()
	c, _, err := read("", []byte(text), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoad_WithoutFileIsDevelopment(t *testing.T) {
	t.Parallel()
	c, warnings, err := Load("", testEnv)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", warnings, err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("not the default: %+v", c)
	}
	if c.Environment != Development || c.Issuer != "http://localhost:8080" || c.HTTP.Listen != "127.0.0.1:8080" || c.Database.URL.Reveal() != "sqlite:./latchkey.db" ||
		len(c.MasterKeys()) != 0 || c.File() != "" {
		t.Errorf("the default is %+v", c)
	}
}

func TestLoad_FileIsProductionUnlessItSaysSo(t *testing.T) {
	t.Parallel()
	if c := mustRead(t, prod); c.Environment != Production || c.Log.Format != "json" {
		t.Errorf("%+v", c)
	}
	c := mustRead(t, dev)
	if c.Issuer != "http://localhost:8080" || c.Environment != Development {
		t.Errorf("%+v", c)
	}
	// Everything else has the same default with a file and without.
	d := Default()
	d.Log.Format = "json"
	if !reflect.DeepEqual(c, d) {
		t.Errorf("a file with nothing but the environment: %+v", c)
	}
}

func TestLoad_FileTrouble(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "cannot be read: there is no such file",
		dir:                             "cannot be read: is a directory",
	} {
		_, _, err := Load(path, testEnv)
		var bad *Error
		if !errors.As(err, &bad) || len(bad.Problems) != 1 || bad.Problems[0].Text != want || bad.File != path {
			t.Errorf("%s: %v", path, err)
		}
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(big, testEnv); err == nil || err.Error() != big+" has a problem:\n  is larger than 4 MiB" {
		t.Errorf("large: %v", err)
	}
	if _, _, err := read("x.yaml", []byte(dev+"app_name: \xff\n"), testEnv); err == nil || err.Error() != "x.yaml has a problem:\n  line 2: is not UTF-8 here" {
		t.Errorf("not UTF-8: %v", err)
	}
	if _, _, err := read("", []byte(dev+"a: 1\nb: 2\n"), testEnv); err == nil || !strings.HasPrefix(err.Error(), "the configuration has 2 problems:\n  line 2: a: unknown key") {
		t.Errorf("two: %v", err)
	}
}

// TestLoad_Hostile: what only a broken or hostile file holds ends in an error, in reasonable time.
func TestLoad_Hostile(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"brackets":  strings.Repeat("[", 100_000),
		"braces":    strings.Repeat("{a: ", 100_000),
		"dashes":    strings.Repeat("- ", 100_000),
		"questions": strings.Repeat("? ", 100_000),
		"indentation": func() string {
			var b strings.Builder
			for i := range 2000 {
				b.WriteString(strings.Repeat(" ", i) + "a:\n")
			}
			return b.String()
		}(),
		"aliases":   "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
		"keys":      strings.Repeat("k", 1<<20) + ": 1\n",
		"many keys": strings.Repeat("k: 1\n", 3000),
		"nul":       "a: \x00\n",
		"colons":    strings.Repeat(":", 10_000),
	} {
		start := time.Now()
		if _, _, err := read("", []byte(text), testEnv); err == nil {
			t.Errorf("%s is accepted", name)
		} else if len(err.Error()) > 10<<20 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s takes %v", name, took)
		}
	}
}

func TestLoad_Values(t *testing.T) {
	t.Parallel()
	c := mustRead(t, prod+`app_name: "a $${KEY} $ ${EMPTY}b"
branding: {accent: "#1F4d45"}
privileges:
  staff: {label: Staff, includes: [helper]}
  helper:
  crm:editor:
clients:
  - client_id: crm
    client_secret: |
      `+goodSecret+`
    redirect_uris: [https://crm.example.com/cb, "http://localhost:3000/cb", "http://127.0.0.1/cb", "http://[::1]:99/cb"]
    required_privileges: [staff, [admin, "crm:editor"]]
    default_max_age: 0
    access_token_ttl: 90s
    require_pkce: false
    scope: openid orders:read https://api.example.com/x
  - client_id: phone.app
    application_type: native
    token_endpoint_auth_method: none
    redirect_uris: ["com.example.app:/cb", "com.example.app://cb", "http://127.0.0.1:0/cb"]
sessions: {idle: 1d12h, absolute: 2d, remember_idle: 36h}
limits: {max_body: 65537}
metrics: {enabled: False}
`)
	if c.AppName != "a ${KEY} $ b" {
		t.Errorf("app_name is %q", c.AppName)
	}
	if c.Sessions.Idle != 36*time.Hour || c.Sessions.RememberIdle != 36*time.Hour || c.Limits.MaxBody != 65537 || c.Metrics.Enabled {
		t.Errorf("%+v", c)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}; !reflect.DeepEqual(c.HTTP.TrustedProxies, want) {
		t.Errorf("proxies are %v", c.HTTP.TrustedProxies)
	}
	k := c.Clients[0]
	if k.DefaultMaxAge == nil || *k.DefaultMaxAge != 0 || k.AccessTokenTTL != 90*time.Second || k.RequirePKCE || k.TokenEndpointAuth != "client_secret_basic" {
		t.Errorf("%+v", k)
	}
	if !reflect.DeepEqual(k.RequiredPrivileges, []any{"staff", []any{"admin", "crm:editor"}}) {
		t.Errorf("requirement is %v", k.RequiredPrivileges)
	}
	if len(c.Privileges) != 3 {
		t.Errorf("privileges are %v", c.Privileges)
	}
	if got := c.MasterKeys(); len(got) != 1 || len(got[0]) != 32 {
		t.Errorf("%d master keys", len(got))
	}
}

func TestLoad_VariablesOfEveryType(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"N": "7", "T": "false", "D": "3d", "B": "8KiB", "P": "10.0.0.0/8", "S": "x"}[name]
		return v, ok
	}
	c, _, err := read("", []byte(dev+`
app_name: "${S}${S}"
database: {readers: "${N}"}
metrics: {enabled: "${T}"}
sessions: {absolute: "1${N}d"}
audit: {event_retention: "${D}"}
limits: {max_body: "${B}"}
http: {trusted_proxies: ["${P}"]}
`), env)
	if err != nil {
		t.Fatal(err)
	}
	if c.AppName != "xx" || c.Database.Readers != 7 || c.Metrics.Enabled || c.Sessions.Absolute != 17*24*time.Hour || c.Audit.EventRetention != 72*time.Hour ||
		c.Limits.MaxBody != 8192 || c.HTTP.TrustedProxies[0].String() != "10.0.0.0/8" {
		t.Errorf("%+v", c)
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

func TestLoad_SecretsFromFiles(t *testing.T) {
	t.Parallel()
	keys := write(t, "keys", goodKey+"\n"+otherKey+"\n", 0o600)
	url := write(t, "url", "postgres://latchkey:hunter2@localhost/latchkey\r\n", 0o640)
	secret := write(t, "secret", goodSecret+"\n\n", 0o644)
	file := write(t, "latchkey.yaml", "environment: development\ndatabase: {url_file: "+url+"}\nsecrets: {master_keys_file: "+keys+"}\nclients:\n  - client_id: app\n    redirect_uris: [https://app.example.com/cb]\n    client_secret_file: "+secret+"\n", 0o644)
	c, warnings, err := Load(file, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Database.URL.Reveal() != "postgres://latchkey:hunter2@localhost/latchkey" || len(c.MasterKeys()) != 2 || c.Clients[0].Secret.Reveal() != goodSecret || c.File() != file {
		t.Errorf("%+v", c)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), `secret" can be read by everybody on this machine (mode 0644)`) || warnings[0].Path != "clients[0].client_secret_file" || warnings[0].Line != 7 {
		t.Errorf("warnings: %v", warnings)
	}

	for name, c := range map[string]struct{ text, want string }{
		"database": {"database: {url_file: " + write(t, "u", "mysql://hunter2", 0o600) + "}\n", "is not sqlite:PATH or postgres://"},
		"keys":     {"secrets: {master_keys_file: " + write(t, "k", goodKey+"\nhunter2hunter2\n", 0o600) + "}\n", "key #2: is not 32 bytes in base64 or hex"},
		"secret":   {"clients:\n  - {client_id: a, redirect_uris: [\"https://a.example\"], client_secret_file: " + write(t, "s", "hunter2\nhunter2hunter2hunter2hunter2hunter2\n", 0o600) + "}\n", "has a character that is not visible ASCII"},
		"large":    {"secrets: {master_keys_file: " + write(t, "l", strings.Repeat("hunter2 ", 10000), 0o600) + "}\n", "is larger than 64 KiB"},
	} {
		_, _, err := read("", []byte(dev+c.text), testEnv)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoad_Warnings(t *testing.T) {
	t.Parallel()
	secret := "    client_secret: ${SECRET}\n    redirect_uris: [https://app.example.com/cb]\n"
	for _, c := range []struct{ text, want string }{
		{prod, ""},
		{dev, ""},
		{dev + "issuer: http://192.168.1.5:8080\n", "line 2: issuer: is http and not this machine: everybody in the network can read passwords and tokens"},
		{dev + "issuer: http://demo.localhost:8080\n", ""},
		{dev + "http:\n  listen: :8080\n", `line 3: http.listen: ":8080" listens beyond this machine without TLS; configure http.tls, or name the proxy in front in http.trusted_proxies`},
		{strings.Replace(prod, "[127.0.0.1]", "[]", 1), "line 4: http.trusted_proxies: is empty and http.tls is too: behind a proxy everybody would have the proxy's address, and the limits would meet all at once; name the proxy"},
		{strings.Replace(prod, "min_length: 15", "min_length: 8", 1), "line 3: login.password.min_length: is 8; 15 is recommended where a password is all that is asked for (NIST SP 800-63B-4)"},
		{strings.Replace(prod, "sqlite:/var/lib/x.db", "sqlite:x.db", 1), "line 5: database.url: the database's path is relative, so which file it is depends on where the server is started"},
		{strings.Replace(prod, "sqlite:/var/lib/x.db", `"postgres://u:hunter2@db/x?sslmode=disable"`, 1), "line 5: database.url: sends everything to db without TLS (sslmode=disable)"},
		{strings.Replace(prod, "{trusted_proxies: [127.0.0.1]}", "{trusted_proxies: [127.0.0.1], management: {listen: :9000}}", 1), `line 4: http.management.listen: ":9000" is reached from beyond this machine, without sign-in; keep it within a private network`},
		{dev + "privileges:\n  crm:editor: {}\n", `line 3: privileges.crm:editor: belongs to the client "crm", which is not in this file`},
		{dev + "clients:\n  - client_id: app\n" + secret + "    require_pkce: false\n", "line 6: clients[0].require_pkce: is false; only old software needs that"},
		{dev + "clients:\n  - client_id: app\n" + secret + "    scope: openid offline_access\n", "line 6: clients[0].scope: has offline_access, but grant_types has no refresh_token: it will get none"},
		{dev + "clients:\n  - client_id: app\n" + secret + "    grant_types: [authorization_code, refresh_token]\n", "line 6: clients[0].grant_types: has refresh_token, but scope has no offline_access: it will get none. Add it, or refresh_tokens: session"},
	} {
		_, warnings, err := read("", []byte(c.text), testEnv)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		var got []string
		for _, w := range warnings {
			got = append(got, w.String())
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.text, strings.Join(got, "\n"), c.want)
		}
	}
	file := write(t, "latchkey.yaml", dev+"secrets: {master_keys: ["+goodKey+"]}\n", 0o644)
	if _, warnings, err := Load(file, testEnv); err != nil || len(warnings) != 1 || warnings[0].Text != "this file, which holds secrets, can be read by everybody on this machine (mode 0644); chmod 600, or 640 with a group of its own" {
		t.Errorf("%v, %v", warnings, err)
	}
	file = write(t, "latchkey.yaml", dev+"secrets: {master_keys: [\"${KEY}\"]}\n", 0o644)
	if _, warnings, err := Load(file, testEnv); err != nil || len(warnings) != 0 {
		t.Errorf("without a secret of its own: %v, %v", warnings, err)
	}
}

// pair writes a certificate for login.example.com and its key.
func pair(t *testing.T, until time.Time, mode os.FileMode) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"login.example.com"}, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "crt.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644),
		write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})), mode)
}

func TestLoad_TLS(t *testing.T) {
	t.Parallel()
	file := func(issuer, cert, key string) string {
		return "issuer: " + issuer + "\nsecrets: {master_keys: [\"${KEY}\"]}\nlogin: {password: {min_length: 15}}\ndatabase: {url: sqlite:/x.db}\nhttp:\n  listen: :443\n  tls:\n    cert_file: " + cert + "\n    key_file: " + key + "\n"
	}
	cert, key := pair(t, time.Now().Add(time.Hour), 0o600)
	oldCert, oldKey := pair(t, time.Now().Add(-time.Hour), 0o600)
	_, openKey := cert, write(t, "open.pem", func() string { b, _ := os.ReadFile(key); return string(b) }(), 0o644)
	for name, c := range map[string]struct{ issuer, cert, key, warning, problem string }{
		"good":       {"https://login.example.com", cert, key, "", ""},
		"other key":  {"https://login.example.com", cert, oldKey, "", "http.tls: the certificate and its key do not work together: private key does not match public key"},
		"other host": {"https://id.example.com", cert, key, "is not for the issuer's host id.example.com", ""},
		"over":       {"https://login.example.com", oldCert, oldKey, "is not valid any more, since ", ""},
		"open key":   {"https://login.example.com", cert, openKey, "can be read by everybody on this machine (mode 0644)", ""},
	} {
		_, warnings, err := read("", []byte(file(c.issuer, c.cert, c.key)), testEnv)
		switch {
		case c.problem != "":
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case c.warning == "" && len(warnings) > 0, c.warning != "" && (len(warnings) != 1 || !strings.Contains(warnings[0].Text, c.warning)):
			t.Errorf("%s: %v", name, warnings)
		}
	}
}

// TestMail: what follows from the block, and a password that came from a file.
func TestMail(t *testing.T) {
	t.Parallel()
	if c := Default(); c.Mail.On() {
		t.Error("mail without a server")
	}
	for text, port := range map[string]int{"": 587, ", tls: implicit": 465, ", port: 2525": 2525} {
		c := mustRead(t, dev+"mail: {host: smtp.example.com, from: login@example.com"+text+"}\n")
		if host, p := c.Mail.Address(); !c.Mail.On() || host != "smtp.example.com" || p != port {
			t.Errorf("%s: %s %d", text, host, p)
		}
	}
	file := write(t, "mail", "hunter2 with a blank\n", 0o600)
	c := mustRead(t, dev+"mail: {host: '::1', tls: none, from: login@example.com, user: u, password_file: "+file+"}\n")
	if _, port := c.Mail.Address(); port != 25 || c.Mail.Password.Reveal() != "hunter2 with a blank" {
		t.Errorf("%d %q", port, c.Mail.Password.Reveal())
	}
	if out := printed(t, c); strings.Contains(out, "hunter2") || strings.Contains(out, "REDACTED") || !strings.Contains(out, `password_file: "`+file) {
		t.Errorf("printed:\n%s", out)
	}
	_, warnings, err := read("", []byte(dev+"mail: {host: smtp.example.com, tls: none, from: login@example.com}\n"), testEnv)
	if err != nil || len(warnings) != 1 || warnings[0].Path != "mail.tls" {
		t.Errorf("%v %v", warnings, err)
	}
}
