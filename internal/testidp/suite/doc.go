// Package suite holds the black-box stories: everything here goes through the front door of a whole Latchkey, with the harness's
// browser, a real Chromium, or a real relying party. It has tests only.
package suite
