//! Rows that were damaged by a bad disk, or by another program. Unreadable data is an error that
//! reports it; nothing panics.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{NOW, REPLICA, config, key, place, puts};
use rusqlite::Connection;
use rusqlite::types::Value;
use storage_sqlite::open_replica;
use sync_core::error::{ErrorKind, Result};
use sync_core::model::{
    Chunk, Epoch, Limits, LocalSeq, LogEntry, ReplicaId, Reset, ResetReason, Scope, Seq, Verdicts,
};
use sync_core::replica::{Context, Decision, Forget, Scan, Unsettled, UnsettledAfter};
use sync_core::resolver::{Resolution, Resolvers};
use sync_core::storage::Storage;
use testkit::random::SplitMix64;

const ROUNDS: u64 = 100;

fn all() -> Limits {
    Limits { documents: 1_000, bytes: usize::MAX }
}

fn chunk(after: u64) -> Chunk {
    let entry = |n: u64| {
        LogEntry::new(
            Seq(after + n),
            common::collection("notes"),
            common::id(&format!("n{n}")),
            common::state(100 + after + n, Some("{\"from\":\"the server\"}")),
        )
    };
    Chunk {
        next: Seq(after + 3),
        head: Seq(after + 3),
        entries: (1..4).map(entry).collect(),
        ..Chunk::empty(Scope::default(), Epoch([5; 16]), Seq(after))
    }
}

async fn context(storage: &impl Storage) -> Result<Context> {
    let lease = storage.claim("the test".to_owned()).await?;
    Ok(Context { now: NOW, resolvers: Resolvers::default(), lease })
}

/// Writes a file with settled, pending and pushed documents.
async fn write(path: &Path) {
    let storage = open_replica(&config(path), REPLICA).unwrap();
    let cx = context(&storage).await.unwrap();
    storage.apply(cx.clone(), chunk(0)).await.unwrap();
    storage.write(NOW, puts(&[("n1", "1"), ("mine", "2")])).await.unwrap();
    storage.next_push(cx, Scope::default(), Limits::PUSH).await.unwrap();
    storage.write(NOW, puts(&[("later", "3")])).await.unwrap();
    storage.close().await.unwrap();
}

/// Returns the place of every value of the file: table, row and column.
fn places(path: &Path) -> Vec<(String, i64, String)> {
    let file = Connection::open(path).unwrap();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    let mut found = Vec::new();
    let names = |sql: &str, column: usize| -> Vec<String> {
        let mut statement = file.prepare(sql).unwrap();
        let names = statement.query_map([], |row| row.get(column)).unwrap();
        names.map(std::result::Result::unwrap).collect()
    };
    for table in names(tables, 0) {
        let columns = names(&format!("PRAGMA table_info({table})"), 1);
        let mut rows = file.prepare(&format!("SELECT rowid FROM {table}")).unwrap();
        let rows = rows.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        for row in rows.map(std::result::Result::unwrap) {
            found.extend(columns.iter().map(|c| (table.clone(), row, c.clone())));
        }
    }
    found
}

/// Returns another value of the same type, or null.
fn damaged(value: Value, random: &mut SplitMix64) -> Value {
    let bytes = |mut bytes: Vec<u8>, random: &mut SplitMix64| {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => bytes.extend([0xff; 9]),
            _ => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
        }
        bytes
    };
    match value {
        _ if random.percent(10) => Value::Null,
        Value::Integer(n) => Value::Integer([i64::MIN, -1, 0, i64::MAX, n ^ 1][random.below(5)]),
        Value::Blob(blob) => Value::Blob(bytes(blob, random)),
        Value::Text(text) => {
            Value::Text(String::from_utf8_lossy(&bytes(text.into_bytes(), random)).into_owned())
        }
        other => other,
    }
}

