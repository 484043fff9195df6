//! Dialling links, and a link in memory.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, sink, stream};
use tokio::sync::mpsc;

use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::FrameLink;

/// Connects links to one server.
#[async_trait]
pub trait Dial: Send + Sync + fmt::Debug + 'static {
    /// Connects one link. Dropping the future cancels the attempt.
    ///
    /// Fails with `Network` or `Timeout` if no server answers, and with the server's refusal if it
    /// refuses.
    async fn dial(&self) -> Result<FrameLink>;
}

/// Creates the two ends of a link in memory. `capacity` frames may be in flight in each direction;
/// then the sender waits.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use futures_util::{SinkExt, StreamExt};
/// let (mut here, mut there) = transport_kit::framed::memory_link(8);
/// here.outgoing.send("frame".into()).await.unwrap();
/// assert_eq!(there.incoming.next().await.unwrap().unwrap(), "frame");
/// # });
/// ```
#[must_use]
pub fn memory_link(capacity: usize) -> (FrameLink, FrameLink) {
    let ((to_there, from_here), (to_here, from_there)) =
        (mpsc::channel(capacity.max(1)), mpsc::channel(capacity.max(1)));
    (end(to_there, from_there), end(to_here, from_here))
}

fn end(to: mpsc::Sender<Bytes>, from: mpsc::Receiver<Bytes>) -> FrameLink {
    let outgoing = sink::unfold(to, |to, frame| async move {
        match to.send(frame).await {
            Ok(()) => Ok(to),
            Err(_) => Err(Error::new(ErrorKind::Network, "the other end is gone")),
        }
    });
    let incoming =
        stream::unfold(from, |mut from| async move { Some((Ok(from.recv().await?), from)) });
    FrameLink {
        outgoing: Box::pin(outgoing),
        incoming: incoming.boxed(),
        activity: None,
        admission: None,
    }
}
