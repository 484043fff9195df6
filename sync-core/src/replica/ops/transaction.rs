//! The parts that all write transactions share: the row that exists once, the scope's row, its
//! counters, and the change feed.

use std::collections::BTreeSet;

use crate::clock::Now;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Checkpoint, Collection, Digest, DocumentKey, DocumentState, Epoch, LocalSeq, Rejection,
    Revision, Scope, Seq, Settled, Stamp,
};
use crate::replica::record::{QuarantineRow, Record, ReplicaMeta, ScopeRow};
use crate::replica::rows::{ReplicaReads, ReplicaRows};
use crate::replica::rules::Decided;
use crate::replica::types::{Committed, ConflictReport, DocumentChange, Operation, Origin};

pub(super) fn read_meta(rows: &(impl ReplicaReads + ?Sized)) -> Result<ReplicaMeta> {
    rows.meta()?.ok_or_else(|| Error::new(ErrorKind::Incompatible, "this storage holds no replica"))
}

/// Rejects the scope of local-only documents.
pub(super) fn check_synced(scope: &Scope) -> Result<()> {
    if scope.is_local() {
        let message = "documents of local-only collections are never synced";
        return Err(Error::new(ErrorKind::InvalidInput, message).with("scope", scope));
    }
    Ok(())
}

/// Ends a load, if there is one; `false` if it had to be discarded. If the server sent one document
/// twice, all loaded documents are removed, and are pulled again: the storage held nothing else, so
/// every scope begins again.
pub(super) fn end_load(rows: &mut dyn ReplicaRows) -> Result<bool> {
    if rows.end_load()? {
        return Ok(true);
    }
    for (scope, row) in rows.scopes()? {
        let Checkpoint { epoch, collections, .. } = row.checkpoint;
        let checkpoint = Checkpoint { epoch, collections, ..Checkpoint::default() };
        let (documents, digest, settled) = Default::default();
        let row = ScopeRow { checkpoint, documents, digest, settled, ..row };
        rows.put_scope(&scope, &row)?;
    }
    // The changes that were reported for them are not retracted one by one.
    let mut meta = read_meta(rows)?;
    meta.feed_floor = meta.last_local;
    rows.put_meta(&meta)?;
    Ok(false)
}

/// One transaction over one scope. [`Self::finish`] writes what it collected.
pub(super) struct RowTransaction<'a> {
    pub(super) rows: &'a mut dyn ReplicaRows,
    pub(super) meta: ReplicaMeta,
    pub(super) scope: Scope,
    pub(super) row: ScopeRow,
    pub(super) committed: Committed,
}

impl<'a> RowTransaction<'a> {
    pub(super) fn begin(rows: &'a mut dyn ReplicaRows, scope: &Scope) -> Result<Self> {
        end_load(rows)?;
        Self::begin_loading(rows, scope)
    }

    /// As [`begin`](Self::begin), for a transaction that continues a load.
    pub(super) fn begin_loading(rows: &'a mut dyn ReplicaRows, scope: &Scope) -> Result<Self> {
        let meta = read_meta(rows)?;
        let row = rows.scope(scope)?.unwrap_or_default();
        Ok(Self { rows, meta, scope: scope.clone(), row, committed: Committed::default() })
    }

    /// As [`begin`](Self::begin), for transactions that involve a server.
    pub(super) fn begin_synced(rows: &'a mut dyn ReplicaRows, scope: &Scope) -> Result<Self> {
        check_synced(scope)?;
        Self::begin(rows, scope)
    }

