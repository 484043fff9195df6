//! Reads.

use super::transaction::read_meta;
use crate::error::Result;
use crate::model::{DocumentKey, Limits, LocalSeq, Scope};
use crate::replica::record::{BatchRow, QuarantineRow, Record};
use crate::replica::rows::ReplicaReads;
use crate::replica::types::{
    DocumentChange, FeedPage, Operation, Origin, OutboxCounts, ReplicaState, Scan, ScopeSummary,
    StoragePage, Stored, Unsettled, UnsettledAfter, UnsettledEntry,
};

/// Returns a summary of the replica.
///
/// # Errors
/// The errors of the rows.
pub fn state(rows: &dyn ReplicaReads) -> Result<ReplicaState> {
    let meta = read_meta(rows)?;
    let mut scopes = Vec::new();
    for (scope, row) in rows.scopes()? {
        let outbox = OutboxCounts {
            pending: row.pending,
            in_flight: row.in_flight,
            quarantined: row.quarantined,
            deferred: row.deferred,
            not_chosen: row.not_chosen,
        };
        let in_flight = rows.batch_id(&scope)?;
        let is_partial = row.left_out || row.checkpoint.collections.is_some();
        scopes.push(ScopeSummary {
            scope,
            checkpoint: row.checkpoint,
            documents: row.documents,
            digest: row.digest,
            outbox,
            in_flight,
            failures: row.failures,
            is_partial,
        });
    }
    Ok(ReplicaState {
        replica: meta.replica,
        last_push: meta.last_push,
        last_local: meta.last_local,
        inbox: meta.inbox,
        lease: (meta.lease, meta.holder),
        local_only: meta.local_only,
        scopes,
    })
}

/// Returns live documents by key; none where there is none.
///
/// # Errors
/// The errors of the rows.
pub fn get(rows: &dyn ReplicaReads, keys: &[DocumentKey]) -> Result<Vec<Option<Stored>>> {
    keys.iter().map(|key| Ok(rows.record(key)?.and_then(|r| stored(key.clone(), r)))).collect()
}

fn stored(key: DocumentKey, record: Record) -> Option<Stored> {
    let dirty = record.edit().is_some();
    let (known, changed) = (record.server_seq, record.changed);
    let state = record.current.filter(|c| !c.is_deleted())?;
    Some(Stored { key, state, known, dirty, changed })
}

/// Returns live documents in order of (collection, id).
///
/// # Errors
/// As the rows.
pub fn scan(rows: &dyn ReplicaReads, scan: &Scan) -> Result<StoragePage<Stored>> {
    let mut filled = Filled::new(scan.limits);
    let mut after = scan.after.clone();
    loop {
        let place = after.as_ref().map(|(c, i)| (c, i));
        let step = filled.step();
        let page = rows.records(&scan.scope, scan.collection.as_ref(), place, step)?;
        let is_last = page.len() < step;
        for (key, record) in page {
            after = Some((key.collection.clone(), key.id.clone()));
            let Some(stored) = stored(key, record) else { continue };
            let weight = stored.state.weight();
            if !filled.push(stored, weight) {
                return Ok(filled.page(true));
            }
        }
        if is_last {
            return Ok(filled.page(false));
        }
    }
}

/// A page that is filled up to its limits.
struct Filled<T> {
    limits: Limits,
    bytes: usize,
    items: Vec<T>,
}

impl<T> Filled<T> {
    fn new(limits: Limits) -> Self {
        Self { limits, bytes: 0, items: Vec::new() }
    }

    /// Returns how many rows to read next: one more than fit, to detect whether more follow.
    fn step(&self) -> usize {
        self.limits.documents.saturating_sub(self.items.len()).saturating_add(1).clamp(2, 1_000)
    }

    /// Adds an item if it fits, and returns whether it did. The first always fits.
    fn push(&mut self, item: T, weight: usize) -> bool {
        let full =
            self.items.len() >= self.limits.documents || self.bytes + weight > self.limits.bytes;
        if full && !self.items.is_empty() {
            return false;
        }
        self.bytes += weight;
        self.items.push(item);
        true
    }

    fn page(self, more: bool) -> StoragePage<T> {
        StoragePage { items: self.items, more }
    }
}

/// Returns what changed for the app, by place in the replica's feed: each document once, at its
/// newest place.
///
/// # Errors
/// The errors of the rows.
pub fn feed(rows: &dyn ReplicaReads, after: LocalSeq, limits: Limits) -> Result<FeedPage> {
    let mut filled = Filled::new(limits);
    let gap = rows.meta()?.is_some_and(|m| after < m.feed_floor);
    let page = rows.changed(after, limits.documents.saturating_add(1))?;
    for (key, record) in page {
        let at = record.changed;
        let origin = if record.changed_here { Origin::Local } else { Origin::Remote };
        let operation = match record.live() {
            None => Operation::Delete,
            Some(live) if live.created == live.revision.stamp => Operation::Insert,
            Some(_) => Operation::Update,
        };
        let weight = record.current.as_ref().map_or(64, |c| c.weight());
        let change =
            DocumentChange { key, operation, document: record.current, previous: None, at, origin };
        if !filled.push(change, weight) {
            return Ok(FeedPage { changes: filled.items, more: true, gap });
        }
    }
    Ok(FeedPage { changes: filled.items, more: false, gap })
}

