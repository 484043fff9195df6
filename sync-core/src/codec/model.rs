//! The binary forms of the model.

use std::collections::BTreeMap;

use super::values::{check_count, decode_at_most};
use super::{Codec, Reader, codec_enum, codec_struct, malformed, put_bytes};
use crate::clock::Now;
use crate::error::Result;
use crate::model::{
    BaseRef, Bookmark, Change, Checkpoint, Chunk, Collection, Cursor, Digest, DocumentId,
    DocumentKey, DocumentState, Epoch, FencingToken, FullPull, Limits, LocalSeq, LogEntry, LogKey,
    LogMark, LogRun, PushBatch, PushId, Rejection, RejectionCode, ReplicaId, Reset, ResetReason,
    Revision, Scope, Seq, ServerStart, ServerState, Settled, Stamp, StartRecord, Verdict,
    VerdictKind, Verdicts, WriteLimits,
};

macro_rules! codec_counter {
    ($($name:ident)*) => {$(
        impl Codec for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }
            fn decode(input: &mut Reader) -> Result<Self> {
                Ok(Self(u64::decode(input)?))
            }
        }
    )*};
}

codec_counter!(Seq PushId LocalSeq FencingToken ServerStart Now);

macro_rules! codec_16_bytes {
    ($($name:ident)*) => {$(
        impl Codec for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }
            fn decode(input: &mut Reader) -> Result<Self> {
                Ok(Self(input.array()?))
            }
        }
    )*};
}

codec_16_bytes!(ReplicaId Epoch LogKey);

impl Codec for Scope {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        input.text(|text| Self::new(text).map_err(no_name))
    }
}

impl Codec for DocumentId {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Self::shared(input.bytes()?).map_err(no_name)
    }
}

/// Reports an invalid name as malformed bytes: in an app an invalid name is the caller's mistake,
/// in received bytes it is the sender's.
pub(super) fn no_name(error: crate::error::Error) -> crate::error::Error {
    super::malformed("a name is not a valid one").because(error)
}

impl Codec for Bookmark {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_str().as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        input.text(|text| Self::new(text).map_err(no_name))
    }
}

impl Codec for Collection {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        input.collection()
    }
}

impl Codec for Stamp {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_be_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Ok(Self::from_bits(u64::from_be_bytes(input.array()?)))
    }
}

impl Codec for Digest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Codec::decode(input).map(Self)
    }
}

/// The author is written only when it differs from the revision, which is rare: a resolver let it
/// win. One byte states whether there is a body and an erasure.
impl Codec for DocumentState {
    fn encode(&self, out: &mut Vec<u8>) {
        let author = (self.author != self.revision).then_some(self.author);
        self.revision.encode(out);
        author.encode(out);
        self.created.encode(out);
        match (&self.body, self.erased) {
            (None, None) => out.push(DELETED),
            (Some(body), None) => {
                out.push(LIVE);
                body.encode(out);
            }
            (None, Some(erased)) if erased == self.revision => out.push(ERASED),
            (None, Some(erased)) => {
                out.push(DELETED_SINCE);
                erased.encode(out);
            }
            (Some(body), Some(erased)) => {
                out.push(LIVE_SINCE);
                erased.encode(out);
                body.encode(out);
            }
        }
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let revision = Codec::decode(input)?;
        let author = Option::<Revision>::decode(input)?;
        if author == Some(revision) {
            return Err(malformed("an author that equals the revision is left out"));
        }
        let author = author.unwrap_or(revision);
        let created = Codec::decode(input)?;
        let (body, erased) = match input.byte()? {
            DELETED => (None, None),
            LIVE => (Some(Codec::decode(input)?), None),
            ERASED => (None, Some(revision)),
            DELETED_SINCE => match Codec::decode(input)? {
                erased if erased == revision => {
                    return Err(malformed("an erasure that equals the revision is left out"));
                }
                erased => (None, Some(erased)),
            },
            LIVE_SINCE => {
                let erased = Some(Codec::decode(input)?);
                (Some(Codec::decode(input)?), erased)
            }
            n => return Err(malformed(format!("{n} is no form of a body"))),
        };
        Ok(Self { revision, author, created, body, erased })
    }
}

/// In older rows the last field is the list of server starts that the replica knew. It is written
/// empty and dropped when read: it proved nothing. The newest mark is at the end of the scope's
/// row.
impl Codec for Checkpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        self.position.encode(out);
        self.backfills.encode(out);
        self.full_pull.encode(out);
        Vec::<StartRecord>::new().encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let checkpoint = Self {
            epoch: Codec::decode(input)?,
            position: Codec::decode(input)?,
            backfills: Codec::decode(input)?,
            full_pull: Codec::decode(input)?,
            ..Self::default()
        };
        Vec::<StartRecord>::decode(input)?;
        Ok(checkpoint)
    }
}

/// The byte before a digest states whether there is one, and in its second bit whether a mark
/// follows. So a message without a mark has the same bytes as before marks existed.
pub(crate) fn encode_digest_and_mark<T: Codec>(
    digest: Option<&T>,
    mark: Option<&LogMark>,
    out: &mut Vec<u8>,
) {
    put_flags(out, digest.is_some(), mark.is_some());
    if let Some(digest) = digest {
        digest.encode(out);
    }
    if let Some(mark) = mark {
        mark.encode(out);
    }
}

