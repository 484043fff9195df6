//! The server: the framework's own sessions, over the server's rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use storage_kit::Durability;
use sync_core::clock::{Instant, Now};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{Collection, Cursor, Epoch, Limits, ReplicaId, Scope, ServerStart};
use sync_core::protocol::Pull;
use sync_server::rows::ServerReads;
use sync_server::session::{Found, Request, Session, SessionInput, SessionOptions, SessionOutput};

use super::disk::Disks;
use super::link_conditions::LinkKind;
use super::plan::Refusal;
use super::queue::Event;
use super::run::{BEGINNING, Run, failure};
use super::stranger::{STRANGER, stranger_id};
use super::trace::Mark;
use super::wire::{Down, Up};
use crate::cores::{look, transact_as};

pub(super) struct ServerSide<S> {
    /// None only while the store is opened again.
    pub(super) core: Option<S>,
    pub(super) is_up: bool,
    start: ServerStart,
    /// The time until which the other process answers, which has another start.
    pub(super) other_until: u64,
    /// How often the server was restored. Its processes start again then.
    pub(super) restores: u64,
    /// The offset of the server's clock, in milliseconds.
    pub(super) skew: i64,
    sessions: BTreeMap<u64, Open>,
    /// Requests that wait at the head, as over HTTP: the scope and the cursor.
    polls: BTreeMap<(u64, u32), (Scope, Cursor)>,
    pub(super) backups: Vec<S>,
    /// How clients are refused, and until when.
    pub(super) refusals: BTreeMap<usize, (u64, Refusal)>,
    /// Scopes that clients may not read, and until when.
    pub(super) revoked: BTreeMap<(usize, usize), u64>,
    /// Collections of scopes that clients may not read, and until when.
    pub(super) hidden: BTreeMap<(usize, usize), (u64, BTreeSet<Collection>)>,
    epochs: u64,
}

struct Open {
    client: usize,
    session: Session,
    requests: BTreeMap<u32, Up>,
    found: BTreeMap<u32, Down>,
    sleeping: BTreeMap<u32, Scope>,
    replica: Option<ReplicaId>,
    ticks_at: Option<u64>,
}

/// How long a request may wait at the head.
const POLL: u64 = 25_000;

impl<S> ServerSide<S> {
    pub(super) fn new(core: S) -> Self {
        Self {
            core: Some(core),
            is_up: true,
            start: ServerStart(1),
            other_until: 0,
            restores: 0,
            skew: 0,
            sessions: BTreeMap::new(),
            polls: BTreeMap::new(),
            backups: Vec::new(),
            refusals: BTreeMap::new(),
            revoked: BTreeMap::new(),
            hidden: BTreeMap::new(),
            epochs: 0,
        }
    }

    pub(super) fn fresh_epoch(&mut self) -> Epoch {
        self.epochs += 1;
        let mut id = [0xee; 16];
        id[8..].copy_from_slice(&self.epochs.to_be_bytes());
        Epoch(id)
    }

    /// Drops everything in memory; returns the links.
    pub(super) fn forget(&mut self) -> Vec<u64> {
        self.polls.clear();
        std::mem::take(&mut self.sessions).into_keys().collect()
    }
}

impl<D: Disks> Run<D> {
    pub(super) fn server_now(&self) -> Now {
        Now(BEGINNING + self.now).corrected(self.server.skew)
    }

    /// Returns the start of the process that answers now.
    pub(super) fn server_start(&self) -> ServerStart {
        match self.server.other_until > self.now {
            true => ServerStart(1_000_000 + self.server.restores),
            false => self.server.start,
        }
    }

    pub(super) fn on_server<T>(
        &mut self,
        durability: Durability,
        job: impl FnOnce(&mut D::Server) -> Result<T>,
    ) -> Result<T> {
        let gone = || Error::new(ErrorKind::Closed, "the server is down");
        let core = self.server.core.as_mut().ok_or_else(gone)?;
        transact_as(core, durability, job)
    }

    pub(super) fn at_server<T>(&mut self, job: impl FnOnce(&D::Server) -> Result<T>) -> Option<T> {
        let core = self.server.core.as_mut()?;
        Some(look(core, job))
    }

    // ---- messages

