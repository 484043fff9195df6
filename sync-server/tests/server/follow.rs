//! Following a log.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sync_core::model::{Cursor, Epoch, Seq};
use sync_core::protocol::Pull;
use sync_server::{Follower, Served};
use tokio::sync::watch;
use tokio::time::timeout;

use storage_kit::kv::{KvOptions, MemoryKv, open_server};
use sync_core::clock::Now;
use sync_core::environment::Environment;
use sync_core::model::{
    Body, Change, Collection, DocumentId, DocumentState, Limits, PushBatch, PushId, ReplicaId,
    Reset, ResetReason, Revision, Scope, Stamp, VerdictKind, Verdicts,
};
use sync_server::ServerStorage;
use sync_server::{Access, Authorise, Hooks, Open, Principal, Server, ServerOptions};

fn server(storage: &Arc<dyn ServerStorage>) -> Server {
    Server::builder(storage.clone()).options(options()).build()
}

/// Returns the same epochs and keys each time, and that id of a start.
#[derive(Debug)]
pub(crate) struct Start(pub(crate) u8);

impl Environment for Start {
    fn now(&self) -> Now {
        Now(1_000)
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(if buffer.len() == 8 { self.0 } else { 7 });
    }
}

fn started(storage: &Arc<dyn ServerStorage>, start: u8) -> Server {
    Server::builder(storage.clone()).options(options()).environment(Arc::new(Start(start))).build()
}

fn options() -> ServerOptions {
    let mut options = ServerOptions::default();
    options.heartbeat = Duration::from_secs(20);
    options
}

fn storage() -> Arc<dyn ServerStorage> {
    Arc::new(open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap())
}

/// Pushes a document that no other push has.
pub(crate) async fn push(server: &Server, n: u64) {
    let batch = batch_of(ReplicaId([2; 16]), n);
    let peer = server.admit(None, batch.replica).await.unwrap();
    let Verdicts::Decided { verdicts, .. } = peer.push(batch).await.unwrap() else {
        panic!("it is not decided");
    };
    // A document that is not in the log would be awaited forever.
    assert_eq!(verdicts[0].kind, VerdictKind::Accepted);
}

/// A batch with one document.
pub(crate) fn batch_of(replica: ReplicaId, n: u64) -> PushBatch {
    let revision = Revision { stamp: Stamp::new(n, 0), replica };
    let (created, body) = (revision.stamp, Body::parse("1").ok());
    let change = Change::new(
        Collection::new("notes").unwrap(),
        DocumentId::new(format!("n{n}")).unwrap(),
        DocumentState { created, ..DocumentState::new(revision, body) },
    );
    let (scope, changes) = (Scope::default(), vec![change]);
    PushBatch::new(scope, replica, PushId(n), changes)
}

async fn follow(server: &Server, cursor: Cursor) -> Follower {
    let peer = server.admit(None, ReplicaId([1; 16])).await.unwrap();
    peer.follow(Pull { scope: Scope::default(), cursor, limits: Limits::CHUNK })
}

