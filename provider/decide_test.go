package provider

import (
	"strings"
	"testing"
	"time"
)

// TestSec_A15_DecisionTable is the whole policy of the authorization endpoint as data.
func TestSec_A15_DecisionTable(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	age := func(d time.Duration) *time.Duration { return &d }
	// A person signed in an hour ago, entitled, consent known, request just arrived.
	base := facts{started: now, signedIn: true, authTime: now.Add(-time.Hour), acr: "1", entitled: true}
	with := func(f func(*facts)) facts { c := base; f(&c); return c }
	acting := func(f func(*facts)) facts {
		c := base
		c.acting, c.actingHere = true, true
		if f != nil {
			f(&c)
		}
		return c
	}
	for name, c := range map[string]struct {
		f    facts
		want step
		err  string
	}{
		"session and consent":                 {base, stepIssue, ""},
		"nobody signed in":                    {with(func(f *facts) { f.signedIn = false }), stepLogin, ""},
		"nobody, none":                        {with(func(f *facts) { f.signedIn = false; f.prompt = []string{"none"} }), 0, "login_required"},
		"silent success":                      {with(func(f *facts) { f.prompt = []string{"none"} }), stepIssue, ""},
		"prompt login":                        {with(func(f *facts) { f.prompt = []string{"login"} }), stepLogin, ""},
		"prompt login, done":                  {with(func(f *facts) { f.prompt = []string{"login"}; f.started = f.authTime }), stepIssue, ""},
		"prompt select_account":               {with(func(f *facts) { f.prompt = []string{"select_account"} }), stepLogin, ""},
		"prompt login consent":                {with(func(f *facts) { f.prompt = []string{"login", "consent"}; f.started = f.authTime }), stepConsent, ""},
		"max_age 0":                           {with(func(f *facts) { f.maxAge = age(0) }), stepLogin, ""},
		"max_age 0, just signed in":           {with(func(f *facts) { f.maxAge = age(0); f.started = f.authTime }), stepIssue, ""},
		"max_age 0, none":                     {with(func(f *facts) { f.maxAge = age(0); f.prompt = []string{"none"} }), 0, "login_required"},
		"max_age exceeded":                    {with(func(f *facts) { f.maxAge = age(time.Hour - time.Millisecond) }), stepLogin, ""},
		"max_age exact":                       {with(func(f *facts) { f.maxAge = age(time.Hour) }), stepIssue, ""},
		"max_age exceeded, none":              {with(func(f *facts) { f.maxAge = age(time.Minute); f.prompt = []string{"none"} }), 0, "login_required"},
		"max_age of a second, slow person":    {with(func(f *facts) { f.maxAge = age(time.Second); f.started = f.authTime }), stepIssue, ""},
		"hint fits":                           {with(func(f *facts) { f.hinted, f.hintMatches = true, true }), stepIssue, ""},
		"hint names another":                  {with(func(f *facts) { f.hinted = true }), stepLogin, ""},
		"hint names another, none":            {with(func(f *facts) { f.hinted = true; f.prompt = []string{"none"} }), 0, "login_required"},
		"another signed in than hinted":       {with(func(f *facts) { f.hinted = true; f.started = f.authTime }), 0, "login_required"},
		"acr reached":                         {with(func(f *facts) { f.acrEssential = []string{"2", "1"} }), stepIssue, ""},
		"acr out of reach":                    {with(func(f *facts) { f.acrEssential = []string{"phr"} }), 0, "unmet_authentication_requirements"},
		"acr below":                           {with(func(f *facts) { f.acr, f.acrEssential = "2", []string{"1"} }), stepIssue, ""},
		"acr by a second factor":              {with(func(f *facts) { f.acrMost, f.acrEssential = "2", []string{"2"} }), stepUp, ""},
		"acr by a second factor, none":        {with(func(f *facts) { f.acrMost, f.acrEssential, f.prompt = "2", []string{"2"}, []string{"none"} }), 0, "interaction_required"},
		"acr of nobody's ladder":              {with(func(f *facts) { f.acrMost, f.acrEssential = "2", []string{"gold"} }), 0, "unmet_authentication_requirements"},
		"acr out of reach, none":              {with(func(f *facts) { f.acrMost, f.acrEssential, f.prompt = "2", []string{"phr"}, []string{"none"} }), 0, "unmet_authentication_requirements"},
		"acr_values reached":                  {with(func(f *facts) { f.acr, f.acrValues = "2", []string{"phr", "2"} }), stepIssue, ""},
		"acr_values by a second factor":       {with(func(f *facts) { f.acrMost, f.acrValues = "2", []string{"phr", "2"} }), stepUp, ""},
		"acr_values out of reach":             {with(func(f *facts) { f.acrMost, f.acrValues = "2", []string{"phr"} }), 0, "unmet_authentication_requirements"},
		"a factor is demanded":                {with(func(f *facts) { f.acrMost, f.acrLeast = "2", "2" }), stepUp, ""},
		"a factor is demanded, none":          {with(func(f *facts) { f.acrMost, f.acrLeast, f.prompt = "2", "2", []string{"none"} }), 0, "interaction_required"},
		"a factor is demanded, and cannot be": {with(func(f *facts) { f.acrMost, f.acrLeast = "1", "2" }), 0, "unmet_authentication_requirements"},
		"a factor is demanded, but a sign-in": {with(func(f *facts) { f.acrMost, f.acrLeast, f.prompt = "2", "2", []string{"login"} }), stepLogin, ""},
		"a factor comes before consent":       {with(func(f *facts) { f.acrMost, f.acrLeast, f.consentNeeded = "2", "2", true }), stepUp, ""},
		"acting, a factor is demanded":        {acting(func(f *facts) { f.acrMost, f.acrLeast = "2", "2" }), stepOneself, ""},
		"not entitled":                        {with(func(f *facts) { f.entitled = false }), 0, "access_denied"},
		"not entitled comes before consent":   {with(func(f *facts) { f.entitled = false; f.consentNeeded = true }), 0, "access_denied"},
		"something owed":                      {with(func(f *facts) { f.owes = true }), stepOwes, ""},
		"something owed, none":                {with(func(f *facts) { f.owes = true; f.prompt = []string{"none"} }), 0, "interaction_required"},
		"owed comes before consent":           {with(func(f *facts) { f.owes, f.consentNeeded = true, true }), stepOwes, ""},
		"owed comes after a new sign-in":      {with(func(f *facts) { f.owes = true; f.prompt = []string{"login"} }), stepLogin, ""},
		"not entitled comes before owed":      {with(func(f *facts) { f.owes, f.entitled = true, false }), 0, "access_denied"},
		"consent needed":                      {with(func(f *facts) { f.consentNeeded = true }), stepConsent, ""},
		"consent needed, given":               {with(func(f *facts) { f.consentNeeded, f.consentGiven = true, true }), stepIssue, ""},
		"consent needed, none":                {with(func(f *facts) { f.consentNeeded = true; f.prompt = []string{"none"} }), 0, "consent_required"},
		"prompt consent although known":       {with(func(f *facts) { f.prompt = []string{"consent"} }), stepConsent, ""},
		"prompt consent, given in this flow":  {with(func(f *facts) { f.prompt = []string{"consent"}; f.consentGiven = true }), stepIssue, ""},
		"signing in comes before all":         {with(func(f *facts) { f.signedIn, f.entitled, f.consentNeeded = false, false, true }), stepLogin, ""},
		"login comes before a wrong person":   {with(func(f *facts) { f.hinted = true; f.prompt = []string{"login"} }), stepLogin, ""},
		"acting":                              {acting(nil), stepIssue, ""},
		"acting, silent":                      {acting(func(f *facts) { f.prompt = []string{"none"} }), stepIssue, ""},
		"acting, not here":                    {acting(func(f *facts) { f.actingHere = false }), stepOneself, ""},
		"acting, not here, none":              {acting(func(f *facts) { f.actingHere, f.prompt = false, []string{"none"} }), 0, "access_denied"},
		"acting, to sign in anew":             {acting(func(f *facts) { f.prompt = []string{"login"} }), stepOneself, ""},
		"acting, to sign in anew, none":       {acting(func(f *facts) { f.maxAge, f.prompt = age(0), []string{"none"} }), 0, "login_required"},
		"acting, another way in":              {acting(func(f *facts) { f.signedIn = false }), stepOneself, ""},
		"acting, hint names oneself":          {acting(func(f *facts) { f.hinted = true }), stepOneself, ""},
		"acting, consent needed":              {acting(func(f *facts) { f.consentNeeded = true }), stepOneself, ""},
		"acting, consent needed, none":        {acting(func(f *facts) { f.consentNeeded, f.prompt = true, []string{"none"} }), 0, "access_denied"},
		"acting, prompt consent":              {acting(func(f *facts) { f.prompt = []string{"consent"} }), stepOneself, ""},
		"acting, something owed":              {acting(func(f *facts) { f.owes = true }), stepOneself, ""},
		"acting, not entitled":                {acting(func(f *facts) { f.entitled = false }), stepOneself, ""},
		"acting, not entitled, none":          {acting(func(f *facts) { f.entitled, f.prompt = false, []string{"none"} }), 0, "access_denied"},
		"a session from the future is no bug": {with(func(f *facts) { f.authTime = now.Add(time.Second); f.maxAge = age(0) }), stepIssue, ""},
	} {
		got, err := decide(c.f, now)
		code := ""
		if err != nil {
			code = err.code
		}
		if code != c.err || err == nil && got != c.want {
			t.Errorf("%s: got step %d error %q, want step %d error %q", name, got, code, c.want, c.err)
		}
	}
}

// TestSaidACR: a client hears the value it asked for where the sign-in reached it, and never one that it did not.
func TestSaidACR(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		have, essential, values, want string
	}{
		{"1", "", "", "1"}, {"2", "", "", "2"}, {"2", "1", "", "1"}, {"2", "", "1", "1"}, {"2", "", "1 2", "2"}, {"phrh", "2 phr", "1", "phr"}, {"1", "", "2", "1"},
		{"2", "gold", "1", "1"}, {"1", "gold", "", "1"},
	} {
		if got := saidACR(c.have, strings.Fields(c.essential), strings.Fields(c.values)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
