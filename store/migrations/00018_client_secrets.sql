-- Clients that authenticate by client_secret_jwt: both sides compute with the secret, so it is kept sealed under the master key beside its hash.

-- +goose Up
-- '' = nobody needs it.
ALTER TABLE clients ADD COLUMN secret_sealed TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN prev_secret_sealed TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE clients DROP COLUMN prev_secret_sealed;
ALTER TABLE clients DROP COLUMN secret_sealed;
