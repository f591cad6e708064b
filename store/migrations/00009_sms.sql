-- Codes by SMS: what may be sent, what became of it, and when a number was last proven to be somebody's.

-- +goose Up
-- What the carrier said in the end (delivered, undelivered, failed; '' = nothing yet), and the number of the error.
ALTER TABLE outbox ADD COLUMN status TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN error_code BIGINT NOT NULL DEFAULT 0;

-- A text may overtake another: the code before is taken until prev_until.
ALTER TABLE mail_codes ADD COLUMN prev_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE mail_codes ADD COLUMN prev_until BIGINT;
ALTER TABLE mail_codes ADD COLUMN message_id TEXT NOT NULL DEFAULT '';

-- Messages of a window that begins with the first: how many, what they cost in millionths, and how many codes of them came back.
CREATE TABLE budgets (
  key TEXT NOT NULL PRIMARY KEY,
  n BIGINT NOT NULL,
  spent BIGINT NOT NULL,
  good BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX budgets_expiry ON budgets (expires_at);

-- What an operator can stop for all processes at once, without a restart.
CREATE TABLE switches (
  name TEXT NOT NULL PRIMARY KEY,
  off_at BIGINT,
  off_by TEXT NOT NULL,
  reason TEXT NOT NULL
);
INSERT INTO switches (name, off_at, off_by, reason) VALUES ('sms', NULL, '', '');

-- Numbers pass to other people: what an account's number opens depends on when it was set and last proven.
CREATE TABLE phone_proofs (
  user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id),
  phone TEXT NOT NULL,
  changed_at BIGINT,
  proven_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE phone_proofs;
DROP TABLE switches;
DROP TABLE budgets;
ALTER TABLE mail_codes DROP COLUMN message_id;
ALTER TABLE mail_codes DROP COLUMN prev_until;
ALTER TABLE mail_codes DROP COLUMN prev_hash;
ALTER TABLE outbox DROP COLUMN error_code;
ALTER TABLE outbox DROP COLUMN status;
