//! Conflicts, refused edits, and why a document is not synced, on the command line.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use support::{Db, Ended, Folder, Served, run};
use twotide::StorageUrl;
use twotide::backend::environment::System;
use twotide::backend::model::{Change, DocumentState, Rejection, RejectionCode, Scope};
use twotide::server::{Hooks, Server, Validate};

fn sync(db: &Db, server: &Served, resolver: &str) -> Ended {
    db.run("sync", &["--server", &server.url(), "--resolver", resolver])
}

/// Creates two replicas that edited one document; the first one has pushed.
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
fn each_resolver_decides_as_documented() {
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
            run(&[&args, rest].concat())
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
        conflicts(&["resolve", "notes", "n", "--with", "{"]).misused(&["JSON"]);
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
fn a_pending_edit_has_its_time() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("notes", "n", "1");
    let why = db.run("why", &["notes", "n"]).ok().json();
    assert_eq!(why["state"], "pending");
    assert!(why["since_ms"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(
        (&why["attempts"], &why["failures"], &why["errors"]),
        (&json!(0), &json!(0), &json!([]))
    );
    db.run("why", &["notes", "none"]).fails(&["there is no document"]);
}

#[test]
fn a_pending_edit_has_its_failures_also_when_no_process_syncs() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("notes", "n", "1");
    // Nothing listens there: the port was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("ws://{free}");
    let before = millis();
    db.run("sync", &["--server", &server]).fails(&["connect"]);
    let why = db.run("why", &["notes", "n"]).ok().json();
    assert_eq!((&why["state"], &why["attempts"]), (&json!("pending"), &json!(0)), "{why}");
    assert_eq!(why["failures"], 5, "{why}");
    let errors = why["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 4, "{why}");
    for error in errors {
        assert_eq!(error["kind"], "network", "{why}");
        assert!(error["message"].as_str().unwrap().contains("connect"), "{why}");
        let at = error["at_ms"].as_u64().unwrap();
        assert!(before <= at && at <= error["retry_at_ms"].as_u64().unwrap(), "{why}");
    }
}

/// Returns this machine's time in milliseconds.
fn millis() -> u64 {
    let now = twotide::backend::environment::Environment::now(&System);
    now.0
}

/// Rejects secrets.
#[derive(Debug)]
struct NoSecrets;

impl Validate for NoSecrets {
    fn change(
        &self,
        _: &Scope,
        change: &Change,
        _: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        match &change.state.body {
            Some(body) if body.as_str().contains("secret") => Err(Rejection {
                code: RejectionCode::Invalid,
                reason: "this is a secret".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// Starts a server with a hook that rejects secrets, and returns its address.
async fn strict() -> String {
    let storage = StorageUrl::memory().open_server().await.unwrap();
    let hooks = Hooks { validate: Arc::new(NoSecrets), ..Hooks::default() };
    let server = Server::builder(storage).hooks(hooks).build();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let routes = twotide::routes(&server);
    tokio::spawn(twotide::net::listen(socket, routes, std::future::pending()));
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_edit_is_listed_retried_and_discarded() {
    let (folder, url) = (Folder::new(), strict().await);
    let db = Db::new(&folder, "a.db");
    db.put("notes", "n", r#""secret""#);
    db.put("notes", "m", r#""secret too""#);
    let sync = || db.run("sync", &["--server", &url]);
    let quarantine = |rest: &[&str]| {
        let (command, rest) = rest.split_first().unwrap();
        run(&[&["quarantine", command, "--db", &*db.0], rest].concat())
    };
    sync().fails(&["2 edits are quarantined"]);
    let listed = quarantine(&["ls"]).ok().lines();
    let ids: Vec<_> = listed.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["n", "m"]);
    assert_eq!(listed[0]["body"], "secret");
    assert_eq!(listed[0]["refused"]["reason"], "this is a secret");
    let why = db.run("why", &["notes", "n"]).ok().json();
    assert_eq!((&why["state"], &why["refused"][0]), (&json!("quarantined"), &listed[0]));
    assert_eq!(db.body("notes", "n"), None);

    assert_eq!(quarantine(&["retry", "notes", "n"]).ok().json()["state"], "pending");
    assert_eq!(quarantine(&["discard", "notes", "m"]).ok().json()["state"], "synced");
    db.put("notes", "n", r#""told""#);
    sync().ok();
    assert_eq!(db.run("why", &["notes", "n"]).ok().json()["state"], "synced");
    assert!(quarantine(&["ls"]).ok().lines().is_empty());
    quarantine(&["retry", "notes", "m"]).fails(&["notes/m"]);
}
