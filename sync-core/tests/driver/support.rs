//! A replica, the observer of its driver, and the server that the test plays.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::peer::{Asked, Peer};
use super::storage::Watched;
use sync_core::clock::Now;
use sync_core::driver::{Driver, DriverOptions, DriverStatus, Observer, Parts};
use sync_core::engine::{Event, Goal};
use sync_core::environment::Environment;
use sync_core::error::{Error, ErrorKind};
use sync_core::model::{
    Body, Chunk, Collection, DocumentId, DocumentKey, DocumentState, Epoch, LogEntry, LogKey,
    LogMark, LogRun, PushBatch, ReplicaId, Revision, Scope, Seq, ServerStart, Stamp, Verdict,
    VerdictKind, Verdicts,
};
use sync_core::protocol::{Greeting, Hello, Pull, ScopeWelcome, Welcome};
use sync_core::replica::{Committed, LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;
use sync_core::transport::Delivery;

pub(super) const EPOCH: Epoch = Epoch([7; 16]);
/// The time at the beginning, in Unix milliseconds: of this machine and of the server.
pub(super) const BEGINNING: u64 = 1_800_000_000_000;
/// Longer than every wait of a driver whose peer answers.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Waits, with a bound: on paused time it is reached as soon as nothing is left to do.
pub(super) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(LONGEST, wait).await.unwrap_or_else(|_| panic!("there is no end of this wait: {what}"))
}

/// The time of tokio, and numbers that are never drawn twice.
#[derive(Debug)]
struct Paused {
    started: Instant,
    drawn: AtomicU8,
}

impl Environment for Paused {
    fn now(&self) -> Now {
        Now(BEGINNING).plus(self.started.elapsed())
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(100 + self.drawn.fetch_add(1, Ordering::Relaxed));
    }
}

/// Records the events of the observer.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) committed: Mutex<Vec<Committed>>,
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) statuses: Mutex<Vec<DriverStatus>>,
}

impl Seen {
    pub(super) fn has(&self, event: &Event) -> bool {
        self.events.lock().unwrap().contains(event)
    }
}

impl Observer for Seen {
    fn committed(&self, committed: &Committed) {
        self.committed.lock().unwrap().push(committed.clone());
    }

    fn event(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }

    fn status(&self, status: &DriverStatus) {
        self.statuses.lock().unwrap().push(status.clone());
    }
}

/// The parts of the drivers of one replica.
pub(super) struct Fixture {
    pub(super) peer: Peer,
    pub(super) storage: Arc<Watched>,
    pub(super) seen: Arc<Seen>,
    pub(super) parts: Parts,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let (peer, transport) = Peer::new();
        let (storage, seen) = (Arc::new(Watched::new()), Arc::new(Seen::default()));
        let environment = Paused { started: Instant::now(), drawn: AtomicU8::new(0) };
        let parts = Parts {
            storage: Arc::clone(&storage) as _,
            transport,
            environment: Arc::new(environment),
            observer: Arc::clone(&seen) as _,
        };
        Self { peer, storage, seen, parts }
    }

    pub(super) async fn start(&self, options: DriverOptions) -> Driver {
        Driver::start(self.parts.clone(), options).await.unwrap()
    }

    /// A driver that pushes and pulls once.
    pub(super) async fn once(&self) -> Driver {
        self.run(options(), Goal::ONCE).await
    }

    pub(super) async fn run(&self, options: DriverOptions, goal: Goal) -> Driver {
        let driver = self.start(options).await;
        driver.run(goal).await.unwrap();
        driver
    }

    /// Answers the next pull with everything in the log from there up to that position.
    pub(super) async fn bring(&mut self, head: u64) {
        let pull = self.peer.pull().await;
        let after = pull.what.cursor.after.0;
        pull.answer(Delivery::Chunk(chunk(after, (after + 1..=head).map(entry).collect())));
    }

    /// Brings a replica that runs towards [`Goal::ONCE`] to the head of such a log.
    pub(super) async fn catch_up(&mut self, driver: &Driver, head: u64) {
        self.bring(head).await;
        self.peer.acknowledge().await.answer(None);
        until(driver, |s| s.last_sync.is_some()).await;
    }

    pub(super) async fn write(&self, id: &str) -> Committed {
        let body = Body::from_value(&id).unwrap();
        let write =
            LocalWrite::new(notes(), DocumentId::new(id).unwrap(), WriteOperation::Put(body));
        let transaction = LocalTransaction { scope: Scope::default(), writes: vec![write] };
        self.storage.write(self.parts.environment.now(), transaction).await.unwrap()
    }
}

