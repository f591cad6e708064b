package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// writer owns the one connection that writes to SQLite, and commits for all callers who wait at the same time: a commit costs a sync of
// the disk, and the sync is the same whether it carries one row or a hundred. An idle writer starts at once, so nobody waits for company.
//
//	take a job ─▶ BEGIN IMMEDIATE ─▶ run it ─▶ run the other jobs that wait ─▶ COMMIT ─▶ answer all
//
// A single statement that fails undoes itself; a job of several statements runs in a savepoint. So one caller's failure is his own,
// except that a failed COMMIT fails everybody in it.
type writer struct {
	dsn  string
	jobs chan *job
	quit chan struct{} // closed by close
	dead chan struct{} // closed when the goroutine has ended

	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt

	closing atomic.Bool
	commits atomic.Int64
}

// maxGroup bounds how many jobs one commit carries, and with it how long the first of them waits.
const maxGroup = 256

type job struct {
	ctx   context.Context // the caller's: nothing runs for who gave up
	fn    func(runner) error
	multi bool // several statements: needs a savepoint
	state atomic.Int32
	err   error
	panic *jobPanic
	done  chan struct{}
}

const (
	jobWaiting int32 = iota
	jobStarted
	jobDropped
)

type jobPanic struct {
	value any
	stack []byte
}

// queuePatience is how long a job waits for its turn. It is longer than SQLite's own wait for a lock, and turns a deadlock of our own
// making into an error.
const queuePatience = 10 * time.Second

var (
	errClosed = fmt.Errorf("store: closed: %w", ErrUnavailable)
	errQueue  = fmt.Errorf("store: the writer is busy, or the function of a Tx wrote with a context other than its own: %w", ErrUnavailable)
)

func newWriter(ctx context.Context, dsn string) (*writer, error) {
	db, err := sqlitePool(dsn, 1)
	if err != nil {
		return nil, err
	}
	w := &writer{dsn: dsn, db: db, jobs: make(chan *job, maxGroup), quit: make(chan struct{}), dead: make(chan struct{})}
	// Several processes may turn a new file into WAL mode at once; SQLite does not wait for that lock.
	for try := 0; ; try++ {
		err = w.connect(ctx)
		if err == nil || try == 50 || !isBusy(err) || ctx.Err() != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return nil, errors.Join(mapErr(err), db.Close())
	}
	go w.loop()
	return w, nil
}

func (w *writer) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	w.conn, w.stmts = conn, map[string]*sql.Stmt{}
	return nil
}

// disconnect drops a connection whose state is not known; the next group opens another.
func (w *writer) disconnect() error {
	if w.conn == nil {
		return nil
	}
	var errs []error
	for _, st := range w.stmts {
		errs = append(errs, st.Close())
	}
	// ErrBadConn makes the pool throw the connection away instead of keeping it with an open transaction.
	if err := w.conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
		errs = append(errs, err)
	}
	if err := w.conn.Close(); !errors.Is(err, sql.ErrConnDone) {
		errs = append(errs, err)
	}
	w.conn, w.stmts = nil, nil
	return errors.Join(errs...)
}

func (w *writer) close() error {
	if w.closing.Swap(true) {
		<-w.dead
		return nil
	}
	close(w.quit)
	<-w.dead
	return w.db.Close()
}

// do runs fn on the writer and returns when its transaction is committed, or fn failed. A caller who gives up before fn has started is
// dropped from the queue; afterwards he waits for the truth.
func (w *writer) do(ctx context.Context, multi bool, fn func(runner) error) error {
	if err := ctx.Err(); err != nil {
		return mapErr(err)
	}
	j := &job{ctx: ctx, fn: fn, multi: multi, done: make(chan struct{})}
	gone := func(err error) error {
		if j.state.CompareAndSwap(jobWaiting, jobDropped) {
			return err
		}
		<-j.done
		return j.result()
	}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return mapErr(ctx.Err())
	case <-w.dead:
		return errClosed
	}
	patience := time.NewTimer(queuePatience)
	defer patience.Stop()
	select {
	case <-j.done:
		return j.result()
	case <-ctx.Done():
		return gone(mapErr(ctx.Err()))
	case <-w.dead:
		return gone(errClosed)
	case <-patience.C:
		return gone(errQueue)
	}
}

// result re-raises a panic of fn where it belongs, in the caller's goroutine.
func (j *job) result() error {
	if j.panic != nil {
		panic(fmt.Sprintf("%v\n\nin a transaction:\n%s", j.panic.value, j.panic.stack))
	}
	return j.err
}

