-- All rows of a person, those that are over among them: an application's last token may have come of a grant that was revoked since, and the
-- words of authorities that ended go with the account.

-- +goose Up
DROP INDEX grants_user;
CREATE INDEX grants_user ON grants (user_id, client_id);
DROP INDEX authorities_grantor;
CREATE INDEX authorities_grantor ON authorities (grantor);
DROP INDEX authorities_grantee;
CREATE INDEX authorities_grantee ON authorities (grantee) WHERE grantee <> '';

-- +goose Down
DROP INDEX authorities_grantee;
CREATE INDEX authorities_grantee ON authorities (grantee) WHERE ended_at IS NULL AND grantee <> '';
DROP INDEX authorities_grantor;
CREATE INDEX authorities_grantor ON authorities (grantor) WHERE ended_at IS NULL;
DROP INDEX grants_user;
CREATE INDEX grants_user ON grants (user_id, client_id) WHERE revoked_at IS NULL;
