//! Reads of the log: from the tail, from a chunk that is being sent to another reader, or from the
//! storage.

use std::sync::Arc;

use super::budget;
use super::client::AuthenticatedClient;
use super::ops::{ChangesReply, check_by_row, empty};
use super::record::ServerScope;
use super::shared_chunk::{Flight, Found, Place, SharedChunk};
use super::tail::{Hub, Kept};
use super::visible::Visible;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Chunk, Cursor, Delivery, Limits, OWN_BODY_BYTES, Seq};
use sync_core::protocol::Pull;

/// How often a chunk is read again that has grown while its reader waited for room.
const READS: usize = 4;

/// The answer to a read of the log, whose chunk other readers share.
pub type Served = Delivery<Arc<SharedChunk>>;

impl AuthenticatedClient {
    /// Returns the chunk after a cursor: from memory if it is there, else from the storage.
    ///
    /// Chunks of more than 64 KiB use memory of
    /// [`change_memory`](super::ServerOptions::change_memory) until they are sent completely, and
    /// this waits until there is room.
    ///
    /// # Errors
    /// `PermissionDenied` for a scope that may not be seen, `Overloaded` if there is no room for a
    /// while; else as the storage.
    pub async fn read(&self, pull: &Pull) -> Result<Served> {
        let visible = self.visible(&pull.scope).await?;
        // A cached chunk has the head at the time when it was read. A full pull, which at the head
        // removes documents that it did not get, needs the exact head.
        let is_full = pull.cursor.after == Seq(0) || pull.cursor.floor.is_some();
        let shares = visible == Visible::All && pull.cursor.backfills.is_empty();
        if shares
            && !is_full
            && let Some(chunk) = self.kept(pull).await?
        {
            return self.tailored(chunk, pull).await;
        }
        let hub = self.server.0.hubs.find(&pull.scope);
        let served = match hub.filter(|_| shares && pull.cursor.collections.is_none()) {
            Some(hub) => self.read_in_turn(&hub, pull).await?,
            None => self.read_log(pull, &visible, None).await?,
        };
        match served {
            Served::Chunk(chunk) => self.tailored(chunk, pull).await,
            reset => Ok(reset),
        }
    }

    /// Returns the chunk after a cursor that is cached, if there is one.
    async fn kept(&self, pull: &Pull) -> Result<Option<Arc<SharedChunk>>> {
        let Pull { scope, cursor, .. } = pull;
        let (Some(epoch), Some(hub)) = (cursor.epoch, self.server.0.hubs.find(scope)) else {
            return Ok(None);
        };
        let mut kept = hub.after(epoch, cursor);
        if matches!(kept, Kept::Unchecked) {
            let row = self.server.0.storage.find_scope(scope.clone()).await?;
            row.iter().for_each(|row| hub.compare(row));
            kept = hub.after(epoch, cursor);
        }
        Ok(match kept {
            Kept::Chunk(chunk) => Some(chunk),
            Kept::Unchecked | Kept::Nothing => None,
        })
    }

    /// Readers of one place take turns: the others share what the first one reads, as long as it is
    /// being sent to any of them and the log has not changed.
    async fn read_in_turn(&self, hub: &Hub, pull: &Pull) -> Result<Served> {
        let limits = pull.limits.min(self.server.0.options.chunk_limits);
        let place = Place::new(pull.cursor.epoch, pull.cursor.after, limits);
        let flight = hub.recent().flight(place);
        let mut found = flight.turn().await;
        if let Some(earlier) = &*found
            && let Some(chunk) = earlier.chunk()
            && let Some(row) = self.server.0.storage.find_scope(pull.scope.clone()).await?
            && is_current(chunk.chunk(), earlier.erasures, &row)
            && matches!(check_by_row(&row, &pull.cursor), Some(Ok(())))
        {
            return Ok(Served::Chunk(chunk));
        }
        *found = None;
        let served = self.read_log(pull, &Visible::All, Some(&flight)).await?;
        if let Served::Chunk(chunk) = &served
            && chunk.chunk().weight() > budget::FREE
            && let Some(row) = self.server.0.storage.find_scope(pull.scope.clone()).await?
            // The head is where it was: nothing was appended between the two reads.
            && is_current(chunk.chunk(), row.erasures, &row)
        {
            *found = Some(Found::new(chunk, row.erasures));
        }
        Ok(served)
    }

