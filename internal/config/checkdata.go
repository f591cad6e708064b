package config

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func (r *reader) checkDatabase() {
	const path = "database.url"
	d := &r.cfg.Database
	if d.URLFile != "" {
		if _, both := r.places[path]; both {
			r.problem("database.url_file", "is given beside database.url; want one of them")
			return
		}
		text, ok := r.secretFile("database.url_file", d.URLFile)
		if !ok {
			return
		}
		d.URL = NewDSN(text)
	}
	r.number("database.readers", d.Readers, 0, 256)
	text := d.URL.Reveal()
	at := path
	if d.URLFile != "" {
		at = "database.url_file"
	}
	if file, ok := strings.CutPrefix(text, "sqlite:"); ok {
		switch {
		case strings.ContainsAny(file, "?#\x00"):
			r.problem(at, "options after the path are not read: Latchkey sets its own") // journal mode and synchronous must not be loosened
		case file == "" || strings.Contains(file, ":memory:"):
			r.problem(at, "names no file; want sqlite:PATH")
		case strings.HasPrefix(file, "//"): // it would be a path from the root, where sqlite://latchkey.db hardly points on purpose
			r.problem(at, "has slashes that are part of the path here; want sqlite:PATH, such as sqlite:/var/lib/latchkey/latchkey.db")
		case r.production() && !filepath.IsAbs(file):
			r.warn(at, "the database's path is relative, so which file it is depends on where the server is started")
		}
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "" {
		r.problem(at, "is not sqlite:PATH or postgres://user:password@host/name") // never shown: it may hold a password
		return
	}
	if len(u.Path) < 2 {
		r.problem(at, "names no database; want postgres://user:password@host/name")
	}
	if u.Host != "" && !loopback(u.Hostname()) && u.Query().Get("sslmode") == "disable" && r.production() {
		r.warn(at, "sends everything to %s without TLS (sslmode=disable)", u.Hostname())
	}
}

const makeKey = "make one with: openssl rand -base64 32"

func (r *reader) checkSecrets() {
	s := &r.cfg.Secrets
	if s.MasterKeysFile != "" {
		if len(s.MasterKeys) > 0 {
			r.problem("secrets.master_keys_file", "is given beside secrets.master_keys; want one of them")
			return
		}
		text, ok := r.secretFile("secrets.master_keys_file", s.MasterKeysFile)
		if !ok {
			return
		}
		for line := range strings.FieldsSeq(text) {
			s.MasterKeys = append(s.MasterKeys, NewSecret(line))
		}
	}
	seen := map[string]int{}
	for i, k := range s.MasterKeys {
		path, which := item("secrets.master_keys", i), ""
		if s.MasterKeysFile != "" {
			path, which = "secrets.master_keys_file", "key "+ordinal(i)+": "
		}
		raw, ok := decodeKey(k.Reveal())
		first, twice := seen[string(raw)]
		switch {
		case !ok:
			r.problem(path, "%sis not 32 bytes in base64 or hex; %s", which, makeKey)
		case weak(raw):
			r.problem(path, "%sis not random; %s", which, makeKey)
		case twice:
			r.problem(path, "%sis the same as key %s", which, ordinal(first))
		default:
			seen[string(raw)] = i
		}
	}
	if len(s.MasterKeys) == 0 && !r.spoilt["secrets.master_keys"] {
		switch {
		case r.production():
			r.problem("secrets.master_keys", "is missing; %s", makeKey)
		case strings.HasPrefix(r.cfg.Database.URL.Reveal(), "postgres"):
			r.problem("secrets.master_keys", "is missing, and there is no SQLite file to keep a generated one beside; %s", makeKey)
		}
	}
}

func ordinal(i int) string { return string([]byte{'#', byte('1' + min(i, 8))}) }

// decodeKey reads 32 bytes in hex or any base64.
func decodeKey(s string) ([]byte, bool) {
	s = strings.TrimSpace(s)
	if raw, err := hex.DecodeString(s); err == nil && len(raw) == 32 {
		return raw, true
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	raw, err := base64.RawStdEncoding.DecodeString(s)
	return raw, err == nil && len(raw) == 32
}

// weak says whether a key was typed or counted rather than drawn: 32 random bytes have fewer than 16 different ones, or nothing but
// printable characters, less than once in 10^13 times.
func weak(raw []byte) bool {
	different := map[byte]bool{}
	text := true
	for _, b := range raw {
		different[b] = true
		text = text && b >= ' ' && b <= '~'
	}
	counted := true
	for i := 2; i < len(raw); i++ {
		counted = counted && raw[i]-raw[i-1] == raw[1]-raw[0]
	}
	return len(different) < 16 || text || counted
}

// MasterKeys returns the master keys as 32 bytes each, newest first. None means that the server generates one beside the SQLite
// database (development only; Load refuses anything else).
func (c *Config) MasterKeys() [][]byte {
	var out [][]byte
	for _, k := range c.Secrets.MasterKeys {
		raw, _ := decodeKey(k.Reveal()) // Load let only good ones through
		out = append(out, raw)
	}
	return out
}

// owaspFloor is the least memory in KiB for a number of passes (OWASP Password Storage Cheat Sheet): with fewer passes, more.
var owaspFloor = []struct{ time, memory int }{{1, 47104}, {2, 19456}, {3, 12288}, {4, 9216}, {5, 7168}}

func (r *reader) checkPassword() {
	const path = "login.password."
	p := r.cfg.Login.Password
	r.number(path+"time", p.Time, 1, 20)
	r.number(path+"threads", p.Threads, 1, 16)
	r.number(path+"min_length", p.MinLength, 8, 64) // SP 800-63B-4 §3.1.1.2
	least := owaspFloor[max(1, min(p.Time, len(owaspFloor)))-1]
	if p.MemoryKiB < least.memory || p.MemoryKiB > 1<<20 {
		r.problem(path+"memory_kib", "is %d; with time %d it can be %d (OWASP's floor) to %d", p.MemoryKiB, p.Time, least.memory, 1<<20)
	}
	for key, n := range map[string]int{"lowercase": p.Lowercase, "uppercase": p.Uppercase, "digits": p.Digits, "punctuation": p.Punctuation} {
		r.number(path+key, n, 0, 8)
	}
	if p.BreachURL != "" {
		u, err := url.Parse(p.BreachURL)
		local := err == nil && u.Scheme == "http" && loopback(u.Hostname())
		if err != nil || u.Host == "" || u.Scheme != "https" && !local || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !strings.HasSuffix(u.Path, "/") {
			r.problem(path+"breach_url", "%s is not an https address that ends in a slash, such as https://api.pwnedpasswords.com/range/", r.show(path+"breach_url", p.BreachURL))
		}
	}
	if r.production() && p.MinLength >= 8 && p.MinLength < 15 {
		r.warn(path+"min_length", "is %d; 15 is recommended where a password is all that is asked for (NIST SP 800-63B-4)", p.MinLength)
	}
}

// checkRegistration judges who may come in, and whether anybody can.
func (r *reader) checkRegistration() {
	l := &r.cfg.Login
	r.choice("login.registration", l.Registration, "open", "approval", "invite", "closed")
	r.checkDomains("login.domains", l.Domains)
	if l.EmailCode.Enabled && !r.cfg.Mail.On() {
		r.problem("login.email_code.enabled", "is true, and there is no mail to send codes with; see the block mail")
	}
	if (l.Registration == "open" || l.Registration == "approval") && !r.cfg.Mail.On() {
		r.problem("login.registration", "is %s, and there is no mail for people to prove their address with; see the block mail", l.Registration)
	}
	if !l.Password.Enabled && !l.EmailCode.Enabled && !l.Phone.Enabled && !slices.ContainsFunc(r.cfg.Connectors, func(c Connector) bool { return c.Enabled }) {
		r.problem("login.password.enabled", "is false, and there is no other way to sign in")
	}
}

func (r *reader) checkLifetimes() {
	const (
		day  = 24 * time.Hour
		year = 365 * day
	)
	// In development anything goes below, so that one can watch things expire.
	least := func(d time.Duration) time.Duration {
		if r.production() {
			return d
		}
		return time.Millisecond
	}
	k := r.cfg.Keys
	r.duration("keys.period", k.Period, least(day), 10*year)
	r.duration("keys.publish_ahead", k.PublishAhead, least(time.Hour), 10*year)
	if k.PublishAhead > k.Period/2 {
		r.problem("keys.publish_ahead", "is %s; it can be at most half of keys.period, %s", formatDuration(k.PublishAhead), formatDuration(k.Period/2))
	}

	// What idle allows, absolute must too; and to be remembered cannot be the shorter.
	s := r.cfg.Sessions
	r.duration("sessions.idle", s.Idle, least(time.Minute), 400*day)
	r.duration("sessions.absolute", s.Absolute, least(time.Minute), 400*day)
	r.duration("sessions.remember_idle", s.RememberIdle, least(time.Minute), 400*day)
	r.duration("sessions.remember_absolute", s.RememberAbsolute, least(time.Minute), 400*day) // browsers keep no cookie longer
	r.atMost("sessions.idle", s.Idle, "sessions.absolute", s.Absolute)
	r.atMost("sessions.remember_idle", s.RememberIdle, "sessions.remember_absolute", s.RememberAbsolute)
	r.atMost("sessions.idle", s.Idle, "sessions.remember_idle", s.RememberIdle)
	r.atMost("sessions.absolute", s.Absolute, "sessions.remember_absolute", s.RememberAbsolute)

	t := r.cfg.Tokens
	r.duration("tokens.code_ttl", t.CodeTTL, least(10*time.Second), time.Minute) // FAPI 2.0 §5.3.2.1: at most 60 s
	r.duration("tokens.access_ttl", t.AccessTTL, least(time.Minute), 10*time.Minute)
	r.duration("tokens.id_ttl", t.IDTTL, least(time.Minute), time.Hour)
	r.duration("tokens.refresh_idle", t.RefreshIdle, least(time.Hour), 10*year)
	r.duration("tokens.refresh_absolute", t.RefreshAbsolute, least(time.Hour), 10*year)
	r.duration("tokens.refresh_grace", t.RefreshGrace, 0, 5*time.Minute)
	r.atMost("tokens.refresh_idle", t.RefreshIdle, "tokens.refresh_absolute", t.RefreshAbsolute)

	r.duration("audit.event_retention", r.cfg.Audit.EventRetention, least(day), 20*year)
}

// atMost demands that a does not exceed b. The problem goes to the key that is in the file.
func (r *reader) atMost(a string, x time.Duration, b string, y time.Duration) {
	if x <= y || r.spoilt[a] || r.spoilt[b] {
		return
	}
	if _, given := r.places[a]; given {
		r.problem(a, "is %s, more than %s, which is %s", formatDuration(x), b, formatDuration(y))
		return
	}
	r.problem(b, "is %s, less than %s, which is %s", formatDuration(y), a, formatDuration(x))
}

func (r *reader) checkLimits() {
	l := r.cfg.Limits
	if l.MaxBody < 4<<10 || l.MaxBody > 1<<20 {
		r.problem("limits.max_body", "is %s; it can be 4KiB to 1MiB", l.MaxBody)
	}
	r.number("limits.max_connections", l.MaxConnections, 100, 1_000_000)
	r.number("limits.login.delay_after", l.Login.DelayAfter, 1, 100)
	r.number("limits.login.lock_after", l.Login.LockAfter, 1, 100) // SP 800-63B-4 §3.2.2: no more than 100 in a row
	if l.Login.LockAfter <= l.Login.DelayAfter && !slices.ContainsFunc([]string{"delay_after", "lock_after"}, func(k string) bool { return r.spoilt["limits.login."+k] }) {
		r.problem("limits.login.lock_after", "is %d; it must be more than limits.login.delay_after, %d", l.Login.LockAfter, l.Login.DelayAfter)
	}
	r.duration("limits.login.lock_for", l.Login.LockFor, time.Minute, 24*time.Hour)
}
