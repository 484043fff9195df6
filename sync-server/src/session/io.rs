//! The facts and commands of a session.

use std::sync::Arc;
use std::time::Duration;

use sync_core::model::{Epoch, LogMark, Seq};
use sync_core::protocol::{Message, Pull};

/// Bounds and times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionOptions {
    /// How often either side sends something; a side that is silent for three times as long is
    /// treated as lost.
    pub heartbeat: Duration,
    /// How long a client that has not greeted may be silent. The whole greeting may take six times
    /// as long.
    pub greeting: Duration,
    /// The most requests that are served at a time.
    pub requests: usize,
    /// The most live streams that read at a time: so many chunks wait in memory for the link.
    pub reads: usize,
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
    /// A request with one answer: a pull, a push, an acknowledgement, a new token.
    Once,
    /// A live stream.
    Live(Box<Pull>),
    /// Credit for a live stream.
    Credit(u32),
    /// The end of a live stream.
    EndLive,
    /// A ping, which has to be answered.
    Ping(u64),
    /// An answer to a ping.
    Pong,
    /// The other side closes.
    Goodbye,
    /// A message that only a server sends.
    Misplaced,
}

impl From<&Message> for Request {
    fn from(message: &Message) -> Self {
        match message {
            Message::Hello(_) => Self::Hello,
            Message::Pull(_) | Message::Push(_) | Message::Ack(_) | Message::Auth(_) => Self::Once,
            Message::Live(pull) => Self::Live(Box::new(pull.clone())),
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

/// The result of a read for a live stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// A chunk that ends there.
    Chunk {
        /// The epoch of the log.
        epoch: Epoch,
        /// The position of its end.
        next: Seq,
        /// The head of the log when it was read.
        head: Seq,
        /// The mark of the log at its end.
        mark: Option<LogMark>,
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
        /// The request.
        request: Request,
    },
    /// Bytes arrived of a message that is not complete yet.
    Heard,
    /// The greeting was answered; true if the client was accepted.
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
        /// The result.
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
    /// Answer the greeting; the result is `Greeted`.
    Greet,
    /// Serve a request; the result is `Served` when it is answered.
    Serve {
        /// The request.
        stream: u32,
    },
    /// Read the next chunk of a live stream; the result is `Read`.
    Read {
        /// The stream.
        stream: u32,
        /// The position, and the bounds.
        pull: Arc<Pull>,
    },
    /// Send what was read for a live stream.
    Send {
        /// The stream.
        stream: u32,
    },
    /// Wait until the head of a live stream's scope moves; the result is `HeadMoved`.
    Sleep {
        /// The stream.
        stream: u32,
    },
    /// A live stream is over: drop what belongs to it.
    End {
        /// The stream.
        stream: u32,
    },
    /// Answer that a request cannot be served now.
    Refuse {
        /// The request.
        stream: u32,
        /// The reason.
        why: &'static str,
    },
    /// Answer a ping.
    Pong(u64),
    /// Send a ping.
    Ping(u64),
    /// Send the reason, and close.
    Close(&'static str),
}
