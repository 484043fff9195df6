//! Several processes on one replica's file. Two storages in one process share only the file, as two
//! processes do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::{NOW, REPLICA, config, place, puts};
use storage_kit::{Durability, ReplicaWriter, Transactional};
use storage_sqlite::{SqliteReplicaWriter, SqliteStorage, open_replica};
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{Limits, LocalSeq};
use sync_core::replica::Context;
use sync_core::storage::Storage;

const SOON: Duration = Duration::from_secs(10);

fn open(path: &std::path::Path) -> SqliteStorage {
    open_replica(&config(path), REPLICA).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_storages_write_to_one_file_and_lose_nothing() {
    let (_folder, path) = place();
    let (one, two) = (open(&path), open(&path));
    let write = async |storage: &SqliteStorage, who: &str| {
        for n in 0..50 {
            storage.write(NOW, puts(&[(&format!("{who}{n}"), "1")])).await.unwrap();
        }
    };
    tokio::join!(write(&one, "one"), write(&two, "two"));
    for storage in [&one, &two] {
        assert_eq!(storage.state().await.unwrap().scopes[0].documents, 100);
        let feed = storage.feed(LocalSeq(0), Limits::CHUNK).await.unwrap();
        let places: Vec<u64> = feed.changes.iter().map(|c| c.at.0).collect();
        assert_eq!(places, (1..=100).collect::<Vec<_>>(), "each write took a place of its own");
    }
}

#[tokio::test]
async fn a_commit_of_another_storage_wakes_waiters() {
    let (_folder, path) = place();
    let (one, two) = (open(&path), open(&path));
    let mut commits = two.commits();
    for n in 0..3 {
        commits.mark_unchanged();
        one.write(NOW, puts(&[(&n.to_string(), "1")])).await.unwrap();
        tokio::time::timeout(SOON, commits.changed()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_commit_before_a_wait_is_not_missed() {
    let (_folder, path) = place();
    let (one, two) = (open(&path), open(&path));
    one.write(NOW, puts(&[("a", "1")])).await.unwrap();
    let mut commits = two.commits();
    tokio::time::timeout(SOON, commits.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_closed_storage_leaves_nothing_open() {
    let (_folder, path) = place();
    let storage = open(&path);
    let mut commits = storage.commits();
    storage.write(NOW, puts(&[("a", "1")])).await.unwrap();
    storage.close().await.unwrap();
    assert_eq!(
        storage.write(NOW, puts(&[("b", "1")])).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    // A running thread would hold the other end of the counter.
    drop(storage);
    let ended = async { while commits.changed().await.is_ok() {} };
    tokio::time::timeout(SOON, ended).await.unwrap();
    assert_eq!(open(&path).state().await.unwrap().scopes[0].documents, 1);
}

#[tokio::test]
async fn the_second_engine_is_refused_with_the_holder_and_accepted_after_its_end() {
    let (_folder, path) = place();
    let (one, two) = (open(&path), open(&path));
    let first = one.claim("the app, process 17".to_owned()).await.unwrap();
    assert_eq!(one.claim("the app, process 17".to_owned()).await.unwrap(), first.next());
    let error = two.claim("the command line".to_owned()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Busy, Retry::Later(None)));
    assert!(error.report().to_string().contains("the app, process 17"), "{error}");
    one.close().await.unwrap();
    let second = two.claim("the command line".to_owned()).await.unwrap();
    assert_eq!(second, first.next().next());
    two.release(second).await.unwrap();
    let three = open(&path);
    three.claim("another".to_owned()).await.unwrap();
    // An earlier holder cannot change anything any more.
    let late = Context { now: NOW, resolvers: Default::default(), lease: second };
    let error = two.next_push(late, Default::default(), Limits::PUSH).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Superseded);
}

#[cfg(unix)]
#[test]
fn a_link_to_the_file_leads_to_the_same_lock() {
    let (folder, path) = place();
    let mut one = SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut two = SqliteReplicaWriter::open(&config(&link), REPLICA).unwrap();
    one.lock_engine().unwrap();
    assert_eq!(two.lock_engine().unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn an_undone_lock_is_released() {
    let (_folder, path) = place();
    let open = || SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap();
    let (mut one, mut two) = (open(), open());
    for undo in [false, true] {
        one.begin(Durability::Process).unwrap();
        one.mark().unwrap();
        one.lock_engine().unwrap();
        assert_eq!(two.lock_engine().unwrap_err().kind(), ErrorKind::Busy);
        if undo {
            one.undo().unwrap();
        } else {
            one.rollback();
        }
        two.lock_engine().unwrap();
        two.unlock_engine();
    }
}

#[test]
fn a_writer_that_blocks_for_too_long_is_a_retryable_error() {
    let (_folder, path) = place();
    let mut impatient = config(&path);
    impatient.busy_timeout = Duration::from_millis(10);
    let mut one = SqliteReplicaWriter::open(&impatient, REPLICA).unwrap();
    let mut two = SqliteReplicaWriter::open(&impatient, REPLICA).unwrap();
    one.begin(Durability::Process).unwrap();
    let error = two.begin(Durability::Power).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Storage, Retry::Later(None)), "{error}");
    one.commit().unwrap();
    two.begin(Durability::Power).unwrap();
}

#[test]
fn concurrent_openings_of_a_new_file_create_one_replica() {
    for _ in 0..20 {
        let (_folder, path) = place();
        let replicas: Vec<_> = std::thread::scope(|threads| {
            let open = |n| {
                let config = config(&path);
                threads.spawn(move || {
                    use sync_core::replica::rows::ReplicaReads;
                    let fresh = sync_core::model::ReplicaId([n; 16]);
                    let core = SqliteReplicaWriter::open(&config, fresh).unwrap();
                    core.meta().unwrap().unwrap().replica
                })
            };
            let threads: Vec<_> = (1..=4).map(open).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(replicas.iter().all(|r| *r == replicas[0]), "{replicas:?}");
    }
}

#[test]
fn a_replica_in_memory_locks_its_engine_without_a_file() {
    let mut core = SqliteReplicaWriter::in_memory(REPLICA).unwrap();
    core.lock_engine().unwrap();
    core.lock_engine().unwrap();
}

/// The variable that passes the file to a child process.
const FILE: &str = "TWOTIDE_TEST_LOOKED_AT";

/// Runs in a child process, started by the test below.
#[test]
fn child_looks_and_goes() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let looking = rusqlite::Connection::open(path).unwrap();
    looking.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).unwrap();
}

#[tokio::test]
async fn a_short_reader_process_does_not_remove_the_log_of_an_open_file() {
    let (_folder, path) = place();
    let storage = open(&path);
    storage.write(NOW, puts(&[("a", "1")])).await.unwrap();
    // Readers, and a second storage, open the file after the writer has its locks.
    assert_eq!(storage.state().await.unwrap().scopes[0].documents, 1);
    let second = open(&path);
    second.close().await.unwrap();
    let log = path.with_extension(format!("{}-wal", path.extension().unwrap().display()));
    assert!(log.exists(), "{}", log.display());
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_looks_and_goes"])
        .env(FILE, &path)
        .status();
    assert!(child.unwrap().success());
    assert!(log.exists(), "the other process took itself for the last one");
    storage.write(NOW, puts(&[("b", "1")])).await.unwrap();
    storage.close().await.unwrap();
    assert_eq!(open(&path).state().await.unwrap().scopes[0].documents, 2);
}
