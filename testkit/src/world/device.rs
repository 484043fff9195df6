//! The steps of a replica.

use std::collections::BTreeSet;
use sync_core::clock::ServerTime;

use sync_core::error::Result;
use sync_core::model::{
    Chunk, Collection, Cursor, DocumentKey, DocumentState, Limits, PushBatch, PushId, Reset,
    ResetReason, Scope, Seq, Verdicts, WriteLimits,
};
use sync_core::replica::record::{QuarantineRow, Record, ReplicaMeta, ScopeRow};
use sync_core::replica::{
    Applied, Committed, Context, Decision, Forget, LocalTransaction, LocalWrite, WriteOperation,
    ops,
};

use super::{Device, World, Write, body, text_of};
use crate::cores::{Cores, look, must, transact};

/// A limit above the number of rows of any test.
const ALL: usize = 100_000;

impl<C: Cores> World<C> {
    /// Adds a fresh replica and returns its number.
    pub fn join(&mut self) -> usize {
        let id = self.fresh_replica();
        let mut core = must(self.cores.replica(), "the backend makes a replica");
        must(transact(&mut core, |rows| ops::initialise(rows, id)), "a replica begins");
        self.add_device(core)
    }

    /// Copies a device with everything on it, identity included, and returns the number of the
    /// copy.
    pub fn clone_replica(&mut self, replica: usize) -> usize {
        let core = must(
            self.cores.copy_replica(&self.devices[replica].core),
            "the backend copies a replica",
        );
        self.add_device(core)
    }

    fn add_device(&mut self, mut core: C::Replica) -> usize {
        let lease = must(transact(&mut core, |rows| ops::claim(rows, "world")), "a lease is taken");
        self.devices.push(Device { core, lease, skew: 0, seen: Default::default() });
        let number = self.devices.len() - 1;
        self.devices[number].seen = self.scope_row(number).checkpoint;
        number
    }

    fn act<T>(
        &mut self,
        replica: usize,
        job: impl FnOnce(&mut C::Replica, &Context) -> Result<T>,
    ) -> Result<T> {
        self.step();
        let now = self.now_at(replica);
        let resolvers = self.resolvers.clone();
        let device = &mut self.devices[replica];
        let cx = Context { now, resolvers, lease: device.lease };
        transact(&mut device.core, |rows| job(rows, &cx))
    }

    // ---- writes

    /// Writes a text, whether or not the document exists.
    pub fn put(&mut self, replica: usize, name: &str, text: &str) {
        self.transaction(replica, &[(name, Some(text))]);
    }

    /// Deletes a document, which must exist.
    pub fn delete(&mut self, replica: usize, name: &str) {
        self.transaction(replica, &[(name, None)]);
    }

    /// Erases a document that exists or has a tombstone.
    pub fn erase(&mut self, replica: usize, name: &str) -> Committed {
        let DocumentKey { collection, id, .. } = self.key(name);
        let writes = vec![LocalWrite { collection, id, operation: WriteOperation::Erase }];
        let transaction = LocalTransaction { scope: self.scope.clone(), writes };
        must(self.write(replica, transaction), "a document is erased")
    }

    /// Writes texts and deletes documents (where there is no text) in one transaction.
    pub fn transaction(&mut self, replica: usize, writes: &[(&str, Option<&str>)]) {
        let writes = writes.iter().map(|(name, text)| {
            let key = self.key(name);
            let operation = text.map_or(WriteOperation::Delete, |t| WriteOperation::Put(body(t)));
            LocalWrite { collection: key.collection, id: key.id, operation }
        });
        let transaction = LocalTransaction { scope: self.scope.clone(), writes: writes.collect() };
        must(self.write(replica, transaction), "a local write");
    }

    /// Runs a local transaction.
    ///
    /// # Errors
    /// The replica's error.
    pub fn write(&mut self, replica: usize, transaction: LocalTransaction) -> Result<Committed> {
        let keys: BTreeSet<DocumentKey> = transaction
            .writes
            .iter()
            .map(|w| DocumentKey::new(self.scope.clone(), w.collection.clone(), w.id.clone()))
            .collect();
        let before: Vec<_> = keys.iter().map(|k| self.record_at(replica, k)).collect();
        let limits = self.options.write;
        let unit = self.meta(replica).last_local.next();
        let committed =
            self.act(replica, |rows, cx| ops::write(rows, cx.now, &limits, &transaction))?;
        for (key, before) in keys.into_iter().zip(before) {
            let waited = before.as_ref().is_some_and(Record::is_deferred);
            let after = self.record_at(replica, &key);
            let ends_conflict = waited && after.as_ref().is_some_and(|r| r.edit().is_none());
            let current = |record: Option<Record>| record.and_then(|r| r.current);
            let (before, after) = (current(before), current(after));
            let transaction = unit;
            self.writes.push(Write { replica, key, before, after, transaction, ends_conflict });
        }
        Ok(committed)
    }

