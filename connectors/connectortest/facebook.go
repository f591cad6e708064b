package connectortest

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Facebook is a fake of Facebook's classic code flow: www.facebook.com with the dialog and a page of connected apps, graph.facebook.com with
// the token endpoint, debug_token, /me and permissions.
type Facebook struct {
	*scripted
	WebURL, GraphURL string // what FacebookConfig takes

	// Notifier sends the signed notices; nil = a plain client.
	Notifier *http.Client

	apps     []Client
	people   []Person
	versions []string                   // that are alive, newest first
	given    map[[2]string]givenScopes  // by app and person
	codes    map[string]*facebookCode   //
	tokens   map[string]*facebookToken  //
	notices  map[string]facebookNotices // by app
	modes    FacebookModes
}

// FacebookModes are what an app's settings, or an attacker, may do.
type FacebookModes struct {
	RequireProof bool // "Require App Secret": no call without appsecret_proof

	ForeignToken bool   // the token endpoint hands out a token that another app was given
	ForeignApp   bool   // debug_token names another app
	OtherUser    bool   // debug_token names another person
	Invalid      bool   // debug_token says that the token is not valid
	TokenType    string // debug_token's type, "" = USER
	NoScopes     bool   // debug_token does not list scopes
}

// givenScopes says of each scope that was asked for whether it was given.
type givenScopes map[string]bool

type facebookCode struct {
	app, person, redirectURI, challenge, method string
	made                                        time.Time
	used                                        bool
}

type facebookToken struct {
	app, person string
	made        time.Time
	ended       int // the subcode of error 190 with which it is refused, 0 = it is good
}

type facebookNotices struct{ deauthorize, deletion string }

// How long Facebook's codes and tokens live.
const (
	facebookCodeLife  = 10 * time.Minute
	facebookTokenLife = 60 * 24 * time.Hour
)

// NewFacebook starts the fake, with one app registered. The id must be decimal, as Meta's are.
func NewFacebook(app Client) (*Facebook, error) {
	f := &Facebook{
		scripted: newScripted(app.Port), apps: []Client{app}, versions: []string{"v26.0", "v25.0", "v24.0", "v23.0", "v22.0", "v21.0"},
		given: map[[2]string]givenScopes{}, codes: map[string]*facebookCode{}, tokens: map[string]*facebookToken{}, notices: map[string]facebookNotices{},
		people: []Person{
			{ID: "ada", Name: "Ada L", GivenName: "Ada", FamilyName: "L", Email: "ada@example.com", Picture: "https://scontent.example/ada.jpg"},
			{ID: "grace", Name: "Grace H", GivenName: "Grace", FamilyName: "H"}, // came by phone: no address
			{ID: "alan", Name: "Alan T", GivenName: "Alan", FamilyName: "T", Email: "alan@elsewhere.example"},
		},
	}
	o, err := f.hosts("www", "graph")
	if err != nil {
		return nil, err
	}
	f.WebURL, f.GraphURL = o["www"], o["graph"]
	f.serve("www", "GET /{version}/dialog/oauth", "authorize", f.dialog)
	f.serve("www", "GET /settings", "settings", f.settings)
	for _, method := range []string{"GET", "POST"} {
		f.graph(method+" /{version}/oauth/access_token", "token", f.token)
	}
	f.graph("GET /{version}/debug_token", "debug", f.debugToken)
	f.graph("GET /{version}/me", "userinfo", f.me)
	f.graph("DELETE /{version}/{user}/permissions", "revoke", f.permissions)
	f.graph("/", "unknown", func(w http.ResponseWriter, r *http.Request) {
		graphError(w, http.StatusBadRequest, "GraphMethodException", 100, 33, "Unsupported "+strings.ToLower(r.Method)+" request.")
	})
	return f, nil
}

// graph serves an endpoint of the Graph API and looks at the version first.
func (f *Facebook) graph(pattern, endpoint string, h http.HandlerFunc) {
	f.serve("graph", pattern, endpoint, func(w http.ResponseWriter, r *http.Request) {
		served, ok := f.version(r.PathValue("version"))
		if !ok && pattern != "/" {
			graphError(w, http.StatusBadRequest, "OAuthException", 2500, 0, "Unknown path components: "+r.URL.Path)
			return
		}
		w.Header().Set("Facebook-Api-Version", served)
		w.Header().Set("X-App-Usage", `{"call_count":1,"total_cputime":0,"total_time":1}`)
		h(w, r)
	})
}

// version is the one that serves v: one that has ended is served by the oldest that lives.
func (f *Facebook) version(v string) (served string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.versions, v) {
		return v, true
	}
	var major, minor, oldest int
	last := f.versions[len(f.versions)-1]
	if n, _ := fmt.Sscanf(v, "v%d.%d", &major, &minor); n != 2 || v != fmt.Sprintf("v%d.%d", major, minor) {
		return "", false
	}
	fmt.Sscanf(last, "v%d", &oldest) //nolint:errcheck // ours
	return last, major >= 1 && major < oldest
}

// AddApp registers another app.
func (f *Facebook) AddApp(app Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apps = append(f.apps, app)
}

