//! Sending messages on a link.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt};
use tokio::time::timeout;

use super::Link;
use crate::budget;
use crate::read::Served;
use crate::session::SessionInput;
use crate::shared_chunk::SharedChunk;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::protocol::{Goodbye, Message, WireError};
use sync_core::transport::LinkActivity;

/// How long a link that is ending may take to send the reason.
const FAREWELL: Duration = Duration::from_secs(1);

impl Link<'_> {
    pub(super) async fn send_found(&mut self, stream: u32) -> Result<()> {
        match self.take_found(stream) {
            Some(Ok(Served::Chunk(chunk))) => self.send_chunk(stream, &chunk).await,
            Some(Ok(Served::Reset(reset))) => self.send(stream, Message::Reset(reset)).await,
            Some(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
                self.send(stream, Message::ScopeGone(error.message().to_owned())).await
            }
            Some(Err(error)) => self.send(stream, failed(&error)).await,
            None => Ok(()),
        }
    }

    /// Sends a message. It is dropped once it is encoded: a waiting task does not keep it.
    pub(super) fn send(
        &mut self,
        stream: u32,
        message: Message,
    ) -> impl Future<Output = Result<()>> {
        let frame = self.wire.encode(stream, &message);
        self.send_frame(frame)
    }

    /// Sends a chunk. A large one is copied for the link, and the copy is counted until it is sent.
    pub(super) async fn send_chunk(&mut self, stream: u32, chunk: &Arc<SharedChunk>) -> Result<()> {
        let payload = chunk.payload(self.wire.compression().map(|c| &**c));
        let size = payload.bytes().len();
        let _room = match &self.peer {
            Some(peer) if size > budget::FREE => {
                Some(Box::pin(self.server.0.budget.take(size, &peer.principal)).await?)
            }
            _ => None,
        };
        let frame = self.wire.encode_payload(stream, &payload);
        drop(payload);
        self.send_frame(frame).await
    }

    /// Sends the reason to a client that broke the protocol, if the link still works.
    pub(super) async fn hang_up(&mut self, error: &Error) {
        let message = match error.kind() {
            ErrorKind::Protocol => {
                let reason = error.message().to_owned();
                Message::Goodbye(Goodbye { reason, retry_after: None })
            }
            // A goodbye has no kind: the replica has to know that the reason was the size.
            ErrorKind::TooLarge => Message::Failed(WireError::from(error)),
            _ => return,
        };
        let frame = self.wire.encode(0, &message);
        let farewell = async {
            self.outgoing.send(frame).await?;
            self.outgoing.close().await
        };
        // Whether the message arrived does not matter.
        let _ = timeout(FAREWELL, farewell).await;
    }

    /// Sends a frame; a replica that reads nothing of it for too long is disconnected.
    async fn send_frame(&mut self, frame: Bytes) -> Result<()> {
        let (patience, activity) = (self.patience, self.activity.clone());
        let mut sending = self.outgoing.send(frame);
        let sent = match (&mut sending).now_or_never() {
            Some(sent) => sent,
            // In a box, because nearly every task waits elsewhere and should not reserve room for
            // this.
            None => Box::pin(in_time(patience, activity, sending)).await,
        };
        sent?;
        self.input(SessionInput::Sent);
        Ok(())
    }
}

/// Waits for a frame to be sent for as long as bytes move.
async fn in_time(
    patience: Duration,
    activity: Option<LinkActivity>,
    mut sending: impl Future<Output = Result<()>> + Unpin,
) -> Result<()> {
    let written = || activity.as_ref().map_or(0, |activity| activity.moved().up);
    loop {
        let before = written();
        if let Ok(sent) = timeout(patience, &mut sending).await {
            return sent;
        }
        if written() == before {
            return Err(Error::new(ErrorKind::Timeout, "the replica does not read any more"));
        }
    }
}

pub(super) fn failed(error: &Error) -> Message {
    if matches!(error.kind(), ErrorKind::Storage | ErrorKind::Internal | ErrorKind::Incompatible) {
        tracing::error!(error = %error.report(), "a request failed");
    }
    Message::Failed(WireError::from(error))
}