async fn next(follower: &mut Follower) -> (Seq, Seq, usize) {
    match follower.next().await.unwrap() {
        Some(Served::Chunk(chunk)) => {
            let chunk = chunk.chunk();
            (chunk.after, chunk.next, chunk.entries.len())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn catching_up_and_following_live_are_one() {
    let server = server(&storage());
    push(&server, 1).await;
    push(&server, 2).await;
    let mut follower = follow(&server, Cursor::default()).await;
    assert_eq!(next(&mut follower).await, (Seq(0), Seq(2), 2));
    assert_eq!(follower.cursor().mark.as_ref().map(|m| m.at), Some(Seq(2)), "it keeps the mark");
    let waiting = tokio::spawn(async move { (next(&mut follower).await, follower) });
    tokio::task::yield_now().await;
    push(&server, 3).await;
    let (found, mut follower) = waiting.await.unwrap();
    assert_eq!(found, (Seq(2), Seq(3), 1));
    // A future that is dropped loses nothing.
    assert!(timeout(Duration::from_millis(1), follower.next()).await.is_err());
    push(&server, 4).await;
    assert_eq!(next(&mut follower).await, (Seq(3), Seq(4), 1));
}

/// Counts the reads of the log, and refuses access after far too many, so that a busy loop
/// ends.
#[derive(Debug, Default)]
pub(crate) struct Looks(pub(crate) watch::Sender<usize>);

const FAR_TOO_OFTEN: usize = 10_000;

#[async_trait::async_trait]
impl Authorise for Looks {
    async fn scope(
        &self,
        principal: &Principal,
        scope: &Scope,
    ) -> sync_core::error::Result<Access> {
        self.0.send_modify(|n| *n += 1);
        if *self.0.borrow() > FAR_TOO_OFTEN {
            return Ok(Access::NONE);
        }
        Open.scope(principal, scope).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_of_another_process_is_found_at_the_next_heartbeat() {
    let storage = storage();
    let looks = Arc::new(Looks::default());
    let hooks = Hooks { authorise: looks.clone(), ..Hooks::default() };
    let here = Server::builder(storage.clone()).hooks(hooks).options(options()).build();
    let there = server(&storage);
    push(&there, 1).await;
    let mut follower = follow(&here, Cursor::default()).await;
    next(&mut follower).await;
    let waiting = tokio::spawn(async move { next(&mut follower).await });
    // It read, slept for a heartbeat, and read again.
    let mut seen = looks.0.subscribe();
    seen.wait_for(|n| *n >= 3).await.unwrap();
    push(&there, 2).await;
    assert_eq!(waiting.await.unwrap(), (Seq(1), Seq(2), 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drains_waits_for_its_followers_which_end() {
    let server = server(&storage());
    push(&server, 1).await;
    let mut follower = follow(&server, Cursor::default()).await;
    next(&mut follower).await;
    let waiting = tokio::spawn(async move { follower.next().await });
    tokio::task::yield_now().await;
    assert!(timeout(Duration::from_millis(1), server.drained()).await.is_err());
    server.drain();
    assert!(waiting.await.unwrap().unwrap().is_none());
    server.drained().await;
    assert!(follow(&server, Cursor::default()).await.next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_wakes_sleeping_followers() {
    let storage = storage();
    let server = server(&storage);
    push(&server, 1).await;
    let mut follower = follow(&server, Cursor::default()).await;
    next(&mut follower).await;
    let from = follower.cursor().epoch.unwrap();
    let fresh = Epoch([9; 16]);
    storage.begin_epoch(Scope::default(), from, Seq(0), fresh).await.unwrap();
    let Some(Served::Reset(reset)) = follower.next().await.unwrap() else { panic!("no reset") };
    let reason = ResetReason::EpochChanged { cut: Seq(0) };
    assert_eq!(reset, Reset { epoch: fresh, reason });
}

#[tokio::test(start_paused = true)]
async fn a_cursor_alone_shows_an_unannounced_restore() {
    let kv = storage();
    push(&started(&kv, 1), 1).await;
    let mut follower = follow(&started(&kv, 2), Cursor::default()).await;
    next(&mut follower).await;
    let cursor = follower.cursor().clone();
    // The same epoch, key and head, written by another start: a restored backup that continued.
    let restored = storage();
    push(&started(&restored, 3), 7).await;
    let mut follower = follow(&started(&restored, 4), cursor).await;
    assert!(matches!(follower.next().await.unwrap(), Some(Served::Reset(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_are_not_polled_delay_no_other() {
    let mut options = KvOptions::default();
    options.threads.queue = 1;
    let kv = open_server(Arc::new(MemoryKv::default()), options).unwrap();
    let storage: Arc<dyn ServerStorage> = Arc::new(kv);
    let server = server(&storage);
    push(&server, 1).await;
    let mut stuck = Vec::new();
    for _ in 0..50 {
        stuck.push(follow(&server, Cursor::default()).await);
    }
    // Each is polled once, as by a connection that is then blocked in a write, with one place in
    // the queue of the storage.
    let mut unpolled: Vec<_> = stuck.iter_mut().map(|f| f.next().boxed()).collect();
    for next in &mut unpolled {
        let _ = next.now_or_never();
    }
    let mut other = follow(&server, Cursor::default()).await;
    let found = timeout(Duration::from_secs(60), next(&mut other)).await;
    assert_eq!(found.unwrap(), (Seq(0), Seq(1), 1));
}
