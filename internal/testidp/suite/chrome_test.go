package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chrome is one incognito window of a real Chromium. What the browser complains about (a blocked resource or form, a script that
// throws) fails the test.
type chrome struct {
	t       *testing.T
	ctx     context.Context
	scripts bool

	mu         sync.Mutex
	complaints []string
}

// browser is the one Chromium of this test process; windows of tests are apart from one another.
var browser = sync.OnceValues(func() (context.Context, error) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		return nil, fmt.Errorf("no Chromium on PATH; .ci/prepare installs what the tests need")
	}
	ctx, _ := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // tests run as root in CI, and open pages of ours only
		chromedp.DisableGPU,
		chromedp.Flag("lang", "en-US"),
	)...)
	ctx, _ = chromedp.NewContext(ctx)
	return ctx, chromedp.Do(ctx) // starts it
})

func TestMain(m *testing.M) {
	code := m.Run()
	if ctx, err := browser(); err == nil {
		_ = chromedp.Cancel(ctx) // waits for its end; if that fails the process is about to end anyway
	}
	os.Exit(code)
}

// newChrome opens a window. With scripts false the pages run none.
func newChrome(t *testing.T, scripts bool) *chrome {
	t.Helper()
	parent, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, cancelTime := context.WithTimeout(ctx, 8*time.Minute)
	t.Cleanup(cancelTime)
	c := &chrome{t: t, ctx: ctx, scripts: scripts}
	// Not by do: the window would end with the time of its first step.
	if err := chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		if _, err := cdp.Call(ctx, tab, audits.Enable, cdp.Empty{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
		return err
	})); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, c.hear); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *chrome) hear(ev any) {
	said := ""
	switch e := ev.(type) {
	case *log.EventEntryAdded:
		// A page that answers 4xx is logged as an error too; tests look at those themselves.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork || e.Entry.Source == log.EntrySourceSecurity {
			said = e.Entry.Text
		}
	case *audits.EventIssueAdded:
		if d := e.Issue.Details; d != nil && d.ContentSecurityPolicyIssueDetails != nil {
			b, _ := json.Marshal(d.ContentSecurityPolicyIssueDetails) // a struct of strings and numbers
			said = "policy: " + string(b)
		}
	case *runtime.EventExceptionThrown:
		said = "script: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			said += " " + e.ExceptionDetails.Exception.Description
		}
	}
	if said != "" {
		c.mu.Lock()
		c.complaints = append(c.complaints, said)
		c.mu.Unlock()
	}
}

// calm fails the test if the browser complained since the last time.
func (c *chrome) calm(where string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.complaints {
		c.t.Errorf("%s: the browser says: %s", where, s)
	}
	c.complaints = nil
}

func (c *chrome) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute) // an element that never comes is no reason to wait for the end of the test
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		c.t.Fatalf("%v\n%s", err, c.describe())
	}
}

// describe says where the window is, for messages.
func (c *chrome) describe() string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 5*time.Second)
	defer cancel()
	where, _ := chromedp.Run(ctx, chromedp.Location())                // "" says enough when the window is gone
	text, _ := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body"))) // likewise
	return fmt.Sprintf("at %s:\n%.1500s\n%s", where, text, strings.Join(c.complaints, "\n"))
}

// open goes to an address and waits for an element.
func (c *chrome) open(address, id string) {
	c.t.Helper()
	c.do(chromedp.Navigate(address))
	c.want(id)
}

// want waits until the element with this id is to be seen.
func (c *chrome) want(id string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.ID(id))); err != nil {
		c.t.Fatalf("waiting for #%s: %v\n%s", id, err, c.describe())
	}
}

// click presses something that leads to another page, and waits for the element with the id next on it.
func (c *chrome) click(id, next string) {
	c.t.Helper()
	c.do(chromedp.Click(chromedp.ID(id)))
	c.want(next)
	c.calm("after #" + id)
}

// fill types into a field as a person would.
func (c *chrome) fill(id, value string) {
	c.t.Helper()
	c.do(chromedp.Clear(chromedp.ID(id)))
	c.keys(id, value)
}

// keys types at the end of a field. Not chromedp.SendKeys: it reads attributes of the element that the driver may write at the same time.
func (c *chrome) keys(id, value string) {
	c.t.Helper()
	c.do(chromedp.Focus(chromedp.ID(id)), chromedp.KeyEvent(value))
}

