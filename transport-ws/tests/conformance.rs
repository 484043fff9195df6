//! The conformance suite over WebSockets on this machine, with a proxy between the two sides.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::Transport;
use sync_server::{Server, ServerOptions};
use testkit::conformance::transport::{Timing, TransportHarness};
use testkit::conformance::{Outcome, Skipped};
use testkit::proxy::{Ending, TcpProxy};
use tokio::net::TcpListener;
use transport_ws::{WsConfig, WsTransport, Zstd, router};

#[derive(Default)]
struct OverSockets {
    proxy: OnceLock<TcpProxy>,
    /// How connections end when they are cut.
    ending: Ending,
    /// Whether both sides offer to compress.
    compressed: bool,
}

impl OverSockets {
    /// Returns links that are closed when they are cut, and compress messages.
    fn the_other_way() -> Self {
        Self { ending: Ending::Finish, compressed: true, ..Self::default() }
    }

    fn served(&self) -> Result<&TcpProxy, Skipped> {
        self.proxy.get().ok_or(Skipped("a server that is served"))
    }
}

#[async_trait]
impl TransportHarness for OverSockets {
    async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>> {
        let no_port = |e| Error::new(ErrorKind::Network, "no port").because(e);
        let socket = TcpListener::bind("127.0.0.1:0").await.map_err(no_port)?;
        let proxy = TcpProxy::start(socket.local_addr().map_err(no_port)?).await?;
        // It ends with the runtime of the case.
        tokio::spawn(transport_kit::listen(socket, router(server), std::future::pending()));
        let mut config = WsConfig::new(format!("ws://{}", proxy.address()));
        config.connect_timeout = Duration::from_millis(500);
        config.framed.greeting_timeout = Duration::from_millis(500);
        if self.compressed {
            config.framed.compressions = vec![Arc::new(Zstd)];
        }
        let _ = self.proxy.set(proxy);
        Ok(Arc::new(WsTransport::new(config)?))
    }

    fn adjust(&self, options: &mut ServerOptions) {
        if self.compressed {
            options.compressions = vec![Arc::new(Zstd)];
        }
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        // Two chunks by credit, and the buffers of two pairs of sockets.
        timing.ahead = 2 << 20;
        timing
    }

    fn proxy(&self) -> Option<&TcpProxy> {
        self.proxy.get()
    }

    async fn cut(&self) -> Outcome {
        self.served()?.cut(self.ending);
        Ok(())
    }

    async fn cut_after(&self, bytes: u64) -> Outcome {
        self.served()?.change(|b| {
            b.ending = self.ending;
            b.to_client.cut_after = Some(bytes);
        });
        Ok(())
    }

    async fn damage(&self, byte: u64) -> Outcome {
        self.served()?.change(|b| b.to_client.flip_at = Some(byte));
        Ok(())
    }
}

testkit::transport_conformance!(OverSockets::default());
mod closed_and_compressed {
    use super::*;

    testkit::transport_conformance!(OverSockets::the_other_way());
}

testkit::transport_fault_injection!(OverSockets::default());
