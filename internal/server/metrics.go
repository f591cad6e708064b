package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/latchkey-idp/latchkey/login/password"
	"github.com/latchkey-idp/latchkey/store"
)

// metrics are what /metrics shows, in a registry of their own: nothing a dependency registers globally gets in. Every label
// has few values; none holds a person, a client or anything a stranger can choose.
type metrics struct {
	reg      *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	tokens   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	replays  *prometheus.CounterVec
	acting   prometheus.Counter
	signIns  *prometheus.CounterVec
	answers  *prometheus.CounterVec
	messages *prometheus.CounterVec
	logouts  *prometheus.CounterVec
	texts    *prometheus.CounterVec
	panics   prometheus.Counter
	reloads  *prometheus.CounterVec
	purged   prometheus.Counter
}

// newMetrics registers everything that needs no other part.
func newMetrics(version string) *metrics {
	m := &metrics{
		reg: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_http_requests_total", Help: "Requests on the public listener, by route pattern, method and status.",
		}, []string{"pattern", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "latchkey_http_request_duration_seconds", Help: "Time from request to response, by route pattern.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"pattern"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_tokens_issued_total", Help: "Successful answers of the token endpoint, by grant type.",
		}, []string{"grant_type"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_oauth_refusals_total", Help: "Requests the engine refused, by OAuth error code.",
		}, []string{"error"}),
		replays: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_replays_total", Help: "Codes and refresh tokens that came twice and ended their grant. More than a few: look at the audit.",
		}, []string{"what"}),
		acting: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "latchkey_acting_codes_total", Help: "Authorization codes issued to people who act for another person.",
		}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_sign_ins_total", Help: "Sign-in attempts, by result.",
		}, []string{"result"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_connector_answers_total", Help: "Sign-ins at upstream providers, by connector and how they ended there.",
		}, []string{"connector", "result"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_messages_total", Help: "Deliveries of mail and SMS by this process, by result. retry: it will be tried again.",
		}, []string{"result"}),
		logouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_backchannel_logouts_total", Help: "Logout tokens sent to applications by this process, by result (sent, retry, refused, expired).",
		}, []string{"result"}),
		texts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_sms_total", Help: "Text messages, by what Twilio answered (accepted, refused, not_sent, unclear) and reported later (delivered, undelivered, failed).",
		}, []string{"result"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "latchkey_panics_total", Help: "Handlers that panicked. Anything but 0 is a defect.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_config_reloads_total", Help: "Reloads of the configuration, by result.",
		}, []string{"result"}),
		purged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "latchkey_purged_rows_total", Help: "Expired rows deleted by this process.",
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "latchkey_build_info", Help: "Always 1; the label carries the version.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	m.reg.MustRegister(m.requests, m.duration, m.tokens, m.refused, m.replays, m.acting, m.signIns, m.answers, m.messages, m.logouts, m.texts, m.panics, m.reloads, m.purged, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, r := range []string{"ok", "refused"} {
		m.reloads.WithLabelValues(r)
	}
	return m
}

// watchStore adds the statement counters; they are read when somebody looks, so that counting costs the requests nothing.
func (m *metrics) watchStore(s *store.Store) {
	for kind, of := range map[string]func(store.Counts) int64{
		"read":        func(c store.Counts) int64 { return c.Reads },
		"write":       func(c store.Counts) int64 { return c.Writes },
		"transaction": func(c store.Counts) int64 { return c.Transactions },
	} {
		m.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "latchkey_store_statements_total", Help: "Statements sent to the database, by kind.",
			ConstLabels: prometheus.Labels{"kind": kind},
		}, func() float64 { return float64(of(s.Counts())) }))
	}
}

// watchPasswords adds the pool that bounds hashing; sign-ins wait where both are equal for long.
func (m *metrics) watchPasswords(h *password.Hasher) {
	m.reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "latchkey_password_hashes", Help: "Passwords being hashed now."},
			func() float64 { busy, _ := h.InUse(); return float64(busy) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "latchkey_password_slots", Help: "Passwords that may be hashed at once."},
			func() float64 { _, slots := h.InUse(); return float64(slots) }))
}

// observe is web.Config.Observe.
func (m *metrics) observe(pattern, method string, status int, took time.Duration) {
	if pattern == "" {
		pattern = "none" // no route: the path was the stranger's choice and must not become a label
	}
	m.requests.WithLabelValues(pattern, knownMethod(method), statusText(status)).Inc()
	m.duration.WithLabelValues(pattern).Observe(took.Seconds())
	if pattern == "POST /login" {
		m.signIns.WithLabelValues(signInResult(status)).Inc()
	}
}

// signInResult is what a status of the sign-in form says.
func signInResult(status int) string {
	switch {
	case status < 400:
		return "ok" // also where a new password is owed
	case status == http.StatusUnprocessableEntity:
		return "refused"
	case status == http.StatusTooManyRequests:
		return "slowed_down"
	case status == http.StatusServiceUnavailable:
		return "busy"
	}
	return "error"
}

// engine is provider.Config.Observe.
func (m *metrics) engine(kind, detail string) {
	switch kind {
	case "issued":
		m.tokens.WithLabelValues(detail).Inc()
	case "refused":
		m.refused.WithLabelValues(detail).Inc()
	case "acting":
		m.acting.Inc()
	case "replay":
		m.replays.WithLabelValues(detail).Inc()
	}
}

// handler serves the registry.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{Registry: m.reg})
}

// knownMethod keeps the label's values few: a method is any token a stranger sends (RFC 9110 §9.1).
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// statusText avoids an allocation for the usual ones.
func statusText(code int) string {
	switch code {
	case 200:
		return "200"
	case 302:
		return "302"
	case 303:
		return "303"
	case 400:
		return "400"
	case 401:
		return "401"
	}
	return strconv.Itoa(code)
}