pub(crate) fn decode_digest_and_mark<T: Codec>(
    input: &mut Reader,
) -> Result<(Option<T>, Option<LogMark>)> {
    let (has_digest, has_mark) = take_flags(input)?;
    let digest = has_digest.then(|| T::decode(input)).transpose()?;
    let mark = has_mark.then(|| LogMark::decode(input)).transpose()?;
    Ok((digest, mark))
}

impl Codec for PushBatch {
    fn encode(&self, out: &mut Vec<u8>) {
        self.scope.encode(out);
        self.replica.encode(out);
        self.id.encode(out);
        self.changes.encode(out);
        encode_digest_and_mark(self.recall.as_ref(), self.mark.as_ref(), out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let (scope, replica) = (Codec::decode(input)?, Codec::decode(input)?);
        let (id, changes) = (Codec::decode(input)?, decode_at_most(input, Self::CHANGES)?);
        let (recall, mark) = decode_digest_and_mark(input)?;
        Ok(Self { scope, replica, id, changes, recall, mark })
    }
}

impl Codec for LogMark {
    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        self.at.encode(out);
        self.runs.encode(out);
        self.proof.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let mark = Self {
            epoch: Codec::decode(input)?,
            at: Codec::decode(input)?,
            runs: Codec::decode(input)?,
            proof: Codec::decode(input)?,
        };
        if mark.is_well_formed() {
            return Ok(mark);
        }
        Err(malformed("the runs of a mark are not in order, or do not end at its position"))
    }
}

/// The byte before the collections that a chunk covers states whether it names them, and in its
/// second bit whether bodies were left out.
impl Codec for Chunk {
    fn encode(&self, out: &mut Vec<u8>) {
        self.scope.encode(out);
        self.epoch.encode(out);
        self.after.encode(out);
        self.next.encode(out);
        self.head.encode(out);
        self.horizon.encode(out);
        self.mark.encode(out);
        put_flags(out, self.covers.is_some(), !self.left_out.is_empty());
        if let Some(covers) = &self.covers {
            covers.encode(out);
        }
        if !self.left_out.is_empty() {
            self.left_out.encode(out);
        }
        self.entries.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let chunk = Self {
            scope: Codec::decode(input)?,
            epoch: Codec::decode(input)?,
            after: Codec::decode(input)?,
            next: Codec::decode(input)?,
            head: Codec::decode(input)?,
            horizon: Codec::decode(input)?,
            mark: Codec::decode(input)?,
            covers: None,
            left_out: BTreeMap::new(),
            entries: Vec::new(),
            bookmarks: None,
        };
        let (has_covers, has_left_out) = take_flags(input)?;
        let covers = has_covers.then(|| Codec::decode(input)).transpose()?;
        let left_out = match has_left_out {
            true => BTreeMap::decode(input)?,
            false => BTreeMap::new(),
        };
        if has_left_out && left_out.is_empty() {
            return Err(malformed("omitted bodies are announced, and none follow"));
        }
        Ok(Self { covers, left_out, entries: Codec::decode(input)?, ..chunk })
    }
}

/// Writes a byte of two flags, of which the first states whether a value follows.
fn put_flags(out: &mut Vec<u8>, first: bool, second: bool) {
    out.push(u8::from(first) | u8::from(second) << 1);
}

fn take_flags(input: &mut Reader) -> Result<(bool, bool)> {
    match input.byte()? {
        flags @ 0..=3 => Ok((flags & 1 != 0, flags & 2 != 0)),
        n => Err(malformed(format!("{n} does not say what follows"))),
    }
}

/// The byte before the chosen collections states whether there are any, and in its second bit
/// whether the reader has what it pushed.
impl Codec for Cursor {
    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        self.after.encode(out);
        self.position.encode(out);
        self.backfills.encode(out);
        self.floor.encode(out);
        self.mark.encode(out);
        put_flags(out, self.collections.is_some(), self.has_own);
        if let Some(collections) = &self.collections {
            collections.encode(out);
        }
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let (epoch, after, position) =
            (Codec::decode(input)?, Codec::decode(input)?, Codec::decode(input)?);
        check_count(input, Self::COLLECTIONS)?;
        let cursor = Self {
            epoch,
            after,
            position,
            backfills: Codec::decode(input)?,
            floor: Codec::decode(input)?,
            mark: Codec::decode(input)?,
            ..Self::default()
        };
        let (is_chosen, has_own) = take_flags(input)?;
        if is_chosen {
            check_count(input, Self::COLLECTIONS)?;
        }
        let collections = is_chosen.then(|| Codec::decode(input)).transpose()?;
        let cursor = Self { collections, has_own, ..cursor };
        if cursor.names() > Self::COLLECTIONS {
            let most = Self::COLLECTIONS;
            return Err(malformed(format!("a cursor names more than {most} collections")));
        }
        Ok(cursor)
    }
}

