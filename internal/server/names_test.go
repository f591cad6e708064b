package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// named is where code may write a privilege's name, and why: nowhere does it decide what somebody may do.
var named = map[string]string{
	"login/setup.go admin":             "the set-up link makes the first administrator: it gives the privilege and asks for none",
	"login/session/session.go user":    "user is a value of amr (RFC 8176): presence of the person, not a privilege",
	"internal/server/clients.go admin": "where a client comes from: an administrator's doing, as store.Client.Source has it",
}

// handlerFolders hold what answers requests. One that is not there yet is watched from its first file on.
var handlerFolders = []string{"login", "provider", "admin", "internal/server", "internal/web"}

// TestSec_R95_NoHandlerTestsARole: handlers ask for permissions (Powers.May, Powers.Administers), never for the name of a privilege, or an
// operator's own privileges would be worth less than the built-in ones and more than they were given.
func TestSec_R95_NoHandlerTestsARole(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, folder := range handlerFolders {
		root := filepath.Join("..", "..", filepath.FromSlash(folder))
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if os.IsNotExist(err) && path == root {
				return nil
			}
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(filepath.Join("..", ".."), path)
			if err != nil {
				return err
			}
			for _, f := range roleNames(t, rel, text) {
				key := filepath.ToSlash(rel) + " " + f.name
				if named[key] == "" {
					t.Errorf("%s:%d names the privilege %s; ask for a permission", rel, f.line, f.name)
				}
				used[key] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for key := range named {
		if !used[key] {
			t.Errorf("the exception %q is not needed any more", key)
		}
	}
}

// TestRoleNames: the test above sees what it is there for.
func TestRoleNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code string
		want []string
	}{
		{`if p == "admin" {}`, []string{"admin"}},
		{`if "developer" != p {}`, []string{"developer"}},
		{`switch p { case "x", "advocate": }`, []string{"advocate"}},
		{`_ = slices.Contains(list, "trainer")`, []string{"trainer"}},
		{`_ = slices.Contains([]string{"admin", "other"}, p)`, []string{"admin"}},
		{`_ = privilege.HasAny(list, privilege.Admin)`, []string{"admin"}},
		{`const role = "customer"`, []string{"customer"}},
		{`if p == "user" {}`, []string{"user"}},
		{`_ = holds(list, "user")`, []string{"user"}},
		{`_ = privilege.HasAll(list, "a", "user")`, []string{"user"}},
		{`_ = slices.ContainsFunc(l, func(s string) bool { return s == privilege.User })`, []string{"user"}},
		{"if p == `cron` {}", []string{"cron"}},
		{`log.Info("signed in", "user", id); errNotFound("user")`, nil}, // everyday words
		{`_ = m.Powers.May(list, privilege.ManageClients)`, nil},
		{`if p == "administrator" {}`, nil},
		{`_ = m.TypeNamed(privilege.TypeUser)`, []string{"user"}},
	} {
		var got []string
		for _, f := range roleNames(t, "x.go", []byte("package x\nfunc f() {\n"+c.code+"\n}\n")) {
			got = append(got, f.name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.code, got, c.want)
		}
	}
}

type roleName struct {
	name string
	line int
}

// roleNames finds the built-in privileges that a file names: as text, or by the engine's constants. "user" is an everyday word, so as text it
// counts only where something is compared with it or looked for.
func roleNames(t *testing.T, name string, text []byte) (found []roleName) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	builtIn := map[string]bool{}
	for _, p := range privilege.BuiltIns() {
		builtIn[p.Name] = true
	}
	constants := map[string]string{"Admin": privilege.Admin, "User": privilege.User, "Cron": privilege.Cron,
		"TypeAdmin": privilege.TypeAdmin, "TypeUser": privilege.TypeUser}
	asks := []string{"Contains", "BinarySearch", "Index", "HasAny", "HasAll", "Has", "has", "holds", "Closure", "Above", "EqualFold", "Equal"}
	add := func(n ast.Node, p string) { found = append(found, roleName{p, fset.Position(n.Pos()).Line}) }
	var above []ast.Node
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			above = above[:len(above)-1]
			return true
		}
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "privilege" && constants[n.Sel.Name] != "" {
				add(n, constants[n.Sel.Name])
			}
		case *ast.BasicLit:
			p, err := strconv.Unquote(n.Value)
			if n.Kind != token.STRING || err != nil || !builtIn[p] {
				break
			}
			if p != privilege.User || asked(above, asks) {
				add(n, p)
			}
		}
		above = append(above, n)
		return true
	})
	return found
}

// asked says whether what stands below these nodes is compared, a case of a switch, or an argument of a call that looks for it.
func asked(above []ast.Node, asks []string) bool {
	if len(above) == 0 {
		return false
	}
	switch n := above[len(above)-1].(type) {
	case *ast.BinaryExpr:
		return n.Op == token.EQL || n.Op == token.NEQ
	case *ast.CaseClause:
		return true
	case *ast.CompositeLit: // a list to look in
		return asked(above[:len(above)-1], asks)
	case *ast.CallExpr:
		switch f := n.Fun.(type) {
		case *ast.Ident:
			return slices.Contains(asks, f.Name)
		case *ast.SelectorExpr:
			return slices.Contains(asks, f.Sel.Name)
		}
	}
	return false
}
