package password

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Range looks passwords up among those known from breaches, in the manner of Have I Been Pwned: it sends the first five digits of the SHA-1 and
// gets all that begin alike, padded, so that neither the server nor who sees the size of its answer learns which one it was about.
type Range struct {
	URL    string // the digits come behind it
	Client *http.Client
}

const (
	breachTime  = 3 * time.Second
	breachBytes = 1 << 20 // an answer has some 40 KiB
)

// Known says whether pw is among them.
func (b Range) Known(ctx context.Context, pw string) (bool, error) {
	// SHA-1 is the service's index and protects nothing here. It is of the bytes as they were typed: so they were stolen.
	sum := sha1.Sum([]byte(pw))
	digits := strings.ToUpper(hex.EncodeToString(sum[:]))
	ctx, cancel := context.WithTimeout(ctx, breachTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL+digits[:5], nil)
	if err != nil {
		return false, fmt.Errorf("password: breach lookup: %w", err)
	}
	req.Header.Set("Add-Padding", "true")
	req.Header.Set("User-Agent", "Latchkey")
	res, err := b.Client.Do(req)
	if err != nil {
		return false, fmt.Errorf("password: breach lookup: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, fmt.Errorf("password: breach lookup: status %d", res.StatusCode)
	}
	lines := bufio.NewScanner(io.LimitReader(res.Body, breachBytes))
	found := false
	for lines.Scan() {
		suffix, count, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		n, err := strconv.Atoi(count)
		if ok && err == nil && n > 0 && strings.EqualFold(suffix, digits[5:]) { // padding has the count 0
			found = true
		}
	}
	if err := lines.Err(); err != nil {
		return false, fmt.Errorf("password: breach lookup: %w", err)
	}
	return found, nil
}
