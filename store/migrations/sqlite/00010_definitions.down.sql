DROP TRIGGER includes_gone;
DROP TRIGGER includes_changed;
DROP TRIGGER includes_made;
DROP TRIGGER privileges_gone;
DROP TRIGGER privileges_changed;
DROP TRIGGER privileges_made;
DROP TABLE definition_snapshot;
DROP TABLE definitions;
