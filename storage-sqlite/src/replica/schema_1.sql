-- The row that is kept once, in the codec's form.
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    row BLOB NOT NULL
) STRICT;

-- Scopes by number. The row is null until the scope has one of its own.
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

-- Documents. All of stamp to body are null when there is nothing any more; only the body is null in a tombstone; the
-- author is null if the revision says it. Stamps are 64 bits of which the sign means nothing.
CREATE TABLE document (
    pk INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL,
    id TEXT NOT NULL,
    stamp INTEGER,
    replica BLOB,
    author_stamp INTEGER,
    author_replica BLOB,
    created INTEGER,
    known INTEGER NOT NULL,
    changed INTEGER,
    changed_here INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    body TEXT,
    UNIQUE (collection_id, id)
) STRICT;

CREATE INDEX document_changed ON document (changed) WHERE changed IS NOT NULL;

-- What is not settled about a document, in the codec's form. Names are repeated here so that the indexes have the order
-- of the names' bytes; few documents are ever unsettled. `pushable` is the local transaction.
CREATE TABLE unsettled (
    document INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    pushable INTEGER,
    deferred INTEGER NOT NULL,
    pending BLOB NOT NULL
) STRICT;

CREATE INDEX unsettled_outbox ON unsettled (scope_id, pushable, collection, id)
    WHERE pushable IS NOT NULL;
CREATE INDEX unsettled_deferred ON unsettled (scope_id, collection, id) WHERE deferred = 1;

-- The batch in flight of a scope, in the codec's form.
CREATE TABLE batch (
    scope_id INTEGER PRIMARY KEY,
    row BLOB NOT NULL
) STRICT;

-- Refused edits, in the codec's form.
CREATE TABLE quarantine (
    pk INTEGER PRIMARY KEY,
    scope_id INTEGER NOT NULL,
    ticket INTEGER NOT NULL,
    row BLOB NOT NULL,
    UNIQUE (scope_id, ticket)
) STRICT;

-- What apps may ask.
CREATE VIEW documents (scope, collection, id, revision, created_ms, updated_ms, body) AS
SELECT
    s.name,
    c.name,
    d.id,
    printf('%012x-%04x-%s', (d.stamp >> 16) & 0xffffffffffff, d.stamp & 0xffff, lower(hex(d.replica))),
    (d.created >> 16) & 0xffffffffffff,
    (coalesce(d.author_stamp, d.stamp) >> 16) & 0xffffffffffff,
    d.body
FROM document d
JOIN collection c ON c.id = d.collection_id
JOIN scope s ON s.id = c.scope_id
WHERE d.body IS NOT NULL;
