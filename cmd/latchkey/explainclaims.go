package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/server"
)

// explainClaims says what a sign-in with pasted claims would lead to.
func (a *app) explainClaims(ctx context.Context, c *server.Console, connector, file, client string, disowned bool) error {
	document, err := a.readClaims(file)
	if err != nil {
		return err
	}
	p, err := c.PreviewUpstream(ctx, server.UpstreamPreviewRequest{Connector: connector, ClientID: client, Claims: document, Disowned: disowned})
	if bad, ok := errors.AsType[*server.PreviewError](err); ok {
		return bad
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	return a.printUpstream(ctx, c, client, p)
}

// readClaims reads one byte more than may be, so that too much is told from enough.
func (a *app) readClaims(file string) ([]byte, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, server.MaxPreviewClaims+1))
	if err != nil {
		return nil, fmt.Errorf("reading the claims: %w", err)
	}
	return b, nil
}

func (a *app) printUpstream(ctx context.Context, c *server.Console, client string, p *server.UpstreamPreview) error {
	yes := func(b bool, s string) string {
		if b {
			return s
		}
		return ""
	}
	name := func(id string) string {
		if id == "" {
			return ""
		}
		return giverName(ctx, c, id)
	}
	if p.Off {
		a.printf("The connector %s is switched off. If it were on:\n\n", p.Connector)
	}
	a.printf("%s\n", printable(p.Text))
	if p.Code != "" {
		a.printf("The page would say %s.\n", p.Code)
	}
	if p.Detail != "" {
		a.printf("The log would say: %s\n", printable(p.Detail))
	}
	if p.Alert {
		a.printf("Administrators would be told.\n")
	}
	if p.Proof != "" {
		a.printf("What follows is what would be after a proof by %s.\n", p.Proof)
	}
	if p.MayClaim {
		a.printf("The person could say that the account is not theirs: see --not-mine.\n")
	}
	a.printf("\n")
	account := name(p.UserID)
	if p.New {
		account = "a new one"
	}
	address := p.Identity.Email
	if address != "" {
		address += " (" + p.Identity.EmailTrust + yes(!p.Identity.EmailProven, ", which does not count") + ")"
	}
	var filled []string
	for _, f := range p.Filled {
		filled = append(filled, f.Field+" "+f.Value)
	}
	domains := strings.Join(p.Policy.Domains, ", ")
	if domains != "" {
		domains += yes(p.Policy.DomainFits, " (fits)") + yes(!p.Policy.DomainFits, " (does not fit)")
	}
	a.pairs("Issuer", p.Identity.Issuer, "Subject", p.Identity.Subject, "Address", address, "Account", account, "Address is of", name(p.Holder),
		"Registration", p.Policy.Registration, "Linking", p.Policy.Link, "Domains", domains, "Link rests on", strings.Join(p.Evidence, ", "),
		"Taken over", strings.Join(filled, "; "), "Rules give", strings.Join(p.Rules.Matched, ", "), "  new", strings.Join(p.Rules.Given, ", "),
		"  no longer", strings.Join(p.Rules.Ended, ", "), "  not, as it makes an administrator", strings.Join(p.Rules.Admin, ", "),
		"  not, refused", strings.Join(p.Rules.Refused, ", "), "Before that", owedText(p.Owes),
		"Session", yes(p.ACR != "", "by "+p.WayIn+", acr "+p.ACR+", amr "+strings.Join(p.AMR, " ")))
	if p.Client == nil {
		return nil
	}
	return a.printPreview(client, p.Client)
}

// owedText is what comes before a session, in words.
func owedText(owes []string) string {
	words := map[string]string{"factor": "the second factor", "new_password": "a new password", "enrolment": "a second factor is added"}
	var out []string
	for _, o := range owes {
		out = append(out, words[o])
	}
	return strings.Join(out, ", then ")
}
