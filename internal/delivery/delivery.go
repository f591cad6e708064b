// Package delivery empties the outbox: it is the worker between store and notify, between store and whoever sends SMS, and
// between store and the applications that hear of ended sessions.
//
//	Enqueue ─(in the transaction of what it tells about)─▶ outbox ─▶ lease one ─▶ notify ─┬─ taken over ─▶ sent, texts forgotten
//	                                                                                      ├─ later ─────▶ again, after a wait that doubles
//	                                                                                      └─ never ─────▶ given up, with the reason
//
// It owns when and how often: a message is leased by one process at a time, tried until the other side takes it, refuses it for good, or its
// time is over, and never sent after that. It refuses to log who gets what: a line names the message's id.
//
// A mail goes out once, unless nobody could see that it did: the connection broke between the mail and its answer, or this process died
// before it could write the answer down. Then it goes out again, with the Message-ID of the first. An SMS in the same case does not: it
// costs money, and whoever waits for it can ask for another. A logout does: the second one ends what has ended.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/internal/notify"
	"github.com/latchkey-idp/latchkey/store"
)

// Results, as Config.Observe hears them.
const (
	Sent    = "sent"
	Retry   = "retry"   // it will be tried again
	Refused = "refused" // for good
	Expired = "expired" // its time was over first
)

// Config of a Worker.
type Config struct {
	Store *store.Store
	// Send hands one mail over (notify.Mailer.Send), Text one SMS, Logout one word to an application. An error that is no *notify.Error is tried
	// again. Some may be nil: what they would send stays in the outbox until another worker takes it or its time is over.
	Send         func(context.Context, notify.Mail) error
	Text, Logout func(context.Context, store.Message) error
	// Timeout is more than Send ever takes: for a minute longer nobody else gets the message. Default 30 s.
	Timeout time.Duration
	// Retry is the wait after the first failure; it doubles up to 15 minutes. Default 5 s.
	Retry time.Duration
	// Poll is how often the outbox is looked at for what other processes left and for what is due again. Default 2 s.
	Poll    time.Duration
	Senders int                 // messages under way at once; default 4
	Grace   time.Duration       // of a message under way when the worker is stopped; default 5 s
	Observe func(result string) // nil = nobody counts
	Logger  *slog.Logger        // default: slog.Default
}

// Worker sends what is in the outbox. Make it with New.
type Worker struct {
	c     Config
	kinds []string // of messages
	poke  chan struct{}
}

const (
	leaseMore = time.Minute
	maxRetry  = 15 * time.Minute
	maxWords  = 300 // bytes of a reason that are kept
)

