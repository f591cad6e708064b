package connectortest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// answer keeps what a handler would have said.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.body.Write(b)
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// fail answers in the way of a fault.
func (b *base) fail(w http.ResponseWriter, r *http.Request, f Fault, h http.HandlerFunc) {
	switch f {
	case Refuse:
		breakOff(w)
	case Stall:
		select {
		case <-b.done:
		case <-r.Context().Done():
		}
	case Error500:
		http.Error(w, "<h1>Internal Server Error</h1>", http.StatusInternalServerError)
	case HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!DOCTYPE html><title>Maintenance</title><p>We are back soon.")
	case Truncated:
		a := &answer{header: w.Header()}
		h(a, r)
		w.WriteHeader(max(a.status, http.StatusOK))
		w.Write(a.body.Bytes()[:a.body.Len()/2])
	case Drip:
		a := &answer{header: w.Header()}
		h(a, r)
		w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
		w.WriteHeader(max(a.status, http.StatusOK))
		for _, c := range a.body.Bytes() {
			if _, err := w.Write([]byte{c}); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-b.done:
				return
			case <-r.Context().Done():
				return
			}
		}
	case Endless:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"`)
		for chunk := bytes.Repeat([]byte("x"), 32<<10); ; {
			select {
			case <-b.done:
				return
			default:
			}
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	case Bomb:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, `{"access_token":"`)
		for chunk, i := bytes.Repeat([]byte("x"), 1<<20), 0; i < 64; i++ {
			if _, err := z.Write(chunk); err != nil {
				return
			}
		}
		fmt.Fprint(z, `"}`)
		z.Close()
	case RedirectLoop:
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	case WrongType:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `[1,"two",{"keys":3}]`)
	case Empty:
		w.Header().Set("Content-Type", "application/json")
	default:
		http.Error(w, "no such fault", http.StatusInternalServerError)
	}
}

// breakOff resets the connection.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
