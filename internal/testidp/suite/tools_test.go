package suite

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/testidp"
)

func challenge(verifier string) string {
	h := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// between is the text of s from after a to before z, "" if they are not there.
func between(s, a, z string) string {
	_, rest, ok := strings.Cut(s, a)
	if !ok {
		return ""
	}
	out, _, _ := strings.Cut(rest, z)
	return out
}

// try sends a request; false when there was no whole answer.
func try(c *http.Client, req *http.Request) (testidp.Response, bool) {
	res, err := c.Do(req)
	if err != nil {
		return testidp.Response{}, false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return testidp.Response{}, false
	}
	out := testidp.Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
	if json.Unmarshal(body, &out.JSON) != nil {
		out.JSON = nil
	}
	return out, true
}
