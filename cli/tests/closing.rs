//! A command leaves no log beside a SQLite file when it ends, so that a copy of the file alone is
//! complete.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};

use serde_json::json;
use support::{Db, Folder, Process, program, until};

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

#[track_caller]
fn assert_no_log(db: &Db, after: &str) {
    assert!(!log_of(db.0.as_ref()).exists(), "{after} leaves a log");
}

#[test]
fn no_command_leaves_a_log_whether_it_fails_or_not() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let commands: [(&str, &[&str]); 15] = [
        ("put", &["c", "x", "1"]),
        ("get", &["c", "x"]),
        ("get", &["c", "none"]),
        ("ls", &[]),
        ("rm", &["c", "none"]),
        ("rm", &["--erase", "c", "none"]),
        ("status", &["--json", "--check"]),
        ("export", &[]),
        ("import", &["--collection", "c", "/dev/null"]),
        ("import", &["--collection", "c", "--id-field", "none", "Cargo.toml"]),
        ("why", &["c", "x"]),
        ("why", &["c", "none"]),
        ("watch", &["--after", "0", "--count", "1"]),
        ("sync", &["--server", "ws://127.0.0.1:1"]),
        ("put", &["c", "y", "2"]),
    ];
    for _ in 0..5 {
        for (command, rest) in commands {
            db.run(command, rest);
            assert_no_log(&db, &format!("{command} {rest:?}"));
        }
        for command in [["conflicts", "ls"], ["quarantine", "ls"]] {
            support::run(&[command[0], command[1], "--db", &db.0]).ok();
            assert_no_log(&db, command[0]);
        }
        for [about, command] in [["conflicts", "show"], ["quarantine", "retry"]] {
            support::run(&[about, command, "--db", &db.0, "c", "none"]).fails(&[]);
            assert_no_log(&db, command);
        }
    }
    std::fs::copy(&db.0, folder.path("copy.db")).unwrap();
    assert_eq!(Db::new(&folder, "copy.db").body("c", "y"), Some(json!(2)));
}

#[test]
fn a_closed_output_leaves_no_log() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    for command in [&["get", "--db", &db.0, "c", "x"][..], &["export", "--db", &db.0]] {
        let mut command = program(command);
        let (reads, writes) = std::io::pipe().unwrap();
        drop(reads);
        command.stdout(writes).status().unwrap();
        assert_no_log(&db, "a closed pipe");
    }
}

/// Starts a command, sends it a signal as soon as it has opened the file, and checks that it ended
/// with success.
#[track_caller]
fn end_early(path: &Path, args: &[&str], signal: &str) {
    let process = Process::start(args);
    until("the file is open", || log_of(path).exists().then_some(()));
    process.signal(signal);
    process.end().ok();
    assert!(!log_of(path).exists(), "{args:?} leaves a log after {signal}");
}

#[test]
fn a_signal_right_after_the_start_leaves_no_log() {
    let folder = Folder::new();
    let server = folder.path("server.db");
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    for round in 0..20 {
        let signal = ["-TERM", "-INT"][round % 2];
        let storage = server.to_str().unwrap();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--storage", storage];
        end_early(&server, &serve, signal);
        let live = ["sync", "--db", &*db.0, "--server", "ws://127.0.0.1:1", "--live"];
        end_early(db.0.as_ref(), &live, signal);
        end_early(db.0.as_ref(), &["watch", "--db", &*db.0], signal);
    }
}
