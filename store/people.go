package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// What PeopleQuery.State may say.
const (
	StateActive   = "active"
	StateDisabled = "disabled" // or not within the time it is valid
	StateWaiting  = "waiting"  // for an administrator's approval
	StateNew      = "new"      // nobody signed in to it yet
)

// DisabledWaiting is User.DisabledReason of an account that waits for an administrator's approval.
const DisabledWaiting = "awaiting approval"

// What PeopleQuery.Factor may say.
const (
	FactorYes = "yes"
	FactorNo  = "no"
)

// PeopleQuery says whom to list; "" does not narrow.
type PeopleQuery struct {
	Text      string // an id, or what an e-mail address, username, phone number or a word of the name begins with; several words must all fit
	Privilege string // held now, through others too
	Type      string // the value of a user type
	Way       string // CredPassword, WayPasskey, WayPhone, or a connector's id: they could sign in so
	State     string
	Factor    string // whether they have a second factor
}

// Person is somebody in a list.
type Person struct {
	User
	Given  []string // privileges in force that they were given; nodes of user types among them
	Ways   []string // CredPassword, WayPasskey, WayPhone and connectors, sorted
	Factor bool
}

const (
	peopleChunk = 500  // candidates that are looked at together, at most
	mostLooked  = 1000 // and all in all, before a list is short
	mostDriven  = 100  // privileges whose holders are read one list each
)

// place is where a list goes on. What it comes from is the program's own, and a place that somebody made up only leads to another page.
type place struct {
	Source int    `json:"s,omitempty"`
	Key    string `json:"k,omitempty"`
	ID     string `json:"i,omitempty"`
}

func (p place) String() string {
	b, _ := json.Marshal(p) // of strings and a number: never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func placeOf(s string) (p place) {
	if b, err := base64.RawURLEncoding.DecodeString(s); err == nil && json.Unmarshal(b, &p) != nil {
		return place{}
	}
	if p.Source < 0 || p.Source >= len(searches) || strings.ContainsRune(p.Key+p.ID, 0) {
		return place{}
	}
	return p
}

// Each search goes on behind (key, id), so a list is stable while people are added; that pair is also where its index is entered.
var searches = []string{
	`SELECT id AS k, id FROM users WHERE (id, id) > (?, ?) AND id = ? LIMIT ?`,
	`SELECT email_key AS k, id FROM users WHERE (email_key, id) > (?, ?) AND email_key < ? AND email_key <> '' ORDER BY email_key LIMIT ?`,
	`SELECT username_key AS k, id FROM users WHERE (username_key, id) > (?, ?) AND username_key < ? AND username_key <> '' ORDER BY username_key LIMIT ?`,
	`SELECT phone AS k, id FROM users WHERE (phone, id) > (?, ?) AND phone < ? AND phone <> '' ORDER BY phone LIMIT ?`,
	`SELECT word AS k, user_id AS id FROM user_words WHERE (word, user_id) > (?, ?) AND word < ? ORDER BY word, user_id LIMIT ?`,
}

// The sources of searches.
const (
	byID = iota
	byEmail
	byUsername
	byPhone
	byWord
)

type candidate struct {
	Key string `db:"k"`
	ID  string `db:"id"`
}

// finder is one reading of a list.
type finder struct {
	s     *Store
	q     PeopleQuery
	m     *Model
	above []string // privileges that bring q.Privilege
	// Of a search: the text as keys have it, and as a number; and its words, the longest first.
	key, phone string
	tokens     []string
	words      map[string][]string // of the candidates that a word found
	at         place
}

