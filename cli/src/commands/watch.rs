//! `watch`: changes as they happen.

use serde::Serialize;
use serde_json::value::RawValue;
use twotide::backend::model::{LocalSeq, Revision};
use twotide::prelude::*;

use super::told::Told;
use super::{Signals, closing, open_existing};
use crate::args::WatchArgs;
use crate::failure::Failure;
use crate::output::{one_line, print};
use crate::stderr::tell;

#[derive(Serialize)]
struct Shown<'a> {
    local_seq: u64,
    operation: Operation,
    origin: Origin,
    scope: &'a str,
    collection: &'a str,
    id: &'a str,
    revision: Option<Revision>,
    stamp_ms: Option<u64>,
    body: Option<Box<RawValue>>,
    previous: Option<Box<RawValue>>,
}

fn body_of(document: Option<Document<Body>>) -> Result<Option<Box<RawValue>>, Failure> {
    document.map(|d| one_line(Some(d.value()))).transpose()
}

fn show(change: &Change, operation: Operation) -> Result<(), Failure> {
    // Nothing is left of a document that was created and deleted before it was pushed.
    let stamp = change.revision().map(|revision| revision.stamp.millis());
    print(&Shown {
        local_seq: change.local_seq(),
        operation,
        origin: change.origin(),
        scope: change.key().scope.as_str(),
        collection: change.key().collection.as_str(),
        id: change.key().id.as_str(),
        revision: change.revision(),
        stamp_ms: stamp,
        body: body_of(change.document()?)?,
        previous: body_of(change.previous()?)?,
    })
}

pub(crate) async fn run(args: WatchArgs) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let replica = open_existing(&args.db.db, &args.db.scope).await?;
    closing(replica, async |replica| watch(replica, &args, &mut signals).await).await
}

async fn watch(replica: &Replica, args: &WatchArgs, signals: &mut Signals) -> Result<(), Failure> {
    let after = match args.after {
        Some(after) => LocalSeq(after),
        None => replica.state().await?.last_local,
    };
    let mut changes = replica.changes_after(after.0);
    let mut told = Told::until(replica, after).await?;
    tell(format_args!("watching {}", args.db.db));
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let change = tokio::select! {
            ended = signals.asked_to_end() => return ended,
            change = changes.next() => {
                change.ok_or_else(|| Failure::failed("the replica was closed"))??
            }
        };
        // One file holds all scopes of a replica; one is watched, with the local-only documents.
        let scope = &change.key().scope;
        if scope != replica.scope() && !scope.is_local() {
            continue;
        }
        let Some(operation) = told.operation(&change) else { continue };
        show(&change, operation)?;
        left -= 1;
    }
    Ok(())
}
