-- Documents anew. A document's row is its place in the feed, so that the feed needs no index, and what is not settled about
-- it stands in the row, so that a local write is one row.
DROP VIEW documents;

-- The index that a load does without is built below, and with it the load is at an end. Should a document be there twice, the
-- newer row is the one.
DELETE FROM document WHERE CASE WHEN EXISTS (SELECT 1 FROM loading WHERE id = 1)
    THEN pk NOT IN (SELECT max(pk) FROM document GROUP BY collection_id, id) ELSE 0 END;
DELETE FROM loading WHERE id = 1;

-- `pk` is the place in the feed; of documents that were never in it, it is negative and says nothing. All of stamp to erased,
-- and body, are null when there is nothing any more; only the body is null in a tombstone; the author is null if the revision
-- says it. `scope_id` is that of the collection while something is not settled, else null. `pushable` is the local
-- transaction. `pending` is what is not settled, in the codec's form; it is null also where `pushable` says all of it.
CREATE TABLE document_4 (
    pk INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL,
    id TEXT NOT NULL,
    stamp INTEGER,
    replica BLOB,
    author_stamp INTEGER,
    author_replica BLOB,
    created INTEGER,
    erased BLOB,
    known INTEGER NOT NULL,
    changed_here INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    scope_id INTEGER,
    pushable INTEGER,
    deferred INTEGER,
    pending BLOB,
    body TEXT
) STRICT;
INSERT INTO document_4
SELECT coalesce(d.changed, -d.pk), d.collection_id, d.id, d.stamp, d.replica, d.author_stamp, d.author_replica, d.created,
    d.erased, d.known, d.changed_here, d.delivered, u.scope_id, u.pushable, nullif(u.deferred, 0), u.pending, d.body
FROM document d LEFT JOIN unsettled u ON u.document = d.pk
ORDER BY 1;
DROP TABLE unsettled;
DROP TABLE document;
ALTER TABLE document_4 RENAME TO document;
CREATE UNIQUE INDEX document_key ON document (collection_id, id);
CREATE INDEX document_outbox ON document (scope_id, pushable) WHERE pushable IS NOT NULL;
CREATE INDEX document_deferred ON document (collection_id, id) WHERE deferred IS NOT NULL;

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
