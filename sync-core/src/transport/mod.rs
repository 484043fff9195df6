//! The contracts of transports, and the link that consists of frames.
//!
//! There are two extension points. Implement [`Transport`] and [`Connection`]: requests and
//! answers, and a live stream whose polling is the flow control. Or provide a [`FrameLink`], a sink
//! and a stream of byte frames, and `FramedTransport` of the crate `transport-kit` does
//! the multiplexing, the heartbeat and the credits.
//!
//! An app whose data is behind a REST API already needs neither: it gives two closures to
//! `FnTransport` of the same crate.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Sink;
use futures_util::stream::BoxStream;

use crate::error::{Error, Result};
pub use crate::model::Delivery;
use crate::model::{PushBatch, Reset, Verdicts};
use crate::protocol::{Ack, Goodbye, Hello, Pull, Welcome};

/// Makes connections to a server.
///
/// The suite for transports in the testkit has a named case for every promise here.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Connects and sends the greeting. When it returns, the server has accepted the replica, and
    /// the welcome is its answer to exactly this greeting: one entry for each scope that the
    /// replica may see, in the order of the greeting. The transport fills in what concerns the link
    /// alone, such as the compressions of the greeting.
    ///
    /// It may be called any number of times, also while earlier connections are open: they are
    /// independent of each other. Dropping the future cancels the attempt; the next one is not
    /// affected. It tries once: the caller decides when to try again.
    ///
    /// Fails, within a bound that the transport is configured with, as
    /// - `Network` or `Timeout` if no server answers, or none that can be understood; with any
    ///   advice but *never*;
    /// - `Unauthenticated` or `PermissionDenied` if the server refuses the replica, `Incompatible`
    ///   if no version is shared: with the advice *never*;
    /// - `Protocol` if the answer breaks the protocol;
    /// - any other error that the server sends, with the server's advice.
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)>;
}

/// A connection to a server, for one replica.
///
/// **Concurrency.** Any number of requests and live streams may be under way at a time. Those
/// beyond what the link carries wait for their turn, and delay no others. Answers arrive in any
/// order, each at its caller. A request that takes the server long delays no other.
///
/// **Dropping.** The future of a request, and a live stream, may be dropped at any time, also
/// before it is polled. Nothing else on the connection is affected. Whether the server received the
/// request is then unknown, as it is after a loss.
///
/// **Errors.** An error that the server returns for a request arrives with its kind, its message
/// and its advice (with the time in it), and fails that request alone, even with the advice to
/// reconnect. An error of the link, `Network`, `Timeout` or `Protocol`, or the `Closed` or
/// `Overloaded` of a server that sends a goodbye, ends the connection: everything that is pending
/// fails at once, every later request fails as well, and both carry the advice to reconnect, or the
/// time after which the server accepts a retry.
///
/// **Noticing.** Every pending request and stream notices a reported break of the link at once, and
/// a silent link within a bound (with a heartbeat, three of them; else that of a request). A
/// transport that keeps no link between requests, such as one over HTTP, may notice only at the
/// next request. It may also send a request over another link than the one before: then a loss that
/// concerns no request does not count.
///
/// **Ending.** Dropping a connection ends it like [`close`](Self::close): its live streams end, and
/// the server soon releases all that belongs to it.
#[async_trait]
pub trait Connection: Send + Sync + fmt::Debug + 'static {
    /// Returns the chunk after a cursor, or a reset if the cursor is not valid on the server.
    ///
    /// The chunk begins exactly at the cursor (`after`), is of the requested scope, and
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
    /// change a batch, and does not push it again by itself once it may have arrived, because
    /// another batch may have followed it.
    ///
    /// Fails with `InvalidInput` and the advice *never* for a batch of another replica than the
    /// greeting's, and with `TooLarge` for one that something on the way does not accept because of
    /// its size: the replica recalls and divides it. A scope that may not be written to is no
    /// failure: every change is rejected.
    async fn push(&self, batch: PushBatch) -> Result<Verdicts>;

    /// Returns the chunks after a cursor as they come: each begins where the one before it ended,
    /// the first at the cursor. Catching up and following are the same; no chunk is left out, none
    /// is repeated, and each moves the cursor. That holds whatever happens meanwhile: other
    /// requests, appends before the first poll, long times without a poll.
    ///
    /// The call itself sends nothing; the first poll does. The stream is polled only when there is
    /// room for another chunk. Chunks that are not polled wait on the server as a position: how
    /// much is sent ahead is bounded, and delays nothing else on the connection. How soon an append
    /// is delivered depends on the transport; a wait is not a failure. A caller that drops the
    /// future of `next` and keeps the stream loses nothing.
    ///
    /// The stream ends, that is, returns `None`, only after its last item, which is one of
    /// - a [reset](Delivery::Reset), if the cursor is not valid on the server, from the beginning
    ///   or since the log began another epoch;
    /// - `PermissionDenied` with the advice *never*, when the replica may not see the scope any
    ///   more;
    /// - another error of the server, which fails this stream alone;
    /// - an error with the advice to reconnect, when the link is lost for good. A transport that
    ///   can continue over another link without leaving anything out may do so instead.
    ///
    /// It never ends without such an item. Dropping it soon ends it on the server too.
    fn live(&self, pull: Pull) -> BoxStream<'static, Result<Delivery>>;

    /// Acknowledges how far the replica is. When it returns, the server has recorded it; a reset
    /// means that the server has other documents at that position. A repetition is harmless.
    async fn acknowledge(&self, ack: Ack) -> Result<Option<Reset>>;

    /// Continues with another token: when it returns, every later request uses it. What is pending
    /// may be served under either.
    ///
    /// Fails with `Unauthenticated` and the advice *never* if the server refuses the token; the
    /// connection continues under the old one.
    async fn renew(&self, token: String) -> Result<()>;

    /// Returns how many bytes have moved on the connection, or for it, as near to the socket as the
    /// transport can count. With it a request that progresses slowly is not mistaken for one that
    /// gets no answer. None, the default, if the transport does not count.
    fn moved(&self) -> Option<Moved> {
        None
    }

    /// Completes when the connection has ended, with the reason: at the latest when a request has
    /// failed for that reason, and after [`close`](Self::close). Without requests, a transport that
    /// keeps no link need not notice.
    ///
    /// May be called more than once, and be dropped.
    async fn lost(&self) -> Error;

    /// Sends a goodbye and closes the link. When it returns, everything that was pending has
    /// failed, or fails as soon as it is polled, and every later request fails: as `Closed`, with
    /// the advice to reconnect. It takes a bounded time, whatever the state of the link. Closing
    /// twice is fine.
    async fn close(&self, why: Goodbye);
}

