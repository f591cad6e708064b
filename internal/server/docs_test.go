package server_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/latchkey-idp/latchkey/store"
)

// These tests hold the documentation to the program: what a page names exists, what exists is named, and the worked example comes out.

const root = "../.."

func readDoc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDocs_StandardsNameRealTests: every test that docs/standards.md names is in the tree, and every certification module's test is named.
func TestDocs_StandardsNameRealTests(t *testing.T) {
	t.Parallel()
	defined := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)[A-Za-z0-9_]*)\(`)
	have := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (strings.HasPrefix(name, ".") && name != ".." || name == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range defined.FindAllStringSubmatch(string(b), -1) {
			have[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	doc := readDoc(t, "docs/standards.md")
	named := regexp.MustCompile("`((?:Test|Fuzz|Example)[A-Za-z0-9_]*)`").FindAllStringSubmatch(doc, -1)
	if len(named) < 100 {
		t.Fatalf("only %d tests named: is the page read at all?", len(named))
	}
	said := map[string]bool{}
	for _, m := range named {
		said[m[1]] = true
		if !have[m[1]] {
			t.Errorf("docs/standards.md names %s, which does not exist", m[1])
		}
	}
	for name := range have {
		if strings.HasPrefix(name, "TestOIDCC_") && !said[name] {
			t.Errorf("docs/standards.md does not name %s", name)
		}
	}
	// A row that says yes shows by what.
	for n, line := range strings.Split(doc, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) == "yes" }) {
			continue
		}
		if !regexp.MustCompile("`(Test|Fuzz|Example)").MatchString(line) {
			t.Errorf("docs/standards.md:%d says yes without a test: %s", n+1, line)
		}
	}
}

