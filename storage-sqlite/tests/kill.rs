//! What is left of a process that is killed without warning.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{NOW, REPLICA, config, key, place, puts};
use storage_sqlite::{SqliteStorage, open_replica};
use sync_core::error::ErrorKind;
use sync_core::storage::Storage;

const FILE: &str = "TWOTIDE_TEST_KILLED_FILE";

fn open(path: &Path) -> SqliteStorage {
    open_replica(&config(path), REPLICA).unwrap()
}

/// Runs in a process of its own, started by the tests below: takes the engine and writes until it
/// is killed.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let storage = open(Path::new(&path));
    storage.claim("the child".to_owned()).await.unwrap();
    for n in 0.. {
        storage.write(NOW, puts(&[(&n.to_string(), "1")])).await.unwrap();
        let mut out = std::io::stdout();
        if writeln!(out, "written {n}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// How many times as many processes are killed. Opening what they leave waits for the disk, so a
/// usual run kills few.
fn times() -> usize {
    std::env::var("TWOTIDE_TEST_KILLS_TIMES").map_or(1, |times| times.parse().unwrap())
}

/// Starts the child; returns with its output once it has written that often.
fn start(path: &Path, writes: usize) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut written = lines.filter(|l| l.starts_with("written"));
    assert!(written.nth(writes - 1).is_some());
    (child, written)
}

#[tokio::test]
async fn every_acknowledged_write_of_a_killed_process_is_there() {
    for round in 0..10 * times() {
        let (_folder, path) = place();
        let writes = 1 + round * 7 % 37;
        let (mut child, written) = start(&path, writes);
        child.kill().unwrap();
        let acknowledged = writes + written.count();
        child.wait().unwrap();
        let storage = open(&path);
        let keys = (0..acknowledged).map(|n| key("default", "notes", &n.to_string())).collect();
        assert!(storage.get(keys).await.unwrap().iter().all(Option::is_some));
    }
}

#[tokio::test]
async fn the_engine_of_a_killed_process_is_free_at_once() {
    let (_folder, path) = place();
    let (mut child, _written) = start(&path, 1);
    let storage = open(&path);
    let error = storage.claim("the parent".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.report().to_string().contains("the child"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    storage.claim("the parent".to_owned()).await.unwrap();
}
