package store

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// Time is an instant kept as BIGINT Unix milliseconds; the zero Time is NULL, "not set".
type Time struct{ time.Time }

// At makes a Time, cut to the millisecond the database keeps.
func At(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{t.Truncate(time.Millisecond)}
}

// Value implements driver.Valuer.
func (t Time) Value() (driver.Value, error) {
	if t.IsZero() {
		return nil, nil
	}
	return t.UnixMilli(), nil
}

// Scan implements sql.Scanner.
func (t *Time) Scan(v any) error {
	switch x := v.(type) {
	case nil:
		*t = Time{}
	case int64:
		*t = Time{time.UnixMilli(x).UTC()}
	default:
		return fmt.Errorf("store: a time column holds %T", v)
	}
	return nil
}

// Strings is a list kept as TEXT JSON; nil is written as [].
type Strings []string

// Value implements driver.Valuer.
func (s Strings) Value() (driver.Value, error) {
	if s == nil {
		return "[]", nil
	}
	b, err := json.Marshal([]string(s))
	return string(b), err
}

// Scan implements sql.Scanner.
func (s *Strings) Scan(v any) error { return scanJSON(v, (*[]string)(s)) }

func scanJSON(v, into any) error {
	switch x := v.(type) {
	case nil:
		return nil
	case string:
		if x == "" {
			return nil
		}
		return json.Unmarshal([]byte(x), into)
	case []byte:
		if len(x) == 0 {
			return nil
		}
		return json.Unmarshal(x, into)
	}
	return fmt.Errorf("store: a JSON column holds %T", v)
}
