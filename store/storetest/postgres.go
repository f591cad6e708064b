package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey-idp/latchkey/store"
)

// server is the PostgreSQL of this test process.
type server struct {
	start    sync.Once
	base     string // address of its database "postgres"
	err      error
	template sync.Once
	tmplName string
	tmplErr  error
	alive    io.Closer // closed by the end of the process at the latest: the watchdog's signal
}

// postgres is started by the first test that asks for it, and shared by all tests of the process.
var postgres server

// migrated returns a fresh copy of a migrated database: a copy takes a fraction of the migrations.
func (p *server) migrated(t testing.TB) string {
	t.Helper()
	p.template.Do(func() { p.tmplName, p.tmplErr = p.makeTemplate(t) })
	if p.tmplErr != nil {
		t.Fatal(p.tmplErr)
	}
	return p.create(t, p.tmplName)
}

func (p *server) makeTemplate(t testing.TB) (string, error) {
	base := p.address(t)
	name := "latchkey_template_" + strings.ToLower(rand.Text()[:12])
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := execOn(ctx, base, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	s, err := store.Open(ctx, store.Config{URL: withDatabase(base, name)})
	if err != nil {
		return "", err
	}
	return name, errors.Join(s.Migrate(ctx), s.Close())
}

// create makes a database, as a copy of template unless that is "", and drops it after the test.
func (p *server) create(t testing.TB, template string) string {
	t.Helper()
	base := p.address(t)
	name := "latchkey_test_" + strings.ToLower(rand.Text()[:16])
	sql := "CREATE DATABASE " + name
	if template != "" {
		sql += " TEMPLATE " + template
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := execOn(ctx, base, sql); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := execOn(ctx, base, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return withDatabase(base, name)
}

func (p *server) address(t testing.TB) string {
	t.Helper()
	p.start.Do(func() {
		if p.base = os.Getenv("LATCHKEY_TEST_POSTGRES"); p.base == "" {
			p.err = p.run()
		}
	})
	if p.err != nil {
		t.Fatalf("no PostgreSQL to test on: %v\nSet LATCHKEY_TEST_POSTGRES to the address of one, or install it (apt-get install postgresql).", p.err)
	}
	return p.base
}

func execOn(ctx context.Context, address, sql string) error {
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("storetest: %w", err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql); err != nil {
		return fmt.Errorf("storetest: %s: %w", sql, err)
	}
	return nil
}

func withDatabase(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address // the connection will say what is wrong with it
	}
	u.Path = "/" + name
	return u.String()
}

// watchdog waits for the end of its input, which is the end of the test process, then ends the server and removes its directory.
const watchdog = `cat >/dev/null
kill -QUIT "$1" 2>/dev/null
i=0
while kill -0 "$1" 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
rm -rf "$2"`

// run starts a server in a temporary directory that goes with it.
func (p *server) run() error {
	dir, err := os.MkdirTemp("", "latchkey-pg-")
	if err != nil {
		return err
	}
	var base string
	base, p.alive, _, err = serve(dir, watchdog, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "max_connections=400", "-c", "autovacuum=off")
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	p.base = base
	return nil
}

// serve starts a server whose data is in dir: no network, everybody trusted who can reach its socket. dog is the shell script that ends it with
// this process: it gets the server's process id and dir.
func serve(dir, dog string, settings ...string) (base string, alive io.Closer, stop func() error, err error) {
	bin, err := binaries()
	if err != nil {
		return "", nil, nil, err
	}
	as, err := unprivileged(dir)
	if err != nil {
		return "", nil, nil, err
	}
	data := filepath.Join(dir, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err != nil {
		initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync")
		initdb.SysProcAttr, initdb.Dir = as, dir
		if out, err := initdb.CombinedOutput(); err != nil {
			return "", nil, nil, fmt.Errorf("initdb: %w\n%s", err, out)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", nil, nil, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(bin, "postgres"), append([]string{"-D", data, "-k", dir, "-c", "listen_addresses="}, settings...)...)
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = as, dir, log, log
	if err := cmd.Start(); err != nil {
		return "", nil, nil, err
	}
	watch := exec.Command("sh", "-c", dog, "sh", strconv.Itoa(cmd.Process.Pid), dir)
	watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if alive, err = watch.StdinPipe(); err == nil {
		err = watch.Start()
	}
	if err != nil {
		return "", nil, nil, errors.Join(err, cmd.Process.Kill())
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	stop = func() error {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil { // a fast shutdown, with a checkpoint
			return err
		}
		return <-died
	}
	base = "postgres://postgres@/postgres?host=" + url.QueryEscape(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		if err = execOn(ctx, base, "SELECT 1"); err == nil {
			return base, alive, stop, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case err := <-died:
			text, rerr := os.ReadFile(log.Name())
			return "", nil, nil, errors.Join(fmt.Errorf("postgres ended: %w\n%s", err, text), rerr, alive.Close())
		case <-ctx.Done():
			return "", nil, nil, errors.Join(fmt.Errorf("postgres does not answer: %w", err), alive.Close())
		}
	}
}

// Kept starts a PostgreSQL whose data stays in dir, for fixtures that take minutes to make, and returns the address of its database
// "postgres". It ends with the test. With LATCHKEY_TEST_POSTGRES it is that server. PostgreSQL does not run as root: then somebody else must be able
// to reach dir.
func Kept(t testing.TB, dir string) (address string) {
	t.Helper()
	if base := os.Getenv("LATCHKEY_TEST_POSTGRES"); base != "" {
		return base
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Durable but for the last moment: what is kept is either whole or not there.
	base, alive, stop, err := serve(dir, `cat >/dev/null; kill -INT "$1" 2>/dev/null`, "-c", "synchronous_commit=off", "-c", "max_wal_size=8GB")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stop(), alive.Close()); err != nil {
			t.Error(err)
		}
	})
	return base
}

// binaries is the directory of initdb and postgres.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("initdb is neither on PATH nor under /usr/lib/postgresql")
	}
	version := func(path string) int {
		n, err := strconv.Atoi(strings.Split(path, "/")[4])
		if err != nil {
			return 0
		}
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// unprivileged is how the server's processes run: as somebody else when we are root, whom PostgreSQL refuses. dir becomes theirs.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(dir, int(uid), int(gid))
}