// TestDocs_RoutesAreDocumented: every path of the public listener, and of the management listener, is in one of the two guides.
func TestDocs_RoutesAreDocumented(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	k := config.NewConnector("google") // connectors bring routes of their own
	k.ClientID, k.ClientSecret = "latchkey", config.NewSecret("of-nobodys-business")
	c.Connectors = []config.Connector{k}
	withPhone(c)
	s, err := server.New(c, server.Options{LogTo: testWriter{t}, Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	docs := readDoc(t, "docs/operating.md") + readDoc(t, "docs/applications.md")
	if len(s.Mux().Routes()) < 40 {
		t.Fatalf("only %d routes", len(s.Mux().Routes()))
	}
	paths := []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/"}
	for _, r := range s.Mux().Routes() {
		_, path, _ := strings.Cut(r.Pattern, " ")
		paths = append(paths, strings.TrimSuffix(path, "{$}"))
	}
	if len(paths) < 25 {
		t.Fatalf("only %d routes", len(paths))
	}
	for _, path := range paths {
		if !strings.Contains(docs, "`"+path+"`") {
			t.Errorf("neither docs/operating.md nor docs/applications.md names `%s`", path)
		}
	}
}

// TestDocs_MetricsAndSettingsAreDocumented: the operator finds every metric and every setting of a client.
func TestDocs_MetricsAndSettingsAreDocumented(t *testing.T) {
	t.Parallel()
	doc := readDoc(t, "docs/operating.md")
	for file, pattern := range map[string]string{
		"internal/server/metrics.go": `Name: "(latchkey_[a-z_]+)"`,
		"internal/config/client.go":  `yaml:"([a-z_]+)"`,
	} {
		names := regexp.MustCompile(pattern).FindAllStringSubmatch(readDoc(t, file), -1)
		if len(names) < 10 {
			t.Errorf("%s: only %d names", file, len(names))
		}
		for _, m := range names {
			if !strings.Contains(doc, "`"+m[1]+"`") {
				t.Errorf("docs/operating.md does not name `%s` of %s", m[1], file)
			}
		}
	}
}

// TestDocs_ConnectorExamplesLoad: every block of docs/connectors.md goes into a configuration as it stands. A block that brings a warning
// says so in a comment before it.
func TestDocs_ConnectorExamplesLoad(t *testing.T) {
	t.Parallel()
	const base = `issuer: https://login.example.com
http: {trusted_proxies: [127.0.0.1]}
database: {url: sqlite:/var/lib/latchkey/latchkey.db}
secrets: {master_keys: ["${LATCHKEY_MASTER_KEY}"]}
login: {password: {min_length: 15}}
`
	env := func(name string) (string, bool) {
		switch {
		case name == "LATCHKEY_MASTER_KEY":
			return "3vpaWgFcmQmXkKZQ0mWzbKcZ9n1UuUuZzXnqJH1QG5E=", true
		case strings.HasSuffix(name, "_CLIENT_SECRET"):
			return strings.Repeat("a-placeholder-", 4), true
		}
		return "", false
	}
	doc := readDoc(t, "docs/connectors.md")
	blocks := regexp.MustCompile("(?m)(?:^<!-- warns: (.+) -->\n)?^```yaml\n((?s:.*?))^```$").FindAllStringSubmatchIndex(doc, -1)
	if len(blocks) != strings.Count(doc, "```yaml") || len(blocks) < 15 {
		t.Fatalf("%d blocks of %d are read", len(blocks), strings.Count(doc, "```yaml"))
	}
	types := map[string]bool{}
	for _, b := range blocks {
		line, wants := strings.Count(doc[:b[4]], "\n"), ""
		if b[2] >= 0 {
			wants = doc[b[2]:b[3]]
		}
		file := filepath.Join(t.TempDir(), "latchkey.yaml")
		if err := os.WriteFile(file, []byte(base+doc[b[4]:b[5]]), 0o600); err != nil {
			t.Fatal(err)
		}
		c, warnings, err := config.Load(file, env)
		if err != nil {
			t.Errorf("docs/connectors.md:%d: %v", line, err)
			continue
		}
		if len(c.Connectors) == 0 {
			t.Errorf("docs/connectors.md:%d: no connector", line)
		}
		for i := range c.Connectors {
			types[c.Connectors[i].Kind()] = true
		}
		for _, w := range warnings {
			if wants == "" || !strings.Contains(w.String(), wants) {
				t.Errorf("docs/connectors.md:%d: an unexpected warning: %s", line, w)
			}
		}
		if wants != "" && len(warnings) == 0 {
			t.Errorf("docs/connectors.md:%d: does not warn of %q", line, wants)
		}
	}
	for _, kind := range []string{"google", "azure", "facebook", "twitter", "oidc", "oauth2"} {
		if !types[kind] {
			t.Errorf("docs/connectors.md has no example of type %s", kind)
		}
	}
}

// TestDocs_ConnectorErrorsAreExplained: every code of a page that a connector can bring stands in the troubleshooting table.
func TestDocs_ConnectorErrorsAreExplained(t *testing.T) {
	t.Parallel()
	doc := readDoc(t, "docs/connectors.md")
	forms := regexp.MustCompile(`Code: "([a-z_]+)"|(?:refuse\(|why: )"error\.([a-z_]+)"|refusal\([^"\n]*"[a-z_.]+", "([a-z_]+)"`)
	seen := map[string]bool{}
	for _, file := range []string{"account_connections", "arrive", "attempt", "complete", "connect", "join", "link", "notices", "upstream"} {
		for _, m := range forms.FindAllStringSubmatch(readDoc(t, "login/"+file+".go"), -1) {
			seen[m[1]+m[2]+m[3]] = true
		}
	}
	if len(seen) < 18 {
		t.Fatalf("only %d codes: %v", len(seen), seen)
	}
	for code := range seen {
		if !strings.Contains(doc, "`"+code+"`") {
			t.Errorf("docs/connectors.md does not explain %s", code)
		}
	}
}

// TestDocs_LinksLeadSomewhere: files that pages link to exist, and so do the headings.
func TestDocs_LinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	anchors := func(text string) (out []string) {
		for _, m := range heading.FindAllStringSubmatch(text, -1) {
			a := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
			out = append(out, strings.ReplaceAll(a, " ", "-"))
		}
		return out
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"README.md", "ARCHITECTURE.md", "SECURITY.md"} {
		pages = append(pages, filepath.Join(root, p))
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			to := filepath.Join(filepath.Dir(page), file)
			if file == "" {
				to = page
			}
			info, err := os.Stat(to)
			if err != nil {
				t.Errorf("%s: %s leads nowhere", page, m[1])
				continue
			}
			if anchor == "" || info.IsDir() {
				continue
			}
			text, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(anchors(string(text)), anchor) {
				t.Errorf("%s: there is no heading for %s", page, m[1])
			}
		}
	}
}

// TestDocs_ShowTheExampleThatCompiles: the Go code of the guide is the package's own example.
func TestDocs_ShowTheExampleThatCompiles(t *testing.T) {
	t.Parallel()
	_, rest, ok := strings.Cut(readDoc(t, "relying/example_test.go"), "func Example() {\n")
	body, _, closed := strings.Cut(rest, "\n}\n")
	if !ok || !closed {
		t.Fatal("relying/example_test.go has no Example")
	}
	want := strings.ReplaceAll("\n"+body, "\n\t", "\n")
	if !strings.Contains(readDoc(t, "docs/applications.md"), "```go"+want+"\n```") {
		t.Error("docs/applications.md shows another example than relying/example_test.go")
	}
}