    /// Reads the storage. A chunk for which there is no room is dropped, and read again when there
    /// is room.
    async fn read_log(
        &self,
        pull: &Pull,
        visible: &Visible,
        flight: Option<&Arc<Flight>>,
    ) -> Result<Served> {
        let budget = &self.server.0.budget;
        let mut limits = pull.limits.min(self.server.0.options.chunk_limits);
        limits.bytes = limits.bytes.min(budget.advice());
        let mut grant = None;
        for _ in 0..READS {
            let turn = self.server.0.reads.acquire().await;
            let chunk = match self.changes(pull, limits, visible).await? {
                ChangesReply::Chunk(chunk) => chunk,
                ChangesReply::Reset(fork) => {
                    let reset = self.server.reset_for(&pull.scope, pull.cursor.epoch, fork).await?;
                    return Ok(Served::Reset(reset));
                }
            };
            let needed = SharedChunk::room_for(&chunk);
            if chunk.weight() <= budget::FREE {
                return Ok(Served::Chunk(SharedChunk::new(chunk, None, None)));
            }
            let has_room = |taken: &budget::Grant| taken.bytes() >= needed;
            grant =
                grant.filter(has_room).or_else(|| budget.try_take(needed, Some(&self.principal)));
            if grant.is_some() {
                return Ok(Served::Chunk(SharedChunk::new(chunk, grant, flight.cloned())));
            }
            drop((chunk, turn));
            grant = Some(budget.take(needed, &self.principal).await?);
        }
        Err(Error::new(ErrorKind::Overloaded, "the log grows faster than there is room to read it"))
    }

    async fn changes(
        &self,
        pull: &Pull,
        limits: Limits,
        visible: &Visible,
    ) -> Result<ChangesReply> {
        let storage = &self.server.0.storage;
        let changes =
            || storage.changes(pull.scope.clone(), pull.cursor.clone(), limits, visible.clone());
        match changes().await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The first write may have been committed since. Then its row does not describe
                // what was read.
                match storage.find_scope(pull.scope.clone()).await? {
                    Some(_) => changes().await,
                    None => Ok(nothing_yet(&self.server.empty_scope(&pull.scope), pull, visible)),
                }
            }
            reply => reply,
        }
    }

    /// Returns a chunk for this client: with the collections that it requests, and without the
    /// bodies that it pushed itself, if it has them.
    async fn tailored(&self, shared: Arc<SharedChunk>, pull: &Pull) -> Result<Served> {
        let chosen = chosen(shared.chunk(), &pull.cursor);
        let whole = chosen.as_ref().unwrap_or(shared.chunk());
        let own = pull.cursor.has_own.then(|| whole.without_own(self.replica, OWN_BODY_BYTES));
        let Some(chunk) = own.flatten().or(chosen) else { return Ok(Served::Chunk(shared)) };
        if chunk.weight() <= budget::FREE {
            return Ok(Served::Chunk(SharedChunk::new(chunk, None, None)));
        }
        // Its bodies are those of the whole chunk, which may be dropped earlier.
        let needed = SharedChunk::room_for(&chunk);
        drop(shared);
        let grant = self.server.0.budget.take(needed, &self.principal).await?;
        Ok(Served::Chunk(SharedChunk::new(chunk, Some(grant), None)))
    }
}

/// Returns whether a chunk that was read after so many erasures equals a read of the log now.
fn is_current(chunk: &Chunk, erasures: u64, row: &ServerScope) -> bool {
    (chunk.epoch, chunk.head, chunk.horizon, erasures)
        == (row.epoch, row.head, row.horizon, row.erasures)
}

/// Returns the answer to a pull from a scope to which nothing was written yet.
fn nothing_yet(row: &ServerScope, pull: &Pull, visible: &Visible) -> ChangesReply {
    match check_by_row(row, &pull.cursor) {
        Some(Err(fork)) => ChangesReply::Reset(fork),
        Some(Ok(())) | None => {
            ChangesReply::Chunk(empty(row, &pull.scope, &pull.cursor, row.head, visible))
        }
    }
}

/// Returns the requested part of a shared chunk, if that is not all of it.
fn chosen(chunk: &Chunk, cursor: &Cursor) -> Option<Chunk> {
    if chunk.entries.iter().all(|e| cursor.includes(&e.collection)) {
        return None;
    }
    let mut chunk = chunk.clone();
    chunk.entries.retain(|e| cursor.includes(&e.collection));
    Some(chunk)
}
