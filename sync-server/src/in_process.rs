//! A server in the same process: for tests, simulations, and apps that are their own server.

use async_trait::async_trait;

use super::Server;
use sync_core::error::Result;
use sync_core::transport::FrameLink;
use transport_kit::framed::{Dial, FramedOptions, FramedTransport, memory_link};

/// Frames that may be on their way in each direction.
const FRAMES: usize = 8;

/// Dials a server in the same process, with the same sessions, frames and codec as over a network.
#[derive(Clone, Debug)]
pub struct InProcess(Server);

impl InProcess {
    /// Makes a dialer of that server.
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self(server)
    }
}

#[async_trait]
impl Dial for InProcess {
    async fn dial(&self) -> Result<FrameLink> {
        let (here, there) = memory_link(FRAMES);
        let server = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = server.serve_link(there).await {
                tracing::debug!(error = %error.report(), "a link in this process ended");
            }
        });
        Ok(here)
    }
}

impl Server {
    /// Returns the transport for replicas in the same process.
    #[must_use]
    pub fn in_process(&self) -> FramedTransport<InProcess> {
        FramedTransport::new(InProcess::new(self.clone()), FramedOptions::default())
    }
}
