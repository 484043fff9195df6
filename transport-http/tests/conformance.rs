//! The conformance suite over HTTP on this machine, with a proxy between the two sides: with
//! streams, long polls and polls, each as the only way, and with the best way that works and
//! compressed bodies.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::Transport;
use sync_server::Server;
use testkit::conformance::transport::{Timing, TransportFault, TransportHarness, demand};
use testkit::conformance::{Outcome, Skipped};
use testkit::proxy::{Ending, TcpProxy};
use tokio::net::TcpListener;
use transport_http::{HttpConfig, HttpTransport, LiveBy, ProxyBy, router};

struct OverHttp {
    live: LiveBy,
    /// Whether bodies are compressed in both directions.
    compress: bool,
    proxy: OnceLock<TcpProxy>,
}

impl OverHttp {
    fn new(live: LiveBy) -> Self {
        Self { live, compress: false, proxy: OnceLock::new() }
    }

    fn compressed() -> Self {
        Self { compress: true, ..Self::new(LiveBy::Auto) }
    }
}

#[async_trait]
impl TransportHarness for OverHttp {
    async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>> {
        let no_port = |e| Error::new(ErrorKind::Network, "no port").because(e);
        let socket = TcpListener::bind("127.0.0.1:0").await.map_err(no_port)?;
        let proxy = TcpProxy::start(socket.local_addr().map_err(no_port)?).await?;
        // It ends with the runtime of the case.
        tokio::spawn(transport_kit::listen(socket, router(server), std::future::pending()));
        let mut config = HttpConfig::new(format!("http://{}", proxy.address()));
        config.proxy = ProxyBy::None;
        config.live = self.live;
        config.compress = self.compress;
        config.poll_interval = Duration::from_millis(50);
        config.wait = Duration::from_secs(2);
        config.connect_timeout = Duration::from_millis(500);
        config.request_timeout = Duration::from_secs(2);
        config.fallback.first_bytes = Duration::from_secs(1);
        let _ = self.proxy.set(proxy);
        Ok(Arc::new(HttpTransport::new(config)?))
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        if matches!(self.live, LiveBy::Auto | LiveBy::Sse) {
            // The size to which the buffers of two pairs of sockets may grow, which is up to the
            // operating system.
            timing.ahead = 12 << 20;
        }
        timing
    }

    fn heals(&self) -> bool {
        true
    }

    fn proxy(&self) -> Option<&TcpProxy> {
        self.proxy.get()
    }

    async fn damage(&self, byte: u64) -> Outcome {
        // Connections are reused, but the bytes of a new one are counted.
        let proxy = self.proxy().ok_or(Skipped("a server that is served"))?;
        proxy.cut(Ending::Finish);
        proxy.change(|b| b.to_client.flip_at = Some(byte));
        Ok(())
    }
}

mod sse {
    use super::*;
    testkit::transport_conformance!(OverHttp::new(LiveBy::Sse));
}

mod long_poll {
    use super::*;
    testkit::transport_conformance!(OverHttp::new(LiveBy::LongPoll));
}

mod poll {
    use super::*;
    testkit::transport_conformance!(OverHttp::new(LiveBy::Poll));
}

mod compressed {
    use super::*;
    testkit::transport_conformance!(OverHttp::compressed());
}

/// The suite detects broken transports over HTTP, too, except for two faults: HTTP servers limit
/// streams separately from scopes, and the buffers of two pairs of sockets hide chunks that are
/// read ahead.
#[test]
fn the_suite_detects_faults_over_streams() {
    let hidden = [TransportFault::KeepsDroppedStreams, TransportFault::ReadsAhead];
    let faults: Vec<_> =
        TransportFault::ALL.iter().copied().filter(|fault| !hidden.contains(fault)).collect();
    std::thread::scope(|scope| {
        for some in faults.chunks(faults.len().div_ceil(4)) {
            scope.spawn(move || {
                for fault in some {
                    let outcome = demand(*fault, || OverHttp::new(LiveBy::Sse));
                    assert!(outcome.is_ok(), "{fault:?} was skipped");
                }
            });
        }
    });
}
