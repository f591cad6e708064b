package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// Sentinels that callers branch on; everything else is a fault of ours or of the database.
var (
	// ErrNotFound: no such row, or not one the query's conditions admit.
	ErrNotFound = errors.New("not found")
	// ErrConflict: a unique value is taken, or the row changed since it was read. A FieldError says which value, where that is known.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: a value that no row may have; it comes in a FieldError.
	ErrInvalid = errors.New("invalid")
	// ErrExpired: the row is there, its time is over.
	ErrExpired = errors.New("expired")
	// ErrUsed: a single-use thing was used before.
	ErrUsed = errors.New("already used")
	// ErrUnavailable: the database is locked, slow, full or gone; the caller answers 503 and the client may retry.
	ErrUnavailable = errors.New("database unavailable")
	// ErrSchemaNewer: the database was migrated by a newer Latchkey.
	ErrSchemaNewer = errors.New("the database schema is newer than this program")
	// ErrLastAdmin: the change would leave nobody who can administer.
	ErrLastAdmin = errors.New("last administrator")
	// ErrLastWayIn: a person could not sign in any more.
	ErrLastWayIn = errors.New("the last way to sign in stays")
	// ErrForbidden: the assignment gate refused (security.md G1).
	ErrForbidden = errors.New("not allowed to confer this privilege")
	// ErrBuiltIn: a privilege that stays (R75). It is an ErrForbidden.
	ErrBuiltIn = fmt.Errorf("built in: %w", ErrForbidden)
)

// FieldError says which field of a form is invalid or taken: "username", "email", "phone", "includes", "name".
type FieldError struct {
	Field string
	Why   string // for the log, not for people
	Err   error  // ErrInvalid or ErrConflict
}

// Error implements error.
func (e *FieldError) Error() string {
	if e.Why == "" {
		return "store: " + e.Field + ": " + e.Err.Error()
	}
	return "store: " + e.Field + ": " + e.Err.Error() + ": " + e.Why
}

// Unwrap returns ErrInvalid or ErrConflict.
func (e *FieldError) Unwrap() error { return e.Err }

func invalid(field, why string) error { return &FieldError{Field: field, Why: why, Err: ErrInvalid} }

// mapErr is the only place that knows the drivers' errors. What it maps keeps its cause, so a cancelled context stays visible.
func mapErr(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
		return err
	}
	kind := func(sentinel error) error { return fmt.Errorf("store: %w: %w", sentinel, err) }
	var lite *sqlite.Error
	var pg *pgconn.PgError
	var netErr net.Error
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("store: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return kind(ErrUnavailable)
	case errors.As(err, &lite):
		switch code := lite.Code(); {
		case code == lib.SQLITE_CONSTRAINT_UNIQUE, code == lib.SQLITE_CONSTRAINT_PRIMARYKEY: // 2067, 1555
			return taken(err.Error(), err)
		case code == lib.SQLITE_CONSTRAINT_FOREIGNKEY:
			return kind(ErrNotFound)
		case unavailableSQLite(code):
			return kind(ErrUnavailable)
		}
	case errors.As(err, &pg):
		switch class := pg.Code[:min(2, len(pg.Code))]; {
		case pg.Code == "23505": // unique_violation
			return taken(pg.ConstraintName, err)
		case pg.Code == "23503": // foreign_key_violation
			return kind(ErrNotFound)
		case class == "08", class == "53", strings.HasPrefix(pg.Code, "57P0"), // connection, resources, shutdown
			pg.Code == "57014", pg.Code == "55P03", pg.Code == "25P03", // statement, lock and idle timeouts
			pg.Code == "25006",                     // read only: a standby
			pg.Code == "40001", pg.Code == "40P01", // still so after the retries
			class == "58", class == "XX": // system and internal errors
			return kind(ErrUnavailable)
		}
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, sql.ErrTxDone), errors.As(err, &connect), errors.As(err, &netErr),
		pgconn.Timeout(err), isConnectionLost(err):
		return kind(ErrUnavailable)
	}
	return fmt.Errorf("store: %w", err)
}

// unavailableSQLite says whether the database, and not the statement, is at fault.
func unavailableSQLite(code int) bool {
	switch code & 0xff {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_NOMEM, lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY,
		lib.SQLITE_PROTOCOL, lib.SQLITE_INTERRUPT, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_PERM:
		return true
	}
	return false
}

// isConnectionLost sees what pgx reports in words only.
func isConnectionLost(err error) bool {
	text := err.Error()
	for _, s := range []string{"conn closed", "unexpected EOF", "connection reset", "broken pipe", "sql: database is closed", "failed to connect"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// taken names the field whose unique index refused, as far as callers ask for it: where is the index's name, or SQLite's "table.column".
func taken(where string, err error) error {
	for _, f := range []string{"username", "email", "phone"} {
		if strings.Contains(where, "users."+f) || strings.Contains(where, "users_"+f) {
			return &FieldError{Field: f, Err: ErrConflict}
		}
	}
	return fmt.Errorf("store: %w: %w", ErrConflict, err)
}

// retryable: PostgreSQL undid the statement or transaction by itself, so it did not happen.
func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

func errNotFound(what string) error { return fmt.Errorf("store: %s: %w", what, ErrNotFound) }
