//! The contracts of transport, and the link that is made of frames.
//!
//! Two doors lead here. Implement [`Transport`] and [`Connection`]: requests and answers, and a
//! live stream whose polling is the flow control. Or give a [`FrameLink`], a sink and a stream of
//! byte frames, and [`FramedTransport`](crate::framed::FramedTransport) does the multiplexing, the
//! heartbeat and the credits.
//!
//! An app whose data is behind a REST API already needs neither: it gives two closures (see
//! [`foreign`](crate::foreign)).

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Sink;
use futures_util::stream::BoxStream;

use crate::error::{Error, Result};
use crate::model::{Chunk, PushBatch, Reset, Verdicts};
use crate::protocol::{Ack, Goodbye, Hello, Pull, Welcome};

/// Makes connections to a server.
///
/// The suite for transports in the testkit has a named case for every promise here.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Connects and greets. When it returns, the server has let the replica in, and the welcome is
    /// its answer to exactly this greeting: one entry for each scope that the replica may see, in
    /// the order of the greeting. What concerns the link alone, such as the compressions of the
    /// greeting, is the transport's to fill in.
    ///
    /// It may be called any number of times, also while earlier connections are open: they know
    /// nothing of each other. Dropping the future gives the attempt up; the next one is not
    /// affected. It tries once: when to try again is the caller's decision.
    ///
    /// Fails, within a bound that the transport is configured with, as
    /// - `Network` or `Timeout` if nobody answers, or nobody that can be understood; with any
    ///   advice but *never*;
    /// - `Unauthenticated` or `PermissionDenied` if the server refuses the replica, `Incompatible`
    ///   if no version is shared: with the advice *never*;
    /// - `Protocol` if what answers breaks the protocol;
    /// - whatever else the server says, with the server's advice.
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)>;
}

/// A connection to a server, for one replica.
///
/// **Concurrency.** Any number of requests and live streams may be under way at a time; those that
/// are more than the link carries wait for their turn, and hold up no others. Answers come in any
/// order, each to whoever asked. A request that the server takes long over delays no other.
///
/// **Dropping.** The future of a request, and a live stream, may be dropped at any time, also
/// before it is polled. Nothing else on the connection notices. Whether the server heard of the
/// request is then unknown, as it is after a loss.
///
/// **Errors.** What the server says of a request arrives with its kind, its message and its advice
/// (with the time in it), and fails that request alone, even with the advice to reconnect. An error
/// of the link, `Network`, `Timeout` or `Protocol`, or the `Closed` or `Overloaded` of a server
/// that says goodbye, ends the connection: everything that is pending fails at once, whatever is
/// asked later fails as well, and both carry the advice to reconnect, or the time at which the
/// server wants to be asked again.
///
/// **Noticing.** A link that breaks with a sign is noticed at once by whatever is pending on it.
/// One that falls silent is noticed by it within a bound (with a heartbeat, three of them; else
/// that of a request). A transport that keeps no link between requests, as one over HTTP, may
/// notice only when something is asked, and may carry a single request over another link than the
/// one before: then a loss that concerns no request is none.
///
/// **Ending.** Dropping a connection lets go of it like [`close`](Self::close): its live streams
/// end, and the server soon keeps nothing of it.
#[async_trait]
pub trait Connection: Send + Sync + fmt::Debug + 'static {
    /// The chunk after a cursor, or a reset if the cursor means nothing to the server.
    ///
    /// The chunk begins exactly at the cursor (`after`), is of the scope that was asked for, and
    /// keeps within the limits of the request and of the welcome, whichever are lower; one append
    /// always fits. At the head it is empty. Bodies are the bytes that were pushed.
    ///
    /// Fails with `PermissionDenied` and the advice *never* if the scope may not be seen.
    async fn pull(&self, pull: Pull) -> Result<Delivery>;

    /// Pushes a batch. When it returns verdicts, they are the server's on this very batch, and
    /// durable there.
    ///
    /// If the future is dropped or the link is lost, it is unknown whether the batch arrived: the
    /// same batch is pushed again, and gets the verdicts that were lost. The transport does not
    /// change a batch, and does not push it again by itself once it may have arrived, for another
    /// may have followed it.
    ///
    /// Fails with `InvalidInput` and the advice *never* for a batch of another replica than the
    /// greeting's, and with `TooLarge` for one that something on the way does not take because of
    /// its size: it is recalled and divided. A scope that may not be written to is no failure:
    /// every change is rejected.
    async fn push(&self, batch: PushBatch) -> Result<Verdicts>;

    /// Chunks after a cursor as they come: each begins where the one before it ended, the first at
    /// the cursor. Catching up and following are the same; nothing is left out, nothing comes
    /// twice, and no chunk comes that moves nothing. That holds whatever happens meanwhile: other
    /// requests, appends before the first poll, long times without a poll.
    ///
    /// The call itself asks nothing; the first poll does. The stream is polled only when there is
    /// room for another chunk. What is not polled waits on the server as a position: how much
    /// travels ahead is bounded, and holds up nothing else on the connection. How soon an append is
    /// delivered depends on the transport; a wait is not a failure. Whoever gives up waiting for
    /// the next item, by dropping the future of `next` and keeping the stream, loses nothing.
    ///
    /// The stream ends, that is, gives `None`, only after its last item, which is one of
    /// - a [reset](Delivery::Reset), if the cursor means nothing to the server, from the beginning
    ///   or since the log began another life;
    /// - `PermissionDenied` with the advice *never*, when the scope is not the replica's any more;
    /// - another error of the server, which fails this stream alone;
    /// - an error with the advice to reconnect, when the link is lost for good. A transport that
    ///   can go on over another link without leaving anything out may do so instead.
    ///
    /// It never ends in silence. Dropping it soon ends it on the server too.
    fn live(&self, pull: Pull) -> BoxStream<'static, Result<Delivery>>;

    /// Tells how far the replica is. When it returns, the server has taken note; a reset says that
    /// the server's documents at that position are others. Telling it again is harmless.
    async fn acknowledge(&self, ack: Ack) -> Result<Option<Reset>>;

    /// Goes on with another token: when it returns, whatever is asked from then on is asked under
    /// it. What is pending may be served under either.
    ///
    /// Fails with `Unauthenticated` and the advice *never* if the server refuses the token; the
    /// connection goes on under the old one.
    async fn renew(&self, token: String) -> Result<()>;

    /// How many bytes have moved on the connection, or for it, as near to the socket as the
    /// transport can count. With it a request that gets on slowly is not taken for one that nobody
    /// answers. None, the default, if it does not count.
    fn moved(&self) -> Option<Moved> {
        None
    }

    /// Completes when the connection has ended, with why: at the latest when a request has failed
    /// for that reason, and after [`close`](Self::close). While nothing is asked, a transport that
    /// keeps no link need not notice.
    ///
    /// May be asked for more than once, and be dropped.
    async fn lost(&self) -> Error;

    /// Says goodbye and lets go of the link. When it returns, everything that was pending has
    /// failed, or will as soon as it is polled, and so does whatever is asked later: as `Closed`,
    /// with the advice to reconnect. It takes a bounded time, whatever the link does. Closing twice
    /// is fine.
    async fn close(&self, why: Goodbye);
}

