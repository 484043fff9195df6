//! A large reconcile: 10,000 offline edits of 1,000 documents against a server that changed 500 of
//! them.
//!
//! There is only one test, because it measures the memory of its process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test, which measures"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use twotide::backend::model::{Limits, ReplicaId};
use twotide::backend::resolver::{ResolveOn, Resolvers};
use twotide::prelude::*;
use twotide::server::{Hooks, Server, ServerOptions};
use twotide::sqlite::{SqliteConfig, open_replica, open_server};

const DOCUMENTS: usize = 1_000;
const CHANGED: usize = 500;
/// Edits of each document, made offline. Only the last of them counts.
const EDITS: u64 = 10;
/// Edits where the server resolves: their number does not change what travels.
const FEW_EDITS: u64 = 2;
/// The size of one body, in bytes.
const TEXT: usize = 16 << 10;
/// The memory of all bases, edits and server states together, in KiB. A replica that holds them all
/// in memory fails the test.
const EVERYTHING: u64 = (3 * DOCUMENTS * TEXT) as u64 >> 10;
/// The bound on how much the memory of the process may grow while it reconciles, in KiB.
const GROWTH: u64 = 32 << 10;
const _: () = assert!(GROWTH < EVERYTHING);
/// Reconciling takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const CHUNK: Limits = Limits { documents: 50, bytes: 512 << 10 };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    /// Ann changes the title, in half of the documents.
    title: String,
    /// The number of Ben's edits.
    count: u64,
    tags: Vec<String>,
    text: String,
}

fn id(n: usize) -> String {
    format!("{n:04}")
}

fn base(n: usize) -> Note {
    let tags = vec!["old".to_owned(), "kept".to_owned()];
    Note { title: format!("note {n}"), count: 0, tags, text: "x".repeat(TEXT) }
}

/// Returns a document after Ann's edit.
fn renamed(n: usize) -> Note {
    Note { title: format!("renamed {n}"), tags: vec!["kept".to_owned()], ..base(n) }
}

/// Returns a document after that many edits of Ben.
fn counted(n: usize, count: u64) -> Note {
    let tags = ["old", "kept", "ben's"].map(str::to_owned).to_vec();
    Note { count, tags, ..base(n) }
}

/// Returns the expected result.
fn merged(n: usize) -> Note {
    if n >= CHANGED {
        return counted(n, EDITS);
    }
    let tags = ["kept", "ben's"].map(str::to_owned).to_vec();
    Note { count: EDITS, tags, ..renamed(n) }
}

/// Fails a test that hangs; a busy machine may take long.
async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

fn merge() -> FieldMerge {
    FieldMerge::new().field("/tags", FieldRule::Union).unwrap()
}

/// Configures SQLite to cache little in memory.
fn config(path: &Path) -> SqliteConfig {
    let mut config = SqliteConfig::new(path);
    config.cache_kib = 1_024;
    config.checkpoint_pages = 1_000;
    config
}

struct Setting {
    folder: tempfile::TempDir,
    server: Server,
    on: ResolveOn,
}

impl Setting {
    fn new(on: ResolveOn) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = open_server(&config(&folder.path().join("server.db"))).unwrap();
        let hooks =
            Hooks { resolvers: Resolvers::shared(Arc::new(merge()), on), ..Hooks::default() };
        let options = ServerOptions::default();
        let server = Server::builder(Arc::new(storage)).hooks(hooks).options(options).build();
        Self { folder, server, on }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn open(&self, name: &str, id: u8) -> Replica {
        let storage = open_replica(&config(&self.path(name)), ReplicaId([id; 16])).unwrap();
        let builder = Replica::builder()
            .storage(Arc::new(storage))
            .transport(Arc::new(self.server.in_process()))
            .pipeline(2, 1 << 20)
            .chunk_limits(CHUNK)
            .push_limits(CHUNK);
        builder.resolver_for("notes", merge()).resolve_on("notes", self.on).open().await.unwrap()
    }
}

