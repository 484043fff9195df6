//! A client's end of its live streams.

use std::collections::VecDeque;

use sync_core::engine::Ticket;
use sync_core::model::{Cursor, Scope};

use super::client::Live;
use super::connection::POLLED;
use super::disk::Disks;
use super::link_conditions::LinkKind;
use super::run::Run;
use super::wire::{Down, Up};

/// Chunks that a live stream may send ahead.
const WINDOW: u32 = 2;

impl<D: Disks> Run<D> {
    pub(super) fn subscribe(
        &mut self,
        client: usize,
        scope: Scope,
        ticket: Ticket,
        cursor: Cursor,
    ) {
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

    pub(super) fn unsubscribe(&mut self, client: usize, ticket: Ticket) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(connection) = process.connection.as_mut() else { return };
        let link = connection.link;
        if let Some(live) = connection.live.remove(&ticket) {
            self.send_up(link, live.stream, Up::EndLive);
        }
    }

    pub(super) fn next_live(&mut self, client: usize, ticket: Ticket) {
        let Some(process) = self.clients[client].process.as_mut() else { return };
        let Some(live) = process.connection.as_mut().and_then(|c| c.live.get_mut(&ticket)) else {
            return;
        };
        live.is_polled = true;
        self.feed_live(client, ticket);
    }

    pub(super) fn live_hears(&mut self, client: usize, stream: u32, message: Down) {
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
            // A waiting request was answered: another one follows, from the new position.
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
}
