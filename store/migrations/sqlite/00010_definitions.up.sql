-- A number for each state of the definitions, and the graph of one of these states: it is taken where both numbers are equal. Two tables, so that raising
-- the number does not write the body again.
CREATE TABLE definitions (
  id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
  generation BIGINT NOT NULL
);
INSERT INTO definitions (id, generation) VALUES (1, 1);
CREATE TABLE definition_snapshot (
  id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
  generation BIGINT NOT NULL,
  body BLOB NOT NULL
);
INSERT INTO definition_snapshot (id, generation, body) VALUES (1, 0, x'');

-- Whoever changes a definition raises the number, a hand in the database too. What a privilege is called is not in the graph.
-- Whoever makes one of the two tables anew makes its triggers again.
CREATE TRIGGER privileges_made AFTER INSERT ON privileges BEGIN
  UPDATE definitions SET generation = generation + 1;
END;
CREATE TRIGGER privileges_changed AFTER UPDATE OF name, deleted_at ON privileges BEGIN
  UPDATE definitions SET generation = generation + 1;
END;
CREATE TRIGGER privileges_gone AFTER DELETE ON privileges BEGIN
  UPDATE definitions SET generation = generation + 1;
END;
CREATE TRIGGER includes_made AFTER INSERT ON privilege_includes BEGIN
  UPDATE definitions SET generation = generation + 1;
END;
CREATE TRIGGER includes_changed AFTER UPDATE OF parent, child, ended_at ON privilege_includes BEGIN
  UPDATE definitions SET generation = generation + 1;
END;
CREATE TRIGGER includes_gone AFTER DELETE ON privilege_includes BEGIN
  UPDATE definitions SET generation = generation + 1;
END;