/// A link that carries frames in order: each is sent and received whole.
pub struct FrameLink {
    /// Frames to the other side. It exerts back-pressure.
    pub outgoing: Pin<Box<dyn Sink<Bytes, Error = Error> + Send>>,
    /// Frames from the other side. It ends when the link is closed.
    pub incoming: BoxStream<'static, Result<Bytes>>,
    /// Counts the bytes below the frames. Without it only whole frames show that the other side is
    /// alive.
    pub activity: Option<LinkActivity>,
    /// What the link holds until the other side is authenticated; a server drops it then.
    pub admission: Option<Admission>,
}

/// A place among the links whose client has not greeted yet, with the bound on what such a client
/// may send. It is any value that a transport releases, by its `Drop`, once a client is
/// authenticated.
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
/// let activity = sync_core::transport::LinkActivity::default();
/// activity.clone().read(7);
/// assert_eq!(activity.moved().down, 7);
/// ```
#[derive(Clone, Debug, Default)]
pub struct LinkActivity(Arc<Counters>);

/// Called for more bytes when a bound is reached.
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

impl LinkActivity {
    /// Takes note of bytes that the socket has taken.
    pub fn wrote(&self, bytes: usize) {
        self.0.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that were read from the socket.
    pub fn read(&self, bytes: usize) {
        self.0.down.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bounds how much may be read from here on; none ends the bound. The socket fails once more
    /// was read.
    pub fn limit_reading(&self, bytes: Option<u64>) {
        let most = bytes.map_or(u64::MAX, |bytes| self.moved().down.saturating_add(bytes));
        self.0.most.store(most, Ordering::Relaxed);
    }

    /// Sets what is called when a bound is reached: it returns how many more bytes may be read;
    /// none if no more may.
    pub fn on_limit(&self, more: impl FnMut() -> Option<u64> + Send + 'static) {
        *self.0.more.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(more));
    }

    /// Returns whether more was read than [`limit_reading`](Self::limit_reading) and
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

    /// Returns what has moved so far.
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
