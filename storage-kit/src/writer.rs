//! The writer: jobs that share transactions, with group commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

use super::transactional::{Durability, Transactional};
use sync_core::error::{Error, ErrorKind, Result};

/// Sends the caller the result, once the commit has succeeded or failed.
pub(super) type Reply = Box<dyn FnOnce(Result<()>) + Send>;
/// Runs in the writer's transaction, or receives the error that prevents it. Returns whether it
/// failed.
pub(super) type Job<W> = Box<dyn FnOnce(Result<&mut W>) -> (bool, Reply) + Send>;

pub(super) enum WriterMessage<W> {
    Job(Durability, Job<W>),
    PurgeErased(oneshot::Sender<Result<bool>>),
    Close,
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "this storage is closed")
}

/// Runs a job, which may call a hook of the app. A panic fails that job and nothing else.
pub(super) fn contained<T>(job: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Error::new(ErrorKind::Internal, "a transaction panicked")
            .with("said", format!("{said:?}")))
    })
}

/// Runs jobs until the storage is closed. Returns the core.
pub(super) fn write_loop<W: Transactional>(
    mut writer: W,
    mut queue: mpsc::Receiver<WriterMessage<W>>,
    group: usize,
    commits: &watch::Sender<u64>,
    committing: &RwLock<()>,
) -> W {
    let mut closing = false;
    while !closing {
        let Some(first) = queue.blocking_recv() else { break };
        let (mut jobs, mut tidying) = (Vec::new(), None);
        let mut durability = Durability::Process;
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                WriterMessage::Close => closing = true,
                WriterMessage::PurgeErased(asked) => tidying = Some(asked),
                WriterMessage::Job(needs, job) => {
                    durability = durability.max(needs);
                    jobs.push(job);
                    if jobs.len() < group {
                        next = queue.try_recv().ok();
                    }
                }
            }
        }
        if !jobs.is_empty() && run_group(&mut writer, durability, jobs, committing) {
            commits.send_modify(|n| *n += 1);
        }
        if let Some(asked) = tidying {
            // The caller may have dropped the request: the result is then discarded.
            let _ = asked.send(contained(|| writer.purge_erased()));
        } else if queue.is_empty() && !closing {
            writer.rest();
        }
    }
    purge_last(&mut writer);
    // The queue is closed before the core is dropped. Jobs that entered it meanwhile are received
    // and dropped; otherwise their callers would wait forever: a queue that is merely dropped keeps
    // jobs that arrive a moment later.
    queue.close();
    while queue.blocking_recv().is_some() {}
    writer
}

/// Purges a writing core before it is dropped.
pub(super) fn purge_last<W: Transactional>(writer: &mut W) {
    if let Err(error) = contained(|| writer.purge_erased()) {
        tracing::warn!(error = %error.report(), "what was erased is seen to when the storage is opened again and closed");
    }
}

/// Runs jobs in one transaction, and returns whether anything was committed.
pub(super) fn run_group<W: Transactional>(
    writer: &mut W,
    durability: Durability,
    jobs: Vec<Job<W>>,
    committing: &RwLock<()>,
) -> bool {
    let mut broken = writer.begin(durability).err();
    let mut replies = Vec::with_capacity(jobs.len());
    let mut kept = 0;
    for job in jobs {
        broken = broken.or_else(|| writer.mark().err());
        let (failed, reply) = job(broken.clone().map_or(Ok(&mut *writer), Err));
        replies.push(reply);
        if !failed {
            kept += 1;
        } else if broken.is_none() {
            broken = writer.undo().err();
        }
    }
    let _held = committing.write().unwrap_or_else(PoisonError::into_inner);
    let result = match broken {
        Some(error) => {
            writer.rollback();
            Err(error)
        }
        None if kept == 0 => {
            writer.rollback();
            Ok(false)
        }
        None => writer.commit(),
    };
    for reply in replies {
        reply(result.clone().map(drop));
    }
    result.unwrap_or(false)
}
