package relying_test

import (
	"fmt"
	"html"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"

	"github.com/latchkey-idp/latchkey/relying"
)

// A whole application: an open page, one for people who are signed in, and one for trainers and administrators.
func Example() {
	rp, err := relying.New(relying.Config{
		Issuer:       "https://id.example.com",
		ClientID:     "courses",
		ClientSecret: os.Getenv("COURSES_CLIENT_SECRET"),
		RedirectURL:  "https://courses.example.com/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /login", rp.Login())
	mux.Handle("GET /callback", rp.Callback())
	mux.Handle("POST /logout", rp.Logout())
	mux.Handle("POST /backchannel-logout", rp.BackChannelLogout())

	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if who, ok := relying.UserInfo(r.Context()); ok {
			fmt.Fprintf(w, "<p>Welcome, %s</p>", html.EscapeString(who.DisplayName()))
			return
		}
		fmt.Fprint(w, `<p><a href="/login">Log in</a></p>`)
	})
	lessons := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<p>Lessons</p>") })
	mux.Handle("GET /lessons/", rp.RequireLogin(lessons))
	mux.Handle("POST /lessons/", rp.RequireWrite(lessons)) // not for people whose user type is read-only
	grades := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<p>Grades</p>") })
	mux.Handle("GET /grades/", rp.RequirePrivilege("trainer", "admin")(grades))

	log.Fatal(http.ListenAndServe("127.0.0.1:8081", rp.Screen(mux)))
}

// Must be logged in: a page that says sorry, with two ways on. After the sign-in the person comes back to the page that was asked for, and
// is screened there; a form that was sent is not sent again.
func ExampleConfig_signedOut() {
	sorry := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		login := "/login?" + url.Values{"return": {relying.ReturnTo(r)}}.Encode()
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<h1>Sorry, you must log in first</h1><a href="%s">Log in</a> <a href="https://example.com/">Exit</a>`, html.EscapeString(login))
	})
	rp, err := relying.New(relying.Config{
		Issuer: "https://id.example.com", ClientID: "courses", RedirectURL: "https://courses.example.com/callback",
		SignedOut: sorry,
	})
	if err != nil {
		log.Fatal(err)
	}
	page := rp.RequireLogin(http.NotFoundHandler())

	for _, method := range []string{"GET", "POST"} {
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequest(method, "/members?page=2", nil))
		fmt.Println(method, w.Code, w.Body)
	}
	// Output:
	// GET 403 <h1>Sorry, you must log in first</h1><a href="/login?return=%2Fmembers%3Fpage%3D2">Log in</a> <a href="https://example.com/">Exit</a>
	// POST 403 <h1>Sorry, you must log in first</h1><a href="/login?return=%2F">Log in</a> <a href="https://example.com/">Exit</a>
}

// Paths by privilege: the first that holds. Whoever holds neither is told so, and not sent to sign in again.
func ExampleClient_RequirePrivilege() {
	rp, err := relying.New(relying.Config{Issuer: "https://id.example.com", ClientID: "court", RedirectURL: "https://court.example.com/callback"})
	if err != nil {
		log.Fatal(err)
	}
	bench := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "Cases to decide") })
	table := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "Your case") })
	http.Handle("GET /case", rp.RequirePrivilege("judge", "litigant")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if relying.UserHasPrivilege(r.Context(), "judge") {
			bench.ServeHTTP(w, r)
			return
		}
		table.ServeHTTP(w, r)
	})))
}

// A greeting. Names are claims and may hold anything: they are escaped, and may be empty.
func ExampleInfo_DisplayName() {
	for _, who := range []relying.Info{{GivenName: "Ada", FamilyName: "Lovelace"}, {Name: "<b>"}, {}} {
		fmt.Println("Welcome,", html.EscapeString(who.DisplayName()))
	}
	// Output:
	// Welcome, Ada Lovelace
	// Welcome, &lt;b&gt;
	// Welcome, Unnamed User
}

// Turning people away by their e-mail address: whoever has none that was verified is turned away too.
func ExampleEmailOutside() {
	interview := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !relying.EmailOutside(r.Context(), "gov") {
			http.Error(w, "Not for government employees.", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "Come in.")
	})
	w := httptest.NewRecorder()
	interview.ServeHTTP(w, httptest.NewRequest("GET", "/interview", nil)) // nobody is signed in
	fmt.Print(w.Code, " ", w.Body)
	// Output: 403 Not for government employees.
}

// A rule of both kinds: every member must hold, and of a list any.
func ExampleRequirement() {
	rule := relying.MustRequirement("staff", []string{"developer", "crm:editor"})
	fmt.Println(rule)
	fmt.Println(rule.Met([]string{"crm:editor", "staff"}))
	fmt.Println(rule.Met([]string{"staff"}))
	fmt.Println(rule.Met([]string{"admin"}))
	// Output:
	// staff and (developer or crm:editor)
	// true
	// false
	// false
}

// An API: reading takes a scope, writing a privilege besides, and an account that may change things.
func ExampleAPI() {
	api, err := relying.NewAPI(relying.APIConfig{Issuer: "https://id.example.com", Audience: "https://shop.example.com/api"})
	if err != nil {
		log.Fatal(err)
	}
	list := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := relying.TokenOf(r.Context())
		fmt.Fprintf(w, "orders for %s", token.ClientID)
	})
	add := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := relying.UserInfo(r.Context())
		fmt.Fprintf(w, "taken by %s", who.Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /api/orders", api.RequireScope("orders")(list))
	mux.Handle("POST /api/orders", api.RequireScope("orders")(api.RequirePrivilege("clerk", "manager")(api.RequireWrite(add))))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/api/orders", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer realm="https://shop.example.com/api"
}
