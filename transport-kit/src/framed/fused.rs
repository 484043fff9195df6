//! The sending half of a link, which rejects everything after its end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Sink;

use sync_core::error::{Error, ErrorKind, Result, Retry};

/// A sink that is not used again after it has failed or was closed. Many sinks panic when they are
/// used after an error, and the code that ends a connection should not have to track earlier
/// failures.
pub struct Fused {
    sink: Pin<Box<dyn Sink<Bytes, Error = Error> + Send>>,
    is_over: bool,
}

impl fmt::Debug for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fused").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl Fused {
    /// Wraps a sink.
    #[must_use]
    pub fn new(sink: Pin<Box<dyn Sink<Bytes, Error = Error> + Send>>) -> Self {
        Self { sink, is_over: false }
    }

    fn check(&self) -> Result<()> {
        let over = || Error::new(ErrorKind::Network, "the link accepts no frames any more");
        if self.is_over { Err(over().retrying(Retry::Reconnect)) } else { Ok(()) }
    }

    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        self.is_over |= result.is_err();
        result
    }
}

impl Sink<Bytes> for Fused {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check()?;
        let ready = self.sink.as_mut().poll_ready(cx);
        ready.map(|result| self.note(result))
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Bytes) -> Result<()> {
        self.check()?;
        let started = self.sink.as_mut().start_send(frame);
        self.note(started)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check()?;
        let flushed = self.sink.as_mut().poll_flush(cx);
        flushed.map(|result| self.note(result))
    }

    /// Closes the sink. Closing it again does nothing, and is no error.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.is_over {
            return Poll::Ready(Ok(()));
        }
        let closed = self.sink.as_mut().poll_close(cx);
        self.is_over = closed.is_ready();
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, SinkExt, StreamExt, sink, stream};

    use super::*;
    use storage_kit::kv::{KvOptions, MemoryKv, open_server};

    use sync_core::transport::FrameLink;
    use sync_server::{Hooks, Server, ServerOptions};

    /// Returns a sink that accepts nothing, and panics when it is used after a failure, as sinks
    /// made of adapters do.
    fn broken() -> Pin<Box<dyn Sink<Bytes, Error = Error> + Send>> {
        let fails = sink::unfold((), |(), _: Bytes| async { Err::<(), _>("the socket broke") });
        Box::pin(fails.sink_map_err(|what| Error::new(ErrorKind::Network, what)))
    }

    #[test]
    fn a_failed_sink_is_not_used_again() {
        let mut fused = Fused::new(broken());
        let mut send = || fused.send(Bytes::new()).now_or_never().unwrap().unwrap_err();
        assert_eq!(send().message(), "the socket broke");
        assert_eq!(send().message(), "the link accepts no frames any more");
        fused.close().now_or_never().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_server_whose_link_broke_can_say_goodbye() {
        let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
        let (hooks, options) = (Hooks::default(), ServerOptions::default());
        let server = Server::builder(Arc::new(storage)).hooks(hooks).options(options).build();
        // The received frame breaks the protocol, and the link cannot send the goodbye.
        let incoming = stream::iter([Ok(Bytes::from_static(b"no frame"))]).boxed();
        let ended = server
            .serve_link(FrameLink { outgoing: broken(), incoming, activity: None, admission: None })
            .await;
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Protocol);
    }
}
