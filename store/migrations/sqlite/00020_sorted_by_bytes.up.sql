SELECT 1; -- SQLite compares bytes anyway
