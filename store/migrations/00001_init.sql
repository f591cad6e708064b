-- One schema for SQLite and PostgreSQL: ids, hashes and JSON are TEXT, instants BIGINT Unix milliseconds (NULL = not set), and no column has a
-- default, so a row never says what nobody wrote.
--
-- Foreign keys stand where the parent is never deleted or a lost reference would matter. They are absent on the token path (grants, flows), where
-- they would cost a look-up per request and rows point at users that may be nobody (''), and in audit and events, which outlive what they name.

-- +goose Up
CREATE TABLE users (
  id TEXT NOT NULL PRIMARY KEY,
  username TEXT NOT NULL,
  username_key TEXT NOT NULL,
  email TEXT NOT NULL,
  email_key TEXT NOT NULL,
  email_verified_at BIGINT,
  phone TEXT NOT NULL,
  phone_verified_at BIGINT,
  given_name TEXT NOT NULL,
  family_name TEXT NOT NULL,
  locale TEXT NOT NULL,
  zoneinfo TEXT NOT NULL,
  profile TEXT NOT NULL,
  user_type TEXT NOT NULL,
  must_change_password BOOLEAN NOT NULL,
  valid_from BIGINT,
  valid_until BIGINT,
  disabled_at BIGINT,
  disabled_reason TEXT NOT NULL,
  deleted_at BIGINT,
  last_login_at BIGINT,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  version BIGINT NOT NULL
);
CREATE UNIQUE INDEX users_username ON users (username_key) WHERE username_key <> '';
CREATE UNIQUE INDEX users_email ON users (email_key) WHERE email_key <> '';
CREATE UNIQUE INDEX users_phone ON users (phone) WHERE phone <> '';

CREATE TABLE credentials (
  id TEXT NOT NULL PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id),
  kind TEXT NOT NULL,
  label TEXT NOT NULL,
  secret TEXT NOT NULL,
  data TEXT NOT NULL,
  counter BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  last_used_at BIGINT
);
CREATE INDEX credentials_user ON credentials (user_id, kind);
CREATE UNIQUE INDEX credentials_password ON credentials (user_id) WHERE kind = 'password';

CREATE TABLE identities (
  id TEXT NOT NULL PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id),
  connector TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  email TEXT NOT NULL,
  email_trust TEXT NOT NULL,
  evidence TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  last_used_at BIGINT,
  quarantined_at BIGINT
);
CREATE UNIQUE INDEX identities_subject ON identities (connector, issuer, subject);
CREATE INDEX identities_user ON identities (user_id);

CREATE TABLE privileges (
  name TEXT NOT NULL PRIMARY KEY,
  label TEXT NOT NULL,
  description TEXT NOT NULL,
  built_in BOOLEAN NOT NULL,
  client_id TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  deleted_at BIGINT
);

-- What a privilege includes, with its history: a past token is explained as of its iat.
CREATE TABLE privilege_includes (
  id TEXT NOT NULL PRIMARY KEY,
  parent TEXT NOT NULL REFERENCES privileges (name),
  child TEXT NOT NULL REFERENCES privileges (name),
  started_at BIGINT NOT NULL,
  started_by TEXT NOT NULL,
  ended_at BIGINT,
  ended_by TEXT NOT NULL
);
CREATE UNIQUE INDEX privilege_includes_live ON privilege_includes (parent, child) WHERE ended_at IS NULL;
CREATE INDEX privilege_includes_child ON privilege_includes (child) WHERE ended_at IS NULL;

CREATE TABLE assignments (
  id TEXT NOT NULL PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id),
  privilege TEXT NOT NULL REFERENCES privileges (name),
  given_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  valid_from BIGINT,
  valid_until BIGINT,
  created_at BIGINT NOT NULL,
  ended_at BIGINT,
  ended_by TEXT NOT NULL
);
CREATE UNIQUE INDEX assignments_live ON assignments (user_id, privilege) WHERE ended_at IS NULL;
CREATE INDEX assignments_privilege ON assignments (privilege) WHERE ended_at IS NULL;
CREATE INDEX assignments_user ON assignments (user_id);

