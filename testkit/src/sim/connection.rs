//! A client's end of its connection: its requests and their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use sync_core::engine::{
    Answer, ChunkMeta, Delivery, Failure, Input, Output, ScopeGreeting, Ticket,
};
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::Scope;

use super::client::{Asked, Connection, Kept};
use super::disk::Disks;
use super::fact::Fact;
use super::link_conditions::LinkKind;
use super::plan::Refusal;
use super::queue::Event;
use super::run::{Run, failure};
use super::stranger::STRANGER;
use super::trace::Mark;
use super::wire::{Down, Up};

/// How long a client waits for the answer to a single request, and to one that waits at the head.
const ANSWER: u64 = 30_000;
pub(super) const POLLED: u64 = 45_000;

impl<D: Disks> Run<D> {
    pub(super) fn connect(&mut self, client: usize, ticket: Ticket, scopes: Vec<Scope>) {
        let at = self.now;
        self.fact(&Fact::Connects { client, at });
        self.clients[client].asked = self.clock_of(client);
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

    pub(super) fn disconnect(&mut self, client: usize, ticket: Ticket) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        if let Some(connection) = process.connection.take_if(|c| c.ticket == ticket) {
            self.close_link(connection.link, true);
        }
    }

    pub(super) fn client_loses(&mut self, link: u64) {
        let Some(info) = self.links.get_mut(&link) else { return };
        let (client, ticket) = (info.client, info.ticket);
        if client == STRANGER {
            return self.stranger_loses(link);
        }
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

    pub(super) fn ask(&mut self, client: usize, asked: Asked, message: Up) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(connection) = process.connection.as_mut() else {
            // The driver would find no connection either.
            let result = failure(ErrorKind::Network, Retry::Reconnect);
            return self.answer(client, asked, Down::Failed(result));
        };
        connection.last_stream += 1;
        let (stream, link) = (connection.last_stream, connection.link);
        let cuts = match asked {
            Asked::Push { .. } => Some(Refusal::CutPushes),
            Asked::Pull { .. } => Some(Refusal::CutPulls),
            Asked::Ack { .. } => None,
        };
        let at = self.now;
        match &asked {
            Asked::Push { scope, .. } => {
                let scope = scope.clone();
                self.fact(&Fact::Pushes { client, scope, at });
            }
            Asked::Pull { scope, .. } => {
                let scope = scope.clone();
                self.fact(&Fact::Pulls { client, scope, at });
            }
            Asked::Ack { .. } => {}
        }
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(connection) = process.connection.as_mut() else { return };
        connection.asked.insert(stream, asked);
        if cuts.is_some() && self.refused(client) == cuts {
            let after = self.setting.latency;
            return self.queue.push(at + after, Event::ClientLoses { link });
        }
        self.send_up(link, stream, message);
        self.watch_request(client, link, stream, ANSWER);
    }

    /// Sets the timeout of a request over HTTP: the client gets no other sign that the request was
    /// lost.
    pub(super) fn watch_request(&mut self, client: usize, link: u64, stream: u32, millis: u64) {
        if self.links.get(&link).is_some_and(|l| l.kind == LinkKind::Requests) {
            let process = self.clients[client].processes;
            self.queue.push(self.now + millis, Event::GivesUp { client, process, link, stream });
        }
    }

    pub(super) fn give_up(&mut self, client: usize, process: u64, link: u64, stream: u32) {
        if self.defer(client, Event::GivesUp { client, process, link, stream }).is_none() {
            return;
        }
        let is_slow = self.clients[client].rate.is_busy(self.now);
        let Some(running) = self.clients[client].process.as_mut() else { return };
        let connection = running.connection.as_mut().filter(|c| c.link == link);
        let Some(connection) = connection.filter(|_| running.number == process) else { return };
        if is_slow && connection.asked.contains_key(&stream) {
            // The timeout counts from the moment its last byte moved.
            return self.watch_request(client, link, stream, ANSWER);
        }
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

    /// Sends an acknowledgement, only on the connection on which it was due.
    pub(super) fn acknowledge(
        &mut self,
        client: usize,
        process: u64,
        link: Option<u64>,
        output: Output,
    ) {
        let Output::Acknowledge { scope, ticket, settled } = output else { return };
        if !self.clients[client].is(process) {
            return;
        }
        let asked = Asked::Ack { scope: scope.clone(), ticket };
        if self.clients[client].link() != link {
            let lost = failure(ErrorKind::Network, Retry::Reconnect);
            return self.answer(client, asked, Down::Failed(lost));
        }
        match self.acknowledgement(client, &scope, settled) {
            Some(ack) => self.ask(client, asked, Up::Ack { scope, ack }),
            None => self.input(client, Input::Acknowledged { scope, ticket, result: Ok(None) }),
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
                self.mark(client + 1, Mark::Down, || {
                    "nothing was received for too long".to_owned()
                });
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
            (Asked::Ack { scope, ticket }, Down::Acknowledged(reset)) => {
                self.input(client, Input::Acknowledged { scope, ticket, result: Ok(reset) });
            }
            (Asked::Ack { scope, ticket }, message) => {
                let result = Err(failed(message));
                self.input(client, Input::Acknowledged { scope, ticket, result });
            }
        }
    }

    pub(super) fn delivered(&mut self, client: usize, scope: Scope, ticket: Ticket, message: Down) {
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
        // A stranger writes a separate document, which may be offered again after a restore.
        let documents = (self.followed(client).len() * (self.setting.documents + 1)) as u64;
        self.fact(&Fact::Counted { client, payloads, requests, outbox, documents });
    }
}

fn failed(message: Down) -> Failure {
    match message {
        Down::Failed(failure) => failure,
        _ => failure(ErrorKind::Protocol, Retry::Reconnect),
    }
}
