//! Several processes on one replica: all read and write, one runs the engine, and all observe every
//! change.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::{Value, json};
use support::{Db, Folder, Process, Served, run_with_input, until};

/// Two replicas that are synced live, each by a separate process.
struct Pair {
    server: Served,
    one: Db,
    two: Db,
    _lives: [Process; 2],
}

fn pair(folder: &Folder) -> Pair {
    let server = Served::start(&folder.path("server.db"));
    let (one, two) = (Db::new(folder, "one.db"), Db::new(folder, "two.db"));
    let lives = [&one, &two].map(|db| {
        let mut live = db.live(&server, &[]);
        live.line_where("in sync", |l| l["in_sync"] == true);
        live
    });
    Pair { server, one, two, _lives: lives }
}

#[test]
fn writes_of_other_processes_are_pushed_at_once_while_sync_runs() {
    let folder = Folder::new();
    let Pair { server, one, two, .. } = &pair(&folder);
    let mut watch = two.start("watch", &[]);
    until("it watches", || watch.stderr().contains("watching").then_some(()));
    let arrives = |watch: &mut Process, operation: &str, id: &str| {
        let line = watch.line_where(&format!("{operation} {id}"), |l| l["id"] == id);
        assert_eq!((&line["operation"], &line["origin"]), (&json!(operation), &json!("remote")));
        line
    };
    one.put("c", "a", r#"{"n":1}"#);
    assert_eq!(arrives(&mut watch, "insert", "a")["body"], json!({ "n": 1 }));
    one.put("c", "a", r#"{"n":2}"#);
    assert_eq!(arrives(&mut watch, "update", "a")["body"], json!({ "n": 2 }));
    one.rm("c", "a");
    assert_eq!(arrives(&mut watch, "delete", "a")["body"], Value::Null);
    let lines: String = (0..700).map(|n| format!("{{\"id\":\"i{n:03}\"}}\n")).collect();
    let args = ["import", "--db", &*one.0, "--collection", "c", "-"];
    assert_eq!(run_with_input(&args, lines).ok().json()["imported"], 700);
    arrives(&mut watch, "insert", "i699");
    two.put("c", "back", "1");
    until("the other way too", || one.body("c", "back"));
    let scope = one.reaches(server);
    two.reaches(server);
    assert_eq!(scope["documents"], 701);
    assert_eq!(one.export(), two.export());
}

#[test]
fn a_second_sync_is_refused_with_the_holder_and_takes_over_at_once_after_a_kill() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let (url, db) = (server.url(), Db::new(&folder, "a.db"));
    let mut holder = db.live(&server, &[]);
    holder.line_where("in sync", |l| l["in_sync"] == true);
    let name = format!("process {} (twotide sync --live)", holder.pid());
    db.run("sync", &["--server", &url, "--once"]).fails(&[&name]);
    db.run("sync", &["--server", &url, "--live"]).fails(&[&name]);
    assert!(holder.is_running());
    holder.kill();
    db.put("c", "x", "1");
    let line = db.sync(&server);
    assert_eq!(line["pushed"], 1);

    // A process that ends normally releases the engine, too.
    let mut holder = db.live(&server, &[]);
    holder.line_where("in sync", |l| l["in_sync"] == true);
    #[cfg(unix)]
    {
        holder.terminate();
        holder.end().ok();
    }
    #[cfg(not(unix))]
    holder.kill();
    db.sync(&server);
}

#[test]
fn a_sync_killed_again_and_again_while_others_write_loses_nothing() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let db = Db::new(&folder, "a.db");
    let mut written = 0;
    for round in 0..8 {
        let mut live = db.live(&server, &[]);
        for n in 0..3 {
            db.put("c", &format!("{round}-{n}"), "1");
            written += 1;
        }
        live.kill();
    }
    let line = db.sync(&server);
    assert_eq!(line["conflicts"], 0);
    let scope = db.reaches(&server);
    assert_eq!((&scope["documents"], &scope["head"]), (&json!(written), &json!(written)));
}

