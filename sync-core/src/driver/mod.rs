//! The driver: a task that executes the engine's commands on a storage and a transport.
//!
//! It decides nothing. It keeps the payloads that the engine names by ticket, runs every command as
//! a future, and passes its result to the engine. Futures of the storage are never dropped; those
//! of a connection end with the connection.

mod acknowledgement;
mod execute;
mod finish;
mod note;
mod slot;
mod status;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, BoxFuture};
use futures_util::stream::{BoxStream, FuturesUnordered};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::clock;
use crate::engine::{Engine, EngineOptions, Event, Goal, Input, Phase, Ticket};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Chunk, Collection, FencingToken, Limits, PushBatch, Scope, Verdicts};
use crate::protocol::{Ack, Goodbye};
use crate::replica::{Committed, Context};
use crate::resolver::Resolvers;
use crate::storage::Storage;
use crate::transport::{Connection, Delivery, Moved, Transport};

pub use slot::EngineSlot;
pub use status::DriverStatus;
pub use token::{FnTokens, TokenProvider, tokens_from};

use finish::Done;
use token::Tokens;

/// The parts of a driver.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The storage of the replica.
    pub storage: Arc<dyn Storage>,
    /// The transport to the server.
    pub transport: Arc<dyn Transport>,
    /// Time and randomness.
    pub environment: Arc<dyn Environment>,
    /// Receives the driver's events.
    pub observer: Arc<dyn Observer>,
}

/// The options of a driver: what it syncs, and within which bounds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DriverOptions {
    /// The scopes to sync.
    pub scopes: Vec<Scope>,
    /// The collections of each scope that are synced; none for all of them. See
    /// [`Storage::set_collections`] for the effect of adding one, or leaving one out.
    pub collections: Option<BTreeSet<Collection>>,
    /// The resolvers that decide conflicts.
    pub resolvers: Resolvers,
    /// Bounds and times of the engine.
    pub engine: EngineOptions,
    /// The most that a push batch may hold; the server's limits are kept as well. Default
    /// [`Limits::PUSH`].
    pub push_limits: Limits,
    /// The most that a chunk may hold. Default [`Limits::CHUNK`].
    pub chunk_limits: Limits,
    /// The token to authenticate with; with a provider, on the first connection only.
    pub token: Option<String>,
    /// Provides a token before every connection, and when the server refuses one. None by default.
    pub token_provider: Option<Arc<dyn TokenProvider>>,
    /// The version of the app's own schema.
    pub schema: u32,
    /// The program and its version, for the server's logs.
    pub agent: String,
    /// The name of the lease holder, for display.
    pub holder: String,
    /// The shortest time between acknowledgements of a replica that follows live. Default 1 s.
    pub acknowledge_every: Duration,
}

impl Default for DriverOptions {
    /// The scope `default`, last write wins, no token.
    fn default() -> Self {
        Self {
            scopes: vec![Scope::default()],
            collections: None,
            resolvers: Resolvers::default(),
            engine: EngineOptions::default(),
            push_limits: Limits::PUSH,
            chunk_limits: Limits::CHUNK,
            token: None,
            token_provider: None,
            schema: 0,
            agent: concat!("twotide/", env!("CARGO_PKG_VERSION")).to_owned(),
            holder: String::new(),
            acknowledge_every: Duration::from_secs(1),
        }
    }
}

/// Receives events on the driver's task. Its methods must be quick.
pub trait Observer: Send + Sync + fmt::Debug + 'static {
    /// Is called when the engine has committed something to the storage.
    fn committed(&self, committed: &Committed);

    /// Is called when an event of the sync occurs.
    fn event(&self, event: &Event);

    /// Is called when the status has changed.
    fn status(&self, status: &DriverStatus);
}

/// An observer that ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn committed(&self, _: &Committed) {}
    fn event(&self, _: &Event) {}
    fn status(&self, _: &DriverStatus) {}
}

enum Command {
    Run(Goal),
    Stop,
}

/// A running driver. Dropping it stops the driver.
#[derive(Debug)]
pub struct Driver {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<DriverStatus>,
    tokens: Arc<Tokens>,
    runs: AtomicU64,
    /// Locked by the call that waits for its end, so that every other call waits as well.
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    /// Released for another driver when this one has stopped or is dropped: a task that still ends
    /// then changes nothing.
    slot: Mutex<Option<EngineSlot>>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run(_) => "Run",
            Self::Stop => "Stop",
        })
    }
}

