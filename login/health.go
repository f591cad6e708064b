package login

import (
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/connectors"
)

// downFor is how long a button says that its upstream does not answer, unless it does meanwhile.
const downFor = time.Minute

// health remembers which upstreams did not answer lately. It marks a button and stops nobody: whether an upstream is back, only asking it
// tells.
type health struct {
	mu   sync.Mutex
	down map[string]time.Time // by connector, when it was last tried in vain
}

// saw notes how an exchange with an upstream ended. Whatever it says, "no" included, it answers.
func (h *health) saw(name string, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil && connectors.KindOf(err) == connectors.Upstream {
		if h.down == nil {
			h.down = map[string]time.Time{}
		}
		h.down[name] = now
		return
	}
	delete(h.down, name)
}

func (h *health) isDown(name string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.down[name]
	return ok && now.Sub(at) < downFor
}

// Down are the upstreams that did not answer a moment ago, by what people call them.
func (l *Login) Down() (names []string) {
	for _, up := range l.upstreams {
		if l.health.isDown(up.Name(), l.now()) {
			names = append(names, up.Label)
		}
	}
	return names
}

// saw notes an exchange with up for buttons and metrics.
func (l *Login) saw(up *Upstream, err error) {
	l.health.saw(up.Name(), err, l.now())
	if l.observe != nil {
		result := "ok"
		if err != nil {
			result = connectors.KindOf(err).String()
		}
		l.observe(up.Name(), result)
	}
}
