//go:build !race

package privilege

const raceEnabled = false
