//! `{"scope":"default","epoch":"…","changes":[…],"more":false,"next":17,"cursor":"…",…}`

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{
    Body, Chunk, Collection, Cursor, Digest, DocumentId, Epoch, LogEntry, LogMark, Revision, Scope,
    Seq, Stamp,
};

use super::{
    ErasedJson, author_of, cursor, mark, maybe_digest, of_answer, present, read_answer, state,
    write_json, write_json_to,
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
    #[serde(default, with = "mark", skip_serializing_if = "Option::is_none")]
    mark: Option<LogMark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    covers: Option<BTreeSet<Collection>>,
    /// The last member, because everything before it is the same for all readers: see [`open`].
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<CursorJson>,
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
    /// The digest of the state, sent without its body to the reader that pushed it.
    #[serde(default, deserialize_with = "maybe_digest", skip_serializing_if = "Option::is_none")]
    own: Option<Digest>,
}

impl EntryJson {
    fn new(LogEntry { seq, collection, id, state }: &LogEntry, own: Option<Digest>) -> Self {
        Self {
            seq: *seq,
            collection: collection.clone(),
            id: id.clone(),
            revision: state.revision,
            author: author_of(state),
            created: state.created,
            deleted: state.is_deleted() && own.is_none(),
            erased: ErasedJson::of(state),
            body: state.body.clone(),
            own,
        }
    }

    fn into_entry(self) -> Result<(LogEntry, Option<Digest>)> {
        let Self { seq, collection, id, revision, author, created, deleted, erased, body, own } =
            self;
        let has_no_body = deleted || own.is_some();
        let state = state(revision, author, created, has_no_body, body, erased);
        let state = state.map_err(of_answer)?;
        Ok((LogEntry { seq, collection, id, state }, own))
    }
}

pub(in crate::format) fn write(Continued { chunk, cursor }: &Continued) -> Result<Vec<u8>> {
    let mut json = open(chunk)?;
    if let Some(cursor) = cursor {
        json.extend_from_slice(&cursor_field(cursor)?);
    }
    json.push(b'}');
    Ok(json)
}

/// The approximate weight of the names and revisions of an entry, and of a chunk without entries.
const ENTRY_BYTES: usize = 160;
const CHUNK_BYTES: usize = 1 << 10;

/// Returns the JSON of a chunk up to its last brace. The [cursor](cursor_field) that follows the
/// chunk is appended separately: it differs between readers.
pub(in crate::format) fn open(chunk: &Chunk) -> Result<Vec<u8>> {
    let entry = |entry: &LogEntry| {
        let own = chunk.left_out.get(&entry.seq).copied();
        EntryJson::new(entry, own)
    };
    // A buffer that grows by doubling would use up to twice the memory.
    let room = chunk.weight() + ENTRY_BYTES * chunk.entries.len() + CHUNK_BYTES;
    let mut json = Vec::with_capacity(room);
    let content = ChunkJson {
        more: chunk.has_more(),
        scope: chunk.scope.clone(),
        epoch: chunk.epoch,
        after: chunk.after,
        next: chunk.next,
        head: chunk.head,
        horizon: chunk.horizon,
        changes: chunk.entries.iter().map(entry).collect(),
        mark: chunk.mark.clone(),
        covers: chunk.covers.clone(),
        cursor: None,
    };
    write_json_to(&mut json, &content)?;
    json.pop();
    Ok(json)
}

/// Returns the field with the cursor, with the comma before it.
pub(in crate::format) fn cursor_field(cursor: &Cursor) -> Result<Vec<u8>> {
    let mut field = b",\"cursor\":".to_vec();
    field.extend_from_slice(&write_json(&CursorJson(cursor.clone()))?);
    Ok(field)
}

pub(in crate::format) fn read(bytes: &[u8]) -> Result<Continued> {
    let json: ChunkJson = read_answer(bytes)?;
    let mut entries = Vec::with_capacity(json.changes.len());
    let mut left_out = BTreeMap::new();
    for change in json.changes {
        let (entry, own) = change.into_entry()?;
        left_out.extend(own.map(|digest| (entry.seq, digest)));
        entries.push(entry);
    }
    let chunk = Chunk {
        scope: json.scope,
        epoch: json.epoch,
        after: json.after,
        next: json.next,
        head: json.head,
        horizon: json.horizon,
        mark: json.mark,
        covers: json.covers,
        entries,
        left_out,
        bookmarks: None,
    };
    Ok(Continued { chunk, cursor: json.cursor.map(|c| c.0) })
}
