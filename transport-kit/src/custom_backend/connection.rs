//! A connection to a service without connections: its requests call closures, and its live stream
//! polls.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, Either, pending, select};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::backend::{AsyncFn, Backend, PushFn};
use super::request_context::{At, Line, Progress, everything, request};
use super::types::{Base, Outgoing, PushOutcome};
use sync_core::codec::Codec;
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{BaseRef, Change, PushBatch, ReplicaId, Reset, Scope, Verdict, Verdicts};
use sync_core::protocol::{Ack, Goodbye, Pull};
use sync_core::transport::{Connection, Delivery};

/// The shortest time between two fetches of a live stream without known news.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct ClosureConnection {
    inner: Arc<Backend>,
    replica: ReplicaId,
    closed: watch::Sender<bool>,
    /// The last failure, which mostly is the reason why the connection is closed.
    failed: Arc<Mutex<Option<Error>>>,
}

impl fmt::Debug for ClosureConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosureConnection").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl ClosureConnection {
    pub(super) fn new(inner: Arc<Backend>, replica: ReplicaId) -> Self {
        Self { inner, replica, closed: watch::Sender::new(false), failed: Arc::default() }
    }

    async fn closed(&self) -> Error {
        // This connection owns the sender, so it is not dropped.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let closed = || Error::new(ErrorKind::Closed, "the connection was closed");
        failed.unwrap_or_else(closed).retrying(Retry::Reconnect)
    }

    /// Runs a future as long as the connection is open.
    async fn open<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match select(Box::pin(work), Box::pin(self.closed())).await {
            Either::Left((result, _)) => result,
            Either::Right((error, _)) => Err(error),
        }
    }

    /// Calls a closure, which may panic or never return.
    async fn call<A, B>(
        &self,
        what: &'static str,
        scope: &Scope,
        closure: &AsyncFn<A, B>,
        argument: A,
        timeout: Option<Duration>,
    ) -> Result<B> {
        let call = AssertUnwindSafe(async { closure(argument).await }).catch_unwind();
        let call = async {
            call.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, format!("the closure `{what}` panicked")))
            })
        };
        let result = match timeout {
            None => call.await,
            Some(timeout) => tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
                let what = format!("the closure `{what}` took longer than {timeout:?}");
                Err(Error::new(ErrorKind::Timeout, what))
            }),
        };
        let name = &self.inner.name;
        result.map_err(|e| {
            let error = e.during(what).with("backend", name).with("scope", scope);
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            error
        })
    }

    fn at(&self) -> At {
        let Backend { epoch, environment, options, .. } = &*self.inner;
        At { epoch: *epoch, now: environment.now(), interval: options.interval.max(PAUSE) }
    }

    async fn fetch(&self, pull: &Pull) -> Result<Delivery> {
        if let Some(reset) = self.inner.stranger(&pull.cursor) {
            return Ok(Delivery::Reset(reset));
        }
        let Some(request) = request(pull) else { return Ok(everything(self.inner.epoch)) };
        let line = self.inner.line(self.replica, &pull.scope);
        line.raise(&pull.cursor);
        let mut turn = line.fetching().await;
        let (fetch, timeout) = (&self.inner.fetch, Some(self.inner.options.timeout));
        let fetched = self.call("fetch", &pull.scope, fetch, request, timeout).await?;
        let delivery = line.delivery(&mut turn, pull, fetched, self.at());
        let name = &self.inner.name;
        delivery.map_err(|e| e.during("fetch").with("backend", name).with("scope", &pull.scope))
    }

    /// Sends a batch change by change. Results before a failure are kept, so that the next attempt
    /// continues there.
    async fn send_each(
        &self,
        line: &Line,
        batch: &PushBatch,
        send: &AsyncFn<Outgoing, PushOutcome>,
    ) -> Result<Vec<Verdict>> {
        loop {
            let mut turn = line.sending().await?;
            let turn = &mut *turn;
            if turn.progress.as_ref().is_none_or(|p| p.push != batch.id) {
                turn.progress = Some(Progress { push: batch.id, verdicts: Vec::new() });
            }
            let Some(progress) = turn.progress.as_mut() else { continue };
            let Some(change) = batch.changes.get(progress.verdicts.len()) else {
                return Ok(turn.progress.take().map(|p| p.verdicts).unwrap_or_default());
            };
            let index = progress.verdicts.len();
            let change = self.outgoing(batch, index, change);
            let timeout = Some(self.inner.options.timeout);
            let outcome = self.call("send", &batch.scope, send, change.clone(), timeout).await?;
            progress.verdicts.push(line.verdict(&change, outcome, self.at().now)?);
        }
    }

    async fn send_all(
        &self,
        line: &Line,
        batch: &PushBatch,
        send: &AsyncFn<Vec<Outgoing>, Vec<PushOutcome>>,
    ) -> Result<Vec<Verdict>> {
        let _turn = line.sending().await?;
        let changes: Vec<Outgoing> =
            batch.changes.iter().enumerate().map(|(i, c)| self.outgoing(batch, i, c)).collect();
        let timeout = Some(self.inner.options.timeout);
        let outcomes = self.call("send", &batch.scope, send, changes.clone(), timeout).await?;
        if outcomes.len() != changes.len() {
            let (sent, got) = (changes.len(), outcomes.len());
            let what = format!("{sent} changes were sent, and {got} outcomes came back");
            return Err(Error::new(ErrorKind::Protocol, what).retrying(Retry::Never));
        }
        let now = self.at().now;
        changes.iter().zip(outcomes).map(|(c, o)| line.verdict(c, o, now)).collect()
    }

    fn outgoing(&self, batch: &PushBatch, index: usize, change: &Change) -> Outgoing {
        // A base of another backend, or one that was in no log, is not valid here.
        let known = |b: &BaseRef| b.epoch == self.inner.epoch && b.seq != BaseRef::NOT_IN_LOG;
        let base = change.base.filter(known).map(|b| Base {
            revision: b.revision,
            deleted: b.tombstone,
            body: change.base_body.clone(),
        });
        // Two copies of one replica may use the same id for different batches.
        let digest = xxh3_64(&Change { base_body: None, ..change.clone() }.to_bytes());
        Outgoing {
            scope: batch.scope.clone(),
            collection: change.collection.clone(),
            id: change.id.clone(),
            body: change.state.body.clone(),
            base,
            key: format!("{}-{}-{index}-{digest:016x}", batch.replica, batch.id),
            written_ms: change.state.author.stamp.millis(),
        }
    }

    /// Waits until there may be changes.
    async fn until_news(&self, line: &Line, pull: &Pull) -> Result<()> {
        let options = &self.inner.options;
        let mut random = [0; 8];
        self.inner.environment.random(&mut random);
        let jitter = u64::try_from(options.jitter.as_millis()).unwrap_or(u64::MAX - 1);
        let jitter = Duration::from_millis(u64::from_le_bytes(random) % (jitter + 1));
        let changed: BoxFuture<'_, Result<()>> = match &options.changed {
            Some(changed) => {
                self.call("changed", &pull.scope, changed, pull.scope.clone(), None).boxed()
            }
            None => pending().boxed(),
        };
        let told = async {
            changed.await?;
            // A future that is always ready must not cause a busy loop.
            tokio::time::sleep(PAUSE).await;
            Ok(())
        };
        tokio::select! {
            biased;
            () = line.passes(pull.cursor.after) => Ok(()),
            result = told => result,
            () = tokio::time::sleep(options.interval.max(PAUSE).saturating_add(jitter)) => Ok(()),
        }
    }

    /// Returns the next chunk of a live stream that has news, and whether more follows at once.
    async fn next(&self, pull: &mut Pull, at_once: bool) -> Result<Delivery> {
        let line = self.inner.line(self.replica, &pull.scope);
        let mut at_once = at_once;
        loop {
            if !std::mem::take(&mut at_once) {
                self.until_news(&line, pull).await?;
            }
            if let Some(pace) = self.inner.options.refetch
                && line.is_older(pace).await
            {
                return Ok(everything(self.inner.epoch));
            }
            let delivery = self.fetch(pull).await?;
            if let Delivery::Chunk(chunk) = &delivery {
                let cursor = &pull.cursor;
                if chunk.next == cursor.after && chunk.bookmark() == cursor.bookmark {
                    continue;
                }
                let advanced = cursor.advanced(chunk.epoch, chunk.next, chunk.head, None);
                pull.cursor = advanced.at(chunk.bookmark());
            }
            return Ok(delivery);
        }
    }
}