// SetPeople says who has an account. Person.Claims changes what /me says.
func (f *Facebook) SetPeople(people ...Person) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.people = slices.Clone(people)
}

// Modes sets what follows from the app's settings and from attackers.
func (f *Facebook) Modes(m FacebookModes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.modes = m
}

// WithoutEmail continues as a person who unticks the box of the e-mail address.
func WithoutEmail(id string) Button { return As(id + withoutEmail) }

const withoutEmail = "/no-email"

// IDOf is the id by which an app knows a person: it holds for that app alone.
func (f *Facebook) IDOf(app, person string) string {
	sum := sha256.Sum256([]byte(app + "\x00" + person))
	n := new(big.Int).SetBytes(sum[:])
	return "1" + fmt.Sprintf("%016d", n.Mod(n, big.NewInt(1e16)))
}

func (f *Facebook) app(id string) (Client, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return findClient(f.apps, id)
}

// facebookScopes are those that need no review by Meta.
var facebookScopes = []string{"email", "public_profile"}

// dialog is the page where a person lets an app know who they are.
func (f *Facebook) dialog(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	sorry := func(text string) { stop(w, http.StatusBadRequest, "Sorry, something went wrong.", text) }
	if _, ok := f.version(r.PathValue("version")); !ok {
		graphError(w, http.StatusBadRequest, "OAuthException", 2500, 0, "Unknown path components: "+r.URL.Path)
		return
	}
	app, ok := f.app(q.Get("client_id"))
	scopes := strings.FieldsFunc(q.Get("scope"), func(c rune) bool { return c == ',' || c == ' ' })
	unknown := slices.IndexFunc(scopes, func(s string) bool { return !slices.Contains(facebookScopes, s) })
	again := q.Get("auth_type")
	switch {
	case single(q) != "":
		sorry("The parameter " + single(q) + " is given twice.")
	case !ok:
		sorry("Invalid app ID: the provided app ID does not look like a valid app ID.")
	case !slices.Contains(app.RedirectURIs, q.Get("redirect_uri")):
		sorry("URL blocked: this redirect failed because the redirect URI is not white-listed in the app's client OAuth settings.")
	case q.Get("response_type") != "" && q.Get("response_type") != "code":
		sorry("Invalid response_type: this app takes the code flow only.")
	case unknown >= 0:
		sorry("Invalid Scopes: " + scopes[unknown] + ".")
	case again != "" && again != "rerequest" && again != "reauthenticate":
		sorry("Invalid auth_type.")
	case q.Get("code_challenge") != "" && q.Get("code_challenge_method") != "S256" && q.Get("code_challenge_method") != "plain":
		sorry("Invalid code_challenge_method.")
	default:
		f.ask(w, app, scopes, q)
	}
}

func (f *Facebook) ask(w http.ResponseWriter, app Client, scopes []string, q url.Values) {
	f.mu.Lock()
	var choices []choice
	for _, p := range f.people {
		choices = append(choices, choice{p.ID, p.label()})
		decided := f.given[[2]string{app.ID, p.ID}]
		if _, ok := decided["email"]; slices.Contains(scopes, "email") && p.Email != "" && (!ok || q.Get("auth_type") == "rerequest") {
			choices = append(choices, choice{p.ID + withoutEmail, p.Name + ", without the e-mail address"})
		}
	}
	f.mu.Unlock()
	id := f.open(&visit{press: func(w http.ResponseWriter, r *http.Request, button Button) {
		back := url.Values{"state": {q.Get("state")}}
		if who, ok := chosen(button); ok {
			f.agree(app, scopes, q, who, back)
		} else if button == Cancel {
			back.Set("error", "access_denied")
			back.Set("error_code", "200")
			back.Set("error_description", "Permissions error")
			back.Set("error_reason", "user_denied")
		} else {
			back.Set("error_code", "2")
			back.Set("error_message", "Service temporarily unavailable")
		}
		send(w, r, q.Get("redirect_uri")+"#_=_", back)
	}})
	showPage(w, pageData{Title: "Facebook", Colour: "#e7f0ff", Client: app.ID, Scope: strings.Join(scopes, ", "), Visit: id, People: choices})
}

// agree remembers what the person gives, and makes a code.
func (f *Facebook) agree(app Client, scopes []string, q url.Values, who string, back url.Values) {
	who, declines := strings.CutSuffix(who, withoutEmail)
	now := f.time()
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := pickPerson(f.people, who)
	if !ok {
		back.Set("error_code", "1")
		back.Set("error_message", "There is no such person")
		return
	}
	key := [2]string{app.ID, p.ID}
	if f.given[key] == nil {
		f.given[key] = givenScopes{"public_profile": true}
	}
	for _, s := range scopes {
		if _, decided := f.given[key][s]; !decided || q.Get("auth_type") == "rerequest" {
			f.given[key][s] = s != "email" || !declines
		}
	}
	code := "AQ" + rand.Text() + rand.Text()
	f.codes[code] = &facebookCode{
		app: app.ID, person: p.ID, redirectURI: q.Get("redirect_uri"), challenge: q.Get("code_challenge"), method: q.Get("code_challenge_method"), made: now,
	}
	back.Set("code", code)
}