    pub(super) fn server_hears(&mut self, link: u64, stream: u32, message: Up) {
        let Some(info) = self.links.get(&link) else { return };
        let (client, kind) = (info.client, info.kind);
        if !self.server.is_up {
            return self.queue.push(self.now + self.setting.latency, Event::ClientLoses { link });
        }
        if kind == LinkKind::Requests {
            return self.serve_alone(link, client, stream, message);
        }
        if !self.server.sessions.contains_key(&link) {
            if !matches!(message, Up::Hello { .. }) {
                // The server does not know this link, or has forgotten it.
                return self
                    .queue
                    .push(self.now + self.setting.latency, Event::ClientLoses { link });
            }
            let options = SessionOptions {
                heartbeat: Duration::from_millis(self.setting.heartbeat),
                greeting: Duration::from_secs(10),
                requests: 16,
                reads: 2,
                streams: 16,
                credit: 8,
            };
            let session = Session::new(options, Instant(self.now));
            let open = Open {
                client,
                session,
                requests: BTreeMap::new(),
                found: BTreeMap::new(),
                sleeping: BTreeMap::new(),
                replica: None,
                ticks_at: None,
            };
            self.server.sessions.insert(link, open);
        }
        let request = request(&message);
        if let Some(open) = self.server.sessions.get_mut(&link) {
            open.requests.insert(stream, message);
        }
        self.session_input(link, SessionInput::Received { stream, request });
    }

    pub(super) fn server_loses(&mut self, link: u64) {
        self.server.sessions.remove(&link);
        self.server.polls.retain(|(l, _), _| *l != link);
    }

    pub(super) fn session_tick(&mut self, link: u64) {
        let now = self.now;
        let Some(open) = self.server.sessions.get_mut(&link) else { return };
        if open.ticks_at == Some(now) {
            open.ticks_at = None;
            self.session_input(link, SessionInput::Tick);
        }
    }

    pub(super) fn session_input(&mut self, link: u64, input: SessionInput) {
        let now = Instant(self.now);
        let Some(open) = self.server.sessions.get_mut(&link) else { return };
        open.session.handle_input(now, input);
        while let Some(output) =
            self.server.sessions.get_mut(&link).and_then(|o| o.session.poll_output())
        {
            self.session_output(link, output);
        }
        let Some(open) = self.server.sessions.get_mut(&link) else { return };
        if open.session.is_closed() {
            self.server.sessions.remove(&link);
            return self.queue.push(self.now + self.setting.latency, Event::ClientLoses { link });
        }
        let due = open.session.next_deadline().0.max(self.now + 1);
        if open.ticks_at.is_none_or(|at| due < at) {
            open.ticks_at = Some(due);
            self.queue.push(due, Event::SessionTick { link });
        }
    }

    fn session_output(&mut self, link: u64, output: SessionOutput) {
        let Some(open) = self.server.sessions.get_mut(&link) else { return };
        let client = open.client;
        match output {
            SessionOutput::Greet => {
                let Some(Up::Hello { replica, scopes }) = open.requests.remove(&0) else { return };
                open.replica = Some(replica);
                let answer = self.greet(client, replica, &scopes);
                let is_in = !matches!(answer, Down::Failed(_));
                self.say(link, 0, answer);
                self.session_input(link, SessionInput::Greeted(is_in));
            }
            SessionOutput::Serve { stream } => {
                let Some(request) = open.requests.remove(&stream) else { return };
                let replica = open.replica;
                let answer = self.serve(client, replica, request);
                self.say(link, stream, answer);
                self.session_input(link, SessionInput::Served { stream });
            }
            SessionOutput::Read { stream, pull } => {
                let answer = self.read(client, &pull);
                let found = match &answer {
                    Down::Chunk(c) => {
                        let (epoch, next, head, mark) = (c.epoch, c.next, c.head, c.mark.clone());
                        Found::Chunk { epoch, next, head, mark }
                    }
                    _ => Found::End,
                };
                if let Some(open) = self.server.sessions.get_mut(&link) {
                    open.requests.remove(&stream);
                    open.found.insert(stream, answer);
                }
                self.session_input(link, SessionInput::Read { stream, found });
            }
            SessionOutput::Send { stream } => {
                if let Some(answer) = open.found.remove(&stream) {
                    self.say(link, stream, answer);
                }
            }
            SessionOutput::Sleep { stream } => {
                let scope = open.found.remove(&stream).and_then(|down| match down {
                    Down::Chunk(chunk) => Some(chunk.scope.clone()),
                    _ => None,
                });
                if let Some(scope) = scope {
                    open.sleeping.insert(stream, scope);
                }
            }
            SessionOutput::End { stream } => {
                open.sleeping.remove(&stream);
                open.found.remove(&stream);
            }
            SessionOutput::Refuse { stream, .. } => {
                let later = failure(ErrorKind::Overloaded, Retry::Later(None));
                self.say(link, stream, Down::Failed(later));
            }
            SessionOutput::Pong(_) => self.say(link, 0, Down::Pong),
            SessionOutput::Ping(_) => self.say(link, 0, Down::Ping),
            SessionOutput::Close(_) => {}
        }
    }

