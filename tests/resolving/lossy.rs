//! A transport on which answers get lost after the server did what was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{PushBatch, Reset, Verdicts};
use sync_core::protocol::{Ack, Goodbye, Hello, Pull, Welcome};
use sync_core::transport::{Connection, Delivery, Transport};

/// Loses the next so many answers to pushes, each with its link.
#[derive(Clone, Debug)]
pub(crate) struct Lossy {
    inner: Arc<dyn Transport>,
    left: Arc<AtomicUsize>,
}

impl Lossy {
    pub(crate) fn new(inner: Arc<dyn Transport>) -> Self {
        Self { inner, left: Arc::default() }
    }

    pub(crate) fn lose(&self, answers: usize) {
        self.left.store(answers, Ordering::SeqCst);
    }

    /// How many are still to be lost.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Transport for Lossy {
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        let (inner, welcome) = self.inner.connect(hello).await?;
        let left = Arc::clone(&self.left);
        Ok((Arc::new(LossyConnection { inner, left }), welcome))
    }
}

#[derive(Debug)]
struct LossyConnection {
    inner: Arc<dyn Connection>,
    left: Arc<AtomicUsize>,
}

#[async_trait]
impl Connection for LossyConnection {
    async fn pull(&self, pull: Pull) -> Result<Delivery> {
        self.inner.pull(pull).await
    }

    async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        let verdicts = self.inner.push(batch).await?;
        let lost = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if lost.is_ok() {
            let reason = "the link is cut".to_owned();
            self.inner.close(Goodbye { reason, retry_after: None }).await;
            return Err(Error::new(ErrorKind::Network, "the answer is lost"));
        }
        Ok(verdicts)
    }

    fn live(&self, pull: Pull) -> BoxStream<'static, Result<Delivery>> {
        self.inner.live(pull)
    }

    async fn acknowledge(&self, ack: Ack) -> Result<Option<Reset>> {
        self.inner.acknowledge(ack).await
    }

    async fn renew(&self, token: String) -> Result<()> {
        self.inner.renew(token).await
    }

    async fn lost(&self) -> Error {
        self.inner.lost().await
    }

    async fn close(&self, why: Goodbye) {
        self.inner.close(why).await;
    }
}
