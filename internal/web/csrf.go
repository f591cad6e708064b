package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
)

// formField is the hidden field every form of ours carries.
const formField = "form_token"

const (
	tokenNonce = 12 // bytes: a page never shows the same token twice, so nothing can be learnt from compressed lengths
	tokenMAC   = 24 // bytes of HMAC-SHA-256
)

// FormToken is the hidden field's value for forms on this response. It sets the pre-session binding cookie when there is none yet.
func FormToken(w http.ResponseWriter, r *http.Request) string {
	res := writerOf(w)
	if res == nil {
		return ""
	}
	return res.mux.formToken(res, r, true)
}

func (m *Mux) formToken(res *response, r *http.Request, bind bool) string {
	if res.token != "" {
		return res.token
	}
	binding := m.binding(r)
	if binding == "" && bind && m.c.Bind != nil && !res.wrote {
		binding = m.c.Bind(res, r)
	}
	if binding == "" {
		return ""
	}
	var nonce [tokenNonce]byte
	rand.Read(nonce[:]) // never fails (crypto/rand)
	res.token = base64.RawURLEncoding.EncodeToString(m.sealToken(nonce[:], binding))
	return res.token
}

func (m *Mux) binding(r *http.Request) string {
	if m.c.Binding == nil {
		return ""
	}
	return m.c.Binding(r)
}

func (m *Mux) sealToken(nonce []byte, binding string) []byte {
	mac := hmac.New(sha256.New, m.c.CSRFKey)
	mac.Write(nonce) // of fixed length, so the two cannot run into each other
	mac.Write([]byte(binding))
	return append(append(make([]byte, 0, tokenNonce+sha256.Size), nonce...), mac.Sum(nil)[:tokenMAC]...)
}

// formTokenOK says whether the body of a form carries a token made for this session, or for this browser before it had one.
func (m *Mux) formTokenOK(r *http.Request) bool {
	values := r.PostForm[formField] // never from the query, which ends up in logs
	if len(values) != 1 || len(values[0]) != base64.RawURLEncoding.EncodedLen(tokenNonce+tokenMAC) {
		return false
	}
	got, err := base64.RawURLEncoding.DecodeString(values[0])
	if err != nil || len(got) != tokenNonce+tokenMAC { // line breaks are skipped when decoding
		return false
	}
	binding := m.binding(r)
	return binding != "" && hmac.Equal(got, m.sealToken(got[:tokenNonce], binding))
}
