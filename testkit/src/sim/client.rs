//! A client: a device, its store, and the process that runs the engine on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sync_core::clock::{Instant, Now};
use sync_core::engine::{
    Direction, Engine, EngineOptions, Event as Told, Input, Output, Phase, Ticket,
};
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{
    Chunk, Collection, Cursor, DocumentKey, DocumentState, FencingToken, PushBatch, ReplicaId,
    Scope, Verdicts,
};

use sync_core::replica::record::ScopeRow;

use super::ClientPhase;
use super::disk::Disks;
use super::fact::Fact;
use super::link_conditions::LinkConditions;
use super::queue::Event;
use super::rates::Rate;
use super::run::{Run, failure};
use super::trace::Mark;
use super::wire::{Down, Up};

pub(super) enum Kept {
    Chunk(Arc<Chunk>),
    Verdicts(Verdicts),
}

/// The subject of a request.
pub(super) enum Asked {
    Pull { scope: Scope, ticket: Ticket },
    Push { scope: Scope, ticket: Ticket },
    Ack { scope: Scope, ticket: Ticket },
}

/// The client's end of a live stream.
pub(super) struct Live {
    pub(super) stream: u32,
    pub(super) scope: Scope,
    pub(super) cursor: Cursor,
    pub(super) waiting: VecDeque<Down>,
    pub(super) is_polled: bool,
}

/// A connection, as the client knows it.
pub(super) struct Connection {
    pub(super) link: u64,
    pub(super) ticket: Ticket,
    pub(super) is_greeted: bool,
    pub(super) last_stream: u32,
    pub(super) asked: BTreeMap<u32, Asked>,
    pub(super) live: BTreeMap<Ticket, Live>,
    pub(super) heard: u64,
    pub(super) last_push: sync_core::model::PushId,
}

/// The app's process.
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) engine: Engine,
    started: u64,
    pub(super) kept: BTreeMap<Ticket, Kept>,
    pub(super) batches: BTreeMap<Scope, PushBatch>,
    pub(super) connection: Option<Connection>,
    ticks_at: Option<u64>,
    pub(super) lease: FencingToken,
}

pub(super) struct Client<R> {
    /// None only while the store is opened again.
    pub(super) core: Option<R>,
    /// Rows that were read since the last write.
    pub(super) rows: Vec<(Scope, ScopeRow)>,
    pub(super) replica: ReplicaId,
    pub(super) process: Option<Process>,
    pub(super) processes: u64,
    pub(super) identities: u64,
    pub(super) shown: BTreeMap<DocumentKey, DocumentState>,
    pub(super) link_conditions: LinkConditions,
    pub(super) rate: Rate,
    pub(super) skew: i64,
    /// A copy of the device's files, and the documents in it.
    pub(super) copy: Option<(R, BTreeMap<DocumentKey, DocumentState>)>,
    /// The direction in which its app syncs, and until when.
    pub(super) direction: (Direction, u64),
    /// The collections of each scope that its app syncs, unless those are all.
    pub(super) chosen: BTreeMap<usize, BTreeSet<Collection>>,
    /// The time at which it began to connect, by its own clock.
    pub(super) asked: Now,
    /// The time that its stopped clock shows, and until when.
    pub(super) frozen: Option<(u64, u64)>,
    pub(super) paused_until: u64,
    /// The time until which a fault concerns it.
    pub(super) troubled_until: u64,
    /// The time until which its link was slow.
    pub(super) slow_until: u64,
    pub(super) disk_busy: u64,
    pub(super) slow_disk: (u64, u64),
    /// The process crashes after its next commit: for how long, and how.
    pub(super) doomed: Option<(u64, bool, u64)>,
    /// The last use of randomness for each purpose: its time, and how often at that time.
    pub(super) ordinals: BTreeMap<u64, (u64, u64)>,
}

impl<R> Client<R> {
    pub(super) fn link(&self) -> Option<u64> {
        Some(self.process.as_ref()?.connection.as_ref()?.link)
    }

    pub(super) fn is(&self, process: u64) -> bool {
        self.process.as_ref().is_some_and(|p| p.number == process)
    }
}

