//! `status`: how far a replica is.

use serde::Serialize;
use twotide::core::model::{Digest, Epoch, ReplicaId, Scope, Seq};
use twotide::core::replica::OutboxCounts;

use super::open_existing;
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
}

pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let only = args.scope.map(Scope::new).transpose()?;
    let replica = open_existing(&args.db, only.as_ref().map_or("default", Scope::as_str)).await?;
    let state = replica.state().await?;
    let mut shown =
        Shown { replica: state.replica, scopes: Vec::new(), outbox: OutboxCounts::default() };
    for scope in state.scopes.into_iter().filter(|s| only.as_ref().is_none_or(|o| *o == s.scope)) {
        shown.outbox.add(scope.outbox);
        shown.scopes.push(ShownScope {
            scope: scope.scope,
            epoch: scope.checkpoint.epoch,
            position: scope.checkpoint.after(),
            documents: scope.documents,
            digest: scope.digest,
        });
    }
    print(&shown)?;
    Ok(replica.close().await?)
}
