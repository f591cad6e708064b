package relying

import "time"

// NewMemoryRevocations lets tests share one.
func NewMemoryRevocations(now func() time.Time) Revocations { return newMemoryRevocations(now) }