impl Driver {
    /// Claims the engine lease and starts the task, at rest: [`run`](Self::run) starts the sync.
    ///
    /// # Errors
    /// `Busy`, naming the holder, if another living process, or another driver over the same
    /// storage, runs the engine of this replica; else the errors of the storage.
    pub async fn start(parts: Parts, options: DriverOptions) -> Result<Self> {
        let slot = EngineSlot::take(&parts.storage, &options.holder)?;
        let lease = parts.storage.claim(options.holder.clone()).await?;
        let (commands, queue) = mpsc::channel(16);
        let (publish, status) = watch::channel(DriverStatus::default());
        let tokens = Arc::new(Tokens::new(options.token.clone(), options.token_provider.clone()));
        let seed = parts.environment.seed();
        let mut task = DriverTask {
            engine: Engine::new(options.engine.clone(), seed),
            commits: parts.storage.commits(),
            started: Instant::now(),
            lease,
            tokens: Arc::clone(&tokens),
            connection: None,
            connecting: None,
            told: BTreeMap::new(),
            renewing: false,
            push_limits: options.push_limits,
            goal: Goal::default(),
            payloads: BTreeMap::new(),
            batches: BTreeMap::new(),
            too_large: BTreeMap::new(),
            moved: Moved::default(),
            streams: BTreeMap::new(),
            looking: false,
            look_again: false,
            work: FuturesUnordered::new(),
            storing: 0,
            publish,
            status: DriverStatus::default(),
            has_failures: false,
            parts,
            options,
        };
        if let Err(error) = task.open().await {
            // The error that kept it from starting is the one to return.
            let _ = task.parts.storage.release(lease).await;
            return Err(error);
        }
        let task = tokio::spawn(task.run(queue));
        let runs = AtomicU64::new(0);
        let (task, slot) = (tokio::sync::Mutex::new(Some(task)), Mutex::new(Some(slot)));
        Ok(Self { commands, status, tokens, runs, task, slot })
    }

    /// Starts the engine, or changes its goal. Ends a wait for the next attempt and requests the
    /// head of the server again. Returns how often this method was called: a status with lower
    /// [`runs`](DriverStatus::runs) was made before this call.
    ///
    /// # Errors
    /// `Closed` if the driver has ended.
    pub async fn run(&self, goal: Goal) -> Result<u64> {
        let gone = |_| Error::new(ErrorKind::Closed, "the sync engine has ended");
        let runs = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        self.commands.send(Command::Run(goal)).await.map_err(gone)?;
        Ok(runs)
    }

    /// Sets the token. The open connection [continues](Connection::renew) with it, and later ones
    /// are made with it; with a [provider](DriverOptions::token_provider), only that connection, or
    /// else the next one. A driver that was refused connects at once. None applies from the next
    /// connection on.
    pub fn set_token(&self, token: Option<String>) {
        self.tokens.give(token);
    }

    /// Returns the status, now and from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<DriverStatus> {
        self.status.clone()
    }

    /// Closes the connection, finishes the storage's work, releases the lease, and ends. Each call
    /// returns after that, however many there are at a time.
    pub async fn stop(&self) {
        // If the task has ended already, there is nothing to stop.
        let _ = self.commands.send(Command::Stop).await;
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            let _ = running.await;
        }
        *task = None;
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

enum Kept {
    Chunk(Chunk),
    Verdicts(Verdicts),
}

type LiveStream = BoxStream<'static, Result<Delivery>>;

enum Stream {
    /// It is not polled.
    Idle(LiveStream),
    /// Its next event is awaited; the handle cancels that.
    Awaited(AbortHandle),
}

struct DriverTask {
    parts: Parts,
    options: DriverOptions,
    engine: Engine,
    started: Instant,
    lease: FencingToken,
    tokens: Arc<Tokens>,
    connection: Option<(Ticket, Arc<dyn Connection>)>,
    connecting: Option<(Ticket, AbortHandle)>,
    /// The newest acknowledgement of each scope that the server has accepted on this connection.
    told: BTreeMap<Scope, Ack>,
    /// Whether the token of the connection is being renewed.
    renewing: bool,
    /// The server's limits and those of the options, whichever are lower.
    push_limits: Limits,
    goal: Goal,
    payloads: BTreeMap<Ticket, Kept>,
    batches: BTreeMap<Scope, PushBatch>,
    /// Why the batch of a scope is too large to send, as the other side reported it.
    too_large: BTreeMap<Scope, String>,
    /// The bytes that had moved on the connection when the engine was last notified.
    moved: Moved,
    streams: BTreeMap<Ticket, Stream>,
    /// Whether the outbox is being read, and has to be read again.
    looking: bool,
    look_again: bool,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// How many futures of the storage are under way: they must not be dropped.
    storing: usize,
    commits: watch::Receiver<u64>,
    publish: watch::Sender<DriverStatus>,
    /// The status, but for the progress of the engine.
    status: DriverStatus,
    /// Whether failures were recorded in the storage since a success was.
    has_failures: bool,
}

