DROP TRIGGER includes_come_and_go ON privilege_includes;
DROP TRIGGER includes_changed ON privilege_includes;
DROP TRIGGER privileges_come_and_go ON privileges;
DROP TRIGGER privileges_changed ON privileges;
DROP FUNCTION definitions_changed();
DROP TABLE definition_snapshot;
DROP TABLE definitions;
