package relying

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// as is a context in which a person with these claims is signed in; "" = nobody.
func as(t *testing.T, claims string, c Config) context.Context {
	t.Helper()
	v := &visit{anonymousIsUser: c.AnonymousIsUser}
	if claims != "" {
		var err error
		if v.info, err = readInfo(&session{Claims: json.RawMessage(claims)}); err != nil {
			t.Fatal(err)
		}
	}
	return context.WithValue(context.Background(), visitKey{}, v)
}

// R111, with and without the old rule for anonymous people.
func TestUserHasPrivilege(t *testing.T) {
	t.Parallel()
	some := `{"sub":"s","privileges":["trainer","user"]}`
	for _, c := range []struct {
		claims string
		ask    []string
		want   bool
		old    bool // with AnonymousIsUser
	}{
		{some, []string{"trainer"}, true, true},
		{some, []string{"admin", "user"}, true, true},
		{some, []string{"admin"}, false, false},
		{some, nil, false, false},
		{some, []string{""}, false, false},
		{some, []string{"Trainer"}, false, false},
		{`{"sub":"s","privileges":["admin"]}`, []string{"crm:editor"}, false, false}, // R81
		{`{"sub":"s"}`, []string{"user"}, false, false},
		{"", []string{"user"}, false, true},
		{"", []string{"admin", "user"}, false, true},
		{"", []string{"admin"}, false, false},
		{"", nil, false, false},
	} {
		if got := UserHasPrivilege(as(t, c.claims, Config{}), c.ask...); got != c.want {
			t.Errorf("%s %q: %t", c.claims, c.ask, got)
		}
		if got := UserHasPrivilege(as(t, c.claims, Config{AnonymousIsUser: true}), c.ask...); got != c.old {
			t.Errorf("%s %q by the old rule: %t", c.claims, c.ask, got)
		}
	}
	bare := context.Background()
	if UserHasPrivilege(bare, "user") || UserLoggedIn(bare) || UserPrivileges(bare) != nil {
		t.Error("somebody is there without Screen")
	}
	ctx := as(t, some, Config{})
	UserPrivileges(ctx)[0] = "admin"
	if i, _ := UserInfo(ctx); !slices.Equal(i.Privileges, []string{"trainer", "user"}) {
		t.Error("a caller can change what others see")
	}
}

