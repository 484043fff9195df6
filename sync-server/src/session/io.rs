//! What goes into a session and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use sync_core::model::{Epoch, LogMark, Seq};
use sync_core::protocol::{Message, Pull, Role, Sender};

/// Bounds and times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionOptions {
    /// How often either side says something; one that is silent for three times as long is gone.
    pub heartbeat: Duration,
    /// How long nothing may be heard of a client that has not greeted. The whole greeting may take
    /// six times as long.
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
    /// One that is answered once: a pull, a push, an acknowledgement, a new token.
    Once,
    /// A live stream.
    Live(Box<Pull>),
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
        let table = message.message_type();
        match message {
            _ if table.sender() == Sender::Server => Self::Misplaced,
            Message::Hello(_) => Self::Hello,
            _ if table.role() == Role::Request => Self::Once,
            Message::Live(pull) => Self::Live(Box::new(pull.clone())),
            Message::Credit(n) => Self::Credit(*n),
            Message::EndLive => Self::EndLive,
            Message::Ping(n) => Self::Ping(*n),
            Message::Pong(_) => Self::Pong,
            Message::Goodbye(_) => Self::Goodbye,
            _ => Self::Misplaced,
        }
    }
}

/// What a read for a live stream brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// A chunk that ends there.
    Chunk {
        /// The life of the log.
        epoch: Epoch,
        /// Where it ends.
        next: Seq,
        /// Where the log ended when it was read.
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
        /// What it is.
        request: Request,
    },
    /// Bytes of a message came that is not whole yet.
    Heard,
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
        pull: Arc<Pull>,
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
