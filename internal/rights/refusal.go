package rights

import (
	"errors"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
)

// Refusal is why the gate refuses somebody a change: "self", "protected", "not_yours", "outside", "temporary" (held only for a while), "machine" (cron), or "power" for any other lack of
// permission; "" for an error that is no refusal.
func Refusal(err error) string {
	switch {
	case errors.Is(err, privilege.ErrSelf):
		return "self"
	case errors.Is(err, privilege.ErrProtected):
		return "protected"
	case errors.Is(err, privilege.ErrNotHeld):
		return "not_yours"
	case errors.Is(err, privilege.ErrOutside):
		return "outside"
	case errors.Is(err, privilege.ErrTemporary):
		return "temporary"
	case errors.Is(err, privilege.ErrCron):
		return "machine"
	case errors.Is(err, store.ErrForbidden):
		return "power"
	}
	return ""
}
