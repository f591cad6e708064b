-- A number for each state of the definitions, and the graph of one of these states: it is taken where both numbers are equal. Two tables, so that whoever
-- stores a body does not wait for whoever changes a definition.
CREATE TABLE definitions (
  id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
  generation BIGINT NOT NULL
);
INSERT INTO definitions (id, generation) VALUES (1, 1);
CREATE TABLE definition_snapshot (
  id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
  generation BIGINT NOT NULL,
  body BYTEA NOT NULL
);
ALTER TABLE definition_snapshot ALTER COLUMN body SET STORAGE EXTERNAL; -- to unpack it takes longer than to read it
INSERT INTO definition_snapshot (id, generation, body) VALUES (1, 0, '');

-- Whoever changes a definition raises the number, a hand in the database too, once in a transaction: each raise leaves a dead row that the next must
-- step over, ten thousand of them fifty million times. Once is enough, because nobody else sees the number or the definitions before the commit, then
-- both at once, and no snapshot is ever made within a transaction. That it was raised is remembered in a setting that ends with the transaction, and goes
-- with a savepoint that is undone, as the raise does; the transaction's id in it is for a hand that sets it for longer.
-- The table is named with its schema, as whoever changes a definition may have another search path, pg_restore has none.
CREATE FUNCTION definitions_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  mine TEXT := txid_current() || ' ' || TG_TABLE_SCHEMA;
BEGIN
  IF current_setting('latchkey.definitions', TRUE) IS DISTINCT FROM mine THEN
    EXECUTE format('UPDATE %I.definitions SET generation = generation + 1', TG_TABLE_SCHEMA);
    PERFORM set_config('latchkey.definitions', mine, TRUE);
  END IF;
  RETURN NULL;
END
$$;
-- A trigger of its own for updates, as only it can name columns. What a privilege is called is not in the graph.
CREATE TRIGGER privileges_changed AFTER UPDATE OF name, deleted_at ON privileges
  FOR EACH STATEMENT EXECUTE FUNCTION definitions_changed();
CREATE TRIGGER privileges_come_and_go AFTER INSERT OR DELETE OR TRUNCATE ON privileges
  FOR EACH STATEMENT EXECUTE FUNCTION definitions_changed();
CREATE TRIGGER includes_changed AFTER UPDATE OF parent, child, ended_at ON privilege_includes
  FOR EACH STATEMENT EXECUTE FUNCTION definitions_changed();
CREATE TRIGGER includes_come_and_go AFTER INSERT OR DELETE OR TRUNCATE ON privilege_includes
  FOR EACH STATEMENT EXECUTE FUNCTION definitions_changed();
-- Also where session_replication_role silences others.
ALTER TABLE privileges ENABLE ALWAYS TRIGGER privileges_changed;
ALTER TABLE privileges ENABLE ALWAYS TRIGGER privileges_come_and_go;
ALTER TABLE privilege_includes ENABLE ALWAYS TRIGGER includes_changed;
ALTER TABLE privilege_includes ENABLE ALWAYS TRIGGER includes_come_and_go;
