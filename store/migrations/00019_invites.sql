-- Invitations: somebody proposes one, somebody who could give what it brings approves it, and a link makes one account of it.

-- +goose Up
CREATE TABLE invites (
  id TEXT NOT NULL PRIMARY KEY,
  email TEXT NOT NULL,
  email_key TEXT NOT NULL,
  user_type TEXT NOT NULL,
  privileges TEXT NOT NULL,
  message TEXT NOT NULL,
  client_id TEXT NOT NULL,
  locale TEXT NOT NULL,
  state TEXT NOT NULL,
  needs BIGINT NOT NULL,
  life_ms BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  approved_at BIGINT,
  approved_by TEXT NOT NULL,
  second_by TEXT NOT NULL,
  note TEXT NOT NULL,
  token_hash TEXT NOT NULL,
  sends BIGINT NOT NULL,
  sent_at BIGINT,
  message_id TEXT NOT NULL,
  opened_at BIGINT,
  browser_hash TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  ended_at BIGINT,
  ended_by TEXT NOT NULL,
  user_id TEXT NOT NULL,
  withheld TEXT NOT NULL
);
CREATE UNIQUE INDEX invites_open ON invites (email_key) WHERE email_key <> '' AND ended_at IS NULL;
CREATE UNIQUE INDEX invites_token ON invites (token_hash) WHERE token_hash <> '';
CREATE INDEX invites_browser ON invites (browser_hash) WHERE browser_hash <> '' AND ended_at IS NULL;
CREATE INDEX invites_newest ON invites (created_at, id);
CREATE INDEX invites_by ON invites (created_by, created_at, id);
CREATE INDEX invites_waiting ON invites (created_at, id) WHERE state = 'proposed' AND ended_at IS NULL;
CREATE INDEX invites_address ON invites (email_key, created_at);
CREATE INDEX invites_of ON invites (user_id) WHERE user_id <> '';
CREATE INDEX invites_expiring ON invites (expires_at) WHERE ended_at IS NULL;
CREATE INDEX invites_ended ON invites (ended_at) WHERE ended_at IS NOT NULL;

-- +goose Down
DROP TABLE invites;
