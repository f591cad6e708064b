package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size in bytes.
type Bytes int64

// String is the shortest way a file can say it: 64KiB, 1MiB, 1500.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// byteUnits, the largest first.
var byteUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

const wantBytes = "want a size such as 64KiB, 1MiB or 65536"

func parseBytes(s string) (Bytes, bool) {
	factor := int64(1)
	for _, u := range byteUnits {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			s, factor = strings.TrimRight(n, " "), u.size
			break
		}
	}
	n, ok := parseWhole(s)
	if !ok || n < 0 || n > math.MaxInt64/factor {
		return 0, false
	}
	return Bytes(n * factor), true
}

// parseWhole reads a decimal number as people write it: no leading zero, no underscore, no plus.
func parseWhole(s string) (int64, bool) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 1 && digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

const wantDuration = "want a length of time with its unit, such as 30s, 10m, 12h or 90d"

// durationUnits, the largest first. There is no unit below: nothing here is that short.
var durationUnits = []struct {
	name string
	size time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

// parseDuration reads numbers with units, the larger ones first, each at most once: 1d12h.
func parseDuration(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	sum, from := time.Duration(0), 0
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(s[:end], 10, 64)
		if err != nil {
			return 0, false
		}
		s = s[end:]
		next := strings.IndexFunc(s, func(r rune) bool { return '0' <= r && r <= '9' })
		if next < 0 {
			next = len(s)
		}
		unit := -1
		for i := from; i < len(durationUnits); i++ {
			if durationUnits[i].name == s[:next] {
				unit = i
			}
		}
		if unit < 0 || n > int64((math.MaxInt64-sum)/durationUnits[unit].size) {
			return 0, false
		}
		sum += time.Duration(n) * durationUnits[unit].size
		s, from = s[next:], unit+1
	}
	return sum, true
}

// formatDuration is what parseDuration reads: 90d, 1d12h, 0s.
func formatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range durationUnits {
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
