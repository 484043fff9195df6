//! A replica's storage in memory that counts its calls, fails those that a test names, and delays
//! others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::watch;

use super::support::within;
use storage_kit::kv::{KvOptions, MemoryKv, open_replica};
use sync_core::clock::{Now, ServerTime};
use sync_core::error::{Error, Result};
use sync_core::model::{
    Chunk, Collection, DocumentKey, FencingToken, Limits, LocalSeq, PushBatch, PushId, ReplicaId,
    Reset, Scope, Verdicts, WriteLimits,
};
use sync_core::replica::{
    Applied, Checked, Committed, Context, Decision, Failed, FeedPage, Forget, LocalTransaction,
    ReplicaState, Scan, StoragePage, Stored, Unsettled, UnsettledAfter, UnsettledEntry,
};
use sync_core::storage::Storage;

/// The id of the replica.
pub(super) const REPLICA: ReplicaId = ReplicaId([1; 16]);

#[derive(Debug)]
pub(super) struct Watched {
    inner: Arc<dyn Storage>,
    /// The names of the calls so far.
    calls: watch::Sender<Vec<&'static str>>,
    /// The next calls of a name fail with these errors.
    failing: Mutex<BTreeMap<&'static str, VecDeque<Error>>>,
    /// Calls of a name wait until the other end is dropped.
    held: Mutex<BTreeMap<&'static str, watch::Receiver<()>>>,
}

impl Watched {
    /// Without threads: paused time would run on while one of them works.
    pub(super) fn new() -> Self {
        let mut options = KvOptions::default();
        options.threads.inline = true;
        let inner = open_replica(Arc::new(MemoryKv::default()), REPLICA, options).unwrap();
        Self {
            inner: Arc::new(inner),
            calls: watch::Sender::default(),
            failing: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// Lets the next call of that name that has no error yet fail with this one.
    pub(super) fn fail(&self, name: &'static str, error: Error) {
        self.failing.lock().unwrap().entry(name).or_default().push_back(error);
    }

    /// Calls of that name wait until the answer is dropped.
    pub(super) fn hold(&self, name: &'static str) -> watch::Sender<()> {
        let (hold, held) = watch::channel(());
        self.held.lock().unwrap().insert(name, held);
        hold
    }

    /// Returns how often that was called.
    pub(super) fn calls(&self, name: &str) -> usize {
        self.calls.borrow().iter().filter(|call| **call == name).count()
    }

    /// Waits until it was called so often.
    pub(super) async fn called(&self, name: &str, times: usize) {
        let mut calls = self.calls.subscribe();
        let reached =
            |calls: &Vec<&str>| calls.iter().filter(|call| **call == name).count() >= times;
        within(name, calls.wait_for(reached)).await.unwrap();
    }

    async fn enter(&self, name: &'static str) -> Result<()> {
        self.calls.send_modify(|calls| calls.push(name));
        let held = self.held.lock().unwrap().get(name).cloned();
        if let Some(mut held) = held {
            // It ends with an error when the holder lets go.
            let _ = held.changed().await;
        }
        let error = self.failing.lock().unwrap().get_mut(name).and_then(VecDeque::pop_front);
        error.map_or(Ok(()), Err)
    }
}

macro_rules! watched {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Storage for Watched {
            $(
                async fn $name(&self, $($argument: $type),*) -> Result<$answer> {
                    self.enter(stringify!($name)).await?;
                    self.inner.$name($($argument),*).await
                }
            )*

            fn commits(&self) -> watch::Receiver<u64> {
                self.inner.commits()
            }
        }
    };
}

watched! {
    fn state() -> ReplicaState;
    fn check() -> Vec<Checked>;
    fn get(keys: Vec<DocumentKey>) -> Vec<Option<Stored>>;
    fn scan(scan: Scan) -> StoragePage<Stored>;
    fn feed(after: LocalSeq, limits: Limits) -> FeedPage;
    fn unsettled(scope: Scope, which: Unsettled, after: UnsettledAfter, limits: Limits)
        -> StoragePage<UnsettledEntry>;
    fn unsettled_of(key: DocumentKey) -> Vec<(Unsettled, UnsettledEntry)>;
    fn write(now: Now, transaction: LocalTransaction) -> Committed;
    fn decide(now: Now, key: DocumentKey, decision: Decision) -> Committed;
    fn forget(now: Now, lease: Option<FencingToken>, what: Forget) -> Committed;
    fn declare_local_only(collections: BTreeSet<Collection>) -> ();
    fn claim(holder: String) -> FencingToken;
    fn release(lease: FencingToken) -> ();
    fn note_server(cx: Context, time: ServerTime, limits: WriteLimits) -> ();
    fn note_attempt(cx: Context, scope: Scope, failed: Option<Failed>) -> ();
    fn set_collections(cx: Context, scope: Scope, collections: Option<BTreeSet<Collection>>) -> Committed;
    fn next_push(cx: Context, scope: Scope, limits: Limits) -> Option<PushBatch>;
    fn settle(cx: Context, scope: Scope, id: PushId, verdicts: Verdicts) -> Committed;
    fn apply(cx: Context, chunk: Chunk) -> Applied;
    fn reset(cx: Context, scope: Scope, reset: Reset) -> Committed;
    fn reidentify(cx: Context, replica: ReplicaId) -> Committed;
    fn purge_erased() -> bool;
    fn close() -> ();
}