CREATE TABLE clients (
  id TEXT NOT NULL PRIMARY KEY,
  source TEXT NOT NULL,
  secret_hash TEXT NOT NULL,
  prev_secret_hash TEXT NOT NULL,
  prev_until BIGINT,
  metadata TEXT NOT NULL,
  version BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  disabled_at BIGINT
);

CREATE TABLE grants (
  id TEXT NOT NULL PRIMARY KEY,
  client_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  sid TEXT NOT NULL,
  connector TEXT NOT NULL,
  scope TEXT NOT NULL,
  audience TEXT NOT NULL,
  facts TEXT NOT NULL,
  offline BOOLEAN NOT NULL,
  rt_gen BIGINT NOT NULL,
  rt_rotated_at BIGINT,
  rt_expires_at BIGINT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_at BIGINT,
  revoke_reason TEXT NOT NULL
);
CREATE INDEX grants_user ON grants (user_id, client_id) WHERE revoked_at IS NULL;
CREATE INDEX grants_session ON grants (sid) WHERE revoked_at IS NULL;
CREATE INDEX grants_client ON grants (client_id) WHERE revoked_at IS NULL;
CREATE INDEX grants_expiry ON grants (expires_at);

CREATE TABLE consents (
  user_id TEXT NOT NULL REFERENCES users (id),
  client_id TEXT NOT NULL REFERENCES clients (id),
  scope TEXT NOT NULL,
  claims_digest TEXT NOT NULL,
  client_digest TEXT NOT NULL,
  granted_at BIGINT NOT NULL,
  expires_at BIGINT,
  PRIMARY KEY (user_id, client_id)
);
CREATE INDEX consents_client ON consents (client_id);

CREATE TABLE flows (
  id_hash TEXT NOT NULL PRIMARY KEY,
  client_id TEXT NOT NULL,
  form TEXT NOT NULL,
  browser_hash TEXT NOT NULL,
  user_id TEXT NOT NULL,
  consent TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  finished_at BIGINT
);
CREATE INDEX flows_client ON flows (client_id);
CREATE INDEX flows_expiry ON flows (expires_at);

