//! `status`: the state of a replica.

use serde::Serialize;
use twotide::backend::model::{Digest, Epoch, ReplicaId, Scope, Seq};
use twotide::backend::replica::{Failed, Failures, OutboxCounts};
use twotide::{ErrorKind, Replica};

use super::{closing, open_existing};
use crate::args::StatusArgs;
use crate::failure::Failure;
use crate::output::print;

#[derive(Serialize)]
struct Shown {
    replica: ReplicaId,
    scopes: Vec<ShownScope>,
    outbox: OutboxCounts,
}

#[derive(Serialize)]
struct ShownScope {
    scope: Scope,
    epoch: Option<Epoch>,
    position: Seq,
    documents: u64,
    digest: Digest,
    /// The last failure, unless an attempt succeeded since.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ShownFailure>,
}

#[derive(Serialize)]
struct ShownFailure {
    kind: ErrorKind,
    message: String,
    at_ms: u64,
    retry_at_ms: Option<u64>,
    /// How many attempts to sync failed since the last success.
    failures: u64,
}

impl ShownFailure {
    fn last(failures: Failures) -> Option<Self> {
        let Failures { count, last } = failures;
        let Failed { kind, message, at, retry_at } = last.into_iter().last()?;
        let retry_at_ms = retry_at.map(|at| at.0);
        Some(Self { kind, message, at_ms: at.0, retry_at_ms, failures: count })
    }
}

pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let only = args.scope;
    let replica = open_existing(&args.db, &only.clone().unwrap_or_default()).await?;
    closing(replica, async |replica| {
        show(replica, only.as_ref()).await?;
        if args.check { check(replica, only.as_ref()).await } else { Ok(()) }
    })
    .await
}

async fn show(replica: &Replica, only: Option<&Scope>) -> Result<(), Failure> {
    let state = replica.state().await?;
    let mut shown =
        Shown { replica: state.replica, scopes: Vec::new(), outbox: OutboxCounts::default() };
    for scope in state.scopes.into_iter().filter(|s| only.is_none_or(|o| *o == s.scope)) {
        shown.outbox.add(scope.outbox);
        shown.scopes.push(ShownScope {
            scope: scope.scope,
            epoch: scope.checkpoint.epoch,
            position: scope.checkpoint.after(),
            documents: scope.documents,
            digest: scope.digest,
            error: ShownFailure::last(scope.failures),
        });
    }
    print(&shown)
}

/// Counts the documents, and fails if they differ from the stored sums.
async fn check(replica: &Replica, only: Option<&Scope>) -> Result<(), Failure> {
    let checked = replica.storage().check().await?;
    let mut scopes = checked.iter().filter(|c| only.is_none_or(|o| *o == c.scope));
    let Some(wrong) = scopes.find(|c| !c.is_right()) else { return Ok(()) };
    let (kept, counted) = (wrong.kept, wrong.counted);
    Err(Failure::failed(format!(
        "the replica is damaged: the scope `{}` says that it holds {} documents with the digest {}, and there are {} with \
         the digest {}; export what is there, and sync into a new file",
        wrong.scope, kept.documents, kept.digest, counted.documents, counted.digest
    )))
}
