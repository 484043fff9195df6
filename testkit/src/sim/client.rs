//! A client: a device, its store, and the process that runs the framework's engine on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sync_core::clock::Now;
use sync_core::engine::{
    Answer, ChunkMeta, Delivery, Engine, EngineOptions, Event as Told, Failure, Goal, Input,
    Output, Phase as EnginePhase, ScopeGreeting, Ticket,
};
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{
    Chunk, Cursor, DocumentKey, DocumentState, Generation, PushBatch, ReplicaId, Scope, Verdicts,
};

use super::Phase;
use super::disk::Disks;
use super::fact::Fact;
use super::queue::Event;
use super::run::{Run, failure};
use super::trace::Mark;
use super::weather::{LinkKind, Weather};
use super::wire::{Down, Up};

pub(super) enum Kept {
    Chunk(Arc<Chunk>),
    Verdicts(Verdicts),
}

/// What a request is about.
enum Asked {
    Pull { scope: Scope, ticket: Ticket },
    Push { scope: Scope, ticket: Ticket },
    Ack { scope: Scope },
}

/// The client's end of a live stream.
struct Live {
    stream: u32,
    scope: Scope,
    cursor: Cursor,
    waiting: VecDeque<Down>,
    is_polled: bool,
}

/// A connection as the client sees it.
pub(super) struct Connection {
    pub(super) link: u64,
    ticket: Ticket,
    is_greeted: bool,
    last_stream: u32,
    asked: BTreeMap<u32, Asked>,
    live: BTreeMap<Ticket, Live>,
    heard: u64,
    last_push: sync_core::model::PushId,
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
    pub(super) lease: Generation,
}

pub(super) struct Client<R> {
    /// None only while the store is opened again.
    pub(super) core: Option<R>,
    pub(super) replica: ReplicaId,
    pub(super) process: Option<Process>,
    pub(super) processes: u64,
    pub(super) identities: u64,
    pub(super) shown: BTreeMap<DocumentKey, DocumentState>,
    pub(super) weather: Weather,
    pub(super) skew: i64,
    /// The clock stands still: what it shows, and until when.
    pub(super) frozen: Option<(u64, u64)>,
    pub(super) paused_until: u64,
    pub(super) disk_busy: u64,
    pub(super) slow_disk: (u64, u64),
    /// The process dies after its next commit: for how long, and how.
    pub(super) doomed: Option<(u64, bool, u64)>,
    pub(super) ordinals: BTreeMap<u64, u64>,
}

impl<R> Client<R> {
    pub(super) fn link(&self) -> Option<u64> {
        Some(self.process.as_ref()?.connection.as_ref()?.link)
    }

    fn is(&self, process: u64) -> bool {
        self.process.as_ref().is_some_and(|p| p.number == process)
    }
}

/// How long a client that was refused waits before its app tries again.
const AGAIN: u64 = 20_000;
/// How long a client waits for the answer to a request that stands for itself, and to one that waits at the head.
const ANSWER: u64 = 30_000;
const POLLED: u64 = 45_000;
/// Chunks that a live stream may send ahead.
const WINDOW: u32 = 2;

