package connectortest

import (
	"encoding/json"
	"strings"
	"time"
)

// Forgery is a bad ID Token: a name for a test's table, and what it changes.
type Forgery struct {
	Name   string
	Change func(t *Token)
}

// claim sets one claim, and takes it away when v is Absent.
func claim(name string, v any) func(*Token) {
	return func(t *Token) {
		if v == Absent {
			delete(t.Claims, name)
			return
		}
		t.Claims[name] = v
	}
}

func header(name string, v any) func(*Token) {
	return func(t *Token) { t.Header[name] = v }
}

// at moves a time claim.
func at(name string, d time.Duration) func(*Token) {
	return func(t *Token) {
		now, _ := t.Claims["iat"].(int64)
		t.Claims[name] = now + int64(d.Seconds())
	}
}

func all(changes ...func(*Token)) func(*Token) {
	return func(t *Token) {
		for _, c := range changes {
			c(t)
		}
	}
}

// Forgeries are bad ID Tokens that every OpenID Connect client must refuse, whoever the provider is (security.md E10, B7, B9). Each is
// one deviation from a good token.
func Forgeries() []Forgery {
	return []Forgery{
		{"aud of another client", claim("aud", "somebody-else")},
		{"aud missing", claim("aud", Absent)},
		{"aud empty list", claim("aud", []string{})},
		{"aud null", claim("aud", nil)},
		{"aud number", claim("aud", 7)},
		{"several audiences without azp", func(t *Token) { t.Claims["aud"] = []any{t.Claims["aud"], "other"}; delete(t.Claims, "azp") }},
		{"several audiences, azp of another", func(t *Token) { t.Claims["aud"] = []any{t.Claims["aud"], "other"}; t.Claims["azp"] = "other" }},
		{"azp of another", claim("azp", "other")},
		{"iss of another", claim("iss", "https://evil.example")},
		{"iss missing", claim("iss", Absent)},
		{"iss with a slash more", func(t *Token) { t.Claims["iss"] = t.Claims["iss"].(string) + "/" }},
		{"iss in capitals", func(t *Token) { t.Claims["iss"] = strings.ToUpper(t.Claims["iss"].(string)) }},
		{"iss in other case only", func(t *Token) { t.Claims["ISS"] = t.Claims["iss"]; delete(t.Claims, "iss") }},
		{"nonce of another", claim("nonce", "another-nonce-another-nonce")},
		{"nonce missing", claim("nonce", Absent)},
		{"nonce empty", claim("nonce", "")},
		{"nonce list", func(t *Token) { t.Claims["nonce"] = []any{t.Claims["nonce"]} }},
		{"expired", at("exp", -time.Second)},
		{"exp missing", claim("exp", Absent)},
		{"exp text", claim("exp", "tomorrow")},
		{"exp in other case only", func(t *Token) { t.Claims["EXP"] = t.Claims["exp"]; delete(t.Claims, "exp") }},
		{"iat missing", claim("iat", Absent)},
		{"iat long ago", at("iat", -11*time.Minute)},
		{"iat in the future", all(at("exp", 2*time.Hour), at("iat", 2*time.Minute))},
		{"nbf in the future", at("nbf", 10*time.Minute)},
		{"sub missing", claim("sub", Absent)},
		{"sub empty", claim("sub", "")},
		{"sub number", claim("sub", 12345)},
		{"sub null", claim("sub", nil)},
		{"sub too long", claim("sub", strings.Repeat("a", 256))},
		{"sub with a line break", claim("sub", "ana\nadmin")},
		{"at_hash of another", claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")},
		{"at_hash number", claim("at_hash", 5)},
		{"alg none", all(header("alg", "none"), func(t *Token) { t.Key = nil })},
		{"alg nOnE", all(header("alg", "nOnE"), func(t *Token) { t.Key = nil })},
		{"alg missing", func(t *Token) { strip(t, "alg") }},
		{"HS256 with the public key in PEM", func(t *Token) { t.Header["alg"] = "HS256"; t.Key = publicPEM(t.Key) }},
		{"HS256 with the public key as JWK", func(t *Token) {
			t.Header["alg"] = "HS256"
			t.Key, _ = json.Marshal(publicJWK(t.Key))
		}},
		{"signed with a key that is not published", func(t *Token) { t.Key = t.Other }},
		{"unknown kid, key that is not published", all(header("kid", "../../etc/passwd"), func(t *Token) { t.Key = t.Other })},
		{"kid of SQL", header("kid", "' OR 1=1 --")},
		{"its own key in the header", func(t *Token) { t.Header["jwk"] = publicJWK(t.Other); t.Key = t.Other }},
		{"jku in the header", header("jku", "https://evil.example/keys")},
		{"x5u in the header", header("x5u", "https://evil.example/cert")},
		{"crit in the header", header("crit", []string{"exp"})},
		{"typ of an access token", header("typ", "at+jwt")},
		{"typ of a logout token", header("typ", "logout+jwt")},
		{"no signature", finish(func(s string) string { return s[:strings.LastIndexByte(s, '.')+1] })},
		{"half a signature", finish(func(s string) string { return s[:len(s)-40] })},
		{"claims changed after signing", finish(changeBody)},
		{"two parts", finish(func(s string) string { return s[:strings.LastIndexByte(s, '.')] })},
		{"four parts", finish(func(s string) string { return s + ".AAAA" })},
		{"five parts, as if encrypted", finish(func(s string) string { return s + ".AAAA.AAAA" })},
		{"JSON serialisation", finish(asJSON)},
		{"two signatures", finish(asTwoSignatures)},
		{"rubbish", finish(func(string) string { return "rubbish" })},
		{"ten thousand dots", finish(func(string) string { return strings.Repeat(".", 10000) })},
		{"a very long token", func(t *Token) { t.Claims["padding"] = strings.Repeat("x", 20<<10) }},
		{"claims that are a list", payload(`["iss"]`)},
		{"claims that are null", payload(`null`)},
		{"claims cut in half", func(t *Token) {
			b, _ := json.Marshal(t.Claims)
			t.Payload = b[:len(b)/2]
		}},
		{"claims with something behind", func(t *Token) {
			b, _ := json.Marshal(t.Claims)
			t.Payload = append(b, `{"sub":"admin"}`...)
		}},
	}
}

func finish(f func(string) string) func(*Token) {
	return func(t *Token) { t.Finish = f }
}

func strip(t *Token, name string) { delete(t.Header, name) }

func changeBody(s string) string {
	p := strings.Split(s, ".")
	body, _ := decode64(p[1])
	return p[0] + "." + encode64([]byte(strings.Replace(string(body), `"sub":"`, `"sub":"x`, 1))) + "." + p[2]
}

func payload(s string) func(*Token) {
	return func(t *Token) { t.Payload = []byte(s) }
}

func asJSON(s string) string {
	p := strings.Split(s, ".")
	b, _ := json.Marshal(map[string]any{"protected": p[0], "payload": p[1], "signature": p[2]})
	return string(b)
}

func asTwoSignatures(s string) string {
	p := strings.Split(s, ".")
	one := map[string]any{"protected": p[0], "signature": p[2]}
	b, _ := json.Marshal(map[string]any{"payload": p[1], "signatures": []any{one, one}})
	return string(b)
}
