//! Conflicts, refused edits, and why something is not synced, on the command line.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::path::Path;

use serde_json::json;
use support::{Db, Ended, Folder, Served};

fn sync(db: &Db, server: &Served, resolver: &str) -> Ended {
    db.run("sync", &["--server", &server.url(), "--resolver", resolver])
}

/// Two replicas that edited one document; the first one has pushed.
fn edited_twice(folder: &Folder, server: &Served) -> (Db, Db) {
    let (ann, ben) = (Db::new(folder, "ann.db"), Db::new(folder, "ben.db"));
    ann.put("notes", "n", r#"{"a":1,"b":1}"#);
    ann.sync(server);
    ben.sync(server);
    ann.put("notes", "n", r#"{"a":2,"b":1}"#);
    ben.put("notes", "n", r#"{"a":1,"b":2}"#);
    ann.sync(server);
    (ann, ben)
}

#[test]
fn each_resolver_decides_as_it_says() {
    for (resolver, ends) in [
        ("lww", json!({"a":1,"b":2})),
        ("server", json!({"a":2,"b":1})),
        ("client", json!({"a":1,"b":2})),
        ("merge", json!({"a":2,"b":2})),
    ] {
        let (folder, server) = (Folder::new(), Served::start(Path::new("memory:")));
        let (ann, ben) = edited_twice(&folder, &server);
        let line = sync(&ben, &server, resolver).ok().json();
        assert_eq!(line["conflicts"], 1, "{line}");
        ann.sync(&server);
        assert_eq!(ann.body("notes", "n"), Some(ends.clone()), "{resolver}");
        assert_eq!(ben.body("notes", "n"), Some(ends), "{resolver}");
    }
}

#[test]
fn a_deferred_conflict_is_shown_and_resolved_by_hand() {
    for (how, ends) in [
        (&["--local"][..], Some(json!({"a":1,"b":2}))),
        (&["--remote"], Some(json!({"a":2,"b":1}))),
        (&["--with", r#"{"a":9}"#], Some(json!({"a":9}))),
        (&["--delete"], None),
    ] {
        let (folder, server) = (Folder::new(), Served::start(Path::new("memory:")));
        let (ann, ben) = edited_twice(&folder, &server);
        ben.put("notes", "other", "1");
        sync(&ben, &server, "defer").fails(&["1 conflicts wait for a decision"]);

        let listed = ben.run("conflicts", &["ls"]);
        assert!(listed.status.code() == Some(2), "the command comes before its arguments");
        let conflicts = |rest: &[&str]| {
            let (command, rest) = rest.split_first().unwrap();
            let args = ["conflicts", command, "--db", &*ben.0];
            support::run(&[&args, rest].concat())
        };
        let listed = conflicts(&["ls"]).ok().json();
        assert_eq!((&listed["collection"], &listed["id"]), (&json!("notes"), &json!("n")));
        let shown = conflicts(&["show", "notes", "n"]).ok().json();
        assert_eq!(shown, listed);
        assert_eq!(shown["base"], json!({"a":1,"b":1}));
        assert_eq!(shown["local"], json!({"a":1,"b":2}));
        assert_eq!(shown["remote"], json!({"a":2,"b":1}));
        let why = ben.run("why", &["notes", "n"]).ok().json();
        assert_eq!((&why["state"], &why["conflict"]), (&json!("conflict"), &shown));
        assert_eq!(ben.run("why", &["notes", "other"]).ok().json()["state"], "synced");

        conflicts(&["resolve", "notes", "n"]).misused(&["--local"]);
        conflicts(&["resolve", "notes", "n", "--local", "--remote"]).misused(&["--remote"]);
        conflicts(&["resolve", "notes", "n", "--with", "{"]).fails(&["JSON"]);
        conflicts(&[&["resolve", "notes", "n"], how].concat()).ok();
        conflicts(&["resolve", "notes", "n", "--local"]).fails(&["notes/n"]);
        conflicts(&["show", "notes", "n"]).fails(&["notes/n"]);
        assert!(conflicts(&["ls"]).ok().lines().is_empty());
        sync(&ben, &server, "defer").ok();
        ann.sync(&server);
        assert_eq!(ann.body("notes", "n"), ends, "{how:?}");
        assert_eq!(ben.body("notes", "n"), ends, "{how:?}");
    }
}

#[test]
fn a_pending_edit_says_since_when() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("notes", "n", "1");
    let why = db.run("why", &["notes", "n"]).ok().json();
    assert_eq!(why["state"], "pending");
    assert!(why["since_ms"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(db.run("why", &["notes", "none"]).ok().json()["state"], "synced");
}
