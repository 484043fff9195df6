//! Deletes are synced, and a deleted document stays deleted unless it is written again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::json;
use support::{Db, Folder, Served};

/// Starts a server, and replicas that all have the same two documents.
fn stage<const N: usize>(folder: &Folder) -> (Served, [Db; N]) {
    let server = Served::start(&folder.path("server.db"));
    let replicas: [Db; N] = std::array::from_fn(|n| Db::new(folder, &format!("{n}.db")));
    replicas[0].put("notes", "gone", r#"{"text":"to be deleted"}"#);
    replicas[0].put("notes", "kept", r#"{"text":"stays"}"#);
    for replica in &replicas {
        replica.sync(&server);
        assert!(replica.body("notes", "gone").is_some());
    }
    (server, replicas)
}

#[test]
fn a_deleted_document_does_not_come_back_from_an_offline_replica() {
    let folder = Folder::new();
    let (server, [deleter, online, offline]) = stage(&folder);
    deleter.rm("notes", "gone");
    let line = deleter.sync(&server);
    assert_eq!((&line["pushed"], &line["conflicts"]), (&json!(1), &json!(0)));
    online.sync(&server);
    assert_eq!(online.body("notes", "gone"), None);

    // The offline replica still has the document, and an edit of another one.
    assert!(offline.body("notes", "gone").is_some());
    offline.put("notes", "other", r#"{"text":"written offline"}"#);
    let line = offline.sync(&server);
    assert_eq!((&line["pushed"], &line["conflicts"]), (&json!(1), &json!(0)));
    assert_eq!(offline.body("notes", "gone"), None);
    for replica in [&deleter, &online, &offline] {
        replica.sync(&server);
        assert_eq!(replica.body("notes", "gone"), None);
        assert!(replica.body("notes", "other").is_some());
        replica.reaches(&server);
    }
    // Two inserts, the delete, and the edit of the offline replica: the document was not written
    // again.
    let scope = server.scope();
    assert_eq!((&scope["documents"], &scope["head"]), (&json!(2), &json!(4)));
}

#[test]
fn an_edit_made_offline_before_the_delete_loses_and_one_made_after_it_wins() {
    let folder = Folder::new();
    let (server, [deleter, earlier, later]) = stage(&folder);
    earlier.put("notes", "gone", r#"{"text":"edited before"}"#);
    deleter.rm("notes", "gone");
    later.put("notes", "kept", r#"{"text":"unrelated"}"#);
    deleter.sync(&server);
    // It was edited offline before it was deleted elsewhere: the delete is the last write.
    let line = earlier.sync(&server);
    assert_eq!(line["conflicts"], 1);
    assert_eq!(earlier.body("notes", "gone"), None);
    // It is edited offline after it was deleted elsewhere: the edit is the last write, and reaches
    // every replica.
    later.put("notes", "gone", r#"{"text":"edited after"}"#);
    let line = later.sync(&server);
    assert_eq!(line["conflicts"], 1);
    for replica in [&deleter, &earlier, &later] {
        replica.sync(&server);
        assert_eq!(replica.body("notes", "gone").unwrap()["text"], "edited after");
        replica.reaches(&server);
    }
}

#[test]
fn a_document_created_and_deleted_offline_is_never_pushed() {
    let folder = Folder::new();
    let (server, [one]) = stage(&folder);
    one.put("notes", "brief", "1");
    one.rm("notes", "brief");
    let line = one.sync(&server);
    assert_eq!(line["pushed"], 0);
    assert_eq!(server.scope()["head"], 2);
}

#[test]
fn a_delete_that_both_made_is_no_conflict_and_the_id_can_be_used_again() {
    let folder = Folder::new();
    let (server, [one, two]) = stage(&folder);
    one.rm("notes", "gone");
    two.rm("notes", "gone");
    assert_eq!(one.sync(&server)["conflicts"], 0);
    assert_eq!(two.sync(&server)["conflicts"], 0);
    two.put("notes", "gone", r#"{"text":"again"}"#);
    assert_eq!(two.sync(&server)["conflicts"], 0);
    one.sync(&server);
    assert_eq!(one.body("notes", "gone").unwrap()["text"], "again");
    one.reaches(&server);
    two.reaches(&server);
}
