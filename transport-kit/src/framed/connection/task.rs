//! The task that owns the link of a connection.
//!
//! ```text
//!   pull, push … ──queue──►┌──────┐──► frames to the server
//!   live streams ◄─chunks──│ task │
//!     "one taken", "gone" ─►└──────┘◄── frames from the server
//! ```
//!
//! The task waits for all its events at once and never for a single one: a server that does not
//! read blocks only the sending. Its memory is bounded: requests by the queue and the number of
//! open streams, chunks by the credits that were given, and its own small messages are made only
//! when nothing waits to be sent. When it ends it records the reason in one place, where every
//! waiting caller reads it.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Command, Live, Signals, gone, unexpected};
use crate::framed::live::due;
use crate::framed::transport::{broken, dismissed, ended};
use crate::framed::{Fused, Wire};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::protocol::{Goodbye, Message, MessageType, Payload};
use sync_core::transport::{Delivery, LinkActivity};

/// Messages that may wait for the link before no more commands are taken.
const BURST: usize = 8;
/// How long the last message may take to send.
const FAREWELL: Duration = Duration::from_secs(1);

/// The request that is open on a stream.
pub(super) enum Open {
    Request { asked: MessageType, reply: oneshot::Sender<Result<Message>> },
    Live(Live),
}

impl Open {
    /// Returns whether the caller has dropped the request or the stream.
    fn is_forgotten(&self) -> bool {
        match self {
            Self::Request { reply, .. } => reply.is_closed(),
            Self::Live(live) => live.events.is_closed(),
        }
    }
}

/// The sending half of the link, and the messages that wait for it.
pub(super) struct Outgoing {
    pub(super) sink: Fused,
    pub(super) waiting: VecDeque<(u32, Payload)>,
    pub(super) unflushed: bool,
}

impl Outgoing {
    fn push(&mut self, stream: u32, message: &Message) {
        self.waiting.push_back((stream, Payload::plain(message)));
    }

    fn is_busy(&self) -> bool {
        self.unflushed || !self.waiting.is_empty()
    }

