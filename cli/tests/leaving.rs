//! Collections that `sync --collections` leaves out are reported before they leave the device, and
//! never leave because of a typing error.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::json;
use support::{Db, Ended, Folder, Served};

/// Starts a server and a replica in sync, with documents of three collections.
fn stage(folder: &Folder) -> (Served, Db) {
    let server = Served::start(&folder.path("server.db"));
    let db = Db::new(folder, "a.db");
    for collection in ["notes", "tags", "tasks"] {
        db.put(collection, "x", "1");
    }
    db.sync(&server);
    (server, db)
}

fn choose(db: &Db, server: &Served, names: &str, more: &[&str]) -> Ended {
    let url = server.url();
    let args = [&["--server", &*url, "--collections", names], more].concat();
    db.run("sync", &args)
}

#[test]
fn blanks_around_names_are_ignored() {
    let folder = Folder::new();
    let (server, db) = stage(&folder);
    let ended = choose(&db, &server, " notes, tags ,tasks", &[]);
    ended.ok();
    assert_eq!(ended.stderr, "");
    assert_eq!(db.export().lines().count(), 3);
    for bad in ["", " ", "notes,,tags", "notes, ,tags", "notes,tags,"] {
        choose(&db, &server, bad, &[]).misused(&["--collections", "empty"]);
    }
    db.run("sync", &["--server", &server.url(), "--drop"]).misused(&["--collections"]);
    assert_eq!(db.export().lines().count(), 3);
}

#[test]
fn collections_that_leave_are_reported() {
    let folder = Folder::new();
    let (server, db) = stage(&folder);
    let ended = choose(&db, &server, "notes", &[]);
    ended.ok();
    assert!(ended.stderr.contains("`tags`, `tasks`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("leave this device"), "{}", ended.stderr);
    assert_eq!(db.export().lines().count(), 1);
    // Repeating the choice, or adding a collection, reports nothing.
    for names in ["notes", "notes,tags"] {
        let ended = choose(&db, &server, names, &[]);
        ended.ok();
        assert_eq!(ended.stderr, "");
    }
    assert_eq!(db.export().lines().count(), 2);
}

#[test]
fn a_mistyped_name_removes_nothing() {
    let folder = Folder::new();
    let (server, db) = stage(&folder);
    for names in ["notes,tags,taks", "Notes,tags,tasks"] {
        choose(&db, &server, names, &[]).misused(&["of which nothing is here", "--drop"]);
        assert_eq!(db.export().lines().count(), 3);
    }
    // With `--drop` it is done.
    let ended = choose(&db, &server, "notes,taks", &["--drop"]);
    ended.ok();
    assert!(ended.stderr.contains("`tags`, `tasks`"), "{}", ended.stderr);
    assert_eq!(db.export().lines().count(), 1);
    // A collection that is new to a replica is no error, as long as none leaves.
    let other = Db::new(&folder, "other.db");
    let ended = choose(&other, &server, "tags,later", &[]);
    ended.ok();
    assert_eq!(ended.stderr, "");
}

#[test]
fn an_unsynced_edit_does_not_leave_without_drop() {
    let folder = Folder::new();
    let (server, db) = stage(&folder);
    db.put("tasks", "mine", "2");
    db.rm("tags", "x");
    for live in ["--once", "--live"] {
        choose(&db, &server, "notes", &[live]).misused(&["`tags`, `tasks`", "2 edits", "--drop"]);
    }
    assert_eq!(db.body("tasks", "mine"), Some(json!(2)));
    assert_eq!(db.status()["outbox"]["pending"], 2);
    let ended = choose(&db, &server, "notes", &["--drop"]);
    ended.fails(&["`tags`, `tasks`", "2 edits are quarantined"]);
    assert_eq!(db.export().lines().count(), 1);
}

#[test]
fn edits_that_wait_because_their_collection_is_not_chosen_are_reported() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let db = Db::new(&folder, "a.db");
    db.put("notes", "n", "1");
    db.put("drafts", "d", "1");
    for _ in 0..2 {
        let ended = choose(&db, &server, "notes", &[]);
        assert_eq!(ended.ok().json()["outbox"]["not_chosen"], 1);
        assert!(ended.stderr.contains("does not name `drafts`"), "{}", ended.stderr);
    }
    assert_eq!(db.body("drafts", "d"), Some(json!(1)));
}
