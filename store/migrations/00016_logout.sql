-- Applications are told of ended sessions: which they are is asked when a session's grants are revoked already, and people see whom we reached.

-- +goose Up
DROP INDEX grants_session;
CREATE INDEX grants_session ON grants (sid);
-- Whom a message is about, where its recipient does not say it: the user of a logout.
ALTER TABLE outbox ADD COLUMN about TEXT NOT NULL DEFAULT '';
CREATE INDEX outbox_about ON outbox (about) WHERE about <> '';

-- +goose Down
DROP INDEX outbox_about;
ALTER TABLE outbox DROP COLUMN about;
DROP INDEX grants_session;
CREATE INDEX grants_session ON grants (sid) WHERE revoked_at IS NULL;
