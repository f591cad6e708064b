package login

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/explain"
	"github.com/latchkey-idp/latchkey/internal/requests"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	privilegesPath = requests.AccountPath
	requestPath    = privilegesPath + "/request"
	withdrawPath   = privilegesPath + "/withdraw"
)

// requestsShown is how many of a person's newest requests are on their page.
const requestsShown = 20

// words put explanations into the person's language. Others are named, never their addresses.
func (l *Login) words(ctx context.Context, b *templates.Base, u *store.User) (*explain.Words, error) {
	labels, err := l.store.LabelsIn(ctx, b.Lang)
	return &explain.Words{
		Text: b.T, When: func(t time.Time) string { return when(b, u, store.At(t)) }, Labels: labels, Connector: l.Label, Names: map[string]string{u.ID: u.Name()},
		Person: func(id string) (string, error) {
			by, err := l.store.User(ctx, id)
			switch {
			case errors.Is(err, store.ErrNotFound):
				return "", nil
			case err != nil:
				return "", err
			case by.Name() == by.Email:
				return "", nil
			}
			return by.Name(), nil
		},
	}, err
}

// privileges is GET /account/privileges: what the person may do and why, what they asked for, and with ?privilege= why they lack one and the form
// that asks for it.
func (l *Login) privileges(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	page, err := l.privilegesPage(w, r, current, r.URL.Query().Get("privilege"))
	if err != nil {
		return wrap("privileges of an account", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// privilegesPage fills the page. chosen is what the person is about to ask for; what may not be asked for is left out, whatever the reason.
func (l *Login) privilegesPage(w http.ResponseWriter, r *http.Request, current *session.Session, chosen string) (*templates.AccountPrivilegesPage, error) {
	ctx, u := r.Context(), &current.Live.User
	page := &templates.AccountPrivilegesPage{Base: l.mux.Base(w, r), MaxReason: store.MaxRequestText}
	m, err := l.store.Model(ctx)
	if err != nil {
		return nil, err
	}
	page.ReadOnly = m.ReadOnly(u)
	say, err := l.words(ctx, &page.Base, u)
	if err != nil {
		return nil, err
	}
	person, err := explain.Of(ctx, l.store, u.ID, time.Time{})
	if err != nil {
		return nil, err
	}
	for _, line := range person.Lines {
		var why []string
		for _, way := range line.Why {
			text, err := say.Why(way)
			if err != nil {
				return nil, err
			}
			why = append(why, text)
		}
		page.Privileges = append(page.Privileges, templates.PrivilegeLine{Name: line.Privilege, Label: say.Label(line.Privilege), Why: strings.Join(why, " ")})
	}
	may, err := l.store.MayAskFor(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	for _, p := range may {
		line := templates.AskLine{Name: p.Name, Label: say.Label(p.Name), URL: privilegesPath + "?" + url.Values{"privilege": {p.Name}}.Encode()}
		_, line.Description = p.In(page.Lang)
		page.Available = append(page.Available, line)
		if p.Name == chosen {
			if page.Chosen, err = l.whyNot(ctx, &page.Base, u, say, person, may, line); err != nil {
				return nil, err
			}
		}
	}
	return page, l.requestLines(ctx, page, u, say)
}

// requestLines puts the person's requests on the page.
func (l *Login) requestLines(ctx context.Context, page *templates.AccountPrivilegesPage, u *store.User, say *explain.Words) error {
	list, err := l.store.RequestsOf(ctx, u.ID, requestsShown)
	if err != nil {
		return err
	}
	b := &page.Base
	states := map[string]string{
		store.RequestApproved: b.T("asking.state_approved"), store.RequestRefused: b.T("asking.state_refused"),
		store.RequestWithdrawn: b.T("asking.state_withdrawn"), store.RequestExpired: b.T("asking.state_expired"),
		store.RequestClosed: b.T("asking.state_closed"),
	}
	for i := range list {
		r := &list[i]
		line := templates.RequestedLine{
			ID: r.ID, Name: r.Privilege, Label: say.Label(r.Privilege), Reason: r.Reason, Note: r.Note, Asked: when(b, u, r.CreatedAt),
		}
		state := r.State(l.now())
		if state == "" {
			line.Ends = when(b, u, r.ExpiresAt)
			page.Open = append(page.Open, line)
			continue
		}
		line.State, line.Good, line.Ends, line.Decided = states[state], state == store.RequestApproved, when(b, u, r.Until), when(b, u, r.DecidedAt)
		if r.DecidedAt.IsZero() {
			line.Decided = when(b, u, r.ExpiresAt)
		}
		page.Over = append(page.Over, line)
	}
	return nil
}

// whyNot says what is in the way of a privilege, and who could give it. People are named, never their addresses.
func (l *Login) whyNot(ctx context.Context, b *templates.Base, u *store.User, say *explain.Words, person *explain.Person, may []store.Privilege,
	line templates.AskLine) (*templates.ChosenLine, error) {
	not, err := person.Not(ctx, l.store, line.Name)
	if err != nil {
		return nil, err
	}
	out := &templates.ChosenLine{AskLine: line}
	for _, lapsed := range not.Lapsed {
		if lapsed.Source.From.After(person.At) {
			out.WhyNot = append(out.WhyNot, b.T("asking.not_begun", "Date", when(b, u, store.At(lapsed.Source.From))))
		} else {
			out.WhyNot = append(out.WhyNot, b.T("asking.not_over", "Date", when(b, u, store.At(lapsed.Source.Until))))
		}
	}
	if len(out.WhyNot) == 0 {
		out.WhyNot = append(out.WhyNot, b.T("asking.not_given"))
	}
	var through []string
	for _, name := range not.Through {
		if slices.ContainsFunc(may, func(p store.Privilege) bool { return p.Name == name }) { // others are nothing they have to know of
			through = append(through, say.Label(name))
		}
	}
	if len(through) > 0 {
		out.WhyNot = append(out.WhyNot, b.T("asking.not_through", "Labels", strings.Join(through, ", ")))
	}
	var names []string
	for _, id := range not.Grantors {
		g, err := l.store.User(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err == nil && g.Name() != g.Email && !slices.Contains(names, g.Name()) {
			names = append(names, g.Name())
		}
	}
	out.Grantors = strings.Join(names, ", ")
	return out, nil
}

// request is POST /account/privileges/request.
func (l *Login) request(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	if err := l.mayWrite(r.Context(), current); err != nil {
		return err
	}
	wait, err := l.limiter.Ask(r.Context(), current.UserID)
	if err != nil {
		return wrap("request", err)
	}
	if wait > 0 {
		return &web.Error{Status: http.StatusTooManyRequests, Key: "asking.error_many", Retry: wait, RestartURL: privilegesPath}
	}
	name, reason := r.PostFormValue("privilege"), strings.ReplaceAll(r.PostFormValue("reason"), "\r\n", "\n")
	_, err = l.requests.Ask(r.Context(), current.UserID, name, reason)
	again := func(status int, change func(*templates.AccountPrivilegesPage)) error {
		page, err := l.privilegesPage(w, r, current, name)
		if err != nil {
			return wrap("privileges of an account", err)
		}
		change(page)
		return l.mux.Render(w, r, status, page)
	}
	notice := func(key string) error {
		return again(http.StatusConflict, func(p *templates.AccountPrivilegesPage) { p.Notice = key })
	}
	switch {
	case err == nil:
		return web.SeeOther(w, r, privilegesPath)
	case errors.Is(err, store.ErrNotFound):
		return &web.Error{Status: http.StatusNotFound, Err: err, RestartURL: privilegesPath}
	case errors.Is(err, store.ErrForbidden):
		return &web.Error{Status: http.StatusForbidden, Err: err, RestartURL: accountPath}
	case errors.Is(err, store.ErrInvalid):
		return again(http.StatusUnprocessableEntity, func(p *templates.AccountPrivilegesPage) {
			p.Reason, p.FormErrors = cut(reason, 4*store.MaxRequestText), templates.FormErrors{Fields: map[string]string{"reason": "asking.error_reason"}}
		})
	case errors.Is(err, store.ErrHeld):
		return notice("asking.error_held")
	case errors.Is(err, store.ErrAsked):
		return notice("asking.error_asked")
	}
	return wrap("request", err)
}

// withdraw is POST /account/privileges/withdraw.
func (l *Login) withdraw(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	if err := l.mayWrite(r.Context(), current); err != nil {
		return err
	}
	switch err := l.store.WithdrawRequest(r.Context(), current.UserID, r.PostFormValue("id")); {
	case err == nil:
		return web.SeeOther(w, r, privilegesPath)
	case errors.Is(err, store.ErrNotFound):
		return &web.Error{Status: http.StatusNotFound, Err: err, RestartURL: privilegesPath}
	case errors.Is(err, store.ErrForbidden):
		return &web.Error{Status: http.StatusForbidden, Err: err, RestartURL: accountPath}
	case errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrExpired):
		page, err := l.privilegesPage(w, r, current, "")
		if err != nil {
			return wrap("privileges of an account", err)
		}
		page.Notice = "asking.error_over"
		return l.mux.Render(w, r, http.StatusConflict, page)
	default:
		return wrap("withdrawal of a request", err)
	}
}

// mayWrite refuses somebody who may see and change nothing: what they may change is how they sign in, and no more (R85).
func (l *Login) mayWrite(ctx context.Context, current *session.Session) error {
	m, err := l.store.Model(ctx)
	if err != nil {
		return wrap("account", err)
	}
	if m.ReadOnly(&current.Live.User) {
		return &web.Error{Status: http.StatusForbidden, Key: "asking.read_only", Code: "read_only", RestartURL: accountPath}
	}
	return nil
}
