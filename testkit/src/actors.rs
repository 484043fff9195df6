//! Replicas driven by the real engine, over a network that the test controls.
//!
//! [`Actors`] executes the engine's commands on a [`World`]. Commands to the storage run at once.
//! Requests to the server become [`Parcel`]s on the wire, which the test delivers, loses, doubles
//! or delays.
//!
//! ```
//! use testkit::actors::Actors;
//! use testkit::cores::MemoryCores;
//! use testkit::world::World;
//!
//! let mut actors = Actors::new(World::new(MemoryCores, 2));
//! actors.write(0, "notes/a", Some("hello"));
//! actors.start(0);
//! actors.start(1);
//! actors.run();
//! assert_eq!(actors.world.text(1, "notes/a").as_deref(), Some("hello"));
//! actors.world.assert_converged();
//! ```

mod copy;

use std::collections::BTreeMap;

use sync_core::clock::Instant;
use sync_core::engine::{
    Answer, BatchMeta, ChunkMeta, Engine, EngineOptions, Failure, Goal, Input, Output,
    ScopeGreeting, Settlement, Ticket,
};
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{Chunk, Cursor, PushBatch, PushId, Seq, Verdicts};
use sync_server::record::ServerScope;

use crate::cores::Cores;
use crate::world::{ConnectResult, Reply, World};

/// The largest number of parcels that one [`run`](Actors::run) delivers.
const PATIENCE: usize = 10_000;

