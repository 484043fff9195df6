//! A session: the pure state machine of one connection on the server, of the same shape as the
//! engine.
//!
//! The caller passes facts, takes commands and executes them; payloads stay with the caller.
//! Catching up and following live are the same: a live stream has a cursor; it reads the chunk
//! after it as long as there is credit, and sleeps at the head until the head moves.
//!
//! ```text
//!   Greeting ── let in ──► Open ── goodbye, silence, nonsense ──► Closed
//!
//!   a live stream:  Queued ── its turn ──► Reading ── nothing new ──► Sleeping ── head moved, heartbeat ──► Queued
//!                      ▲                      │
//!                credit│             no credit▼
//!                      └─────────────────── Stalled
//! ```

mod io;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sync_core::clock::Instant;
use sync_core::protocol::Pull;

pub use io::{Found, Request, SessionInput, SessionOptions, SessionOutput};

/// How many collections the cursors of all live streams of a connection may name, which determines
/// their memory.
const NAMES: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Waiting,
    Greeting,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum LiveState {
    /// It waits for its turn to read.
    Queued,
    Reading,
    Sleeping,
    Stalled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Live {
    /// Shared with the reader: a connection that listens costs little memory, and a read copies
    /// nothing.
    pull: Arc<Pull>,
    credit: u32,
    state: LiveState,
}

/// The state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    options: SessionOptions,
    phase: Phase,
    serving: BTreeSet<u32>,
    live: BTreeMap<u32, Live>,
    /// Live streams that read, or whose read chunk is not sent yet.
    reading: usize,
    /// Those that wait for their turn, in order.
    queued: VecDeque<u32>,
    began: Instant,
    heard: Instant,
    said: Instant,
    looked: Instant,
    pings: u64,
    draining: bool,
    outputs: VecDeque<SessionOutput>,
}

impl Session {
    /// Makes the session of a new connection.
    #[must_use]
    pub fn new(options: SessionOptions, now: Instant) -> Self {
        Self {
            options,
            phase: Phase::Waiting,
            serving: BTreeSet::new(),
            live: BTreeMap::new(),
            reading: 0,
            queued: VecDeque::new(),
            began: now,
            heard: now,
            said: now,
            looked: now,
            pings: 0,
            draining: false,
            outputs: VecDeque::new(),
        }
    }