#[async_trait]
impl Connection for ClosureConnection {
    async fn pull(&self, pull: Pull) -> Result<Delivery> {
        self.open(self.fetch(&pull)).await
    }

    /// A recalled batch counts as not accepted: most services cannot return its result.
    async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        let line = self.inner.line(self.replica, &batch.scope);
        if batch.recall.is_some() {
            line.sending().await?.progress = None;
            return Ok(Verdicts::Recalled);
        }
        let verdicts = async {
            match &self.inner.send {
                PushFn::Each(send) => self.send_each(&line, &batch, send).await,
                PushFn::All(send) => self.send_all(&line, &batch, send).await,
            }
        };
        let verdicts = self.open(verdicts).await?;
        Ok(Verdicts::Decided { epoch: self.inner.epoch, mark: None, verdicts })
    }

    fn live(&self, pull: Pull) -> BoxStream<'static, Result<Delivery>> {
        let connection = self.clone();
        // Whether more follows at once; none when the stream has ended.
        let state = (connection, pull, Some(false));
        stream::unfold(state, |(connection, mut pull, at_once)| async move {
            let next = connection.open(connection.next(&mut pull, at_once?)).await;
            let more = match &next {
                Ok(Delivery::Chunk(chunk)) => Some(chunk.has_more()),
                _ => None,
            };
            Some((next, (connection, pull, more)))
        })
        .boxed()
    }

    /// Does nothing: the service has no digests.
    async fn acknowledge(&self, _: Ack) -> Result<Option<Reset>> {
        Ok(None)
    }

    /// Does nothing: tokens are between the closures and the service.
    async fn renew(&self, _: String) -> Result<()> {
        Ok(())
    }

    async fn lost(&self) -> Error {
        self.closed().await
    }

    async fn close(&self, _: Goodbye) {
        self.closed.send_replace(true);
    }
}
