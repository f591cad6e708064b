package relying_test

import (
	"fmt"
	"html"
	"log"
	"net/http"
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

	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if who, ok := relying.UserInfo(r.Context()); ok {
			fmt.Fprintf(w, "<p>Welcome, %s</p>", html.EscapeString(who.DisplayName()))
			return
		}
		fmt.Fprint(w, `<p><a href="/login">Log in</a></p>`)
	})
	lessons := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<p>Lessons</p>") })
	mux.Handle("GET /lessons/", rp.RequireLogin(lessons))
	grades := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<p>Grades</p>") })
	mux.Handle("GET /grades/", rp.RequirePrivilege("trainer", "admin")(grades))

	log.Fatal(http.ListenAndServe("127.0.0.1:8081", rp.Screen(mux)))
}

// Turning people away by their e-mail address: whoever has none that was verified is turned away too.
func ExampleEmailDomainUnder() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		who, ok := relying.UserInfo(r.Context())
		if !ok || !who.EmailVerified || relying.EmailDomainUnder(r.Context(), "gov") {
			http.Error(w, "Not for government employees.", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "Come in.")
	}
	http.HandleFunc("GET /interview", handler)
}
