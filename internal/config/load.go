package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, with its place. It never holds the value of a secret, nor what a variable was replaced by.
type Problem struct {
	Line   int    // in the file, from 1; 0 = none, the whole of it
	Column int    // from 1; 0 = none
	Path   string // clients[0].redirect_uris[1]; "" = the whole file
	Text   string // what is wrong and what would be right
}

// String is "line 12: http.listen: …".
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Warning is something that works and that an operator should know about.
type Warning = Problem

// Error is every problem of a configuration, in the order of lines. The command line ends with status 2 for it.
type Error struct {
	File     string // "" = no file
	Problems []Problem
}

// Error has one line for each problem, after one that says how many there are.
func (e *Error) Error() string {
	name := e.File
	if name == "" {
		name = "the configuration"
	}
	var b strings.Builder
	if len(e.Problems) == 1 {
		fmt.Fprintf(&b, "%s has a problem:", name)
	} else {
		fmt.Fprintf(&b, "%s has %d problems:", name, len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// File is the path the configuration was read from; "" = none.
func (c *Config) File() string { return c.file }

// Load reads and checks the file; without one (path "") it checks Default. env looks up variables, as os.LookupEnv does. What is
// wrong is one *Error with every problem.
func Load(path string, env func(string) (string, bool)) (*Config, []Warning, error) {
	if path == "" {
		r := newReader(Default(), env)
		r.check()
		return r.result()
	}
	text, err := readFile(path, maxFile)
	if err != nil {
		return nil, nil, &Error{path, []Problem{{Text: "cannot be read: " + err.Error()}}}
	}
	return read(path, text, env)
}

// read is Load for a text that was read from path.
func read(path string, text []byte, env func(string) (string, bool)) (*Config, []Warning, error) {
	r := newReader(defaults(), env)
	r.cfg.file = path
	root, bad := parse(text)
	switch {
	case bad != nil:
		return nil, nil, &Error{path, []Problem{*bad}}
	case root == nil:
		// Whoever empties a file hardly means "development settings" (R89).
		return nil, nil, &Error{path, []Problem{{Text: "is empty; start from config.example.yaml"}}}
	}
	r.decode(root, reflect.ValueOf(r.cfg).Elem(), "", place{1, 1})
	if _, given := r.places["issuer"]; !given && r.cfg.Environment == Development {
		r.cfg.Issuer = developmentIssuer
	}
	r.check()
	if r.inline {
		r.warnReadable("", path, "this file, which holds secrets,")
	}
	return r.result()
}

func (r *reader) result() (*Config, []Warning, error) {
	order := func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Text, b.Text))
	}
	slices.SortStableFunc(r.warnings, order)
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, order)
		return nil, r.warnings, &Error{r.cfg.file, r.problems}
	}
	return r.cfg, r.warnings, nil
}

// readFile reads at most limit bytes and one; its error says why not, without the path.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close() // read only
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, plain(err)
	}
	return text, nil
}

// plain is a file error in plain words.
func plain(err error) error {
	var p *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("no permission to read it")
	case errors.As(err, &p):
		return p.Err
	}
	return err
}

const maxSecretFile = 64 << 10

// secretFile reads the file that a *_file key names, without the line breaks at its end. ok is false after a problem.
func (r *reader) secretFile(path, name string) (text string, ok bool) {
	b, err := readFile(name, maxSecretFile)
	if err != nil {
		r.problem(path, "%s cannot be read: %v", r.show(path, name), err)
		return "", false
	}
	r.warnReadable(path, name, r.show(path, name))
	text = strings.TrimRight(string(b), "\r\n")
	switch {
	case len(b) > maxSecretFile:
		r.problem(path, "%s is larger than %d KiB", r.show(path, name), maxSecretFile>>10)
	case strings.TrimSpace(text) == "":
		r.problem(path, "%s is empty", r.show(path, name))
	default:
		return text, true
	}
	return "", false
}

// warnReadable warns of a file with secrets that everybody on the machine can read.
func (r *reader) warnReadable(path, name, what string) {
	if fi, err := os.Stat(name); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o004 != 0 {
		r.warn(path, "%s can be read by everybody on this machine (mode %04o); chmod 600, or 640 with a group of its own", what, fi.Mode().Perm())
	}
}
