-- Mail that is really sent, and addresses proven by a code in one.

-- +goose Up
-- A message that will never be sent: it expired, or the other side refused it for good.
ALTER TABLE outbox ADD COLUMN failed_at BIGINT;
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (next_at) WHERE sent_at IS NULL AND failed_at IS NULL;
CREATE INDEX outbox_recipient ON outbox (recipient);

-- The code that proves an address, for the attempt that waits for it: one at a time, and it goes with its attempt.
CREATE TABLE mail_codes (
  attempt_hash TEXT NOT NULL PRIMARY KEY REFERENCES attempts (state_hash) ON DELETE CASCADE,
  sealed TEXT NOT NULL,
  code_hash TEXT NOT NULL,
  tries BIGINT NOT NULL,
  sends BIGINT NOT NULL,
  sent_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);

-- +goose Down
DROP TABLE mail_codes;
DROP INDEX outbox_recipient;
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (next_at) WHERE sent_at IS NULL;
ALTER TABLE outbox DROP COLUMN failed_at;