func (w *writer) loop() {
	ended := false
	defer func() {
		if !ended { // a job ended its goroutine (runtime.Goexit): go on in another
			go w.loop()
		}
	}()
	for {
		select {
		case j := <-w.jobs:
			w.group(j)
		case <-w.quit:
			for { // who is already in the queue is served
				select {
				case j := <-w.jobs:
					w.group(j)
					continue
				default:
				}
				break
			}
			ended = true
			_ = w.disconnect() // the process or test is ending; SQLite recovers from any state
			close(w.dead)
			return
		}
	}
}

// group runs first and whoever waits behind it in one transaction.
func (w *writer) group(first *job) {
	var ran []*job
	failed := errors.New("store: the writer stopped")
	finished := false
	defer func() {
		if !finished { // runtime.Goexit in a job; panics are caught in run
			w.abort()
		}
		for _, j := range ran {
			if !finished || failed != nil {
				j.err = fmt.Errorf("%w: %w", ErrUnavailable, failed)
			}
			close(j.done)
		}
	}()
	if err := w.begin(); err != nil {
		// Whoever waits has waited for the same lock: answer all now instead of one after the other, each after its own patience.
		failed = mapErr(err)
		for j := first; j != nil; j = w.next(maxGroup - len(ran)) {
			if j.state.CompareAndSwap(jobWaiting, jobStarted) {
				ran = append(ran, j)
			}
		}
		finished = true
		return
	}
	for j := first; j != nil; j = w.next(maxGroup - len(ran)) {
		if !j.state.CompareAndSwap(jobWaiting, jobStarted) {
			continue
		}
		if err := j.ctx.Err(); err != nil { // given up, though nobody had time yet to say so
			j.err = mapErr(err)
			close(j.done)
			continue
		}
		ran = append(ran, j)
		if err := w.run(j); err != nil { // the transaction itself is lost
			w.abort()
			failed, finished = mapErr(err), true
			return
		}
	}
	err := w.control("COMMIT")
	if err != nil {
		w.abort()
		failed, finished = mapErr(err), true
		return
	}
	w.commits.Add(1)
	failed, finished = nil, true
}

// next is the next waiting job, nil when there is none or no room.
func (w *writer) next(room int) *job {
	if room <= 0 {
		return nil
	}
	select {
	case j := <-w.jobs:
		return j
	default:
		return nil
	}
}

// run runs one job; its own failure is kept in j.err. The error returned means that the whole transaction is gone.
func (w *writer) run(j *job) error {
	if !j.multi {
		w.protect(j)
		if lost(j.err) {
			return j.err
		}
		return nil
	}
	if err := w.control("SAVEPOINT job"); err != nil {
		return err
	}
	w.protect(j)
	if lost(j.err) {
		return j.err
	}
	if j.err != nil || j.panic != nil {
		if err := w.control("ROLLBACK TO job"); err != nil {
			return err
		}
	}
	return w.control("RELEASE job")
}

func (w *writer) protect(j *job) {
	defer func() {
		if v := recover(); v != nil {
			j.panic = &jobPanic{v, debug.Stack()}
		}
	}()
	j.err = j.fn(w)
}

// lost says whether an error may have ended SQLite's transaction: then later statements would commit on their own.
// https://sqlite.org/lang_transaction.html, section 3.
func lost(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && unavailableSQLite(e.Code())
}

func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code()&0xff == lib.SQLITE_BUSY || e.Code()&0xff == lib.SQLITE_LOCKED)
}

func (w *writer) begin() error {
	if err := w.connect(context.Background()); err != nil {
		return err
	}
	err := w.control("BEGIN IMMEDIATE")
	if err != nil && !isBusy(err) {
		return errors.Join(err, w.disconnect())
	}
	return err
}

// abort undoes the transaction and drops the connection, so that nothing of it can be left.
func (w *writer) abort() {
	_ = w.control("ROLLBACK") // it may be gone already, and the connection goes in any case
	_ = w.disconnect()
}

func (w *writer) control(statement string) error {
	_, err := w.exec(context.Background(), statement, nil)
	return err
}

func (w *writer) stmt(query string) (*sql.Stmt, error) {
	if st, ok := w.stmts[query]; ok {
		return st, nil
	}
	st, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	if len(w.stmts) >= maxPrepared {
		for q, old := range w.stmts { // any one: texts vary only in the length of an IN list
			delete(w.stmts, q)
			if err := old.Close(); err != nil {
				return nil, err
			}
			break
		}
	}
	w.stmts[query] = st
	return st, nil
}

// The statements of a job never carry its caller's context: an interrupt would undo the other jobs as well.

func (w *writer) exec(_ context.Context, query string, args []any) (sql.Result, error) {
	st, err := w.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(context.Background(), args...)
}

func (w *writer) query(_ context.Context, query string, args []any) (*sql.Rows, error) {
	st, err := w.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(context.Background(), args...)
}
