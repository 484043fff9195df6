//! Single commands: their output, and how they end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::{Value, json};
use support::{Db, Folder, run, run_with_input};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_document_is_put_read_listed_and_deleted() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let put = db.put("notes", "n1", r#"{ "text": "hello", "big": 12345678901234567890 }"#);
    assert_eq!(keys(&put), ["body", "collection", "id", "revision", "synced"]);
    assert_eq!((&put["collection"], &put["id"]), (&json!("notes"), &json!("n1")));
    assert_eq!(put["synced"], false);
    let got = db.run("get", &["notes", "n1"]);
    assert_eq!(got.ok().json(), put);
    // The body is kept as it was written: no number is rounded, no key moved.
    assert!(got.stdout.contains(r#"{ "text": "hello", "big": 12345678901234567890 }"#));

    let again = db.put("notes", "n1", "\n[1,\n2]\n");
    assert!(again["revision"].as_str().unwrap() > put["revision"].as_str().unwrap());
    assert_eq!(db.body("notes", "n1"), Some(json!([1, 2])));
    db.put("notes", "n2", "null");
    db.put("tasks", "t", "\"\"");

    let listed = db.run("ls", &["notes"]).ok().lines();
    let revision = again["revision"].clone();
    assert_eq!(listed[0], json!({ "id": "n1", "revision": revision, "synced": false }));
    assert_eq!((listed.len(), &listed[1]["id"]), (2, &json!("n2")));
    let collections = db.run("ls", &[]).ok().lines();
    let expected = [
        json!({ "collection": "notes", "documents": 2 }),
        json!({ "collection": "tasks", "documents": 1 }),
    ];
    assert_eq!(collections, expected);

    let gone = db.run("rm", &["notes", "n1"]).ok().json();
    assert_eq!(gone, json!({ "collection": "notes", "id": "n1", "deleted": true }));
    db.run("get", &["notes", "n1"]).fails(&["default/notes/n1"]);
    db.run("rm", &["notes", "n1"]).fails(&["n1"]);
    // A deleted document can still be erased; one that never existed cannot.
    db.put("notes", "n3", "\"secret words\"");
    let erased = db.run("rm", &["--erase", "notes", "n3"]).ok().json();
    assert_eq!(erased, json!({ "collection": "notes", "id": "n3", "erased": true, "tidy": true }));
    let bytes = std::fs::read(&db.0).unwrap();
    assert!(!bytes.windows(12).any(|w| w == b"secret words"));
    db.run("rm", &["--erase", "notes", "never"]).fails(&["never"]);
    assert_eq!(db.run("ls", &["notes"]).ok().lines().len(), 1);
    assert_eq!(db.run("ls", &["nothing"]).ok().lines().len(), 0);
}

#[test]
fn a_path_means_sqlite_with_and_without_the_scheme() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    let named = Db(format!("sqlite:{}", db.0));
    assert_eq!(named.body("c", "x"), Some(json!(1)));
}

#[test]
fn an_export_is_sorted_and_imported_elsewhere_gives_the_same_documents() {
    let folder = Folder::new();
    let (one, two) = (Db::new(&folder, "one.db"), Db::new(&folder, "two.db"));
    for (collection, id) in [("b", "2"), ("a", "z"), ("b", "10"), ("a", "ä"), ("b", "gone")] {
        one.put(collection, id, &format!("{{\"is\": \"{id}\",\n \"n\": 1.50}}"));
    }
    one.rm("b", "gone");
    let exported = one.run("export", &[]);
    let lines = exported.ok().lines();
    let ids: Vec<_> = lines.iter().map(|l| (l["collection"].clone(), l["id"].clone())).collect();
    let expected = [("a", "z"), ("a", "ä"), ("b", "10"), ("b", "2")];
    assert_eq!(ids, expected.map(|(c, i)| (json!(c), json!(i))));
    assert_eq!(keys(&lines[0]), ["body", "collection", "id", "revision"]);
    assert!(exported.stdout.starts_with(r#"{"collection":"a","id":"z","revision":"#));
    // A body with line breaks does not break a line of the output, and numbers stay as they were
    // written.
    assert!(exported.stdout.contains("1.50"));
    assert_eq!(one.run("export", &["--collection", "a"]).ok().lines(), lines[..2]);

    let args = ["import", "--db", &*two.0, "-"];
    assert_eq!(run_with_input(&args, exported.stdout.clone()).ok().json()["imported"], 4);
    let bare = |db: &Db| {
        let mut lines = db.run("export", &[]).ok().lines();
        for line in &mut lines {
            // A local write has a new revision.
            line.as_object_mut().unwrap().remove("revision");
        }
        lines
    };
    assert_eq!(bare(&two), bare(&one));
    // Through the server, the revisions are the same as well.
    let server = support::Served::start(&folder.path("server.db"));
    let three = Db::new(&folder, "three.db");
    one.sync(&server);
    three.sync(&server);
    assert_eq!(three.export(), exported.stdout);
}

#[test]
fn an_import_reads_ids_from_a_field_and_generates_missing_ones() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let import = |more: &[&str], input: &str| {
        let mut args = vec!["import", "--db", &*db.0, "--collection", "c"];
        args.extend(more);
        args.push("-");
        run_with_input(&args, input).ok().json()["imported"].clone()
    };
    assert_eq!(import(&["--id-field", "key"], "{\"key\":7,\"v\":1}\r\n{\"key\":\"k\"}"), 2);
    assert_eq!(db.body("c", "7"), Some(json!({ "key": 7, "v": 1 })));
    assert_eq!(import(&["--id-field", "key"], "{\"key\":7,\"v\":2}\n"), 1);
    assert_eq!(db.body("c", "7").unwrap()["v"], 2);
    assert_eq!(import(&[], "{\"v\":1}\n{\"v\":2}\n"), 2);
    assert_eq!(import(&[], ""), 0);
    // Each line without an id gets a new one with every import.
    let lines = db.run("export", &[]).ok().lines();
    let made = lines.iter().filter(|l| l["id"].as_str().unwrap().len() > 9);
    let values: Vec<_> = made.map(|l| l["body"]["v"].clone()).collect();
    assert_eq!(values.len(), 2);
}

#[test]
fn the_demo_ends_with_all_replicas_equal() {
    let folder = Folder::new();
    let ended = run(&["demo", "--keep", &folder.arg("kept")]);
    let outcome = ended.ok().json();
    assert_eq!((&outcome["equal"], &outcome["replicas"]), (&json!(true), &json!(3)));
    assert!(outcome["documents"].as_u64().unwrap() >= 5_000, "{outcome}");
    assert!(ended.stderr.contains("all four hold the same"), "{}", ended.stderr);
    // The files that it kept are normal replicas.
    let (ann, ben) = (Db(folder.arg("kept/ann.db")), Db(folder.arg("kept/ben.db")));
    assert_eq!(ann.export(), ben.export());
    assert_eq!(ann.status()["scopes"][0]["digest"], outcome["digest"]);
}

#[test]
fn the_help_lists_the_commands() {
    let help = run(&["--help"]);
    help.ok();
    for command in ["serve", "sync", "put", "get", "rm", "ls", "import", "export", "watch"] {
        assert!(help.stdout.contains(command), "{command}");
    }
    assert!(run(&["--version"]).ok().stdout.starts_with("twotide "));
}

#[test]
fn wrong_sums_are_found_by_counting() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    for id in ["a", "b", "c"] {
        db.put("notes", id, "1");
    }
    let status = db.run("status", &["--check"]).ok().json();
    assert_eq!(status["scopes"][0]["documents"], 3);
    let file = rusqlite::Connection::open(&db.0).unwrap();
    file.execute("DELETE FROM document WHERE id = 'b'", []).unwrap();
    drop(file);
    db.run("status", &[]).ok();
    db.run("status", &["--check"]).code(1).fails(&[
        "scope `default`",
        "3 documents",
        "there are 2",
    ]);
    db.run("status", &["--check", "--scope", "other"]).ok();
}
