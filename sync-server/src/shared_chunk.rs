//! A chunk that is sent to many readers: it is read once and encoded once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;

use super::budget::Grant;
use sync_core::error::Result;
use sync_core::model::{Chunk, Epoch, Limits, Seq};
use sync_core::protocol::Payload;
use transport_kit::framed::{self, Compression};

/// A chunk that many sessions send. The first one encodes it.
#[derive(Debug)]
pub struct SharedChunk {
    chunk: Chunk,
    plain: OnceLock<Payload>,
    /// In the compression that was requested first; others are made each time.
    compressed: OnceLock<(&'static str, Payload)>,
    /// In the forms of transports.
    encoded: Mutex<Vec<(&'static str, Result<Bytes>)>>,
    /// The memory that is reserved for it.
    _grant: Option<Grant>,
    /// Lets readers find it while it is being sent.
    _flight: Option<Arc<Flight>>,
}

/// Bytes that keep the chunk from which they were made, and its memory.
struct Kept {
    bytes: Bytes,
    _chunk: Arc<SharedChunk>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl SharedChunk {
    pub(super) fn new(
        chunk: Chunk,
        grant: Option<Grant>,
        flight: Option<Arc<Flight>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            chunk,
            plain: OnceLock::new(),
            compressed: OnceLock::new(),
            encoded: Mutex::default(),
            _grant: grant,
            _flight: flight,
        })
    }

    /// Returns roughly how many bytes a chunk takes up with one encoding of it.
    pub(super) fn room_for(chunk: &Chunk) -> usize {
        chunk.weight().saturating_mul(2).saturating_add(512)
    }

    /// Returns the chunk.
    #[must_use]
    pub fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    fn kept(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _chunk: Arc::clone(self) })
    }

    /// Returns the chunk as it is sent in a frame, encoded once for all readers. The bytes keep the
    /// chunk in memory, where later readers of the same position find it.
    #[must_use]
    pub fn payload(self: &Arc<Self>, compression: Option<&dyn Compression>) -> Payload {
        let encode = || framed::chunk_payload(&self.chunk, compression);
        let payload = match compression.map(Compression::name) {
            None => self.plain.get_or_init(encode).clone(),
            Some(name) => match self.compressed.get_or_init(|| (name, encode())) {
                (first, payload) if *first == name => payload.clone(),
                _ => return encode(),
            },
        };
        payload.map_bytes(|bytes| self.kept(bytes))
    }

    /// Returns the chunk in another form of a transport, under a name that identifies the form;
    /// encoded once for all readers. As with [`payload`](Self::payload) the bytes keep the chunk,
    /// so the result of `encode` must not hold bytes from here: the chunk would keep itself.
    ///
    /// # Errors
    /// The error of the first call with that name.
    pub fn encoded(
        self: &Arc<Self>,
        form: &'static str,
        encode: impl FnOnce(&Chunk) -> Result<Bytes>,
    ) -> Result<Bytes> {
        let mut all = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().find(|(name, _)| *name == form).map(|(_, bytes)| bytes.clone());
        let bytes = known.unwrap_or_else(|| {
            let bytes = encode(&self.chunk);
            all.push((form, bytes.clone()));
            bytes
        });
        drop(all);
        bytes.map(|bytes| self.kept(bytes))
    }
}

/// The position at which a chunk was read, and the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    epoch: Option<Epoch>,
    after: Seq,
    documents: usize,
    bytes: usize,
}

impl Place {
    pub(super) fn new(epoch: Option<Epoch>, after: Seq, limits: Limits) -> Self {
        Self { epoch, after, documents: limits.documents, bytes: limits.bytes }
    }
}

/// The newest read of a place. Readers of one place take turns, so that the others find what the
/// first one read.
#[derive(Debug, Default)]
pub(super) struct Flight(tokio::sync::Mutex<Option<Found>>);

/// The result of a read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    chunk: Weak<SharedChunk>,
    /// How many appends had erased something at that time.
    pub(super) erasures: u64,
}

impl Found {
    pub(super) fn new(chunk: &Arc<SharedChunk>, erasures: u64) -> Self {
        Self { chunk: Arc::downgrade(chunk), erasures }
    }

    /// Returns the chunk, if it is still being sent to a reader.
    pub(super) fn chunk(&self) -> Option<Arc<SharedChunk>> {
        self.chunk.upgrade()
    }
}

impl Flight {
    /// Waits for the earlier readers.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, Option<Found>> {
        self.0.lock().await
    }
}

/// The chunks of a scope that are being sent to readers, by the place that they were read from.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<BTreeMap<Place, Weak<Flight>>>);

/// The number of places that are kept before those without a reader are removed.
const PLACES: usize = 64;

impl Recent {
    pub(super) fn flight(&self, place: Place) -> Arc<Flight> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&place).and_then(Weak::upgrade) {
            return flight;
        }
        if flights.len() >= PLACES {
            flights.retain(|_, flight| flight.strong_count() > 0);
        }
        let flight = Arc::new(Flight::default());
        flights.insert(place, Arc::downgrade(&flight));
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::model::{Chunk, Epoch, Scope, Seq};

    #[test]
    fn a_form_is_encoded_once_and_its_bytes_keep_the_chunk() {
        let shared =
            SharedChunk::new(Chunk::empty(Scope::default(), Epoch([1; 16]), Seq(0)), None, None);
        let times = std::cell::Cell::new(0);
        let encode = |_: &Chunk| {
            times.set(times.get() + 1);
            Ok(bytes::Bytes::from_static(b"{}"))
        };
        let first = shared.encoded("a", encode).unwrap();
        assert_eq!(shared.encoded("a", encode).unwrap(), first);
        shared.encoded("b", encode).unwrap();
        assert_eq!(times.get(), 2);
        let weak = Arc::downgrade(&shared);
        drop(shared);
        assert!(weak.upgrade().is_some());
        drop(first);
        assert!(weak.upgrade().is_none());
    }
}
