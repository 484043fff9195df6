//! Storages and transports by their addresses on the command line.
//!
//! Programs that follow live are ended by SIGTERM.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::path::Path;

use serde_json::json;
use support::{Db, Folder, Process, Served, run, until};

fn url(server: &Served, scheme: &str) -> String {
    format!("{scheme}://{}", server.address)
}

fn sync(db: &Db, url: &str, rest: &[&str]) {
    let args: Vec<&str> = ["--server", url].iter().chain(rest).copied().collect();
    let line = db.run("sync", &args).ok().json();
    assert_eq!(line["in_sync"], true, "{line}");
}

fn on(scheme: &str, folder: &Folder, name: &str) -> Db {
    Db(format!("{scheme}:{}", folder.arg(name)))
}

#[test]
fn every_storage_syncs_over_every_transport_with_every_server() {
    for storage in ["sqlite", "sled"] {
        let folder = Folder::new();
        let place = on(storage, &folder, "server").0;
        let server = Served::start(Path::new(&place));
        let replicas = [
            (on("sqlite", &folder, "a"), "ws"),
            (on("sqlite", &folder, "b"), "http"),
            (on("sled", &folder, "c"), "ws"),
            (on("sled", &folder, "d"), "http"),
        ];
        for (n, (db, scheme)) in replicas.iter().enumerate() {
            db.put("notes", &format!("n{n}"), &format!("\"by {n}\""));
            sync(db, &url(&server, scheme), &["--once"]);
        }
        for (db, scheme) in &replicas {
            sync(db, &url(&server, scheme), &["--compress"]);
            assert_eq!(db.export(), replicas[0].0.export());
        }
        assert_eq!(replicas[0].0.export().lines().count(), replicas.len());
        server.process.terminate();
        server.process.end().ok();
    }
}

#[test]
fn a_direction_limits_the_sync() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let (a, b) = (Db::new(&folder, "a.db"), Db::new(&folder, "b.db"));
    let address = url(&server, "ws");
    let direct = |db: &Db, way: &str| {
        let line = db.run("sync", &["--server", &address, "--direction", way]).ok().json();
        assert_eq!((&line["in_sync"], &line["direction"]), (&json!(true), &json!(way)), "{line}");
        line
    };
    a.put("notes", "of a", "1");
    b.put("notes", "of b", "2");
    direct(&a, "push");
    assert_eq!(direct(&b, "pull")["outbox"]["pending"], 1);
    assert_eq!(b.body("notes", "of a"), Some(json!(1)));
    direct(&a, "both");
    assert_eq!(a.body("notes", "of b"), None, "it was not pushed");
    direct(&b, "push");
    direct(&a, "push");
    assert_eq!(a.body("notes", "of b"), None, "it was not pulled");
    direct(&a, "pull");
    assert_eq!(a.body("notes", "of b"), Some(json!(2)));
    let wrong = a.run("sync", &["--server", &address, "--direction", "up"]);
    wrong.misused(&["push, pull and both", "\"up\""]);
}

/// A writer, a follower, and the writer's documents arriving at the follower.
#[test]
fn collections_are_chosen_and_an_erasure_reaches_every_replica() {
    for scheme in ["ws", "http"] {
        let folder = Folder::new();
        let server = Served::start(&folder.path("server.db"));
        let (a, b) = (Db::new(&folder, "a.db"), Db::new(&folder, "b.db"));
        let address = url(&server, scheme);
        for collection in ["notes", "tasks", "tags"] {
            a.put(collection, "x", "\"secret words\"");
        }
        sync(&a, &address, &[]);
        sync(&b, &address, &["--collections", "notes,tags"]);
        assert_eq!(b.export().lines().count(), 2);
        b.put("tasks", "mine", "1");
        let line = b.run("sync", &["--server", &address, "--collections", "notes"]).ok().json();
        let outbox = &line["outbox"];
        assert_eq!((&outbox["pending"], &outbox["not_chosen"]), (&json!(0), &json!(1)), "{line}");
        assert_eq!(b.body("tags", "x"), None);
        let why = b.run("why", &["tasks", "mine"]).ok().json();
        assert_eq!(why["state"], json!("not_chosen"), "{why}");
        sync(&b, &address, &[]);
        assert_eq!(b.export().lines().count(), 4);
        for collection in ["notes", "tasks", "tags"] {
            a.run("rm", &["--erase", collection, "x"]).ok();
        }
        sync(&a, &address, &[]);
        sync(&b, &address, &[]);
        assert_eq!(a.export().lines().count(), 1);
        server.process.terminate();
        server.process.end().ok();
        for name in ["a.db", "b.db", "server.db"] {
            let bytes = std::fs::read(folder.path(name)).unwrap();
            assert!(!bytes.windows(12).any(|w| w == b"secret words"), "{name} over {scheme}");
        }
    }
}

fn follows(server: &Served, folder: &Folder, scheme: &str, how: &[&str]) {
    let (writer, follower) = (Db::new(folder, "writer.db"), Db::new(folder, "follower.db"));
    let address = url(server, scheme);
    let mut args = vec!["--server", &*address, "--live"];
    args.extend(how);
    let live = follower.start("sync", &args);
    for (n, text) in ["one", "two"].into_iter().enumerate() {
        let id = format!("n{}-{n}", how.last().unwrap_or(&"auto"));
        writer.put("notes", &id, &format!("\"{text}\""));
        sync(&writer, &address, &[]);
        until("the change arrives", || follower.body("notes", &id).filter(|b| b == text));
    }
    live.terminate();
    live.end().ok();
}