    /// Applies the app's decision about a quarantined edit or a deferred conflict.
    ///
    /// # Errors
    /// `NotFound` if there is nothing to decide.
    pub fn decide(&mut self, replica: usize, name: &str, decision: &Decision) -> Result<Committed> {
        let key = self.key(name);
        self.act(replica, |rows, cx| ops::decide(rows, cx.now, &key, decision))
    }

    /// Removes the scope, or a collection of it, from the device.
    pub fn forget(&mut self, replica: usize, collection: Option<&str>) -> Committed {
        let scope = self.scope.clone();
        let what = match collection {
            None => Forget::Scope(scope),
            Some(name) => {
                Forget::Collection(scope, must(Collection::new(name), "a collection's name"))
            }
        };
        let committed = must(
            self.act(replica, |rows, cx| ops::forget(rows, cx.now, Some(cx.lease), &what)),
            "forget",
        );
        self.devices[replica].seen = self.scope_row(replica).checkpoint;
        committed
    }

    /// Declares which collections are local-only.
    pub fn declare_local_only(&mut self, replica: usize, names: &[&str]) {
        let names = names.iter().map(|name| Self::collection(name)).collect();
        let declared = self.act(replica, |rows, _| ops::declare_local_only(rows, &names));
        must(declared, "collections are declared local-only");
        self.devices[replica].seen = self.scope_row(replica).checkpoint;
    }

    /// Chooses the collections that the replica syncs; all if there are no names.
    pub fn set_collections(&mut self, replica: usize, names: Option<&[&str]>) -> Committed {
        let chosen = names.map(|names| names.iter().map(|name| Self::collection(name)).collect());
        let scope = self.scope.clone();
        let done =
            self.act(replica, |rows, cx| ops::set_collections(rows, cx, &scope, chosen.as_ref()));
        self.devices[replica].seen = self.scope_row(replica).checkpoint;
        must(done, "collections are chosen")
    }

    /// Writes a text into a local-only collection, or deletes the document.
    pub fn put_local(&mut self, replica: usize, name: &str, text: Option<&str>) {
        let DocumentKey { collection, id, .. } = self.key(name);
        let operation = text.map_or(WriteOperation::Delete, |t| WriteOperation::Put(body(t)));
        let writes = vec![LocalWrite { collection, id, operation }];
        let transaction = LocalTransaction { scope: Scope::local(), writes };
        let limits = self.options.write;
        let written = self.act(replica, |rows, cx| ops::write(rows, cx.now, &limits, &transaction));
        must(written, "a local-only document is written");
    }

    // ---- messages

    /// Returns the batch in flight, or forms one; none if there is nothing to push.
    pub fn form(&mut self, replica: usize) -> Option<PushBatch> {
        self.form_within(replica, self.options.push)
    }

    /// [`form`](Self::form) with other bounds.
    pub fn form_within(&mut self, replica: usize, limits: Limits) -> Option<PushBatch> {
        let scope = self.scope.clone();
        must(self.act(replica, |rows, cx| ops::next_push(rows, cx, &scope, limits)), "form")
    }

    /// Settles a batch with its verdicts.
    pub fn settle(&mut self, replica: usize, id: PushId, verdicts: &Verdicts) -> Committed {
        must(self.try_settle(replica, id, verdicts), "settle")
    }

    /// Settles a batch like [`settle`](Self::settle), and returns the replica's error.
    ///
    /// # Errors
    /// `Protocol` if the verdicts are not decided, or not as many as the changes of the batch in
    /// flight.
    pub fn try_settle(
        &mut self,
        replica: usize,
        id: PushId,
        verdicts: &Verdicts,
    ) -> Result<Committed> {
        let scope = self.scope.clone();
        let committed =
            self.act(replica, |rows, cx| ops::settle(rows, cx, &scope, id, verdicts))?;
        self.check_progress(replica);
        Ok(committed)
    }

    /// Returns the cursor of the replica's next pull.
    pub fn cursor(&mut self, replica: usize) -> Cursor {
        self.scope_row(replica).checkpoint.cursor()
    }

    /// Applies a chunk.
    pub fn apply(&mut self, replica: usize, chunk: &Chunk) -> Applied {
        let applied = must(self.act(replica, |rows, cx| ops::apply(rows, cx, chunk)), "apply");
        self.check_progress(replica);
        applied
    }

    /// Resets the replica's position, as the server requires.
    pub fn reset(&mut self, replica: usize, reset: &Reset) -> Committed {
        let scope = self.scope.clone();
        let committed =
            must(self.act(replica, |rows, cx| ops::reset(rows, cx, &scope, reset)), "reset");
        self.devices[replica].seen = self.scope_row(replica).checkpoint;
        committed
    }

    /// Resets a replica's position, as the app requests.
    pub fn request_reset(&mut self, replica: usize) {
        let epoch = self.scope_row(replica).checkpoint.epoch;
        let epoch = epoch.unwrap_or_else(|| self.server_scope().epoch);
        self.reset(replica, &Reset { epoch, reason: ResetReason::Requested });
    }

    /// Gives the replica a new identity.
    pub fn reidentify(&mut self, replica: usize) -> Committed {
        let id = self.fresh_replica();
        must(self.act(replica, |rows, cx| ops::reidentify(rows, cx, id)), "reidentify")
    }