/// Reads the unsettled entries of a scope.
///
/// # Errors
/// The errors of the rows.
pub fn unsettled(
    rows: &dyn ReplicaReads,
    scope: &Scope,
    which: Unsettled,
    after: &UnsettledAfter,
    limits: Limits,
) -> Result<StoragePage<UnsettledEntry>> {
    let mut filled = Filled::new(limits);
    let step = filled.step();
    let (place, key, ticket) = match after {
        UnsettledAfter::Start => (None, None, 0),
        UnsettledAfter::Entry { transaction, key, ticket } => {
            (Some((*transaction, key.collection.clone(), key.id.clone())), Some(key), *ticket)
        }
    };
    let entries: Vec<UnsettledEntry> = match which {
        Unsettled::Pending => {
            rows.outbox(scope, place.as_ref(), step)?.into_iter().filter_map(entry).collect()
        }
        Unsettled::Deferred => {
            let place = key.map(|k| (&k.collection, &k.id));
            rows.deferred(scope, place, step)?.into_iter().filter_map(entry).collect()
        }
        Unsettled::InFlight => in_flight(rows, scope, key, step)?,
        Unsettled::Quarantine => {
            rows.quarantine(scope, ticket, step)?.into_iter().map(refused).collect()
        }
    };
    let is_last = entries.len() < step;
    for entry in entries {
        let weight = entry.local.weight();
        if !filled.push(entry, weight) {
            return Ok(filled.page(true));
        }
    }
    Ok(filled.page(!is_last))
}

/// Reads the unsettled entries of one document: its edit, and every refused edit of it.
///
/// # Errors
/// The errors of the rows.
pub fn unsettled_of(
    rows: &dyn ReplicaReads,
    key: &DocumentKey,
) -> Result<Vec<(Unsettled, UnsettledEntry)>> {
    let mut found = Vec::new();
    if let Some(record) = rows.record(key)? {
        let in_flight = record.pending.as_ref().is_some_and(|p| p.in_flight.is_some());
        let which = match (record.is_deferred(), in_flight) {
            (true, _) => Unsettled::Deferred,
            (false, true) => Unsettled::InFlight,
            (false, false) => Unsettled::Pending,
        };
        let batch = rows.batch(&key.scope)?.filter(|_| in_flight);
        let found_entry = entry((key.clone(), record));
        found.extend(found_entry.map(|mut entry| {
            entry.attempts = batch.map_or(0, |b| b.attempts);
            (which, entry)
        }));
    }
    let mut after = 0;
    loop {
        let page = rows.quarantine(&key.scope, after, QUARANTINE_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after = *last;
        let of_it = page.into_iter().filter(|(_, row)| row.key == *key);
        found.extend(of_it.map(|row| (Unsettled::Quarantine, refused(row))));
    }
}

/// The number of rows of the quarantine that are read at a time.
const QUARANTINE_PAGE: usize = 256;

fn refused((ticket, row): (u64, QuarantineRow)) -> UnsettledEntry {
    UnsettledEntry {
        key: row.key,
        local: row.state,
        base: row.base,
        remote: None,
        transaction: LocalSeq(0),
        attempts: 0,
        refused: Some((row.rejection, row.at, ticket)),
    }
}

fn in_flight(
    rows: &dyn ReplicaReads,
    scope: &Scope,
    after: Option<&DocumentKey>,
    step: usize,
) -> Result<Vec<UnsettledEntry>> {
    let Some(BatchRow { keys, attempts, .. }) = rows.batch(scope)? else { return Ok(Vec::new()) };
    let start = after.and_then(|a| keys.iter().position(|k| k == a)).map_or(0, |i| i + 1);
    let mut entries = Vec::new();
    for key in keys.into_iter().skip(start).take(step) {
        let Some(record) = rows.record(&key)? else { continue };
        let Some(local) = record.pushed() else { continue };
        let base = record.edit().and_then(|e| e.base.clone());
        let transaction = record.edit().map_or(LocalSeq(0), |e| e.transaction);
        let remote = record.pending.and_then(|p| p.pending_remote).and_then(|s| s.state);
        let refused = None;
        entries.push(UnsettledEntry { key, local, base, remote, transaction, attempts, refused });
    }
    Ok(entries)
}

fn entry((key, record): (DocumentKey, Record)) -> Option<UnsettledEntry> {
    let local = record.current?;
    let pending = record.pending?;
    let edit = pending.edit?;
    Some(UnsettledEntry {
        key,
        local,
        base: edit.base,
        remote: pending.pending_remote.and_then(|s| s.state),
        transaction: edit.transaction,
        attempts: 0,
        refused: None,
    })
}
