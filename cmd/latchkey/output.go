package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON, for scripts")
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// pairs prints label and value lines, leaving out what is empty.
func (a *app) pairs(kv ...string) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", kv[i], printable(kv[i+1]))
		}
	}
	_ = w.Flush() // to the terminal
}

// table collects rows and prints them aligned, or as a JSON array with --json.
type table struct {
	app   *app
	head  []string
	rows  [][]string
	items []any
}

func (a *app) table(head ...string) *table { return &table{app: a, head: head, items: []any{}} }

func (t *table) row(item any, cells ...string) {
	t.items = append(t.items, item)
	t.rows = append(t.rows, cells)
}

func (t *table) print() error {
	if t.app.json {
		return t.app.printJSON(t.items)
	}
	w := tabwriter.NewWriter(t.app.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(t.head, "\t"))
	for _, r := range t.rows {
		for i, c := range r {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, orDash(printable(c)))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// aligned sets rows in columns, without spaces at the ends of lines.
func aligned(rows [][]string) []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		for i, c := range r {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, printable(c))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // to memory
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

// printable keeps what people typed into a form from steering the operator's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\uFFFD'
		}
		return r
	}, s)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func from(s string) string {
	if s == "" {
		return ""
	}
	return ", from " + s
}

func until(s string) string {
	if s == "" {
		return ""
	}
	return ", until " + s
}
