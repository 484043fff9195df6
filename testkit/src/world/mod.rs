//! Replicas and a server without network and without threads.
//!
//! A [`World`] runs storage cores inline. Its steps mirror the messages between replica and server,
//! and every message is a value: a test loses it by dropping it, doubles it by delivering it twice,
//! and delays it by delivering it late.
//!
//! ```
//! use testkit::cores::MemoryCores;
//! use testkit::world::World;
//!
//! let mut world = World::new(MemoryCores, 2);
//! world.put(0, "notes/a", "hello");
//! let batch = world.form(0).expect("there is something to push");
//! let verdicts = world.deliver(&batch);
//! world.deliver(&batch); // a doubled message
//! world.settle(0, batch.id, &verdicts);
//! world.sync_all();
//! assert_eq!(world.text(1, "notes/a").as_deref(), Some("hello"));
//! world.assert_converged();
//! ```

mod checks;
mod copy;
mod device;
mod journey;
mod recorder;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sync_core::clock::{DRIFT_BOUND, Now};
use sync_core::model::{
    Body, Change, Checkpoint, Collection, DocumentId, DocumentKey, DocumentState, Epoch,
    FencingToken, Limits, Rejection, ReplicaId, Scope, ServerStart, WriteLimits,
};
use sync_core::resolver::{ConflictResolver, LastWriteWins, ResolveOn, Resolvers};

use crate::cores::{Cores, must};
pub use recorder::{Calls, Recording, ResolverCall, Write};
#[doc(hidden)]
pub use server::WorldJudge;
pub use server::{Backup, ConnectResult, PushResult, Reply};

/// Decides which changes the server rejects.
pub type Refuse = Arc<dyn Fn(&Change) -> Option<Rejection> + Send + Sync>;

/// The setup of a world.
#[derive(Clone)]
pub struct Options {
    /// How many replicas there are at the beginning.
    pub replicas: usize,
    /// The resolver of the collections that replicas resolve.
    pub resolver: Arc<dyn ConflictResolver>,
    /// Collections whose conflicts the server resolves, each with its resolver.
    pub on_server: Vec<(Collection, Arc<dyn ConflictResolver>)>,
    /// Rejections by the server.
    pub refuse: Option<Refuse>,
    /// How far ahead of the server's time a stamp may be.
    pub drift: Duration,
    /// Bounds of a push batch.
    pub push: Limits,
    /// Bounds of a chunk.
    pub chunk: Limits,
    /// Bounds of local writes.
    pub write: WriteLimits,
    /// The time and the number of identities already used, where the cores are not fresh. In
    /// milliseconds, and not less than the number of epochs, starts and identities.
    pub past: u64,
}

impl Default for Options {
    /// Returns two replicas, last write wins, and the default limits.
    fn default() -> Self {
        Self {
            replicas: 2,
            resolver: Arc::new(LastWriteWins),
            on_server: Vec::new(),
            refuse: None,
            drift: DRIFT_BOUND,
            push: Limits::PUSH,
            chunk: Limits::CHUNK,
            write: WriteLimits::default(),
            past: 0,
        }
    }
}

impl Options {
    /// Returns the resolvers, with every call recorded.
    fn recorded(&self, calls: &Calls) -> Resolvers {
        let record = |inner: &Arc<dyn ConflictResolver>, on_server| {
            Arc::new(Recording::new(Arc::clone(inner), calls.clone(), on_server))
        };
        let mut resolvers = Resolvers::shared(record(&self.resolver, false), ResolveOn::Replica);
        for (collection, resolver) in &self.on_server {
            let recording = record(resolver, true);
            resolvers = resolvers.with(collection.clone(), recording, ResolveOn::Server);
        }
        resolvers
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("replicas", &self.replicas)
            .field("resolver", &self.resolver)
            .field("on_server", &self.on_server)
            .finish_non_exhaustive()
    }
}

/// A replica of the world.
struct Device<R> {
    core: R,
    lease: FencingToken,
    /// The offset of its clock, in milliseconds.
    skew: i64,
    /// Its last checkpoint: positions only move forward within an epoch.
    seen: Checkpoint,
}