#[test]
fn changes_are_followed_over_http_in_every_way() {
    let folder = Folder::new();
    let server = Served::start(Path::new("memory:"));
    for how in [&[][..], &["--live-by", "sse"], &["--live-by", "long-poll"], &["--live-by", "poll"]]
    {
        follows(&server, &folder, "http", how);
    }
    let db = Db::new(&folder, "a.db");
    let ws = url(&server, "ws");
    db.run("sync", &["--server", &ws, "--live", "--live-by", "sse"]).misused(&["http://"]);
    db.run("sync", &["--server", &ws, "--live", "--live-by", "owl"]).misused(&["long-poll"]);
}

#[test]
fn an_ambiguous_storage_is_refused_with_the_address_to_write() {
    run(&["put", "--db", "sqlite://a.db", "c", "x", "1"]).misused(&["`sqlite:a.db`"]);
    run(&["put", "--db", "sqlite::memory:", "c", "x", "1"]).misused(&["`memory:`"]);
    run(&["put", "--db", ":memory:", "c", "x", "1"]).misused(&["`memory:`"]);
    // Data written there would be lost, and nothing can be read from there.
    for command in [&["put", "c", "x", "1"][..], &["get", "c", "x"], &["import", "-"], &["status"]]
    {
        let mut args = vec![command[0], "--db", "memory:"];
        args.extend(&command[1..]);
        run(&args).misused(&["memory:", "notes.db"]);
    }
}

#[test]
fn a_scheme_that_was_not_compiled_in_is_refused_with_those_that_were() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    run(&["put", "--db", "redis:a", "c", "x", "1"]).misused(&["sqlite:PATH, sled:PATH, memory:"]);
    let everything = ["ws://, wss://, http://, https://"];
    db.run("sync", &["--server", "ftp://127.0.0.1"]).misused(&everything);
    db.run("sync", &["--server", "127.0.0.1:8787"]).misused(&everything);
}

#[test]
fn a_second_process_on_a_folder_of_sled_is_refused_with_a_reason() {
    let folder = Folder::new();
    let db = on("sled", &folder, "a.sled");
    db.put("c", "x", "1");
    let watching = db.start("watch", &["--after", "0"]);
    let mut watching = watching;
    watching.line_where("the document", |line| line["id"] == "x");
    db.run("get", &["c", "x"]).fails(&["one process"]);
    watching.terminate();
    watching.end();
    assert_eq!(db.body("c", "x"), Some(json!(1)));
}

#[test]
fn tls_is_served_and_trusted_by_a_certificate_in_a_file() {
    let folder = Folder::new();
    let names = vec!["localhost".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (folder.arg("certificate.pem"), folder.arg("key.pem"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let tls = ["--tls-certificate", &*certificate, "--tls-key", &*key];
    let server = Served::start_at(Path::new("memory:"), "127.0.0.1:0", &tls);
    let port = server.address.port();
    let db = Db::new(&folder, "a.db");
    db.put("notes", "n", "1");
    for scheme in ["wss", "https"] {
        let url = format!("{scheme}://localhost:{port}");
        sync(&db, &url, &["--trust", &certificate]);
        let mut unknown = Process::start(&["sync", "--db", &db.0, "--server", &url, "--live"]);
        let line = unknown.line_where("it fails", |l| !l["error"].is_null());
        assert!(line["error"].as_str().unwrap().contains("certificate"), "{line}");
        unknown.terminate();
        unknown.end();
    }
    run(&["serve", "--tls-key", &key]).misused(&["--tls-certificate"]);
}

#[test]
fn unusable_tls_files_are_errors_with_name_and_reason() {
    let folder = Folder::new();
    let write = |name: &str, bytes: &str| {
        std::fs::write(folder.path(name), bytes).unwrap();
        folder.arg(name)
    };
    let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certified, other) = (make(), make());
    let key = write("key.pem", &certified.signing_key.serialize_pem());
    let of_another = write("other.pem", &other.signing_key.serialize_pem());
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHs\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = write("locked.pem", locked);
    // As `openssl x509 -text` and `openssl pkcs12` write it, through an editor of Windows.
    let text = format!("\u{feff}Bag Attributes\n    localKeyID: 26 34\n{}", certified.cert.pem());
    let certificate = write("certificate.pem", &text.replace('\n', "\r\n"));

    let serve = |certificate: &str, key: &str| {
        let tls = ["--tls-certificate", certificate, "--tls-key", key];
        let mut args = vec!["serve", "--storage", "memory:", "--listen", "127.0.0.1:0"];
        args.extend(tls);
        run(&args)
    };
    serve(&key, &certificate).fails(&["key.pem", "exchanged"]);
    serve(&certificate, &certificate).fails(&["certificate.pem", "exchanged"]);
    serve(&certificate, &locked).fails(&["locked.pem", "passphrase"]);
    serve(&certificate, &of_another).fails(&["certificate.pem and ", "other.pem", "belong"]);

    let tls = ["--tls-certificate", &*certificate, "--tls-key", &*key];
    let server = Served::start_at(Path::new("memory:"), "127.0.0.1:0", &tls);
    let url = format!("wss://localhost:{}", server.address.port());
    let db = Db::new(&folder, "a.db");
    db.put("notes", "n", "1");
    sync(&db, &url, &["--trust", &certificate]);
    let wrong = db.run("sync", &["--server", &url, "--trust", &key]);
    wrong.fails(&["key.pem", "a private key and no certificate"]);
}
