//! The harness that the implementer of a transport writes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::error::Result;
use sync_core::transport::Transport;
use sync_server::{Server, ServerOptions};
use transport_kit::framed::FramedOptions;

use super::super::{Outcome, Skipped};
use crate::proxy::{Ending, TcpProxy};

/// Connects a transport to a server, and injects faults into the link between them.
///
/// Each case gets a fresh harness and calls [`serve`](Self::serve) once. The methods that break the
/// link are capabilities: a harness without them leaves them out, and the cases that need them are
/// skipped, counted and printed. Over TCP a harness names its [proxy](Self::proxy), for links made
/// of frames a [`LinkSwitch`](crate::proxy::LinkSwitch) provides all of them.
#[async_trait]
pub trait TransportHarness: Send + Sync + 'static {
    /// Serves a server while the harness exists, and returns a transport to it.
    ///
    /// # Errors
    /// Any failure: the case fails.
    async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>>;

    /// Changes the options of the server, before the case does: compressions, for example.
    fn adjust(&self, _options: &mut ServerOptions) {}

    /// Returns the bounds of the transport, as it is configured here.
    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// Returns whether a live stream continues by itself over another link when its link breaks,
    /// like a stream that is made of single requests.
    fn heals(&self) -> bool {
        false
    }

    /// Returns the proxy that the links pass through, if there is one. The methods below are then
    /// those of the proxy, but for [`damage`](Self::damage), and a harness leaves them out.
    fn proxy(&self) -> Option<&TcpProxy> {
        None
    }

    /// Breaks every current link, so that both sides can detect it. New ones can be made.
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done.
    async fn cut(&self) -> Outcome {
        through(self.proxy(), "a link that can be cut", |proxy| proxy.cut(Ending::Reset))
    }

    /// Breaks each link, current or new, as soon as it has carried so many bytes to the replica, in
    /// the middle of any frame; until [`heal`](Self::heal).
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done.
    async fn cut_after(&self, bytes: u64) -> Outcome {
        through(self.proxy(), "a link that can be cut after a number of bytes", |proxy| {
            proxy.change(|b| b.to_client.cut_after = Some(bytes));
        })
    }

    /// Stops all links from carrying bytes, in both directions, without an error; until
    /// [`heal`](Self::heal).
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done.
    async fn stall(&self) -> Outcome {
        through(self.proxy(), "a link that can be half-open", TcpProxy::stall)
    }

    /// Refuses new links; until [`heal`](Self::heal). Current ones stay.
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done.
    async fn refuse(&self) -> Outcome {
        through(self.proxy(), "a server that can be away", TcpProxy::refuse)
    }

    /// Flips one bit in the bytes that each link carries to the replica: in the byte with this
    /// number, counted from 0 and from the link's beginning; until [`heal`](Self::heal). Only for
    /// transports whose messages carry checksums.
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done, or cannot be detected.
    async fn damage(&self, _byte: u64) -> Outcome {
        Err(Skipped("messages with checksums, on a link that can damage them"))
    }

    /// Ends all faults: links carry bytes again, and new ones can be made. Broken links stay
    /// broken.
    async fn heal(&self) {
        if let Some(proxy) = self.proxy() {
            proxy.pass();
        }
    }
}

fn through(proxy: Option<&TcpProxy>, needs: &'static str, job: impl FnOnce(&TcpProxy)) -> Outcome {
    proxy.map(job).ok_or(Skipped(needs))
}

/// The bounds of a transport's waits. A case fails if it has to wait longer, so they should be
/// generous: several times what the configuration promises, for busy machines.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timing {
    /// The server's heartbeat in cases about silent links. Default 200 ms.
    pub heartbeat: Duration,
    /// The time in which pending requests on a silent link have failed. Default 5 s.
    pub silence: Duration,
    /// The time in which an attempt to connect to an unreachable or silent server has failed.
    /// Default 5 s.
    pub connecting: Duration,
    /// The time in which everything else has happened: an answer, the failure of pending requests
    /// on a broken link, the delivery of a live stream's next chunk (with the transport's interval,
    /// if it polls). Default 10 s.
    pub prompt: Duration,
    /// How many bytes of chunks may be read ahead of a live stream that is not polled, buffers of
    /// the network included. Default 1 MiB.
    pub ahead: usize,
}

impl Timing {
    /// Returns the bounds of a framed transport with these options: an attempt to connect takes as
    /// long as its greeting may, and so does a request that has to connect first.
    #[must_use]
    pub fn framed(options: &FramedOptions) -> Self {
        let usual = Self::default();
        let connecting = options.greeting_timeout.saturating_mul(2).max(usual.connecting);
        let silence = usual.silence.max(connecting);
        Self { connecting, silence, prompt: usual.prompt.max(connecting), ..usual }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(200),
            silence: Duration::from_secs(5),
            connecting: Duration::from_secs(5),
            prompt: Duration::from_secs(10),
            ahead: 1 << 20,
        }
    }
}
