//! The data of a process that is killed without warning.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{NOW, REPLICA, config, key, place, puts};
use storage_sqlite::{SqliteStorage, open_replica};
use sync_core::error::ErrorKind;
use sync_core::storage::Storage;
use testkit::killed::{Child, place_of_child, report, times};

fn open(path: &Path) -> SqliteStorage {
    open_replica(&config(path), REPLICA).unwrap()
}

/// Runs in a child process, started by the tests below: takes the engine and writes until it is
/// killed.
#[tokio::test]
async fn child() {
    let Some(path) = place_of_child() else { return };
    let storage = open(&path);
    storage.claim("the child".to_owned()).await.unwrap();
    for n in 0.. {
        storage.write(NOW, puts(&[(&n.to_string(), "1")])).await.unwrap();
        if !report(n) {
            return;
        }
    }
}

#[tokio::test]
async fn every_acknowledged_write_of_a_killed_process_is_in_the_file() {
    for round in 0..10 * times() {
        let (_folder, path) = place();
        let acknowledged = Child::start("child", &path, 1 + round * 7 % 37).kill();
        let storage = open(&path);
        let keys = (0..acknowledged).map(|n| key("default", "notes", &n.to_string())).collect();
        assert!(storage.get(keys).await.unwrap().iter().all(Option::is_some));
    }
}

#[tokio::test]
async fn the_engine_of_a_killed_process_is_free_at_once() {
    let (_folder, path) = place();
    let child = Child::start("child", &path, 1);
    let storage = open(&path);
    let error = storage.claim("the parent".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.report().to_string().contains("the child"), "{error}");
    child.kill();
    storage.claim("the parent".to_owned()).await.unwrap();
}
