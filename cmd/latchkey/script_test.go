package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/testidp"
	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite"
)

// TestMain lets the scripts run this test binary as latchkey: a process of its own, with its exit code and its terminal.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"latchkey": main})
}

// TestScript plays one story per file: what a person types, and what they must see.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: freePorts,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":       cmdStatus,
			"sql":          cmdSQL,
			"droptriggers": cmdDropTriggers,
			"waitready":    cmdWaitReady,
			"signal":       cmdSignal,
			"hold":         cmdHold,
		},
	})
}

// cmdStatus is "status CODE COMMAND ARG...": the command must end with that exit code.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// freePorts gives every script ports of its own: $PORT, $PORT2 and $MANAGEMENT.
func freePorts(env *testscript.Env) error {
	for _, name := range []string{"PORT", "PORT2", "MANAGEMENT"} {
		port, err := testidp.FreePort()
		if err != nil {
			return err
		}
		env.Setenv(name, strconv.Itoa(port))
	}
	return nil
}

// cmdHold begins a request at $PORT that is not finished before the script is: its body never comes.
func cmdHold(ts *testscript.TestScript, _ bool, _ []string) {
	c, err := net.Dial("tcp", "127.0.0.1:"+ts.Getenv("PORT"))
	ts.Check(err)
	ts.Defer(func() { _ = c.Close() })
	_, err = fmt.Fprintf(c, "POST /oauth2/token HTTP/1.1\r\nHost: localhost:%s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant", ts.Getenv("PORT"))
	ts.Check(err)
	time.Sleep(300 * time.Millisecond) // until the server has read the header, and waits for the rest
}

// cmdWaitReady waits until the server at $MANAGEMENT is ready; negated, until it says that it drains.
func cmdWaitReady(ts *testscript.TestScript, neg bool, _ []string) {
	want := http.StatusOK
	if neg {
		want = http.StatusServiceUnavailable
	}
	var last error
	for range 300 {
		resp, err := http.Get("http://127.0.0.1:" + ts.Getenv("MANAGEMENT") + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == want {
				return
			}
			err = errors.New(resp.Status)
		}
		last = err
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("not ready within 15 s: %v", last)
}

// cmdSignal is "signal TERM|HUP": to every background process.
func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig, ok := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(sig))
	}
	if sig == syscall.SIGHUP {
		time.Sleep(300 * time.Millisecond) // a SIGTERM right after it may be seen first
	}
}

// cmdSQL is "sql FILE STATEMENT": somebody who goes to the database behind our back.
func cmdSQL(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: sql FILE STATEMENT")
	}
	err := withDB(ts, args[0], func(db *sql.DB) error {
		_, err := db.Exec(args[1])
		return err
	})
	if neg && err == nil {
		ts.Fatalf("the statement went through")
	}
	if !neg {
		ts.Check(err)
	}
}

// cmdDropTriggers is "droptriggers FILE TABLE".
func cmdDropTriggers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: droptriggers FILE TABLE")
	}
	ts.Check(withDB(ts, args[0], func(db *sql.DB) error {
		rows, err := db.Query(`SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?`, args[1])
		if err != nil {
			return err
		}
		defer rows.Close()
		var names []string
		for rows.Next() {
			var n string
			if err := rows.Scan(&n); err != nil {
				return err
			}
			names = append(names, n)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if len(names) == 0 {
			return errors.New("the table has no trigger that protects it")
		}
		for _, n := range names {
			if _, err := db.Exec(`DROP TRIGGER "` + n + `"`); err != nil {
				return err
			}
		}
		return nil
	}))
}

func withDB(ts *testscript.TestScript, file string, do func(*sql.DB) error) error {
	path := ts.MkAbs(file)
	if _, err := os.Stat(path); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}
