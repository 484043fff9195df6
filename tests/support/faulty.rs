//! A transport that fails as a test requires, and counts its calls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use twotide::backend::error::{Error, ErrorKind, Result};
use twotide::backend::model::{PushBatch, Reset, Verdicts};
use twotide::backend::protocol::{Ack, Goodbye, Hello, Pull, Welcome};
use twotide::backend::transport::{Connection, Delivery, Transport};

/// The faults from now on, and the calls so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    connect: Mutex<Option<Error>>,
    push: Mutex<Option<Error>>,
    /// How many answers to pushes are still to be lost, each with its link, after the server has
    /// stored the push.
    lost: AtomicUsize,
    pub(crate) connects: AtomicUsize,
    pub(crate) pushes: AtomicUsize,
}

impl Faults {
    /// Makes connecting fail with that error; with none it succeeds again.
    pub(crate) fn connect(&self, error: Option<Error>) {
        *self.connect.lock().unwrap() = error;
    }

    /// Makes pushing fail with that error; with none it succeeds again.
    pub(crate) fn push(&self, error: Option<Error>) {
        *self.push.lock().unwrap() = error;
    }

    /// Loses the answers to the next pushes, as many as that.
    pub(crate) fn lose(&self, answers: usize) {
        self.lost.store(answers, Ordering::SeqCst);
    }

    /// Returns how many answers are still to be lost.
    pub(crate) fn left(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    fn meet(&self, fault: &Mutex<Option<Error>>, count: &AtomicUsize) -> Result<()> {
        count.fetch_add(1, Ordering::SeqCst);
        fault.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

/// A transport with these faults.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Transport>,
    pub(crate) faults: Arc<Faults>,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Transport>) -> Self {
        Self { inner, faults: Arc::default() }
    }
}

#[async_trait]
impl Transport for Faulty {
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        self.faults.meet(&self.faults.connect, &self.faults.connects)?;
        let (inner, welcome) = self.inner.connect(hello).await?;
        let faults = Arc::clone(&self.faults);
        Ok((Arc::new(FaultyConnection { inner, faults }), welcome))
    }
}

#[derive(Debug)]
struct FaultyConnection {
    inner: Arc<dyn Connection>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Connection for FaultyConnection {
    async fn pull(&self, pull: Pull) -> Result<Delivery> {
        self.inner.pull(pull).await
    }

    async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        self.faults.meet(&self.faults.push, &self.faults.pushes)?;
        let verdicts = self.inner.push(batch).await?;
        let lost = &self.faults.lost;
        if lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
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
