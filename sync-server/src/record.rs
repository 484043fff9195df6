//! The data that a server stores: per scope, per document, per replica.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use sync_core::codec::{Codec, Reader, codec_struct};
use sync_core::error::Result;
use sync_core::model::{
    Digest, DocumentState, Epoch, LogKey, LogRun, NewLog, PushId, ReplicaId, Seq, Stamp,
    StartRecord, VerdictKind,
};

/// An earlier epoch of a scope's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ancestor {
    /// Its epoch.
    pub epoch: Epoch,
    /// The last position of it that survived.
    pub cut: Seq,
}

/// The row of a scope on a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerScope {
    /// The epoch of its log.
    pub epoch: Epoch,
    /// Earlier epochs, oldest first.
    pub ancestors: Vec<Ancestor>,
    /// The newest position.
    pub head: Seq,
    /// At or below it tombstones may have been purged.
    pub horizon: Seq,
    /// The newest [`StartRecord::KEPT`] server starts that were registered in it, newest last. The
    /// storage keeps all of them ([`ServerReads::run_at`](super::rows::ServerReads::run_at)).
    pub starts: Vec<StartRecord>,
    /// Live documents.
    pub documents: u64,
    /// Their digest.
    pub digest: Digest,
    /// The newest stamp received: states that the server makes itself get later ones.
    pub high_water: Stamp,
    /// The secret with which marks of the log are made; none in a log from before keys existed,
    /// until the next append.
    pub key: Option<LogKey>,
    /// A few of the runs before [`starts`](Self::starts), fewer the further back, always with the
    /// first one: the runs that marks name.
    pub older: Vec<LogRun>,
    /// The number of appends that erased something: data that was read before the last of them must
    /// not be sent.
    pub erasures: u64,
}

impl ServerScope {
    /// Makes the row of a new scope.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            ancestors: Vec::new(),
            head: Seq(0),
            horizon: Seq(0),
            starts: Vec::new(),
            documents: 0,
            digest: Digest::default(),
            high_water: Stamp::ZERO,
            key: None,
            older: Vec::new(),
            erasures: 0,
        }
    }

    /// Makes the row of a new scope, with the random values of its log.
    #[must_use]
    pub fn beginning_with(log: NewLog) -> Self {
        Self { key: Some(log.key), ..Self::new(log.epoch) }
    }

    /// Returns the position up to which that epoch has the same log as the current one: everything
    /// for the current epoch, nothing for an epoch that is not stored.
    #[must_use]
    pub fn shared_with(&self, epoch: Epoch) -> Seq {
        if epoch == self.epoch {
            return Seq(u64::MAX);
        }
        let Some(at) = self.ancestors.iter().position(|a| a.epoch == epoch) else { return Seq(0) };
        self.ancestors[at..].iter().map(|a| a.cut).min().unwrap_or_default()
    }

    /// Returns whether an epoch is the current one, or one of the ancestors that the row keeps.
    #[must_use]
    pub fn remembers(&self, epoch: Epoch) -> bool {
        epoch == self.epoch || self.ancestors.iter().any(|a| a.epoch == epoch)
    }

    /// Returns the position up to which two epochs have the same log.
    #[must_use]
    pub fn shared_between(&self, a: Epoch, b: Epoch) -> Seq {
        if a == b {
            return Seq(u64::MAX);
        }
        let life = |epoch| {
            let known = self.ancestors.iter().position(|x| x.epoch == epoch);
            known.or((epoch == self.epoch).then_some(self.ancestors.len()))
        };
        let (Some(a), Some(b)) = (life(a), life(b)) else { return Seq(0) };
        self.ancestors[a.min(b)..a.max(b)].iter().map(|x| x.cut).min().unwrap_or_default()
    }

    /// Returns the age of an epoch, for ordering: one that is not stored is oldest.
    #[must_use]
    pub fn age_of(&self, epoch: Epoch) -> usize {
        if epoch == self.epoch {
            return usize::MAX;
        }
        self.ancestors.iter().position(|a| a.epoch == epoch).map_or(0, |i| i + 1)
    }
}

/// The row of a document on a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerRow {
    /// Its newest position.
    pub seq: Seq,
    /// The first position of the append that wrote it: a chunk is never cut between them.
    pub first: Seq,
    /// Its state.
    pub state: DocumentState,
    /// Where it had been settled before, if it was offered again after its epoch of the log was
    /// lost.
    pub offered: Option<Offer>,
}

/// Where a state that was offered again had been settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The position.
    pub seq: Seq,
    /// Whether the row descends from that state, and is not the state itself.
    pub edited: bool,
}

/// The principal that a replica's id belongs to in a scope, as a hash of its name: that of its
/// first push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub u128);

impl Owner {
    /// Returns the owner of a name, by SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012).
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut hasher = SipHasher24::new_with_key(b"owner of replica");
        hasher.write(name.as_bytes());
        Self(hasher.finish128().as_u128())
    }
}