    fn say(&mut self, link: u64, stream: u32, message: Down) {
        self.send_down(link, stream, message);
        let now = Instant(self.now);
        if let Some(open) = self.server.sessions.get_mut(&link) {
            open.session.handle_input(now, SessionInput::Sent);
        }
    }

    /// Serves a single request, as over HTTP.
    fn serve_alone(&mut self, link: u64, client: usize, stream: u32, message: Up) {
        let replica = self.clients.get(client).map_or(stranger_id(0), |c| c.replica);
        let answer = match message {
            Up::Hello { replica, scopes } => self.greet(client, replica, &scopes),
            Up::Live { scope, cursor } => {
                let pull =
                    Pull { scope: scope.clone(), cursor: cursor.clone(), limits: self.chunk() };
                match self.read(client, &pull) {
                    Down::Chunk(chunk) if chunk.next <= cursor.after => {
                        self.server.polls.insert((link, stream), (scope, cursor));
                        let at = self.now + POLL;
                        return self.queue.push(at, Event::Poll { link, stream });
                    }
                    answer => answer,
                }
            }
            Up::Credit(_) | Up::EndLive | Up::Ping(_) | Up::Pong => return,
            request => self.serve(client, Some(replica), request),
        };
        self.send_down(link, stream, answer);
    }

    /// Answers a waiting request, after its time or because the head has moved.
    pub(super) fn answer_poll(&mut self, link: u64, stream: u32) {
        let Some((scope, cursor)) = self.server.polls.remove(&(link, stream)) else { return };
        let Some(client) = self.links.get(&link).map(|l| l.client) else { return };
        let pull = Pull { scope, cursor, limits: self.chunk() };
        let answer = self.read(client, &pull);
        self.send_down(link, stream, answer);
    }

    /// Wakes the live streams and requests that wait at the head of that scope. Some wake-ups are
    /// lost: the stream then finds the new head at its next heartbeat.
    pub(super) fn head_moved(&mut self, scope: &Scope) {
        let mut woken = Vec::new();
        for (link, open) in &mut self.server.sessions {
            let streams: Vec<u32> =
                open.sleeping.iter().filter(|(_, s)| *s == scope).map(|(n, _)| *n).collect();
            for stream in streams {
                woken.push((*link, open.client, stream));
            }
        }
        for (link, client, stream) in woken {
            if !self.healing && client != STRANGER && self.chance(client, 7).percent(2) {
                continue;
            }
            if let Some(open) = self.server.sessions.get_mut(&link) {
                open.sleeping.remove(&stream);
            }
            self.session_input(link, SessionInput::HeadMoved { stream });
        }
        let polls: Vec<_> =
            self.server.polls.iter().filter(|(_, (s, _))| s == scope).map(|(at, _)| *at).collect();
        for (link, stream) in polls {
            self.answer_poll(link, stream);
        }
    }

    // ---- starts, stops, backups

    pub(super) fn stop_server(&mut self, power: bool, salt: u64) {
        if !self.server.is_up {
            return;
        }
        let what = if power { "the server loses its power" } else { "the server stops" };
        self.mark(0, Mark::Down, || what.to_owned());
        self.server.is_up = false;
        for link in self.server.forget() {
            self.queue.push(self.now + self.setting.latency, Event::ClientLoses { link });
        }
        if let Some(core) = self.server.core.take() {
            let opened = self.disks.reopen_server(core, power, salt);
            self.server.core = Some(crate::cores::must(opened, "the server's store opens again"));
        }
    }

    pub(super) fn start_server(&mut self) {
        if !self.server.is_up {
            self.server.is_up = true;
            self.server.start = ServerStart(self.server.start.0 + 1);
            self.mark(0, Mark::Up, || "the server starts".to_owned());
        }
    }

    pub(super) fn server_scopes(&mut self) -> BTreeSet<Scope> {
        let scopes = self.at_server(|rows| rows.scopes(None, 10_000)).unwrap_or_default();
        scopes.into_iter().collect()
    }
}

fn request(message: &Up) -> Request {
    match message {
        Up::Hello { .. } => Request::Hello,
        Up::Pull { .. } | Up::Push(_) | Up::Ack { .. } => Request::Once,
        Up::Live { scope, cursor } => Request::Live(Box::new(Pull {
            scope: scope.clone(),
            cursor: cursor.clone(),
            limits: Limits::CHUNK,
        })),
        Up::Credit(n) => Request::Credit(*n),
        Up::EndLive => Request::EndLive,
        Up::Ping(n) => Request::Ping(*n),
        Up::Pong => Request::Pong,
    }
}
