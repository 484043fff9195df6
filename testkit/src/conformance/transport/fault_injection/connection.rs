//! Connections with a fault.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use sync_core::error::{Error, Result};
use sync_core::model::{
    Cursor, Epoch, PushBatch, PushId, Reset, Scope, Seq, Verdict, VerdictKind, Verdicts,
};
use sync_core::protocol::{Ack, Goodbye, Pull};
use sync_core::transport::{Connection, Delivery, Moved};

use super::TransportFault;
use super::changes::{Attic, change_chunk, change_error, change_pull, hides};
use super::streams;

#[derive(Debug)]
pub(super) struct FaultyConnection {
    inner: Arc<dyn Connection>,
    fault: TransportFault,
    /// The number of pushes that wait for their answer.
    pushing: Arc<AtomicUsize>,
    /// Batches that were pushed.
    pushed: Mutex<BTreeSet<(Scope, PushId)>>,
    /// The last verdicts.
    last: Mutex<Option<Verdicts>>,
    /// Locked while a request waits for its answer.
    turn: tokio::sync::Mutex<()>,
    /// Live streams that the caller dropped.
    attic: Attic,
}

impl FaultyConnection {
    pub(super) fn new(inner: Arc<dyn Connection>, fault: TransportFault) -> Self {
        Self {
            inner,
            fault,
            pushing: Arc::default(),
            pushed: Mutex::default(),
            last: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            attic: Attic::default(),
        }
    }

    /// Returns whether the batch is pushed for the first time.
    fn is_first(&self, batch: &PushBatch) -> bool {
        let name = (batch.scope.clone(), batch.id);
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner).insert(name)
    }

    /// Runs a request, from sending it to the fault's change of its answer.
    async fn ask<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let _turn = match self.fault {
            TransportFault::AsksOneAtATime => Some(self.turn.lock().await),
            _ => None,
        };
        let mut waits =
            Waits((self.fault == TransportFault::BreaksWhenDropped).then(|| self.inner.clone()));
        let answer = request.await;
        waits.0 = None;
        match answer {
            Err(error) if hides(self.fault, &error) => pending().await,
            answer => answer.map_err(|e| change_error(self.fault, e)),
        }
    }
}

/// Closes the connection if it is dropped before the answer arrives.
struct Waits(Option<Arc<dyn Connection>>);

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            let reason = "a request was given up".to_owned();
            tokio::spawn(async move {
                connection.close(Goodbye { reason, retry_after: None }).await;
            });
        }
    }
}

fn accepted(batch: &PushBatch) -> Verdicts {
    let verdict = |n| Verdict { seq: Seq(n), kind: VerdictKind::Accepted, current: None };
    let verdicts = (1..=batch.changes.len() as u64).map(verdict).collect();
    Verdicts::Decided { epoch: Epoch([1; 16]), mark: None, verdicts }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Connection for FaultyConnection {
    async fn pull(&self, mut pull: Pull) -> Result<Delivery> {
        change_pull(self.fault, &mut pull);
        let (again, fault) = (pull.clone(), self.fault);
        match self.ask(self.inner.pull(pull)).await? {
            Delivery::Chunk(mut chunk) => {
                change_chunk(fault, &mut chunk);
                Ok(Delivery::Chunk(chunk))
            }
            Delivery::Reset(_) if fault == TransportFault::SwallowsResets => {
                self.ask(self.inner.pull(Pull { cursor: Cursor::default(), ..again })).await
            }
            reset => Ok(reset),
        }
    }

    async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        if self.fault == TransportFault::AnswersPushesItself {
            return Ok(accepted(&batch));
        }
        if self.fault == TransportFault::StallsRetries && !self.is_first(&batch) {
            pending::<()>().await;
        }
        let _pushing = streams::Count::begin(&self.pushing);
        let failed = accepted(&batch);
        let verdicts = match self.ask(self.inner.push(batch)).await {
            Err(_) if self.fault == TransportFault::CountsFailuresAsPushed => return Ok(failed),
            verdicts => verdicts?,
        };
        if self.fault == TransportFault::MixesVerdicts {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(last.replace(verdicts.clone()).unwrap_or(verdicts));
        }
        Ok(verdicts)
    }

    fn live(&self, mut pull: Pull) -> BoxStream<'static, Result<Delivery>> {
        change_pull(self.fault, &mut pull);
        let (inner, fault) = (Arc::clone(&self.inner), self.fault);
        let pushing = Arc::clone(&self.pushing);
        match fault {
            TransportFault::StartsAtTheHead => streams::at_the_head(inner, pull),
            TransportFault::DropsEventsDuringPushes => {
                streams::deaf_during(pushing, inner.live(pull))
            }
            TransportFault::KeepsDroppedStreams => {
                streams::kept(inner.live(pull), self.attic.clone())
            }
            _ => streams::faulty(fault, inner.live(pull)),
        }
    }

    async fn acknowledge(&self, ack: Ack) -> Result<Option<Reset>> {
        if self.fault == TransportFault::KeepsAcknowledgements {
            return Ok(None);
        }
        self.ask(self.inner.acknowledge(ack)).await
    }

    async fn renew(&self, token: String) -> Result<()> {
        if self.fault == TransportFault::IgnoresNewTokens {
            return Ok(());
        }
        self.ask(self.inner.renew(token)).await
    }

    fn moved(&self) -> Option<Moved> {
        self.inner.moved()
    }

    async fn lost(&self) -> Error {
        if self.fault == TransportFault::HidesTheLoss {
            pending::<()>().await;
        }
        self.inner.lost().await
    }

    async fn close(&self, why: Goodbye) {
        if self.fault != TransportFault::ClosesOnlyLater {
            self.inner.close(why).await;
        }
    }
}