impl<D: Disks> Run<D> {
    /// The process starts, and syncs.
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
            // The disk failed: the app tries again.
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
        for scope in self.followed(client) {
            let scope = self.scopes[scope].clone();
            let checkpoint = self.checkpoint_of(client, &scope);
            self.input(client, Input::Opened { scope, checkpoint });
        }
        self.input(client, Input::Run(Goal::default()));
    }

    /// The process ends.
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

    /// The client does not use a link any more. A process that dies resets it; one whose power fails says nothing.
    fn close_link(&mut self, link: u64, told: bool) {
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
        process.engine.handle_input(Now(now - process.started), input);
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
            self.input(client, Input::Tick);
        }
    }

    /// A process that is not scheduled does everything later.
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

    /// The app starts the sync again if it was stopped or refused.
    pub(super) fn run_again(&mut self, client: usize, process: u64) {
        let Some(running) = self.clients[client].process.as_ref() else { return };
        let progress = running.engine.progress();
        let rests = progress.phase == EnginePhase::Stopped || progress.refused.is_some();
        if running.number == process && rests {
            self.input(client, Input::Run(Goal::default()));
        }
    }

    fn execute(&mut self, client: usize, output: Output) {
        match output {
            Output::Connect { ticket, scopes } => self.connect(client, ticket, scopes),
            Output::Disconnect { ticket } => self.disconnect(client, ticket),
            Output::Pull { scope, ticket, cursor } => {
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
            Output::Subscribe { scope, ticket, cursor } => {
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
                let process = self.clients[client].processes;
                let at = self.now + 1_000;
                self.queue.push(at, Event::Acknowledge { client, process, output });
            }
            Output::Tell(told) => self.told(client, &told),
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

    // ---- the connection

    fn connect(&mut self, client: usize, ticket: Ticket, scopes: Vec<Scope>) {
        let at = self.now;
        self.fact(&Fact::Connects { client, at });
        let link = self.new_link(client, ticket);
        let Some(last_push) = self.identity(client) else { return };
        let scopes: Vec<_> = scopes
            .into_iter()
            .map(|scope| {
                let cursor = self.checkpoint_of(client, &scope).cursor();
                (scope, cursor)
            })
            .collect();
        let replica = self.clients[client].replica;
        let now = self.now;
        let Some(process) = self.clients[client].process.as_mut() else { return };
        process.connection = Some(Connection {
            link,
            ticket,
            is_greeted: false,
            last_stream: 0,
            asked: BTreeMap::new(),
            live: BTreeMap::new(),
            heard: now,
            last_push,
        });
        self.send_up(link, 0, Up::Hello { replica, scopes });
    }

    fn disconnect(&mut self, client: usize, ticket: Ticket) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        if let Some(connection) = process.connection.take_if(|c| c.ticket == ticket) {
            self.close_link(connection.link, true);
        }
    }

    pub(super) fn client_loses(&mut self, link: u64) {
        let Some(info) = self.links.get_mut(&link) else { return };
        let (client, ticket) = (info.client, info.ticket);
        if !std::mem::replace(&mut info.is_open, false) {
            return;
        }
        if self.defer(client, Event::ClientLoses { link }).is_none() {
            if let Some(info) = self.links.get_mut(&link) {
                info.is_open = true;
            }
            return;
        }
        if self.clients[client].link() == Some(link) {
            self.mark(client + 1, Mark::Down, || "the link is lost".to_owned());
            let failure = failure(ErrorKind::Network, Retry::Reconnect);
            self.input(client, Input::LinkLost { ticket, failure });
        }
    }

    fn ask(&mut self, client: usize, asked: Asked, message: Up) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(connection) = process.connection.as_mut() else {
            // The driver would find no connection either.
            let result = failure(ErrorKind::Network, Retry::Reconnect);
            return self.answer(client, asked, Down::Failed(result));
        };
        connection.last_stream += 1;
        let (stream, link) = (connection.last_stream, connection.link);
        connection.asked.insert(stream, asked);
        self.send_up(link, stream, message);
        self.watch_request(client, link, stream, ANSWER);
    }

    /// Nothing tells that a request which stands for itself was lost: whoever sent it waits for so long.
    fn watch_request(&mut self, client: usize, link: u64, stream: u32, millis: u64) {
        if self.links.get(&link).is_some_and(|l| l.kind == LinkKind::Requests) {
            let process = self.clients[client].processes;
            self.queue.push(self.now + millis, Event::GivesUp { client, process, link, stream });
        }
    }

    pub(super) fn give_up(&mut self, client: usize, process: u64, link: u64, stream: u32) {
        if self.defer(client, Event::GivesUp { client, process, link, stream }).is_none() {
            return;
        }
        let Some(running) = self.clients[client].process.as_mut() else { return };
        let connection = running.connection.as_mut().filter(|c| c.link == link);
        let Some(connection) = connection.filter(|_| running.number == process) else { return };
        if let Some(asked) = connection.asked.remove(&stream) {
            let late = failure(ErrorKind::Timeout, Retry::Reconnect);
            return self.answer(client, asked, Down::Failed(late));
        }
        let found = connection.live.values_mut().find(|l| l.stream == stream);
        if let Some(live) = found.filter(|l| l.waiting.is_empty()) {
            let (scope, cursor) = (live.scope.clone(), live.cursor.clone());
            connection.last_stream += 1;
            live.stream = connection.last_stream;
            let stream = live.stream;
            self.send_up(link, stream, Up::Live { scope, cursor });
            self.watch_request(client, link, stream, POLLED);
        }
    }

    pub(super) fn acknowledge(&mut self, client: usize, process: u64, output: Output) {
        let Output::Acknowledge { scope, settled } = output else { return };
        if !self.clients[client].is(process) {
            return;
        }
        match self.acknowledgement(client, &scope, settled) {
            Some(ack) => {
                let message = Up::Ack { scope: scope.clone(), ack };
                self.ask(client, Asked::Ack { scope }, message);
            }
            None => self.input(client, Input::Acknowledged { scope, result: Ok(None) }),
        }
    }

    pub(super) fn heartbeat(&mut self, client: usize, process: u64, link: u64) {
        if self.defer(client, Event::Heartbeat { client, process, link }).is_none() {
            return;
        }
        if !self.clients[client].is(process) || self.clients[client].link() != Some(link) {
            return;
        }
        let (now, beat) = (self.now, self.setting.heartbeat);
        let connection = self.clients[client].process.as_ref().and_then(|p| p.connection.as_ref());
        if connection.is_some_and(|c| c.heard + beat * 3 <= now) {
            if let Some(info) = self.links.get(&link) {
                let (ticket, failure) =
                    (info.ticket, failure(ErrorKind::Timeout, Retry::Reconnect));
                self.mark(client + 1, Mark::Down, || "nothing was heard for too long".to_owned());
                self.input(client, Input::LinkLost { ticket, failure });
            }
            return;
        }
        self.send_up(link, 0, Up::Ping(now));
        self.queue.push(now + beat, Event::Heartbeat { client, process, link });
    }

    pub(super) fn client_hears(&mut self, link: u64, stream: u32, message: Down) {
        let Some(info) = self.links.get(&link).filter(|l| l.is_open) else { return };
        let (client, kind) = (info.client, info.kind);
        let until = self.clients[client].paused_until;
        if until > self.now {
            return self.queue.push(until, Event::Down { link, stream, message });
        }
        if self.clients[client].link() != Some(link) {
            return;
        }
        let now = self.now;
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let number = process.number;
        let Some(connection) = process.connection.as_mut() else { return };
        connection.heard = now;
        if stream > 0 {
            if let Some(asked) = connection.asked.remove(&stream) {
                return self.answer(client, asked, message);
            }
            return self.live_hears(client, stream, message);
        }
        match message {
            Down::Welcome { time, scopes } if !connection.is_greeted => {
                connection.is_greeted = true;
                if kind == LinkKind::Stream {
                    let at = now + self.setting.heartbeat;
                    self.queue.push(at, Event::Heartbeat { client, process: number, link });
                }
                self.welcome(client, time, scopes);
            }
            Down::Failed(failure) => {
                let ticket = connection.ticket;
                self.input(client, Input::LinkLost { ticket, failure });
            }
            Down::Ping => self.send_up(link, 0, Up::Pong),
            _ => {}
        }
    }

    fn welcome(&mut self, client: usize, time: u64, scopes: Vec<ScopeGreeting>) {
        self.mark(client + 1, Mark::Up, || "connected".to_owned());
        self.note_time(client, time);
        let Some(process) = self.clients[client].process.as_ref() else { return };
        let Some(connection) = process.connection.as_ref() else { return };
        let (ticket, last_push) = (connection.ticket, connection.last_push);
        self.input(client, Input::Connected { ticket, scopes, last_push });
    }

    fn answer(&mut self, client: usize, asked: Asked, message: Down) {
        match (asked, message) {
            (Asked::Pull { scope, ticket }, message) => {
                self.delivered(client, scope, ticket, message)
            }
            (Asked::Push { scope, ticket }, Down::Verdicts(verdicts)) => {
                let result = Ok(Answer::from(&verdicts));
                if let Some(process) = self.clients[client].process.as_mut() {
                    process.kept.insert(ticket, Kept::Verdicts(verdicts));
                }
                self.input(client, Input::Pushed { scope, ticket, result });
            }
            (Asked::Push { scope, ticket }, message) => {
                let result = Err(failed(message));
                self.input(client, Input::Pushed { scope, ticket, result });
            }
            (Asked::Ack { scope }, Down::Acknowledged(reset)) => {
                self.input(client, Input::Acknowledged { scope, result: Ok(reset) });
            }
            (Asked::Ack { scope }, message) => {
                let result = Err(failed(message));
                self.input(client, Input::Acknowledged { scope, result });
            }
        }
    }

    fn delivered(&mut self, client: usize, scope: Scope, ticket: Ticket, message: Down) {
        if let Down::Chunk(chunk) = &message {
            let allowed = self.may_see(client, &chunk.scope)
                || self.server.revoked.keys().any(|k| k.0 == client);
            let chunk = Arc::clone(chunk);
            self.fact(&Fact::Received { client, chunk, allowed });
        }
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let payload = process.engine.ticket();
        let result = match message {
            Down::Chunk(chunk) => {
                let meta = ChunkMeta::from(&*chunk);
                process.kept.insert(payload, Kept::Chunk(chunk));
                Ok(Delivery::Chunk(meta))
            }
            Down::Reset(reset) => Ok(Delivery::Reset(reset)),
            other => Err(failed(other)),
        };
        self.input(client, Input::Delivered { scope, ticket, payload, result });
        self.count(client);
    }

    fn count(&mut self, client: usize) {
        let Some(process) = self.clients[client].process.as_ref() else { return };
        let payloads = process.kept.len();
        let requests = process.connection.as_ref().map_or(0, |c| c.asked.len() + c.live.len());
        let outbox = self.outbox(client);
        let documents = (self.followed(client).len() * self.setting.documents) as u64;
        self.fact(&Fact::Counted { client, payloads, requests, outbox, documents });
    }

    // ---- live streams

    fn subscribe(&mut self, client: usize, scope: Scope, ticket: Ticket, cursor: Cursor) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(connection) = process.connection.as_mut() else { return };
        connection.last_stream += 1;
        let (stream, link) = (connection.last_stream, connection.link);
        let live = Live {
            stream,
            scope: scope.clone(),
            cursor: cursor.clone(),
            waiting: VecDeque::new(),
            is_polled: false,
        };
        connection.live.insert(ticket, live);
        self.send_up(link, stream, Up::Live { scope, cursor });
        self.watch_request(client, link, stream, POLLED);
        if self.links.get(&link).is_some_and(|l| l.kind == LinkKind::Stream) {
            self.send_up(link, stream, Up::Credit(WINDOW));
        }
    }

    fn unsubscribe(&mut self, client: usize, ticket: Ticket) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(connection) = process.connection.as_mut() else { return };
        let link = connection.link;
        if let Some(live) = connection.live.remove(&ticket) {
            self.send_up(link, live.stream, Up::EndLive);
        }
    }

    fn next_live(&mut self, client: usize, ticket: Ticket) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(live) = process.connection.as_mut().and_then(|c| c.live.get_mut(&ticket)) else {
            return;
        };
        live.is_polled = true;
        self.feed_live(client, ticket);
    }

    fn live_hears(&mut self, client: usize, stream: u32, message: Down) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(connection) = process.connection.as_mut() else { return };
        let found = connection.live.iter_mut().find(|(_, live)| live.stream == stream);
        let Some((ticket, live)) = found else { return };
        let ticket = *ticket;
        live.waiting.push_back(message);
        self.feed_live(client, ticket);
    }

    fn feed_live(&mut self, client: usize, ticket: Ticket) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(connection) = process.connection.as_mut() else { return };
        let link = connection.link;
        let Some(live) = connection.live.get_mut(&ticket).filter(|l| l.is_polled) else { return };
        let Some(message) = live.waiting.pop_front() else { return };
        let is_stream = self.links.get(&link).is_some_and(|l| l.kind == LinkKind::Stream);
        let (stream, scope) = (live.stream, live.scope.clone());
        if let (false, Down::Chunk(chunk)) = (is_stream, &message) {
            // A request that waited was answered: another one follows, from behind what came.
            live.cursor = live.cursor.following(chunk);
            let cursor = live.cursor.clone();
            connection.last_stream += 1;
            let stream = connection.last_stream;
            live.stream = stream;
            let is_news = chunk.next > chunk.after;
            live.is_polled = !is_news;
            self.send_up(link, stream, Up::Live { scope: scope.clone(), cursor });
            self.watch_request(client, link, stream, POLLED);
            if !is_news {
                return;
            }
        } else {
            live.is_polled = false;
        }
        if is_stream && matches!(message, Down::Chunk(_)) {
            self.send_up(link, stream, Up::Credit(1));
        }
        self.delivered(client, scope, ticket, message);
    }

    // ---- looking

    /// What a client is at.
    pub(super) fn phases(&self, client: usize) -> BTreeSet<Phase> {
        let mut phases = BTreeSet::new();
        let Some(process) = self.clients[client].process.as_ref() else { return phases };
        let progress = process.engine.progress();
        let asked = process.connection.iter().flat_map(|c| c.asked.values());
        for asked in asked {
            match asked {
                Asked::Push { .. } => phases.insert(Phase::Push),
                Asked::Pull { .. } => phases.insert(Phase::Pull),
                Asked::Ack { .. } => false,
            };
        }
        if progress.scopes.iter().any(|(_, s)| s.remaining() > 0) {
            phases.insert(Phase::CatchUp);
        }
        if process.connection.as_ref().is_some_and(|c| !c.live.is_empty()) {
            phases.insert(Phase::Live);
        }
        if matches!(progress.phase, EnginePhase::InSync) {
            phases.insert(Phase::Idle);
        }
        phases
    }
}

fn failed(message: Down) -> Failure {
    match message {
        Down::Failed(failure) => failure,
        _ => failure(ErrorKind::Protocol, Retry::Reconnect),
    }
}
