//! A closed storage leaves the file, with all data in it, and no log beside it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{NOW, REPLICA, config, key, place, puts};
use storage_sqlite::{SqliteConfig, Synchronous, open_replica, open_server};
use sync_core::model::{Epoch, LogKey, NewLog, Scope};
use sync_core::storage::Storage;
use sync_server::ServerStorage;

/// Each closing is a race of several threads: enough runs to find an error that occurs once in
/// fifty.
const TIMES: u64 = 300;

/// Returns settings with the most threads, and without syncing.
fn raced(path: &Path) -> SqliteConfig {
    let mut config = config(path);
    config.readers = 4;
    config.synchronous = Synchronous::Normal;
    config
}

#[track_caller]
fn assert_no_log(path: &Path, round: u64) {
    for ending in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(ending);
        assert!(!Path::new(&beside).exists(), "{ending} is left in round {round}");
    }
}

/// Asserts that the log is removed, whatever the result of the reads that raced with closing.
async fn assert_closed(path: &Path, round: u64, reads: Vec<tokio::task::JoinHandle<()>>) {
    assert_no_log(path, round);
    for read in reads {
        read.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_of_a_closed_replica_is_complete() {
    let (_folder, path) = place();
    for round in 0..TIMES {
        let storage = Arc::new(open_replica(&raced(&path), REPLICA).unwrap());
        let id = round.to_string();
        storage.write(NOW, puts(&[(&id, "1")])).await.unwrap();
        let reads = (0..4).map(|_| {
            let (storage, id) = (Arc::clone(&storage), id.clone());
            // It may run after closing.
            tokio::spawn(async move { drop(storage.get(vec![key("default", "notes", &id)]).await) })
        });
        let reads: Vec<_> = reads.collect();
        storage.close().await.unwrap();
        assert_closed(&path, round, reads).await;
    }
    let copy = path.with_file_name("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    let storage = open_replica(&config(&copy), REPLICA).unwrap();
    assert_eq!(storage.state().await.unwrap().scopes[0].documents, TIMES);
    storage.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_of_a_closed_server_is_complete() {
    let (_folder, path) = place();
    let new = NewLog { epoch: Epoch([1; 16]), key: LogKey([7; 16]) };
    let name = |round: u64| Scope::new(format!("s{round:04}")).unwrap();
    for round in 0..TIMES {
        let storage = Arc::new(open_server(&raced(&path)).unwrap());
        storage.scope(name(round), new).await.unwrap();
        let reads = (0..4).map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { drop(storage.scopes(None, 10).await) })
        });
        let reads: Vec<_> = reads.collect();
        storage.close().await.unwrap();
        assert_closed(&path, round, reads).await;
    }
    let copy = path.with_file_name("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    let storage = open_server(&config(&copy)).unwrap();
    let scopes = storage.scopes(None, TIMES as usize + 1).await.unwrap();
    assert_eq!(scopes.len() as u64, TIMES);
    storage.close().await.unwrap();
}