    /// Returns the next command.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    /// Returns whether another message may be read from the link: not while the most requests are
    /// served.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.phase != Phase::Closed && self.serving.len() < self.options.requests
    }

    /// Returns whether it is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Returns when `Tick` is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let heartbeat = self.options.heartbeat;
        let since = if self.wants_input() { self.heard } else { self.said };
        let silence = match self.phase {
            Phase::Waiting => self.greeting_due(),
            _ => since.plus(heartbeat.saturating_mul(3)),
        };
        let sleeps = self.live.values().any(|l| l.state == LiveState::Sleeping);
        let look = if sleeps { self.looked.plus(heartbeat) } else { silence };
        silence.min(self.said.plus(heartbeat)).min(look)
    }

    /// Returns when a client that has not greeted is disconnected. Slow links may take longer,
    /// within a bound.
    fn greeting_due(&self) -> Instant {
        let greeting = self.options.greeting;
        self.heard.plus(greeting).min(self.began.plus(greeting.saturating_mul(6)))
    }

    /// Handles a fact.
    pub fn handle_input(&mut self, now: Instant, input: SessionInput) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            SessionInput::Received { stream, request } => {
                self.heard = now;
                self.receive(stream, request);
            }
            SessionInput::Heard => self.heard = now,
            SessionInput::Greeted(true) => self.phase = Phase::Open,
            SessionInput::Greeted(false) => self.phase = Phase::Closed,
            SessionInput::Served { stream } => {
                if !self.wants_input() {
                    // No frame was read while all requests were busy: the server caused that
                    // silence.
                    self.heard = now;
                }
                self.serving.remove(&stream);
            }
            SessionInput::Read { stream, found } => self.read(stream, found),
            SessionInput::HeadMoved { stream } => self.wake(stream),
            SessionInput::Sent => self.said = now,
            SessionInput::Drain => self.draining = true,
            SessionInput::Tick => self.tick(now),
        }
        if self.draining && self.serving.is_empty() && self.phase == Phase::Open {
            self.close("the server is shutting down");
        }
    }

    fn out(&mut self, output: SessionOutput) {
        self.outputs.push_back(output);
    }

    fn close(&mut self, why: &'static str) {
        self.phase = Phase::Closed;
        self.out(SessionOutput::Close(why));
    }

    fn receive(&mut self, stream: u32, request: Request) {
        match (self.phase, request) {
            (Phase::Waiting, Request::Hello) => {
                self.phase = Phase::Greeting;
                self.out(SessionOutput::Greet);
            }
            (Phase::Open, Request::Once) => {
                if stream == 0 || self.live.contains_key(&stream) || !self.serving.insert(stream) {
                    return self.close("a request has the number of another one");
                }
                self.out(SessionOutput::Serve { stream });
            }
            (Phase::Open, Request::Live(pull)) => self.begin_live(stream, *pull),
            (Phase::Open, Request::Credit(n)) => self.add_credit(stream, n),
            (Phase::Open, Request::EndLive) => {
                if let Some(live) = self.live.remove(&stream) {
                    self.reading -= usize::from(live.state == LiveState::Reading);
                    self.out(SessionOutput::End { stream });
                    self.start_reads();
                }
            }
            (Phase::Open, Request::Ping(n)) => self.out(SessionOutput::Pong(n)),
            (Phase::Open, Request::Pong) => {}
            (_, Request::Goodbye) => self.phase = Phase::Closed,
            (Phase::Waiting | Phase::Greeting, _) => {
                self.close("a connection begins with a greeting")
            }
            (_, _) => self.close("this is not for a replica to say"),
        }
    }

    fn begin_live(&mut self, stream: u32, pull: Pull) {
        let taken =
            stream == 0 || self.live.contains_key(&stream) || self.serving.contains(&stream);
        if taken {
            return self.close("a live stream has the number of another request");
        }
        if self.live.len() >= self.options.streams {
            return self.out(SessionOutput::Refuse { stream, why: "too many live streams" });
        }
        let names = self.live.values().map(|live| live.pull.cursor.names()).sum::<usize>();
        if names + pull.cursor.names() > NAMES {
            let why = "the live streams of this connection name too many collections";
            return self.out(SessionOutput::Refuse { stream, why });
        }
        let pull = Arc::new(pull);
        self.live.insert(stream, Live { pull, credit: 0, state: LiveState::Stalled });
    }

    fn add_credit(&mut self, stream: u32, n: u32) {
        let most = self.options.credit;
        let Some(live) = self.live.get_mut(&stream) else { return };
        live.credit = live.credit.saturating_add(n).min(most);
        if live.state == LiveState::Stalled && live.credit > 0 {
            self.start_read(stream);
        }
    }

    fn start_read(&mut self, stream: u32) {
        if let Some(live) = self.live.get_mut(&stream) {
            live.state = LiveState::Queued;
            self.queued.push_back(stream);
            self.start_reads();
        }
    }

    /// Lets streams read, in their order and a few at a time: their chunks wait in memory until the
    /// link accepts them.
    fn start_reads(&mut self) {
        while self.reading < self.options.reads.max(1) {
            let Some(stream) = self.queued.pop_front() else { return };
            let queued = self.live.get_mut(&stream).filter(|l| l.state == LiveState::Queued);
            if let Some(live) = queued {
                live.state = LiveState::Reading;
                self.reading += 1;
                let pull = Arc::clone(&live.pull);
                self.out(SessionOutput::Read { stream, pull });
            }
        }
    }

    fn wake(&mut self, stream: u32) {
        if self.live.get(&stream).is_some_and(|l| l.state == LiveState::Sleeping) {
            self.start_read(stream);
        }
    }

    fn read(&mut self, stream: u32, found: Found) {
        let reads = |live: &&mut Live| live.state == LiveState::Reading;
        let Some(live) = self.live.get_mut(&stream).filter(reads) else { return };
        self.reading -= 1;
        match found {
            Found::End => {
                self.live.remove(&stream);
                self.out(SessionOutput::Send { stream });
                self.out(SessionOutput::End { stream });
            }
            Found::Chunk { next, .. } if next <= live.pull.cursor.after => {
                live.state = LiveState::Sleeping;
                self.out(SessionOutput::Sleep { stream });
            }
            Found::Chunk { epoch, next, head, mark } => {
                live.credit = live.credit.saturating_sub(1);
                let cursor = &mut Arc::make_mut(&mut live.pull).cursor;
                *cursor = cursor.advanced(epoch, next, head, mark.as_ref());
                let more = live.credit > 0;
                live.state = LiveState::Stalled;
                self.out(SessionOutput::Send { stream });
                if more {
                    self.start_read(stream);
                }
            }
        }
        self.start_reads();
    }

    fn tick(&mut self, now: Instant) {
        let heartbeat = self.options.heartbeat;
        if self.phase == Phase::Waiting && self.greeting_due() <= now {
            return self.close("no greeting came in time");
        }
        if self.wants_input() && self.heard.plus(heartbeat.saturating_mul(3)) <= now {
            return self.close("nothing was received for too long");
        }
        if self.said.plus(heartbeat) <= now {
            self.said = now;
            if self.phase == Phase::Open {
                self.pings += 1;
                self.out(SessionOutput::Ping(self.pings));
            }
        }
        if self.looked.plus(heartbeat) <= now {
            // A wake-up may be lost, so sleeping streams read again after a heartbeat.
            self.looked = now;
            let sleeping = |l: &Live| l.state == LiveState::Sleeping;
            let streams: Vec<u32> =
                self.live.iter().filter(|(_, l)| sleeping(l)).map(|(s, _)| *s).collect();
            for stream in streams {
                self.wake(stream);
            }
        }
    }
}
