package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/latchkey-idp/latchkey/internal/rights"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
)

// privilegeTexts are the flags of add and describe.
type privilegeTexts struct {
	label, description string
	labels, texts      []string // de=Label
	requestable        bool
}

func (t *privilegeTexts) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.label, "label", "", "what people read (default: the name)")
	f.StringVar(&t.description, "description", "", "what it is for")
	f.StringArrayVar(&t.labels, "text", nil, "the label in another language, as de=Helfer; de= takes it away; may be repeated")
	f.StringArrayVar(&t.texts, "text-description", nil, "the description in another language, likewise")
	f.BoolVar(&t.requestable, "requestable", false, "people may ask for it on their account page")
}

// apply writes what was said into p, and leaves the rest.
func (t *privilegeTexts) apply(cmd *cobra.Command, p *store.Privilege) error {
	if cmd.Flags().Changed("label") {
		p.Label = t.label
	}
	if cmd.Flags().Changed("description") {
		p.Description = t.description
	}
	if cmd.Flags().Changed("requestable") {
		p.Requestable = t.requestable
	}
	next := maps.Clone(p.Texts)
	if next == nil {
		next = store.Labels{}
	}
	for flag, list := range map[string][]string{"text": t.labels, "text-description": t.texts} {
		for _, s := range list {
			lang, text, ok := strings.Cut(s, "=")
			if !ok || !languageTag(lang) {
				return usagef("--%s is %q; write a language and a text, as de=Helfer", flag, s)
			}
			l := next[lang]
			if flag == "text" {
				l.Label = text
			} else {
				l.Description = text
			}
			if next[lang] = l; l == (store.Label{}) {
				delete(next, lang)
			}
		}
	}
	p.Texts = next
	problems := []error{tooLong("label", p.Label, maxLabel), tooLong("description", p.Description, maxDescription)}
	for _, lang := range slices.Sorted(maps.Keys(next)) {
		problems = append(problems, tooLong("label for "+lang, next[lang].Label, maxLabel), tooLong("description for "+lang, next[lang].Description, maxDescription))
	}
	return cmp.Or(problems...)
}

// What config.example.yaml allows, too.
const maxLabel, maxDescription = 100, 500

func tooLong(what, text string, most int) error {
	if n := utf8.RuneCountInString(text); n > most {
		return usagef("the %s has %d characters, at most %d are shown", what, n, most)
	}
	return nil
}

func languageTag(s string) bool {
	return s != "" && len(s) <= 35 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
}

func (a *app) privilegeAdd() *cobra.Command {
	var texts privilegeTexts
	var includes []string
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add a privilege; nobody has it yet", Args: args("NAME"),
		Long: `Add a privilege. Its name is what tokens carry, and never changes: a letter and at most 49 of a-z 0-9 _ -. One that belongs to a client is
client_id:role.

    latchkey privilege add helper --label Helper --text de=Helfer
    latchkey privilege add staff --label Staff --include helper --include advocate`,
	}
	cmd.RunE = a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
		name := args[0]
		p := &store.Privilege{Name: name, Includes: includes}
		if err := texts.apply(cmd, p); err != nil {
			return err
		}
		if p.Label == "" {
			p.Label = name
		}
		known, err := c.Store.Definitions(ctx)
		if err != nil {
			return err
		}
		if lower := strings.ToLower(name); lower != name && known.Has(lower) {
			return fmt.Errorf("there is %s already, and names are told apart by more than their case", lower)
		}
		for _, n := range includes {
			switch {
			case n == "cron":
				return errors.New("cron is for machines: it cannot be included")
			case !known.Has(n) || strings.Contains(n, "/"):
				return a.privilegeError(store.ErrNotFound, n)
			}
		}
		if owner, _, role := strings.Cut(name, ":"); role {
			if _, err := findClient(ctx, c, owner); err != nil {
				return err
			}
			p.ClientID = owner
		}
		if err := c.Store.CreatePrivilege(ctx, by, p); err != nil {
			return a.privilegeError(err, name)
		}
		if a.json {
			detail, err := c.Privilege(ctx, name)
			if err != nil {
				return err
			}
			return a.printJSON(detail)
		}
		a.printf("Added %s. Give it to somebody with: latchkey user grant USER %s\n", name, name)
		return nil
	})
	texts.add(cmd)
	cmd.Flags().StringSliceVar(&includes, "include", nil, "a privilege that comes with it; may be repeated")
	a.jsonFlag(cmd)
	a.asFlag(cmd)
	return cmd
}

func (a *app) privilegeDescribe() *cobra.Command {
	var texts privilegeTexts
	cmd := &cobra.Command{
		Use: "describe NAME", Short: "Change what a privilege is called and said to be; its name in tokens stays", Args: args("NAME"),
	}
	cmd.RunE = a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
		if !slices.ContainsFunc([]string{"label", "description", "text", "text-description", "requestable"}, cmd.Flags().Changed) {
			return usagef("say what to change: --label, --description, --text, --text-description, --requestable")
		}
		var wrong error
		err := c.Describe(ctx, by, args[0], func(p *store.Privilege) error {
			wrong = texts.apply(cmd, p)
			return wrong
		})
		if wrong != nil {
			return wrong
		}
		if err != nil {
			return a.privilegeError(err, args[0])
		}
		a.printf("%s is described anew.\n", args[0])
		return nil
	})
	texts.add(cmd)
	a.asFlag(cmd)
	return cmd
}

