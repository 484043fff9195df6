//! Faults of batches and verdicts.

use sync_core::error::Result;
use sync_core::model::{
    BaseRef, Change, DocumentKey, Epoch, PushBatch, PushId, Scope, Seq, Verdicts,
};
use sync_core::replica::{Unsettled, UnsettledAfter};

use super::StorageFault as Fault;
use super::wrapper::BrokenStorage;
use crate::conformance::tools::ALL;

impl BrokenStorage {
    /// Returns the batch as the fault changes it.
    pub(super) fn tell(&self, mut batch: PushBatch) -> Option<PushBatch> {
        let mut memory = self.memory.lock();
        memory.flying = Some((batch.id, batch.changes.len()));
        let scope = batch.scope.clone();
        let key = |c: &Change| DocumentKey::new(scope.clone(), c.collection.clone(), c.id.clone());
        match self.fault {
            Fault::NewNameForEachRetry => {
                memory.asked += 1;
                batch.id.0 += memory.asked;
            }
            Fault::BasesOverwritten => {
                for change in &mut batch.changes {
                    let Some(previous) = memory.previous.get(&key(change)) else { continue };
                    let none = BaseRef {
                        revision: *previous,
                        epoch: Epoch([0; 16]),
                        seq: Seq(0),
                        tombstone: false,
                    };
                    change.base =
                        Some(BaseRef { revision: *previous, ..change.base.unwrap_or(none) });
                }
            }
            Fault::EditsDuringPushLost => {
                batch.changes.retain(|c| !memory.dropped.contains(&key(c)));
                return Some(batch).filter(|b| !b.changes.is_empty());
            }
            _ => {}
        }
        Some(batch)
    }

    /// Drops edits that were made while the batch was in flight.
    pub(super) async fn drop_newer_edits(&self, scope: &Scope) -> Result<()> {
        let page = self
            .inner
            .unsettled(scope.clone(), Unsettled::Pending, UnsettledAfter::Start, ALL)
            .await?;
        let flown = page.items.into_iter().filter(|e| e.base.is_some()).map(|e| e.key);
        self.memory.lock().dropped.extend(flown);
        Ok(())
    }

    /// Returns the verdicts as the fault changes them, and the batch that they settle.
    pub(super) fn fit(&self, id: PushId, verdicts: Verdicts) -> (PushId, Verdicts) {
        let flying = self.memory.lock().flying;
        match (self.fault, verdicts, flying) {
            (Fault::PushNamesNotCompared | Fault::NewNameForEachRetry, verdicts, Some((id, _))) => {
                (id, verdicts)
            }
            (
                Fault::VerdictsNotCounted,
                Verdicts::Decided { epoch, mark, mut verdicts },
                Some((flying, count)),
            ) if flying == id => {
                verdicts.truncate(count);
                (id, Verdicts::Decided { epoch, mark, verdicts })
            }
            (_, verdicts, _) => (id, verdicts),
        }
    }
}
