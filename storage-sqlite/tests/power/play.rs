//! Runs the script on the storages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use storage_sqlite::{
    SqliteConfig, SqliteServerStorage, SqliteStorage, Synchronous, open_replica, open_server,
};
use sync_core::clock::Now;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{
    BaseRef, Body, Change, Checkpoint, Collection, DocumentId, DocumentKey, DocumentState, Epoch,
    FencingToken, Limits, LogEntry, LogKey, NewLog, PushBatch, PushId, Rejection, RejectionCode,
    ReplicaId, Reset, ResetReason, Revision, Scope, ServerStart, Stamp, Verdicts,
};
use sync_core::replica::{Context, Decision, Forget, LocalTransaction, LocalWrite, WriteOperation};
use sync_core::resolver::{LastWriteWins, Resolution, ResolveOn, Resolvers};
use sync_core::storage::Storage;
use sync_server::ops::{Acknowledgement, AppendContext, ChangesReply, Judge};
use sync_server::{ServerStorage, Visible};
use testkit::resolvers::ResolverKind;
use verification::vfs::SimDisk;

use super::script::{Step, Writes};
use super::simulated;

pub(crate) const REPLICA: ReplicaId = ReplicaId([7; 16]);
const OTHER: ReplicaId = ReplicaId([8; 16]);
pub(crate) const FILE: &str = "app.db";
const BEGINNING: u64 = 1_700_000_000_000;

/// Rejects invalid documents, and leaves conflicts to the replica.
#[derive(Debug)]
struct Strict;

impl Judge for Strict {
    fn admit(&self, change: &Change, _: Option<&DocumentState>) -> Result<(), Rejection> {
        if !change.id.as_str().starts_with("bad") {
            return Ok(());
        }
        Err(Rejection { code: RejectionCode::Invalid, reason: "bad".to_owned() })
    }
}

/// The state of a process between two calls.
#[derive(Clone, Debug, Default)]
struct Known {
    lease: FencingToken,
    batch: Option<PushBatch>,
    verdicts: Option<(PushId, Verdicts)>,
    /// The bases of the other replica's edits.
    bases: BTreeMap<(Collection, DocumentId), BaseRef>,
    pushed: u64,
    reset: Option<Reset>,
    epochs: u8,
}

/// Both storages, open, and the position in the script.
#[derive(Debug)]
pub(crate) struct Play {
    replica: SqliteStorage,
    server: SqliteServerStorage,
    known: Known,
    runtime: tokio::runtime::Runtime,
}

/// Returns the settings of a storage on a disk.
pub(crate) fn config(disk: &SimDisk, synchronous: Synchronous) -> SqliteConfig {
    let mut config = simulated::config(&disk.path(FILE));
    config.synchronous = synchronous;
    // The writer's work while nothing waits is a part of the call before: otherwise the operations
    // of a call could not be counted.
    config.threads.inline = true;
    config
}

fn name(name: &str) -> (Collection, DocumentId) {
    let (collection, id) = name.split_once('/').unwrap();
    (Collection::new(collection).unwrap(), DocumentId::new(id).unwrap())
}

fn key(of: &str) -> DocumentKey {
    let (collection, id) = name(of);
    DocumentKey::new(Scope::default(), collection, id)
}

fn body(text: &str) -> Body {
    Body::from_value(&text).unwrap()
}

fn resolvers() -> Resolvers {
    let asks = Collection::new("asks").unwrap();
    Resolvers::shared(Arc::new(LastWriteWins), ResolveOn::Replica).with(
        asks,
        ResolverKind::Deferring.resolver(),
        ResolveOn::Replica,
    )
}

impl Play {
    pub(crate) fn open(replica: &SimDisk, server: &SimDisk, synchronous: Synchronous) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self {
            replica: open_replica(&config(replica, synchronous), REPLICA).unwrap(),
            server: open_server(&config(server, synchronous)).unwrap(),
            known: Known::default(),
            runtime,
        }
    }

    /// Closes both storages.
    pub(crate) fn close(self) {
        self.runtime.block_on(self.replica.close()).unwrap();
        self.runtime.block_on(self.server.close()).unwrap();
    }

    /// Runs one step. If it fails, it can be tried again.
    pub(crate) fn carry_out(&mut self, number: usize, step: &Step) -> Result<()> {
        let Self { replica, server, known, runtime } = self;
        let now = Now(BEGINNING + 1_000 * number as u64);
        runtime.block_on(carry_out(replica, server, known, now, step))
    }
}

fn other_batch(known: &Known, now: Now, writes: &Writes) -> PushBatch {
    let change = |(n, (of, text)): (usize, &(String, Option<String>))| {
        let (collection, id) = name(of);
        let revision = Revision { stamp: Stamp::new(now.0, n as u16), replica: OTHER };
        let body = text.as_deref().map(body);
        let state = DocumentState::new(revision, body);
        let base = known.bases.get(&(collection.clone(), id.clone())).copied();
        Change { collection, id, base, base_body: None, state }
    };
    let changes = writes.iter().enumerate().map(change).collect();
    let id = PushId(known.pushed + 1);
    PushBatch::new(Scope::default(), OTHER, id, changes)
}

