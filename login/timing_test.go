package login_test

import (
	"flag"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/login/throttle"
	"github.com/latchkey-idp/latchkey/store"
)

var samples = flag.Int("samples", 60, "answers of each kind that TestSec_F8_Timing compares; 2000 say something")

// TestSec_F8_Timing prints how well the time of an answer tells whether an address is somebody's, as Welch's t: beyond 4.5 it would. It judges nothing,
// because on a machine with other work a single run says nothing:
//
//	go test ./login -run TestSec_F8_Timing -v -args -samples 2000
func TestSec_F8_Timing(t *testing.T) {
	s := newSite(t)
	s.with(func(c *login.Config) { c.EmailCode, c.Registration = true, login.RegistrationOpen })
	s.user("known@example.com", s.proven)
	b := s.browser("192.0.2.1")
	for _, try := range []struct {
		path, form, field string
		more              map[string]string
		share             int // of the samples: a hash takes long
	}{
		{"/login/forgot", "forgot-form", "forgot-identifier", nil, 1},
		{"/login/code", "email-code-form", "email-code-email", nil, 1},
		{"/register", "register-form", "register-email", map[string]string{"register-password": otherPassword}, 10},
	} {
		var known, unknown []float64
		ask := func(email string) float64 {
			s.sleep(25 * time.Hour) // no limit of the hour or the day is in the way
			f := b.get(try.path).form(try.form).set(try.field, email)
			for id, v := range try.more {
				f.set(id, v)
			}
			begin := time.Now()
			p := b.send("POST", f.action, f.values, nil)
			took := time.Since(begin).Seconds()
			if p.status != 200 {
				t.Fatalf("%s: %d %s", try.path, p.status, p.text())
			}
			return took
		}
		ask("known@example.com") // caches
		for i := range *samples / try.share {
			known = append(known, ask("known@example.com"))
			unknown = append(unknown, ask(fmt.Sprintf("never%05d@example.com", i)))
		}
		k, u := mean(known), mean(unknown)
		t.Logf("%s: t = %.2f over %d answers of each kind; known %.3f ms, unknown %.3f ms", try.path, welch(known, unknown), len(known), k*1000, u*1000)
	}
}

// TestSec_F8_PhoneTiming is the same for telephone numbers: of somebody, of nobody, and of an account that is shut.
//
//	go test ./login -run TestSec_F8_PhoneTiming -v -args -samples 2000
func TestSec_F8_PhoneTiming(t *testing.T) {
	s := newSite(t)
	s.with(func(c *login.Config) {
		c.Phone = &login.Phone{Country: "DE", Countries: []string{"DE"}, Digits: 6, Life: 3 * time.Minute, ProveAgain: 100 * 365 * 24 * time.Hour, Key: random(32),
			Limits: throttle.Texts{Gap: time.Second, NumberHour: 9, NumberDay: 9, PrefixDay: 99, AddressHour: 99, ClientHour: 99, CountryDay: 99, Unanswered: 99,
				PerDay: 1000, Alarm: 1000, Newcomers: 500, Price: func(string) int64 { return 1 }}}
	})
	const known, shut = "+4915123456789", "+4915123456780"
	s.user("known@example.com", func(u *store.User) { u.Phone, u.PhoneVerifiedAt = known, store.At(s.now()) })
	gone := s.user("shut@example.com", func(u *store.User) { u.Phone, u.PhoneVerifiedAt = shut, store.At(s.now()) })
	must(t, s.store.DisableUser(t.Context(), "cli", gone.ID, "gone"))
	b := s.browser("192.0.2.1")
	ask := func(number string) float64 {
		s.sleep(25 * time.Hour)
		f := b.get("/login/phone").form("phone-form").set("phone-number", number)
		begin := time.Now()
		p := b.send("POST", f.action, f.values, nil)
		took := time.Since(begin).Seconds()
		if p.status != 200 || p.byID("phone-code-form") == nil {
			t.Fatalf("%s: %d %s", number, p.status, p.text())
		}
		return took
	}
	ask(known) // caches
	times := map[string][]float64{}
	for i := range *samples {
		for kind, number := range map[string]string{"known": known, "shut": shut, "unknown": fmt.Sprintf("+491512345%04d", i%6000)} {
			times[kind] = append(times[kind], ask(number))
		}
	}
	for _, kind := range []string{"unknown", "shut"} {
		t.Logf("known and %s: t = %.2f over %d answers of each kind; %.3f ms, %.3f ms", kind, welch(times["known"], times[kind]), *samples, mean(times["known"])*1000, mean(times[kind])*1000)
	}
}

func mean(v []float64) (m float64) {
	for _, a := range v {
		m += a / float64(len(v))
	}
	return m
}

// welch is the t of two samples of unequal variance.
func welch(x, y []float64) float64 {
	spread := func(v []float64) (s float64) {
		m := mean(v)
		for _, a := range v {
			s += (a - m) * (a - m) / float64(len(v)-1)
		}
		return s / float64(len(v))
	}
	return (mean(x) - mean(y)) / math.Sqrt(spread(x)+spread(y))
}
