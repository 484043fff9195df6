//! The queue of future events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sync_core::engine::{Input, Output};

use super::wire::{Down, Up};

/// An event at a time.
#[derive(Debug)]
pub(super) enum Event {
    /// An action of the plan.
    Action(usize),
    /// A message arrives.
    Up {
        link: u64,
        stream: u32,
        message: Up,
    },
    Down {
        link: u64,
        stream: u32,
        message: Down,
    },
    /// One side detects that a link has ended.
    ClientLoses {
        link: u64,
    },
    ServerLoses {
        link: u64,
    },
    /// A timer of an engine, a link or a session.
    Tick {
        client: usize,
        process: u64,
    },
    Heartbeat {
        client: usize,
        process: u64,
        link: u64,
    },
    SessionTick {
        link: u64,
    },
    /// A client's storage executes a command and reports its result.
    Store {
        client: usize,
        process: u64,
        output: Output,
    },
    Tell {
        client: usize,
        process: u64,
        input: Input,
    },
    /// An acknowledgement is due.
    Acknowledge {
        client: usize,
        process: u64,
        link: Option<u64>,
        output: Output,
    },
    /// A request that waits at the head, as over HTTP, is answered.
    Poll {
        link: u64,
        stream: u32,
    },
    /// A single request was not answered in time.
    GivesUp {
        client: usize,
        process: u64,
        link: u64,
        stream: u32,
    },
    /// A process starts again.
    Start {
        client: usize,
    },
    StartServer,
    /// A process whose lease was taken over ends, and the other process continues.
    Replace {
        client: usize,
        process: u64,
    },
    /// The app of a refused client retries.
    Again {
        client: usize,
        process: u64,
    },
    /// An app's direction ends.
    EndDirection {
        client: usize,
    },
    /// A client's loss of access to collections ends.
    EndHidden {
        client: usize,
    },
    /// The waiting edits are checked.
    LookAtHealth,
    /// A stranger sends a message.
    Stranger {
        link: u64,
        n: u32,
        salt: u64,
    },
    /// A link is cut by a flapping network.
    Cut {
        client: usize,
    },
}

/// Events by time, and then by the order in which they were planned.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// For each event its time, its number, and its place in `events`.
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// Events are large, so they stay in place while the order changes.
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    last: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.last += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.order.push(Reverse((at, self.last, place)));
        self.events[place] = Some(event);
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at, ..))| *at)
    }

    /// Returns when the last message that was sent, or delayed by a fault, arrives.
    pub(super) fn last_arrival(&self) -> Option<u64> {
        let arrives = |event: &Event| {
            matches!(
                event,
                Event::Up { .. } | Event::Down { .. } | Event::Store { .. } | Event::Tell { .. }
            )
        };
        let of = |place: &usize| self.events[*place].as_ref().is_some_and(arrives);
        self.order
            .iter()
            .filter(|Reverse((.., place))| of(place))
            .map(|Reverse((at, ..))| *at)
            .max()
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, _, place)) = self.order.pop()?;
        self.free.push(place);
        Some((at, self.events[place].take()?))
    }
}
