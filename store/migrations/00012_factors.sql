-- Second factors: what a half-finished sign-in keeps until one was shown, and recovery codes.

-- +goose Up
-- session_id: the session that is raised when it is done; '' = a new one is made. data: sealed, what the sign-in needs to go on.
ALTER TABLE partials ADD COLUMN session_id TEXT NOT NULL DEFAULT '';
ALTER TABLE partials ADD COLUMN data TEXT NOT NULL DEFAULT '';

CREATE UNIQUE INDEX credentials_recovery ON credentials (user_id, secret) WHERE kind = 'recovery';

-- +goose Down
DROP INDEX credentials_recovery;
DELETE FROM partials WHERE owes <> 'new_password' OR session_id <> '';
ALTER TABLE partials DROP COLUMN data;
ALTER TABLE partials DROP COLUMN session_id;
