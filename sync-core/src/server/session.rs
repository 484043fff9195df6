//! A session: the pure state machine of one connection on the server, of the same shape as the engine.
//!
//! Facts go in, commands come out, payloads stay with whoever executes. Catching up and following live are one thing: a
//! live stream has a cursor; it reads the chunk after it as long as there is credit, and sleeps at the head until the head
//! moves.
//!
//! ```text
//!   Greeting ── let in ──► Open ── goodbye, silence, nonsense ──► Closed
//!
//!   a live stream:  Reading ── nothing new ──► Sleeping ── head moved, heartbeat ──► Reading
//!                      │  ▲
//!             no credit▼  │credit
//!                     Stalled
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::clock::Now;
use crate::model::{Epoch, Seq};
use crate::protocol::{Message, Pull};

/// Bounds and times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionOptions {
    /// How often either side says something; one that is silent for three times as long is gone.
    pub heartbeat: Duration,
    /// The most requests that are served at a time.
    pub requests: usize,
    /// The most live streams.
    pub streams: usize,
    /// The most credit that one live stream may gather.
    pub credit: u32,
}

/// A message without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A greeting.
    Hello,
    /// One that is answered once: a pull, a push, an acknowledgement, a new token.
    Once,
    /// A live stream.
    Live(Pull),
    /// Credit for a live stream.
    Credit(u32),
    /// The end of a live stream.
    EndLive,
    /// A sign of life that wants an answer.
    Ping(u64),
    /// A sign of life.
    Pong,
    /// The other side closes.
    Goodbye,
    /// Something that only a server says.
    Misplaced,
}

impl From<&Message> for Request {
    fn from(message: &Message) -> Self {
        match message {
            Message::Hello(_) => Self::Hello,
            Message::Pull(_) | Message::Push(_) | Message::Ack(_) | Message::Auth(_) => Self::Once,
            Message::Live(pull) => Self::Live(pull.clone()),
            Message::Credit(n) => Self::Credit(*n),
            Message::EndLive => Self::EndLive,
            Message::Ping(n) => Self::Ping(*n),
            Message::Pong(_) => Self::Pong,
            Message::Goodbye(_) => Self::Goodbye,
            Message::Welcome(_)
            | Message::Chunk(_)
            | Message::Verdicts(_)
            | Message::Reset(_)
            | Message::Done
            | Message::Failed(_)
            | Message::ScopeGone(_) => Self::Misplaced,
        }
    }
}

