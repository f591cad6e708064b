package templates

// Logouts is which applications confirmed that they ended what a person signed out of.
type Logouts struct {
	Confirmed       int
	Waiting, Missed []string // names of those that have not yet, and of those that were given up
}

// Count of all that were told.
func (l *Logouts) Count() int { return l.Confirmed + len(l.Waiting) + len(l.Missed) }
