package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	old := mustRead(t, dev)
	if a, r := Diff(old, mustRead(t, dev+"clients: []\nprivileges: {}\nhttp: {allowed_hosts: []}\n")); len(a)+len(r) > 0 {
		t.Errorf("nothing changed: %v, %v", a, r)
	}
	next := mustRead(t, dev+`
issuer: https://login.example.com
http: {listen: "127.0.0.1:1"}
database: {url: "sqlite:b.db"}
secrets: {master_keys: ["${KEY}"]}
privileges: {staff: }
clients: [{client_id: a, token_endpoint_auth_method: none, redirect_uris: ["https://a.example"]}]
log: {level: debug, format: text}
sessions: {idle: 1h}
`)
	next.HTTP.TLS.CertFile = "x"
	applied, restart := Diff(old, next)
	if got, want := strings.Join(applied, " "), "http.tls.cert_file privileges clients log.level"; got != want {
		t.Errorf("applied: %s, want %s", got, want)
	}
	if got, want := strings.Join(restart, " "), "issuer http.listen database.url secrets.master_keys sessions.idle log.format"; got != want {
		t.Errorf("restart: %s, want %s", got, want)
	}
	for _, k := range reloadable {
		fields := map[string]reflect.Value{}
		fieldsOf(reflect.ValueOf(old).Elem(), "", fields)
		if _, ok := fields[k]; !ok {
			t.Errorf("%s is no key", k)
		}
	}
}
