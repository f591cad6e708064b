package store_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/store/storetest"
)

func id() string { return strings.ToLower(rand.Text()) }

// person makes an active user who holds two privileges.
func person(t testing.TB, s *store.Store) *store.User {
	t.Helper()
	name := id()
	u := &store.User{Username: name, Email: name + "@example.org", GivenName: "Ada", FamilyName: "Lovelace", Locale: "en"}
	if err := s.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"user", "trainer"} {
		if err := s.Assign(t.Context(), "cli", &store.Assignment{UserID: u.ID, Privilege: p}); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func newGrant(s *store.Store, userID string) *store.Grant {
	now := s.Now()
	return &store.Grant{ID: id(), ClientID: "client", UserID: userID, SID: "session", Connector: "password", Scope: store.Strings{"openid", "profile", "offline_access"},
		Audience: store.Strings{"client"}, Facts: `{"nonce":"n-0S6_WzA2Mj","auth_time":1700000000,"amr":["pwd"]}`, Offline: true, RTGen: 1,
		RTExpiresAt: store.At(now.Add(time.Hour)), CreatedAt: store.At(now), ExpiresAt: store.At(now.Add(2 * time.Hour))}
}

func eachEngine(b *testing.B, f func(b *testing.B, s *store.Store)) {
	for _, engine := range storetest.Engines() {
		b.Run(engine, func(b *testing.B) { f(b, storetest.Open(b, engine)) })
	}
}

// parallel runs f from n goroutines and reports operations per second.
func parallel(b *testing.B, n int, f func(ctx context.Context) error) {
	ctx := b.Context()
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, n)
	b.ReportAllocs()
	b.ResetTimer()
	for range n {
		go func() {
			for left.Add(-1) >= 0 {
				if err := f(ctx); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range n {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

func BenchmarkCreateGrant(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *store.Store) {
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprint(n), func(b *testing.B) {
				before := s.Counts()
				parallel(b, n, func(ctx context.Context) error {
					_, err := s.CreateGrant(ctx, newGrant(s, "user"))
					return err
				})
				if c := s.Counts().Commits - before.Commits; c > 0 {
					b.ReportMetric(float64(b.N)/float64(c), "writes/commit")
				}
			})
		}
	})
}

func BenchmarkRotateGrant(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *store.Store) {
		var list []*store.Grant
		for range 64 {
			g := newGrant(s, "user")
			if _, err := s.CreateGrant(b.Context(), g); err != nil {
				b.Fatal(err)
			}
			list = append(list, g)
		}
		idle := make(chan *store.Grant, len(list))
		for _, g := range list {
			idle <- g
		}
		parallel(b, 64, func(ctx context.Context) error {
			g := <-idle
			defer func() { idle <- g }()
			ok, err := s.RotateGrant(ctx, g.ID, g.RTGen, s.Now(), g.RTExpiresAt.Time)
			g.RTGen++
			if err == nil && !ok {
				return fmt.Errorf("grant not rotated")
			}
			return err
		})
	})
}

// BenchmarkRead measures the live reads, one caller after the other and from 16 goroutines.
func BenchmarkRead(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *store.Store) {
		u := person(b, s)
		g := newGrant(s, u.ID)
		if _, err := s.CreateGrant(b.Context(), g); err != nil {
			b.Fatal(err)
		}
		n := &store.Session{SecretHash: "hash", UserID: u.ID, Connector: "password", AMR: store.Strings{"pwd"}, ACR: "1", IdleMS: 3600_000,
			ExpiresAt: store.At(s.Now().Add(time.Hour)), IP: "192.0.2.1", UserAgent: "Mozilla/5.0"}
		if err := s.CreateSession(b.Context(), n); err != nil {
			b.Fatal(err)
		}
		for _, r := range []struct {
			name string
			f    func(ctx context.Context) error
		}{
			{"Grant", func(ctx context.Context) error { _, err := s.Grant(ctx, g.ID); return err }},
			{"Live", func(ctx context.Context) error { _, err := s.Live(ctx, u.ID); return err }},
			{"LiveGrant", func(ctx context.Context) error { _, _, err := s.LiveGrant(ctx, g.ID); return err }},
			{"LiveSession", func(ctx context.Context) error { _, _, err := s.LiveSession(ctx, n.ID); return err }},
			{"Marked", func(ctx context.Context) error { _, err := s.Marked(ctx, "no"); return err }},
			{"CachedClient", func(ctx context.Context) error {
				if _, err := s.CachedClient(ctx, "none"); err == nil {
					return fmt.Errorf("found")
				}
				return nil
			}},
		} {
			for _, n := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/%d", r.name, n), func(b *testing.B) { parallel(b, n, r.f) })
			}
		}
	})
}

func BenchmarkMigrate(b *testing.B) {
	for b.Loop() {
		s, err := store.Open(b.Context(), store.Config{URL: storetest.URL(b, store.SQLite)})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Migrate(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