// People lists up to n of the people that q asks for, from the place after ("" = the beginning): next is where it goes on, "" = at the end. What a page
// costs is bounded, however many people there are: where few of very many fit, a list may be short and go on all the same.
func (s *Store) People(ctx context.Context, q PeopleQuery, after string, n int) (list []Person, next string, err error) {
	m, err := s.Model(ctx)
	if err != nil {
		return nil, "", err
	}
	f := &finder{s: s, q: q, m: m, at: placeOf(after)}
	if q.Privilege != "" {
		if f.above = m.Graph.Above(q.Privilege); len(f.above) == 0 {
			return nil, "", nil
		}
	}
	if text := strings.TrimSpace(q.Text); text != "" {
		f.key = lower(text)
		f.phone = strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", "/", "").Replace(text)
		if !strings.Contains(text, "@") {
			f.tokens = words(text)
			slices.SortStableFunc(f.tokens, func(a, b string) int { return len(b) - len(a) })
		}
	}
	chunk := 2 * n // where many fit, few need to be looked at
	for looked := 0; looked < mostLooked; chunk *= 2 {
		size := min(n+1-len(list), peopleChunk)
		if f.narrows() {
			size = min(chunk, peopleChunk)
		}
		some, err := f.candidates(ctx, size)
		if err != nil {
			return nil, "", err
		}
		looked += len(some)
		fit, err := f.fitting(ctx, some)
		if err != nil {
			return nil, "", err
		}
		for i, c := range some {
			if p := fit[i]; p != nil {
				if len(list) == n {
					return list, f.at.String(), f.dress(ctx, list)
				}
				list = append(list, *p)
			}
			f.at.Key, f.at.ID = c.Key, c.ID
		}
		if len(some) < size {
			if f.key == "" || f.at.Source == len(searches)-1 {
				return list, "", f.dress(ctx, list)
			}
			f.at = place{Source: f.at.Source + 1}
		}
	}
	return list, f.at.String(), f.dress(ctx, list)
}

// narrows says whether some candidates may not fit.
func (f *finder) narrows() bool {
	q := f.q
	q.Text = ""
	return q != PeopleQuery{} || len(f.tokens) > 1
}

// candidates are the next n that may fit, by the list that promises to be the shortest.
func (f *finder) candidates(ctx context.Context, n int) (list []candidate, err error) {
	if f.key != "" {
		from := f.key
		switch f.at.Source {
		case byID:
			return many[candidate](ctx, f.s, searches[byID], f.at.Key, f.at.ID, f.q.Text, n)
		case byPhone:
			if from = f.phone; from == "" {
				return nil, nil
			}
		case byWord:
			if len(f.tokens) == 0 {
				return nil, nil
			}
			from = f.tokens[0]
		}
		to := from + last
		if f.at.Key != "" {
			from = f.at.Key
		}
		return many[candidate](ctx, f.s, searches[f.at.Source], from, f.at.ID, to, n)
	}
	query, args := f.driver(n)
	return many[candidate](ctx, f.s, query, args...)
}

const (
	drivenBy       = `SELECT '' AS k, id FROM users WHERE deleted_at IS NULL AND id > ?`
	drivenAll      = drivenBy + ` ORDER BY id LIMIT ?`
	drivenDisabled = drivenBy + ` AND disabled_at IS NOT NULL ORDER BY id LIMIT ?`
	drivenWaiting  = drivenBy + ` AND disabled_at IS NOT NULL AND disabled_reason = 'awaiting approval' ORDER BY id LIMIT ?`
	drivenNew      = drivenBy + ` AND last_login_at IS NULL ORDER BY id LIMIT ?`
	drivenPhone    = drivenBy + ` AND phone <> '' ORDER BY id LIMIT ?`
	drivenType     = drivenBy + ` AND user_type = ? ORDER BY id LIMIT ?`
	drivenFactor   = `SELECT '' AS k, user_id AS id FROM credentials WHERE kind NOT IN ('password', 'recovery') AND user_id > ? GROUP BY user_id ORDER BY user_id LIMIT ?`
	drivenLink     = `SELECT '' AS k, user_id AS id FROM identities WHERE connector = ? AND user_id > ? GROUP BY user_id ORDER BY user_id LIMIT ?`
	drivenHolder   = `SELECT user_id AS id FROM (SELECT user_id FROM assignments WHERE privilege = ? AND user_id > ? AND ended_at IS NULL ORDER BY user_id LIMIT ?) AS h`
)

