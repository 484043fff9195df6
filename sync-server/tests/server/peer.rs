//! The requests of a client, and their answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::follow::{Start, batch_of, push};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use storage_kit::Durability;
use storage_kit::kv::{Batch, KvOptions, MemoryKv, OrderedKv, Visit, open_server};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{
    Body, Change, Digest, Epoch, OWN_BODY_BYTES, ResetReason, Verdict, VerdictKind,
};
use sync_core::model::{
    Collection, Cursor, Limits, PushBatch, PushId, RejectionCode, ReplicaId, Scope, Seq, Verdicts,
};
use sync_core::protocol::{Ack, Greeting, Hello, Pull};
use sync_server::ServerStorage;
use sync_server::Visible;
use sync_server::{Access, AuthenticatedClient, Open, Principal, Server, ServerOptions};
use sync_server::{Authorise, Hooks, Served, SharedChunk, StaticTokens};
use tokio::sync::watch;

const READER: ReplicaId = ReplicaId([1; 16]);

/// Gives every principal the same access, which a test may change.
#[derive(Debug)]
struct Gives(Mutex<Access>);

#[async_trait]
impl Authorise for Gives {
    async fn scope(&self, _: &Principal, _: &Scope) -> Result<Access> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// Delays the first answer until the test lets it continue.
#[derive(Debug)]
struct Holds(watch::Sender<bool>);

#[async_trait]
impl Authorise for Holds {
    async fn scope(&self, principal: &Principal, scope: &Scope) -> Result<Access> {
        let _ = self.0.subscribe().wait_for(|holds| !holds).await;
        Open.scope(principal, scope).await
    }
}

/// A store whose next read can be made to fail.
#[derive(Debug, Default)]
struct Failing {
    kv: MemoryKv,
    fails: AtomicBool,
}

impl Failing {
    fn check(&self) -> Result<()> {
        match self.fails.swap(false, Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Storage, "the test fails this read")),
            false => Ok(()),
        }
    }
}

impl OrderedKv for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.check().and_then(|()| self.kv.get(key))
    }
    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.check().and_then(|()| self.kv.range(start, end, visit))
    }
    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.kv.commit(batch, durability)
    }
}

fn storage() -> Arc<dyn ServerStorage> {
    Arc::new(open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap())
}

fn server(storage: &Arc<dyn ServerStorage>, access: Access) -> Server {
    giving(storage, Arc::new(Gives(Mutex::new(access))))
}

fn giving(storage: &Arc<dyn ServerStorage>, authorise: Arc<Gives>) -> Server {
    let hooks = Hooks { authorise, ..Hooks::default() };
    Server::builder(storage.clone()).hooks(hooks).build()
}

fn open() -> Server {
    server(&storage(), Access::FULL)
}

async fn peer(server: &Server) -> AuthenticatedClient {
    server.admit(None, READER).await.unwrap()
}

fn pull() -> Pull {
    Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK }
}

/// Reads a chunk; any other answer fails the test.
pub(crate) async fn chunk(peer: &AuthenticatedClient, pull: &Pull) -> Arc<SharedChunk> {
    match peer.read(pull).await.unwrap() {
        Served::Chunk(chunk) => chunk,
        Served::Reset(reset) => panic!("{reset:?}"),
    }
}

fn collection(name: &str) -> Collection {
    Collection::new(name).unwrap()
}

fn only(name: &str) -> Option<Visible> {
    Some(Visible::Only(Arc::new([collection(name)].into())))
}

/// A batch of so many documents with bodies of so many bytes.
fn batch(documents: u64, bytes: usize) -> PushBatch {
    let of = |n: u64| {
        let mut change = batch_of(READER, n).changes.remove(0);
        change.state.body = Body::parse(format!("{:?}", "x".repeat(bytes - 2))).ok();
        change
    };
    PushBatch { changes: (1..=documents).map(of).collect(), ..batch_of(READER, 1) }
}

fn code(verdicts: Verdicts) -> Option<RejectionCode> {
    let Verdicts::Decided { verdicts, .. } = verdicts else { panic!("{verdicts:?}") };
    let codes = verdicts.iter().map(|verdict| match &verdict.kind {
        VerdictKind::Accepted => None,
        VerdictKind::Rejected(rejection) => Some(rejection.code),
        other => panic!("{other:?}"),
    });
    let codes: Vec<_> = codes.collect();
    assert!(codes.windows(2).all(|pair| pair[0] == pair[1]), "{codes:?}");
    codes[0]
}