/// Replicas and a server. Replicas are named by their number, documents by `collection/id`.
pub struct World<C: Cores> {
    cores: C,
    options: Options,
    scope: Scope,
    devices: Vec<Device<C::Replica>>,
    server: C::Server,
    resolvers: Resolvers,
    calls: Calls,
    writes: Vec<Write>,
    /// The true time in milliseconds. Every step takes one.
    time: u64,
    /// Whether steps take no time, so that states that differ only in their times are equal.
    stands_still: bool,
    /// Counts epochs, starts and identities, so that no two are equal.
    fresh: u64,
    start: ServerStart,
    /// The offset of the server's clock, in milliseconds.
    server_skew: i64,
}

impl<C: Cores> fmt::Debug for World<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("replicas", &self.devices.len())
            .field("time", &self.time)
            .field("writes", &self.writes.len())
            .finish_non_exhaustive()
    }
}

impl<C: Cores> World<C> {
    /// Makes a world with that many replicas, in which the last write wins.
    pub fn new(cores: C, replicas: usize) -> Self {
        Self::with(cores, Options { replicas, ..Options::default() })
    }

    /// Makes a world.
    pub fn with(cores: C, options: Options) -> Self {
        let calls = Calls::default();
        let resolvers = options.recorded(&calls);
        let server = must(cores.server(), "the backend makes a server");
        let mut world = Self {
            cores,
            scope: Scope::default(),
            devices: Vec::new(),
            server,
            resolvers,
            calls,
            writes: Vec::new(),
            time: 1_700_000_000_000 + options.past,
            stands_still: false,
            fresh: options.past,
            start: ServerStart(1 + options.past),
            server_skew: 0,
            options,
        };
        world.open_server();
        for _ in 0..world.options.replicas {
            world.join();
        }
        world
    }

    /// Returns the number of replicas.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.devices.len()
    }

    /// Returns the options.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns the one scope of the world.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns every local write that a replica acknowledged, in order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Returns every call of a resolver, in order.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Sets the server's rejections.
    pub fn refuse(&mut self, refuse: Option<Refuse>) {
        self.options.refuse = refuse;
    }

    /// Advances the time, in milliseconds.
    pub fn tick(&mut self, millis: u64) {
        self.time += millis;
    }

    /// Sets the offset of a replica's clock, in milliseconds.
    pub fn skew(&mut self, replica: usize, millis: i64) {
        self.devices[replica].skew = millis;
    }

    /// Sets the offset of the server's clock, in milliseconds.
    pub fn skew_server(&mut self, millis: i64) {
        self.server_skew = millis;
    }

    /// Returns the time of the server's clock.
    #[must_use]
    pub fn server_now(&self) -> Now {
        self.now().corrected(self.server_skew)
    }

    /// Returns the true time, which the server's clock shows unless it is
    /// [skewed](Self::skew_server).
    #[must_use]
    pub fn now(&self) -> Now {
        Now(self.time)
    }

    /// Returns the time of a replica's own clock.
    #[must_use]
    pub fn now_at(&self, replica: usize) -> Now {
        self.now().corrected(self.devices[replica].skew)
    }

    /// Returns the key of a document, `collection/id`.
    #[must_use]
    pub fn key(&self, name: &str) -> DocumentKey {
        let (collection, id) = name.split_once('/').unwrap_or(("notes", name));
        DocumentKey::new(
            self.scope.clone(),
            must(Collection::new(collection), "a collection's name"),
            must(DocumentId::new(id), "a document's name"),
        )
    }

    /// Returns the collection of that name.
    #[must_use]
    pub fn collection(name: &str) -> Collection {
        must(Collection::new(name), "a collection's name")
    }

    fn step(&mut self) -> Now {
        self.time += u64::from(!self.stands_still);
        Now(self.time)
    }

    fn fresh_epoch(&mut self) -> Epoch {
        Epoch(self.fresh_id(0xee))
    }

    fn fresh_replica(&mut self) -> ReplicaId {
        ReplicaId(self.fresh_id(0xaa))
    }

    fn fresh_id(&mut self, kind: u8) -> [u8; 16] {
        self.fresh += 1;
        numbered(kind, self.fresh)
    }
}

fn numbered(kind: u8, number: u64) -> [u8; 16] {
    let mut id = [kind; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

/// Returns a body that holds a text.
#[must_use]
pub fn body(text: &str) -> Body {
    must(Body::from_value(&text), "a text becomes a body")
}

/// Returns the text in a state's body; none for a tombstone.
#[must_use]
pub fn text_of(state: &DocumentState) -> Option<String> {
    let text = |b: &Body| b.to::<String>().unwrap_or_else(|_| b.as_str().to_owned());
    state.body.as_ref().map(text)
}
