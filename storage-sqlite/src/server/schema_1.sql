-- Scopes by number, with their rows in the codec's form.
CREATE TABLE scope (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    row BLOB
) STRICT;

-- Collections by number: a number stands for (scope, collection).
CREATE TABLE collection (
    id INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (scope_id, name)
) STRICT;

-- The log: every document once, at its newest position. Only the body is null in a tombstone; the author is null if the
-- revision says it. Stamps are 64 bits of which the sign means nothing. A row that moves gets a new pk, so that rows lie
-- in the file nearly as they are read.
CREATE TABLE log (
    pk INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    first INTEGER NOT NULL,
    collection_id INTEGER NOT NULL,
    id TEXT NOT NULL,
    stamp INTEGER NOT NULL,
    replica BLOB NOT NULL,
    author_stamp INTEGER,
    author_replica BLOB,
    created INTEGER NOT NULL,
    offered BLOB,
    body TEXT
) STRICT;

CREATE UNIQUE INDEX log_position ON log (scope_id, seq);
CREATE UNIQUE INDEX log_document ON log (collection_id, id);

-- The last push of each replica, in the codec's form.
CREATE TABLE push (
    pk INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL,
    replica BLOB NOT NULL,
    row BLOB NOT NULL,
    UNIQUE (scope_id, replica)
) STRICT;

-- How far each replica has acknowledged, in the codec's form.
CREATE TABLE acknowledged (
    pk INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL,
    replica BLOB NOT NULL,
    row BLOB NOT NULL,
    UNIQUE (scope_id, replica)
) STRICT;

-- What operators may ask.
CREATE VIEW documents (scope, collection, id, seq, revision, created_ms, updated_ms, body) AS
SELECT
    s.name,
    c.name,
    d.id,
    d.seq,
    printf('%012x-%04x-%s', (d.stamp >> 16) & 0xffffffffffff, d.stamp & 0xffff, lower(hex(d.replica))),
    (d.created >> 16) & 0xffffffffffff,
    (coalesce(d.author_stamp, d.stamp) >> 16) & 0xffffffffffff,
    d.body
FROM log d
JOIN collection c ON c.id = d.collection_id
JOIN scope s ON s.id = c.scope_id
WHERE d.body IS NOT NULL;
