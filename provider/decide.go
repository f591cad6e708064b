package provider

import (
	"slices"
	"time"
)

// step is what an authorization request leads to next.
type step int

const (
	stepIssue step = iota
	stepLogin
	stepConsent
	stepOwes
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

	hinted       bool // id_token_hint or claims.sub names somebody
	hintMatches  bool // … and it is who is signed in
	acrEssential []string

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
	if len(f.acrEssential) > 0 && !slices.Contains(f.acrEssential, f.acr) {
		// OpenID Connect Unmet Authentication Requirements 1.0
		return 0, refuse("unmet_authentication_requirements", "The requested assurance cannot be reached.")
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
