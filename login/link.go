package login

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/latchkey-idp/latchkey/store"
)

// linkFacts is everything that decides whose account an upstream's identity opens. It is data, so the whole policy is one table test.
type linkFacts struct {
	known bool // the link (connector, issuer, subject) exists; then the next four are about it and its owner
	quarantined,
	ownerActive,
	ownerAwaits, // approval
	ownerAdmin bool

	authoritative bool // proven, by who runs the mailbox
	proven        bool // the upstream vouches for the address; an address nobody vouches for says nothing
	reissued      bool // the same connector gave the same address for another subject (security.md E6)

	holder bool // an account has the address; then the next five are about it
	holderVerified,
	holderActive,
	holderAdmin,
	holderLinked, // to another subject of the same connector (R37 d)
	holderPrivileged bool // somebody gave it more than everybody has

	link         string // the operator's policies
	registration string
	invite       string // whether the invitation that is open in this browser fits: see fits
	domainFits   bool   // no domain rule, or a proven address that satisfies it
	mayAdmin     bool   // this connector may open an administrator's account

	disowned bool // the person says that the holder's account is not theirs
}

type linkStep int

const (
	linkRefuse linkStep = iota
	linkEnter           // the owner's account
	linkCreate          // a new account
	linkAwait           // a new account that waits for approval
	linkClaim           // the holder never proved the address: it loses it, and a new account gets it
	linkProve           // the person may prove the holder's account
	linkJoin            // the holder's account, at once
)

// linkDecision is what follows. why is the key of the text for a refusal.
type linkDecision struct {
	step     linkStep
	why      string
	alert    bool // administrators should see it
	mayClaim bool // with linkProve: "that is not my account" leads to linkClaim
}

// decideLink is the linking policy (R37, R38, R42, R43; security.md E1, E3, E5, E6). An e-mail address never finds an account to sign in
// to: it can only stand in the way of a new one. Silent joining needs two proven addresses and the operator's word.
func decideLink(f linkFacts) linkDecision {
	refuse := func(why string) linkDecision { return linkDecision{why: why} }
	if f.known {
		switch {
		case f.quarantined:
			return refuse("error.identity_refused")
		case f.ownerAwaits:
			return refuse("error.awaiting_approval")
		case !f.ownerActive:
			return refuse("error.account_disabled")
		case f.ownerAdmin && !f.mayAdmin:
			return refuse("error.admin_connector")
		}
		return linkDecision{step: linkEnter}
	}
	if f.proven && f.reissued {
		return linkDecision{why: "error.account_exists", alert: true}
	}
	create := newcomer(f)
	if !f.proven || !f.holder {
		return create
	}
	// The address belongs to an account. What the page says is the same for all of them: details only after a proof.
	open := create.step != linkRefuse
	mayClaim := open && !f.holderVerified && !f.holderPrivileged
	switch {
	case f.disowned && mayClaim, f.link == LinkNever && mayClaim:
		create.step, create.alert = linkClaim, true
		return create
	case f.disowned, f.link == LinkNever, !f.holderActive, f.holderAdmin && !f.mayAdmin:
		return linkDecision{why: "error.account_exists", alert: f.disowned}
	case f.holderVerified && !f.holderLinked && (f.link == LinkVerified || f.link == LinkAuthoritative && f.authoritative):
		return linkDecision{step: linkJoin}
	}
	return linkDecision{step: linkProve, mayClaim: mayClaim}
}

// newcomer is the registration policy. Nothing else makes an account at a sign-in (security.md F17).
func newcomer(f linkFacts) linkDecision {
	switch {
	case f.registration == RegistrationClosed:
		return linkDecision{why: "error.registration_closed"}
	case f.registration != RegistrationOpen && f.invite == inviteTaken:
		return linkDecision{why: "error.invite_taken"}
	case f.registration != RegistrationOpen && f.invite == inviteOther:
		return linkDecision{why: "error.invite_other"}
	case f.registration != RegistrationOpen && f.invite == inviteAdmin:
		return linkDecision{why: "error.admin_connector"}
	case !f.domainFits:
		return linkDecision{why: "error.registration_domain"}
	case f.invite == inviteFits: // who approved it stands for the rest
		return linkDecision{step: linkCreate}
	case f.registration == RegistrationOpen:
		return linkDecision{step: linkCreate}
	case f.registration == RegistrationApproval:
		return linkDecision{step: linkAwait}
	}
	return linkDecision{why: "error.registration_invite"}
}

// How the invitation of a browser stands to who arrived; "" = there is none.
const (
	inviteFits  = "fits"
	inviteOther = "other"         // the upstream vouches for another address
	inviteAdmin = "administrator" // it makes an administrator, whom this connector may not
	inviteTaken = "taken"         // its address became an account's, and the upstream does not say that it is this one's
)

