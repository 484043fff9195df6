//! The client's side of a connection: passes the app's requests to the task that owns the link.

#[cfg(test)]
mod races;
mod task;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use task::{ConnectionTask, Outgoing};

use super::live::LiveStream;
use super::transport::{FramedOptions, broken};
use super::{Compression, Fused, Wire, payload};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{PushBatch, Reset, Verdicts};
use sync_core::protocol::{Ack, Goodbye, Message, MessageType, Payload, Pull, Push};
use sync_core::transport::{Connection, Delivery, FrameLink, LinkActivity, Moved};

/// The client's side of a connection over a framed link.
#[derive(Debug)]
pub struct FramedConnection {
    commands: mpsc::Sender<Command>,
    signals: Arc<Signals>,
    fate: Fate,
    compression: Option<Arc<dyn Compression>>,
    max_payload: usize,
    window: u32,
    activity: Option<LinkActivity>,
}

/// Signals to the task outside the queue, which arrive even when the queue is full.
#[derive(Debug, Default)]
pub(in crate::framed) struct Signals {
    attention: Notify,
    goodbye: Mutex<Option<Goodbye>>,
}

impl Signals {
    pub(in crate::framed) fn wake(&self) {
        self.attention.notify_one();
    }

    fn hang_up(&self, why: Goodbye) {
        self.goodbye.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.wake();
    }

    fn hung_up(&self) -> Option<Goodbye> {
        self.goodbye.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The reason why the connection ended, once it has.
#[derive(Clone, Debug)]
pub(in crate::framed) struct Fate(watch::Receiver<Option<Error>>);

impl Fate {
    pub(in crate::framed) fn error(&self) -> Error {
        self.0.borrow().clone().unwrap_or_else(Self::unknown)
    }

    fn unknown() -> Error {
        Error::new(ErrorKind::Closed, "the task of the connection is gone")
            .retrying(Retry::Reconnect)
    }
}

pub(in crate::framed) enum Command {
    Ask { asked: MessageType, payload: Payload, reply: oneshot::Sender<Result<Message>> },
    Live { payload: Payload, live: Live },
}

/// The task's end of a live stream.
pub(in crate::framed) struct Live {
    /// The sender to the app. It has room for all chunks that credit was given for, and for the
    /// end.
    pub(in crate::framed) events: mpsc::Sender<Result<Delivery>>,
    /// How many chunks the app has taken for which no credit was given yet.
    pub(in crate::framed) taken: Arc<AtomicU32>,
    /// How many chunks the server may still send.
    pub(in crate::framed) credit: u32,
}

impl FramedConnection {
    pub(in crate::framed) fn start(
        link: FrameLink,
        wire: Wire,
        heartbeat: Duration,
        options: &FramedOptions,
    ) -> Self {
        let (commands, queue) = mpsc::channel(options.queue.max(1));
        let (tell, fate) = watch::channel(None);
        let signals = Arc::new(Signals::default());
        let (compression, activity) = (wire.compression().cloned(), link.activity.clone());
        let now = Instant::now();
        let task = ConnectionTask {
            wire,
            incoming: link.incoming,
            out: Outgoing {
                sink: Fused::new(link.outgoing),
                waiting: VecDeque::new(),
                unflushed: false,
            },
            commands: queue,
            signals: Arc::clone(&signals),
            streams: BTreeMap::new(),
            last_stream: 0,
            wrapped: false,
            max_streams: options.open.max(1),
            window: options.window.max(1),
            heartbeat,
            heard: now,
            read: link.activity.as_ref().map_or(0, |activity| activity.moved().down),
            activity: link.activity,
            sent: now,
            pings: 0,
            pong: None,
            look_at_lives: false,
        };
        tokio::spawn(task.live_and_die(tell));
        let (max_payload, window) = (options.max_payload, options.window.max(1));
        Self { commands, signals, fate: Fate(fate), compression, max_payload, window, activity }
    }

    /// Returns the message in its encoded form. A message that is too long fails here, alone: on
    /// the link it would fail every request, again and again.
    fn payload(&self, message: &Message) -> Result<Payload> {
        let payload = payload(message, self.compression.as_deref());
        let length = payload.bytes().len();
        if length > self.max_payload {
            return Err(Error::new(ErrorKind::TooLarge, "the message is over the limit")
                .with("bytes", length)
                .with("limit", self.max_payload));
        }
        Ok(payload)
    }

    async fn ask(&self, message: &Message) -> Result<Message> {
        let payload = self.payload(message)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Ask { asked: message.message_type(), payload, reply };
        self.commands.send(command).await.map_err(|_| self.fate.error())?;
        match answer.await.unwrap_or_else(|_| Err(self.fate.error()))? {
            Message::Failed(error) => Err(error.into()),
            message => Ok(message),
        }
    }
}

/// Returns the error for a state that the task has excluded before.
fn unexpected() -> Error {
    broken("the server gave an answer to another question")
}

fn gone(why: &str) -> Error {
    Error::new(ErrorKind::PermissionDenied, format!("the scope is gone: {why}"))
}

#[async_trait]
impl Connection for FramedConnection {
    async fn pull(&self, pull: Pull) -> Result<Delivery> {
        let scope = pull.scope.clone();
        match self.ask(&Message::Pull(pull)).await? {
            Message::Chunk(chunk) if chunk.scope == scope => Ok(Delivery::Chunk(chunk)),
            Message::Chunk(_) => Err(broken("the server sent a chunk of another scope")),
            Message::Reset(reset) => Ok(Delivery::Reset(reset)),
            _ => Err(unexpected()),
        }
    }

    async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        let changes = batch.changes.len();
        match self.ask(&Message::Push(Push { batch })).await? {
            Message::Verdicts(Verdicts::Decided { verdicts, .. }) if verdicts.len() != changes => {
                Err(broken("the server gave another number of verdicts than there were changes"))
            }
            Message::Verdicts(verdicts) => Ok(verdicts),
            _ => Err(unexpected()),
        }
    }

    /// The stream is opened when it is polled for the first time.
    fn live(&self, pull: Pull) -> BoxStream<'static, Result<Delivery>> {
        let scope = pull.scope.clone();
        match self.payload(&Message::Live(pull)) {
            Ok(payload) => {
                let (commands, signals) = (self.commands.clone(), Arc::clone(&self.signals));
                let fate = self.fate.clone();
                LiveStream::new(scope, payload, commands, signals, fate, self.window).boxed()
            }
            Err(error) => futures_util::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn acknowledge(&self, ack: Ack) -> Result<Option<Reset>> {
        match self.ask(&Message::Ack(ack)).await? {
            Message::Done => Ok(None),
            Message::Reset(reset) => Ok(Some(reset)),
            _ => Err(unexpected()),
        }
    }

    async fn renew(&self, token: String) -> Result<()> {
        self.ask(&Message::Auth(token)).await.map(drop)
    }

    fn moved(&self) -> Option<Moved> {
        self.activity.as_ref().map(LinkActivity::moved)
    }

    async fn lost(&self) -> Error {
        let mut fate = self.fate.0.clone();
        match fate.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or_else(Fate::unknown),
            Err(_) => Fate::unknown(),
        }
    }

    async fn close(&self, why: Goodbye) {
        self.signals.hang_up(why);
        let mut fate = self.fate.0.clone();
        // The other half is dropped with the link.
        while fate.changed().await.is_ok() {}
    }
}

impl Drop for FramedConnection {
    fn drop(&mut self) {
        let reason = "the replica dropped the connection".to_owned();
        self.signals.hang_up(Goodbye { reason, retry_after: None });
    }
}
