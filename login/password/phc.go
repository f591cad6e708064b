package password

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// params of argon2id, and the pepper it was fed with.
type params struct {
	memory, time, threads uint32 // KiB, passes, lanes
	keyID                 string
}

// Upper bounds of what is verified: a hash from elsewhere must not be able to stop the server.
const (
	maxMemory  = 256 << 10 // KiB
	maxTime    = 20
	maxThreads = 16
)

// enough is OWASP's floor for argon2id: pairs of equal strength (Password Storage Cheat Sheet).
func (p params) enough() bool {
	for _, floor := range [][2]uint32{{47104, 1}, {19456, 2}, {12288, 3}, {9216, 4}, {7168, 5}} {
		if p.memory >= floor[0] && p.time >= floor[1] {
			return true
		}
	}
	return false
}

func (p params) bearable() bool {
	return p.memory <= maxMemory && p.time >= 1 && p.time <= maxTime && p.threads >= 1 && p.threads <= maxThreads && p.memory >= 8*p.threads
}

// phc is one hash.
type phc struct {
	params
	salt, key []byte
}

var errPHC = errors.New("password: a hash that cannot be read") // and never the hash itself

var b64 = base64.RawStdEncoding.Strict()

// String is the PHC string format: https://github.com/P-H-C/phc-string-format.
func (p phc) String() string {
	var b strings.Builder
	b.WriteString("$argon2id$v=19$m=" + utoa(p.memory) + ",t=" + utoa(p.time) + ",p=" + utoa(p.threads))
	if p.keyID != "" {
		b.WriteString(",keyid=" + p.keyID)
	}
	b.WriteString("$" + b64.EncodeToString(p.salt) + "$" + b64.EncodeToString(p.key))
	return b.String()
}

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// parsePHC reads what String writes, and nothing looser: one spelling per hash.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(s) > 512 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return phc{}, errPHC
	}
	var p phc
	fields := strings.Split(parts[3], ",")
	if len(fields) != 3 && len(fields) != 4 {
		return phc{}, errPHC
	}
	for i, f := range []struct {
		name  string
		value *uint32
	}{{"m=", &p.memory}, {"t=", &p.time}, {"p=", &p.threads}} {
		digits, ok := strings.CutPrefix(fields[i], f.name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || utoa(uint32(n)) != digits {
			return phc{}, errPHC
		}
		*f.value = uint32(n)
	}
	if len(fields) == 4 {
		id, ok := strings.CutPrefix(fields[3], "keyid=")
		if !ok || !isKeyID(id) {
			return phc{}, errPHC
		}
		p.keyID = id
	}
	var errSalt, errKey error
	p.salt, errSalt = b64.DecodeString(parts[4])
	p.key, errKey = b64.DecodeString(parts[5])
	if errSalt != nil || errKey != nil || !p.bearable() || len(p.salt) < 8 || len(p.salt) > 64 || len(p.key) < 16 || len(p.key) > 64 {
		return phc{}, errPHC
	}
	if p.String() != s { // base64 skips line breaks, for one
		return phc{}, errPHC
	}
	return p, nil
}

func isKeyID(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return true
}
