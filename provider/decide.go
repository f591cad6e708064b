package provider

import (
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/login/session"
)

// step is what an authorization request leads to next.
type step int

const (
	stepIssue step = iota
	stepLogin
	stepConsent
	stepOwes
	stepUp      // a second factor, beside what the session showed
	stepOneself // the person acts for another, and can have what they want as themselves only
)

// facts is everything the decision depends on; it is data, so the whole policy is one table test.
type facts struct {
	prompt   []string
	maxAge   *time.Duration
	started  time.Time // when the request arrived; the login it asks for must be at or after
	signedIn bool
	authTime time.Time // the moment of the last complete sign-in
	acr      string

	hinted       bool     // id_token_hint or claims.sub names somebody
	hintMatches  bool     // … and it is who is signed in
	acrEssential []string // the claim acr is required with one of these
	acrValues    []string // the parameter acr_values, as far as they are on the ladder
	acrLeast     string   // what the client's registration or the person's account demands; "" = nothing
	acrMost      string   // what the person can get to by a second factor

	entitled bool // the client's requirement holds for the user
	owes     bool // something else is asked of the user first (Config.Owes)

	acting     bool // the session acts for another person, and all the above but authTime and acr is about the other
	actingHere bool // the client takes that, and so does the authority

	consentNeeded bool // not first-party, and nothing remembered covers the request
	consentGiven  bool // in this very flow
}

// decide is the policy of the authorization endpoint. An error is what the client hears: at once with prompt=none, or because no page of
// ours could mend it.
func decide(f facts, now time.Time) (step, *oauthError) {
	silent := slices.Contains(f.prompt, "none")
	fresh := f.signedIn && !f.authTime.Before(f.started)
	ask := !f.signedIn
	switch {
	case ask, fresh:
	case slices.Contains(f.prompt, "login"), slices.Contains(f.prompt, "select_account"):
		ask = true // OIDC Core §3.1.2.1: MUST, whatever session exists
	case f.maxAge != nil && (*f.maxAge == 0 || now.Sub(f.authTime) > *f.maxAge):
		ask = true // max_age=0 is prompt=login (OIDC Core §3.1.2.1 errata)
	case f.hinted && !f.hintMatches:
		ask = true
	}
	if f.acting && !silent && (ask || !f.actingHere) {
		return stepOneself, nil
	}
	if ask {
		if silent {
			return 0, refuse("login_required", "The person must sign in.") // OIDC Core §3.1.2.6
		}
		return stepLogin, nil
	}
	if f.acting && !f.actingHere {
		return 0, refuse("access_denied", "The application does not take people who act for others.")
	}
	if f.hinted && !f.hintMatches {
		return 0, refuse("login_required", "Another person is signed in than the one asked for.")
	}
	if !f.assured(f.acr) {
		switch {
		case !f.assured(f.acrMost):
			// OpenID Connect Unmet Authentication Requirements 1.0; of acr_values, RFC 9470 §5
			return 0, refuse("unmet_authentication_requirements", "The requested assurance cannot be reached.")
		case silent:
			return 0, refuse("interaction_required", "The person must show a second factor.") // OIDC Core §3.1.2.6
		case f.acting: // it would be the second factor of somebody else than the session speaks of
			return stepOneself, nil
		}
		return stepUp, nil
	}
	if f.acting && !f.entitled && !silent {
		return stepOneself, nil
	}
	if !f.entitled {
		return 0, refuse("access_denied", "The person may not use this application.")
	}
	if f.owes {
		if silent {
			return 0, refuse("interaction_required", "The person must add something to their account first.")
		}
		if f.acting {
			return stepOneself, nil
		}
		return stepOwes, nil
	}
	if !f.consentGiven && (f.consentNeeded || slices.Contains(f.prompt, "consent")) {
		if f.acting { // nobody agrees for another
			if silent {
				return 0, refuse("access_denied", "The person represented has not agreed.")
			}
			return stepOneself, nil
		}
		if silent {
			return 0, refuse("consent_required", "The person must agree first.")
		}
		return stepConsent, nil
	}
	return stepIssue, nil
}

// assured says whether a sign-in with this acr is good enough for the person and the request.
func (f *facts) assured(acr string) bool {
	reaches := func(want string) bool { return session.Reaches(acr, want) }
	return (f.acrLeast == "" || reaches(f.acrLeast)) && (len(f.acrEssential) == 0 || slices.ContainsFunc(f.acrEssential, reaches)) &&
		(len(f.acrValues) == 0 || slices.ContainsFunc(f.acrValues, reaches))
}

// saidACR is the acr that tokens carry: the sign-in's own, or the highest it reached of those that were asked for. Whoever shows more has shown less too,
// and a client that asks for a value looks for it (OIDC Core §5.5.1.1).
func saidACR(have string, asked ...[]string) string {
	for _, list := range asked {
		if len(list) == 0 {
			continue
		}
		said := ""
		for _, v := range list {
			if session.Reaches(have, v) && (said == "" || session.Reaches(v, said)) {
				said = v
			}
		}
		if said != "" {
			return said
		}
	}
	return have
}
