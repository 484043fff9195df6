//! What an implementer writes for a transport.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::error::Result;
use sync_core::transport::Transport;
use sync_server::{Server, ServerOptions};
use transport_kit::framed::FramedOptions;

use super::super::{Outcome, Skipped};

/// How a transport comes to a server, and what can be done to the link between them.
///
/// Each case gets a harness of its own and calls [`serve`](Self::serve) once. The methods that
/// break the link are capabilities: a harness that has none leaves them out, and the cases that
/// need them are skipped, counted and printed. For whatever runs over TCP a
/// [`TcpProxy`](crate::proxy::TcpProxy) gives all of them, for links made of frames a
/// [`LinkSwitch`](crate::proxy::LinkSwitch).
#[async_trait]
pub trait TransportHarness: Send + Sync + 'static {
    /// Serves a server for as long as the harness lives, and returns how a replica reaches it.
    ///
    /// # Errors
    /// Whatever keeps it from that: the case fails.
    async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>>;

    /// Changes the options of the server, before the case does: compressions, for example.
    fn adjust(&self, _options: &mut ServerOptions) {}

    /// How quick the transport is, as it is configured here.
    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// Whether a live stream goes on by itself over another link when its own breaks, as one made
    /// of single requests does.
    fn heals(&self) -> bool {
        false
    }

    /// Breaks every link that there is now, so that both sides can notice. New ones can be made.
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done.
    async fn cut(&self) -> Outcome {
        Err(Skipped("a link that can be cut"))
    }

    /// Breaks each link, those that there are and new ones, as soon as it has carried so many bytes
    /// to the replica, in the middle of whatever it carries; until [`heal`](Self::heal).
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done.
    async fn cut_after(&self, _bytes: u64) -> Outcome {
        Err(Skipped("a link that can be cut after a number of bytes"))
    }

    /// Lets links carry nothing any more, in both directions, without any sign; until
    /// [`heal`](Self::heal).
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done.
    async fn stall(&self) -> Outcome {
        Err(Skipped("a link that can be half-open"))
    }

    /// Refuses new links; until [`heal`](Self::heal). Those that there are stay.
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done.
    async fn refuse(&self) -> Outcome {
        Err(Skipped("a server that can be away"))
    }

    /// Flips one bit of what each link brings to the replica: in the byte with this number, counted
    /// from 0 and from the link's beginning; until [`heal`](Self::heal). Only for transports whose
    /// messages carry checksums.
    ///
    /// # Errors
    /// [`Skipped`] if that cannot be done, or cannot be noticed.
    async fn damage(&self, _byte: u64) -> Outcome {
        Err(Skipped("messages with checksums, on a link that can damage them"))
    }

    /// Ends what the others began: links carry again, and new ones can be made. Links that are
    /// broken stay broken.
    async fn heal(&self) {}
}

/// How quick a transport is. A case fails if it has to wait longer than these say, so they should
/// be generous: several times what the configuration promises, for machines that are busy.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timing {
    /// What the server asks for as its heartbeat in cases about links that fall silent. Default 200
    /// ms.
    pub heartbeat: Duration,
    /// Within this time whatever is pending on a link that has fallen silent has failed. Default 5
    /// s.
    pub silence: Duration,
    /// Within this time an attempt to connect to a server that is away or silent has failed.
    /// Default 5 s.
    pub connecting: Duration,
    /// Within this time everything else has happened: an answer, the failure of what is pending on
    /// a link that broke, the delivery of what a live stream waits for (with the transport's
    /// interval, if it asks in intervals). Default 10 s.
    pub prompt: Duration,
    /// Bytes of chunks that may be read ahead of a live stream that is not polled, buffers of the
    /// network included. Default 1 MiB.
    pub ahead: usize,
}

impl Timing {
    /// What a framed transport with these options promises: an attempt to connect takes as long as
    /// its greeting may, and so does whatever has to connect first.
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