/// The last push of a replica to a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PushRecord {
    /// Its name.
    pub id: PushId,
    /// The digest of the batch.
    pub digest: u128,
    /// The verdict on each change; bodies are looked up when it is returned again. Empty for a
    /// batch that was recalled before it arrived.
    pub verdicts: Vec<StoredVerdict>,
    /// The owner of the replica; none where every client is the same principal, and in records from
    /// before owners were stored.
    pub owner: Option<Owner>,
}

/// A verdict without bodies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredVerdict {
    /// The position that it is about.
    pub seq: Seq,
    /// The kind of the verdict.
    pub kind: VerdictKind,
}

/// The acknowledged position of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Acknowledged {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The position.
    pub seq: Seq,
}

/// Why a request about positions cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fork {
    /// The replica must reset.
    Reset(sync_core::model::Reset),
    /// The replica has positions that this log never assigned: the log was restored without an
    /// announcement. A new epoch has to begin, with this cut.
    Unannounced {
        /// The epoch that forked.
        epoch: Epoch,
        /// The last position that both share.
        cut: Seq,
    },
}

impl Acknowledged {
    /// Moves forward within an epoch; a new epoch starts over.
    pub fn advance(&mut self, to: Self) {
        if self.epoch != to.epoch || self.seq < to.seq {
            *self = to;
        }
    }
}

/// Returns the identity under which a server makes states, from the epoch of the scope.
#[must_use]
pub fn author_of(epoch: Epoch) -> ReplicaId {
    ReplicaId(epoch.0)
}

/// The data for marks is at the end, and only if there is any: older rows have none.
impl Codec for ServerScope {
    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        self.ancestors.encode(out);
        self.head.encode(out);
        self.horizon.encode(out);
        self.starts.encode(out);
        self.documents.encode(out);
        self.digest.encode(out);
        self.high_water.encode(out);
        if self.key.is_some() || self.erasures > 0 {
            self.key.encode(out);
            self.older.encode(out);
            self.erasures.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self> {
        let mut row = Self {
            epoch: Codec::decode(input)?,
            ancestors: Codec::decode(input)?,
            head: Codec::decode(input)?,
            horizon: Codec::decode(input)?,
            starts: Codec::decode(input)?,
            documents: Codec::decode(input)?,
            digest: Codec::decode(input)?,
            high_water: Codec::decode(input)?,
            key: None,
            older: Vec::new(),
            erasures: 0,
        };
        if input.remaining() > 0 {
            row.key = Codec::decode(input)?;
            row.older = Codec::decode(input)?;
            row.erasures = Codec::decode(input)?;
        }
        Ok(row)
    }
}

/// The owner is at the end, and only if there is one: older records have none.
impl Codec for PushRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.digest.encode(out);
        self.verdicts.encode(out);
        if let Some(Owner(owner)) = &self.owner {
            owner.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self> {
        Ok(Self {
            id: Codec::decode(input)?,
            digest: Codec::decode(input)?,
            verdicts: Codec::decode(input)?,
            owner: match input.remaining() {
                0 => None,
                _ => Some(Owner(Codec::decode(input)?)),
            },
        })
    }
}

codec_struct! {
    Ancestor { epoch, cut }
    ServerRow { seq, first, state, offered }
    Offer { epoch, seq, edited }
    StoredVerdict { seq, kind }
    Acknowledged { epoch, seq }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::model::ServerStart;

    #[test]
    fn a_record_of_before_there_were_owners_is_read() {
        let mut record = PushRecord { id: PushId(3), digest: 7, verdicts: Vec::new(), owner: None };
        let bytes = record.to_bytes();
        assert_eq!(bytes.len(), 1 + 16 + 1);
        assert_eq!(PushRecord::from_bytes(bytes).unwrap(), record);
        record.owner = Some(Owner::of("ann"));
        assert_eq!(PushRecord::from_bytes(record.to_bytes()).unwrap(), record);
        assert_ne!(Owner::of("ann"), Owner::of("ben"));
    }

    #[test]
    fn a_scope_of_before_there_were_marks_is_read() {
        let mut row = ServerScope::new(Epoch([1; 16]));
        row.starts.push(StartRecord { start: ServerStart(3), first: Seq(1) });
        let bytes = row.to_bytes();
        // Epoch, no ancestors, head, horizon, one start, documents, the digest, the stamp.
        assert_eq!(bytes.len(), 16 + 1 + 1 + 1 + 3 + 1 + 16 + 8);
        assert_eq!(ServerScope::from_bytes(bytes).unwrap(), row);
        row.key = Some(LogKey([5; 16]));
        row.older.push(LogRun { start: ServerStart(1), first: Seq(1), last: Seq(4) });
        assert_eq!(ServerScope::from_bytes(row.to_bytes()).unwrap(), row);
        (row.key, row.erasures) = (None, 2);
        assert_eq!(ServerScope::from_bytes(row.to_bytes()).unwrap(), row);
    }
}
