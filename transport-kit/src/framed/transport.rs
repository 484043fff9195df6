//! The client's side of a framed transport: dial, greet, and return the connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};

use super::connection::FramedConnection;
use super::{Compression, Dial, MAX_PAYLOAD, Wire};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::protocol::{Goodbye, Hello, Message, Welcome};
use sync_core::transport::{Connection, FrameLink, Transport};

/// The longest heartbeat that a server may set.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(60 * 60);

/// Bounds and times of framed connections.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FramedOptions {
    /// The largest payload that is sent or accepted, before and after decompression. Default
    /// [`MAX_PAYLOAD`].
    pub max_payload: usize,
    /// How long the server may take to answer the greeting. Default 15 s.
    pub greeting_timeout: Duration,
    /// Requests that may wait to be sent; callers of further requests wait. Default 64.
    pub queue: usize,
    /// Requests and live streams that may be open at a time; later ones wait in the queue. Default
    /// 256.
    pub open: usize,
    /// Chunks that the server may send ahead on a live stream before the app polls them. Credit is
    /// given in messages for half of it, so that following a log that changes often costs few
    /// messages. Default 8, at least 1.
    pub window: u32,
    /// The compressions that are offered to the server, most wanted first. Default none.
    pub compressions: Vec<Arc<dyn Compression>>,
}

impl Default for FramedOptions {
    fn default() -> Self {
        Self {
            max_payload: MAX_PAYLOAD,
            greeting_timeout: Duration::from_secs(15),
            queue: 64,
            open: 256,
            window: 8,
            compressions: Vec::new(),
        }
    }
}

/// A transport over links that carry frames.
///
/// It sends the greeting, distinguishes requests by stream, keeps the heartbeat, and sends credits
/// as chunks are polled. One task per connection owns the link.
#[derive(Debug)]
pub struct FramedTransport<D> {
    dial: D,
    options: FramedOptions,
}

impl<D: Dial> FramedTransport<D> {
    /// Creates a transport over the links that `dial` makes.
    #[must_use]
    pub fn new(dial: D, options: FramedOptions) -> Self {
        Self { dial, options }
    }
}

#[async_trait]
impl<D: Dial> Transport for FramedTransport<D> {
    /// Connects. The compressions of the greeting are replaced by those of the options.
    async fn connect(&self, mut hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        let options = &self.options;
        hello.compressions = options.compressions.iter().map(|c| c.name().to_owned()).collect();
        let mut link = self.dial.dial().await.map_err(|e| e.during("connect"))?;
        let mut wire = Wire::new(options.max_payload);
        let greeting = greet(&mut link, &mut wire, options, hello);
        let welcome = match tokio::time::timeout(options.greeting_timeout, greeting).await {
            Ok(welcome) => welcome.map_err(|e| e.during("greet"))?,
            Err(_) => {
                let error = Error::new(ErrorKind::Timeout, "the server did not answer in time");
                return Err(error.during("greet"));
            }
        };
        let heartbeat = Duration::from_millis(welcome.heartbeat);
        let connection = FramedConnection::start(link, wire, heartbeat, options);
        Ok((Arc::new(connection), welcome))
    }
}

async fn greet(
    link: &mut FrameLink,
    wire: &mut Wire,
    options: &FramedOptions,
    hello: Hello,
) -> Result<Welcome> {
    let versions = hello.versions.clone();
    let hello = wire.encode(0, &Message::Hello(hello));
    link.outgoing.send(hello).await?;
    let answer = link.incoming.next().await.unwrap_or_else(|| Err(ended()))?;
    let welcome = match wire.decode(answer)? {
        (0, Message::Welcome(welcome)) => welcome,
        (0, Message::Failed(error)) => return Err(error.into()),
        (0, Message::Goodbye(goodbye)) => return Err(dismissed(goodbye)),
        _ => return Err(broken("the server did not answer the greeting")),
    };
    if !versions.contains(&welcome.version) {
        return Err(broken("the server speaks a version that was not offered"));
    }
    if welcome.heartbeat == 0 || Duration::from_millis(welcome.heartbeat) > LONGEST_HEARTBEAT {
        return Err(broken("the server asks for a heartbeat that cannot be kept"));
    }
    if let Some(name) = &welcome.compression {
        let agreed = options.compressions.iter().find(|c| c.name() == name);
        let agreed = agreed.ok_or_else(|| broken("the server chose no compression of ours"))?;
        wire.set_compression(Some(Arc::clone(agreed)));
    }
    Ok(welcome)
}

/// Returns the error for a violation of the protocol by the other side.
pub(super) fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, what)
}

/// Returns the error for a link that ended without a reason.
pub(super) fn ended() -> Error {
    Error::new(ErrorKind::Network, "the server closed the link")
}

/// Returns the error for a goodbye of the server.
pub(super) fn dismissed(goodbye: Goodbye) -> Error {
    let message = format!("the server closes the connection: {}", goodbye.reason);
    match goodbye.retry_after {
        Some(after) => Error::new(ErrorKind::Overloaded, message)
            .retrying(Retry::Later(Some(Duration::from_millis(after)))),
        None => Error::new(ErrorKind::Closed, message).retrying(Retry::Reconnect),
    }
}
