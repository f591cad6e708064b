package templates

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// types of the files we serve; another kind of file does not pass the start. Scripts are text/javascript (RFC 9239 §6).
var types = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// assets are the static files, each under an address that changes with its content.
type assets struct{ byName map[string]*asset }

type asset struct {
	url, hash, kind string
	body            []byte
	gzip            []byte // nil when it would not be shorter
}

// newAssets reads static/ and adds brand.css when the operator has an accent.
func newAssets(from fs.FS, accent string) (*assets, error) {
	a := &assets{byName: map[string]*asset{}}
	entries, err := fs.ReadDir(from, "static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		body, err := fs.ReadFile(from, "static/"+e.Name())
		if err != nil {
			return nil, err
		}
		if err := a.add(e.Name(), body); err != nil {
			return nil, err
		}
	}
	if accent == "" {
		return a, nil
	}
	css, err := brandCSS(accent)
	if err != nil {
		return nil, err
	}
	return a, a.add("brand.css", css)
}

func (a *assets) add(name string, body []byte) error {
	kind, ok := types[path.Ext(name)]
	if !ok {
		return fmt.Errorf("static/%s: unknown kind of file", name)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:8])
	f := &asset{url: "/static/" + hash + "/" + name, hash: hash, kind: kind, body: body}
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(body); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if buf.Len() < len(body) {
		f.gzip = buf.Bytes()
	}
	a.byName[name] = f
	return nil
}

// Static serves /static/{hash}/{file...}. The right hash may be cached for ever; another one (a page of the version before,
// during an upgrade) gets today's file, and may not be cached.
func (s *Set) Static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		hash, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/static/"), "/")
		f, ok := s.assets.byName[name]
		if !ok {
			w.Header().Set("Cache-Control", "no-store")
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "public, max-age=31536000, immutable") // RFC 8246
		if hash != f.hash {
			h.Set("Cache-Control", "no-cache")
		}
		h.Set("Content-Type", f.kind)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("ETag", `"`+f.hash+`"`)
		body := f.body
		if f.gzip != nil {
			h.Set("Vary", "Accept-Encoding")
			if takesGzip(r.Header.Get("Accept-Encoding")) {
				h.Set("Content-Encoding", "gzip")
				h.Set("ETag", `"`+f.hash+`-gzip"`) // RFC 9110 §8.8.3.3: another coding, another tag
				body = f.gzip
			}
		}
		if strings.Contains(r.Header.Get("If-None-Match"), h.Get("ETag")) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = w.Write(body) // the browser may have left
		}
	})
}

// takesGzip reads Accept-Encoding (RFC 9110 §12.5.3) as far as we need it: gzip named, and not with weight zero.
func takesGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		value, found := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
		if !found {
			return true
		}
		q, err := strconv.ParseFloat(value, 64)
		return err == nil && q > 0
	}
	return false
}
