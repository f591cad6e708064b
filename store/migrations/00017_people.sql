-- Finding people: the words of their names, and an index for each thing that lists are narrowed by; and accounts whose owners asked for their end.

-- +goose Up
-- The words of somebody's names as searches compare them, made by the program: no database lower-cases every alphabet.
CREATE TABLE user_words (
  word TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (id),
  PRIMARY KEY (word, user_id)
);
CREATE INDEX user_words_user ON user_words (user_id, word);
-- words: 1 once the names of everybody who was there before are in it.
INSERT INTO counters (name, n) VALUES ('words', 0);

CREATE INDEX users_of_type ON users (user_type, id) WHERE deleted_at IS NULL;
CREATE INDEX users_disabled ON users (id) WHERE disabled_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX users_waiting ON users (id) WHERE disabled_at IS NOT NULL AND deleted_at IS NULL AND disabled_reason = 'awaiting approval';
CREATE INDEX users_new ON users (id) WHERE last_login_at IS NULL AND deleted_at IS NULL;
CREATE INDEX users_with_phone ON users (id) WHERE phone <> '' AND deleted_at IS NULL;
CREATE INDEX credentials_factor ON credentials (user_id) WHERE kind NOT IN ('password', 'recovery');
CREATE INDEX identities_people ON identities (connector, user_id);
CREATE INDEX audit_about ON audit (target, seq);

-- Accounts whose owners asked for their end. A sign-in after asked_at takes it back; nothing else has to be written for that.
CREATE TABLE deletions (
  user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id),
  asked_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL
);
CREATE INDEX deletions_due ON deletions (due_at);

-- +goose Down
DROP TABLE deletions;
DROP INDEX audit_about;
DROP INDEX identities_people;
DROP INDEX credentials_factor;
DROP INDEX users_with_phone;
DROP INDEX users_new;
DROP INDEX users_waiting;
DROP INDEX users_disabled;
DROP INDEX users_of_type;
DELETE FROM counters WHERE name = 'words';
DROP TABLE user_words;
