package testidp

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

// prepared is a migrated SQLite database with signing keys: making RSA keys under the race detector is the slowest thing tests do.
type prepared struct {
	file []byte
	made time.Time
	err  error
}

// template makes it once, when it is first asked for, on a goroutine of its own: one inside a synctest bubble would make keys that
// are valid in the bubble's time, which is the year 2000.
var template = func() func() prepared {
	ask, answer := make(chan struct{}, 1), make(chan prepared)
	go func() {
		<-ask
		for p := prepare(); ; {
			answer <- p
		}
	}()
	return func() prepared {
		select {
		case ask <- struct{}{}:
		default: // somebody else asked
		}
		return <-answer
	}
}()

func prepare() (p prepared) {
	p.made = time.Now()
	dir, err := os.MkdirTemp("", "testidp-")
	if err != nil {
		return prepared{err: err}
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "template.db")
	srv, err := server.New(baseConfig("sqlite:"+path), server.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return prepared{err: err}
	}
	if err := srv.Close(); err != nil {
		return prepared{err: err}
	}
	if fi, err := os.Stat(path + "-wal"); err == nil && fi.Size() > 0 {
		return prepared{err: errors.New("testidp: the closed database left a write-ahead log")}
	}
	p.file, p.err = os.ReadFile(path)
	return p
}

// freshDatabase returns the URL of a database with signing keys.
func freshDatabase(t testing.TB, engine string) string {
	t.Helper()
	p := template()
	if p.err != nil {
		t.Fatal(p.err)
	}
	path := filepath.Join(t.TempDir(), "latchkey.db")
	if err := os.WriteFile(path, p.file, 0o600); err != nil {
		t.Fatal(err)
	}
	switch engine {
	case "", "sqlite":
		return "sqlite:" + path
	case "postgres":
	default:
		t.Fatalf("unknown engine %q", engine)
	}
	to := storetest.Migrated(t, "postgres")
	copyKeys(t, "sqlite:"+path, to)
	return to
}

// copyKeys migrates the database to and gives it the signing keys of from.
func copyKeys(t testing.TB, from, to string) {
	t.Helper()
	ctx := context.Background()
	open := func(url string) *store.Store {
		s, err := store.Open(ctx, store.Config{URL: url, Logger: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	src, dst := open(from), open(to)
	defer src.Close()
	defer dst.Close()
	if err := dst.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	keys, err := src.SigningKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for n := range keys {
		if _, err := dst.CreateKey(ctx, &keys[n]); err != nil {
			t.Fatal(err)
		}
	}
}
