//! Files of older versions.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use rusqlite::{Connection, params};
use sync_core::model::{
    Body, Collection, DocumentId, DocumentKey, DocumentState, LocalSeq, ReplicaId, Revision, Scope,
    Seq, ServerState, Stamp,
};
use sync_core::replica::record::{Edit, Pending, Record, ReplicaMeta};
use sync_core::replica::rows::ReplicaReads;

use super::SqliteReplicaWriter;
use crate::columns::{StateColumns, to_blob};
use crate::config::SqliteConfig;
use crate::schema::{Kind, Replica, migrate};

const REPLICA: ReplicaId = ReplicaId([7; 16]);

fn key(id: &str) -> DocumentKey {
    let (scope, collection) = (Scope::new("a").unwrap(), Collection::new("c").unwrap());
    DocumentKey::new(scope, collection, DocumentId::new(id).unwrap())
}

fn state(n: u64, body: Option<&str>) -> DocumentState {
    let revision = Revision { stamp: Stamp::from_bits(n), replica: REPLICA };
    let body = body.map(|b| Body::parse(b.to_owned()).unwrap());
    DocumentState::new(revision, body)
}

fn edited(transaction: u64) -> Pending {
    Pending { edit: Some(Edit::new(LocalSeq(transaction), None)), ..Pending::default() }
}

/// Inserts a document in the layout of version 3.
fn insert(file: &Connection, id: &str, record: &Record) {
    let changed = (record.changed > LocalSeq(0)).then_some(record.changed.0 as i64);
    let state = StateColumns::of(record.current.as_ref());
    let sql = "INSERT INTO document (collection_id, id, stamp, replica, created, known, changed, changed_here, delivered, body) \
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let known = record.server_seq.0 as i64;
    let here = record.changed_here;
    file.execute(
        sql,
        params![id, state.stamp, state.replica, state.created, known, changed, here, 3, state.body],
    )
    .unwrap();
    let document = file.last_insert_rowid();
    if let Some(pending) = record.pending.as_deref() {
        let pushable = record.pushable().map(|t| t.0 as i64);
        let sql = "INSERT INTO unsettled (document, scope_id, collection, id, pushable, deferred, pending) \
             VALUES (?1, 1, 'c', ?2, ?3, ?4, ?5)";
        file.execute(sql, params![document, id, pushable, pending.deferred, to_blob(pending)])
            .unwrap();
    }
}

fn make(path: &Path, documents: &[(&str, Record)]) -> Connection {
    let file = Connection::open(path).unwrap();
    migrate::<Replica>(&file, &Replica::MIGRATIONS[..3]).unwrap();
    let meta = ReplicaMeta { last_local: LocalSeq(100), ..ReplicaMeta::new(REPLICA) };
    file.execute("INSERT INTO meta (id, row) VALUES (1, ?1)", [to_blob(&meta)]).unwrap();
    file.execute_batch(
        "INSERT INTO scope (id, name) VALUES (1, 'a'); \
         INSERT INTO collection (id, scope_id, name) VALUES (1, 1, 'c');",
    )
    .unwrap();
    for (id, record) in documents {
        insert(&file, id, record);
    }
    file
}

fn seen(at: u64, pending: Option<Pending>) -> Record {
    let current = Some(state(at, Some("{\"a\":1}")));
    let (changed, pending) = (LocalSeq(at), pending.map(Box::new));
    Record { current, changed, changed_here: true, delivered: 3, pending, ..Record::default() }
}

#[test]
fn a_file_of_version_3_keeps_its_documents_its_feed_and_its_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let pending_remote = ServerState { seq: Seq(4), state: Some(state(3, None)) };
    let deferred = Pending { deferred: true, pending_remote: Some(pending_remote), ..edited(6) };
    let was_sent = Edit { was_sent: true, ..Edit::new(LocalSeq(5), None) };
    let tombstone = Record {
        current: Some(state(9, None)),
        server_seq: Seq(8),
        delivered: 3,
        ..Record::default()
    };
    let documents = [
        ("deferred", seen(6, Some(deferred))),
        ("fresh", seen(7, Some(edited(7)))),
        ("gone", tombstone.clone()),
        ("lost", Record { server_seq: Seq(9), delivered: 3, ..Record::default() }),
        ("settled", Record { server_seq: Seq(2), ..seen(3, None) }),
        ("was_sent", seen(5, Some(Pending { edit: Some(was_sent), ..Pending::default() }))),
    ];
    drop(make(&path, &documents));
    let core = SqliteReplicaWriter::open(&SqliteConfig::new(&path), ReplicaId([9; 16])).unwrap();
    assert_eq!(core.meta().unwrap().unwrap().replica, REPLICA);
    let expected: Vec<_> = documents.iter().map(|(id, r)| (key(id), r.clone())).collect();
    let scope = Scope::new("a").unwrap();
    assert_eq!(core.records(&scope, None, None, 99).unwrap(), expected);
    for (key, record) in &expected {
        assert_eq!(core.record(key).unwrap().as_ref(), Some(record));
    }
    let names = |page: Vec<(DocumentKey, Record)>| {
        page.into_iter().map(|(key, _)| key.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    let feed = names(core.changed(LocalSeq(0), 99).unwrap());
    assert_eq!(feed, ["settled", "was_sent", "deferred", "fresh"]);
    assert_eq!(names(core.outbox(&scope, None, 99).unwrap()), ["was_sent", "fresh"]);
    assert_eq!(names(core.deferred(&scope, None, 99).unwrap()), ["deferred"]);
}

#[test]
fn a_load_in_a_file_of_version_3_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let file = make(&path, &[]);
    file.execute_batch("DROP INDEX document_key; INSERT INTO loading (id) VALUES (1)").unwrap();
    for (id, at) in [("twice", 1), ("once", 2), ("twice", 3)] {
        insert(&file, id, &seen(at, None));
    }
    drop(file);
    let core = SqliteReplicaWriter::open(&SqliteConfig::new(&path), REPLICA).unwrap();
    assert_eq!(core.record(&key("twice")).unwrap(), Some(seen(3, None)));
    assert_eq!(core.changed(LocalSeq(0), 9).unwrap().len(), 2);
    let sql = "SELECT (SELECT count(*) FROM sqlite_schema WHERE name = 'document_key') \
         + 10 * (SELECT count(*) FROM loading)";
    let found: i64 = core.connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(found, 1, "the index is there, and no mark of a load");
}
