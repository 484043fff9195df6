//! `{"replica":"…","id":1,"changes":[{"collection":"notes","id":"n1","body":{"text":"hi"}}]}`
//!
//! A change without a revision has the stamp 0, and the server stamps it. Missing members have the
//! same values each time the same text is read, so a batch that is sent again is the same batch.
//! `"erased":true` erases the document.

use serde::{Deserialize, Deserializer, Serialize};
use sync_core::error::Result;
use sync_core::model::{
    BaseRef, Body, Change, Collection, Digest, DocumentId, DocumentState, Epoch, LogMark,
    PushBatch, PushId, ReplicaId, Revision, Scope, Seq, Stamp,
};

use super::{
    ErasedJson, at_most, author_of, mark, maybe_digest, present, read_request, refused, scope_of,
    write_json,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PushJson {
    scope: Option<Scope>,
    replica: ReplicaId,
    id: PushId,
    #[serde(deserialize_with = "changes")]
    changes: Vec<ChangeJson>,
    /// The digest of a batch that is recalled.
    #[serde(default, deserialize_with = "maybe_digest", skip_serializing_if = "Option::is_none")]
    recall: Option<Digest>,
    /// The newest mark of the log that the replica has.
    #[serde(default, with = "mark", skip_serializing_if = "Option::is_none")]
    mark: Option<LogMark>,
}

fn changes<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ChangeJson>, D::Error> {
    at_most::<{ PushBatch::CHANGES }, _, _>(d)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeJson {
    collection: Collection,
    id: DocumentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<BaseJson>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    base_body: Option<Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<ErasedJson>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    body: Option<Body>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseJson {
    revision: Revision,
    epoch: Epoch,
    /// Missing for a base that was never in a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(default)]
    deleted: bool,
}

impl From<BaseRef> for BaseJson {
    fn from(BaseRef { revision, epoch, seq, tombstone }: BaseRef) -> Self {
        let seq = Some(seq).filter(|s| *s != BaseRef::NOT_IN_LOG);
        Self { revision, epoch, seq, deleted: tombstone }
    }
}

impl From<BaseJson> for BaseRef {
    fn from(BaseJson { revision, epoch, seq, deleted }: BaseJson) -> Self {
        Self { revision, epoch, seq: seq.unwrap_or(Self::NOT_IN_LOG), tombstone: deleted }
    }
}

/// Returns the revision of a change without one.
fn unstamped(replica: ReplicaId) -> Revision {
    Revision { stamp: Stamp::ZERO, replica }
}

/// Returns the creation time of a document without one.
fn created(revision: Revision) -> Stamp {
    revision.stamp
}

fn write_change(change: Change, replica: ReplicaId) -> ChangeJson {
    let Change { collection, id, base, base_body, state } = change;
    let author = author_of(&state);
    // An author requires the revision.
    let is_plain = state.revision == unstamped(replica) && author.is_none();
    ChangeJson {
        collection,
        id,
        base: base.map(BaseJson::from),
        base_body,
        revision: Some(state.revision).filter(|_| !is_plain),
        author,
        created: Some(state.created).filter(|c| *c != created(state.revision)),
        deleted: Some(true).filter(|_| state.is_deleted()),
        erased: ErasedJson::of(&state),
        body: state.body,
    }
}

fn read_change(at: usize, json: ChangeJson, replica: ReplicaId) -> Result<Change> {
    let wrong = |what: &str| Err(refused(format!("change {at} (counted from 0): {what}")));
    match (json.deleted, &json.body) {
        (Some(true), Some(_)) => return wrong("it is deleted, and it has a body"),
        (Some(false), None) => return wrong("it is not deleted, and it has no body"),
        _ => {}
    }
    if json.author.is_some() && json.revision.is_none() {
        return wrong("an author needs a revision beside it");
    }
    // A replica may hold such a body, and its whole batch must not be refused for it. Other clients
    // can still correct it.
    let is_odd = json.revision.is_none() && json.body.as_ref().is_some_and(Body::has_half_pair);
    if is_odd {
        return wrong("its body holds half of a surrogate pair, which many readers of JSON refuse");
    }
    let revision = json.revision.unwrap_or(unstamped(replica));
    let state = DocumentState {
        revision,
        author: json.author.unwrap_or(revision),
        created: json.created.unwrap_or(created(revision)),
        body: json.body,
        erased: ErasedJson::read(json.erased, revision),
    };
    let (collection, id, base_body) = (json.collection, json.id, json.base_body);
    Ok(Change { collection, id, base: json.base.map(BaseRef::from), base_body, state })
}

pub(in crate::format) fn write(batch: PushBatch) -> Result<Vec<u8>> {
    let PushBatch { scope, replica, id, changes, recall, mark } = batch;
    let changes = changes.into_iter().map(|c| write_change(c, replica)).collect();
    let (scope, recall) = (Some(scope), recall.map(Digest));
    write_json(&PushJson { scope, replica, id, changes, recall, mark })
}

pub(in crate::format) fn read(bytes: &[u8], scope: Option<&Scope>) -> Result<PushBatch> {
    let PushJson { scope: own, replica, id, changes, recall, mark } = read_request(bytes)?;
    let changes = changes.into_iter().enumerate().map(|(at, c)| read_change(at, c, replica));
    let changes: Result<_> = changes.collect();
    let (scope, recall) = (scope_of(own, scope)?, recall.map(|Digest(recall)| recall));
    Ok(PushBatch { scope, replica, id, changes: changes?, recall, mark })
}
