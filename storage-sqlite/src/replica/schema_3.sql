-- Documents anew, with the index by which one is found under a name of its own: a first pull does without it, and has it built
-- in the end.
DROP VIEW documents;

CREATE TABLE document_3 (
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
    erased BLOB
) STRICT;
INSERT INTO document_3 SELECT pk, collection_id, id, stamp, replica, author_stamp, author_replica, created, known, changed,
    changed_here, delivered, body, erased FROM document;
DROP TABLE document;
ALTER TABLE document_3 RENAME TO document;
CREATE UNIQUE INDEX document_key ON document (collection_id, id);
CREATE INDEX document_changed ON document (changed) WHERE changed IS NOT NULL;

-- Row 1: a first pull is being loaded, and `document_key` is not there. Row 2: one failed, and there is none any more.
CREATE TABLE loading (id INTEGER PRIMARY KEY CHECK (id IN (1, 2))) STRICT;

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
