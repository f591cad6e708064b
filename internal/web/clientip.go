package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// client returns the address of the client and whether it came by https. Forwarding headers count only when the peer is a trusted
// proxy, and only the part trusted proxies wrote: from the right, up to the first address that is none (security.md I2).
func (m *Mux) client(r *http.Request) (ip netip.Addr, secure bool) {
	peer := peerAddr(r.RemoteAddr)
	secure = r.TLS != nil
	if !m.trusted(peer) {
		return peer, secure
	}
	if proto := r.Header["X-Forwarded-Proto"]; len(proto) > 0 {
		last := proto[len(proto)-1]
		last = last[strings.LastIndexByte(last, ',')+1:]
		secure = strings.EqualFold(strings.TrimSpace(last), "https")
	}
	return m.forwarded(peer, r.Header["X-Forwarded-For"]), secure
}

// forwarded walks X-Forwarded-For from its end. Rubbish before the answer is found makes the answer the peer: then nobody knows who
// wrote what, and a limit that counts the proxy errs on the safe side.
func (m *Mux) forwarded(peer netip.Addr, lines []string) netip.Addr {
	furthest := peer
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; ; {
			at := strings.LastIndexByte(rest, ',')
			hop, ok := hopAddr(rest[at+1:])
			if !ok {
				return peer
			}
			if !m.trusted(hop) {
				return hop
			}
			furthest = hop
			if at < 0 {
				break
			}
			rest = rest[:at]
		}
	}
	return furthest // every hop is ours: the one furthest away asked
}

func (m *Mux) trusted(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	for _, p := range m.c.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// hopAddr reads one element: an address, with a port where a proxy adds it.
func hopAddr(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if len(s) > 64 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
				return netip.Addr{}, false
			}
			if a, err = netip.ParseAddr(s[1 : len(s)-1]); err != nil {
				return netip.Addr{}, false
			}
		} else {
			a = ap.Addr()
		}
	}
	if a.Zone() != "" || a.IsUnspecified() {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// peerAddr reads Request.RemoteAddr; not valid for a listener without addresses.
func peerAddr(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
