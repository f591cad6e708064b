-- Several sources of one privilege, user types, permissions and delegations.

-- +goose Up
ALTER TABLE assignments ADD COLUMN source TEXT NOT NULL DEFAULT 'person';
ALTER TABLE assignments ADD COLUMN source_ref TEXT NOT NULL DEFAULT '';
UPDATE assignments SET source = 'connector', source_ref = SUBSTR(given_by, 11) WHERE given_by LIKE 'connector:%';
DROP INDEX assignments_live;
CREATE UNIQUE INDEX assignments_live ON assignments (user_id, privilege, source, source_ref) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX assignments_type ON assignments (user_id) WHERE ended_at IS NULL AND source = 'type';

-- Who declared a privilege (built-in, config, admin), and what it is called in other languages: {"de": {"label": "", "description": ""}}.
ALTER TABLE privileges ADD COLUMN source TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE privileges ADD COLUMN texts TEXT NOT NULL DEFAULT '{}';
UPDATE privileges SET source = 'built-in' WHERE built_in;

-- A type's privilege is what its node in privileges ('type/' and the value) includes, and who has it is an assignment to that node: so
-- both have their history where all others have it.
CREATE TABLE user_types (
  value TEXT NOT NULL PRIMARY KEY,
  position BIGINT NOT NULL,
  names TEXT NOT NULL,
  label TEXT NOT NULL,
  texts TEXT NOT NULL,
  read_only BOOLEAN NOT NULL,
  hidden_languages TEXT NOT NULL,
  mask TEXT NOT NULL,
  source TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  deleted_at BIGINT
);
CREATE INDEX users_type ON users (user_type);

-- Which permissions a privilege brings within Latchkey, beside those it brings by itself.
CREATE TABLE powers (
  id TEXT NOT NULL PRIMARY KEY,
  privilege TEXT NOT NULL,
  permission TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  started_by TEXT NOT NULL,
  ended_at BIGINT,
  ended_by TEXT NOT NULL
);
CREATE UNIQUE INDEX powers_live ON powers (privilege, permission) WHERE ended_at IS NULL;

-- What holders of a privilege may pass on, and to whom.
CREATE TABLE delegations (
  id TEXT NOT NULL PRIMARY KEY,
  holder TEXT NOT NULL,
  confer TEXT NOT NULL,
  people TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  started_by TEXT NOT NULL,
  ended_at BIGINT,
  ended_by TEXT NOT NULL
);
CREATE INDEX delegations_live ON delegations (id) WHERE ended_at IS NULL;

-- +goose Down
DROP TABLE delegations;
DROP TABLE powers;
DELETE FROM assignments WHERE source = 'type';
DELETE FROM privilege_includes WHERE parent LIKE 'type/%';
DELETE FROM privileges WHERE name LIKE 'type/%';
UPDATE users SET user_type = '';
DROP INDEX users_type;
DROP TABLE user_types;
ALTER TABLE privileges DROP COLUMN texts;
ALTER TABLE privileges DROP COLUMN source;
DROP INDEX assignments_type;
DROP INDEX assignments_live;
UPDATE assignments SET ended_at = created_at, ended_by = 'system' WHERE ended_at IS NULL AND source <> 'person';
CREATE UNIQUE INDEX assignments_live ON assignments (user_id, privilege) WHERE ended_at IS NULL;
ALTER TABLE assignments DROP COLUMN source_ref;
ALTER TABLE assignments DROP COLUMN source;
