//! The guarantees of transactions: durability, undo, and full disks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{NOW, config, key, place, puts, scope};
use storage_kit::{Durability, Snapshot, Transactional};
use storage_sqlite::{
    SqliteConfig, SqliteReplicaReader, SqliteReplicaWriter, Synchronous, open_replica,
};
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{Seq, WriteLimits};
use sync_core::replica::ops;
use sync_core::replica::record::{Record, ScopeRow};
use sync_core::replica::rows::{ReplicaReads, ReplicaRows};
use sync_core::storage::Storage;

fn open(config: &SqliteConfig) -> SqliteReplicaWriter {
    SqliteReplicaWriter::open(config, common::REPLICA).unwrap()
}

fn level_within(core: &mut SqliteReplicaWriter, durability: Durability) -> i64 {
    core.begin(durability).unwrap();
    let level = core.synchronous_level().unwrap();
    core.rollback();
    level
}

#[test]
fn each_transaction_is_synced_according_to_its_durability() {
    let (_folder, path) = place();
    let mut config = config(&path);
    for (acknowledged, level) in
        [(Synchronous::Normal, 1), (Synchronous::Full, 2), (Synchronous::Extra, 3)]
    {
        config.synchronous = acknowledged;
        let mut core = open(&config);
        for _ in 0..2 {
            assert_eq!(level_within(&mut core, Durability::Power), level);
            assert_eq!(level_within(&mut core, Durability::Process), 1);
        }
    }
}

fn record(known: u64) -> Record {
    Record { server_seq: Seq(known), ..Record::default() }
}

#[test]
fn an_undone_job_does_not_affect_other_jobs() {
    let (_folder, path) = place();
    let mut core = open(&config(&path));
    core.begin(Durability::Process).unwrap();
    for (n, is_kept) in [(1, false), (2, true), (3, false), (4, true)] {
        core.mark().unwrap();
        // A separate scope and collection: their numbers are undone, too, and must not stay in the
        // cache.
        let key = key(&format!("s{n}"), &format!("c{n}"), "x");
        core.put_record(&key, None, &record(n)).unwrap();
        if !is_kept {
            core.undo().unwrap();
            core.undo().unwrap();
        }
    }
    assert!(core.commit().unwrap());
    for (n, known) in [(1, None), (2, Some(Seq(2))), (3, None), (4, Some(Seq(4)))] {
        let found = core.record(&key(&format!("s{n}"), &format!("c{n}"), "x")).unwrap();
        assert_eq!(found.map(|r| r.server_seq), known, "job {n}");
    }
}

#[test]
fn a_commit_returns_whether_anything_was_written() {
    let (_folder, path) = place();
    let mut core = open(&config(&path));
    core.begin(Durability::Process).unwrap();
    assert!(!core.commit().unwrap());
    core.begin(Durability::Process).unwrap();
    core.mark().unwrap();
    core.mark().unwrap();
    core.put_scope(&scope("a"), &ScopeRow::default()).unwrap();
    core.undo().unwrap();
    assert!(!core.commit().unwrap());
    core.begin(Durability::Process).unwrap();
    core.put_scope(&scope("a"), &ScopeRow::default()).unwrap();
    assert!(core.commit().unwrap());
}

