package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/latchkey-idp/latchkey/"

// mayImport is the import graph. A package that is not here may import nothing of ours, and nothing of ours may be missing here.
// Leaves know nothing of ours; provider and login meet in internal/server and nowhere else.
var mayImport = map[string][]string{
	"cmd/latchkey":       {"connectors/connectortest", "internal/config", "internal/explain", "internal/rights", "internal/server", "internal/sampleapp", "store"},
	"admin":              {"login/session", "internal/invites", "internal/explain", "internal/requests", "internal/privilege", "internal/rights", "internal/web", "templates", "store"},
	"internal/invites":   {"internal/privilege", "store", "templates"},
	"internal/requests":  {"internal/privilege", "store", "templates"},
	"internal/rights":    {"internal/config", "internal/privilege", "store"},
	"internal/server":    {"internal/invites", "internal/phone", "internal/twilio", "internal/requests", "internal/rights", "admin", "connectors", "internal/config", "internal/delivery", "internal/explain", "internal/notify", "internal/privilege", "internal/web", "login", "login/passkey", "login/password", "login/session", "login/throttle", "provider", "store", "templates"},
	"internal/sampleapp": {"relying"},
	"relying":            {"internal/privilege"},
	"provider":           {"login/session", "internal/web", "internal/privilege", "templates", "store"},
	"login":              {"internal/invites", "internal/phone", "internal/twilio", "connectors", "login/session", "login/passkey", "login/password", "login/throttle", "internal/explain", "internal/privilege", "internal/requests", "internal/web", "templates", "store"},
	"login/session":      {"internal/web", "store"},
	"login/throttle":     {"store"},
	"internal/web":       {"templates", "store"},
	"store":              {"internal/privilege"},
	"store/storetest":    {"store"},
	"internal/explain":   {"internal/privilege", "store"},
	"internal/config":    {"internal/phone", "internal/privilege", "connectors"},
	"internal/delivery":  {"internal/notify", "store"},
	"internal/notify":    {},
	"templates":          {},
	"login/passkey":      {},
	"login/password":     {},
	"internal/privilege": {},
	"internal/opload":    {},
	"internal/phone":     {},
	"internal/twilio":    {},
	"connectors":         {},

	"connectors/connectortest":   {"connectors"},
	"internal/notify/notifytest": {},
	"internal/twilio/twiliotest": {},
}

// onlyIn keeps third parties where they belong.
var onlyIn = map[string][]string{
	"github.com/ory/fosite":               {"provider"},
	"github.com/go-webauthn/webauthn":     {"login/passkey"},
	"github.com/jmoiron/sqlx":             {"store"},
	"github.com/jackc/pgx/v5":             {"store", "store/storetest"},
	"modernc.org/sqlite":                  {"store"},
	"github.com/pressly/goose/v3":         {"store"},
	"github.com/twilio/twilio-go":         {"internal/twilio"},
	"github.com/nyaruka/phonenumbers":     {"internal/phone"},
	"github.com/spf13/cobra":              {"cmd/latchkey"},
	"github.com/prometheus/client_golang": {"internal/server"},
	"github.com/goccy/go-yaml":            {"internal/config"},
	"github.com/gorilla/sessions":         {"login/session"},
	"github.com/nicksnyder/go-i18n/v2":    {"templates"},
	"github.com/ccojocar/zxcvbn-go":       {"login/password"},
	"testing":                             {"store/storetest", "internal/notify/notifytest"},
	"github.com/wneessen/go-mail":         {"internal/notify"},
	"github.com/emersion/go-smtp":         {"internal/notify/notifytest"},
	"github.com/emersion/go-sasl":         {"internal/notify/notifytest"},
	"github.com/rogpeppe/go-internal":     {},
	"github.com/chromedp/chromedp":        {},
	"golang.org/x/oauth2":                 {"relying", "connectors"},
	"github.com/coreos/go-oidc/v3":        {"relying", "connectors"},
	"golang.org/x/crypto/argon2":          {"login/password"},
	"github.com/gorilla/securecookie":     {"login/session", "relying"},
	"net/http/pprof":                      {"internal/server", "internal/opload"},
	"github.com/jba/templatecheck":        {},
}

// TestImportGraph holds the layout: who may import whom.
func TestImportGraph(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	seen := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == "internal/testidp" || strings.HasPrefix(name, "internal/testidp/") {
			continue // the harness of tests may know everything; nothing may know it
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s is not in the import graph", name)
			continue
		}
		seen++
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok {
				if !slices.Contains(allowed, ours) {
					t.Errorf("%s imports %s", name, ours)
				}
				continue
			}
			for third, where := range onlyIn {
				if (i == third || strings.HasPrefix(i, third+"/")) && !slices.Contains(where, name) {
					t.Errorf("%s imports %s, which belongs to %v", name, i, where)
				}
			}
		}
	}
	if seen < len(mayImport) {
		t.Errorf("%d packages of %d seen: take the missing ones out of the graph", seen, len(mayImport))
	}
}