// text is what is to be read in the element.
func (c *chrome) text(id string) string {
	c.t.Helper()
	s, err := chromedp.Run(c.ctx, chromedp.Text(chromedp.ID(id)))
	if err != nil {
		c.t.Fatalf("%v\n%s", err, c.describe())
	}
	return strings.TrimSpace(s)
}

// axe is the source of axe-core, which .ci/prepare puts into an ignored folder.
var axe = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(root, ".cache", "npm", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		return "", fmt.Errorf("axe-core is missing; .ci/prepare fetches it: %w", err)
	}
	return string(b), nil
})

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above %s", dir)
		}
		dir = up
	}
}

// violation is what axe found.
type violation struct {
	ID, Help string
	Nodes    []struct {
		HTML           string
		FailureSummary string
	}
}

// look holds the page before it against what every page promises, in light and dark, on a telephone and on a desk: no axe violation
// of WCAG 2.2 AA, nothing to scroll sideways (not even at 320 px, WCAG 1.4.10), no complaint of the browser. With
// LATCHKEY_SCREENSHOTS=DIR it leaves pictures there.
func (c *chrome) look(name string) {
	c.t.Helper()
	c.calm(name)
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 375, 1280} {
			at := fmt.Sprintf("%s, %s, %d px", name, theme, width)
			c.screen(theme, width)
			wide, err := chromedp.Run(c.ctx, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`))
			if err != nil {
				c.t.Fatalf("%s: %v", at, err)
			}
			if wide > width {
				c.t.Errorf("%s: the page is %d px wide", at, wide)
			}
			if width == 320 {
				continue
			}
			c.picture(fmt.Sprintf("%s-%s-%d.png", name, theme, width))
			for _, v := range c.violations() {
				for _, n := range v.Nodes {
					c.t.Errorf("%s: %s (%s)\n\t%s\n\t%s", at, v.Help, v.ID, n.HTML, n.FailureSummary)
				}
			}
		}
	}
	c.calm(name)
}

// screen sets colour scheme and width.
func (c *chrome) screen(theme string, width int64) {
	c.t.Helper()
	c.do(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	}))
}

// violations runs axe on the page as it stands.
func (c *chrome) violations() []violation {
	c.t.Helper()
	source, err := axe()
	if err != nil {
		c.t.Fatal(err)
	}
	found, err := chromedp.Run(c.ctx, chromedp.Evaluate[[]violation](
		`if (!window.axe) { `+source+` }
		axe.run(document, {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]}).then(r =>
			r.violations.map(v => ({ID: v.id, Help: v.help, Nodes: v.nodes.map(n => ({HTML: n.html, FailureSummary: n.failureSummary}))})))`,
		chromedp.EvalAwaitPromise))
	if err != nil {
		c.t.Fatalf("axe: %v", err)
	}
	return found
}

func (c *chrome) picture(file string) {
	dir := os.Getenv("LATCHKEY_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(c.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), png, 0o644)
	}
	if err != nil {
		c.t.Errorf("picture %s: %v", file, err)
	}
}

// The checks of look find what they are for.
func TestChromeSeesFaults(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'")
		fmt.Fprint(w, `<!doctype html><title>x</title><h1 id="x">x</h1><img src="data:,"><script>1</script><form><input id="in"></form>`)
	}))
	defer srv.Close()
	c := newChrome(t, true)
	c.open(srv.URL, "x")
	got := map[string]bool{}
	for _, v := range c.violations() {
		got[v.ID] = true
	}
	for _, id := range []string{"html-has-lang", "image-alt", "label"} {
		if !got[id] {
			t.Errorf("axe does not find %s: %v", id, got)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.complaints) == 0 {
		t.Error("a script that the policy blocks goes unnoticed")
	}
	c.complaints = nil
}

func clickID(id string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.ID(id)) }

// leave signs out of the application by its button, goes through the provider's page, which may ask first, and waits for the
// application's element with the id.
func (c *chrome) leave(id string) {
	c.t.Helper()
	c.do(clickID("sign-out"))
	if c.either("logout-confirm", id) == "logout-confirm" {
		if c.scripts {
			c.look("logout")
		}
		c.do(clickID("logout-confirm"))
	}
	c.want(id)
	c.calm("sign-out")
}

// either waits for one of the elements and says which is there.
func (c *chrome) either(ids ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		for _, id := range ids {
			// While a page is being replaced the browser answers with errors; the next round sees what came.
			if n, err := chromedp.Run(ctx, chromedp.Nodes(chromedp.ID(id), chromedp.AtLeast(0))); err == nil && len(n) > 0 {
				return id
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("none of %q came\n%s", ids, c.describe())
	return ""
}
