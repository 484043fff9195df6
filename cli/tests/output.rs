//! The output and the exit codes of the program: 0 when its reader has closed the output, 1 when
//! something failed, 2 for wrong usage.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Db, Folder, Served, program, run, run_with_input, until};

fn many(folder: &Folder) -> Db {
    let db = Db::new(folder, "a.db");
    let lines: String =
        (0..2_000).map(|n| format!("{{\"id\":{n},\"text\":\"{}\"}}\n", "x".repeat(200))).collect();
    run_with_input(&["import", "--db", &db.0, "--collection", "c", "-"], lines).ok();
    db
}

#[test]
fn a_closed_output_ends_it_with_success() {
    let folder = Folder::new();
    let db = many(&folder);
    for args in [
        &["export", "--db", &*db.0][..],
        &["ls", "--db", &db.0, "c"],
        &["watch", "--db", &db.0, "--after", "0"],
    ] {
        let mut child = program(args).spawn().unwrap();
        let mut first = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut first).unwrap();
        assert!(first.starts_with('{'), "{first}");
        drop(out);
        let code = until("it ends", || child.try_wait().unwrap()).code();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let said = said.replace(&format!("watching sqlite:{}\n", db.0), "");
        assert_eq!((code, &*said), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn standard_error_that_is_closed_changes_nothing() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let mut child =
        program(&["get", "--db", &db.0, "c", "x"]).stdin(Stdio::null()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(until("it ends", || child.try_wait().unwrap()).code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_printed_is_reported_as_done() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let line = folder.path("line");
    std::fs::write(&line, "{\"id\":\"imported\"}\n").unwrap();
    db.put("c", "secret", "1");
    let full = |args: &[&str]| {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = program(args).stdout(full).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    for (args, done) in [
        (&["put", "--db", &*db.0, "c", "x", "1"][..], "default/c/x was written"),
        (&["rm", "--db", &db.0, "c", "x"], "default/c/x was deleted"),
        (&["rm", "--db", &db.0, "--erase", "c", "secret"], "default/c/secret was erased"),
        (
            &["import", "--db", &db.0, "--collection", "c", line.to_str().unwrap()],
            "1 documents were written",
        ),
        (&["export", "--db", &db.0], "standard output"),
    ] {
        let (code, said) = full(args);
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(said.contains(done) && said.contains("standard output"), "{args:?}: {said}");
    }
    assert!(db.body("c", "imported").is_some());
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    let ended = run(&["--verbose", "sync", "--db", &db.0, "--server", "ws://127.0.0.1:1"]);
    assert!(ended.stderr.contains("DEBUG"), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
}

#[test]
fn negative_numbers_and_ids_with_a_dash_are_accepted() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    for (id, json) in [("x", "-1"), ("-x", "-2.5e3"), ("-1", "\"-\""), ("--y", "1")] {
        db.put("c", id, json);
        assert_eq!(db.body("c", id), Some(serde_json::from_str::<Value>(json).unwrap()));
        assert_eq!(db.run("why", &["c", id]).ok().json()["state"], "pending");
    }
    db.rm("c", "-x");
    assert_eq!(db.body("c", "-x"), None);
    // Options stay options, and a misspelt option is not read as a collection.
    db.run("rm", &["--erase", "c", "-1"]).ok();
    db.run("rm", &["--erse", "c", "x"]).misused(&["--erse"]);
    assert_eq!(db.body("c", "x"), Some(json!(-1)));
}

#[test]
fn an_invalid_argument_ends_with_code_2_and_changes_nothing() {
    let folder = Folder::new();
    let (db, server) = (Db::new(&folder, "a.db"), ["--server", "ws://127.0.0.1:1"]);
    let long = "x".repeat(600);
    for (command, rest) in [
        ("put", &["c", "", "1"][..]),
        ("put", &["", "x", "1"]),
        ("put", &["c", &long, "1"]),
        ("put", &["c", "x", "{not json"]),
        ("put", &["c", "x", ""]),
        ("put", &["--scope", "", "c", "x", "1"]),
        ("put", &["--scope", "$local", "c", "x", "1"]),
        ("get", &["c", ""]),
        ("rm", &["", "x"]),
        ("why", &["c", "\u{7}"]),
        ("ls", &[""]),
        ("export", &["--collection", ""]),
        ("import", &["--collection", "", "-"]),
        ("status", &["--scope", ""]),
        ("sync", &["--server", "nonsense"]),
        ("sync", &["--server", ""]),
        ("sync", &["--server", "ws://127.0.0.1:99999"]),
        ("sync", &["--server", "http://127.0.0.1:99999"]),
        ("sync", &["--server", "http://127.0.0.1:1", "--proxy", "nowhere"]),
        ("sync", &["--server", "http://127.0.0.1:1", "--proxy", "http://"]),
        ("sync", &[server[0], server[1], "--scope", ""]),
        ("sync", &[server[0], server[1], "--collections", "a,,b"]),
    ] {
        db.run(command, rest).misused(&[]);
        assert!(!folder.path("a.db").exists(), "{command} {rest:?}");
    }
    let resolve = ["conflicts", "resolve", "--db", &db.0, "c", "x", "--with", "{not json"];
    run(&resolve).misused(&["JSON"]);
    // A file is not an argument: an error in it is a failure.
    db.put("c", "x", "1");
    let trust = ["--server", "wss://127.0.0.1:1", "--trust", &db.0];
    db.run("sync", &trust).fails(&["a.db", "certificate"]);
}

#[test]
fn no_address_is_printed_with_its_secrets() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    for server in ["htp://h?token=hunter2", "htp://ann:hunter2@h", "hunter2@h#hunter2"] {
        let ended = db.run("sync", &["--server", server]);
        ended.misused(&["ws://, wss://"]);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[test]
fn why_does_not_report_a_missing_document_as_synced() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let db = Db::new(&folder, "a.db");
    db.put("notes", "milk", "1");
    db.sync(&server);
    assert_eq!(db.run("why", &["notes", "milk"]).ok().json()["state"], "synced");
    for (args, says) in [
        (&["notes", "mlik"][..], "default/notes/mlik"),
        (&["note", "milk"], "default/note/milk"),
        (&["--scope", "defualt", "notes", "milk"], "defualt/notes/milk"),
    ] {
        let ended = db.run("why", args);
        ended.fails(&["there is no document", says]);
        assert_eq!(ended.stdout, "");
    }
    // A deletion that waits is reported; one that is synced is not.
    db.rm("notes", "milk");
    assert_eq!(db.run("why", &["notes", "milk"]).ok().json()["state"], "pending");
    db.sync(&server);
    db.run("why", &["notes", "milk"]).fails(&["there is no document"]);
}

#[test]
fn a_failure_is_reported_at_once_and_in_the_status() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    assert!(db.status()["scopes"][0].get("error").is_none());
    let args = ["--server", "ws://127.0.0.1:1", "--direction", "push"];
    let sync = db.start("sync", &args);
    until("it is said", || sync.stderr().contains("trying again").then_some(()));
    let ended = sync.end();
    ended.fails(&["cannot be reached"]);
    let line = ended.json();
    assert!(line["error"].as_str().unwrap().contains("cannot be reached"), "{line}");
    let error = db.status()["scopes"][0]["error"].clone();
    assert_eq!(error["kind"], "network");
    assert!(error["message"].as_str().unwrap().contains("cannot be reached"), "{error}");
    assert!(error["failures"].as_u64().unwrap() > 0, "{error}");

    let server = Served::start(&folder.path("server.db"));
    db.sync(&server);
    assert!(db.status()["scopes"][0].get("error").is_none());
}

#[test]
fn a_demo_does_not_overwrite_an_earlier_one() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("kept")).unwrap();
    std::fs::write(folder.path("kept/ben.db"), "of an earlier one").unwrap();
    run(&["demo", "--keep", &folder.arg("kept")]).fails(&["ben.db", "there already", "--keep"]);
    assert_eq!(std::fs::read_dir(folder.path("kept")).unwrap().count(), 1);
}

/// Applies a line of `watch` to a list, and trusts its operation.
fn mirror(documents: &mut Vec<String>, line: &Value) {
    let id = line["id"].as_str().unwrap().to_owned();
    let at = documents.iter().position(|d| *d == id);
    match (line["operation"].as_str().unwrap(), at) {
        ("insert", None) => documents.push(id),
        ("update", Some(_)) => {}
        ("delete", Some(at)) => drop(documents.remove(at)),
        (operation, _) => panic!("{operation} of {id}, and there is {documents:?}"),
    }
}

#[cfg(unix)]
#[test]
fn a_mirror_can_apply_the_operations_of_watch() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let (a, b) = (Db::new(&folder, "a.db"), Db::new(&folder, "b.db"));
    a.put("c", "edited", "1");
    a.put("c", "edited", "2");
    a.put("c", "plain", "1");
    a.sync(&server);
    b.sync(&server);
    // From the beginning every document is new, also if it was edited before the pull.
    let mut documents = Vec::new();
    let first = b.run("watch", &["--after", "0", "--count", "2"]).ok().lines();
    first.iter().for_each(|line| mirror(&mut documents, line));
    assert_eq!(documents, ["edited", "plain"]);

    // From now on: a document that was deleted and created again between two reads is an update.
    let mut watch = b.start("watch", &[]);
    until("it watches", || watch.stderr().contains("watching").then_some(()));
    watch.pause();
    b.rm("c", "edited");
    b.put("c", "edited", "3");
    b.put("c", "brief", "1");
    b.rm("c", "brief");
    a.put("c", "later", "1");
    a.put("c", "later", "2");
    a.sync(&server);
    b.sync(&server);
    watch.go_on();
    for _ in 0..2 {
        mirror(&mut documents, &watch.line().unwrap());
    }
    b.rm("c", "plain");
    let line = watch.line().unwrap();
    assert!(line["revision"].is_string() && line["stamp_ms"].is_u64(), "{line}");
    mirror(&mut documents, &line);
    documents.sort();
    assert_eq!(documents, ["edited", "later"]);
    // Nothing is left of a document that was never pushed.
    b.put("c", "brief", "1");
    mirror(&mut documents, &watch.line().unwrap());
    b.rm("c", "brief");
    let line = watch.line().unwrap();
    assert_eq!((&line["revision"], &line["stamp_ms"]), (&Value::Null, &Value::Null), "{line}");
    mirror(&mut documents, &line);
}