/// What a read for a live stream brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// A chunk that ends there.
    Chunk {
        /// The life of the log.
        epoch: Epoch,
        /// Where it ends.
        next: Seq,
        /// Where the log ended when it was read.
        head: Seq,
    },
    /// A reset or a failure: the stream ends with it.
    End,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionInput {
    /// A message arrived.
    Received {
        /// The request it belongs to.
        stream: u32,
        /// What it is.
        request: Request,
    },
    /// The greeting was answered: whether the other side was let in.
    Greeted(bool),
    /// A request was answered.
    Served {
        /// The request.
        stream: u32,
    },
    /// A read for a live stream is done.
    Read {
        /// The stream.
        stream: u32,
        /// What came.
        found: Found,
    },
    /// The head that a live stream sleeps at has moved.
    HeadMoved {
        /// The stream.
        stream: u32,
    },
    /// Something was sent.
    Sent,
    /// The server closes.
    Drain,
    /// Time passed.
    Tick,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionOutput {
    /// Answer the greeting; tell with `Greeted`.
    Greet,
    /// Serve a request; tell with `Served` when it is answered.
    Serve {
        /// The request.
        stream: u32,
    },
    /// Read the next chunk of a live stream; tell with `Read`.
    Read {
        /// The stream.
        stream: u32,
        /// From where, and how much.
        pull: Pull,
    },
    /// Send what was read for a live stream.
    Send {
        /// The stream.
        stream: u32,
    },
    /// Wait until the head of a live stream's scope moves; tell with `HeadMoved`.
    Sleep {
        /// The stream.
        stream: u32,
    },
    /// A live stream is over: forget what belongs to it.
    End {
        /// The stream.
        stream: u32,
    },
    /// Say that a request cannot be served now.
    Refuse {
        /// The request.
        stream: u32,
        /// Why.
        why: &'static str,
    },
    /// Answer a sign of life.
    Pong(u64),
    /// Give a sign of life.
    Ping(u64),
    /// Say why, and close.
    Close(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Waiting,
    Greeting,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum LiveState {
    Reading,
    Sleeping,
    Stalled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Live {
    pull: Pull,
    credit: u32,
    state: LiveState,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    options: SessionOptions,
    phase: Phase,
    serving: BTreeSet<u32>,
    live: BTreeMap<u32, Live>,
    heard: Now,
    said: Now,
    looked: Now,
    pings: u64,
    draining: bool,
    outputs: VecDeque<SessionOutput>,
}

impl Session {
    /// A connection that was just made.
    #[must_use]
    pub fn new(options: SessionOptions, now: Now) -> Self {
        Self {
            options,
            phase: Phase::Waiting,
            serving: BTreeSet::new(),
            live: BTreeMap::new(),
            heard: now,
            said: now,
            looked: now,
            pings: 0,
            draining: false,
            outputs: VecDeque::new(),
        }
    }

    /// The next command.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    /// Whether another message may be taken from the link: not while as many requests are served as may be.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.phase != Phase::Closed && self.serving.len() < self.options.requests
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// When `Tick` is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Now {
        let heartbeat = self.options.heartbeat;
        let since = if self.wants_input() { self.heard } else { self.said };
        let silence = since.plus(heartbeat.saturating_mul(3));
        let sleeps = self.live.values().any(|l| l.state == LiveState::Sleeping);
        let look = if sleeps { self.looked.plus(heartbeat) } else { silence };
        silence.min(self.said.plus(heartbeat)).min(look)
    }

    /// Takes in a fact.
    pub fn handle_input(&mut self, now: Now, input: SessionInput) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            SessionInput::Received { stream, request } => {
                self.heard = now;
                self.receive(stream, request);
            }
            SessionInput::Greeted(true) => self.phase = Phase::Open,
            SessionInput::Greeted(false) => self.phase = Phase::Closed,
            SessionInput::Served { stream } => {
                if !self.wants_input() {
                    // Nobody listened while everything was busy: that silence was ours.
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
            (Phase::Open, Request::Live(pull)) => self.begin_live(stream, pull),
            (Phase::Open, Request::Credit(n)) => self.add_credit(stream, n),
            (Phase::Open, Request::EndLive) => {
                if self.live.remove(&stream).is_some() {
                    self.out(SessionOutput::End { stream });
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
            live.state = LiveState::Reading;
            let pull = live.pull.clone();
            self.out(SessionOutput::Read { stream, pull });
        }
    }

    fn wake(&mut self, stream: u32) {
        if self.live.get(&stream).is_some_and(|l| l.state == LiveState::Sleeping) {
            self.start_read(stream);
        }
    }

    fn read(&mut self, stream: u32, found: Found) {
        let Some(live) = self.live.get_mut(&stream) else { return };
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
            Found::Chunk { epoch, next, head } => {
                live.credit = live.credit.saturating_sub(1);
                live.pull.cursor = live.pull.cursor.advanced(epoch, next, head);
                let more = live.credit > 0;
                live.state = LiveState::Stalled;
                self.out(SessionOutput::Send { stream });
                if more {
                    self.start_read(stream);
                }
            }
        }
    }

    fn tick(&mut self, now: Now) {
        let heartbeat = self.options.heartbeat;
        if self.wants_input() && self.heard.plus(heartbeat.saturating_mul(3)) <= now {
            return self.close("nothing was heard for too long");
        }
        if self.said.plus(heartbeat) <= now {
            self.said = now;
            if self.phase == Phase::Open {
                self.pings += 1;
                self.out(SessionOutput::Ping(self.pings));
            }
        }
        if self.looked.plus(heartbeat) <= now {
            // A wake-up may be lost: who sleeps looks again.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cursor, Limits, Scope};

    fn open() -> Session {
        let options = SessionOptions {
            heartbeat: Duration::from_secs(10),
            requests: 2,
            streams: 2,
            credit: 8,
        };
        let mut session = Session::new(options, Now(0));
        session.handle_input(Now(0), received(0, Request::Hello));
        assert_eq!(session.poll_output(), Some(SessionOutput::Greet));
        session.handle_input(Now(0), SessionInput::Greeted(true));
        session
    }

    fn received(stream: u32, request: Request) -> SessionInput {
        SessionInput::Received { stream, request }
    }

    const EPOCH: Epoch = Epoch([7; 16]);

    fn pull(after: u64) -> Pull {
        let after = Seq(after);
        let cursor = Cursor { epoch: Some(EPOCH), after, position: after, ..Cursor::default() };
        Pull { scope: Scope::default(), cursor, limits: Limits::CHUNK }
    }

    #[test]
    fn catching_up_and_following_live_are_one_path_paid_with_credit() {
        let mut s = open();
        s.handle_input(Now(1), received(1, Request::Live(pull(1))));
        assert_eq!(s.poll_output(), None);
        s.handle_input(Now(1), received(1, Request::Credit(2)));
        assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: pull(1) }));
        let found = |n| SessionInput::Read {
            stream: 1,
            found: Found::Chunk { epoch: EPOCH, next: Seq(n), head: Seq(n) },
        };
        s.handle_input(Now(1), found(5));
        assert_eq!(s.poll_output(), Some(SessionOutput::Send { stream: 1 }));
        assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: pull(5) }));
        s.handle_input(Now(1), found(5));
        assert_eq!(s.poll_output(), Some(SessionOutput::Sleep { stream: 1 }));
        s.handle_input(Now(1), SessionInput::HeadMoved { stream: 1 });
        assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: pull(5) }));
        s.handle_input(Now(1), found(6));
        assert_eq!(s.poll_output(), Some(SessionOutput::Send { stream: 1 }));
        // The credit is used up: nothing is read before there is more.
        assert_eq!(s.poll_output(), None);
        s.handle_input(Now(1), SessionInput::HeadMoved { stream: 1 });
        assert_eq!(s.poll_output(), None);
        s.handle_input(Now(1), received(1, Request::Credit(1)));
        assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: pull(6) }));
    }

    #[test]
    fn who_sleeps_looks_again_at_every_heartbeat() {
        let mut s = open();
        s.handle_input(Now(0), received(1, Request::Live(pull(3))));
        s.handle_input(Now(0), received(1, Request::Credit(1)));
        s.handle_input(
            Now(0),
            SessionInput::Read {
                stream: 1,
                found: Found::Chunk { epoch: EPOCH, next: Seq(3), head: Seq(3) },
            },
        );
        while s.poll_output().is_some() {}
        assert_eq!(s.next_deadline(), Now(10_000));
        s.handle_input(Now(10_000), SessionInput::Tick);
        assert_eq!(s.poll_output(), Some(SessionOutput::Ping(1)));
        assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: pull(3) }));
    }

    #[test]
    fn silence_and_nonsense_end_it() {
        let mut s = open();
        s.handle_input(Now(30_000), SessionInput::Tick);
        assert!(s.is_closed());
        let mut s = open();
        s.handle_input(Now(1), received(0, Request::Misplaced));
        assert!(matches!(s.poll_output(), Some(SessionOutput::Close(_))));
        let mut s = open();
        s.handle_input(Now(1), received(0, Request::Hello));
        assert!(s.is_closed());
    }

    #[test]
    fn a_server_that_is_busy_does_not_blame_the_replica_for_its_silence() {
        let mut s = open();
        s.handle_input(Now(0), received(1, Request::Once));
        s.handle_input(Now(0), received(2, Request::Once));
        s.handle_input(Now(40_000), SessionInput::Tick);
        assert!(!s.is_closed());
        s.handle_input(Now(40_000), SessionInput::Served { stream: 1 });
        s.handle_input(Now(69_999), SessionInput::Tick);
        assert!(!s.is_closed());
        s.handle_input(Now(70_000), SessionInput::Tick);
        assert!(s.is_closed());
    }

    #[test]
    fn too_many_live_streams_cost_the_stream_and_not_the_link() {
        let mut s = open();
        for stream in 1..=3 {
            s.handle_input(Now(0), received(stream, Request::Live(pull(1))));
        }
        assert!(matches!(s.poll_output(), Some(SessionOutput::Refuse { stream: 3, .. })));
        assert!(!s.is_closed());
    }

    #[test]
    fn draining_waits_for_what_is_served() {
        let mut s = open();
        s.handle_input(Now(1), received(4, Request::Once));
        assert_eq!(s.poll_output(), Some(SessionOutput::Serve { stream: 4 }));
        s.handle_input(Now(1), received(5, Request::Once));
        assert!(!s.wants_input());
        s.handle_input(Now(1), SessionInput::Drain);
        assert!(!s.is_closed());
        s.handle_input(Now(1), SessionInput::Served { stream: 4 });
        s.handle_input(Now(1), SessionInput::Served { stream: 5 });
        assert!(s.is_closed());
    }
}
