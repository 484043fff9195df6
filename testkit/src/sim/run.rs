//! One run: clients, a server and a network under virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use sync_core::engine::Failure;
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{Body, Collection, DocumentKey, Scope};
use sync_core::resolver::{ConflictResolver, ResolveOn, Resolvers};

use super::Tally;
use super::client::Client;
use super::disk::Disks;
use super::fact::Fact;
use super::history::History;
use super::link_conditions::{Fate, Way};
use super::oracles::{Oracle, PROGRESS};
use super::plan::{Plan, Setting};
use super::queue::{Event, Queue};
use super::server::ServerSide;
use super::stranger::Stranger;
use super::trace::{Mark, Trace, TraceEvent};
use super::wire::{Down, Link};
use crate::cores::must;
use crate::random::SplitMix64;
use crate::world::{Calls, Recording};

/// The number of events for each client at one time above which they are a loop.
const AT_ONCE: u64 = 5_000;

/// The time at which the simulated world begins, in Unix milliseconds.
pub(super) const BEGINNING: u64 = 1_700_000_000_000;

/// A violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The oracle that detected it.
    pub oracle: &'static str,
    /// The time in milliseconds since the beginning.
    pub at: u64,
    /// What it observed.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at as f64 / 1_000.0;
        write!(f, "{} at {seconds:.3} s: {}", self.oracle, self.what)
    }
}

/// Makes the body that an app writes over the state that it reads.
pub type MakeEdit = Arc<dyn Fn(Option<&Body>, &mut SplitMix64) -> Body + Send + Sync>;

/// The inputs of a run beside its plan.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) resolver: Option<Arc<dyn ConflictResolver>>,
    pub(super) edit: Option<MakeEdit>,
    /// Whether to record a trace.
    pub(super) traced: bool,
    /// Whether to continue after the first violation, to find all oracles that detect one.
    pub(super) gathers: bool,
    /// Whether all faults end at the end; `false` if only earlier violations count.
    pub(super) heals: bool,
}

pub(super) struct Run<D: Disks> {
    pub(super) setting: Setting,
    pub(super) options: Options,
    pub(super) disks: D,
    pub(super) now: u64,
    pub(super) queue: Queue,
    pub(super) clients: Vec<Client<D::Replica>>,
    pub(super) server: ServerSide<D::Server>,
    pub(super) stranger: Stranger,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) scopes: Vec<Scope>,
    pub(super) resolvers: Resolvers,
    pub(super) calls: Calls,
    pub(super) calls_seen: usize,
    pub(super) history: History,
    pub(super) oracles: Vec<Box<dyn Oracle>>,
    pub(super) violation: Option<Violation>,
    /// The oracles that detected a violation.
    pub(super) noticed: BTreeSet<&'static str>,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
    /// A hash that identifies this run: changes with every event.
    pub(super) fingerprint: u64,
    pub(super) last_link: u64,
    /// The number of messages that are no heartbeats.
    pub(super) talk: u64,
    /// The number of events since time last advanced.
    at_once: u64,
    /// Whether faults have ended: from then on none is drawn.
    pub(super) healing: bool,
}

impl<D: Disks> Run<D> {
    pub(super) fn new(
        mut disks: D,
        plan: &Plan,
        options: Options,
        oracles: Vec<Box<dyn Oracle>>,
    ) -> Self {
        let setting = plan.setting.clone();
        let calls = Calls::default();
        let chosen = options.resolver.clone().unwrap_or_else(|| setting.resolver.known());
        let record =
            |on_server| Arc::new(Recording::new(Arc::clone(&chosen), calls.clone(), on_server));
        let mut resolvers = Resolvers::shared(record(false), ResolveOn::Replica);
        if setting.on_server {
            resolvers = resolvers.with(collection("merged"), record(true), ResolveOn::Server);
        }
        let scope = |n: usize| must(Scope::new(format!("s{n}")), "a scope's name");
        let scopes: Vec<Scope> = (0..setting.scopes.max(1)).map(scope).collect();
        let server = ServerSide::new(must(disks.server(), "the disks give a server's store"));
        let mut run = Self {
            options,
            disks,
            now: 0,
            queue: Queue::default(),
            clients: Vec::new(),
            server,
            stranger: Stranger::default(),
            links: BTreeMap::new(),
            scopes,
            resolvers,
            calls,
            calls_seen: 0,
            history: History::default(),
            oracles,
            violation: None,
            noticed: BTreeSet::new(),
            trace: Trace::default(),
            tally: Tally::default(),
            fingerprint: setting.seed,
            last_link: 0,
            talk: 0,
            at_once: 0,
            healing: false,
            setting,
        };
        run.trace.lanes.push("server".to_owned());
        for client in 0..run.setting.clients {
            run.join(client);
            run.trace.lanes.push(format!("client {client}"));
        }
        for (n, action) in plan.actions.iter().enumerate() {
            run.queue.push(action.at, Event::Action(n));
        }
        for client in 0..run.setting.clients {
            run.start(client);
        }
        let own = run.options.resolver.is_some();
        run.history.later_wins = !own && run.setting.resolver.is_last_write_wins();
        run.queue.push(0, Event::LookAtHealth);
        run
    }