    /// Returns the epoch of settled states; before the first chunk or verdict there is none.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.row.checkpoint.epoch
    }

    /// Writes a record: updates the scope's counters and digest, and adds what changed for the app
    /// to the feed.
    pub(super) fn save(
        &mut self,
        key: &DocumentKey,
        old: Option<&Record>,
        mut new: Record,
        origin: Origin,
    ) -> Result<()> {
        new.normalize();
        if old == Some(&new) {
            return Ok(());
        }
        if new.erased() > old.and_then(Record::erased) {
            self.drop_traces(key, old, origin)?;
        }
        self.note_change(key, old, &mut new, origin);
        // A local transaction has a separate number even if nothing changes for the app, as when a
        // deleted document is erased: the next transaction must not count as a part of it.
        let unit = new.edit().map_or(LocalSeq(0), |edit| edit.transaction);
        self.meta.last_local = self.meta.last_local.max(unit);
        self.count(key, old, &new);
        self.rows.put_record(key, old, &new)
    }

    /// Reports to the app how conflicts about a document ended.
    pub(super) fn report(&mut self, key: &DocumentKey, decided: impl IntoIterator<Item = Decided>) {
        let reports = decided.into_iter();
        let reports = reports.map(|decided| ConflictReport { key: key.clone(), decided });
        self.committed.conflicts.extend(reports);
    }

    /// Writes a record whose edit was accepted. Under another revision it is still the app's edit:
    /// if it shows the same body, that is no change.
    pub(super) fn save_settled(
        &mut self,
        key: &DocumentKey,
        old: &Record,
        mut new: Record,
    ) -> Result<()> {
        let body = |r: &Record| r.live().map(|l| l.body.clone());
        if body(old) != body(&new) {
            return self.save(key, Some(old), new, Origin::Remote);
        }
        new.normalize();
        self.count(key, Some(old), &new);
        self.rows.put_record(key, Some(old), &new)
    }

    /// Writes records of documents that are most likely new, together; returns the places of those
    /// that exist already, for which nothing is done.
    pub(super) fn insert_all(
        &mut self,
        new: &mut [(DocumentKey, Record)],
        origin: Origin,
    ) -> Result<Vec<usize>> {
        let told = self.committed.changes.len();
        self.committed.changes.reserve(new.len());
        for (key, record) in new.iter_mut() {
            self.note_change(key, None, record, origin);
        }
        let there = self.rows.insert_records(new)?;
        if !there.is_empty() {
            // Their reports are retracted. Their places in the feed stay empty.
            let at: BTreeSet<LocalSeq> = there.iter().map(|n| new[*n].1.changed).collect();
            let mut place = 0..;
            self.committed
                .changes
                .retain(|c| place.next().is_some_and(|n| n < told) || !at.contains(&c.at));
        }
        let mut left_out = there.iter().copied().collect::<BTreeSet<_>>();
        for (n, (key, record)) in new.iter().enumerate() {
            if left_out.remove(&n) {
                continue;
            }
            self.count(key, None, record);
            if record.erased().is_some() {
                self.drop_traces(key, None, origin)?;
            }
        }
        Ok(there)
    }

    /// Writes records of a pull that began when nothing was stored here, with the backend's bulk
    /// load.
    pub(super) fn load_all(&mut self, new: &mut [(DocumentKey, Record)]) -> Result<()> {
        self.committed.changes.reserve(new.len());
        for (key, record) in new.iter_mut() {
            self.note_change(key, None, record, Origin::Remote);
        }
        self.rows.load_records(new)?;
        for (key, record) in new.iter() {
            self.count(key, None, record);
            if record.erased().is_some() {
                self.drop_traces(key, None, Origin::Remote)?;
            }
        }
        Ok(())
    }

    /// Removes what is stored for an erased document next to its record: refused edits, the reports
    /// of this transaction so far, and bytes in the backend's files.
    fn drop_traces(
        &mut self,
        key: &DocumentKey,
        old: Option<&Record>,
        origin: Origin,
    ) -> Result<()> {
        let refused = self.drop_refused(key)?;
        let is_told = self.committed.conflicts.iter().any(|c| c.key == *key);
        if refused > 0 && origin == Origin::Remote && !is_told {
            self.report(key, [Decided::Erased]);
        }
        if refused > 0 || old.is_some() {
            self.erase_told(key)?;
        }
        Ok(())
    }

    /// Removes the bodies of an erased document from the reports of this transaction.
    pub(super) fn erase_told(&mut self, key: &DocumentKey) -> Result<()> {
        for change in self.committed.changes.iter_mut().filter(|c| c.key == *key) {
            change.drop_bodies();
        }
        self.committed.erased.push(key.clone());
        self.rows.note_erasure()
    }

    /// Removes the refused edits of a document, and returns how many there were.
    pub(super) fn drop_refused(&mut self, key: &DocumentKey) -> Result<u64> {
        let (mut after, mut dropped) = (0, 0);
        while self.row.quarantined > 0 {
            let page = self.rows.quarantine(&self.scope, after, 256)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (ticket, _) in page.into_iter().filter(|(_, row)| row.key == *key) {
                self.release(ticket)?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Removes a record and every trace of it.
    pub(super) fn remove(&mut self, key: &DocumentKey, old: &Record, origin: Origin) -> Result<()> {
        let mut gone = Record::default();
        self.note_change(key, Some(old), &mut gone, origin);
        self.count(key, Some(old), &gone);
        self.meta.feed_floor = self.meta.last_local;
        self.rows.remove_record(key, old)
    }

    /// Removes a record that shows nothing. Only followers of the feed at an earlier place have to
    /// read again.
    pub(super) fn remove_spent(&mut self, key: &DocumentKey, old: &Record) -> Result<()> {
        self.count(key, Some(old), &Record::default());
        self.meta.feed_floor = self.meta.feed_floor.max(old.changed);
        self.rows.remove_record(key, old)
    }

    fn note_change(
        &mut self,
        key: &DocumentKey,
        old: Option<&Record>,
        new: &mut Record,
        origin: Origin,
    ) {
        let before = old.and_then(Record::live);
        let after = new.live();
        let operation = match (before, after) {
            (None, None) => return,
            (None, Some(_)) => Operation::Insert,
            (Some(_), None) => Operation::Delete,
            (Some(b), Some(a)) if b.revision == a.revision => return,
            (Some(_), Some(_)) => Operation::Update,
        };
        // No body of an erased document is reported any more.
        let previous = before.filter(|b| b.erased >= new.erased()).cloned();
        new.changed = self.meta.next_local();
        new.changed_here = origin == Origin::Local;
        self.committed.changes.push(DocumentChange {
            key: key.clone(),
            operation,
            document: new.current.clone(),
            previous,
            at: new.changed,
            origin,
        });
    }

    /// Puts an edit into the quarantine.
    pub(super) fn quarantine(
        &mut self,
        now: Now,
        key: &DocumentKey,
        (state, base): (DocumentState, Option<Settled>),
        rejection: &Rejection,
    ) -> Result<()> {
        self.meta.last_ticket = self.meta.last_ticket.saturating_add(1);
        let (key, rejection) = (key.clone(), rejection.clone().bounded());
        let at = Stamp::new(self.meta.corrected(now).0, 0);
        let row = QuarantineRow { key, state, base, rejection, at };
        self.rows.put_quarantine(&self.scope, self.meta.last_ticket, Some(&row))?;
        self.row.quarantined = self.row.quarantined.saturating_add(1);
        self.meta.inbox = self.meta.inbox.wrapping_add(1);
        self.committed.refused.push((row.key, row.rejection));
        Ok(())
    }

    /// Removes an edit from the quarantine.
    pub(super) fn release(&mut self, ticket: u64) -> Result<()> {
        self.row.quarantined = self.row.quarantined.saturating_sub(1);
        self.meta.inbox = self.meta.inbox.wrapping_add(1);
        self.rows.put_quarantine(&self.scope, ticket, None)
    }

    fn count(&mut self, key: &DocumentKey, old: Option<&Record>, new: &Record) {
        if new.is_deferred() || old.is_some_and(Record::is_deferred) {
            self.meta.inbox = self.meta.inbox.wrapping_add(1);
        }
        let row = &mut self.row;
        let is_chosen = row.checkpoint.includes(&key.collection);
        let digest_of = |digest: &mut Digest, revision: &Revision, add: bool| {
            let change = if add { Digest::add } else { Digest::remove };
            change(digest, &key.collection, &key.id, revision);
        };
        let revision = |record: &Record| record.live().map(|live| live.revision);
        // A push that records or settles something of a document does not change its body.
        let is_another = old.and_then(revision) != revision(new);
        for (record, sign) in old.map(|o| (o, -1)).into_iter().chain([(new, 1)]) {
            let bump = |count: &mut u64, counts: bool| {
                *count = count.saturating_add_signed(if counts { sign } else { 0 });
            };
            if let Some(revision) = revision(record).filter(|_| is_another) {
                digest_of(&mut row.digest, &revision, sign > 0);
            }
            bump(&mut row.documents, record.live().is_some());
            bump(&mut row.settled, is_settled(record));
            bump(&mut row.pending, record.pushable().is_some() && is_chosen);
            bump(&mut row.not_chosen, record.pushable().is_some() && !is_chosen);
            bump(&mut row.in_flight, record.in_flight().is_some());
            bump(&mut row.deferred, record.is_deferred());
        }
    }

    /// Lets a collection be pulled from the beginning, independently of the others.
    pub(super) fn backfill(&mut self, collection: &Collection) {
        if self.row.checkpoint.position > Seq(0) {
            self.row.checkpoint.backfills.insert(collection.clone(), Seq(0));
            self.committed.backfilled.push(collection.clone());
        }
    }

    /// Visits every record of the scope, in pages, and saves what the visit changed.
    pub(super) fn sweep(
        &mut self,
        mut visit: impl FnMut(&mut Self, &DocumentKey, &mut Record),
    ) -> Result<()> {
        const PAGE: usize = 1_000;
        let mut after: Option<DocumentKey> = None;
        loop {
            let place = after.as_ref().map(|k| (&k.collection, &k.id));
            let page = self.rows.records(&self.scope, None, place, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, old) in page {
                let mut record = old.clone();
                visit(self, &key, &mut record);
                self.save(&key, Some(&old), record, Origin::Remote)?;
            }
        }
    }

    pub(super) fn finish(self) -> Result<Committed> {
        self.rows.put_meta(&self.meta)?;
        self.rows.put_scope(&self.scope, &self.row)?;
        Ok(self.committed)
    }
}

/// Returns whether the server may hold the document, so that a full pull has to check whether it
/// still does.
fn is_settled(record: &Record) -> bool {
    let has_base = record.edit().is_some_and(|e| e.base.is_some());
    record.server_seq > Seq(0) || has_base || (record.edit().is_none() && record.current.is_some())
}