/// Damages one value, and returns whether SQLite accepts it.
fn damage(path: &Path, (table, row, column): &(String, i64, String), seed: u64) -> bool {
    let file = Connection::open(path).unwrap();
    file.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").unwrap();
    let read = format!("SELECT {column} FROM {table} WHERE rowid = ?1");
    let value: Value = file.query_row(&read, [row], |r| r.get(0)).unwrap();
    let value = damaged(value, &mut SplitMix64::new(seed));
    let write = format!("UPDATE {table} SET {column} = ?1 WHERE rowid = ?2");
    file.execute(&write, rusqlite::params![value, row]).is_ok()
}

/// Asserts that there was no panic, which a transaction reports as `Internal`.
fn survived<T>(result: Result<T>, what: &str) {
    if let Err(error) = result {
        assert_ne!(error.kind(), ErrorKind::Internal, "{what}: {error}");
    }
}

/// Calls everything that a replica uses of its storage.
async fn use_it(path: &Path, what: &str) {
    let storage = match open_replica(&config(path), REPLICA) {
        Ok(storage) => storage,
        Err(error) => return assert_ne!(error.kind(), ErrorKind::Internal, "{what}: {error}"),
    };
    let scope = Scope::default;
    read_it(&storage, what).await;
    if let Ok(cx) = context(&storage).await {
        let (cx, epoch) = (|| cx.clone(), Epoch([5; 16]));
        survived(storage.apply(cx(), chunk(3)).await, what);
        match storage.next_push(cx(), scope(), Limits::PUSH).await {
            Ok(Some(batch)) => {
                survived(storage.settle(cx(), scope(), batch.id, Verdicts::Stale).await, what);
            }
            other => survived(other, what),
        }
        survived(storage.set_collections(cx(), scope(), None).await, what);
        for reason in [ResetReason::EpochChanged { cut: Seq(2) }, ResetReason::Requested] {
            let reset = Reset { epoch: Epoch([6; 16]), reason };
            survived(storage.reset(cx(), scope(), reset).await, what);
        }
        survived(storage.apply(cx(), Chunk { epoch, ..chunk(0) }).await, what);
        survived(storage.reidentify(cx(), ReplicaId([9; 16])).await, what);
    }
    survived(storage.write(NOW, puts(&[("n1", "7"), ("n2", "8"), ("later", "9")])).await, what);
    let decision = Decision::Resolve(Resolution::Local);
    survived(storage.decide(NOW, key("default", "notes", "n1"), decision).await, what);
    read_it(&storage, what).await;
    survived(storage.forget(NOW, None, Forget::Scope(scope())).await, what);
    survived(storage.close().await, what);
}

async fn read_it(storage: &impl Storage, what: &str) {
    survived(storage.state().await, what);
    let scan = Scan { scope: Scope::default(), collection: None, after: None, limits: all() };
    survived(storage.scan(scan).await, what);
    survived(storage.feed(LocalSeq(0), all()).await, what);
    for which in
        [Unsettled::Pending, Unsettled::InFlight, Unsettled::Quarantine, Unsettled::Deferred]
    {
        let after = UnsettledAfter::default();
        survived(storage.unsettled(Scope::default(), which, after, all()).await, what);
    }
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_never_a_panic() {
    let (folder, path) = place();
    write(&path).await;
    let places = places(&path);
    let (damaged, mut taken) = (folder.path().join("damaged.db"), 0);
    for round in 0..ROUNDS {
        std::fs::copy(&path, &damaged).unwrap();
        let place = &places[(round as usize * 7) % places.len()];
        if damage(&damaged, place, round) {
            taken += 1;
            use_it(&damaged, &format!("round {round}, {place:?}")).await;
        }
        for more in ["damaged.db", "damaged.db-wal", "damaged.db-shm"] {
            let _ = std::fs::remove_file(folder.path().join(more));
        }
    }
    assert!(taken > ROUNDS / 2, "only {taken} of {ROUNDS} kinds of damage were possible");
}
