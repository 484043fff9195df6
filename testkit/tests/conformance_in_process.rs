//! The suite for transports over links in memory.

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::error::Result;
use sync_core::transport::Transport;
use sync_server::{InProcess, Server};
use testkit::conformance::Outcome;
use testkit::conformance::transport::{Timing, TransportHarness};
use testkit::proxy::LinkSwitch;
use transport_kit::framed::{FramedOptions, FramedTransport};

#[derive(Default)]
struct InMemory {
    links: LinkSwitch,
    options: FramedOptions,
}

impl InMemory {
    /// Greetings that fail quickly, so that the cases about silence end quickly.
    fn quick() -> Self {
        let mut options = FramedOptions::default();
        options.greeting_timeout = std::time::Duration::from_millis(500);
        Self { options, ..Self::default() }
    }
}

#[async_trait]
impl TransportHarness for InMemory {
    async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>> {
        let links = self.links.wrap(InProcess::new(server));
        Ok(Arc::new(FramedTransport::new(links, self.options.clone())))
    }

    fn timing(&self) -> Timing {
        Timing::framed(&self.options)
    }

    async fn cut(&self) -> Outcome {
        self.links.cut();
        Ok(())
    }

    async fn cut_after(&self, bytes: u64) -> Outcome {
        self.links.cut_after(bytes);
        Ok(())
    }

    async fn damage(&self, byte: u64) -> Outcome {
        self.links.flip_at(byte);
        Ok(())
    }

    async fn stall(&self) -> Outcome {
        self.links.stall();
        Ok(())
    }

    async fn refuse(&self) -> Outcome {
        self.links.refuse();
        Ok(())
    }

    async fn heal(&self) {
        self.links.heal();
    }
}

testkit::transport_conformance!(InMemory::quick());
testkit::transport_fault_injection!(InMemory::quick());

mod usual_options {
    use super::InMemory;

    testkit::transport_conformance!(InMemory::default());
}

/// A small harness, which cannot inject faults into the link.
mod without_capabilities {
    use std::sync::Arc;

    use sync_core::error::Result;
    use sync_core::transport::Transport;
    use sync_server::{InProcess, Server};
    use testkit::conformance::transport::TransportHarness;
    use transport_kit::framed::{FramedOptions, FramedTransport};

    struct Bare;

    #[async_trait::async_trait]
    impl TransportHarness for Bare {
        async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>> {
            let options = FramedOptions::default();
            Ok(Arc::new(FramedTransport::new(InProcess::new(server), options)))
        }
    }

    testkit::transport_conformance!(Bare);
}