// R118.
func TestEmailDomain(t *testing.T) {
	t.Parallel()
	person := func(email string, verified any) string {
		return fmt.Sprintf(`{"sub":"s","email":%q,"email_verified":%v}`, email, verified)
	}
	for _, c := range []struct {
		claims, domain string
		is             string
		under, outside bool
	}{
		{person("x@a.GOV", true), "gov", "a.gov", true, false},
		{person("x@a.gov", true), ".gov", "a.gov", true, false},
		{person("x@a.gov", true), "a.gov", "a.gov", true, false},
		{person("x@a.gov", true), "A.Gov.", "a.gov", true, false},
		{person("x@a.gov.", true), "gov", "a.gov", true, false},
		{person("x@notgov", true), "gov", "notgov", false, true},
		{person("x@gov.example", true), "gov", "gov.example", false, true},
		{person("x@b.a.gov", true), "a.gov", "b.a.gov", true, false},
		{person("x@a.gov", true), "b.a.gov", "a.gov", false, true},
		{person(`"x@gov"@evil.example`, true), "gov", "evil.example", false, true},
		{person("x@gov", `"true"`), "gov", "gov", true, false},
		// Nobody knows where these belong: no rule lets them in.
		{person("x@gov", false), "gov", "", false, false},
		{person("x@com", false), "gov", "", false, false},
		{person("x@gov", `"false"`), "gov", "", false, false},
		{person("x@gov", 1), "gov", "", false, false},
		{`{"sub":"s","email":"x@gov"}`, "gov", "", false, false},
		{`{"sub":"s","phone_number":"+1555","phone_number_verified":true}`, "gov", "", false, false},
		{person("@gov", true), "gov", "", false, false},
		{person("x@", true), "", "", false, false},
		{person("x@gov", true), "", "gov", false, false},
		{"", "gov", "", false, false},
	} {
		ctx := as(t, c.claims, Config{})
		if got, ok := EmailDomain(ctx); got != c.is || ok != (c.is != "") {
			t.Errorf("%s is at %q %t", c.claims, got, ok)
		}
		if got := EmailUnder(ctx, c.domain); got != c.under {
			t.Errorf("%s under %q: %t", c.claims, c.domain, got)
		}
		if got := EmailOutside(ctx, "mil", c.domain); got != c.outside {
			t.Errorf("%s outside %q: %t", c.claims, c.domain, got)
		}
	}
	if !EmailOutside(as(t, person("x@a.example", true), Config{})) {
		t.Error("outside of nothing is everywhere")
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	ctx := as(t, `{"sub":"s","given_name":"Ada","family_name":"<b>","email_verified":true,"phone_number":"+155","phone_number_verified":true,
		"address":{"country":"GB"},"privileges":["b","a"],"readonly":true,"user_type":"auditor","auth_time":1700000000,"amr":["pwd"],"unknown":{}}`, Config{})
	i, ok := UserInfo(ctx)
	if !ok || i.DisplayName() != "Ada <b>" || !i.EmailVerified || !i.PhoneVerified || i.Address.Country != "GB" || !i.ReadOnly ||
		i.UserType != "auditor" || !i.AuthTime.Equal(time.Unix(1700000000, 0)) || !slices.Equal(i.Privileges, []string{"a", "b"}) {
		t.Errorf("%+v", i)
	}
	for claims, want := range map[string]string{
		`{"name":"N","family_name":"F"}`: "N", `{"family_name":"F"}`: "F", `{"given_name":"G"}`: "G", `{}`: "Unnamed User",
	} {
		if i, _ := UserInfo(as(t, claims, Config{})); i.DisplayName() != want {
			t.Errorf("%s: %q, want %q", claims, i.DisplayName(), want)
		}
	}
	for _, bad := range []string{`{"privileges":"admin"}`, `{"privileges":[1]}`, `{"readonly":"no"}`, `[]`, `{"act":"b"}`, `{"act":{}}`, `{"act":{"sub":""}}`} {
		if _, err := readInfo(&session{Claims: json.RawMessage(bad)}); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

// TestInfo_Acting: who really is there is known from every answer, also from one that came without an ID token.
func TestInfo_Acting(t *testing.T) {
	t.Parallel()
	id := json.RawMessage(`{"sub":"ada","name":"Ada","act":{"sub":"bob"},"privileges":["trainer"]}`)
	about, err := only(id, aboutSignIn...)
	if err != nil {
		t.Fatal(err)
	}
	later, err := merge(about, json.RawMessage(`{"sub":"ada","name":"Ada L"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, claims := range []json.RawMessage{id, later, json.RawMessage(`{"sub":"ada","act":{"sub":"bob","act":{"sub":"carl"}}}`)} {
		i, ok := UserInfo(as(t, string(claims), Config{}))
		if !ok || i.Subject != "ada" || i.ActorSubject != "bob" || !i.Acting() {
			t.Errorf("%s: %+v", claims, i)
		}
	}
	for _, claims := range []string{`{"sub":"ada"}`, `{"sub":"ada","act":null}`} {
		if i, _ := UserInfo(as(t, claims, Config{})); i.Acting() || i.ActorSubject != "" {
			t.Errorf("%s: %+v", claims, i)
		}
	}
}

func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	m := newMemory(func() time.Time { return now })
	ctx := context.Background()
	save := func(key string, life time.Duration, replace bool) {
		m.Save(ctx, key, []byte(key), now.Add(life), replace)
	}
	save("short", time.Second, false)
	save("long", time.Hour, false)
	save("ended", time.Hour, true) // a renewal that comes after the sign-out
	now = now.Add(2 * time.Minute)
	save("new", time.Hour, false)
	if len(m.kept) != 2 {
		t.Errorf("%d kept, want long and new", len(m.kept))
	}
	if d, _ := m.Load(ctx, "ended"); d != nil {
		t.Error("an ended session came back")
	}
}

// A path to return to never leaves the application, whatever a browser makes of it.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "/a?b#c", "//evil", "/\\evil", "/\t/evil", "/..//evil", "/%2f/evil", "https://evil", "/\u0000", "/@evil"} {
		f.Add(s)
	}
	c := &Client{callback: "/callback"}
	base, err := url.Parse("https://app.example/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got := c.localPath(p)
		if got != "/" && got != p {
			t.Fatalf("%q became %q", p, got)
		}
		// What a browser does first (WHATWG URL): drop tabs and newlines, turn backslashes.
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace(strings.TrimSpace(got))
		u, err := base.Parse(seen)
		if err != nil || u.Host != "app.example" || u.Scheme != "https" {
			t.Fatalf("%q leads to %v (%v)", p, u, err)
		}
	})
}
