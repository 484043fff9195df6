//! Cores without threads: a job runs where it is submitted.

use std::sync::{Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use super::transactional::Transactional;
use super::writer::{WriterMessage, closed, contained, purge_last, run_group};
use sync_core::error::Result;

/// A core that writes and one that reads, until they are closed.
pub(super) struct Inline<W, R> {
    writer: Mutex<Option<W>>,
    /// Behind a separate lock, so that a read does not wait for the writer's lock.
    readers: Mutex<Option<Vec<R>>>,
}

impl<W: Transactional, R> Inline<W, R> {
    pub(super) fn new(writer: W, readers: Vec<R>) -> Self {
        Self { writer: Mutex::new(Some(writer)), readers: Mutex::new(Some(readers)) }
    }

    /// Runs a job at once, in place of a thread.
    pub(super) fn write(
        &self,
        message: WriterMessage<W>,
        commits: &watch::Sender<u64>,
        committing: &RwLock<()>,
    ) -> Result<()> {
        let mut held = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = held.as_mut().ok_or_else(closed)?;
        match message {
            WriterMessage::Job(durability, job) => {
                if run_group(writer, durability, vec![job], committing) {
                    commits.send_modify(|n| *n += 1);
                }
                writer.rest();
            }
            // The caller may have dropped the request: the result is then discarded.
            WriterMessage::PurgeErased(asked) => {
                drop(asked.send(contained(|| writer.purge_erased())))
            }
            WriterMessage::Close => {
                self.readers.lock().unwrap_or_else(PoisonError::into_inner).take();
                purge_last(writer);
                held.take();
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, job: impl FnOnce(&mut R)) -> Result<()> {
        let mut held = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = held.as_mut().and_then(|readers| readers.first_mut());
        job(reader.ok_or_else(closed)?);
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}
