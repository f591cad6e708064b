package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// Errors of Config.Preview and Config.PastToken.
var (
	ErrNoUser    = errors.New("admin: no such person, or not active")
	ErrNoClient  = errors.New("admin: no such client, or disabled")
	ErrNotToken  = errors.New("admin: no token of ours")
	ErrTokenGone = errors.New("admin: what the token rested on is gone")
)

// PastToken is what an access token of the past rested on.
type PastToken struct {
	At       time.Time
	ClientID string          // "" = not known
	Person   *explain.Person // nil = a client's own token
}

// find looks somebody up by what they sign in with, or by their id.
func (a *Admin) find(ctx context.Context, who string) (*store.User, error) {
	u, err := a.store.UserByLogin(ctx, who)
	if errors.Is(err, store.ErrNotFound) {
		return a.person(ctx, who)
	}
	return u, err
}

const utcMinute = "2006-01-02T15:04" // of a datetime-local field

// explain is GET /admin/explain: why, why not, and as it was.
func (a *Admin) explain(w http.ResponseWriter, r *http.Request) error {
	p := &templates.ExplainPage{Subject: query(r, "user"), Privilege: query(r, "privilege"), At: query(r, "at")}
	if p.Subject == "" {
		if p.Privilege+p.At != "" {
			p.Fields = map[string]string{"user": "admin.error_required"}
			return a.renderExplain(w, r, http.StatusUnprocessableEntity, p)
		}
		return a.renderExplain(w, r, http.StatusOK, p)
	}
	u, err := a.find(r.Context(), p.Subject)
	if errors.Is(err, store.ErrNotFound) {
		p.Fields = map[string]string{"user": "admin.error_person"}
		return a.renderExplain(w, r, http.StatusNotFound, p)
	}
	if err != nil {
		return err
	}
	var at time.Time
	if p.At != "" {
		if at, err = time.Parse(utcMinute, p.At); err != nil || at.After(a.store.Clock()) {
			p.Fields = map[string]string{"at": "admin.error_time"}
			return a.renderExplain(w, r, http.StatusUnprocessableEntity, p)
		}
	}
	held, err := explain.Of(r.Context(), a.store, u.ID, at)
	if err != nil {
		return err
	}
	if err := a.answer(w, r, p, u, held); err != nil {
		return err
	}
	return a.renderExplain(w, r, http.StatusOK, p)
}

// answer fills in what somebody holds.
func (a *Admin) answer(w http.ResponseWriter, r *http.Request, p *templates.ExplainPage, u *store.User, held *explain.Person) error {
	base := a.mux.Base(w, r)
	words, err := a.words(r.Context(), &base)
	if err != nil {
		return err
	}
	p.Who, p.WhoID, p.When = nameOf(u), u.ID, words.when(held.At)
	lines := held.Lines
	if p.Privilege != "" {
		line, ok := held.Line(p.Privilege)
		if ok {
			lines = []explain.Line{line}
		} else {
			lines = nil
			if p.Not, err = a.not(r.Context(), words, held, p.Privilege); err != nil {
				return err
			}
		}
	}
	p.Held, err = words.held(lines)
	return err
}

// not says why somebody does not hold a privilege. Who could give it is a question about now.
func (a *Admin) not(ctx context.Context, words *words, held *explain.Person, name string) (*templates.NotHeld, error) {
	out := &templates.NotHeld{PrivilegeName: words.name(name)}
	if _, node := privilege.TypeOf(name); node {
		out.Unknown = true
		return out, nil
	}
	n, err := held.Not(ctx, a.store, name)
	if err != nil {
		return nil, err
	}
	out.Unknown = !n.Defined
	out.Through = n.Through
	for _, y := range n.Lapsed {
		text, err := words.Why(y)
		if err != nil {
			return nil, err
		}
		out.Lapsed = append(out.Lapsed, words.lapsed(text, y.Source.From, y.Source.Until))
	}
	for _, id := range n.Grantors {
		u, err := a.store.User(ctx, id)
		if err != nil {
			return nil, err
		}
		out.Grantors = append(out.Grantors, templates.PersonLine{ID: u.ID, Name: nameOf(u)})
	}
	return out, nil
}

func (a *Admin) renderExplain(w http.ResponseWriter, r *http.Request, status int, p *templates.ExplainPage) (err error) {
	if p.Admin, err = a.base(w, r, "explain"); err != nil {
		return err
	}
	if p.Names, err = a.names(r.Context()); err != nil {
		return err
	}
	return a.mux.Render(w, r, status, p)
}

// explainToken is POST /admin/explain. A token is a secret while it lives, so it travels in a body and does not come back.
func (a *Admin) explainToken(w http.ResponseWriter, r *http.Request) error {
	p := &templates.ExplainPage{Token: true}
	wrong := func(key string) error {
		p.Fields = map[string]string{"token": "admin.error_" + key}
		return a.renderExplain(w, r, http.StatusUnprocessableEntity, p)
	}
	token := strings.TrimSpace(r.PostFormValue("token"))
	if token == "" {
		return wrong("required")
	}
	past, err := a.c.PastToken(r.Context(), token)
	switch {
	case errors.Is(err, ErrNotToken):
		return wrong("token")
	case errors.Is(err, ErrTokenGone):
		return wrong("token_gone")
	case err != nil:
		return err
	}
	base := a.mux.Base(w, r)
	words, err := a.words(r.Context(), &base)
	if err != nil {
		return err
	}
	p.TokenLine = base.T("admin.explain_token_line", "When", words.when(past.At), "App", past.ClientID)
	if past.Person == nil {
		p.TokenLine = base.T("admin.explain_token_machine", "When", words.when(past.At))
		p.Who, p.When = base.T("admin.explain_token_who"), words.when(past.At)
		if past.ClientID != "" {
			p.Who = past.ClientID
		}
		return a.renderExplain(w, r, http.StatusOK, p)
	}
	u, err := a.store.User(r.Context(), past.Person.UserID)
	if err != nil {
		return notFound(err)
	}
	if err := a.answer(w, r, p, u, past.Person); err != nil {
		return err
	}
	return a.renderExplain(w, r, http.StatusOK, p)
}