// example returns the block of docs/applications.md under its marker.
func example(t *testing.T, doc, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(doc, "<!-- example: "+name+" -->\n")
	if !ok {
		t.Fatalf("docs/applications.md has no example %q", name)
	}
	if fenced, ok := strings.CutPrefix(rest, "```"); ok {
		_, body, _ := strings.Cut(fenced, "\n")
		body, _, ok = strings.Cut(body, "\n```")
		if !ok {
			t.Fatalf("example %q does not end", name)
		}
		return body
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// TestDocs_WorkedExample runs the worked example of docs/applications.md and compares the tokens with those shown (R92). Times, ids and
// random values differ from run to run; that they are there, and nothing else, is compared.
func TestDocs_WorkedExample(t *testing.T) {
	t.Parallel()
	doc := readDoc(t, "docs/applications.md")
	file := filepath.Join(t.TempDir(), "latchkey.yaml")
	if err := os.WriteFile(file, []byte(example(t, doc, "configuration")), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"LATCHKEY_MASTER_KEY": "3vpaWgFcmQmXkKZQ0mWzbKcZ9n1UuUuZzXnqJH1QG5E=",
		"FORUM_CLIENT_SECRET": strings.Repeat("forum-secret-", 4),
		"SHOP_CLIENT_SECRET":  strings.Repeat("shop-secret-", 4),
	}
	shown, _, err := config.Load(file, func(name string) (string, bool) { v, ok := secrets[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	person := personOf(t, example(t, doc, "person"), shown)

	synctest.Test(t, func(t *testing.T) {
		idp := testidp.StartBubble(t, testidp.Options{Config: func(c *config.Config) {
			c.Issuer, c.Privileges, c.Clients = shown.Issuer, shown.Privileges, shown.Clients
			c.UserTypes, c.Permissions, c.Delegations = shown.UserTypes, shown.Permissions, shown.Delegations
		}})
		grace := idp.User(person)
		rp := func(id string) *testidp.RP {
			i := slices.IndexFunc(shown.Clients, func(c config.Client) bool { return c.ID == id })
			c := shown.Clients[i]
			return idp.RPOf(id, c.Secret.Reveal(), store.ClientMetadata{RedirectURIs: c.RedirectURIs, Scope: c.Scope})
		}
		forum, shop := rp("forum"), rp("shop")
		b := idp.Browser()

		a := forum.Start()
		at := forum.Finish(a, b.Consent(b.SignIn(b.Get(a.URL), grace)).URL)
		_, info := forum.UserInfo(at.AccessToken)
		a = shop.Start()
		there := shop.Finish(a, b.Consent(b.Get(a.URL)).URL)

		for name, got := range map[string]map[string]any{
			"forum id_token": at.Claims, "forum access_token": payload(t, at.AccessToken), "forum userinfo": info, "shop id_token": there.Claims,
		} {
			var want map[string]any
			if err := json.Unmarshal([]byte(example(t, doc, name)), &want); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, varies := range []string{"at_hash", "auth_time", "exp", "iat", "nonce", "sid", "sub", "jti", "gid", "updated_at"} {
				g, w := got[varies], want[varies]
				if (g == nil) != (w == nil) || g != nil && reflect.TypeOf(g) != reflect.TypeOf(w) {
					t.Errorf("%s: %s is %v, the page shows %v", name, varies, g, w)
				}
				delete(got, varies)
				delete(want, varies)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %v\nshow %v", name, got, want)
			}
		}
		if page := b.Get(idp.Issuer + "/account/privileges"); !strings.Contains(page.Body, "Staff → Moderator → Helper") {
			t.Errorf("the account page does not say why: %s", page)
		}
		// What she may do in Latchkey is as the page says, and in no token.
		m, err := idp.Store.Model(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l, err := idp.Store.Live(t.Context(), grace.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(m.Powers.Of(m.Effective(l, store.At(idp.Now())))); got != "[access_sessions access_user_info invite_user]" {
			t.Errorf("her permissions are %s", got)
		}
		// Somebody without the privilege.
		a = forum.Start()
		other := idp.Browser()
		if p := other.SignIn(other.Get(a.URL), idp.User(testidp.Person{})); p.Status != 403 || p.Text("error-code") != "access_denied" {
			t.Errorf("without staff and customer: %s", p)
		}
	})
}

// personOf reads the example's command.
func personOf(t *testing.T, command string, c *config.Config) (p testidp.Person) {
	t.Helper()
	rest, ok := strings.CutPrefix(command, "latchkey user create ")
	if !ok {
		t.Fatalf("not the command that makes an account: %s", command)
	}
	words := strings.Fields(rest)
	p.Unverified = true
	for i := 0; i < len(words); i++ {
		value := func() string { i++; return words[i] }
		switch words[i] {
		case "--email":
			p.Email = value()
		case "--email-verified":
			p.Unverified = false
		case "--given-name":
			p.GivenName = value()
		case "--family-name":
			p.FamilyName = value()
		case "--username":
			p.Username = value()
		case "--type":
			name := value()
			for _, u := range c.Types() {
				if slices.Contains(u.Names, name) {
					p.UserType = u.Value
				}
			}
			if p.UserType == "" {
				t.Fatalf("the example has no type %s", name)
			}
		case "--grant":
			p.Privileges = append(p.Privileges, value())
		default:
			t.Fatalf("unknown word %q in %s", words[i], command)
		}
	}
	return p
}

// payload of a JWT that was checked elsewhere.
func payload(t *testing.T, jwt string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", jwt)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(b, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