#[tokio::test]
async fn a_peer_pushes_for_its_own_replica_only() {
    let server = open();
    let other = ReplicaId([2; 16]);
    let refused = peer(&server).await.push(batch_of(other, 1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let verdicts = peer(&server).await.with_replica(other).push(batch_of(other, 1)).await;
    assert_eq!(code(verdicts.unwrap()), None);
}

#[tokio::test]
async fn a_scope_that_may_not_be_seen_is_denied() {
    let storage = storage();
    push(&server(&storage, Access::FULL), 1).await;
    let hidden = peer(&server(&storage, Access::NONE)).await;
    let scope = Scope::default();
    assert_eq!(hidden.check(&scope).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(hidden.read(&pull()).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    peer(&server(&storage, Access::FULL)).await.check(&scope).await.unwrap();
}

#[tokio::test]
async fn a_renewed_token_decides_which_principal_continues() {
    let pairs = [("ada", "one"), ("bob", "two")].map(|(n, t)| (n.to_owned(), t.to_owned()));
    let authenticate = Arc::new(StaticTokens::new(pairs));
    let hooks = Hooks { authenticate, ..Hooks::default() };
    let server = Server::builder(storage()).hooks(hooks).build();
    let mut peer = server.admit(Some("one"), READER).await.unwrap();
    assert_eq!(peer.renew("three").await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(peer.principal().name, "ada");
    peer.renew("two").await.unwrap();
    assert_eq!(peer.principal().name, "bob");
}

#[tokio::test]
async fn a_reader_with_partial_access_does_not_get_the_cached_chunks_of_others() {
    let gives = Arc::new(Gives(Mutex::new(Access::FULL)));
    let server = giving(&storage(), gives.clone());
    // Another principal's session keeps appended chunks in memory.
    let _listener = peer(&server).await.follow(pull());
    let peer = peer(&server).await;
    push(&server, 1).await;
    let first = chunk(&peer, &pull()).await;
    push(&server, 2).await;
    let next = Pull { cursor: Cursor::default().following(first.chunk()), ..pull() };
    assert_eq!(chunk(&peer, &next).await.chunk().entries.len(), 1);
    *gives.0.lock().unwrap() = Access { read: only("other"), write: true };
    let seen = chunk(&peer, &next).await;
    assert_eq!((seen.chunk().next, seen.chunk().entries.len()), (Seq(2), 0));
    assert_eq!(seen.chunk().covers, Some([collection("other")].into()));
}

#[tokio::test]
async fn a_collection_that_catches_up_is_read_from_the_log() {
    let server = open();
    let _listener = peer(&server).await.follow(pull());
    let peer = peer(&server).await;
    push(&server, 1).await;
    let first = chunk(&peer, &pull()).await;
    push(&server, 2).await;
    push(&server, 3).await;
    let mut behind = Pull { cursor: Cursor::default().following(first.chunk()), ..pull() };
    assert_eq!(chunk(&peer, &behind).await.chunk().next, Seq(2), "from memory");
    // It is where the backfill is, and requests nothing twice that its position has passed.
    behind.cursor.position = Seq(2);
    behind.cursor.backfills = [(collection("late"), Seq(1))].into();
    let read = chunk(&peer, &behind).await;
    let entries: Vec<_> = read.chunk().entries.iter().map(|e| e.seq).collect();
    assert_eq!((read.chunk().next, entries), (Seq(3), vec![Seq(3)]));
}

#[tokio::test]
async fn a_scope_begins_with_its_first_write_and_other_errors_are_returned() {
    let kv = Arc::new(Failing::default());
    let mut options = KvOptions::default();
    options.threads.inline = true;
    let storage: Arc<dyn ServerStorage> = Arc::new(open_server(kv.clone(), options).unwrap());
    let peer = peer(&server(&storage, Access::FULL)).await;
    assert_eq!(chunk(&peer, &pull()).await.chunk().next, Seq(0));
    assert!(storage.find_scope(Scope::default()).await.unwrap().is_none());
    push(&server(&storage, Access::FULL), 1).await;
    kv.fails.store(true, Ordering::Relaxed);
    assert_eq!(peer.read(&pull()).await.unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(chunk(&peer, &pull()).await.chunk().next, Seq(1));
}

#[tokio::test]
async fn a_replica_that_has_its_own_bodies_is_not_sent_them() {
    let server = open();
    let peer = peer(&server).await;
    peer.push(batch(1, OWN_BODY_BYTES + 1)).await.unwrap();
    let bodies = |chunk: Arc<SharedChunk>| {
        let entries = &chunk.chunk().entries;
        (entries.iter().filter(|e| e.state.body.is_some()).count(), chunk.chunk().left_out.len())
    };
    assert_eq!(bodies(chunk(&peer, &pull()).await), (1, 0));
    let has_own = Pull { cursor: Cursor { has_own: true, ..Cursor::default() }, ..pull() };
    assert_eq!(bodies(chunk(&peer, &has_own).await), (0, 1));
    let other = peer.with_replica(ReplicaId([2; 16]));
    assert_eq!(bodies(chunk(&other, &has_own).await), (1, 0));
}

#[tokio::test]
async fn a_digest_that_differs_resets_a_reader_that_sees_everything() {
    let storage = storage();
    push(&server(&storage, Access::FULL), 1).await;
    let row = storage.find_scope(Scope::default()).await.unwrap().unwrap();
    let ack = |digest| Ack {
        scope: Scope::default(),
        epoch: row.epoch,
        seq: Seq(1),
        digest: Some(digest),
        mark: None,
    };
    let all = peer(&server(&storage, Access::FULL)).await;
    let reset = all.acknowledge(&ack(Digest(1))).await.unwrap().unwrap();
    assert_eq!(reset.reason, ResetReason::DigestDiffers);
    assert_eq!(all.acknowledge(&ack(row.digest)).await.unwrap(), None);
    let part = peer(&server(&storage, Access { read: only("other"), write: false })).await;
    assert_eq!(part.acknowledge(&ack(Digest(1))).await.unwrap(), None);
    let hidden = peer(&server(&storage, Access::NONE)).await;
    let denied = hidden.acknowledge(&ack(row.digest)).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_scope_without_read_or_write_access_accepts_no_change() {
    let forbidden = Some(RejectionCode::Forbidden);
    for (access, refused) in [
        (Access::FULL, None),
        (Access { read: None, write: true }, forbidden),
        (Access { read: only("notes"), write: false }, forbidden),
        (Access { read: only("notes"), write: true }, None),
        (Access { read: only("other"), write: true }, forbidden),
    ] {
        let storage = storage();
        let peer = peer(&server(&storage, access.clone())).await;
        assert_eq!(code(peer.push(batch_of(READER, 1)).await.unwrap()), refused, "{access:?}");
    }
}

/// Returns why a batch is rejected if three documents and about 1,000 bytes are the most.
async fn limited(documents: u64, bytes: usize) -> Option<RejectionCode> {
    let mut options = ServerOptions::default();
    options.push_limits = Limits { documents: 3, bytes: 1_000 };
    let server = Server::builder(storage()).options(options).build();
    code(peer(&server).await.push(batch(documents, bytes)).await.unwrap())
}

#[tokio::test]
async fn a_batch_over_the_limits_is_refused_and_a_single_document_always_fits() {
    let too_large = Some(RejectionCode::TooLarge);
    assert_eq!(limited(3, 10).await, None);
    assert_eq!(limited(4, 10).await, too_large);
    assert_eq!(limited(5, 10).await, too_large);
    assert_eq!(limited(1, 5_000).await, None);
    // Twice the bytes are accepted, because base bodies are sent as well.
    let rest = batch(2, 10).changes.iter().map(Change::weight).sum::<usize>() - 2 * 10;
    let exactly = (2_000 - rest) / 2;
    assert_eq!(limited(2, exactly).await, None);
    assert_eq!(limited(2, exactly + 1).await, too_large);
    assert_eq!(limited(2, exactly + 500).await, too_large);
}

#[tokio::test]
async fn verdicts_include_no_state_that_may_not_be_seen() {
    let storage = storage();
    let mut all = batch_of(READER, 1);
    let writer = peer(&server(&storage, Access::FULL)).await;
    writer.push(all.clone()).await.unwrap();
    // A conflict is returned with the stored state, and returned again when the access has changed.
    all.id = PushId(2);
    all.changes[0].state.revision.stamp = sync_core::model::Stamp::new(5, 0);
    all.changes[0].state.body = Body::parse("2").ok();
    let of = |verdicts| match verdicts {
        Verdicts::Decided { mut verdicts, .. } => verdicts.remove(0),
        other => panic!("{other:?}"),
    };
    let told: Verdict = of(writer.push(all.clone()).await.unwrap());
    assert!(told.kind == VerdictKind::Conflict && told.current.is_some());
    let part = peer(&server(&storage, Access { read: only("other"), write: true })).await;
    let again: Verdict = of(part.push(all).await.unwrap());
    assert_eq!((again.kind, again.current), (VerdictKind::Conflict, None));
}

/// Writes with a separate start, and returns the cursor after what it wrote.
async fn started(storage: &Arc<dyn ServerStorage>, start: u8, n: u64) -> Cursor {
    let options = ServerOptions::default();
    let server = Server::builder(storage.clone())
        .options(options)
        .environment(Arc::new(Start(start)))
        .build();
    push(&server, n).await;
    let mut cursor = Cursor::default();
    let peer = peer(&server).await;
    loop {
        let next = chunk(&peer, &Pull { cursor: cursor.clone(), ..pull() }).await;
        cursor = cursor.following(next.chunk());
        if next.chunk().next == next.chunk().head {
            return cursor;
        }
    }
}

#[tokio::test]
async fn a_mark_of_an_old_start_still_shows_a_restore() {
    let (restored, lost) = (storage(), storage());
    for storage in [&restored, &lost] {
        started(storage, 1, 1).await;
    }
    let cursor = started(&lost, 200, 2).await;
    // More starts since than the row of the scope names.
    let mut kept = Cursor::default();
    for start in 2..=60 {
        let at = started(&restored, start, u64::from(start)).await;
        if start == 2 {
            kept = at;
        }
    }
    let server = server(&restored, Access::FULL);
    let greet = async |cursor: Cursor| {
        let greeting = Greeting { scope: Scope::default(), cursor, digest: None };
        let hello =
            Hello { agent: "test".to_owned(), scopes: vec![greeting], ..Hello::new(READER) };
        server.greet(&hello).await.unwrap().1.scopes.remove(0).reset
    };
    assert_eq!(greet(kept).await, None);
    let reset = greet(cursor).await.unwrap();
    assert_eq!(reset.reason, ResetReason::EpochChanged { cut: Seq(1) });
    assert_ne!(reset.epoch, Epoch([7; 16]));
}

#[tokio::test]
async fn bodies_are_nested_as_deep_as_the_server_allows() {
    let mut options = ServerOptions::default();
    options.body_depth = 3;
    let server = Server::builder(storage()).options(options).build();
    let peer = peer(&server).await;
    for (n, depth, refused) in [(1, 3, None), (2, 4, Some(RejectionCode::Invalid))] {
        let mut batch = batch_of(READER, n);
        let text = "[".repeat(depth) + &"]".repeat(depth);
        batch.changes[0].state.body = Body::parse(text).ok();
        assert_eq!(code(peer.push(batch).await.unwrap()), refused, "{depth}");
    }
}

#[tokio::test]
async fn a_large_push_without_room_is_advised_to_retry() {
    let mut options = ServerOptions::default();
    options.push_memory = 1 << 20;
    let holds = Arc::new(Holds(watch::Sender::new(true)));
    let hooks = Hooks { authorise: holds.clone(), ..Hooks::default() };
    let server = Server::builder(storage()).hooks(hooks).options(options).build();
    let peer = peer(&server).await;
    // A push that waits for its authorisation holds its room.
    let other = server.admit(None, ReplicaId([5; 16])).await.unwrap();
    let large = PushBatch { replica: ReplicaId([5; 16]), ..batch(9, 110_000) };
    let mut first = Box::pin(other.push(large));
    assert!(first.as_mut().now_or_never().is_none());
    holds.0.send_replace(false);
    let error = peer.push(batch(2, 100_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(matches!(error.retry(), sync_core::error::Retry::Later(Some(_))), "{error}");
    assert_eq!(code(peer.push(batch(1, 10_000)).await.unwrap()), None, "a small one has room");
    first.await.unwrap();
    let again = PushBatch { id: PushId(2), ..batch(2, 100_000) };
    peer.push(again).await.unwrap();
    assert_eq!(server.memory().pushes, 0);
}
