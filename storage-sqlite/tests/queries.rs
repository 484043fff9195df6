//! Queries of an app in SQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{NOW, REPLICA, config, place, puts};
use rusqlite::Connection;
use storage_sqlite::open_replica;
use sync_core::model::{DocumentKey, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;

#[tokio::test]
async fn an_app_queries_its_live_documents_with_json_functions() {
    let (_folder, path) = place();
    let storage = open_replica(&config(&path), REPLICA).unwrap();
    let documents = [
        ("milk", r#"{"title":"Milk","done":false,"tags":["shop"]}"#),
        ("bread", r#"{"title":"Bread","done":true,"tags":["shop","home"]}"#),
        ("gone", r#"{"title":"Gone","done":false,"tags":[]}"#),
    ];
    storage.write(NOW, puts(&documents)).await.unwrap();
    let delete =
        LocalWrite::new(common::collection("notes"), common::id("gone"), WriteOperation::Delete);
    let scope = Scope::default();
    storage.write(NOW, LocalTransaction { scope, writes: vec![delete] }).await.unwrap();

    let app = Connection::open(&path).unwrap();
    let open: String = app
        .query_row(
            "SELECT group_concat(json_extract(body, '$.title')) FROM documents \
             WHERE scope = 'default' AND collection = 'notes' AND NOT body ->> '$.done'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(open, "Milk");
    let tagged: String = app
        .query_row(
            "SELECT d.id FROM documents d, json_each(d.body, '$.tags') t WHERE t.value = 'home'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(tagged, "bread");
}

#[tokio::test]
async fn the_view_has_the_times_and_the_revision_of_a_document() {
    let (_folder, path) = place();
    let storage = open_replica(&config(&path), REPLICA).unwrap();
    storage.write(NOW, puts(&[("a", "1")])).await.unwrap();
    let later = sync_core::clock::Now(NOW.0 + 5_000);
    storage.write(later, puts(&[("a", "2")])).await.unwrap();
    let key: DocumentKey = common::key("default", "notes", "a");
    let stored = storage.get(vec![key]).await.unwrap().remove(0).unwrap();

    let app = Connection::open(&path).unwrap();
    let row: (String, i64, i64, String) = app
        .query_row(
            "SELECT revision, created_ms, updated_ms, body FROM documents WHERE id = 'a'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    let now = NOW.0 as i64;
    assert_eq!(row, (stored.state.revision.to_string(), now, now + 5_000, "2".to_owned()));
}

#[test]
fn a_stamp_that_sets_the_sign_is_shown_as_it_is() {
    use storage_kit::{Durability, Transactional};
    use sync_core::model::Seq;
    use sync_core::replica::record::Record;
    use sync_core::replica::rows::ReplicaRows;

    let (_folder, path) = place();
    let mut core = storage_sqlite::SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap();
    let state = common::state(u64::MAX - 1, Some("1"));
    let text = state.revision.to_string();
    let record = Record { current: Some(state), server_seq: Seq(1), ..Record::default() };
    core.begin(Durability::Process).unwrap();
    core.put_record(&common::key("s", "c", "x"), None, &record).unwrap();
    core.commit().unwrap();
    let app = Connection::open(&path).unwrap();
    let row: (String, i64) = app
        .query_row("SELECT revision, updated_ms FROM documents", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(row, (text, (1 << 48) - 1));
}
