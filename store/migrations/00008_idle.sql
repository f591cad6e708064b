-- When people last used their accounts, and the warnings of those who did not; and indexes for
-- reading many people's rights at once.

-- +goose Up
-- When a refresh token was last used. rt_rotated_at cannot say it: it begins the grace, and a token that does not rotate has none.
ALTER TABLE grants ADD COLUMN rt_used_at BIGINT;

-- What sessions and grants knew of a person's last use, kept when they go. No foreign key, as grants have none.
CREATE TABLE last_uses (
  user_id TEXT NOT NULL PRIMARY KEY,
  used_at BIGINT NOT NULL
);

-- The newest warning of a person that their account will be removed. email_key is whom it went to, due_at what it says.
CREATE TABLE idle_warnings (
  user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id),
  email_key TEXT NOT NULL,
  message_id TEXT NOT NULL,
  warned_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  sent_at BIGINT
);

CREATE INDEX users_idle ON users ((COALESCE(last_login_at, created_at)), id) WHERE deleted_at IS NULL AND disabled_at IS NULL;

-- All live names and pairs are read at once after each change of a definition, on SQLite from these indexes alone, and names in their order:
-- without deleted_at and ended_at in them, each row is a look into the table.
CREATE INDEX privileges_live ON privileges (name, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX privilege_includes_pairs ON privilege_includes (parent, child, ended_at) WHERE ended_at IS NULL;

-- Everybody who holds something, in the order of their ids; and all that somebody holds, from the index alone.
DROP INDEX assignments_privilege;
CREATE INDEX assignments_privilege ON assignments (privilege, user_id, ended_at) WHERE ended_at IS NULL;
CREATE INDEX assignments_held ON assignments (user_id, privilege, valid_from, valid_until, ended_at) WHERE ended_at IS NULL;

-- +goose Down
DROP INDEX assignments_held;
DROP INDEX assignments_privilege;
CREATE INDEX assignments_privilege ON assignments (privilege) WHERE ended_at IS NULL;
DROP INDEX privilege_includes_pairs;
DROP INDEX privileges_live;
DROP INDEX users_idle;
DROP TABLE idle_warnings;
DROP TABLE last_uses;
ALTER TABLE grants DROP COLUMN rt_used_at;
