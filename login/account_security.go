package login

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/phone"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login/session"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

const (
	securityPath = "/account/security"
	appPath      = securityPath + "/totp"
	codesPath    = securityPath + "/recovery-codes"
)

func (l *Login) mountSecurity(mux *web.Mux) {
	mux.Page("GET "+securityPath, web.SignedIn, l.security)
	mux.Page("GET "+appPath, web.SignedIn, l.withRecent(l.showAddApp))
	mux.Page("POST "+appPath, web.SignedIn, l.withRecent(l.addApp))
	mux.Page("POST "+codesPath, web.SignedIn, l.withRecent(l.renewCodes))
	mux.Page("POST "+securityPath+"/{id}/rename", web.SignedIn, l.withRecent(l.renameFactor))
	mux.Page("POST "+securityPath+"/{id}/remove", web.SignedIn, l.withRecent(l.removeFactor))
}

// withRecent lets through who showed a moment ago who they are, with the factor that guards the account where there is one (R66, security.md C11, F18).
func (l *Login) withRecent(then func(http.ResponseWriter, *http.Request, *session.Session) error) web.Handler {
	return l.recentAt(securityPath, then)
}

// recentAt is withRecent for a page that somebody comes back to from the sign-in.
func (l *Login) recentAt(place string, then func(http.ResponseWriter, *http.Request, *session.Session) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		current, ok := session.Current(r.Context())
		if !ok {
			return web.SeeOther(w, r, signInPath)
		}
		if ok, err := l.Confirmed(w, r, place); err != nil || !ok {
			return err
		}
		return then(w, r, current)
	}
}

// hasSecurity says whether the page has anything for a person: factors to see, or to add.
func (l *Login) hasSecurity(ctx context.Context, u *store.Live) (bool, error) {
	if may, err := l.mayAddFactor(ctx, u); err != nil || may {
		return may, err
	}
	return l.store.HasFactor(ctx, u.User.ID)
}

