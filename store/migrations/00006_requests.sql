-- People ask for privileges, and whoever could give one decides.

-- +goose Up
ALTER TABLE privileges ADD COLUMN requestable BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE privilege_requests (
  id TEXT NOT NULL PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id),
  privilege TEXT NOT NULL REFERENCES privileges (name),
  reason TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  decided_at BIGINT,
  decided_by TEXT NOT NULL,
  decision TEXT NOT NULL,
  note TEXT NOT NULL,
  valid_until BIGINT
);
CREATE UNIQUE INDEX privilege_requests_open ON privilege_requests (privilege, user_id) WHERE decided_at IS NULL;
CREATE INDEX privilege_requests_queue ON privilege_requests (expires_at, id) WHERE decided_at IS NULL;
CREATE INDEX privilege_requests_user ON privilege_requests (user_id, created_at, id);
CREATE INDEX privilege_requests_decided ON privilege_requests (decided_at) WHERE decided_at IS NOT NULL;

-- +goose Down
DROP TABLE privilege_requests;
ALTER TABLE privileges DROP COLUMN requestable;
