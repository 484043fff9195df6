//! A storage that fails: the server reports it, and ends if it cannot recover; a live sync ends,
//! too.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::process::Command;

use serde_json::json;
use support::{Db, Folder, Process, Served, http_get, program, run_with_input, until};

/// Ends the server as soon as its storage has failed.
const AT_ONCE: [&str; 2] = ["--failing-for", "0"];

/// Starts the program with a limit of the size of a file, in blocks of 512 bytes: a write over it
/// is an error, as on a full disk.
fn bounded(blocks: u32, args: &[&str]) -> Process {
    let program = program(args);
    let mut shell = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(program.get_program()).args(program.get_args());
    Process::start_command(args.join(" "), shell)
}

/// Writes more documents than fit under the limit.
fn import(db: &str) {
    let line = |n: u32| format!("{}\n", json!({ "id": n.to_string(), "text": "x".repeat(2_000) }));
    let lines: String = (0..4_000).map(line).collect();
    run_with_input(&["import", "--db", db, "--collection", "c", "-"], lines).ok();
}

#[test]
fn a_server_whose_sled_stopped_ends_with_an_error_and_has_what_it_acknowledged_afterwards() {
    let folder = Folder::new();
    let storage = format!("sled:{}", folder.arg("server"));
    let mut process = bounded(
        8_200,
        &["serve", "--listen", "127.0.0.1:0", "--storage", &storage, "--failing-for", "5"],
    );
    let address = process.line().unwrap()["listening"].as_str().unwrap().parse().unwrap();
    let served = Served { process, address };
    let db = Db::new(&folder, "a.db");
    import(&db.0);
    // The result of this sync does not matter: a part of its pushes is acknowledged.
    let mut sync = db.start("sync", &["--server", &served.url(), "--once"]);
    let Served { mut process, .. } = served;
    // It reports the failure for a while, and then ends.
    until("it says that it fails", || {
        let (code, said) = http_get(address, "/healthz", None);
        assert!(process.is_running());
        (code == 503).then(|| assert_eq!(said["status"], "failing"))
    });
    until("the server ends", || (!process.is_running()).then_some(()));
    sync.kill();
    process.end().fails(&["sled stopped", "File too large", "the server ends"]);

    let again = Served::start_at(storage.as_ref(), "127.0.0.1:0", &[]);
    assert_eq!(http_get(again.address, "/healthz", None), (200, json!({ "status": "ok" })));
    db.sync(&again);
    assert_eq!(again.scope()["documents"], 4_000);
}

#[test]
fn a_live_sync_whose_sled_stopped_ends_with_an_error() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let other = Db::new(&folder, "a.db");
    import(&other.0);
    other.sync(&server);
    let replica = format!("sled:{}", folder.arg("replica"));
    let url = server.url();
    let live = bounded(8_200, &["sync", "--db", &replica, "--server", &url, "--live"]);
    live.end().fails(&["sled stopped", "File too large"]);
    let args = ["sync", "--db", &replica, "--server", &url, "--once"];
    assert_eq!(support::run(&args).ok().json()["in_sync"], true);
}

#[test]
fn a_server_whose_file_is_deleted_ends_with_an_error_that_names_the_file() {
    let folder = Folder::new();
    let mut server = Served::start_at(&folder.path("server.db"), "127.0.0.1:0", &AT_ONCE);
    for ending in ["", "-wal", "-shm"] {
        std::fs::remove_file(folder.path(&format!("server.db{ending}"))).unwrap();
    }
    until("the server ends", || (!server.process.is_running()).then_some(()));
    server.process.end().fails(&["server.db", "deleted or moved", "the server ends"]);
}

#[test]
fn a_server_over_whose_file_an_older_copy_is_put_ends_with_an_error() {
    let folder = Folder::new();
    let (file, log) = (folder.path("server.db"), folder.path("server.db-wal"));
    let db = Db::new(&folder, "a.db");
    let served = |id: &str| {
        let server = Served::start_at(&file, "127.0.0.1:0", &AT_ONCE);
        db.put("c", id, "1");
        db.sync(&server);
        server
    };
    let stop = |server: Served| {
        server.process.terminate();
        server.process.end().ok();
    };
    stop(served("a"));
    let older = std::fs::read(&file).unwrap();
    stop(served("b"));
    let mut server = served("c");
    std::fs::write(&file, &older).unwrap();
    until("the server ends", || (!server.process.is_running()).then_some(()));
    server.process.end().fails(&["server.db", "put back from a copy", "the server ends"]);

    // The log belongs to another state than the file, and nothing was written to either.
    assert!(std::fs::read(&file).unwrap() == older);
    let args = ["serve", "--listen", "127.0.0.1:0", "--storage", file.to_str().unwrap()];
    support::run(&args).fails(&["move the log away"]);
    std::fs::rename(&log, folder.path("away")).unwrap();
    let server = Served::start(&file);
    for _ in 0..2 {
        db.sync(&server);
    }
    assert_eq!(server.scope()["documents"], 3);
}