// security is GET /account/security: the second factors of the account.
func (l *Login) security(w http.ResponseWriter, r *http.Request) error {
	current, ok := session.Current(r.Context())
	if !ok {
		return web.SeeOther(w, r, signInPath)
	}
	page, err := l.securityPage(w, r, current)
	if err != nil {
		return wrap("second factors", err)
	}
	if !page.Recent {
		l.sessions.KeepPlace(w, securityPath)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

func (l *Login) securityPage(w http.ResponseWriter, r *http.Request, current *session.Session) (*templates.SecurityPage, error) {
	ctx, u := r.Context(), &current.Live.User
	page := &templates.SecurityPage{Base: l.mux.Base(w, r), ReauthURL: reauthURL}
	f, err := l.store.Factors(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	if page.Recent, err = l.isRecent(ctx, current); err != nil {
		return nil, err
	}
	may, err := l.mayAddFactor(ctx, current.Live)
	if err != nil {
		return nil, err
	}
	may = may && len(f.List) < store.MaxFactors
	page.MayAddApp, page.MayAddSMS = may && l.factors.adds(store.CredTOTP), may && l.mayAddNumber(current)
	if page.Required, err = l.mustHaveFactor(ctx, current.Live); err != nil {
		return nil, err
	}
	for _, c := range f.List {
		number := ""
		if c.Kind == store.CredSMS {
			if number, err = l.numberOf(&c); err != nil {
				return nil, err
			}
			number = phone.Pretty(number)
		}
		page.Factors = append(page.Factors, templates.FactorLine{
			Number: number, ID: c.ID, Kind: c.Kind, Name: c.Label, Since: when(&page.Base, u, c.CreatedAt), LastUsed: when(&page.Base, u, c.LastUsedAt),
			Kept: page.Required && len(f.List) == 1,
		})
	}
	if page.CodesLeft = f.CodesLeft(); l.passkeys != nil {
		page.PasskeysURL = passkeysPath
	}
	return page, nil
}

// securityFailed shows the page again with what went wrong.
func (l *Login) securityFailed(w http.ResponseWriter, r *http.Request, current *session.Session, status int, e templates.FormErrors) error {
	page, err := l.securityPage(w, r, current)
	if err != nil {
		return wrap("second factors", err)
	}
	page.FormErrors = e
	return l.mux.Render(w, r, status, page)
}

// mayAdd is an error for people who may not add a factor of a kind.
func (l *Login) mayAdd(ctx context.Context, current *session.Session, kind string) error {
	may, err := l.mayAddFactor(ctx, current.Live)
	if err != nil {
		return wrap("second factors", err)
	}
	if !may || !l.factors.adds(kind) || kind == store.CredSMS && !l.mayAddNumber(current) {
		return unavailable(securityPath)
	}
	return nil
}

// mayAddNumber says whether the session may make a number a second factor. One that rests on a number alone may not: it would be its own guard.
func (l *Login) mayAddNumber(s *session.Session) bool {
	return l.factors.SMS && (s.ACR != "1" || l.addable(store.CredSMS, s.AMR))
}

func (l *Login) appPage(w http.ResponseWriter, r *http.Request) *templates.EnrolPage {
	return &templates.EnrolPage{Base: l.mux.Base(w, r), Action: appPath, CancelURL: securityPath}
}

// showAddApp is GET /account/security/totp.
func (l *Login) showAddApp(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	if err := l.mayAdd(r.Context(), current, store.CredTOTP); err != nil {
		return err
	}
	page := l.appPage(w, r)
	var err error
	if page.NeedsCode, err = l.sessionNeedsCode(r.Context(), current); err != nil {
		return wrap("enrolment", err)
	}
	if _, err := l.fillEnrolment(r.Context(), page, current.ID, &current.Live.User); err != nil {
		return wrap("enrolment", err)
	}
	return l.mux.Render(w, r, http.StatusOK, page)
}

// addApp is POST /account/security/totp. A session of one factor has shown two then, so it is raised.
func (l *Login) addApp(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	if err := l.mayAdd(r.Context(), current, store.CredTOTP); err != nil {
		return err
	}
	page, in := l.appPage(w, r), readEnrolment(r)
	var err error
	if page.NeedsCode, err = l.sessionNeedsCode(r.Context(), current); err != nil {
		return wrap("enrolment", err)
	}
	seed, err := l.fillEnrolment(r.Context(), page, current.ID, &current.Live.User)
	if err != nil {
		return wrap("enrolment", err)
	}
	again := func(e templates.FormErrors) error {
		page.FormErrors, page.Name = e, in.name
		return l.mux.Render(w, r, http.StatusUnprocessableEntity, page)
	}
	if fields := in.fields(); len(fields) > 0 {
		return again(templates.FormErrors{Fields: fields})
	}
	enrolment, key, err := l.readEnrolmentCode(r, current.UserID, page.NeedsCode)
	if err != nil {
		return wrap("enrolment", err)
	}
	step, right, err := matchTOTP(seed, in.code, l.now())
	switch {
	case err != nil:
		return wrap("enrolment", err)
	case key != "":
		return again(templates.FormErrors{Fields: map[string]string{"enrolment_code": key}})
	case !right:
		return again(templates.FormErrors{Fields: map[string]string{"code": "mfa.error_enrol"}})
	}
	return l.addToAccount(w, r, current, securityPath, amrFactor, func(ctx context.Context, first bool) ([]string, error) {
		if err := l.spendEnrolmentCode(ctx, enrolment); err != nil {
			return nil, err
		}
		return l.addTOTP(ctx, current.ID, current.UserID, seed, in.name, step, first)
	})
}

// addToAccount adds a factor to the account of who is signed in, and raises a session that has shown two then; next is where it goes on. add is given store.AddFactor's first.
func (l *Login) addToAccount(w http.ResponseWriter, r *http.Request, current *session.Session, next string, amr []string, add func(ctx context.Context, first bool) ([]string, error)) error {
	var codes []string
	err := l.store.Tx(r.Context(), func(ctx context.Context) (err error) {
		if codes, err = add(ctx, current.ACR == "1"); err != nil || current.ACR != "1" {
			return err
		}
		r := r.WithContext(ctx)
		partial, err := l.sessions.StartStepUp(w, r, current, owesEnrolment, "")
		if err != nil {
			return err
		}
		_, err = l.sessions.Complete(w, r, partial, amr)
		return err
	})
	switch {
	case errors.Is(err, store.ErrTooMany), errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrConflict), isBadRequest(err): // the same form, sent twice: the page shows what is
		return web.SeeOther(w, r, next)
	case err != nil:
		return wrap("enrolment", err)
	case len(codes) == 0:
		return web.SeeOther(w, r, next)
	}
	return l.mux.Render(w, r, http.StatusOK, l.codesPage(w, r, codes, next))
}

// renewCodes is POST /account/security/recovery-codes: a new set, and the old one is worth nothing. Who has a factor shows it first.
func (l *Login) renewCodes(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	has, err := l.store.HasFactor(r.Context(), current.UserID)
	if err != nil {
		return wrap("recovery codes", err)
	}
	switch {
	case !has: // nothing that they could stand in for
		return web.SeeOther(w, r, securityPath)
	case current.ACR == "1": // they stand in for a factor, also one that asked for nothing here: whoever has the password alone makes none
		l.sessions.KeepPlace(w, securityPath)
		return web.SeeOther(w, r, factorPath)
	}
	codes, hashes := newRecoveryCodes(current.UserID)
	err = l.store.Tx(r.Context(), func(ctx context.Context) error {
		if err := l.store.SetRecoveryCodes(ctx, current.UserID, hashes); err != nil {
			return err
		}
		return l.factorNotice(ctx, current.UserID, templates.FactorMail{What: templates.FactorCodes})
	})
	if err != nil {
		return wrap("recovery codes", err)
	}
	return l.mux.Render(w, r, http.StatusOK, l.codesPage(w, r, codes, securityPath))
}

// renameFactor is POST /account/security/{id}/rename. One that is gone, or not theirs, is answered in the same way (security.md G6).
func (l *Login) renameFactor(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	name := strings.TrimSpace(r.PostFormValue("name"))
	if !factorName(name) {
		return l.securityFailed(w, r, current, http.StatusUnprocessableEntity, templates.FormErrors{Form: "mfa.error_name"})
	}
	err := l.store.RenameFactor(r.Context(), current.UserID, r.PathValue("id"), name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return wrap("name of a second factor", err)
	}
	return web.SeeOther(w, r, securityPath)
}

// removeFactor is POST /account/security/{id}/remove. The last one stays while one is required, and so does a passkey that is the last way in.
func (l *Login) removeFactor(w http.ResponseWriter, r *http.Request, current *session.Session) error {
	err := l.dropFactor(r.Context(), current, r.PathValue("id"))
	switch key := keptKey(err); {
	case key != "":
		return l.securityFailed(w, r, current, http.StatusConflict, templates.FormErrors{Form: key})
	case err != nil:
		return wrap("end of a second factor", err)
	}
	return web.SeeOther(w, r, securityPath)
}