impl DriverTask {
    /// Returns the engine's time: it only moves forward, also if this machine's clock is set.
    fn now(&self) -> clock::Instant {
        clock::Instant(0).plus(self.started.elapsed())
    }

    fn context(&self) -> Context {
        Context {
            now: self.parts.environment.now(),
            resolvers: self.options.resolvers.clone(),
            lease: self.lease,
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.engine.handle_input(now, input);
        while let Some(output) = self.engine.poll_output() {
            self.execute(output);
        }
    }

    /// Sets the collections of all scopes to those of the options, whatever the last engine synced.
    async fn choose_collections(&mut self) -> Result<()> {
        for scope in self.options.scopes.clone() {
            let chosen = self.options.collections.clone();
            let committed =
                self.parts.storage.set_collections(self.context(), scope, chosen).await?;
            self.parts.observer.committed(&committed);
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<()> {
        self.choose_collections().await?;
        let state = self.parts.storage.state().await?;
        for scope in self.options.scopes.clone() {
            let checkpoint = state.checkpoint(&scope);
            self.has_failures |= state.scope(&scope).is_some_and(|s| s.failures.count > 0);
            self.input(Input::Opened { scope, checkpoint });
        }
        Ok(())
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        self.publish_status();
        loop {
            let far = clock::Instant(u64::MAX / 4);
            let deadline = self.engine.next_deadline().map(|d| d.min(far));
            let wake = self.started + Duration::from_millis(deadline.unwrap_or_default().0);
            tokio::select! {
                biased;
                command = queue.recv() => match command {
                    Some(Command::Run(goal)) => {
                        self.goal = goal;
                        self.status.runs += 1;
                        self.status.failures = 0;
                        self.tokens.forgive();
                        self.input(Input::Run(goal));
                    }
                    Some(Command::Stop) | None => break,
                },
                Some(done) = self.work.next() => self.finish(done),
                () = self.tokens.was_given() => self.use_new_token(),
                Ok(()) = self.commits.changed() => self.look_at_outbox(),
                () = sleep_until(wake), if deadline.is_some() => {
                    if self.engine.is_overdue(self.now()) {
                        self.note_transfer();
                    }
                    self.input(Input::Tick);
                }
            }
            self.publish_status();
        }
        self.shut_down().await;
    }

    /// Notifies the engine of what has moved on its link, before a request counts as overdue.
    fn note_transfer(&mut self) {
        let now = self.connection.as_ref().and_then(|(_, connection)| connection.moved());
        let Some(now) = now else { return };
        let before = std::mem::replace(&mut self.moved, now);
        let up = now.up.saturating_sub(before.up);
        let down = now.down.saturating_sub(before.down);
        self.input(Input::Transferred { up, down });
    }

    fn use_new_token(&mut self) {
        // The new token may belong to another principal with more access: a new greeting shows it.
        let may_help = [ErrorKind::Unauthenticated, ErrorKind::PermissionDenied];
        match self.engine.progress().refused {
            Some(kind) if may_help.contains(&kind) => self.input(Input::Run(self.goal)),
            _ => self.renew(),
        }
    }

    /// Finishes the storage's work, so that nothing is half done when the file is closed.
    async fn shut_down(mut self) {
        let connection = self.connection.take();
        self.input(Input::Stop);
        if let Some((_, connection)) = connection {
            connection
                .close(Goodbye { reason: "the replica stops".to_owned(), retry_after: None })
                .await;
        }
        while self.storing > 0 {
            let Some(done) = self.work.next().await else { break };
            if done.is_storage() {
                self.finish(done);
            }
        }
        if let Err(error) = self.parts.storage.release(self.lease).await {
            tracing::warn!(error = %error.report(), "the engine lease was not given back");
        }
        self.publish_status();
    }

    fn publish_status(&mut self) {
        let mut status = DriverStatus { progress: self.engine.progress(), ..self.status.clone() };
        if status.progress.phase == Phase::InSync {
            status.last_error = None;
        }
        if *self.publish.borrow() != status {
            self.parts.observer.status(&status);
            self.publish.send_replace(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_of_a_command_is_its_name() {
        let told = [Command::Run(Goal::ONCE), Command::Stop].map(|command| format!("{command:?}"));
        assert_eq!(told, ["Run", "Stop"]);
    }
}