/// A message on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parcel {
    /// The replica that sends or receives it.
    pub replica: usize,
    /// The ticket of the request that it belongs to.
    pub ticket: Ticket,
    /// The message's content.
    pub content: ParcelContent,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ParcelContent {
    /// To the server: a request for the chunk after this cursor.
    Pull(Cursor),
    /// To the server: a batch of changes.
    Push(PushBatch),
    /// From the server: a chunk or a reset.
    Pulled(Reply),
    /// From the server: verdicts.
    Pushed(Verdicts),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kept {
    Chunk(Chunk),
    Verdicts(Verdicts),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Actor {
    engine: Engine,
    link: Option<Ticket>,
    kept: BTreeMap<Ticket, Kept>,
    formed: Option<PushBatch>,
    /// The live stream: its cursor, and whether its next event was requested.
    live: Option<(Ticket, Cursor, bool)>,
}

impl Actor {
    /// Makes an idle engine for a replica, from the checkpoint in its storage.
    fn open<C: Cores>(world: &mut World<C>, replica: usize, now: Instant) -> Self {
        let mut engine = Engine::new(EngineOptions::default(), replica as u64);
        let (scope, row) = (world.scope().clone(), world.scope_row(replica));
        engine.handle_input(now, Input::Opened { scope, checkpoint: row.checkpoint });
        Self { engine, link: None, kept: BTreeMap::new(), formed: None, live: None }
    }
}

/// A world whose replicas are driven by engines.
#[derive(Debug)]
pub struct Actors<C: Cores> {
    /// The data.
    pub world: World<C>,
    /// The parcels in transit, oldest first.
    pub wire: Vec<Parcel>,
    actors: Vec<Actor>,
    now: Instant,
}

impl<C: Cores> Actors<C> {
    /// Gives every replica of the world an idle engine.
    pub fn new(mut world: World<C>) -> Self {
        let actors =
            (0..world.replicas()).map(|r| Actor::open(&mut world, r, Instant(0))).collect();
        Self { world, wire: Vec::new(), actors, now: Instant(0) }
    }

    /// Returns the engine of a replica.
    #[must_use]
    pub fn engine(&self, replica: usize) -> &Engine {
        &self.actors[replica].engine
    }

    /// Starts syncing the replica.
    pub fn start(&mut self, replica: usize) {
        self.input(replica, Input::Run(Goal::default()));
    }

    /// Writes a document as the app does, or deletes it.
    pub fn write(&mut self, replica: usize, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.world.put(replica, name, text),
            None => self.world.delete(replica, name),
        }
        let scope = self.world.scope().clone();
        self.input(replica, Input::OutboxGrew { scope });
    }

    /// Cuts the replica's link. Parcels in transit may still arrive. The replica reconnects once
    /// [time passes](Self::wait).
    pub fn cut(&mut self, replica: usize) {
        if let Some(ticket) = self.actors[replica].link {
            let failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
            self.input(replica, Input::LinkLost { ticket, failure });
        }
    }

    /// Advances the time to the earliest deadline of any engine.
    pub fn wait(&mut self) {
        let due = self.actors.iter().filter_map(|a| a.engine.next_deadline()).max();
        self.now = self.now.max(due.unwrap_or(self.now));
        for replica in 0..self.actors.len() {
            self.input(replica, Input::Tick);
        }
    }

    /// Advances the time to the deadline of one replica's engine. The other engines get no tick.
    pub fn wake(&mut self, replica: usize) {
        let due = self.actors[replica].engine.next_deadline();
        self.now = self.now.max(due.unwrap_or(self.now));
        self.input(replica, Input::Tick);
    }

    /// Ends the process of a replica and starts it again: its memory is lost, and it reconnects.
    /// Requests that it sent may still arrive, but their answers are ignored.
    pub fn restart(&mut self, replica: usize) {
        let mut fresh = Actor::open(&mut self.world, replica, self.now);
        // Tickets identify requests of one process. They continue here, so that no old answer is
        // taken for a new one.
        let newest = self.actors[replica].engine.ticket();
        while fresh.engine.ticket() < newest {}
        self.actors[replica] = fresh;
        self.start(replica);
    }

    /// Returns whether the replica has a link.
    #[must_use]
    pub fn is_linked(&self, replica: usize) -> bool {
        self.actors[replica].link.is_some()
    }

    /// Takes the oldest matching parcel off the wire.
    pub fn take(&mut self, wanted: impl Fn(&Parcel) -> bool) -> Option<Parcel> {
        let at = self.wire.iter().position(wanted)?;
        Some(self.wire.remove(at))
    }

    /// Delivers a parcel: to the server, whose answer is put on the wire, or to the replica.
    pub fn deliver(&mut self, parcel: Parcel) {
        let Parcel { replica, ticket, content } = parcel;
        let scope = self.world.scope().clone();
        let answer = |content| Parcel { replica, ticket, content };
        match content {
            ParcelContent::Pull(cursor) => {
                let limits = self.world.options().chunk;
                let reply = self.world.changes(&cursor, limits);
                self.wire.push(answer(ParcelContent::Pulled(reply)));
            }
            ParcelContent::Push(batch) => {
                let verdicts = self.world.deliver(&batch);
                self.wire.push(answer(ParcelContent::Pushed(verdicts)));
            }
            ParcelContent::Pulled(reply) => {
                let payload = self.actors[replica].engine.ticket();
                let result = Ok(reply.map(|chunk| {
                    let meta = ChunkMeta::from(&chunk);
                    self.actors[replica].kept.insert(payload, Kept::Chunk(chunk));
                    meta
                }));
                self.input(replica, Input::Delivered { scope, ticket, payload, result });
            }
            ParcelContent::Pushed(verdicts) => {
                let result = Ok(Answer::from(&verdicts));
                self.actors[replica].kept.insert(ticket, Kept::Verdicts(verdicts));
                self.input(replica, Input::Pushed { scope, ticket, result });
            }
        }
        self.feed_live();
    }

    /// Delivers every parcel, in order, until none is in transit.
    ///
    /// # Panics
    /// If that does not end.
    #[allow(clippy::panic, reason = "this is how a test ends")]
    pub fn run(&mut self) {
        self.feed_live();
        for _ in 0..PATIENCE {
            if self.wire.is_empty() {
                return;
            }
            let parcel = self.wire.remove(0);
            self.deliver(parcel);
        }
        panic!("the replicas and the server do not come to rest: {:?}", self.wire);
    }

    /// Sends the next event of each live stream that waits for one, if the head has moved.
    fn feed_live(&mut self) {
        for replica in 0..self.actors.len() {
            let Some((ticket, cursor, true)) = self.actors[replica].live.clone() else { continue };
            let limits = self.world.options().chunk;
            let reply = self.world.changes(&cursor, limits);
            match &reply {
                Reply::Chunk(chunk) if chunk.next <= cursor.after => continue,
                Reply::Chunk(chunk) => {
                    let ahead = cursor.following(chunk);
                    self.actors[replica].live = Some((ticket, ahead, false));
                }
                Reply::Reset(_) => self.actors[replica].live = None,
            }
            self.wire.push(Parcel { replica, ticket, content: ParcelContent::Pulled(reply) });
        }
    }

    fn input(&mut self, replica: usize, input: Input) {
        self.actors[replica].engine.handle_input(self.now, input);
        while let Some(output) = self.actors[replica].engine.poll_output() {
            self.execute(replica, output);
        }
    }

    fn execute(&mut self, replica: usize, output: Output) {
        let actor = &mut self.actors[replica];
        let send = |ticket, content| Parcel { replica, ticket, content };
        match output {
            Output::Connect { ticket, .. } => self.connect(replica, ticket),
            Output::Disconnect { .. } => actor.link = None,
            Output::Pull { ticket, cursor, .. } => {
                self.wire.push(send(ticket, ParcelContent::Pull(cursor)))
            }
            Output::Push { ticket, .. } => {
                if let Some(batch) = actor.formed.take() {
                    self.wire.push(send(ticket, ParcelContent::Push(batch)));
                }
            }
            Output::Subscribe { ticket, cursor, .. } => actor.live = Some((ticket, cursor, false)),
            Output::NextLive { .. } => {
                if let Some((_, _, polled)) = &mut actor.live {
                    *polled = true;
                }
            }
            Output::Unsubscribe { .. } => actor.live = None,
            Output::Discard { payload } => {
                actor.kept.remove(&payload);
            }
            Output::Emit(_) => {}
            storage => self.store(replica, storage),
        }
    }

    fn connect(&mut self, replica: usize, ticket: Ticket) {
        let asked = self.world.cursor(replica);
        let greeting = self.world.greet(replica);
        self.world.tell_time(replica);
        let (mut last_push, mut reset) = (PushId(0), None);
        let ours = self.world.meta(replica).last_push;
        match greeting {
            ConnectResult::Welcome => {}
            ConnectResult::Reset(why) => reset = Some(why),
            ConnectResult::Cloned => last_push = ours.next(),
        }
        let scope = self.world.scope().clone();
        let ServerScope { epoch, head, .. } = self.world.server_scope();
        self.actors[replica].link = Some(ticket);
        let scopes = vec![ScopeGreeting { scope, asked, epoch, head, reset, last_push }];
        self.input(replica, Input::Connected { ticket, scopes, last_push: ours });
    }

    /// Executes a command to the storage at once.
    fn store(&mut self, replica: usize, output: Output) {
        let input = match output {
            Output::NextBatch { scope, limits } => {
                let batch = self.world.form_within(replica, limits.min(self.world.options().push));
                let result = Ok(batch.as_ref().map(BatchMeta::from));
                self.actors[replica].formed = batch;
                Input::NextBatch { scope, result }
            }
            Output::Apply { scope, payload } => {
                let Some(Kept::Chunk(chunk)) = self.actors[replica].kept.remove(&payload) else {
                    return;
                };
                let applied = self.world.apply(replica, &chunk);
                Input::Applied { scope, payload, result: Ok((applied.moved, applied.checkpoint)) }
            }
            Output::Settle { scope, ticket, push } => {
                let Some(Kept::Verdicts(verdicts)) = self.actors[replica].kept.remove(&ticket)
                else {
                    return;
                };
                let committed = self.world.settle(replica, push, &verdicts);
                Input::Settled { scope, result: Ok(Settlement::from(&committed)) }
            }
            Output::Reset { scope, reset } => {
                self.world.reset(replica, &reset);
                let checkpoint = self.world.scope_row(replica).checkpoint;
                Input::ResetDone { scope, result: Ok(checkpoint) }
            }
            Output::Acknowledge { scope, ticket, .. } => {
                let result = Ok(self.world.acknowledge(replica));
                Input::Acknowledged { scope, ticket, result }
            }
            Output::Reidentify => {
                self.world.reidentify(replica);
                Input::Reidentified { result: Ok(()) }
            }
            _ => return,
        };
        self.input(replica, input);
    }

    /// Returns the position in the replica's stored checkpoint.
    pub fn position(&mut self, replica: usize) -> Seq {
        self.world.scope_row(replica).checkpoint.after()
    }
}