/// Writes many documents, 25 in a transaction.
async fn put_all(replica: &Replica, documents: usize, note: impl Fn(usize) -> Note) {
    let notes = replica.collection::<Note>("notes").unwrap();
    for first in (0..documents).step_by(25) {
        let mut transaction = replica.transaction();
        for n in first..first + 25 {
            transaction.put(&notes, id(n), &note(n)).unwrap();
        }
        transaction.commit().await.unwrap();
    }
}

async fn assert_merged(replica: &Replica, what: &str) {
    let notes = replica.collection::<Note>("notes").unwrap();
    for n in 0..DOCUMENTS {
        let document = notes.get(&id(n)).await.unwrap().unwrap();
        assert!(document.is_synced(), "document {n} of {what}");
        let (expected, found) = (merged(n), document.into_value());
        assert!(expected == found, "document {n} of {what}: {} {:?}", found.title, found.tags);
    }
    let state = replica.state().await.unwrap();
    assert_eq!(state.scopes[0].documents, DOCUMENTS as u64, "{what}");
}

/// Reads a figure about this process's memory, in KiB; none where the system has no such file.
fn memory(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(what))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Returns how long it took, and by how much the memory grew at most, in KiB.
async fn reconcile(on: ResolveOn, edits: u64) -> (Duration, Option<u64>) {
    let setting = Setting::new(on);
    let (ann, ben) = (setting.open("ann.db", 1).await, setting.open("ben.db", 2).await);
    put_all(&ann, DOCUMENTS, base).await;
    patiently(ann.sync_now()).await.unwrap();
    patiently(ben.sync_now()).await.unwrap();
    put_all(&ann, CHANGED, renamed).await;
    patiently(ann.sync_now()).await.unwrap();

    // The last edit is the same, whichever the first was.
    let first = EDITS - edits + 1;
    for edit in first..first + edits / 2 {
        put_all(&ben, DOCUMENTS, |n| counted(n, edit)).await;
    }
    ben.close().await.unwrap();
    let ben = setting.open("ben.db", 2).await;
    for edit in first + edits / 2..=EDITS {
        put_all(&ben, DOCUMENTS, |n| counted(n, edit)).await;
    }
    ben.close().await.unwrap();

    // The app is restarted once more while it reconciles.
    let ben = setting.open("ben.db", 2).await;
    let (began, before) = (Instant::now(), memory("VmRSS:"));
    let mut statistics = ben.statistics();
    ben.start().await.unwrap();
    patiently(statistics.wait_for(|s| s.pushed + s.pulled > 0)).await.unwrap();
    ben.close().await.unwrap();
    let waited = ben.statistics().borrow().clone();
    let ben = setting.open("ben.db", 2).await;
    let left = ben.state().await.unwrap().scopes[0].outbox;
    assert!(left.pending + left.in_flight > 0, "the restart came too late: {left:?}");
    patiently(ben.sync_now()).await.unwrap();
    let (took, most) = (began.elapsed(), memory("VmHWM:"));

    patiently(ann.sync_now()).await.unwrap();
    assert_merged(&ben, "Ben's").await;
    assert_merged(&ann, "Ann's").await;
    if on == ResolveOn::Replica {
        let conflicts = waited.conflicts + ben.statistics().borrow().conflicts;
        assert!(conflicts <= CHANGED as u64, "{conflicts} conflicts");
    }
    (took, before.zip(most).map(|(before, most)| most.saturating_sub(before)))
}

#[tokio::test]
async fn ten_thousand_offline_edits_are_reconciled_in_bounded_memory() {
    for (on, edits) in [(ResolveOn::Replica, EDITS), (ResolveOn::Server, FEW_EDITS)] {
        let (took, grown) = reconcile(on, edits).await;
        println!("{on:?}: reconciled in {took:?}, memory grew by {grown:?} KiB");
        assert!(took < PATIENCE, "it took {took:?}");
        // Other systems than Linux report no memory.
        assert!(grown.is_none_or(|grown| grown < GROWTH), "it grew by {grown:?} KiB");
    }
}
