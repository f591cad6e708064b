package login

import (
	"strings"
	"testing"
)

// usual is a newcomer with a proven address where everything is allowed.
func usual(change ...func(*linkFacts)) linkFacts {
	f := linkFacts{proven: true, link: LinkProve, registration: RegistrationOpen, domainFits: true, mayAdmin: true}
	for _, c := range change {
		c(&f)
	}
	return f
}

func TestDecideLink(t *testing.T) {
	t.Parallel()
	known := func(f *linkFacts) { f.known, f.ownerActive = true, true }
	held := func(f *linkFacts) { f.holder, f.holderActive = true, true }
	verified := func(f *linkFacts) { held(f); f.holderVerified = true }
	policy := func(link, registration string) func(*linkFacts) {
		return func(f *linkFacts) { f.link, f.registration = link, registration }
	}
	for name, c := range map[string]struct {
		facts linkFacts
		want  linkDecision
	}{
		"known":                               {usual(known), linkDecision{step: linkEnter}},
		"known, with closed registration":     {usual(known, policy(LinkNever, RegistrationClosed)), linkDecision{step: linkEnter}},
		"known, domain rule came later (R43)": {usual(known, func(f *linkFacts) { f.domainFits = false }), linkDecision{step: linkEnter}},
		"known, quarantined":                  {usual(known, func(f *linkFacts) { f.quarantined = true }), linkDecision{why: "error.identity_refused"}},
		"known, disabled":                     {usual(known, func(f *linkFacts) { f.ownerActive = false }), linkDecision{why: "error.account_disabled"}},
		"known, not approved":                 {usual(known, func(f *linkFacts) { f.ownerActive, f.ownerAwaits = false, true }), linkDecision{why: "error.awaiting_approval"}},
		"known administrator":                 {usual(known, func(f *linkFacts) { f.ownerAdmin = true }), linkDecision{step: linkEnter}},
		"known administrator, not allowed": {usual(known, func(f *linkFacts) { f.ownerAdmin, f.mayAdmin = true, false }),
			linkDecision{why: "error.admin_connector"}},

		"new, open":                        {usual(), linkDecision{step: linkCreate}},
		"new, approval":                    {usual(policy(LinkProve, RegistrationApproval)), linkDecision{step: linkAwait}},
		"new, invite":                      {usual(policy(LinkProve, RegistrationInvite)), linkDecision{why: "error.registration_invite"}},
		"new, closed":                      {usual(policy(LinkProve, RegistrationClosed)), linkDecision{why: "error.registration_closed"}},
		"new, a policy nobody knows":       {usual(policy(LinkProve, "opne")), linkDecision{why: "error.registration_invite"}},
		"new, outside the domains":         {usual(func(f *linkFacts) { f.domainFits = false }), linkDecision{why: "error.registration_domain"}},
		"new, unproven address":            {usual(func(f *linkFacts) { f.proven = false }), linkDecision{step: linkCreate}},
		"unproven address somebody has":    {usual(verified, func(f *linkFacts) { f.proven = false }), linkDecision{step: linkCreate}},
		"unproven, link: verified":         {usual(verified, func(f *linkFacts) { f.proven, f.link = false, LinkVerified }), linkDecision{step: linkCreate}},
		"same connector, another subject":  {usual(func(f *linkFacts) { f.reissued = true }), linkDecision{why: "error.account_exists", alert: true}},
		"the same, link: verified":         {usual(verified, func(f *linkFacts) { f.reissued, f.link = true, LinkVerified }), linkDecision{why: "error.account_exists", alert: true}},
		"both proven, prove":               {usual(verified), linkDecision{step: linkProve}},
		"both proven, verified":            {usual(verified, policy(LinkVerified, RegistrationClosed)), linkDecision{step: linkJoin}},
		"both proven, known there":         {usual(verified, policy(LinkVerified, RegistrationOpen), func(f *linkFacts) { f.holderLinked = true }), linkDecision{step: linkProve}},
		"both proven, authoritative":       {usual(verified, policy(LinkAuthoritative, RegistrationOpen)), linkDecision{step: linkProve}},
		"authoritative, both ways":         {usual(verified, policy(LinkAuthoritative, RegistrationOpen), func(f *linkFacts) { f.authoritative = true }), linkDecision{step: linkJoin}},
		"authoritative, holder unproven":   {usual(held, policy(LinkAuthoritative, RegistrationOpen), func(f *linkFacts) { f.authoritative = true }), linkDecision{step: linkProve, mayClaim: true}},
		"authoritative is no wish":         {usual(verified, func(f *linkFacts) { f.authoritative = true }), linkDecision{step: linkProve}},
		"both proven, never":               {usual(verified, policy(LinkNever, RegistrationOpen)), linkDecision{why: "error.account_exists"}},
		"both proven, prove, closed":       {usual(verified, policy(LinkProve, RegistrationClosed)), linkDecision{step: linkProve}},
		"holder disabled":                  {usual(verified, policy(LinkVerified, RegistrationOpen), func(f *linkFacts) { f.holderActive = false }), linkDecision{why: "error.account_exists"}},
		"holder administrator":             {usual(verified, func(f *linkFacts) { f.holderAdmin, f.mayAdmin = true, false }), linkDecision{why: "error.account_exists"}},
		"holder unproven":                  {usual(held), linkDecision{step: linkProve, mayClaim: true}},
		"holder unproven, link: verified":  {usual(held, policy(LinkVerified, RegistrationOpen)), linkDecision{step: linkProve, mayClaim: true}},
		"holder unproven, closed":          {usual(held, policy(LinkProve, RegistrationClosed)), linkDecision{step: linkProve}},
		"holder unproven, never":           {usual(held, policy(LinkNever, RegistrationOpen)), linkDecision{step: linkClaim, alert: true}},
		"holder unproven, never, closed":   {usual(held, policy(LinkNever, RegistrationClosed)), linkDecision{why: "error.account_exists"}},
		"holder unproven, disowned":        {usual(held, func(f *linkFacts) { f.disowned = true }), linkDecision{step: linkClaim, alert: true}},
		"holder unproven, disowned, await": {usual(held, policy(LinkProve, RegistrationApproval), func(f *linkFacts) { f.disowned = true }), linkDecision{step: linkClaim, alert: true}},
		"holder unproven but privileged":   {usual(held, func(f *linkFacts) { f.disowned, f.holderPrivileged = true, true }), linkDecision{why: "error.account_exists", alert: true}},
		"holder proven, disowned":          {usual(verified, func(f *linkFacts) { f.disowned = true }), linkDecision{why: "error.account_exists", alert: true}},
	} {
		if got := decideLink(c.facts); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestDecideLinkInvariants walks every combination of facts: what must never happen happens in none.
func TestDecideLinkInvariants(t *testing.T) {
	t.Parallel()
	n := 0
	for _, link := range []string{LinkNever, LinkProve, LinkVerified, LinkAuthoritative, "typo"} {
		for _, registration := range []string{RegistrationOpen, RegistrationApproval, RegistrationInvite, RegistrationClosed, ""} {
			for bits := range 1 << 15 {
				bit := func(i int) bool { return bits>>i&1 == 1 }
				f := linkFacts{
					known: bit(0), quarantined: bit(1), ownerActive: bit(2), ownerAdmin: bit(3), proven: bit(4), reissued: bit(5), holder: bit(6),
					holderVerified: bit(7), holderActive: bit(8), holderAdmin: bit(9), holderPrivileged: bit(10), domainFits: bit(11), mayAdmin: bit(12), authoritative: bit(13), holderLinked: bit(14),
					link: link, registration: registration,
				}
				for _, f.disowned = range []bool{false, true} {
					n++
					d := decideLink(f)
					mayRegister := !f.known && f.domainFits && (registration == RegistrationOpen || registration == RegistrationApproval)
					bad := ""
					switch d.step {
					case linkEnter:
						if !f.known || f.quarantined || !f.ownerActive || f.ownerAdmin && !f.mayAdmin {
							bad = "entered"
						}
					case linkCreate, linkAwait:
						if !mayRegister || f.proven && (f.holder || f.reissued) || (d.step == linkAwait) != (registration == RegistrationApproval) {
							bad = "registered"
						}
					case linkClaim:
						if !mayRegister || !f.proven || !f.holder || f.holderVerified || f.holderPrivileged || f.reissued {
							bad = "claimed"
						}
					case linkJoin:
						if f.known || !f.proven || !f.holder || !f.holderVerified || link != LinkVerified && !(link == LinkAuthoritative && f.authoritative) || f.reissued || f.holderLinked || !f.holderActive || f.holderAdmin && !f.mayAdmin || f.disowned {
							bad = "joined silently"
						}
					case linkProve:
						if f.known || !f.proven || !f.holder || f.reissued || link == LinkNever || f.holderAdmin && !f.mayAdmin || d.mayClaim && f.holderVerified {
							bad = "offered a proof"
						}
					case linkRefuse:
						if !strings.HasPrefix(d.why, "error.") {
							bad = "refused without a text"
						}
					}
					if bad != "" {
						t.Fatalf("%s: %+v gives %+v", bad, f, d)
					}
				}
			}
		}
	}
	if n < 600_000 {
		t.Errorf("only %d combinations", n)
	}
}

func TestDomainIn(t *testing.T) {
	t.Parallel()
	rules := []string{"example.com", "münchen.example"}
	for email, want := range map[string]bool{
		"a@example.com": true, "A@EXAMPLE.COM": true, "a@sub.example.com": false, "a@notexample.com": false, "a@example.com.evil.org": false,
		"a@evil@example.com": false, `"a@example.com"@evil.org`: false, "a@example.com ": false, "": false, "example.com": false, "@example.com": false,
		"a@xn--mnchen-3ya.example": true, "a@MÜNCHEN.example": true, "a@example.com.": false, "a@example.com(x)": false, "<a@example.com>": false,
	} {
		if got := domainIn(email, rules); got != want {
			t.Errorf("%q: %v", email, got)
		}
	}
}

// FuzzDomainIn: whatever the address looks like, what lets it in is exactly the part behind its only @ (security.md E12).
func FuzzDomainIn(f *testing.F) {
	for _, s := range []string{"a@example.com", "a@evil@example.com", "a@EXAMPLE.com", "a@example.com\x00", "a@ｅxample.com", "a@example。com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, email string) {
		if !domainIn(email, []string{"example.com"}) {
			return
		}
		if strings.Count(email, "@") != 1 {
			t.Errorf("%q came in with more than one @", email)
		}
		_, domain, _ := strings.Cut(email, "@")
		ascii, err := domainNames.ToASCII(domain)
		if err != nil || !strings.EqualFold(ascii, "example.com") {
			t.Errorf("%q came in as %q", email, ascii)
		}
	})
}
