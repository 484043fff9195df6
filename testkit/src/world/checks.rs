//! Checks of the stored rows.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::{Digest, DocumentKey, DocumentState, LocalSeq, Seq};
use sync_core::replica::record::{InFlight, Record, ScopeRow};
use sync_core::replica::rows::ReplicaReads;

use super::World;
use crate::cores::{Cores, look};

const ALL: usize = 100_000;

type Documents = BTreeMap<DocumentKey, DocumentState>;

impl<C: Cores> World<C> {
    /// Checks that all replicas hold what the server holds, except for deferred conflicts, and that
    /// digests and counters match.
    ///
    /// # Panics
    /// If not, with the replica and the difference.
    pub fn assert_converged(&mut self) {
        self.assert_consistent();
        let server: Documents = self
            .server_rows()
            .into_iter()
            .filter(|(_, row)| !row.state.is_deleted())
            .map(|(key, row)| (key, row.state))
            .collect();
        for replica in 0..self.replicas() {
            let records = self.records(replica);
            let deferred: BTreeSet<_> =
                records.iter().filter(|(_, r)| r.is_deferred()).map(|(k, _)| k.clone()).collect();
            let shown: Documents = records
                .into_iter()
                .filter_map(|(key, r)| Some((key, r.live()?.clone())))
                .filter(|(key, _)| !deferred.contains(key))
                .collect();
            let mut expected = server.clone();
            expected.retain(|key, _| !deferred.contains(key));
            assert_eq!(shown, expected, "replica {replica} (left) and server (right) differ");
            let digest = self.scope_row(replica).digest;
            if deferred.is_empty() {
                let held = self.server_scope().digest;
                assert_eq!(digest, held, "the digests of replica {replica} and server differ");
                let reset = self.acknowledge(replica);
                assert_eq!(reset, None, "the digest of replica {replica} is taken for another");
            }
        }
    }

    /// Checks that no row of a replica or of the server holds a body with that text: current
    /// bodies, bases, remote slots, states in flight, rejected edits, rows of the server.
    ///
    /// # Panics
    /// If one does, with the row.
    pub fn assert_gone(&mut self, text: &str) {
        for replica in 0..self.replicas() {
            let held = format!("{:?} {:?}", self.records(replica), self.quarantine(replica));
            assert!(!held.contains(text), "replica {replica} holds {text:?}: {held}");
        }
        let held = format!("{:?}", self.server_rows());
        assert!(!held.contains(text), "the server holds {text:?}: {held}");
    }

    /// Checks that counters, digests and indexes of replicas and server match their documents.
    ///
    /// # Panics
    /// If not, with the mismatch.
    pub fn assert_consistent(&mut self) {
        for replica in 0..self.replicas() {
            self.check_replica(replica);
        }
        self.check_server();
    }

    fn check_replica(&mut self, replica: usize) {
        let records = self.records(replica);
        let stored = self.scope_row(replica);
        let quarantined = self.quarantine(replica).len() as u64;
        let ScopeRow { checkpoint, left_out, purge, .. } = stored.clone();
        let counts = ScopeRow::default();
        let mut counted = ScopeRow { checkpoint, quarantined, left_out, purge, ..counts };
        for (key, record) in &records {
            count(&mut counted, key, record);
        }
        assert_eq!(
            stored, counted,
            "replica {replica} stores (left) what its rows are not (right)"
        );
        let scope = self.scope.clone();
        let (outbox, deferred, changed, batch) = look(self.core(replica), |rows| {
            Ok((
                rows.outbox(&scope, None, ALL)?,
                rows.deferred(&scope, None, ALL)?,
                rows.changed(LocalSeq(0), ALL)?,
                rows.batch(&scope)?,
            ))
        });
        let mut pushable: Vec<_> =
            records.iter().filter(|(_, r)| r.pushable().is_some()).cloned().collect();
        pushable.sort_by_key(|(key, r)| (r.pushable(), key.clone()));
        assert_eq!(outbox, pushable, "the outbox of replica {replica}");
        let waiting: Vec<_> = records.iter().filter(|(_, r)| r.is_deferred()).cloned().collect();
        assert_eq!(deferred, waiting, "the conflict inbox of replica {replica}");
        let mut feed: Vec<_> =
            records.iter().filter(|(_, r)| r.changed > LocalSeq(0)).cloned().collect();
        feed.sort_by_key(|(_, r)| r.changed);
        let changed: Vec<_> = changed.into_iter().filter(|(key, _)| key.scope == scope).collect();
        assert_eq!(changed, feed, "the feed of replica {replica}");
        let flying: BTreeSet<_> =
            records.iter().filter(|(_, r)| r.in_flight().is_some()).map(|(k, _)| k).collect();
        let named: BTreeSet<_> = batch.iter().flat_map(|b| b.keys.iter()).collect();
        assert_eq!(flying, named, "the batch in flight of replica {replica}");
        for (key, record) in &records {
            check_record(replica, key, record);
        }
    }

    fn check_server(&mut self) {
        let stored = self.server_scope();
        let (mut documents, mut digest, mut last) = (0, Digest::default(), Seq(0));
        let mut keys = BTreeSet::new();
        for (key, row) in self.server_rows() {
            assert!(last < row.seq && row.first <= row.seq, "the log is out of order at {key}");
            last = row.seq;
            if !row.state.is_deleted() {
                documents += 1;
                digest.add(&key.collection, &key.id, &row.state.revision);
            }
            assert!(keys.insert(key.clone()), "{key} is twice in the log");
        }
        assert!(last <= stored.head && stored.horizon <= stored.head, "{stored:?} at {last}");
        assert_eq!((stored.documents, stored.digest), (documents, digest), "the server's counters");
    }
}

fn count(row: &mut ScopeRow, key: &DocumentKey, record: &Record) {
    let one = u64::from;
    if let Some(live) = record.live() {
        row.digest.add(&key.collection, &key.id, &live.revision);
    }
    let has_base = record.edit().is_some_and(|e| e.base.is_some());
    let shows_settled = record.edit().is_none() && record.current.is_some();
    row.documents += one(record.live().is_some());
    row.settled += one(record.server_seq > Seq(0) || has_base || shows_settled);
    let is_chosen = row.checkpoint.includes(&key.collection);
    row.pending += one(record.pushable().is_some() && is_chosen);
    row.not_chosen += one(record.pushable().is_some() && !is_chosen);
    row.in_flight += one(record.in_flight().is_some());
    row.deferred += one(record.is_deferred());
}

fn check_record(replica: usize, key: &DocumentKey, record: &Record) {
    let Some(pending) = record.pending.as_deref() else { return };
    let what = || format!("{key} on replica {replica}: {record:#?}");
    assert!(pending.edit.is_some() || !pending.deferred, "deferred without an edit: {}", what());
    assert!(
        !pending.deferred || pending.pending_remote.is_some(),
        "deferred against nothing: {}",
        what()
    );
    assert!(pending.edit.is_none() || record.current.is_some(), "an edit of nothing: {}", what());
    assert!(
        pending.in_flight.as_ref().is_none_or(InFlight::is_withdrawn)
            || record.pushed_state().is_some(),
        "in flight with nothing: {}",
        what()
    );
    let base = record.base().map(|b| &b.state);
    let pending_remote = pending.pending_remote.as_ref().and_then(|s| s.state.as_ref());
    for kept in [base, pending_remote, record.pushed_state()].into_iter().flatten() {
        let may_stay = kept.erased >= record.erased() || kept.is_deleted();
        assert!(may_stay, "what was erased is kept: {}", what());
    }
}
