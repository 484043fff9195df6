//! `conflicts`, `quarantine` and `why`: lists unsettled edits, and resolves them.

use serde::Serialize;
use serde_json::value::RawValue;
use twotide::backend::model::{Collection, DocumentId, Rejection, Stamp};
use twotide::prelude::{Body, ErrorKind, Replica, Resolution};
use twotide::{
    FailedAttempt, NextPage, QuarantinedEdit, SyncState, UnsettledPage, WaitingConflict,
    WaitingEdit,
};

use super::data::absent;
use super::{closing, open_existing};
use crate::args::{ConflictsCommand, DbArgs, How, KeyArgs, QuarantineCommand, ResolveArgs};
use crate::failure::Failure;
use crate::output::{one_line, print, print_done};

/// How many entries are read at a time.
const PAGE: usize = 500;

#[derive(Serialize)]
struct ShownConflict {
    collection: String,
    id: String,
    since_ms: u64,
    base: Box<RawValue>,
    local: Box<RawValue>,
    remote: Box<RawValue>,
}

impl ShownConflict {
    fn of(conflict: &WaitingConflict) -> Result<Self, Failure> {
        Ok(Self {
            collection: conflict.key.collection.to_string(),
            id: conflict.key.id.to_string(),
            since_ms: millis(conflict.since),
            base: one_line(conflict.base.as_ref())?,
            local: one_line(conflict.local.as_ref())?,
            remote: one_line(conflict.remote.as_ref())?,
        })
    }
}

#[derive(Serialize)]
struct ShownEdit {
    collection: String,
    id: String,
    at_ms: u64,
    body: Box<RawValue>,
    refused: Rejection,
}

impl ShownEdit {
    fn of(edit: &QuarantinedEdit) -> Result<Self, Failure> {
        Ok(Self {
            collection: edit.key.collection.to_string(),
            id: edit.key.id.to_string(),
            at_ms: millis(edit.at),
            body: one_line(edit.body.as_ref())?,
            refused: edit.rejection.clone(),
        })
    }
}

fn millis(time: std::time::SystemTime) -> u64 {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(Stamp::MAX_MILLIS)
}

async fn existing(db: &DbArgs) -> Result<Replica, Failure> {
    open_existing(&db.db, &db.scope).await
}

pub(crate) async fn conflicts(command: ConflictsCommand) -> Result<(), Failure> {
    match command {
        ConflictsCommand::Ls(db) => {
            closing(existing(&db).await?, async |replica| {
                let waiting = replica.conflicts();
                list(async |next| waiting.list(next, PAGE).await, ShownConflict::of).await
            })
            .await
        }
        ConflictsCommand::Show(KeyArgs { db, collection, id }) => {
            closing(existing(&db).await?, async |replica| {
                let found = replica.conflicts().get(collection.as_str(), id.as_str()).await?;
                let none = || Failure::failed(format!("no conflict of {collection}/{id} waits"));
                print(&ShownConflict::of(&found.ok_or_else(none)?)?)
            })
            .await
        }
        ConflictsCommand::Resolve(ResolveArgs { key, how }) => {
            let resolution = resolution(how)?;
            let KeyArgs { db, collection, id } = key;
            closing(existing(&db).await?, async |replica| {
                replica.conflicts().resolve(collection.as_str(), id.as_str(), resolution).await?;
                let done = format!("the conflict of {collection}/{id} was resolved");
                decided(replica, &collection, &id, done).await
            })
            .await
        }
    }
}

fn resolution(how: How) -> Result<Resolution, Failure> {
    Ok(match how {
        How { with: Some(json), .. } => {
            Resolution::Merge(Body::parse(json).map_err(|e| Failure::argument(&e))?)
        }
        How { local: true, .. } => Resolution::Local,
        How { delete: true, .. } => Resolution::Delete,
        How { .. } => Resolution::Remote,
    })
}

/// Prints every entry of a list, page by page.
async fn list<T, S: Serialize>(
    page: impl AsyncFn(Option<&NextPage>) -> twotide::Result<UnsettledPage<T>>,
    show: impl Fn(&T) -> Result<S, Failure>,
) -> Result<(), Failure> {
    let mut next = None;
    loop {
        let UnsettledPage { entries, next: after, .. } = page(next.as_ref()).await?;
        for entry in &entries {
            print(&show(entry)?)?;
        }
        if after.is_none() {
            return Ok(());
        }
        next = after;
    }
}

