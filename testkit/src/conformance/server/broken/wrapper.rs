//! A server's storage with a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::error::{ErrorKind, Result};
use sync_core::model::{
    Chunk, Cursor, Epoch, Limits, LogEntry, LogKey, NewLog, PushBatch, PushId, ReplicaId, Reset,
    ResetReason, Scope, Seq, ServerStart, Verdict, VerdictKind, Verdicts,
};
use sync_server::ops::{Acknowledgement, AppendContext, Appended, ChangesReply, Judge};
use sync_server::record::{Acknowledged, Fork, ServerScope};
use sync_server::{ServerStorage, Visible};

use super::ServerStorageFault as Fault;
use super::judge::Misheard;
use crate::conformance::faults::PreparedCrash;
use crate::conformance::tools::ALL;

/// The state that the faults keep.
#[derive(Debug, Default)]
struct Memory {
    /// Positions that are assigned and not committed.
    holes: BTreeSet<Seq>,
    /// The number of reads.
    looks: u64,
    /// The newest push of each replica, with its id in the correct storage.
    names: BTreeMap<ReplicaId, (PushId, PushId)>,
    /// Every entry that was ever in the log.
    history: Vec<LogEntry>,
    /// The last acknowledgements of replicas.
    said: BTreeMap<ReplicaId, Acknowledged>,
    /// The scope as the first read returned it.
    scope: Option<ServerScope>,
    /// The newest empty chunk.
    nothing: Option<Chunk>,
}

/// A correct storage, with the fault that breaks it.
pub(super) struct BrokenServerStorage {
    inner: Arc<dyn ServerStorage>,
    fault: Fault,
    crash: PreparedCrash,
    memory: Mutex<Memory>,
}

impl std::fmt::Debug for BrokenServerStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BrokenServerStorage").field(&self.fault).field(&self.inner).finish()
    }
}

