//! The data of a process that is killed without warning.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{NOW, REPLICA, config, key, place, puts};
use storage_kit::Durability;
use storage_kit::kv::{Key, OrderedKv};
use storage_sled::{SledConfig, SledKv, SledStorage, open_replica, open_server};
use sync_core::model::{
    Body, Change, Cursor, DocumentState, Epoch, Limits, LogKey, NewLog, PushBatch, PushId,
    Revision, Scope, Seq, ServerStart, Stamp,
};
use sync_core::storage::Storage;
use sync_server::ops::{AppendContext, ChangesReply};
use sync_server::{Open, ServerStorage, Visible};
use testkit::killed::{Child, place_of_child, report, times};

const EPOCH: Epoch = Epoch([1; 16]);
const NEW: NewLog = NewLog { epoch: EPOCH, key: LogKey([7; 16]) };

/// Returns default settings, with background cleaning at full speed.
fn killed(path: &Path) -> SledConfig {
    let mut config = config(path);
    config.tidy_every = Some(Duration::from_millis(1));
    config
}

fn open(path: &Path) -> SledStorage {
    open_replica(&killed(path), REPLICA).unwrap()
}

/// Returns the documents of one transaction, one of them large.
fn transaction(n: u64) -> Vec<(String, String)> {
    let body = |size: usize| format!("\"{n} {}\"", "x".repeat(size));
    vec![(format!("{n}a"), body(1)), (format!("{n}b"), body(60_000)), (format!("{n}c"), body(500))]
}

/// Runs in a child process, started by the tests below: writes until it is killed. The other
/// children do the same.
#[tokio::test]
async fn child_writes() {
    let Some(path) = place_of_child() else { return };
    let storage = open(&path);
    for n in 0.. {
        let documents = transaction(n);
        let documents: Vec<_> = documents.iter().map(|(i, b)| (i.as_str(), b.as_str())).collect();
        storage.write(NOW, puts(&documents)).await.unwrap();
        if !report(n) {
            return;
        }
    }
}

#[tokio::test]
async fn child_appends() {
    let Some(path) = place_of_child() else { return };
    let storage = open_server(&killed(&path)).unwrap();
    storage.scope(Scope::default(), NEW).await.unwrap();
    for n in 0.. {
        append(&storage, n).await;
        if !report(n) {
            return;
        }
    }
}

#[test]
fn child_commits() {
    let Some(path) = place_of_child() else { return };
    let kv = SledKv::open(&killed(&path)).unwrap();
    // It continues where the one before was killed.
    for n in common::entries(&kv).unwrap().len() as u64.. {
        let batch = vec![(n.to_be_bytes()[..].into(), Some(vec![1; 2_000].into()))];
        kv.commit(batch, Durability::Process).unwrap();
        if !report(n) {
            return;
        }
    }
}

fn batch(n: u64) -> PushBatch {
    let revision = Revision { stamp: Stamp::from_bits((NOW.0 << 16) | n), replica: REPLICA };
    let body = Some(Body::parse(format!("{n}")).unwrap());
    let state = DocumentState::new(revision, body);
    let key = key(&n.to_string());
    let change = Change::new(key.collection, key.id, state);
    let (scope, replica) = (Scope::default(), REPLICA);
    PushBatch::new(scope, replica, PushId(n + 1), vec![change])
}

async fn append(storage: &impl ServerStorage, n: u64) {
    let drift = Duration::from_secs(60);
    let cx = AppendContext { drift, ..AppendContext::new(NOW, ServerStart(1), NEW) };
    let appended = storage.append(cx, batch(n), Arc::new(Open)).await.unwrap();
    assert_eq!(appended.head, Seq(n + 1));
}

#[tokio::test]
async fn every_acknowledged_write_of_a_killed_process_is_stored_whole() {
    for round in 0..15 * times() {
        let (_folder, path) = place();
        let acknowledged = Child::start("child_writes", &path, 1 + round % 23).kill();
        let storage = open(&path);
        // The transaction after the last acknowledged one may be stored, too, but not in part.
        for n in 0..acknowledged + 2 {
            let documents = transaction(n);
            let keys = documents.iter().map(|(id, _)| key(id)).collect();
            let found = storage.get(keys).await.unwrap();
            let there = found.iter().flatten().count();
            assert!(there == 3 || (there == 0 && n >= acknowledged), "{there} of write {n}");
            for (found, (_, body)) in found.iter().flatten().zip(documents) {
                assert_eq!(found.state.body.as_ref().unwrap().as_str(), body);
            }
        }
    }
}

#[tokio::test]
async fn every_acknowledged_append_of_a_killed_server_is_stored() {
    for round in 0..8 * times() {
        let (_folder, path) = place();
        let acknowledged = Child::start("child_appends", &path, 1 + round % 29).kill();
        let storage = open_server(&killed(&path)).unwrap();
        let head = storage.scope(Scope::default(), NEW).await.unwrap().head;
        assert!(head >= Seq(acknowledged), "{head:?} of {acknowledged}");
        let cursor = Cursor { epoch: Some(EPOCH), ..Cursor::default() };
        let limits = Limits { documents: 100_000, ..Limits::CHUNK };
        let reply = storage.changes(Scope::default(), cursor, limits, Visible::All).await.unwrap();
        let ChangesReply::Chunk(chunk) = reply else { unreachable!("there was no reset") };
        assert_eq!(chunk.entries.len() as u64, head.0);
    }
}

#[test]
fn commits_without_sync_survive_a_killed_process() {
    let (_folder, path) = place();
    let mut there = 0;
    for round in 0..25 * times() {
        let acknowledged = there + Child::start("child_commits", &path, 1 + round % 7).kill();
        let kv = SledKv::open(&killed(&path)).unwrap();
        let keys: Vec<_> = common::entries(&kv).unwrap().into_iter().map(|(key, _)| key).collect();
        there = keys.len() as u64;
        assert!(there >= acknowledged, "{there} of {acknowledged}");
        assert!(keys.into_iter().eq((0..there).map(|n| Key::from(&n.to_be_bytes()[..]))));
    }
}

#[test]
fn the_folder_of_a_killed_process_is_free_at_once() {
    let (_folder, path) = place();
    let mut impatient = killed(&path);
    impatient.lock_timeout = Duration::ZERO;
    let child = Child::start("child_commits", &path, 1);
    let error = SledKv::open(&impatient).unwrap_err();
    assert_eq!(error.kind(), sync_core::error::ErrorKind::Busy, "{error}");
    child.kill();
    SledKv::open(&impatient).unwrap();
}
