//! Creates a replica and a server in SQLite and in sled, and their content as text, in the folder
//! that the variable `OLD_FILES` names: see README.md beside this file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod listing;
mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use support::faulty::{Faults, Faulty};
use support::soon;
use sync_core::clock::Now;
use sync_core::environment::Environment;
use sync_core::model::{
    Change, Collection as Name, DocumentState, Epoch, Rejection, RejectionCode, ReplicaId, Scope,
};
use sync_core::resolver::ResolveOn;
use sync_core::server::ops::ChangesReply;
use sync_core::server::{Hooks, Server, ServerOptions, Validate};
use sync_core::storage::{ServerStorage, Visible};
use twotide::core as backend;
use twotide::prelude::{Body, Replica, Resolution, resolve_with};
use twotide::{ReplicaBuilder, StorageUrl};

const ANN: ReplicaId = ReplicaId([0xa; 16]);
const BEN: ReplicaId = ReplicaId([0xb; 16]);

/// A clock that moves only when the test sets it, far enough back that no machine's clock is behind
/// it, and randomness that is the same in each run.
#[derive(Debug)]
struct Scripted {
    now: AtomicU64,
    random: Mutex<u64>,
}

impl Scripted {
    fn new(seed: u64) -> Arc<Self> {
        // 2024-01-01T00:00:00Z.
        Arc::new(Self { now: AtomicU64::new(1_704_067_200_000), random: Mutex::new(seed) })
    }
}

impl Environment for Scripted {
    fn now(&self) -> Now {
        Now(self.now.load(Ordering::SeqCst))
    }

    fn random(&self, buffer: &mut [u8]) {
        let mut state = self.random.lock().unwrap();
        for byte in buffer {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99_991);
            *byte = (*state >> 56) as u8;
        }
    }
}

/// Refuses numbers below zero.
#[derive(Debug)]
struct Positive;

impl Validate for Positive {
    fn change(
        &self,
        _: &Scope,
        change: &Change,
        _: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        let negative = change.state.body.as_ref().is_some_and(|b| b.as_str().starts_with('-'));
        let reason = "it is below zero".to_owned();
        if negative { Err(Rejection { code: RejectionCode::Invalid, reason }) } else { Ok(()) }
    }
}

struct World {
    clock: Arc<Scripted>,
    faults: Arc<Faults>,
    transport: Faulty,
    server: Server,
}

impl World {
    fn builder(&self) -> ReplicaBuilder {
        let defer = resolve_with("defer", |_| Ok(Resolution::Defer));
        Replica::builder()
            .transport(Arc::new(self.transport.clone()))
            .environment(self.clock.clone())
            .attempts(1)
            .holder("the app")
            .resolver_for(Name::new("inbox").unwrap(), Arc::new(defer), ResolveOn::Replica)
    }

    async fn default_scope(&self, url: &StorageUrl) -> Replica {
        let storage = url.open_replica(ANN).await.unwrap();
        let builder = self.builder().storage(storage).local_only(["drafts"]);
        builder.collections(["inbox", "notes"]).open().await.unwrap()
    }

    async fn team_scope(&self, url: &StorageUrl) -> Replica {
        let storage = url.open_replica(ANN).await.unwrap();
        self.builder().storage(storage).scope("team").open().await.unwrap()
    }

    fn tick(&self) {
        self.clock.now.fetch_add(1_000, Ordering::SeqCst);
    }

    async fn put(&self, replica: &Replica, collection: &str, id: &str, text: &str) {
        self.tick();
        let body = Body::parse(text.to_owned()).unwrap();
        replica.raw(collection).unwrap().put(id, &body).await.unwrap();
    }

    async fn delete(&self, replica: &Replica, id: &str) {
        self.tick();
        replica.raw("notes").unwrap().delete(id).await.unwrap();
    }

    async fn erase(&self, replica: &Replica, id: &str) {
        self.tick();
        replica.raw("notes").unwrap().hard_delete(id).await.unwrap();
    }

    async fn sync(&self, replica: &Replica) {
        self.tick();
        soon(replica.sync_now()).await.unwrap();
    }

    /// Settled, deleted and erased documents of two replicas, a waiting conflict, a refused edit,
    /// an edit of a collection that is not synced, and a local-only document.
    async fn settle(&self, ann: &Replica, ben: &Replica) {
        for n in 0..10 {
            self.put(ann, "notes", &format!("settled-{n}"), &format!("{{\"n\": {n}}}")).await;
        }
        for id in ["deleted-here", "deleted-there", "erased", "fought"] {
            self.put(ann, "notes", id, "\"first\"").await;
        }
        let large = format!("\"{}\"", "a page of text, ".repeat(12_000));
        self.put(ann, "notes", "large", &large).await;
        self.put(ann, "inbox", "conflict", "{\"by\": \"both\"}").await;
        self.put(ann, "drafts", "draft", "\"stays here\"").await;
        self.put(ann, "tags", "mine", "\"not chosen\"").await;
        self.sync(ann).await;
        self.sync(ben).await;

        self.put(ben, "tags", "theirs", "\"another device\"").await;
        self.put(ben, "notes", "settled-1", "{\"n\": 1, \"by\": \"ben\"}").await;
        self.put(ben, "inbox", "conflict", "{\"by\": \"ben\"}").await;
        self.delete(ben, "deleted-there").await;
        self.put(ann, "notes", "fought", "\"by ann\"").await;
        self.put(ben, "notes", "fought", "\"by ben\"").await;
        self.sync(ben).await;
        self.put(ann, "inbox", "conflict", "{\"by\": \"ann\"}").await;
        self.put(ann, "notes", "refused", "-1").await;
        self.put(ann, "notes", "settled-2", "-2").await;
        self.delete(ann, "deleted-here").await;
        self.erase(ann, "erased").await;
        self.sync(ann).await;
        self.sync(ben).await;
    }

