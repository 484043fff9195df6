//! The suite for transports over links in memory.

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::error::Result;
use sync_core::framed::{FramedOptions, FramedTransport};
use sync_core::server::{InProcess, Server};
use sync_core::transport::Transport;
use testkit::conformance::Outcome;
use testkit::conformance::transport::TransportHarness;
use testkit::proxy::LinkSwitch;

#[derive(Default)]
struct InMemory(LinkSwitch);

#[async_trait]
impl TransportHarness for InMemory {
    async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>> {
        let mut options = FramedOptions::default();
        options.greeting_timeout = std::time::Duration::from_millis(500);
        Ok(Arc::new(FramedTransport::new(self.0.wrap(InProcess::new(server)), options)))
    }

    async fn cut(&self) -> Outcome {
        self.0.cut();
        Ok(())
    }

    async fn cut_after(&self, bytes: u64) -> Outcome {
        self.0.cut_after(bytes);
        Ok(())
    }

    async fn damage(&self, byte: u64) -> Outcome {
        self.0.flip_at(byte);
        Ok(())
    }

    async fn stall(&self) -> Outcome {
        self.0.stall();
        Ok(())
    }

    async fn refuse(&self) -> Outcome {
        self.0.refuse();
        Ok(())
    }

    async fn heal(&self) {
        self.0.heal();
    }
}

testkit::transport_conformance!(InMemory::default());
testkit::transport_teeth!(InMemory::default());