CREATE TABLE sessions (
  id TEXT NOT NULL PRIMARY KEY,
  secret_hash TEXT NOT NULL,
  sid TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (id),
  connector TEXT NOT NULL,
  amr TEXT NOT NULL,
  acr TEXT NOT NULL,
  auth_time BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  last_seen_at BIGINT NOT NULL,
  idle_ms BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  ip TEXT NOT NULL,
  user_agent TEXT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_sid ON sessions (sid);
CREATE INDEX sessions_expiry ON sessions (expires_at);
CREATE INDEX sessions_idle ON sessions ((last_seen_at + idle_ms));

-- Half-finished sign-ins: another table than sessions, so that one can never be read as the other.
CREATE TABLE partials (
  id TEXT NOT NULL PRIMARY KEY,
  secret_hash TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (id),
  connector TEXT NOT NULL,
  amr TEXT NOT NULL,
  owes TEXT NOT NULL,
  flow_hash TEXT NOT NULL,
  remember BOOLEAN NOT NULL,
  tries BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX partials_user ON partials (user_id);
CREATE INDEX partials_expiry ON partials (expires_at);

CREATE TABLE pending (
  id_hash TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL,
  user_code_hash TEXT NOT NULL,
  client_id TEXT NOT NULL,
  request TEXT NOT NULL,
  user_id TEXT NOT NULL,
  facts TEXT NOT NULL,
  state TEXT NOT NULL,
  interval_s BIGINT NOT NULL,
  polled_at BIGINT,
  expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX pending_user_code ON pending (user_code_hash) WHERE user_code_hash <> '';
CREATE INDEX pending_client ON pending (client_id);
CREATE INDEX pending_expiry ON pending (expires_at);

CREATE TABLE markers (
  key TEXT NOT NULL PRIMARY KEY,
  expires_at BIGINT NOT NULL
);
CREATE INDEX markers_expiry ON markers (expires_at);

CREATE TABLE throttles (
  key TEXT NOT NULL PRIMARY KEY,
  n BIGINT NOT NULL,
  last_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX throttles_expiry ON throttles (expires_at);

CREATE TABLE one_time (
  hash TEXT NOT NULL PRIMARY KEY,
  purpose TEXT NOT NULL,
  user_id TEXT NOT NULL,
  data TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);
-- A new link of one purpose replaces the unused one of the same person.
CREATE UNIQUE INDEX one_time_live ON one_time (purpose, user_id) WHERE used_at IS NULL;
CREATE INDEX one_time_expiry ON one_time (expires_at);

CREATE TABLE signing_keys (
  kid TEXT NOT NULL PRIMARY KEY,
  alg TEXT NOT NULL,
  private_sealed TEXT NOT NULL,
  master_kid TEXT NOT NULL,
  publish_at BIGINT NOT NULL,
  active_at BIGINT NOT NULL,
  retire_at BIGINT,
  delete_at BIGINT
);
CREATE INDEX signing_keys_alg ON signing_keys (alg);

CREATE TABLE outbox (
  id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL,
  recipient TEXT NOT NULL,
  subject TEXT NOT NULL,
  text TEXT NOT NULL,
  html TEXT NOT NULL,
  dedupe_key TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  next_at BIGINT NOT NULL,
  leased_until BIGINT,
  attempts BIGINT NOT NULL,
  sent_at BIGINT,
  last_error TEXT NOT NULL
);
CREATE UNIQUE INDEX outbox_dedupe ON outbox (dedupe_key) WHERE dedupe_key <> '';
CREATE INDEX outbox_due ON outbox (next_at) WHERE sent_at IS NULL;
CREATE INDEX outbox_created ON outbox (created_at);
CREATE INDEX outbox_done ON outbox ((COALESCE(sent_at, expires_at)));

CREATE TABLE audit (
  seq BIGINT NOT NULL PRIMARY KEY,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  diff TEXT NOT NULL,
  prev TEXT NOT NULL,
  hash TEXT NOT NULL
);

-- How long the chain is and how it ends: a log cut short no longer fits. Its one row is also the lock that makes entries queue up.
CREATE TABLE audit_head (
  id BIGINT NOT NULL PRIMARY KEY,
  seq BIGINT NOT NULL,
  hash TEXT NOT NULL
);
INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '');

CREATE TABLE events (
  id TEXT NOT NULL PRIMARY KEY,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  user_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  ip TEXT NOT NULL,
  data TEXT NOT NULL
);
CREATE INDEX events_at ON events (at);
CREATE INDEX events_user ON events (user_id, at) WHERE user_id <> '';

-- changes: raised by every change of what processes keep in memory. gate, keys: raised first by transactions that must not run side by side,
-- so that the row is their lock. admins: how many were ever made; the web set-up stays shut once it is not 0 (security.md G5).
CREATE TABLE counters (
  name TEXT NOT NULL PRIMARY KEY,
  n BIGINT NOT NULL
);
INSERT INTO counters (name, n) VALUES ('changes', 0), ('gate', 0), ('keys', 0), ('admins', 0);

CREATE TABLE leases (
  name TEXT NOT NULL PRIMARY KEY,
  owner TEXT NOT NULL,
  until BIGINT NOT NULL
);
INSERT INTO leases (name, owner, until) VALUES ('purge', '', 0);

-- +goose Down
DROP TABLE leases;
DROP TABLE counters;
DROP TABLE events;
DROP TABLE audit_head;
DROP TABLE audit;
DROP TABLE outbox;
DROP TABLE signing_keys;
DROP TABLE one_time;
DROP TABLE throttles;
DROP TABLE markers;
DROP TABLE pending;
DROP TABLE partials;
DROP TABLE sessions;
DROP TABLE flows;
DROP TABLE consents;
DROP TABLE grants;
DROP TABLE clients;
DROP TABLE assignments;
DROP TABLE privilege_includes;
DROP TABLE privileges;
DROP TABLE identities;
DROP TABLE credentials;
DROP TABLE users;