impl BrokenServerStorage {
    pub(super) fn new(inner: Arc<dyn ServerStorage>, fault: Fault, crash: PreparedCrash) -> Self {
        Self { inner, fault, crash, memory: Mutex::default() }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a reader has read the half-finished push, or for a bounded time.
    async fn let_others_look(&self) {
        let before = self.memory().looks;
        for _ in 0..2_000 {
            if self.memory().looks > before {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Replaces the id of a push for the correct storage.
    fn rename(&self, batch: &mut PushBatch) {
        let fault = self.fault;
        if !matches!(fault, Fault::RetriesJudgedAnew | Fault::StalePushesTaken) {
            return;
        }
        let mut memory = self.memory();
        let (newest, name) = memory.names.entry(batch.replica).or_default();
        if *newest != batch.id || fault == Fault::RetriesJudgedAnew {
            *name = name.next();
        }
        *newest = batch.id;
        batch.id = *name;
    }

    async fn append_change_by_change(
        &self,
        cx: AppendContext,
        batch: PushBatch,
        judge: Arc<dyn Judge>,
    ) -> Result<Appended> {
        let mut whole: Option<Appended> = None;
        for (n, change) in (1..).zip(batch.changes.clone()) {
            let id = PushId(batch.id.0 * 10_000 + n);
            let one = PushBatch { id, changes: vec![change], ..batch.clone() };
            let one = self.inner.append(cx, one, Arc::clone(&judge)).await?;
            whole = Some(match whole {
                None => one,
                Some(mut whole) => {
                    if let (
                        Verdicts::Decided { verdicts, .. },
                        Verdicts::Decided { verdicts: more, .. },
                    ) = (&mut whole.verdicts, one.verdicts)
                    {
                        verdicts.extend(more);
                    }
                    whole.entries.extend(one.entries);
                    whole.head = one.head;
                    whole
                }
            });
            if self.has(Fault::PushesSeenInHalves) {
                self.let_others_look().await;
            }
        }
        match whole {
            Some(whole) => Ok(whole),
            None => self.inner.append(cx, batch, judge).await,
        }
    }

    /// Returns the verdicts for a push of which the disk stored nothing.
    async fn pretend(&self, cx: &AppendContext, batch: &PushBatch) -> Result<Appended> {
        let scope = self.inner.scope(batch.scope.clone(), cx.fresh).await?;
        let verdict = Verdict { seq: scope.head, kind: VerdictKind::Accepted, current: None };
        let verdicts = vec![verdict; batch.changes.len()];
        Ok(Appended {
            verdicts: Verdicts::Decided { epoch: scope.epoch, mark: None, verdicts },
            epoch: scope.epoch,
            before: scope.head,
            head: scope.head,
            horizon: scope.horizon,
            mark: None,
            entries: Vec::new(),
            erasures: scope.erasures,
            fork: None,
        })
    }

    /// Returns the verdicts with the judge's rejections of changes that are stored nevertheless.
    fn refuse_afterwards(&self, appended: &mut Appended, batch: &PushBatch, judge: &dyn Judge) {
        let Verdicts::Decided { verdicts, .. } = &mut appended.verdicts else { return };
        for (verdict, change) in verdicts.iter_mut().zip(&batch.changes) {
            if let Err(rejection) = judge.admit(change, None) {
                verdict.kind = VerdictKind::Rejected(rejection);
            }
        }
    }

    /// Returns the cursor as the fault reads it.
    fn misread(&self, mut cursor: Cursor) -> Cursor {
        if self.has(Fault::ChoicesIgnored) {
            cursor.collections = None;
        }
        match self.fault {
            Fault::CursorsRoundedUp if cursor.after > Seq(0) => {
                cursor.after = cursor.after.next();
                cursor.position = cursor.position.next();
            }
            Fault::LogPagedByOffset => {
                cursor.after = Seq(0);
                cursor.position = Seq(0);
            }
            _ => {}
        }
        cursor
    }

    /// Returns the chunk as the fault changes it for a reader at that position.
    fn tamper(&self, mut chunk: Chunk, asked: Seq, limits: Limits) -> Chunk {
        chunk.after = asked;
        let mut memory = self.memory();
        match self.fault {
            Fault::PositionsBeforeCommit => {
                chunk.entries.retain(|e| !memory.holes.contains(&e.seq));
            }
            Fault::CursorsRoundedUp => chunk.next = chunk.next.max(asked),
            Fault::LogPagedByOffset => {
                let rows = usize::try_from(asked.0).unwrap_or(usize::MAX);
                chunk.entries.drain(..rows.min(chunk.entries.len()));
                chunk.entries.retain(|e| e.seq > asked);
                cut(&mut chunk, limits.documents);
            }
            Fault::PushesCutByChunks => cut(&mut chunk, limits.documents),
            Fault::ChunksStandStill => {
                let mut bytes = 0;
                let fits = |e: &&LogEntry| {
                    bytes += e.weight();
                    bytes <= limits.bytes
                };
                let rows = chunk.entries.iter().take_while(fits).count();
                cut(&mut chunk, rows.min(limits.documents));
            }
            Fault::OldStatesTold => {
                let (after, next) = (chunk.after, chunk.next);
                let told = |e: &&LogEntry| after < e.seq && e.seq <= next;
                chunk.entries = memory.history.iter().filter(told).cloned().collect();
            }
            Fault::HeadsRemembered => match &memory.nothing {
                Some(nothing) if nothing.after == asked => return nothing.clone(),
                _ if chunk.entries.is_empty() => memory.nothing = Some(chunk.clone()),
                _ => {}
            },
            _ => {}
        }
        memory.looks += 1;
        chunk
    }
}

/// Ends a chunk after so many rows.
fn cut(chunk: &mut Chunk, rows: usize) {
    if rows < chunk.entries.len() {
        chunk.entries.truncate(rows);
        chunk.next = chunk.entries.last().map_or(chunk.after, |e| e.seq);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ServerStorage for BrokenServerStorage {
    async fn scope(&self, scope: Scope, fresh: NewLog) -> Result<ServerScope> {
        let mut row = self.inner.scope(scope, fresh).await?;
        if self.has(Fault::DigestLeftBehind) {
            let seen = self.memory().scope.get_or_insert_with(|| row.clone()).clone();
            (row.digest, row.documents) = (seen.digest, seen.documents);
        }
        Ok(row)
    }

    async fn find_scope(&self, scope: Scope) -> Result<Option<ServerScope>> {
        self.inner.find_scope(scope).await
    }

    async fn scopes(&self, after: Option<Scope>, limit: usize) -> Result<Vec<Scope>> {
        let mut page = self.inner.scopes(after.clone(), limit).await?;
        if self.has(Fault::ScopesToldTwice)
            && let Some(last) = after
        {
            page.insert(0, last);
            page.truncate(limit);
        }
        Ok(page)
    }

    async fn append(
        &self,
        mut cx: AppendContext,
        mut batch: PushBatch,
        judge: Arc<dyn Judge>,
    ) -> Result<Appended> {
        let misheard = || Arc::new(Misheard { judge: Arc::clone(&judge), fault: self.fault });
        match self.fault {
            Fault::PushesLostInCrash | Fault::LogGoesBackInCrash => {
                self.crash.lose_from_here().await?
            }
            Fault::StampsBelieved => cx.drift = Duration::MAX,
            Fault::StartsNotNoted => cx.start = ServerStart(0),
            Fault::ErasuresTakenForDeletions => {
                batch.changes.iter_mut().for_each(|c| c.state.erased = None);
            }
            Fault::PushesInHalves | Fault::PushesSeenInHalves => {
                return self.append_change_by_change(cx, batch, judge).await;
            }
            _ => {}
        }
        self.rename(&mut batch);
        let mut appended = match self.inner.append(cx, batch.clone(), misheard()).await {
            Err(e) if e.kind() == ErrorKind::Storage && self.has(Fault::DiskErrorsSwallowed) => {
                return self.pretend(&cx, &batch).await;
            }
            Ok(told) if batch.recall.is_some() && self.has(Fault::RecallsNotLookedUp) => {
                Appended { verdicts: Verdicts::Recalled, ..told }
            }
            Ok(Appended { verdicts: Verdicts::Cloned, .. }) if self.has(Fault::ClonesTaken) => {
                batch.id.0 += 1_000_000;
                self.inner.append(cx, batch.clone(), misheard()).await?
            }
            appended => appended?,
        };
        match self.fault {
            Fault::RefusedChangesStored => self.refuse_afterwards(&mut appended, &batch, &*judge),
            Fault::OldStatesTold => self.memory().history.extend(appended.entries.clone()),
            Fault::PositionsBeforeCommit => {
                let seqs: Vec<_> = appended.entries.iter().map(|e| e.seq).collect();
                self.memory().holes.extend(&seqs);
                self.let_others_look().await;
                self.memory().holes.retain(|hole| !seqs.contains(hole));
            }
            _ => {}
        }
        Ok(appended)
    }

    async fn changes(
        &self,
        scope: Scope,
        cursor: Cursor,
        limits: Limits,
        visible: Visible,
    ) -> Result<ChangesReply> {
        let asked = cursor.after;
        let unbounded = matches!(
            self.fault,
            Fault::ChunksUnbounded
                | Fault::LogPagedByOffset
                | Fault::PushesCutByChunks
                | Fault::ChunksStandStill
        );
        let given = if unbounded { ALL } else { limits };
        let visible = if self.has(Fault::VisibilityIgnored) { Visible::All } else { visible };
        if self.has(Fault::UnknownScopesEmpty) {
            self.inner
                .scope(scope.clone(), NewLog { epoch: Epoch([0xba; 16]), key: LogKey([7; 16]) })
                .await?;
        }
        let cursor = self.misread(cursor);
        let reply =
            self.inner.changes(scope.clone(), cursor.clone(), given, visible.clone()).await?;
        match reply {
            ChangesReply::Chunk(chunk) => {
                Ok(ChangesReply::Chunk(self.tamper(chunk, asked, limits)))
            }
            ChangesReply::Reset(Fork::Reset(Reset {
                reason: ResetReason::BelowHorizon, ..
            })) if self.has(Fault::HorizonForgotten) => {
                let cursor = Cursor { floor: Some(Seq(u64::MAX)), ..cursor };
                self.inner.changes(scope, cursor, given, visible).await
            }
            fork => Ok(fork),
        }
    }

    async fn acknowledge(
        &self,
        scope: Scope,
        replica: ReplicaId,
        mut ack: Acknowledgement,
    ) -> Result<Option<Fork>> {
        self.memory().said.insert(replica, Acknowledged { epoch: ack.epoch, seq: ack.seq });
        if self.has(Fault::DigestsNotCompared) {
            ack.digest = None;
        }
        self.inner.acknowledge(scope, replica, ack).await
    }

    async fn replica(
        &self,
        scope: Scope,
        replica: ReplicaId,
    ) -> Result<(Option<Acknowledged>, Option<PushId>)> {
        let (at, push) = self.inner.replica(scope, replica).await?;
        if self.has(Fault::AcknowledgementsGoBack) {
            return Ok((self.memory().said.get(&replica).copied(), push));
        }
        Ok((at, push))
    }

    async fn begin_epoch(
        &self,
        scope: Scope,
        mut from: Epoch,
        cut: Seq,
        fresh: Epoch,
    ) -> Result<ServerScope> {
        if self.has(Fault::EpochsNotCompared) {
            let current = self.inner.find_scope(scope.clone()).await?;
            from = current.map_or(from, |s| s.epoch);
        }
        self.inner.begin_epoch(scope, from, cut, fresh).await
    }

    async fn purge_erased(&self) -> Result<bool> {
        self.inner.purge_erased().await
    }

    async fn purge(&self, scope: Scope, up_to: Seq) -> Result<u64> {
        let up_to = if self.has(Fault::PurgesEndEarly) { up_to.min(Seq(1_500)) } else { up_to };
        self.inner.purge(scope, up_to).await
    }

    async fn close(&self) -> Result<()> {
        if self.has(Fault::OpenAfterClosing) {
            return Ok(());
        }
        self.inner.close().await
    }
}