// New checks the configuration and listens for messages of this process.
func New(c Config) (*Worker, error) {
	if c.Store == nil || c.Send == nil && c.Text == nil && c.Logout == nil {
		return nil, errors.New("delivery: Store, and Send, Text or Logout, are required")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.Timeout, 30 * time.Second}, {&c.Retry, 5 * time.Second}, {&c.Poll, 2 * time.Second}, {&c.Grace, 5 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.Senders <= 0 {
		c.Senders = 4
	}
	if c.Observe == nil {
		c.Observe = func(string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	w := &Worker{c: c, poke: make(chan struct{}, c.Senders)}
	if c.Send != nil {
		w.kinds = append(w.kinds, store.KindMail)
	}
	if c.Text != nil {
		w.kinds = append(w.kinds, store.KindSMS, store.KindVerify)
	}
	if c.Logout != nil {
		w.kinds = append(w.kinds, store.KindLogout)
	}
	c.Store.OnEnqueue(func() {
		select {
		case w.poke <- struct{}{}:
		default: // as many as there are senders know already
		}
	})
	return w, nil
}

// Run sends until ctx ends; then what is under way gets Grace, and what was not sent goes back to the outbox.
func (w *Worker) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for range w.c.Senders {
		wg.Go(func() { w.loop(ctx) })
	}
	wg.Wait()
}

func (w *Worker) loop(ctx context.Context) {
	// Not all at once, in none of the processes.
	t := time.NewTicker(w.c.Poll + rand.N(w.c.Poll/4+1))
	defer t.Stop()
	for {
		w.drain(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-w.poke:
		}
	}
}

// drain sends until nothing is due. A panic is logged and ends this round only: a message that brings it about waits for its lease.
func (w *Worker) drain(ctx context.Context) {
	defer func() {
		if p := recover(); p != nil {
			w.c.Logger.ErrorContext(ctx, "panic in the delivery of messages", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	for ctx.Err() == nil {
		more, err := w.once(ctx)
		if err != nil && ctx.Err() == nil {
			w.c.Logger.WarnContext(ctx, "outbox not read, it will be tried again", "err", err)
		}
		if !more || err != nil {
			return
		}
	}
}

// once sends one message, if any is due. One lease covers one delivery, so a slow server never makes it run out.
func (w *Worker) once(ctx context.Context) (more bool, err error) {
	due, err := w.c.Store.MessagesDue(ctx)
	if err != nil || !due {
		return false, err
	}
	n, err := w.c.Store.ExpireMessages(ctx)
	if err != nil {
		return false, err
	}
	if n > 0 {
		w.c.Logger.WarnContext(ctx, "messages were not sent in their time", "messages", n)
		for range n {
			w.c.Observe(Expired)
		}
	}
	list, err := w.c.Store.LeaseMessages(ctx, 1, w.c.Timeout+leaseMore, w.kinds...)
	if err != nil || len(list) == 0 {
		return false, err
	}
	return true, w.deliver(ctx, &list[0])
}

// deliver sends m and writes down what became of it.
func (w *Worker) deliver(ctx context.Context, m *store.Message) error {
	st := w.c.Store
	// What was begun is not cut off by a stop at once: nobody could tell then whether it was sent.
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(w.c.Timeout, m.ExpiresAt.Sub(st.Now())))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(w.c.Grace, cancel) })
	defer stop()
	err := w.send(sending, m)

	noting := context.WithoutCancel(ctx)
	var e *notify.Error
	permanent := errors.As(err, &e) && e.Permanent
	why := ""
	if err != nil {
		why = err.Error()
	}
	kept := why
	if e != nil && e.Words != "" && e.Code != 0 {
		kept = e.Stage + ": " + e.Words // the row knows its recipient anyway; the log does not
	}
	if len(kept) > maxWords {
		kept = kept[:maxWords]
	}
	log := w.c.Logger.With("message", m.ID, "kind", m.Kind, "attempt", m.Attempts)
	switch {
	case err == nil:
		w.c.Observe(Sent)
		log.DebugContext(ctx, "message sent")
		return w.sent(noting, m.ID)
	case permanent:
		w.c.Observe(Refused)
		log.WarnContext(ctx, "message given up", "why", why)
		return st.MessageRefused(noting, m.ID, kept, e.Code)
	}
	wait := w.wait(m.Attempts)
	if e != nil {
		wait = max(wait, e.After)
	}
	wait = min(wait, m.ExpiresAt.Sub(st.Now())) // then it is given up, and its texts with it
	if ctx.Err() != nil {
		wait = 0 // not its fault: the next process takes it at once
	}
	w.c.Observe(Retry)
	log.WarnContext(ctx, "message not sent, it will be tried again", "why", why, "in", wait.Round(time.Millisecond))
	return st.MessageFailed(noting, m.ID, kept, st.Now().Add(wait))
}

func (w *Worker) send(ctx context.Context, m *store.Message) error {
	switch m.Kind {
	case store.KindMail:
		return w.c.Send(ctx, notify.Mail{ID: m.ID, To: m.Recipient, Subject: m.Subject, Text: m.Text, HTML: m.HTML})
	case store.KindLogout:
		return w.c.Logout(ctx, *m)
	}
	return w.c.Text(ctx, *m)
}

// sent must be written down, or the message goes out twice: so it is tried for as long as the lease holds.
func (w *Worker) sent(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, leaseMore-10*time.Second)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := w.c.Store.MessageSent(ctx, id)
		if err == nil || errors.Is(err, store.ErrNotFound) { // erased meanwhile
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// wait doubles from Retry, with up to a fifth more by chance, so that what failed together does not come back together.
func (w *Worker) wait(attempts int64) time.Duration {
	d := w.c.Retry << min(attempts-1, 20)
	if d <= 0 || d > maxRetry {
		d = maxRetry
	}
	return d + rand.N(d/5+1)
}