    /// Sends the waiting messages. May be dropped and called again.
    async fn drive(&mut self, wire: &mut Wire, sent: &mut Instant) -> Result<()> {
        poll_fn(|cx| {
            while !self.waiting.is_empty() {
                ready!(self.sink.poll_ready_unpin(cx))?;
                if let Some((stream, payload)) = self.waiting.pop_front() {
                    self.sink.start_send_unpin(wire.encode_payload(stream, &payload))?;
                    *sent = Instant::now();
                    self.unflushed = true;
                }
            }
            if self.unflushed {
                ready!(self.sink.poll_flush_unpin(cx))?;
                self.unflushed = false;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// Why the task ends, and what is sent to the other side.
struct End {
    error: Error,
    farewell: Option<Goodbye>,
}

impl End {
    /// The app closed the connection.
    fn closed(why: Goodbye) -> Self {
        let error = Error::new(ErrorKind::Closed, "the connection was closed on this side")
            .retrying(Retry::Reconnect);
        Self { error, farewell: Some(why) }
    }

    /// The other side violated the protocol.
    fn complaint(error: Error) -> Self {
        let farewell = Goodbye { reason: error.message().to_owned(), retry_after: None };
        Self { error, farewell: Some(farewell) }
    }

    /// The link was lost, or the other side sent a goodbye.
    fn lost(error: Error) -> Self {
        Self { error, farewell: None }
    }
}

enum Event {
    Sent(Result<()>),
    Due,
    Attention,
    Asked(Option<Command>),
    Heard(Option<Result<Bytes>>),
}

pub(super) struct ConnectionTask {
    pub(super) wire: Wire,
    pub(super) incoming: BoxStream<'static, Result<Bytes>>,
    pub(super) out: Outgoing,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) signals: Arc<Signals>,
    pub(super) streams: BTreeMap<u32, Open>,
    pub(super) last_stream: u32,
    /// Whether stream ids have started from 1 again.
    pub(super) wrapped: bool,
    pub(super) max_streams: usize,
    pub(super) window: u32,
    pub(super) heartbeat: Duration,
    /// When the last message arrived.
    pub(super) heard: Instant,
    pub(super) activity: Option<LinkActivity>,
    /// How many bytes had arrived at the last check.
    pub(super) read: u64,
    /// When the last message was sent.
    pub(super) sent: Instant,
    pub(super) pings: u64,
    /// The newest ping of the server that is not answered yet.
    pub(super) pong: Option<u64>,
    /// Whether a live stream was polled or dropped since the last check.
    pub(super) look_at_lives: bool,
}

impl ConnectionTask {
    pub(super) async fn live_and_die(mut self, tell: watch::Sender<Option<Error>>) {
        let end = self.run().await;
        tracing::debug!(error = %end.error, "connection ended");
        tell.send_replace(Some(end.error));
        // From here on every waiting caller wakes up and reads the error.
        self.streams.clear();
        let Self { mut out, mut wire, mut commands, mut sent, .. } = self;
        // Requests that enter the queue at this moment are received and dropped; otherwise their
        // callers would wait forever. A queue that is merely dropped keeps later requests for as
        // long as a sender exists.
        commands.close();
        while commands.recv().await.is_some() {}
        drop(commands);
        let farewell = async {
            if let Some(goodbye) = end.farewell {
                out.waiting.clear();
                out.push(0, &Message::Goodbye(goodbye));
                out.drive(&mut wire, &mut sent).await?;
            }
            out.sink.close().await
        };
        // The connection is lost, so a failure here has no consequence.
        let _ = timeout(FAREWELL, farewell).await;
    }

    async fn run(&mut self) -> End {
        let alarm = sleep_until(self.next_due());
        tokio::pin!(alarm);
        loop {
            self.make_small_messages();
            // A dropped stream ends before another begins: the server counts the open ones.
            let may_take = self.out.waiting.len() < BURST && !self.look_at_lives && self.has_room();
            let event = tokio::select! {
                // In this order nothing starves: each of the upper branches is bounded by those
                // below.
                biased;
                result = self.out.drive(&mut self.wire, &mut self.sent), if self.out.is_busy() => {
                    Event::Sent(result)
                }
                () = &mut alarm => Event::Due,
                () = self.signals.attention.notified() => Event::Attention,
                command = self.commands.recv(), if may_take => Event::Asked(command),
                frame = self.incoming.next() => Event::Heard(frame),
            };
            match event {
                Event::Sent(Ok(())) => {}
                Event::Sent(Err(error)) => return End::lost(error),
                Event::Due => {
                    if let Err(error) = self.keep_the_heartbeat() {
                        return End::complaint(error);
                    }
                    alarm.as_mut().reset(self.next_due());
                }
                Event::Attention => match self.signals.hung_up() {
                    Some(why) => return End::closed(why),
                    None => self.look_at_lives = true,
                },
                Event::Asked(Some(command)) => self.take(command),
                Event::Asked(None) => {
                    let reason = "the replica dropped the connection".to_owned();
                    return End::closed(Goodbye { reason, retry_after: None });
                }
                Event::Heard(None) => return End::lost(ended()),
                Event::Heard(Some(Err(error))) => return End::lost(error),
                Event::Heard(Some(Ok(frame))) => {
                    if let Err(end) = self.hear(frame) {
                        return end;
                    }
                }
            }
        }
    }

    fn next_due(&self) -> Instant {
        (self.sent + self.heartbeat).min(self.heard + self.heartbeat * 3)
    }

    fn keep_the_heartbeat(&mut self) -> Result<()> {
        let now = Instant::now();
        // A large frame may take longer than the server may be silent: bytes of it are a sign of
        // life too.
        let read = self.activity.as_ref().map_or(0, |activity| activity.moved().down);
        if std::mem::replace(&mut self.read, read) < read {
            self.heard = now;
        }
        if now >= self.heard + self.heartbeat * 3 {
            return Err(Error::new(ErrorKind::Timeout, "the server sent nothing")
                .with("seconds", (now - self.heard).as_secs_f32()));
        }
        if now >= self.sent + self.heartbeat {
            if !self.out.is_busy() {
                self.pings += 1;
                self.out.push(0, &Message::Ping(self.pings));
            }
            self.sent = now;
        }
        Ok(())
    }

    /// Returns whether another stream may be opened. Forgotten requests do not count; their late
    /// answers are ignored.
    fn has_room(&mut self) -> bool {
        if self.streams.len() >= self.max_streams {
            self.streams.retain(|_, open| matches!(open, Open::Live(_)) || !open.is_forgotten());
        }
        self.streams.len() < self.max_streams
    }

    /// Pongs, credits and ends of live streams are not queued but made here: however long the link
    /// is stuck, there is at most one of each.
    fn make_small_messages(&mut self) {
        if !self.out.waiting.is_empty() {
            return;
        }
        if let Some(n) = self.pong.take() {
            self.out.push(0, &Message::Pong(n));
        }
        if std::mem::take(&mut self.look_at_lives) {
            let (out, due) = (&mut self.out, due(self.window));
            self.streams.retain(|id, open| {
                let Open::Live(live) = open else { return true };
                if live.events.is_closed() {
                    out.push(*id, &Message::EndLive);
                    return false;
                }
                if live.taken.load(Ordering::Relaxed) >= due {
                    let taken = live.taken.swap(0, Ordering::Relaxed);
                    live.credit += taken;
                    out.push(*id, &Message::Credit(taken));
                }
                true
            });
        }
    }

    fn next_stream(&mut self) -> u32 {
        loop {
            self.last_stream = self.last_stream.checked_add(1).unwrap_or_else(|| {
                self.wrapped = true;
                1
            });
            if !self.streams.contains_key(&self.last_stream) {
                return self.last_stream;
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Ask { asked, payload, reply } if !reply.is_closed() => {
                let id = self.next_stream();
                self.out.waiting.push_back((id, payload));
                self.streams.insert(id, Open::Request { asked, reply });
            }
            Command::Live { payload, mut live } if !live.events.is_closed() => {
                let id = self.next_stream();
                self.out.waiting.push_back((id, payload));
                self.out.push(id, &Message::Credit(self.window));
                live.credit = self.window;
                self.streams.insert(id, Open::Live(live));
            }
            // The caller dropped it before it was sent.
            Command::Ask { .. } | Command::Live { .. } => {}
        }
    }

    fn hear(&mut self, frame: Bytes) -> Result<(), End> {
        let (stream, message) = self.wire.decode(frame).map_err(End::complaint)?;
        self.heard = Instant::now();
        if stream == 0 {
            return self.hear_of_connection(message);
        }
        let Some(open) = self.streams.get_mut(&stream) else {
            // The answer to a request that was dropped meanwhile.
            return if self.wrapped || stream <= self.last_stream {
                Ok(())
            } else {
                Err(End::complaint(broken("the server answered what was never asked")))
            };
        };
        let is_over = match open {
            Open::Request { asked, .. } if asked.answers().contains(&message.message_type()) => {
                if let Some(Open::Request { reply, .. }) = self.streams.remove(&stream) {
                    // The caller may have dropped the request: the response is then discarded.
                    let _ = reply.send(Ok(message));
                }
                return Ok(());
            }
            Open::Request { .. } => Err(unexpected()),
            Open::Live(live) => live.hear(message),
        };
        if is_over.map_err(End::complaint)? {
            self.streams.remove(&stream);
        }
        Ok(())
    }

    fn hear_of_connection(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Ping(n) => self.pong = Some(n),
            Message::Pong(_) => {}
            Message::Goodbye(goodbye) => return Err(End::lost(dismissed(goodbye))),
            Message::Failed(error) => return Err(End::lost(error.into())),
            _ => return Err(End::complaint(broken("the server said what only a stream may say"))),
        }
        Ok(())
    }
}

impl Live {
    /// Handles a message of the server on the stream; returns whether it was the last one.
    fn hear(&mut self, message: Message) -> Result<bool> {
        let (event, is_last) = match message {
            Message::Chunk(chunk) => {
                let Some(left) = self.credit.checked_sub(1) else {
                    return Err(broken("the server sent a chunk that it had no credit for"));
                };
                self.credit = left;
                (Ok(Delivery::Chunk(chunk)), false)
            }
            Message::Reset(reset) => (Ok(Delivery::Reset(reset)), true),
            Message::Failed(error) => (Err(error.into()), true),
            Message::ScopeGone(why) => (Err(gone(&why)), true),
            _ => return Err(unexpected()),
        };
        // There is room, or the app has dropped the stream, which is detected next.
        let _ = self.events.try_send(event);
        Ok(is_last)
    }
}