    /// Gives the replica the server's time.
    pub fn tell_time(&mut self, replica: usize) {
        let server = self.server_now();
        let told = self.act(replica, |rows, cx| {
            let time = ServerTime { sent: cx.now, server };
            ops::note_server(rows, cx.now, cx.lease, time, WriteLimits::default())
        });
        must(told, "note the server's time");
    }

    /// Adds a collection to those that the replica pulls. It starts at position 0, wherever the
    /// others are.
    pub fn add_collection(&mut self, replica: usize, collection: &str) {
        let collection = must(Collection::new(collection), "a collection's name");
        let scope = self.scope.clone();
        let added = self.act(replica, |rows, _| {
            use sync_core::replica::rows::{ReplicaReads, ReplicaRows};
            let mut row = rows.scope(&scope)?.unwrap_or_default();
            row.checkpoint.backfills.insert(collection, Seq(0));
            rows.put_scope(&scope, &row)
        });
        must(added, "a collection is added");
        self.devices[replica].seen = self.scope_row(replica).checkpoint;
    }

    // ---- reading

    /// Returns the text that the app reads.
    pub fn text(&mut self, replica: usize, name: &str) -> Option<String> {
        let key = self.key(name);
        self.current(replica, &key).as_ref().and_then(text_of)
    }

    /// Returns the text of a document in a local-only collection.
    pub fn local_text(&mut self, replica: usize, name: &str) -> Option<String> {
        let key = DocumentKey { scope: Scope::local(), ..self.key(name) };
        self.current(replica, &key).as_ref().and_then(text_of)
    }

    /// Returns how many records of local-only collections the replica holds.
    pub fn local_records(&mut self, replica: usize) -> usize {
        use sync_core::replica::rows::ReplicaReads;
        let scope = Scope::local();
        look(&mut self.devices[replica].core, |rows| rows.records(&scope, None, None, ALL)).len()
    }

    /// Returns the state that the app reads, tombstones included.
    pub fn current(&mut self, replica: usize, key: &DocumentKey) -> Option<DocumentState> {
        self.record_at(replica, key).and_then(|r| r.current)
    }

    /// Returns the replica's record of a document.
    pub fn record(&mut self, replica: usize, name: &str) -> Record {
        let key = self.key(name);
        self.record_at(replica, &key).unwrap_or_default()
    }

    /// Returns the replica's record of a document, if there is one.
    pub fn record_at(&mut self, replica: usize, key: &DocumentKey) -> Option<Record> {
        use sync_core::replica::rows::ReplicaReads;
        look(&mut self.devices[replica].core, |rows| rows.record(key))
    }

    /// Returns all records of the replica.
    pub fn records(&mut self, replica: usize) -> Vec<(DocumentKey, Record)> {
        use sync_core::replica::rows::ReplicaReads;
        let scope = self.scope.clone();
        look(&mut self.devices[replica].core, |rows| rows.records(&scope, None, None, ALL))
    }

    /// Returns the quarantined edits.
    pub fn quarantine(&mut self, replica: usize) -> Vec<QuarantineRow> {
        use sync_core::replica::rows::ReplicaReads;
        let scope = self.scope.clone();
        let rows = look(&mut self.devices[replica].core, |rows| rows.quarantine(&scope, 0, ALL));
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Returns the id of the batch in flight.
    pub fn batch_in_flight(&mut self, replica: usize) -> Option<PushId> {
        use sync_core::replica::rows::ReplicaReads;
        let scope = self.scope.clone();
        look(&mut self.devices[replica].core, |rows| rows.batch(&scope)).map(|b| b.id)
    }

    /// Returns the replica's row about the scope.
    pub fn scope_row(&mut self, replica: usize) -> ScopeRow {
        use sync_core::replica::rows::ReplicaReads;
        let scope = self.scope.clone();
        look(&mut self.devices[replica].core, |rows| rows.scope(&scope)).unwrap_or_default()
    }

    /// Returns the row that the replica keeps once.
    pub fn meta(&mut self, replica: usize) -> ReplicaMeta {
        use sync_core::replica::rows::ReplicaReads;
        let meta = look(&mut self.devices[replica].core, |rows| rows.meta());
        must(meta.ok_or("it holds no replica"), "the replica's own row")
    }

    pub(super) fn core(&mut self, replica: usize) -> &mut C::Replica {
        &mut self.devices[replica].core
    }

    /// Checks that positions only move forward within an epoch, except in a reset and for a
    /// collection that becomes visible.
    fn check_progress(&mut self, replica: usize) {
        let now = self.scope_row(replica).checkpoint;
        let seen = std::mem::replace(&mut self.devices[replica].seen, now.clone());
        let same_life = seen.epoch.is_none() || seen.epoch == now.epoch;
        assert!(same_life, "replica {replica} changed its epoch without a reset");
        assert!(
            seen.position <= now.position && seen.after() <= now.after()
                || now.sees_more_than(&seen),
            "the checkpoint of replica {replica} went back from {seen:?} to {now:?}"
        );
    }
}
