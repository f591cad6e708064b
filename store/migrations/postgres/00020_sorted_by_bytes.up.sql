-- What people are found by is compared by its bytes, as SQLite does, whatever language the database sorts by: "what begins with c" is a range there and
-- nowhere else. The address is among them because it is compared together with the number. The indexes are made anew, the rows stay.
ALTER TABLE users ALTER COLUMN email TYPE TEXT COLLATE "C", ALTER COLUMN email_key TYPE TEXT COLLATE "C", ALTER COLUMN username_key TYPE TEXT COLLATE "C",
  ALTER COLUMN phone TYPE TEXT COLLATE "C";
ALTER TABLE user_words ALTER COLUMN word TYPE TEXT COLLATE "C";