// fits says whether the invitation of this browser is for who arrived.
func (l *Login) fits(ctx context.Context, a *arrival) (string, error) {
	said := a.provenEmail()
	switch {
	case a.invite == nil:
		return "", nil
	case said != "" && !a.invite.takes(said):
		return inviteOther, nil
	case a.invite.admin && !a.up.mayAdmin(&a.id):
		return inviteAdmin, nil
	case said != "" || !a.invite.names():
		return inviteFits, nil
	}
	_, err := l.store.UserByLogin(ctx, a.invite.Email)
	if errors.Is(err, store.ErrNotFound) {
		return inviteFits, nil
	}
	return inviteTaken, err
}

// linkRows are the rows behind the facts.
type linkRows struct {
	link   *store.Identity
	owner  *store.Live
	holder *store.Live
}

// gather reads the facts about an arrival, in the transaction that acts on them.
func (l *Login) gather(ctx context.Context, a *arrival) (f linkFacts, rows linkRows, err error) {
	model, err := l.store.Model(ctx)
	if err != nil {
		return f, rows, err
	}
	admin := func(u *store.Live) bool { return model.Administers(u, store.At(l.now())) }
	f = linkFacts{
		proven: a.up.proven(&a.id), authoritative: a.up.runsMailbox(&a.id), link: a.up.Link, registration: a.up.registration(a.p), mayAdmin: a.up.mayAdmin(&a.id), disowned: a.disowned,
		domainFits: len(a.up.Domains) == 0 || a.up.proven(&a.id) && domainIn(a.id.Email, a.up.Domains),
	}
	if f.invite, err = l.fits(ctx, a); err != nil {
		return f, rows, err
	}
	f.domainFits = f.domainFits || f.invite == inviteFits && a.invite.names() // R43: an address that was invited need not be of them
	rows.link, err = l.store.Identity(ctx, a.up.Name(), a.id.Issuer, a.id.Subject)
	switch {
	case err == nil:
		if rows.owner, err = l.store.Live(ctx, rows.link.UserID); err != nil {
			return f, rows, err
		}
		u := &rows.owner.User
		f.known, f.quarantined, f.ownerActive = true, !rows.link.QuarantinedAt.IsZero(), u.Active(l.now())
		f.ownerAwaits = !u.DisabledAt.IsZero() && u.DisabledReason == AwaitingApproval && u.DeletedAt.IsZero()
		if f.ownerAdmin = admin(rows.owner); f.ownerAdmin && !f.mayAdmin {
			// Their own second factor is asked for after any way to sign in (R41).
			f.mayAdmin, err = l.asked(ctx, rows.owner)
		}
		return f, rows, err
	case !errors.Is(err, store.ErrNotFound):
		return f, rows, err
	}
	if !f.proven {
		return f, rows, nil
	}
	others, err := l.store.IdentitiesByEmail(ctx, a.up.Name(), a.id.Issuer, a.id.Email)
	if err != nil {
		return f, rows, err
	}
	for _, o := range others { // an address that was only reported proves nothing against the one who has it now
		f.reissued = f.reissued || o.Subject != a.id.Subject
	}
	holder, err := l.store.UserByLogin(ctx, a.id.Email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return f, rows, err
	}
	if err == nil || f.reissued {
		// On PostgreSQL each statement sees what was committed before it: perhaps it was this very person, in another tab.
		_, again := l.store.Identity(ctx, a.up.Name(), a.id.Issuer, a.id.Subject)
		if again == nil {
			again = fmt.Errorf("login: linked meanwhile: %w", store.ErrConflict)
		}
		if !errors.Is(again, store.ErrNotFound) {
			return f, rows, again
		}
	}
	if err != nil {
		return f, rows, nil // nobody has the address
	}
	if rows.holder, err = l.store.Live(ctx, holder.ID); err != nil {
		return f, rows, err
	}
	f.holder, f.holderVerified, f.holderActive = true, !holder.EmailVerifiedAt.IsZero(), holder.Active(l.now())
	f.holderAdmin, f.holderPrivileged = admin(rows.holder), model.Privileged(rows.holder)
	links, err := l.store.IdentitiesOf(ctx, holder.ID)
	// Known there under another address by now: this one may have been given to somebody else since (security.md E6).
	f.holderLinked = slices.ContainsFunc(links, func(o store.Identity) bool {
		return o.Connector == a.up.Name() && o.Issuer == a.id.Issuer && o.QuarantinedAt.IsZero()
	})
	return f, rows, err
}

// domainNames reads a domain as the store does for its keys.
var domainNames = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.Transitional(false), idna.VerifyDNSLength(true))

// domainIn compares whole domains, as IDNA ASCII (security.md E12).
func domainIn(email string, domains []string) bool {
	d := mailDomain(email)
	return d != "" && slices.ContainsFunc(domains, func(want string) bool { return mailDomain("x@"+want) == d })
}

// mailDomain is the domain of an address with exactly one @, "" for anything else.
func mailDomain(email string) string {
	if !validEmail(email) || strings.Count(email, "@") != 1 || strings.ContainsAny(email, "\"() ,;:<>[]\\") {
		return ""
	}
	_, domain, _ := strings.Cut(email, "@")
	d, err := domainNames.ToASCII(domain)
	if err != nil || strings.HasSuffix(d, ".") {
		return ""
	}
	return strings.ToLower(d)
}
