//! Reading a client's rows.

use std::collections::BTreeSet;

use sync_core::model::{Checkpoint, DocumentKey, LocalSeq, PushId, Scope, Seq};
use sync_core::replica::record::{BatchRow, Record, ScopeRow};
use sync_core::replica::rows::ReplicaReads;
use sync_server::ops::Acknowledgement;

use super::disk::Disks;
use super::run::Run;
use super::store::ALL;

impl<D: Disks> Run<D> {
    pub(super) fn record_of(&mut self, client: usize, key: &DocumentKey) -> Option<Record> {
        self.at_client(client, |rows| rows.record(key)).flatten()
    }

    pub(super) fn records_of(
        &mut self,
        client: usize,
        scope: &Scope,
    ) -> Vec<(DocumentKey, Record)> {
        self.at_client(client, |rows| rows.records(scope, None, None, ALL)).unwrap_or_default()
    }

    /// Returns a scope's row. It is needed at nearly every event, and is read again only after a
    /// write.
    pub(super) fn scope_row(&mut self, client: usize, scope: &Scope) -> &ScopeRow {
        let at = self.clients[client].rows.iter().position(|(s, _)| s == scope);
        let at = at.unwrap_or_else(|| {
            let row = self.at_client(client, |rows| ReplicaReads::scope(rows, scope));
            let rows = &mut self.clients[client].rows;
            rows.push((scope.clone(), row.flatten().unwrap_or_default()));
            rows.len() - 1
        });
        &self.clients[client].rows[at].1
    }

    /// Gives the device a new store.
    pub(super) fn set_core(&mut self, client: usize, core: D::Replica) {
        let client = &mut self.clients[client];
        client.rows.clear();
        client.core = Some(core);
    }

    pub(super) fn checkpoint_of(&mut self, client: usize, scope: &Scope) -> Checkpoint {
        self.scope_row(client, scope).checkpoint.clone()
    }

    pub(super) fn last_local(&mut self, client: usize) -> LocalSeq {
        self.at_client(client, |rows| rows.meta()).flatten().map_or(LocalSeq(0), |m| m.last_local)
    }

    pub(super) fn identity(&mut self, client: usize) -> Option<PushId> {
        let meta = self.at_client(client, |rows| rows.meta()).flatten()?;
        self.clients[client].replica = meta.replica;
        Some(meta.last_push)
    }

    pub(super) fn outbox(&mut self, client: usize) -> u64 {
        let mut count = 0;
        for scope in self.followed(client) {
            let scope = self.scopes[scope].clone();
            let row = self.scope_row(client, &scope);
            count += row.pending + row.in_flight;
        }
        count
    }

    pub(super) fn batch_keys(&mut self, client: usize, scope: &Scope) -> BTreeSet<DocumentKey> {
        self.batch_of(client, scope).map(|b| b.keys.into_iter().collect()).unwrap_or_default()
    }

    /// Returns the batch in flight.
    pub(super) fn batch_of(&mut self, client: usize, scope: &Scope) -> Option<BatchRow> {
        self.at_client(client, |rows| rows.batch(scope)).flatten()
    }

    /// Returns the acknowledgement that the driver would send: with a digest only while nothing is
    /// unsettled.
    pub(super) fn acknowledgement(
        &mut self,
        client: usize,
        scope: &Scope,
        settled: Seq,
    ) -> Option<Acknowledgement> {
        let row = self.scope_row(client, scope);
        let at = &row.checkpoint;
        let is_settled = row.pending + row.in_flight + row.deferred == 0;
        let is_partial = row.left_out || at.collections.is_some();
        let is_whole = at.backfills.is_empty() && at.full_pull.is_none() && !is_partial;
        let compares = is_settled && is_whole && settled <= at.after();
        let digest = compares.then_some(row.digest);
        Some(Acknowledgement {
            epoch: at.epoch?,
            seq: at.after(),
            digest,
            mark: at.mark.clone(),
            noted: Default::default(),
        })
    }
}