pub(crate) async fn quarantine(command: QuarantineCommand) -> Result<(), Failure> {
    match command {
        QuarantineCommand::Ls(db) => {
            closing(existing(&db).await?, async |replica| {
                let refused = replica.quarantine();
                list(async |next| refused.list(next, PAGE).await, ShownEdit::of).await
            })
            .await
        }
        QuarantineCommand::Retry(KeyArgs { db, collection, id }) => {
            closing(existing(&db).await?, async |replica| {
                replica.quarantine().retry(collection.as_str(), id.as_str()).await?;
                let done = format!("the refused edits of {collection}/{id} were written again");
                decided(replica, &collection, &id, done).await
            })
            .await
        }
        QuarantineCommand::Discard(KeyArgs { db, collection, id }) => {
            closing(existing(&db).await?, async |replica| {
                replica.quarantine().discard(collection.as_str(), id.as_str()).await?;
                let done = format!("the refused edits of {collection}/{id} were dropped");
                decided(replica, &collection, &id, done).await
            })
            .await
        }
    }
}

/// An edit that is not settled, and the failed attempts to sync it.
#[derive(Serialize)]
struct ShownWait {
    since_ms: u64,
    attempts: u32,
    failures: u64,
    errors: Vec<ShownError>,
}

#[derive(Serialize)]
struct ShownError {
    kind: ErrorKind,
    message: String,
    at_ms: u64,
    retry_at_ms: Option<u64>,
}

impl ShownWait {
    fn of(edit: &WaitingEdit) -> Self {
        let shown = |error: &FailedAttempt| ShownError {
            kind: error.kind,
            message: error.message.clone(),
            at_ms: millis(error.at),
            retry_at_ms: error.retry_at.map(millis),
        };
        Self {
            since_ms: millis(edit.since),
            attempts: edit.attempts,
            failures: edit.failures,
            errors: edit.errors.iter().map(shown).collect(),
        }
    }
}

#[derive(Serialize)]
struct Why<'a> {
    collection: &'a str,
    id: &'a str,
    state: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    waits: Option<ShownWait>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<ShownConflict>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<ShownEdit>,
}

pub(crate) async fn why(args: KeyArgs) -> Result<(), Failure> {
    let KeyArgs { db, collection, id } = args;
    closing(existing(&db).await?, async |replica| {
        let state = replica.sync_state(collection.as_str(), id.as_str()).await?;
        if matches!(state, SyncState::Synced | SyncState::LocalOnly)
            && replica.raw(collection.as_str())?.get(id.as_str()).await?.is_none()
        {
            return Err(absent(&db.scope, &collection, &id));
        }
        print(&Why::of(&collection, &id, &state)?)
    })
    .await
}

/// Prints the result for a document that was decided about.
async fn decided(
    replica: &Replica,
    collection: &Collection,
    id: &DocumentId,
    done: String,
) -> Result<(), Failure> {
    let state = replica.sync_state(collection.as_str(), id.as_str()).await?;
    print_done(done, &Why::of(collection, id, &state)?)
}

impl<'a> Why<'a> {
    fn of(
        collection: &'a Collection,
        id: &'a DocumentId,
        state: &SyncState,
    ) -> Result<Self, Failure> {
        let mut shown = Self {
            collection: collection.as_str(),
            id: id.as_str(),
            state: state.as_str(),
            waits: None,
            conflict: None,
            refused: Vec::new(),
        };
        match state {
            SyncState::Pending(edit) | SyncState::NotChosen(edit) | SyncState::InFlight(edit) => {
                shown.waits = Some(ShownWait::of(edit));
            }
            SyncState::Conflict(conflict) => shown.conflict = Some(ShownConflict::of(conflict)?),
            SyncState::Quarantined(edits) => {
                shown.refused = edits.iter().map(ShownEdit::of).collect::<Result<_, _>>()?;
            }
            _ => {}
        }
        Ok(shown)
    }
}