/// How long the app of a refused client waits before it retries.
const AGAIN: u64 = 20_000;

impl<D: Disks> Run<D> {
    /// Starts the process and its sync.
    pub(super) fn start(&mut self, client: usize) {
        if self.clients[client].process.is_some() {
            return;
        }
        self.mark(client + 1, Mark::Up, || "the app starts".to_owned());
        let options = EngineOptions::default();
        let seed = self.chance(client, 3).next_u64();
        let number = self.clients[client].processes + 1;
        self.clients[client].processes = number;
        let Some(lease) = self.claim(client) else {
            // The disk failed: the app retries.
            return self.queue.push(self.now + 1_000, Event::Start { client });
        };
        let process = Process {
            number,
            engine: Engine::new(options, seed),
            started: self.now,
            kept: BTreeMap::new(),
            batches: BTreeMap::new(),
            connection: None,
            ticks_at: None,
            lease,
        };
        self.clients[client].process = Some(process);
        let direction = self.clients[client].direction.0;
        self.fact(&Fact::Directed { client, direction });
        if !self.choose_all(client) {
            self.stop(client, false, 0);
            return self.queue.push(self.now + 1_000, Event::Start { client });
        }
        for scope in self.followed(client) {
            let scope = self.scopes[scope].clone();
            let checkpoint = self.checkpoint_of(client, &scope);
            self.input(client, Input::Opened { scope, checkpoint });
        }
        self.input(client, Input::Run(self.goal(client)));
    }

    /// Ends the process.
    pub(super) fn stop(&mut self, client: usize, power: bool, salt: u64) {
        let Some(process) = self.clients[client].process.take() else { return };
        let what = if power { "the power fails" } else { "the app dies" };
        self.mark(client + 1, Mark::Down, || what.to_owned());
        self.fact(&Fact::Crashed { client, power });
        if let Some(connection) = process.connection {
            self.close_link(connection.link, !power);
        }
        self.clients[client].doomed = None;
        self.reopen(client, power, salt);
    }

    /// Ends the client's use of a link. A process that crashes resets it; after a power failure the
    /// server gets no sign of it.
    pub(super) fn close_link(&mut self, link: u64, told: bool) {
        if let Some(info) = self.links.get_mut(&link) {
            info.is_open = false;
        }
        if told {
            let after = self.setting.latency;
            let up = self.links.get(&link).map_or(0, |l| l.arrives[0]);
            self.queue.push(up.max(self.now + after), Event::ServerLoses { link });
        }
    }

    // ---- the engine

    pub(super) fn input(&mut self, client: usize, input: Input) {
        let now = self.now;
        let Some(process) = self.clients[client].process.as_mut() else { return };
        process.engine.handle_input(Instant(now - process.started), input);
        while let Some(output) =
            self.clients[client].process.as_mut().and_then(|p| p.engine.poll_output())
        {
            self.execute(client, output);
        }
        self.set_alarm(client);
    }

    fn set_alarm(&mut self, client: usize) {
        let now = self.now;
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(due) = process.engine.next_deadline() else { return };
        let due = process.started.saturating_add(due.0).max(now);
        if process.ticks_at.is_none_or(|at| due < at || at < now) {
            process.ticks_at = Some(due);
            let process = process.number;
            self.queue.push(due, Event::Tick { client, process });
        }
    }

    pub(super) fn tick(&mut self, client: usize, process: u64) {
        if self.defer(client, Event::Tick { client, process }).is_none() {
            return;
        }
        let now = self.now;
        let Some(running) = self.clients[client].process.as_mut() else { return };
        if running.number == process && running.ticks_at.is_some_and(|at| at <= now) {
            running.ticks_at = None;
            let now = Instant(now - running.started);
            if running.engine.is_overdue(now) {
                self.note_transfer(client);
            }
            self.input(client, Input::Tick);
        }
    }

    /// Delays an event of a process that is not scheduled.
    pub(super) fn defer(&mut self, client: usize, event: Event) -> Option<()> {
        let until = self.clients[client].paused_until;
        if until > self.now {
            self.queue.push(until, event);
            return None;
        }
        Some(())
    }

