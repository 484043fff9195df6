//! `{"scope":"default","epoch":"…","changes":[…],"more":false,"next":17,"cursor":"…",…}`

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{
    Body, Chunk, Collection, Cursor, DocumentId, Epoch, LogEntry, LogMark, Revision, Scope, Seq,
    Stamp,
};

use super::{
    ErasedJson, author_of, cursor, mark, of_answer, present, read_answer, state, write_json,
};
use crate::format::Continued;

#[derive(Serialize, Deserialize)]
struct ChunkJson {
    scope: Scope,
    epoch: Epoch,
    after: Seq,
    next: Seq,
    head: Seq,
    horizon: Seq,
    more: bool,
    changes: Vec<EntryJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<CursorJson>,
    #[serde(default, with = "mark", skip_serializing_if = "Option::is_none")]
    mark: Option<LogMark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    covers: Option<BTreeSet<Collection>>,
}

#[derive(Serialize, Deserialize)]
struct CursorJson(#[serde(with = "cursor")] Cursor);

#[derive(Serialize, Deserialize)]
struct EntryJson {
    seq: Seq,
    collection: Collection,
    id: DocumentId,
    revision: Revision,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<Revision>,
    created: Stamp,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<ErasedJson>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    body: Option<Body>,
}

impl From<LogEntry> for EntryJson {
    fn from(LogEntry { seq, collection, id, state }: LogEntry) -> Self {
        Self {
            seq,
            collection,
            id,
            revision: state.revision,
            author: author_of(&state),
            created: state.created,
            deleted: state.is_deleted(),
            erased: ErasedJson::of(&state),
            body: state.body,
        }
    }
}

impl EntryJson {
    fn into_entry(self) -> Result<LogEntry> {
        let Self { seq, collection, id, revision, author, created, deleted, erased, body } = self;
        let state = state(revision, author, created, deleted, body, erased).map_err(of_answer)?;
        Ok(LogEntry { seq, collection, id, state })
    }
}

pub(in crate::format) fn write(Continued { chunk, cursor }: Continued) -> Result<Vec<u8>> {
    write_json(&ChunkJson {
        more: chunk.has_more(),
        scope: chunk.scope,
        epoch: chunk.epoch,
        after: chunk.after,
        next: chunk.next,
        head: chunk.head,
        horizon: chunk.horizon,
        changes: chunk.entries.into_iter().map(EntryJson::from).collect(),
        cursor: cursor.map(CursorJson),
        mark: chunk.mark,
        covers: chunk.covers,
    })
}

pub(in crate::format) fn read(bytes: &[u8]) -> Result<Continued> {
    let json: ChunkJson = read_answer(bytes)?;
    let entries: Result<_> = json.changes.into_iter().map(EntryJson::into_entry).collect();
    let chunk = Chunk {
        scope: json.scope,
        epoch: json.epoch,
        after: json.after,
        next: json.next,
        head: json.head,
        horizon: json.horizon,
        mark: json.mark,
        covers: json.covers,
        entries: entries?,
        bookmarks: None,
    };
    Ok(Continued { chunk, cursor: json.cursor.map(|c| c.0) })
}
