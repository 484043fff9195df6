//! A reader of a log, which checks that each chunk follows the one before it, and keeps the
//! entries.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sync_core::error::Result;
use sync_core::model::{Chunk, Cursor, Epoch, Limits, LogEntry, Scope, Seq};
use sync_core::protocol::Pull;
use sync_core::transport::{Connection, Delivery};

use super::fixture::{Fixture, chunk_of, name};
use super::harness::TransportHarness;

pub(super) type Live = BoxStream<'static, Result<Delivery>>;

#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) scope: Scope,
    pub(super) cursor: Cursor,
    pub(super) limits: Limits,
    /// All received entries, in order.
    pub(super) entries: Vec<LogEntry>,
    epoch: Option<Epoch>,
}

impl Reader {
    /// Makes a reader at the beginning.
    pub(super) fn new(scope: &Scope) -> Self {
        Self {
            scope: scope.clone(),
            cursor: Cursor::default(),
            limits: Limits::CHUNK,
            entries: Vec::new(),
            epoch: None,
        }
    }

    /// Makes a reader that requests chunks of so many documents.
    pub(super) fn few(scope: &Scope, documents: usize) -> Self {
        let mut reader = Self::new(scope);
        reader.limits.documents = documents;
        reader
    }

    /// Returns the next request.
    pub(super) fn request(&self) -> Pull {
        let (scope, cursor) = (self.scope.clone(), self.cursor.clone());
        Pull { scope, cursor, limits: self.limits }
    }

    /// Applies a chunk as a replica does: only if it begins at the reader's position. All promises
    /// of a chunk are checked.
    pub(super) fn take(&mut self, chunk: Chunk) {
        assert_eq!(chunk.scope, self.scope, "a chunk of another scope");
        assert_eq!(chunk.after, self.cursor.after, "the chunk does not begin where the reader is");
        assert!(chunk.next >= chunk.after && chunk.next <= chunk.head, "{chunk:?}");
        let epoch = *self.epoch.get_or_insert(chunk.epoch);
        assert_eq!(chunk.epoch, epoch, "a chunk of another epoch");
        let mut last = chunk.after;
        for entry in &chunk.entries {
            assert!(entry.seq > last && entry.seq <= chunk.next, "out of its place: {entry:?}");
            last = entry.seq;
        }
        self.cursor = self.cursor.following(&chunk);
        self.entries.extend(chunk.entries);
    }

    /// Pulls one chunk.
    pub(super) async fn pull(&mut self, connection: &dyn Connection) -> Result<Seq> {
        let chunk = chunk_of(connection.pull(self.request()).await?);
        let head = chunk.head;
        self.take(chunk);
        Ok(head)
    }

    /// Pulls until the head.
    pub(super) async fn pull_all(&mut self, connection: &dyn Connection) -> Result<()> {
        while self.pull(connection).await? > self.cursor.position {}
        Ok(())
    }

    /// Applies the next chunk of a live stream; one that moves nothing must not arrive.
    pub(super) async fn follow<H: TransportHarness>(
        &mut self,
        fixture: &Fixture<H>,
        live: &mut Live,
    ) {
        let before = self.cursor.after;
        match fixture.soon("the next chunk of a live stream", live.next()).await {
            Some(Ok(delivery)) => self.take(chunk_of(delivery)),
            Some(Err(error)) => panic!("the live stream failed: {error}"),
            None => panic!("the live stream ended without a word"),
        }
        assert!(self.cursor.after > before, "a live stream brought a chunk that moves nothing");
    }

    /// Follows a live stream until so many documents have arrived.
    pub(super) async fn follow_until<H: TransportHarness>(
        &mut self,
        fixture: &Fixture<H>,
        live: &mut Live,
        documents: usize,
    ) {
        while self.entries.len() < documents {
            self.follow(fixture, live).await;
        }
    }

    /// Asserts that exactly the documents with the numbers below `count` have arrived, each once,
    /// in order.
    pub(super) fn assert_has_all(&self, count: usize) {
        let ids: Vec<&str> = self.entries.iter().map(|e| e.id.as_str()).collect();
        let expected: Vec<String> = (0..count).map(name).collect();
        assert_eq!(ids, expected);
    }
}