/// What a pull or a live stream brings.
#[allow(clippy::large_enum_variant, reason = "a chunk is the usual answer")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A chunk.
    Chunk(Chunk),
    /// The position means nothing to the server.
    Reset(Reset),
}

/// A link that carries frames in order: bytes go in whole, and come out whole.
pub struct FrameLink {
    /// Frames to the other side. It exerts back-pressure.
    pub outgoing: Pin<Box<dyn Sink<Bytes, Error = Error> + Send>>,
    /// Frames from the other side. It ends when the link is closed.
    pub incoming: BoxStream<'static, Result<Bytes>>,
    /// Counts the bytes below the frames. Without it only whole frames show that the other side is
    /// alive.
    pub activity: Option<Activity>,
    /// What the link holds until the other side was let in; a server drops it then.
    pub admission: Option<Admission>,
}

/// A place among the links whose client has not greeted yet, and the bound on what such a client
/// may send: whatever a transport wants to let go of, by its `Drop`, once a client was let in.
pub type Admission = Box<dyn std::any::Any + Send>;

/// Bytes that have moved, from the point of view of this side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Written to the other side.
    pub up: u64,
    /// Read from the other side.
    pub down: u64,
}

/// Counts the bytes of a socket. Clones count together.
///
/// ```
/// let activity = sync_core::transport::Activity::default();
/// activity.clone().read(7);
/// assert_eq!(activity.moved().down, 7);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Counters>);

/// Asked for more when a bound is reached.
type More = Box<dyn FnMut() -> Option<u64> + Send>;

struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    /// The most that may be read.
    most: AtomicU64,
    more: Mutex<Option<More>>,
}

impl Default for Counters {
    fn default() -> Self {
        let most = AtomicU64::new(u64::MAX);
        let (up, down) = (AtomicU64::default(), AtomicU64::default());
        Self { up, down, most, more: Mutex::default() }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { up, down, most, .. } = self;
        f.debug_struct("Counters")
            .field("up", up)
            .field("down", down)
            .field("most", most)
            .finish_non_exhaustive()
    }
}

impl Activity {
    /// Takes note of bytes that the socket has taken.
    pub fn wrote(&self, bytes: usize) {
        self.0.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Takes note of bytes that came out of the socket.
    pub fn read(&self, bytes: usize) {
        self.0.down.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bounds how much may be read from here on; none ends the bound. The socket fails once more
    /// has come.
    pub fn limit_reading(&self, bytes: Option<u64>) {
        let most = bytes.map_or(u64::MAX, |bytes| self.moved().down.saturating_add(bytes));
        self.0.most.store(most, Ordering::Relaxed);
    }

    /// What is asked when a bound is reached: how many bytes more may be read; none if no more may.
    pub fn on_limit(&self, more: impl FnMut() -> Option<u64> + Send + 'static) {
        *self.0.more.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(more));
    }

    /// Whether more was read than [`limit_reading`](Self::limit_reading) and
    /// [`on_limit`](Self::on_limit) allow.
    #[must_use]
    pub fn is_over(&self) -> bool {
        while self.moved().down > self.0.most.load(Ordering::Relaxed) {
            let mut more = self.0.more.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(bytes) = more.as_mut().and_then(|more| more()).filter(|bytes| *bytes > 0)
            else {
                return true;
            };
            self.0.most.fetch_add(bytes, Ordering::Relaxed);
        }
        false
    }

    /// What has moved so far.
    #[must_use]
    pub fn moved(&self) -> Moved {
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Moved { up: count(&self.0.up), down: count(&self.0.down) }
    }
}

impl fmt::Debug for FrameLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameLink").finish_non_exhaustive()
    }
}
