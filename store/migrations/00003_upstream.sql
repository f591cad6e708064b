-- Signing in through upstream connectors.

-- +goose Up
-- What is begun in one browser and goes on once: the way to an upstream and back, and an identity that waits for a person's word.
CREATE TABLE attempts (
  state_hash TEXT NOT NULL PRIMARY KEY,
  connector TEXT NOT NULL,
  purpose TEXT NOT NULL,
  flow_hash TEXT NOT NULL,
  user_id TEXT NOT NULL,
  browser_hash TEXT NOT NULL,
  sealed TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE INDEX attempts_user ON attempts (user_id) WHERE user_id <> '';
CREATE INDEX attempts_expiry ON attempts (expires_at);

-- The upstream's side of a session, apart from it: sessions are read on every request, this at sign-out. It goes with its session.
CREATE TABLE upstream_sessions (
  session_id TEXT NOT NULL PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
  connector TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  upstream_sid TEXT NOT NULL,
  sealed TEXT NOT NULL,
  anew BOOLEAN NOT NULL
);
CREATE INDEX upstream_sessions_subject ON upstream_sessions (connector, subject);
CREATE INDEX upstream_sessions_sid ON upstream_sessions (connector, upstream_sid) WHERE upstream_sid <> '';

-- The upstream's access token under the master key, where the operator wants it given back when the link goes.
ALTER TABLE identities ADD COLUMN token_sealed TEXT NOT NULL DEFAULT '';

CREATE INDEX identities_email ON identities (connector, issuer, LOWER(email)) WHERE email <> '';
CREATE INDEX one_time_user ON one_time (user_id) WHERE user_id <> '';
CREATE INDEX pending_user ON pending (user_id) WHERE user_id <> '';

-- +goose Down
DROP INDEX pending_user;
DROP INDEX one_time_user;
DROP INDEX identities_email;
ALTER TABLE identities DROP COLUMN token_sealed;
DROP TABLE upstream_sessions;
DROP TABLE attempts;
