-- Acting for another person: who lets whom, which session does, and which grants came of it.

-- +goose Up
-- link_hash is of the link that is handed over; grantee is '' until somebody took it. Ended and expired ones stay as history.
CREATE TABLE authorities (
  id TEXT NOT NULL PRIMARY KEY,
  grantor TEXT NOT NULL REFERENCES users (id),
  grantee TEXT NOT NULL,
  client_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  link_hash TEXT NOT NULL,
  link_until BIGINT NOT NULL,
  valid_until BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  taken_at BIGINT,
  ended_at BIGINT,
  ended_by TEXT NOT NULL
);
CREATE UNIQUE INDEX authorities_link ON authorities (link_hash);
CREATE INDEX authorities_grantor ON authorities (grantor) WHERE ended_at IS NULL;
CREATE INDEX authorities_grantee ON authorities (grantee) WHERE ended_at IS NULL AND grantee <> '';
CREATE INDEX authorities_client ON authorities (client_id) WHERE ended_at IS NULL AND client_id <> '';
CREATE INDEX authorities_offers ON authorities (link_until) WHERE grantee = '';

ALTER TABLE sessions ADD COLUMN acting_for TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN acting_by TEXT NOT NULL DEFAULT '';

ALTER TABLE grants ADD COLUMN actor_id TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN acting_by TEXT NOT NULL DEFAULT '';
CREATE INDEX grants_actor ON grants (actor_id) WHERE actor_id <> '' AND revoked_at IS NULL;
CREATE INDEX grants_acting_by ON grants (acting_by) WHERE acting_by <> '' AND revoked_at IS NULL;

-- +goose Down
-- What somebody was given for another would be theirs in an older program, which knows no actor.
UPDATE grants SET revoked_at = created_at, revoke_reason = 'acting is not known' WHERE actor_id <> '' AND revoked_at IS NULL;
DELETE FROM sessions WHERE acting_for <> '';
DROP INDEX grants_acting_by;
DROP INDEX grants_actor;
ALTER TABLE grants DROP COLUMN acting_by;
ALTER TABLE grants DROP COLUMN actor_id;
ALTER TABLE sessions DROP COLUMN acting_by;
ALTER TABLE sessions DROP COLUMN acting_for;
DROP TABLE authorities;
