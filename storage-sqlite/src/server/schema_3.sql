-- The runs of each scope's log: a server start, the first position that it wrote, and the last one before the next start's.
-- The id of a start is 64 bits of which the sign means nothing.
CREATE TABLE run (
    pk INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL,
    first INTEGER NOT NULL,
    term INTEGER NOT NULL,
    last INTEGER NOT NULL,
    UNIQUE (scope_id, first)
) STRICT;
