//! Faults of chunks.

use sync_core::error::Result;
use sync_core::model::Chunk;
use sync_core::replica::{Applied, Context};

use super::wrapper::BrokenStorage;

impl BrokenStorage {
    /// Returns the chunk with the stored position in place of its own.
    pub(super) async fn pretend_to_fit(&self, chunk: Chunk) -> Result<Chunk> {
        let checkpoint = self.inner.state().await?.checkpoint(&chunk.scope);
        let after = checkpoint.after();
        let next = chunk.next.max(after);
        let entries = chunk.entries.into_iter().filter(|e| e.seq > after).collect();
        let epoch = checkpoint.epoch.unwrap_or(chunk.epoch);
        Ok(Chunk { after, next, epoch, entries, head: chunk.head.max(next), ..chunk })
    }

    pub(super) async fn apply_in_halves(&self, cx: Context, chunk: Chunk) -> Result<Applied> {
        let half = chunk.entries.len() / 2;
        let Some(middle) = half.checked_sub(1).map(|n| chunk.entries[n].seq) else {
            return self.inner.apply(cx, chunk).await;
        };
        let mut documents = chunk.clone();
        let rest = documents.entries.split_off(half);
        let at = self.inner.state().await?.checkpoint(&chunk.scope).after();
        if at != chunk.after {
            return self.inner.apply(cx, chunk).await;
        }
        documents.next = middle;
        // The checkpoint is written last, which is as wrong as writing it first.
        self.memory.lock().standing = Some(at);
        let first = self.inner.apply(cx.clone(), documents).await?;
        self.let_others_look().await;
        let second = Chunk { after: middle, entries: rest, ..chunk };
        let second = self.inner.apply(cx, second).await;
        self.memory.lock().standing = None;
        let mut second = second?;
        let changes = std::mem::take(&mut second.committed.changes);
        second.committed.changes = first.committed.changes;
        second.committed.changes.extend(changes);
        second.committed.applied += first.committed.applied;
        Ok(second)
    }
}
