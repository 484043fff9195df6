//! The network: how long messages take, and which are lost.

use sync_core::engine::Ticket;

use super::disk::Disks;
use super::link_conditions::{Fate, LinkKind, Way};
use super::queue::Event;
use super::rates::{size_down, size_up};
use super::run::Run;
use super::stranger::STRANGER;
use super::trace::Mark;
use super::wire::{Down, Link, Up};

impl<D: Disks> Run<D> {
    pub(super) fn send_up(&mut self, link: u64, stream: u32, message: Up) {
        let Some(info) = self.links.get(&link) else { return };
        let client = info.client;
        self.talk += u64::from(!message.is_heartbeat());
        let fate = self.fate(link, client, Way::Up, false);
        let fate = self.throttle(client, Way::Up, size_up(&message), fate);
        let between = message.is_heartbeat() && self.clients[client].rate.is_slow(self.now);
        let text = || message.tell();
        self.show_message(client, Way::Up, fate, text);
        for at in self.arrivals(link, Way::Up, fate, between) {
            let message = message.clone();
            self.queue.push(at, Event::Up { link, stream, message });
        }
    }

    pub(super) fn send_down(&mut self, link: u64, stream: u32, message: Down) {
        let Some(info) = self.links.get(&link) else { return };
        let client = info.client;
        if client == STRANGER {
            return self.stranger_hears(link, stream, &message);
        }
        // A message on a link that the client has closed does not count.
        self.talk += u64::from(info.is_open && !message.is_heartbeat());
        let fate = self.fate(link, client, Way::Down, message.is_answer());
        let fate = self.throttle(client, Way::Down, size_down(&message), fate);
        let between = message.is_heartbeat() && self.clients[client].rate.is_slow(self.now);
        let text = || message.tell();
        self.show_message(client, Way::Down, fate, text);
        for at in self.arrivals(link, Way::Down, fate, between) {
            let message = message.clone();
            self.queue.push(at, Event::Down { link, stream, message });
        }
    }

    /// Returns when a message with that fate arrives: twice if it is doubled, never if it is lost.
    fn arrivals(
        &mut self,
        link: u64,
        way: Way,
        fate: Fate,
        between: bool,
    ) -> impl Iterator<Item = u64> + use<D> {
        let (at, again) = match fate {
            // A heartbeat passes between the pieces of a large message.
            Fate::Arrives { after, again } if between => (Some(self.now + after), again),
            Fate::Arrives { after, again } => {
                (Some(self.in_order(link, way, self.now + after)), again)
            }
            Fate::Held { until } => (Some(self.in_order(link, way, until)), None),
            Fate::Breaks { after } => {
                self.break_link(link, after);
                (None, None)
            }
            Fate::Vanishes => (None, None),
        };
        let doubled = at.zip(again).map(|(at, later)| at + later);
        doubled.into_iter().chain(at)
    }

    fn fate(&mut self, link: u64, client: usize, way: Way, is_answer: bool) -> Fate {
        let mut rng = self.chance(client, 1 + way as u64);
        let base = self.setting.latency + rng.next_u64() % (self.setting.jitter + 1);
        let kind = self.links.get(&link).map_or(LinkKind::Stream, |l| l.kind);
        let (now, link_conditions) = (self.now, &mut self.clients[client].link_conditions);
        link_conditions.fate(now, kind, way, is_answer, base, &mut rng)
    }

    /// Keeps the order of a stream; requests have none.
    fn in_order(&mut self, link: u64, way: Way, at: u64) -> u64 {
        let Some(link) = self.links.get_mut(&link) else { return at };
        if link.kind == LinkKind::Requests {
            return at;
        }
        let newest = &mut link.arrives[way as usize];
        *newest = at.max(*newest);
        *newest
    }

    /// Breaks a link for both sides. Messages to the server may still arrive before it detects
    /// that.
    pub(super) fn break_link(&mut self, link: u64, after: u64) {
        self.queue.push(self.now + after, Event::ClientLoses { link });
        let up = self.links.get(&link).map_or(0, |l| l.arrives[Way::Up as usize]);
        self.queue.push(up.max(self.now + after), Event::ServerLoses { link });
    }

    pub(super) fn cut(&mut self, client: usize) {
        let Some(link) = self.clients[client].link() else { return };
        self.mark(client + 1, Mark::Fault, || "the link is cut".to_owned());
        self.break_link(link, 0);
    }

    pub(super) fn new_link(&mut self, client: usize, ticket: Ticket) -> u64 {
        self.last_link += 1;
        let every = self.setting.requests_every;
        let kind = match every > 0 && client % every == every - 1 {
            true => LinkKind::Requests,
            false => LinkKind::Stream,
        };
        self.clients[client].rate.begin_link();
        let link = Link { client, kind, ticket, is_open: true, arrives: [0; 2] };
        self.links.insert(self.last_link, link);
        self.last_link
    }
}