/// Tags for the body: none; one; none, and this is the erasure; none or one, written after an
/// erasure.
const DELETED: u8 = 0;
const LIVE: u8 = 1;
const ERASED: u8 = 2;
const DELETED_SINCE: u8 = 3;
const LIVE_SINCE: u8 = 4;

codec_struct! {
    Revision { stamp, replica }
    DocumentKey { scope, collection, id }
    ServerState { seq, state }
    Settled { epoch, seq, state }
    BaseRef { revision, epoch, seq, tombstone }
    Change { collection, id, base, base_body, state }
    Verdict { seq, kind, current }
    Rejection { code, reason }
    LogEntry { seq, collection, id, state }
    Reset { epoch, reason }
    StartRecord { start, first }
    LogRun { start, first, last }
    FullPull { floor, generation, marks }
    Limits { documents, bytes }
    WriteLimits { body_bytes, transaction }
}

codec_enum!(VerdictKind {
    0 => Accepted,
    1 => Superseded,
    2 => Merged,
    3 => Conflict,
    4 => Rejected(rejection),
});

codec_enum!(RejectionCode {
    0 => Forbidden,
    1 => Invalid,
    2 => TooLarge,
    3 => Clock { server_time },
});

const DECIDED: u8 = 0;
const STALE: u8 = 1;
const CLONED: u8 = 2;
const RECALLED: u8 = 3;
/// Decided, with a mark. Without one the bytes are the same as before marks existed.
const DECIDED_MARKED: u8 = 4;

impl Codec for Verdicts {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Decided { epoch, mark, verdicts } => {
                out.push(if mark.is_some() { DECIDED_MARKED } else { DECIDED });
                epoch.encode(out);
                if let Some(mark) = mark {
                    mark.encode(out);
                }
                verdicts.encode(out);
            }
            Self::Stale => out.push(STALE),
            Self::Cloned => out.push(CLONED),
            Self::Recalled => out.push(RECALLED),
        }
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Ok(match input.byte()? {
            what @ (DECIDED | DECIDED_MARKED) => {
                let epoch = Codec::decode(input)?;
                let is_marked = what == DECIDED_MARKED;
                let mark = if is_marked { Some(LogMark::decode(input)?) } else { None };
                Self::Decided { epoch, mark, verdicts: Codec::decode(input)? }
            }
            STALE => Self::Stale,
            CLONED => Self::Cloned,
            RECALLED => Self::Recalled,
            _ => return Err(malformed("unknown kind of verdicts")),
        })
    }
}

codec_enum!(ResetReason {
    0 => EpochChanged { cut },
    1 => BelowHorizon,
    2 => DigestDiffers,
    3 => Requested,
    4 => Unproven,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_too_many_changes_is_refused_before_they_are_read() {
        let mut bytes = Vec::new();
        Scope::default().encode(&mut bytes);
        ReplicaId([1; 16]).encode(&mut bytes);
        PushId(1).encode(&mut bytes);
        (PushBatch::CHANGES + 1).encode(&mut bytes);
        bytes.resize(bytes.len() + PushBatch::CHANGES + 1, 0xff);
        let error = PushBatch::from_bytes(bytes.into()).unwrap_err().to_string();
        assert!(error.contains("100001 items") && error.contains("100000"), "{error}");
    }

    #[test]
    fn an_author_that_equals_the_revision_has_one_form() {
        let revision = Revision { stamp: Stamp::new(7, 0), replica: ReplicaId([1; 16]) };
        let state = DocumentState {
            revision,
            author: revision,
            created: revision.stamp,
            body: None,
            erased: None,
        };
        assert_eq!(DocumentState::from_bytes(state.to_bytes()).unwrap(), state);
        let mut bytes = Vec::new();
        revision.encode(&mut bytes);
        Some(revision).encode(&mut bytes);
        state.created.encode(&mut bytes);
        state.body.encode(&mut bytes);
        assert!(DocumentState::from_bytes(bytes.into()).is_err());
    }

    #[test]
    fn what_there_is_of_a_body_has_one_form() {
        let of = |n| Revision { stamp: Stamp::new(n, 0), replica: ReplicaId([1; 16]) };
        let revision = of(7);
        let body = crate::model::Body::parse("1").ok();
        for (tag, body, erased, more) in [
            (0, None, None, 0),
            (1, body.clone(), None, 2),
            (2, None, Some(revision), 0),
            (3, None, Some(of(5)), 24),
            (4, body, Some(of(5)), 26),
        ] {
            let (author, created) = (revision, revision.stamp);
            let state = DocumentState { revision, author, created, body, erased };
            let bytes = state.to_bytes();
            assert_eq!((bytes[33], bytes.len()), (tag, 34 + more));
            assert_eq!(DocumentState::from_bytes(bytes).unwrap(), state);
        }
        let mut bytes = Vec::new();
        revision.encode(&mut bytes);
        bytes.push(0);
        revision.stamp.encode(&mut bytes);
        bytes.push(3);
        revision.encode(&mut bytes);
        assert!(DocumentState::from_bytes(bytes.into()).is_err());
    }
}