func (f *finder) driver(n int) (query string, args []any) {
	after := f.at.ID
	switch {
	case f.q.Factor == FactorYes || f.q.Way == WayPasskey:
		return drivenFactor, []any{after, n}
	case f.q.State == StateWaiting:
		return drivenWaiting, []any{after, n}
	case f.q.State == StateDisabled:
		return drivenDisabled, []any{after, n}
	case f.q.Way != "" && f.q.Way != CredPassword && f.q.Way != WayPhone:
		return drivenLink, []any{f.q.Way, after, n}
	case f.q.Privilege != "" && f.q.Privilege != userPrivilege && len(f.above) <= mostDriven:
		// The n first of each list hold the n first of all.
		for i, p := range f.above {
			if i > 0 {
				query += " UNION ALL "
			}
			query += drivenHolder
			args = append(args, p, after, n)
		}
		return `SELECT DISTINCT '' AS k, id FROM (` + query + `) AS a ORDER BY id LIMIT ?`, append(args, n)
	case f.q.Type != "":
		return drivenType, []any{after, f.q.Type, n}
	case f.q.Way == WayPhone:
		return drivenPhone, []any{after, n}
	case f.q.State == StateNew:
		return drivenNew, []any{after, n}
	}
	return drivenAll, []any{after, n}
}

// fitting are those of the candidates that do fit, nil in the place of the others.
func (f *finder) fitting(ctx context.Context, some []candidate) ([]*Person, error) {
	ids := make([]string, len(some))
	for i, c := range some {
		ids[i] = c.ID
	}
	rows, err := f.s.UsersByID(ctx, ids)
	if err != nil || len(rows) == 0 {
		return make([]*Person, len(some)), err
	}
	people := make(map[string]*Person, len(rows))
	for i := range rows {
		if f.state(&rows[i]) && (f.q.Type == "" || rows[i].UserType == f.q.Type) {
			people[rows[i].ID] = &Person{User: rows[i]}
		}
	}
	if f.key != "" && f.at.Source == byWord {
		if err := f.readWords(ctx, people); err != nil {
			return nil, err
		}
	}
	for _, step := range []struct {
		wanted bool
		fill   func(context.Context, []*Person) error
		fits   func(*Person) bool
	}{
		{f.q.Privilege != "", f.s.fillGiven, f.holds},
		{f.q.Way != "" || f.q.Factor != "", f.s.fillWays, f.enters},
	} {
		if !step.wanted || len(people) == 0 {
			continue
		}
		var list []*Person
		for _, p := range people {
			list = append(list, p)
		}
		if err := step.fill(ctx, list); err != nil {
			return nil, err
		}
		for _, p := range list {
			if !step.fits(p) {
				delete(people, p.ID)
			}
		}
	}
	out := make([]*Person, len(some))
	for i, c := range some {
		if p := people[c.ID]; p != nil && (f.key == "" || f.once(p, c)) {
			out[i] = p
		}
	}
	return out, nil
}

func (f *finder) state(u *User) bool {
	switch {
	case !u.DeletedAt.IsZero():
		return false
	case f.q.State == StateActive:
		return u.Active(f.s.Now())
	case f.q.State == StateWaiting:
		return !u.DisabledAt.IsZero() && u.DisabledReason == DisabledWaiting
	case f.q.State == StateDisabled:
		return !u.Active(f.s.Now()) && u.DisabledReason != DisabledWaiting
	case f.q.State == StateNew:
		return u.LastLoginAt.IsZero()
	}
	return true
}

func (f *finder) holds(p *Person) bool {
	if len(p.Given) == 0 && f.q.Privilege == userPrivilege { // whoever has nothing counts as user (R7)
		return true
	}
	return slices.ContainsFunc(p.Given, func(g string) bool { return slices.Contains(f.above, g) })
}

func (f *finder) enters(p *Person) bool {
	return (f.q.Way == "" || slices.Contains(p.Ways, f.q.Way)) && (f.q.Factor == "" || p.Factor == (f.q.Factor == FactorYes))
}

