//! Pushes that leave the stamp to the server, as people and programs without a clock send them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage_kit::kv::{KvOptions, MemoryKv, open_server};
use sync_core::clock::Now;
use sync_core::environment::Environment;
use sync_core::model::{
    BaseRef, Body, Change, Collection, Cursor, DocumentId, DocumentState, Epoch, Limits, PushBatch,
    PushId, ReplicaId, Revision, Scope, Stamp, Verdict, VerdictKind, Verdicts,
};
use sync_core::protocol::Pull;
use sync_server::{Served, Server, ServerOptions};

const REPLICA: ReplicaId = ReplicaId([7; 16]);

/// A clock that is set by hand.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Environment for Hand {
    fn now(&self) -> Now {
        Now(self.0.load(Ordering::Relaxed))
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(self.0.fetch_add(1, Ordering::Relaxed) as u8);
    }
}

struct World {
    server: Server,
    clock: Arc<Hand>,
}

impl World {
    fn new() -> Self {
        let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
        let clock = Arc::new(Hand(AtomicU64::new(5_000_000)));
        let options = ServerOptions::default();
        let server =
            Server::builder(Arc::new(storage)).options(options).environment(clock.clone()).build();
        Self { server, clock }
    }

    fn at(&self, millis: u64) {
        self.clock.0.store(millis, Ordering::Relaxed);
    }

    async fn push(&self, id: u64, changes: Vec<Change>) -> Verdicts {
        let batch = PushBatch::new(Scope::default(), REPLICA, PushId(id), changes);
        self.server.admit(None, REPLICA).await.unwrap().push(batch).await.unwrap()
    }

    async fn documents(&self) -> Vec<DocumentState> {
        let pull =
            Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
        let peer = self.server.admit(None, REPLICA).await.unwrap();
        match peer.read(&pull).await.unwrap() {
            Served::Chunk(chunk) => chunk.chunk().entries.iter().map(|e| e.state.clone()).collect(),
            Served::Reset(reset) => panic!("{reset:?}"),
        }
    }
}

fn change(id: &str, base: Option<BaseRef>, body: Option<&'static str>) -> Change {
    let revision = Revision { stamp: Stamp::ZERO, replica: REPLICA };
    let body = body.map(|b| Body::parse(b).unwrap());
    Change {
        collection: Collection::new("notes").unwrap(),
        id: DocumentId::new(id).unwrap(),
        base,
        base_body: None,
        state: DocumentState { created: Stamp::ZERO, ..DocumentState::new(revision, body) },
    }
}

fn decided(verdicts: Verdicts) -> (Epoch, Vec<Verdict>) {
    match verdicts {
        Verdicts::Decided { epoch, verdicts, .. } => (epoch, verdicts),
        other => panic!("{other:?}"),
    }
}

/// Returns the base of the next edit, from the state in an accepted verdict.
fn base((epoch, verdicts): (Epoch, Vec<Verdict>)) -> Option<BaseRef> {
    let current = verdicts[0].current.clone().unwrap();
    Some(BaseRef::of(&current.state.unwrap(), epoch, current.seq))
}

#[tokio::test]
async fn each_change_gets_a_separate_stamp_by_the_servers_clock() {
    let world = World::new();
    world.at(6_000_000);
    let changes = vec![change("a", None, Some("1")), change("b", None, Some("2"))];
    let (_, verdicts) = decided(world.push(1, changes).await);
    assert!(verdicts.iter().all(|v| v.kind == VerdictKind::Accepted));
    let documents = world.documents().await;
    let revisions: Vec<_> = documents.iter().map(|d| d.revision).collect();
    assert!(revisions[0].stamp.millis() >= 6_000_000 && revisions[0] < revisions[1]);
    assert!(revisions.iter().all(|r| r.replica == REPLICA));
    for (told, held) in verdicts.iter().zip(&documents) {
        assert_eq!(told.current.as_ref().and_then(|c| c.state.as_ref()), Some(held));
        assert_eq!((held.author, held.created), (held.revision, held.revision.stamp));
    }
}

#[tokio::test]
async fn a_repeated_batch_gets_its_original_verdicts_at_a_later_time() {
    let world = World::new();
    let changes = vec![change("a", None, Some("1")), change("b", None, Some("2"))];
    let first = world.push(1, changes.clone()).await;
    world.at(9_000_000);
    assert_eq!(world.push(1, changes.clone()).await, first);
    assert_eq!(world.documents().await.len(), 2);
    // Other changes under the same name are another batch, and an older one is stale.
    assert_eq!(world.push(1, changes[..1].to_vec()).await, Verdicts::Cloned);
    assert_eq!(world.push(1, vec![change("a", None, Some("3")); 2]).await, Verdicts::Cloned);
    world.push(2, vec![change("c", None, Some("1"))]).await;
    assert_eq!(world.push(1, changes).await, Verdicts::Stale);
}

#[tokio::test]
async fn an_edit_and_a_deletion_name_the_base_of_the_verdict() {
    let world = World::new();
    let insert = base(decided(world.push(1, vec![change("a", None, Some("1"))]).await));
    world.at(9_000_000);
    let edited = decided(world.push(2, vec![change("a", insert, Some("2"))]).await);
    assert_eq!(edited.1[0].kind, VerdictKind::Accepted);
    let state = world.documents().await.remove(0);
    assert_eq!(state.created, insert.unwrap().revision.stamp, "it was created when it was");
    assert!(state.revision > insert.unwrap().revision);
    // On a base that is not the current one any more it is a conflict, which returns the current
    // state.
    let late = decided(world.push(3, vec![change("a", insert, Some("3"))]).await);
    assert_eq!(late.1[0].kind, VerdictKind::Conflict);
    let deletion = decided(world.push(4, vec![change("a", base(late), None)]).await);
    assert_eq!(deletion.1[0].kind, VerdictKind::Accepted);
    assert!(world.documents().await[0].is_deleted());
    // Written again on the tombstone, it is a new document.
    let again = vec![change("a", base(deletion), Some("4"))];
    assert_eq!(decided(world.push(5, again).await).1[0].kind, VerdictKind::Accepted);
    let state = world.documents().await.remove(0);
    assert_eq!(state.created, state.revision.stamp);
}

#[tokio::test]
async fn a_clock_that_was_set_back_refuses_no_stamp_of_its_own() {
    let world = World::new();
    world.at(900_000_000);
    let insert = base(decided(world.push(1, vec![change("a", None, Some("1"))]).await));
    world.at(1_000);
    let (_, verdicts) = decided(world.push(2, vec![change("a", insert, Some("2"))]).await);
    assert_eq!(verdicts[0].kind, VerdictKind::Accepted);
    let state = world.documents().await.remove(0);
    assert!(state.revision > insert.unwrap().revision, "an edit is after what it was made on");
}
