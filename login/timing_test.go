package login_test

import (
	"flag"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/login"
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