// editFlags are those of a change that may touch many people.
type editFlags struct{ yes, dry bool }

func (f *editFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do it, whoever gains or loses something")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "show what it would do, and do nothing")
}

// edited is what include, exclude and remove print with --json.
type edited struct {
	Privilege string   `json:"privilege"`
	Includes  []string `json:"includes,omitempty"` // afterwards
	Removed   bool     `json:"removed,omitempty"`
	People    int      `json:"people"` // who gain or lose anything
	Gain      int      `json:"gain"`
	Lose      int      `json:"lose"`
	Gained    []string `json:"gained"`
	Lost      []string `json:"lost"`
	Clients   []string `json:"clients"` // that see a difference
	Text      string   `json:"text"`
	Written   bool     `json:"written"`
}

// edit shows what a change would do, and does it unless it touches somebody and nobody said yes.
func (a *app) edit(ctx context.Context, c *server.Console, by string, e store.Edit, f editFlags, done string) error {
	impact, err := c.Weigh(ctx, by, e)
	switch {
	case e.Delete && errors.Is(err, rights.ErrInFile):
		return fmt.Errorf("%s is declared in the configuration file; take it out there and reload the server, then remove it here", e.Privilege)
	case err != nil:
		return a.privilegeError(err, e.Privilege)
	}
	if !a.json {
		a.printf("%s.\n", capital(impact.String()))
	}
	write := !f.dry && (f.yes || impact.People == 0)
	if write {
		agree := func(now store.Impact) bool { return f.yes || now.People == 0 }
		if _, err := c.Apply(ctx, by, e, agree); err != nil {
			return a.privilegeError(err, e.Privilege)
		}
	}
	if a.json {
		some := func(list []string) []string { return append([]string{}, list...) }
		if err := a.printJSON(edited{e.Privilege, e.Includes, e.Delete, impact.People, impact.Gain, impact.Lose, some(impact.Gained), some(impact.Lost),
			some(impact.Clients), impact.String(), write}); err != nil {
			return err
		}
	}
	switch {
	case write && !a.json:
		a.printf("%s\n", done)
	case f.dry && !a.json:
		a.printf("Nothing was written.\n")
	case !write && !f.dry:
		return usagef("nothing was written; say --yes if this is what you mean")
	}
	return nil
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (a *app) privilegeInclude() *cobra.Command {
	return a.privilegeIncludes("include NAME OTHER...", "Let a privilege bring others: whoever holds it holds those too",
		func(name string, have, others []string) ([]string, string, error) {
			next := slices.Clone(have)
			for _, n := range others {
				if slices.Contains(next, n) {
					return nil, "", fmt.Errorf("%s includes %s already", name, n)
				}
				next = append(next, n)
			}
			return next, fmt.Sprintf("%s now includes %s.", name, strings.Join(others, ", ")), nil
		})
}

func (a *app) privilegeExclude() *cobra.Command {
	return a.privilegeIncludes("exclude NAME OTHER...", "Let a privilege no longer bring others",
		func(name string, have, others []string) ([]string, string, error) {
			next := slices.Clone(have)
			for _, n := range others {
				i := slices.Index(next, n)
				if i < 0 {
					return nil, "", fmt.Errorf("%s does not include %s itself; latchkey privilege show %s says what it includes", name, n, name)
				}
				next = slices.Delete(next, i, i+1)
			}
			return next, fmt.Sprintf("%s no longer includes %s.", name, strings.Join(others, ", ")), nil
		})
}

func (a *app) privilegeIncludes(use, short string, change func(name string, have, others []string) (next []string, done string, err error)) *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args("NAME", "OTHER..."),
		Long: short + `.
It says first who would gain or lose what. Where that is anybody, it writes only with --yes.`,
		RunE: a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
			p, err := c.Privilege(ctx, args[0])
			if err != nil {
				return a.privilegeError(err, args[0])
			}
			known, err := c.Store.Definitions(ctx)
			if err != nil {
				return err
			}
			for _, n := range args[1:] {
				if !known.Has(n) || strings.Contains(n, "/") {
					return a.privilegeError(store.ErrNotFound, n)
				}
			}
			next, done, err := change(args[0], p.Includes, args[1:])
			if err != nil {
				return err
			}
			return a.edit(ctx, c, by, store.Edit{Privilege: args[0], Includes: next}, f, done)
		}),
	}
	f.add(cmd)
	a.jsonFlag(cmd)
	a.asFlag(cmd)
	return cmd
}

func (a *app) privilegeRemove() *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Take a privilege away for good, from everybody and from all that include it", Args: args("NAME"),
		Long: `Take a privilege away for good, from everybody who holds it and from all that include it. Nobody else can have its name for 90 days.
It says first who would lose what. Where that is anybody, it writes only with --yes. It refuses while a client, a user type, a permission, a rule of
delegation or the configuration refers to the privilege; six of the seven built-in ones stay for good.`,
		RunE: a.consoleAs(func(ctx context.Context, c *server.Console, by string, args []string) error {
			return a.edit(ctx, c, by, store.Edit{Privilege: args[0], Delete: true}, f, args[0]+" is removed.")
		}),
	}
	f.add(cmd)
	a.jsonFlag(cmd)
	a.asFlag(cmd)
	return cmd
}