/// Waits until the status of the driver is as described, and returns that status.
pub(super) async fn until(driver: &Driver, is_so: impl Fn(&DriverStatus) -> bool) -> DriverStatus {
    let mut status = driver.status();
    let found = timeout(LONGEST, status.wait_for(|s| is_so(s))).await.map(|s| s.unwrap().clone());
    found.unwrap_or_else(|_| panic!("the status stays {:?}", driver.status().borrow()))
}

/// Delays that tests can rely on.
pub(super) fn options() -> DriverOptions {
    let mut options = DriverOptions::default();
    options.engine.retry.jitter = false;
    options
}

pub(super) fn network(message: &str) -> Error {
    Error::new(ErrorKind::Network, message)
}

/// A welcome to all scopes that the replica requests.
pub(super) fn welcome(hello: &Hello, head: u64) -> Welcome {
    let scope = |greeting: &Greeting| ScopeWelcome::new(greeting.scope.clone(), EPOCH, Seq(head));
    Welcome {
        version: hello.versions[0],
        heartbeat: 10_000,
        scopes: hello.scopes.iter().map(scope).collect(),
        ..Welcome::new(BEGINNING)
    }
}

pub(super) fn notes() -> Collection {
    Collection::new("notes").unwrap()
}

pub(super) fn key(id: &str) -> DocumentKey {
    DocumentKey::new(Scope::default(), notes(), DocumentId::new(id).unwrap())
}

/// A state that another replica wrote.
pub(super) fn state(seq: u64) -> DocumentState {
    let stamp = Stamp::new(BEGINNING - 1_000, u16::try_from(seq).unwrap());
    let revision = Revision { stamp, replica: ReplicaId([9; 16]) };
    let body = Some(Body::from_value(&seq).unwrap());
    DocumentState { revision, author: revision, created: stamp, body, erased: None }
}

/// The document `remote-N` at position N.
pub(super) fn entry(seq: u64) -> LogEntry {
    let id = DocumentId::new(format!("remote-{seq}")).unwrap();
    LogEntry { seq: Seq(seq), collection: notes(), id, state: state(seq) }
}

/// The server's mark of a log that ends there.
pub(super) fn mark(last: u64) -> LogMark {
    let run = LogRun { start: ServerStart(3), first: Seq(1), last: Seq(last.max(1)) };
    LogMark::sign(EPOCH, vec![run], &LogKey([7; 16]))
}

/// The chunk after a position; the chunk and the log end with its last entry.
pub(super) fn chunk(after: u64, entries: Vec<LogEntry>) -> Chunk {
    let next = entries.last().map_or(Seq(after), |entry| entry.seq);
    Chunk {
        next,
        head: next,
        mark: (next > Seq(0)).then(|| mark(next.0)),
        entries,
        ..Chunk::empty(Scope::default(), EPOCH, Seq(after))
    }
}

/// One verdict on each change of a batch, at the positions from there on.
pub(super) fn verdicts(batch: &PushBatch, first: u64, kind: &VerdictKind) -> Verdicts {
    let verdict = |seq| Verdict { seq: Seq(seq), kind: kind.clone(), current: None };
    let verdicts = (first..).map(verdict).take(batch.changes.len()).collect();
    Verdicts::Decided { epoch: EPOCH, mark: None, verdicts }
}

impl Asked<PushBatch, Verdicts> {
    /// Accepts the batch; its first change is at that position.
    pub(super) fn accept(self, first: u64) {
        let verdicts = verdicts(&self.what, first, &VerdictKind::Accepted);
        self.answer(verdicts);
    }
}

impl Asked<Pull, Delivery> {
    /// Answers that the log ends at the replica's position.
    pub(super) fn nothing_new(self) {
        let after = self.what.cursor.after.0;
        self.answer(Delivery::Chunk(chunk(after, Vec::new())));
    }
}