#[test]
fn nothing_runs_after_a_transaction_has_ended() {
    let (_folder, path) = place();
    let mut core = open(&config(&path));
    core.begin(Durability::Process).unwrap();
    core.put_scope(&scope("a"), &ScopeRow::default()).unwrap();
    core.rollback();
    assert_eq!(core.commit().unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(core.scope(&scope("a")).unwrap(), None);
    core.begin(Durability::Process).unwrap();
    core.commit().unwrap();
}

#[test]
fn a_snapshot_does_not_move_while_it_is_open() {
    let (_folder, path) = place();
    let mut core = open(&config(&path));
    let mut reader = SqliteReplicaReader::open(&config(&path)).unwrap();
    reader.open().unwrap();
    core.begin(Durability::Process).unwrap();
    core.put_scope(&scope("a"), &ScopeRow::default()).unwrap();
    core.commit().unwrap();
    assert_eq!(reader.scope(&scope("a")).unwrap(), None);
    reader.release();
    reader.open().unwrap();
    assert!(reader.scope(&scope("a")).unwrap().is_some());
}

#[test]
fn a_full_disk_fails_the_write_loses_nothing_and_ends_with_more_room() {
    let (_folder, path) = place();
    let mut core = open(&config(&path));
    core.set_max_page_count(Some(64)).unwrap();
    let body = format!("\"{}\"", "x".repeat(10_000));
    let limits = WriteLimits::default();
    let write = |core: &mut SqliteReplicaWriter, id: &str| {
        core.begin(Durability::Power)?;
        core.mark()?;
        match ops::write(core, NOW, &limits, &puts(&[(id, &body)])) {
            Ok(_) => core.commit().map(drop),
            Err(e) => {
                core.rollback();
                Err(e)
            }
        }
    };
    let mut written = 0;
    let error = loop {
        match write(&mut core, &written.to_string()) {
            Ok(()) => written += 1,
            Err(e) => break e,
        }
    };
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Storage, Retry::Later(None)), "{error}");
    assert!(error.report().to_string().contains("full"), "{error}");
    let documents = |core: &SqliteReplicaWriter| ops::state(core).unwrap().scopes[0].documents;
    assert!(written > 5);
    assert_eq!(documents(&core), written);
    core.set_max_page_count(None).unwrap();
    write(&mut core, "more").unwrap();
    drop(core);
    assert_eq!(documents(&open(&config(&path))), written + 1);
}

#[test]
fn a_full_disk_in_the_middle_of_a_group_fails_the_rest_of_it() {
    let (_folder, path) = place();
    let mut core = open(&config(&path));
    core.set_max_page_count(Some(64)).unwrap();
    let body = format!("\"{}\"", "x".repeat(100_000));
    let limits = WriteLimits::default();
    core.begin(Durability::Power).unwrap();
    core.mark().unwrap();
    ops::write(&mut core, NOW, &limits, &puts(&[("a", "1")])).unwrap();
    core.mark().unwrap();
    let large = puts(&[("b", &body), ("c", &body), ("d", &body)]);
    let error = ops::write(&mut core, NOW, &limits, &large).unwrap_err();
    assert!(error.report().to_string().contains("full"), "{error}");
    // SQLite may undo only the statement or end the transaction; either way nothing is stored in
    // part.
    let documents = match core.undo().and_then(|()| core.commit()) {
        Ok(_) => 1,
        Err(error) => {
            assert!(error.report().to_string().contains("full"), "{error}");
            0
        }
    };
    core.rollback();
    let scopes = ops::state(&core).unwrap().scopes;
    assert_eq!(scopes.first().map_or(0, |s| s.documents), documents);
}

#[tokio::test]
async fn a_full_disk_fails_writes_through_the_threads_and_reads_go_on() {
    let (_folder, path) = place();
    let mut bounded = config(&path);
    bounded.max_page_count = Some(64);
    let storage = open_replica(&bounded, common::REPLICA).unwrap();
    let body = format!("\"{}\"", "x".repeat(100_000));
    storage.write(NOW, puts(&[("small", "1")])).await.unwrap();
    let large = puts(&[("a", &body), ("b", &body), ("c", &body)]);
    let error = storage.write(NOW, large.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert_eq!(storage.state().await.unwrap().scopes[0].documents, 1);
    storage.write(NOW, puts(&[("small too", "2")])).await.unwrap();
    storage.close().await.unwrap();
    let storage = open_replica(&config(&path), common::REPLICA).unwrap();
    storage.write(NOW, large).await.unwrap();
    assert_eq!(storage.state().await.unwrap().scopes[0].documents, 5);
}
