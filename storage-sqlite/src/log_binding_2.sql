-- How often the log was about to be moved into the file, and how many of these times the file is
-- known to have: as many as there were when the log that the row names began.
ALTER TABLE log_binding ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log_binding ADD COLUMN done INTEGER NOT NULL DEFAULT 0;