    /// Another scope, whose server purged tombstones and began another epoch.
    async fn team(&self, ann: &Replica) {
        let scope = ann.scope().clone();
        for n in 0..5 {
            self.put(ann, "notes", &format!("team-{n}"), &n.to_string()).await;
        }
        self.sync(ann).await;
        self.delete(ann, "team-0").await;
        self.sync(ann).await;
        let head = self.server.storage().find_scope(scope.clone()).await.unwrap().unwrap().head;
        self.server.storage().purge(scope.clone(), head).await.unwrap();
        self.put(ann, "notes", "team-1", "11").await;
        self.sync(ann).await;
        self.delete(ann, "team-2").await;
        self.sync(ann).await;
        let row = self.server.storage().find_scope(scope.clone()).await.unwrap().unwrap();
        let begun = self.server.storage().begin_epoch(scope, row.epoch, row.head, Epoch([7; 16]));
        begun.await.unwrap();
        self.put(ann, "notes", "team-3", "33").await;
    }

    /// A batch that arrived and whose answer was lost, and edits that wait behind it.
    async fn leave(&self, ann: &Replica, ben: &Replica) {
        self.put(ann, "notes", "flying", "\"arrived\"").await;
        self.put(ann, "notes", "flying-on", "\"arrived\"").await;
        self.delete(ann, "settled-3").await;
        self.tick();
        self.faults.lose(1);
        soon(ann.sync_now()).await.unwrap_err();
        assert_eq!(self.faults.left(), 0);
        self.put(ann, "notes", "flying-on", "\"edited meanwhile\"").await;
        self.put(ann, "notes", "waiting", "\"new\"").await;
        self.put(ann, "notes", "settled-4", "{\"n\": 44}").await;
        self.delete(ann, "settled-5").await;
        self.erase(ann, "settled-6").await;
        self.tick();
        let notes = ann.raw("notes").unwrap();
        let mut both = ann.transaction();
        both.put(&notes, "settled-7", &Body::parse("77").unwrap()).unwrap();
        both.put(&notes, "settled-8", &Body::parse("88").unwrap()).unwrap();
        both.commit().await.unwrap();
        self.put(ben, "notes", "settled-4", "{\"n\": 4, \"by\": \"ben\"}").await;
        self.put(ben, "notes", "news", "\"not pulled yet\"").await;
        self.sync(ben).await;
    }
}

async fn make(folder: &Path, replica: StorageUrl, served: StorageUrl) {
    let clock = Scripted::new(1);
    let hooks = Hooks { validate: Arc::new(Positive), ..Hooks::default() };
    let storage = served.open_server().await.unwrap();
    let server = Server::new(storage.clone(), hooks, ServerOptions::default(), clock.clone());
    let transport = Faulty::new(Arc::new(server.in_process()));
    let world = World { clock, faults: transport.faults.clone(), transport, server };
    let of_ben = StorageUrl::memory().open_replica(BEN).await.unwrap();
    let ben = world.builder().storage(of_ben).open().await.unwrap();

    let ann = world.default_scope(&replica).await;
    world.settle(&ann, &ben).await;
    ann.close().await.unwrap();
    let ann = world.team_scope(&replica).await;
    world.team(&ann).await;
    ann.close().await.unwrap();
    let ann = world.default_scope(&replica).await;
    world.leave(&ann, &ben).await;
    let default = listing::replica(&ann).await;
    ann.close().await.unwrap();
    let ann = world.team_scope(&replica).await;
    let team = listing::replica(&ann).await;
    ann.close().await.unwrap();
    ben.close().await.unwrap();
    std::fs::write(folder.join("replica.txt"), format!("{default}\n{team}")).unwrap();
    let listed = listing::server(&*storage, &[ANN, BEN]).await;
    std::fs::write(folder.join("server.txt"), listed).unwrap();
    storage.close().await.unwrap();
}

#[tokio::test]
async fn make_both() {
    let Some(folder) = std::env::var_os("OLD_FILES").map(PathBuf::from) else { return };
    for kind in ["sqlite", "sled"] {
        let folder = folder.join(kind);
        std::fs::create_dir_all(&folder).unwrap();
        let url = |name: &str| format!("{kind}:{}", folder.join(name).display()).parse().unwrap();
        make(&folder, url("replica"), url("server")).await;
    }
}