    /// Runs the plan, ends all faults, and checks the promises.
    pub(super) fn carry_out(&mut self, plan: &Plan) {
        self.run_until(plan, self.setting.millis);
        if !self.is_over() && self.options.heals {
            self.heal(plan);
        }
    }

    /// Returns whether the rest of the run can show nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.violation.is_some() || self.history.collided
    }

    pub(super) fn run_until(&mut self, plan: &Plan, end: u64) {
        while let Some(at) = self.queue.next_at().filter(|at| *at <= end) {
            if self.is_over() {
                return;
            }
            let Some((_, event)) = self.queue.pop() else { break };
            self.at_once = if at == self.now { self.at_once + 1 } else { 0 };
            self.now = at;
            self.tally.events += 1;
            if self.at_once > AT_ONCE * self.clients.len() as u64 {
                // The rest of such a run shows nothing more.
                self.options.gathers = false;
                return self.violate(PROGRESS, format!("time stands still: {event:?}"));
            }
            self.happen(plan, event);
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, plan: &Plan, event: Event) {
        self.mix(&event);
        match event {
            Event::Action(n) => self.act(&plan.actions[n].what),
            Event::Up { link, stream, message } => self.server_hears(link, stream, message),
            Event::Down { link, stream, message } => self.client_hears(link, stream, message),
            Event::ClientLoses { link } => self.client_loses(link),
            Event::ServerLoses { link } => self.server_loses(link),
            Event::Tick { client, process } => self.tick(client, process),
            Event::Heartbeat { client, process, link } => self.heartbeat(client, process, link),
            Event::SessionTick { link } => self.session_tick(link),
            Event::Store { client, process, output } => self.store(client, process, output),
            Event::Tell { client, process, input } => self.tell(client, process, input),
            Event::Acknowledge { client, process, link, output } => {
                self.acknowledge(client, process, link, output);
            }
            Event::Poll { link, stream } => self.answer_poll(link, stream),
            Event::GivesUp { client, process, link, stream } => {
                self.give_up(client, process, link, stream);
            }
            Event::Start { client } => self.start(client),
            Event::StartServer => self.start_server(),
            Event::Replace { client, process } => self.replace(client, process),
            Event::Again { client, process } => self.run_again(client, process),
            Event::EndDirection { client } => self.end_direction(client),
            Event::EndHidden { client } => self.end_hidden(client),
            Event::Stranger { link, n, salt } => self.stranger_speaks(link, n, salt),
            Event::LookAtHealth => self.look_at_health(),
            Event::Cut { client } => self.cut(client),
        }
    }

    fn mix(&mut self, event: &Event) {
        let number = match event {
            Event::Action(n) => *n as u64,
            Event::Up { link, stream, message } => {
                (*link << 20) ^ u64::from(*stream) ^ ((message.name().len() as u64) << 40)
            }
            Event::Down { link, stream, message } => {
                let seq = match message {
                    Down::Chunk(chunk) => chunk.next.0,
                    _ => 0,
                };
                (*link << 21) ^ u64::from(*stream) ^ (seq << 42)
            }
            Event::ClientLoses { link } | Event::ServerLoses { link } => *link,
            Event::SessionTick { link } | Event::Poll { link, .. } => *link,
            Event::Tick { client, process }
            | Event::Heartbeat { client, process, .. }
            | Event::Store { client, process, .. }
            | Event::Tell { client, process, .. }
            | Event::Acknowledge { client, process, .. }
            | Event::Replace { client, process }
            | Event::GivesUp { client, process, .. }
            | Event::Again { client, process } => ((*client as u64) << 32) ^ process,
            Event::Start { client }
            | Event::EndDirection { client }
            | Event::EndHidden { client }
            | Event::Cut { client } => *client as u64,
            Event::Stranger { salt, .. } => *salt,
            Event::StartServer | Event::LookAtHealth => 1,
        };
        let kind = std::mem::discriminant(event);
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&(self.fingerprint, self.now, number, kind), &mut hasher);
        self.fingerprint = std::hash::Hasher::finish(&hasher);
    }

    /// Returns a random generator for a client, a purpose and a time: removing an action from a
    /// plan does not change the randomness at another time.
    pub(super) fn chance(&mut self, client: usize, purpose: u64) -> SplitMix64 {
        let now = self.now;
        let (at, count) = self.clients[client].ordinals.entry(purpose).or_default();
        *count = if *at == now { *count + 1 } else { 0 };
        *at = now;
        let entity = (purpose << 56) ^ ((client as u64) << 44) ^ (now << 8) ^ *count;
        SplitMix64::of(self.setting.seed, entity)
    }

    // ---- the oracles

    /// Gives a fact to the oracles, and records it.
    pub(super) fn fact(&mut self, fact: &Fact) {
        if self.is_over() {
            return;
        }
        let mut oracles = std::mem::take(&mut self.oracles);
        let history = std::mem::take(&mut self.history);
        for oracle in &mut oracles {
            if let Err(what) = oracle.see(fact, &history, self) {
                self.violate(oracle.name(), what);
                if self.violation.is_some() {
                    break;
                }
            }
        }
        (self.oracles, self.history) = (oracles, history);
        self.history.note(fact);
    }

    pub(super) fn violate(&mut self, oracle: &'static str, what: String) {
        let text = what.clone();
        self.mark(0, Mark::Violation, || format!("{oracle}: {text}"));
        self.noticed.insert(oracle);
        if !self.options.gathers {
            let at = self.now;
            self.violation.get_or_insert(Violation { oracle, at, what });
        }
    }

    /// Reports the resolvers' calls since the last call of this method to the oracles. Calls in a
    /// transaction that failed had no effect, and are skipped.
    pub(super) fn note_calls_of(&mut self, client: Option<usize>, is_committed: bool) {
        if !is_committed {
            self.calls_seen = self.calls.count();
        }
        if self.calls.count() == self.calls_seen {
            return;
        }
        let calls = self.calls.since(self.calls_seen);
        self.calls_seen += calls.len();
        for call in calls {
            let lane = client.map_or(0, |c| c + 1);
            self.mark(lane, Mark::Conflict, || {
                let answer = match &call.resolution {
                    Some(resolution) => format!("{resolution:?}"),
                    None => "failed".to_owned(),
                };
                format!("conflict about {}: {answer}", call.key.id)
            });
            self.fact(&Fact::Asked { client, call });
        }
    }

    pub(super) fn mark(&mut self, lane: usize, mark: Mark, text: impl FnOnce() -> String) {
        if self.options.traced {
            self.trace.moments.push(TraceEvent {
                at: self.now,
                lane,
                mark,
                text: text(),
                to: None,
            });
        }
    }

    pub(super) fn show_message(
        &mut self,
        client: usize,
        way: Way,
        fate: Fate,
        text: impl FnOnce() -> String,
    ) {
        if !self.options.traced {
            return;
        }
        let (mark, after) = match fate {
            Fate::Arrives { after, .. } => (Mark::Message, after),
            Fate::Held { until } => (Mark::Message, until.saturating_sub(self.now)),
            Fate::Breaks { after } => (Mark::Lost, after),
            Fate::Vanishes => (Mark::Lost, self.setting.latency),
        };
        let (lane, other) = match way {
            Way::Up => (client + 1, 0),
            Way::Down => (0, client + 1),
        };
        let text = text();
        let to = Some((self.now + after, other));
        self.trace.moments.push(TraceEvent { at: self.now, lane, mark, text, to });
    }

    pub(super) fn cover(&mut self, kind: super::FaultKind, client: Option<usize>) {
        let clients: Vec<usize> = match client {
            Some(client) => vec![client],
            None => (0..self.clients.len()).collect(),
        };
        for client in clients {
            for phase in self.phases(client) {
                self.tally.coverage.add(kind, phase);
            }
        }
    }

    pub(super) fn key(&self, scope: usize, document: usize) -> DocumentKey {
        let document = document % self.setting.documents.max(1);
        let name = self.collection_of(document);
        let id = must(sync_core::model::DocumentId::new(document.to_string()), "an id");
        DocumentKey::new(self.scopes[scope % self.scopes.len()].clone(), name, id)
    }

    /// Returns the scopes that a client follows.
    pub(super) fn followed(&self, client: usize) -> Vec<usize> {
        let count = self.scopes.len();
        let own = client % count;
        let mut scopes = vec![own];
        if count > 1 && client % 3 == 2 {
            scopes.push((own + 1) % count);
        }
        scopes
    }
}

pub(super) fn collection(name: &str) -> Collection {
    must(Collection::new(name), "a collection's name")
}

/// Returns a failure as an engine receives it.
pub(super) fn failure(kind: ErrorKind, retry: Retry) -> Failure {
    Failure { kind, retry }
}