fn base(entry: &LogEntry, epoch: Epoch) -> BaseRef {
    BaseRef::of(&entry.state, epoch, entry.seq)
}

async fn append(
    server: &SqliteServerStorage,
    known: &mut Known,
    now: Now,
    batch: PushBatch,
) -> Result<Verdicts> {
    let drift = Duration::from_secs(60);
    let cx = AppendContext {
        drift,
        ..AppendContext::new(
            now,
            ServerStart(1),
            NewLog { epoch: Epoch([1; 16]), key: LogKey([7; 16]) },
        )
    };
    let appended = server.append(cx, batch, Arc::new(Strict)).await?;
    for entry in &appended.entries {
        let name = (entry.collection.clone(), entry.id.clone());
        known.bases.insert(name, base(entry, appended.epoch));
    }
    Ok(appended.verdicts)
}

async fn checkpoint(replica: &SqliteStorage) -> Result<Checkpoint> {
    let state = replica.state().await?;
    Ok(state.scope(&Scope::default()).map(|s| s.checkpoint.clone()).unwrap_or_default())
}

#[allow(clippy::too_many_lines, reason = "one arm for each call of the contract")]
async fn carry_out(
    replica: &SqliteStorage,
    server: &SqliteServerStorage,
    known: &mut Known,
    now: Now,
    step: &Step,
) -> Result<()> {
    let scope = Scope::default();
    let cx = Context { now, resolvers: resolvers(), lease: known.lease };
    match step {
        Step::Claim => known.lease = replica.claim("the script".to_owned()).await?,
        Step::Write(writes) => {
            let write = |(of, text): &(String, Option<String>)| {
                let (collection, id) = name(of);
                let put = |text: &String| WriteOperation::Put(body(text));
                let operation = text.as_ref().map_or(WriteOperation::Delete, put);
                LocalWrite { collection, id, operation }
            };
            let writes = writes.iter().map(write).collect();
            replica.write(now, LocalTransaction { scope, writes }).await?;
        }
        Step::Form => known.batch = replica.next_push(cx, scope, Limits::PUSH).await?,
        Step::Deliver => {
            let batch = known.batch.clone().ok_or_else(|| missing("a batch"))?;
            let id = batch.id;
            let verdicts = append(server, known, now, batch).await?;
            known.verdicts = Some((id, verdicts));
        }
        Step::Settle => {
            let (id, verdicts) = known.verdicts.clone().ok_or_else(|| missing("verdicts"))?;
            replica.settle(cx, scope, id, verdicts).await?;
        }
        Step::Foreign(writes) => {
            append(server, known, now, other_batch(known, now, writes)).await?;
            known.pushed += 1;
        }
        Step::Apply => {
            let cursor = checkpoint(replica).await?.cursor();
            match server.changes(scope, cursor, Limits::CHUNK, Visible::All).await? {
                ChangesReply::Chunk(chunk) => assert!(replica.apply(cx, chunk).await?.moved),
                ChangesReply::Reset(fork) => {
                    return Err(missing("a chunk").with("fork", format!("{fork:?}")));
                }
            }
        }
        Step::Acknowledge => {
            let at = checkpoint(replica).await?;
            let epoch = at.epoch.ok_or_else(|| missing("an epoch"))?;
            let ack = Acknowledgement::new(epoch, at.after());
            server.acknowledge(scope, REPLICA, ack).await?;
        }
        Step::Purge => {
            let held = server.find_scope(scope.clone()).await?.ok_or_else(|| missing("a scope"))?;
            server.purge(scope, held.head).await?;
            known.reset = Some(Reset { epoch: held.epoch, reason: ResetReason::BelowHorizon });
        }
        Step::BeginEpoch => {
            let held = server.find_scope(scope.clone()).await?.ok_or_else(|| missing("a scope"))?;
            let fresh = Epoch([2 + known.epochs; 16]);
            let begun = server.begin_epoch(scope, held.epoch, held.head, fresh).await?;
            known.epochs += 1;
            let reason = ResetReason::EpochChanged { cut: held.head };
            known.reset = Some(Reset { epoch: begun.epoch, reason });
        }
        Step::Reset => {
            let reset = known.reset.ok_or_else(|| missing("a reset"))?;
            replica.reset(cx, scope, reset).await?;
        }
        Step::PullAfresh => {
            let epoch = checkpoint(replica).await?.epoch.ok_or_else(|| missing("an epoch"))?;
            replica.reset(cx, scope, Reset { epoch, reason: ResetReason::Requested }).await?;
        }
        Step::Decide(of) => {
            let decision = Decision::Resolve(Resolution::Merge(body("both")));
            replica.decide(now, key(of), decision).await?;
        }
        Step::Discard(of) => drop(replica.decide(now, key(of), Decision::Discard).await?),
        Step::Forget => drop(replica.forget(now, None, Forget::Scope(scope)).await?),
    }
    Ok(())
}

/// Returns the error of an inconsistent script.
fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the script has no {what}"))
}
