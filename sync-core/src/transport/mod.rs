//! The contracts of transport, and the link that is made of frames.
//!
//! Two doors lead here. Implement [`Transport`] and [`Connection`]: requests and answers, and a live stream whose polling
//! is the flow control. Or give a [`FrameLink`], a sink and a stream of byte frames, and
//! [`FramedTransport`](crate::framed::FramedTransport) does the multiplexing, the heartbeat and the credits.
//!
//! An app whose data is behind a REST API already needs neither: it gives two closures (see [`foreign`](crate::foreign)).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Sink;
use futures_util::stream::BoxStream;

use crate::error::{Error, Result};
use crate::model::{Chunk, PushBatch, Reset, Verdicts};
use crate::protocol::{Ack, Goodbye, Hello, Pull, Welcome};

/// Makes connections to a server.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Connects and greets. Dropping the future gives the attempt up.
    ///
    /// Fails with `Network` or `Timeout` if nobody answers, `Unauthenticated` or `PermissionDenied` if the server refuses
    /// the replica, `Protocol` or `Incompatible` if no version is shared. The retry advice says what can help.
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)>;
}

/// A connection to a server. Losing the link fails everything that is pending on it at once, with advice to reconnect.
#[async_trait]
pub trait Connection: Send + Sync + fmt::Debug + 'static {
    /// The chunk after a cursor, or a reset.
    async fn pull(&self, pull: Pull) -> Result<Delivery>;

    /// Pushes a batch. If the future is dropped or the link is lost, it is unknown whether the batch arrived: the same
    /// batch is pushed again.
    async fn push(&self, batch: PushBatch) -> Result<Verdicts>;

    /// Chunks after a cursor as they come. The stream is polled only when there is room for another chunk, and what is
    /// not polled waits on the server. It ends with an error, or when it is dropped.
    fn live(&self, pull: Pull) -> BoxStream<'static, Result<Delivery>>;

    /// Tells how far the replica is; a reset if the server's documents differ there.
    async fn acknowledge(&self, ack: Ack) -> Result<Option<Reset>>;

    /// Goes on with another token.
    async fn renew(&self, token: String) -> Result<()>;

    /// Completes when the link is lost, with why. May be called once.
    async fn lost(&self) -> Error;

    /// Says goodbye and lets go of the link. Everything pending fails.
    async fn close(&self, why: Goodbye);
}

/// What a pull or a live stream brings.
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
}

impl fmt::Debug for FrameLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameLink").finish_non_exhaustive()
    }
}