#[test]
fn watch_prints_what_this_and_other_processes_write_as_lines_of_json() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("c", "before", "0");
    let mut watch = db.start("watch", &["--count", "4"]);
    until("it watches", || watch.stderr().contains("watching").then_some(()));
    let put = db.put("c", "x", r#"{"n":1}"#);
    let line = watch.line().unwrap();
    let mut keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let shape = [
        "body",
        "collection",
        "id",
        "local_seq",
        "operation",
        "origin",
        "previous",
        "revision",
        "scope",
        "stamp_ms",
    ];
    assert_eq!(keys, shape);
    assert_eq!((&line["operation"], &line["origin"]), (&json!("insert"), &json!("local")));
    assert_eq!((&line["scope"], &line["id"]), (&json!("default"), &json!("x")));
    assert_eq!((&line["revision"], &line["body"]), (&put["revision"], &json!({ "n": 1 })));
    // Another scope of the same file is not watched.
    db.run("put", &["--scope", "other", "c", "elsewhere", "1"]).ok();
    db.put("c", "x", r#"{"n":2}"#);
    let line = watch.line().unwrap();
    assert_eq!((&line["id"], &line["body"]), (&json!("x"), &json!({ "n": 2 })));
    db.rm("c", "x");
    assert_eq!(watch.line().unwrap()["operation"], "delete");
    db.put("c", "y", "3");
    let last = watch.line().unwrap();
    watch.end().ok();

    // A reader that was stopped requests the changes after the last line that it received.
    db.put("c", "z", "4");
    let after = last["local_seq"].to_string();
    let ended = db.run("watch", &["--after", &after, "--count", "1"]);
    assert_eq!(ended.ok().json()["id"], "z");
}

#[test]
fn status_has_its_shape_and_a_replica_in_sync_shows_the_servers_digest() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    let before = db.status();
    let replica = before["replica"].as_str().unwrap().to_owned();
    assert_eq!(replica.len(), 32);
    let digest = before["scopes"][0]["digest"].clone();
    let expected = |epoch: Value, position: u64, digest: &Value, pending: u64| {
        json!({
            "replica": replica,
            "scopes": [{
                "scope": "default", "epoch": epoch, "position": position, "documents": 1,
                "digest": digest,
            }],
            "outbox": {
                "pending": pending, "in_flight": 0, "quarantined": 0, "deferred": 0,
                "not_chosen": 0,
            },
        })
    };
    assert_eq!(before, expected(Value::Null, 0, &digest, 1));
    db.sync(&server);
    let scope = server.scope();
    assert_eq!(db.status(), expected(scope["epoch"].clone(), 1, &scope["digest"], 0));
    // The digest covers the live documents, whatever happened before.
    db.put("c", "y", "2");
    db.rm("c", "y");
    let shown = db.status()["scopes"][0].clone();
    assert_eq!((&shown["documents"], &shown["digest"]), (&json!(1), &digest));
}

#[test]
fn scopes_of_one_file_are_separate() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let (one, two) = (Db::new(&folder, "one.db"), Db::new(&folder, "two.db"));
    one.put("c", "x", r#""in default""#);
    one.run("put", &["--scope", "team", "c", "x", r#""in team""#]).ok();
    let url = server.url();
    one.run("sync", &["--scope", "team", "--server", &url]).ok();
    two.run("sync", &["--scope", "team", "--server", &url]).ok();
    let body = |db: &Db, scope: &str| {
        let ended = db.run("get", &["--scope", scope, "c", "x"]);
        ended.status.success().then(|| ended.json()["body"].clone())
    };
    assert_eq!(body(&two, "team"), Some(json!("in team")));
    assert_eq!(body(&two, "default"), None);
    assert_eq!(body(&one, "default"), Some(json!("in default")));
    let status = one.run("status", &["--json", "--scope", "team"]).ok().json();
    assert_eq!(status["scopes"].as_array().unwrap().len(), 1);
    assert_eq!(status["outbox"]["pending"], 0);
    assert_eq!(one.status()["outbox"]["pending"], 1);
}

#[test]
fn a_live_sync_whose_file_is_deleted_ends_with_an_error() {
    let folder = Folder::new();
    let server = Served::start(folder.path("server.db").as_path());
    let db = Db::new(&folder, "a.db");
    db.put("notes", "x", "1");
    let mut live = db.live(&server, &[]);
    live.line_where("in sync", |line| line["in_sync"] == true);
    for name in ["a.db", "a.db-wal", "a.db-shm", "a.db-lease"] {
        std::fs::remove_file(folder.path(name)).unwrap();
    }
    live.line_where("an error", |line| line["status"] == "error" && line["in_sync"] == false);
    live.end().code(1).fails(&["deleted", "a.db"]);
}
