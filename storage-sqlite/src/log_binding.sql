-- Which write-ahead log the newest commits are in, by the salts in its header, and which one the row
-- named before; empty for none.
CREATE TABLE log_binding (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    log BLOB NOT NULL,
    before BLOB NOT NULL
) STRICT;