// readWords reads all words of those whom one found.
func (f *finder) readWords(ctx context.Context, people map[string]*Person) error {
	f.words = map[string][]string{}
	ids := make([]any, 0, len(people))
	for id := range people {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := many[userWord](ctx, f.s, wordsOf+strings.Repeat(", ?", len(ids)-1)+`) ORDER BY user_id, word`, ids...)
	for _, w := range rows {
		f.words[w.UserID] = append(f.words[w.UserID], w.Word)
	}
	return err
}

// once says whether a search lists a person with this candidate: with the first that found them. Of a name each word of the search must be the beginning
// of one.
func (f *finder) once(p *Person, c candidate) bool {
	first := func(token string) int {
		return slices.IndexFunc(f.words[p.ID], func(w string) bool { return strings.HasPrefix(w, token) })
	}
	switch {
	case p.ID == f.q.Text:
		return f.at.Source == byID
	case strings.HasPrefix(p.EmailKey, f.key):
		return f.at.Source == byEmail
	case strings.HasPrefix(p.UsernameKey, f.key):
		return f.at.Source == byUsername
	case f.phone != "" && strings.HasPrefix(p.Phone, f.phone):
		return f.at.Source == byPhone
	}
	return f.at.Source == byWord && !slices.ContainsFunc(f.tokens, func(t string) bool { return first(t) < 0 }) && f.words[p.ID][first(f.tokens[0])] == c.Key
}

const (
	kindsOf      = `SELECT user_id, kind AS way FROM credentials WHERE kind <> 'recovery' AND user_id IN (?`
	connectorsOf = `SELECT user_id, connector AS way FROM identities WHERE quarantined_at IS NULL AND user_id IN (?`
)

func (s *Store) fillGiven(ctx context.Context, list []*Person) error {
	ids := make([]string, len(list))
	for i, p := range list {
		ids[i] = p.ID
	}
	given, err := s.GivenTo(ctx, ids)
	for _, p := range list {
		p.Given = given[p.ID]
	}
	return err
}

// fillWays says how people could sign in, as far as their rows say it: whether a way is open today is the configuration's to say.
func (s *Store) fillWays(ctx context.Context, list []*Person) error {
	by, ids := map[string]*Person{}, make([]any, len(list))
	for i, p := range list {
		p.Ways, p.Factor = nil, false
		if p.Phone != "" {
			p.Ways = append(p.Ways, WayPhone)
		}
		by[p.ID], ids[i] = p, p.ID
	}
	for _, query := range []string{kindsOf, connectorsOf} {
		rows, err := many[struct {
			UserID string `db:"user_id"`
			Way    string `db:"way"`
		}](ctx, s, query+strings.Repeat(", ?", len(ids)-1)+")", ids...)
		if err != nil {
			return err
		}
		for _, r := range rows {
			switch p := by[r.UserID]; {
			case query == kindsOf && r.Way == CredPasskey: // it is both
				p.Factor, p.Ways = true, append(p.Ways, WayPasskey)
			case query == kindsOf && r.Way != CredPassword:
				p.Factor = true
			default:
				p.Ways = append(p.Ways, r.Way)
			}
		}
	}
	for _, p := range list {
		slices.Sort(p.Ways)
		p.Ways = slices.Compact(p.Ways)
	}
	return nil
}

// dress fills in what the list shows of everybody.
func (f *finder) dress(ctx context.Context, list []Person) error {
	if len(list) == 0 {
		return nil
	}
	all := make([]*Person, len(list))
	for i := range list {
		all[i] = &list[i]
	}
	if err := f.s.fillGiven(ctx, all); err != nil {
		return err
	}
	return f.s.fillWays(ctx, all)
}

// HeldNow are the privileges in force of somebody in a list, without the nodes of user types.
func (p *Person) HeldNow() (out []string) {
	for _, n := range p.Given {
		if _, node := privilege.TypeOf(n); !node {
			out = append(out, n)
		}
	}
	return out
}