    pub(super) fn tell(&mut self, client: usize, process: u64, input: Input) {
        let until = self.clients[client].paused_until;
        if until > self.now {
            return self.queue.push(until, Event::Tell { client, process, input });
        }
        if self.clients[client].is(process) {
            self.input(client, input);
        }
    }

    /// Starts the sync again if it was stopped or refused.
    pub(super) fn run_again(&mut self, client: usize, process: u64) {
        let Some(running) = self.clients[client].process.as_ref() else { return };
        let progress = running.engine.progress();
        let rests = progress.phase == Phase::Stopped || progress.refused.is_some();
        if running.number == process && rests {
            self.input(client, Input::Run(self.goal(client)));
        }
    }

    fn execute(&mut self, client: usize, output: Output) {
        match output {
            Output::Connect { ticket, scopes } => self.connect(client, ticket, scopes),
            Output::Disconnect { ticket } => self.disconnect(client, ticket),
            Output::Pull { scope, ticket, cursor, .. } => {
                let message = Up::Pull { scope: scope.clone(), cursor };
                self.ask(client, Asked::Pull { scope, ticket }, message);
            }
            Output::Push { scope, ticket, push } => {
                let process = self.clients[client].process.as_mut();
                let batch = process.and_then(|p| p.batches.remove(&scope)).filter(|b| b.id == push);
                match batch {
                    Some(batch) => {
                        let message = Up::Push(batch);
                        self.ask(client, Asked::Push { scope, ticket }, message);
                    }
                    None => {
                        let result = Err(failure(ErrorKind::Internal, Retry::Later(None)));
                        self.soon(client, Input::Pushed { scope, ticket, result });
                    }
                }
            }
            Output::Subscribe { scope, ticket, cursor, .. } => {
                self.subscribe(client, scope, ticket, cursor)
            }
            Output::NextLive { ticket, .. } => self.next_live(client, ticket),
            Output::Unsubscribe { ticket, .. } => self.unsubscribe(client, ticket),
            Output::Discard { payload } => {
                if let Some(process) = self.clients[client].process.as_mut() {
                    process.kept.remove(&payload);
                }
            }
            Output::Acknowledge { .. } => {
                let link = self.clients[client].link();
                let process = self.clients[client].processes;
                let at = self.now + 1_000;
                self.queue.push(at, Event::Acknowledge { client, process, link, output });
            }
            Output::Emit(told) => self.told(client, &told),
            storage => self.plan_store(client, storage),
        }
    }

    fn told(&mut self, client: usize, told: &Told) {
        let again = match told {
            Told::Refused(_) | Told::ScopeRefused(..) | Told::ScopeGone(_) => true,
            Told::Diverged(scope) => {
                let what =
                    format!("client {client} and the server differ at one position of {scope}");
                return self.violate("convergence", what);
            }
            _ => false,
        };
        if again {
            let process = self.clients[client].processes;
            self.queue.push(self.now + AGAIN, Event::Again { client, process });
        }
    }

    pub(super) fn soon(&mut self, client: usize, input: Input) {
        let process = self.clients[client].processes;
        self.queue.push(self.now, Event::Tell { client, process, input });
    }

    // ---- reading

    /// Returns the phases that a client is in.
    pub(super) fn phases(&self, client: usize) -> BTreeSet<ClientPhase> {
        let mut phases = BTreeSet::new();
        let Some(process) = self.clients[client].process.as_ref() else { return phases };
        let progress = process.engine.progress();
        let asked = process.connection.iter().flat_map(|c| c.asked.values());
        for asked in asked {
            match asked {
                Asked::Push { .. } => phases.insert(ClientPhase::Push),
                Asked::Pull { .. } => phases.insert(ClientPhase::Pull),
                Asked::Ack { .. } => false,
            };
        }
        if progress.scopes.iter().any(|(_, s)| s.remaining() > 0) {
            phases.insert(ClientPhase::CatchUp);
        }
        if process.connection.as_ref().is_some_and(|c| !c.live.is_empty()) {
            phases.insert(ClientPhase::Live);
        }
        if matches!(progress.phase, Phase::InSync) {
            phases.insert(ClientPhase::Idle);
        }
        phases
    }
}
