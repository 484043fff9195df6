//! One writer thread with group commit, and a few readers, which run a synchronous core as an async
//! storage.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

use super::CommitVersion;
use super::inline::Inline;
use super::read_queue::{Asking, read_queue};
use sync_core::error::{Error, ErrorKind, Result};

/// The durability of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// It survives a crash of the process. A power failure may undo it, together with everything
    /// after it.
    Process,
    /// It survives a power failure too.
    Power,
}

/// A core that writes: one transaction at a time, made of jobs that each happen whole or not at
/// all.
///
/// The order of calls is `begin`, then for every job `mark` and, if the job failed, `undo`, then
/// `commit`.
pub trait Transactional: Send + 'static {
    /// Begins a transaction.
    ///
    /// # Errors
    /// `Storage` if it cannot be begun; then nothing is open.
    fn begin(&mut self, durability: Durability) -> Result<()>;

    /// Marks the state to which `undo` returns.
    ///
    /// # Errors
    /// `Storage`.
    fn mark(&mut self) -> Result<()>;

    /// Undoes everything since the last `mark`.
    ///
    /// # Errors
    /// `Storage`; the transaction is then rolled back.
    fn undo(&mut self) -> Result<()>;

    /// Commits, and returns whether anything was written. When it returns, the durability of
    /// `begin` holds, and readers observe the transaction.
    ///
    /// # Errors
    /// `Storage`; then nothing of the transaction happened, and none is open.
    fn commit(&mut self) -> Result<bool>;

    /// Rolls the transaction back.
    fn rollback(&mut self);

    /// Removes what was erased and committed from the files; no transaction is open. Returns
    /// whether nothing of it is left: `false` for a core whose files keep old values until it
    /// writes over them.
    ///
    /// # Errors
    /// `Busy` if a reader or another process prevents it, else `Storage`; the work then remains to
    /// be done.
    fn purge_erased(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Called when nothing waits, for the cheap part of [`purge_erased`](Self::purge_erased) that
    /// need not be done at once.
    fn rest(&mut self) {}
}

/// A core that reads: all reads between `open` and `release` observe one state of the data.
pub trait Snapshot: Send + 'static {
    /// Opens a snapshot of the newest committed state.
    ///
    /// # Errors
    /// `Storage`.
    fn open(&mut self) -> Result<()>;

    /// Releases the snapshot.
    fn release(&mut self);

    /// Returns a [`CommitVersion`], which detects without a thread whether anything was committed;
    /// none, by default, for a core that cannot. A server's storage calls it on one of its cores
    /// when it starts, before the core is moved to its thread.
    ///
    /// # Errors
    /// `Storage` if it cannot be made.
    fn probe(&self) -> Result<Option<Box<dyn CommitVersion>>> {
        Ok(None)
    }
}

/// Bounds of the threads of one storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadOptions {
    /// Jobs that may wait for the writer, and as many for the readers; callers of further jobs
    /// wait.
    pub queue: usize,
    /// The most jobs that share one commit.
    pub group: usize,
    /// Whether no thread is started: each job runs where it is submitted, and blocks the calling
    /// task. Only for cores in memory, for targets without threads, or for tests that control the
    /// time: paused time advances while a thread works.
    pub inline: bool,
}

impl Default for ThreadOptions {
    /// Returns 256 jobs in the queue, 256 to a commit, on threads.
    fn default() -> Self {
        Self { queue: 256, group: 256, inline: false }
    }
}

/// Sends the caller the result, once the commit has succeeded or failed.
pub(super) type Reply = Box<dyn FnOnce(Result<()>) + Send>;
/// Runs in the writer's transaction, or receives the error that prevents it. Returns whether it
/// failed.
pub(super) type Job<W> = Box<dyn FnOnce(Result<&mut W>) -> (bool, Reply) + Send>;
pub(super) type Read<R> = Box<dyn FnOnce(&mut R) + Send>;

pub(super) enum WriterMessage<W> {
    Job(Durability, Job<W>),
    PurgeErased(oneshot::Sender<Result<bool>>),
    Close,
}

/// The threads of one storage. When the last handle is dropped they end after what was queued.
pub(crate) struct BlockingExecutor<W, R> {
    queue: JobQueue<W, R>,
    commits: Arc<watch::Sender<u64>>,
    /// Held while a group is committed and answered.
    committing: Arc<RwLock<()>>,
}

/// How jobs get to the cores.
enum JobQueue<W, R> {
    Queues {
        jobs: mpsc::Sender<WriterMessage<W>>,
        reads: Asking<Read<R>>,
        /// Nothing is sent here: it ends when the writer, the last of the threads, has dropped its
        /// core.
        gone: tokio::sync::Mutex<mpsc::Receiver<()>>,
    },
    Inline(Inline<W, R>),
}

impl<W, R> fmt::Debug for BlockingExecutor<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingExecutor")
            .field("commits", &*self.commits.borrow())
            .finish_non_exhaustive()
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "this storage is closed")
}

impl<W: Transactional, R: Snapshot> BlockingExecutor<W, R> {
    pub(crate) fn start(writer: W, readers: Vec<R>, options: ThreadOptions) -> Result<Self> {
        let commits = Arc::new(watch::Sender::new(0));
        let committing = Arc::new(RwLock::new(()));
        if options.inline {
            let queue = JobQueue::Inline(Inline::new(writer, readers));
            return Ok(Self { queue, commits, committing });
        }
        let (jobs, job_queue) = mpsc::channel(options.queue.max(1));
        let (reads, takers) = read_queue::<Read<R>>(options.queue, readers.len());
        let told = Arc::clone(&commits);
        let lock = Arc::clone(&committing);
        let group = options.group.max(1);
        let (reading, mut readers_gone) = mpsc::channel::<()>(1);
        let (held, gone) = mpsc::channel::<()>(1);
        spawn("twotide-writer", move || {
            let writer = write_loop(writer, job_queue, group, &told, &lock);
            // The connection that closes a file last cleans it up. If several close it at once none
            // does, because each finds that another still has it open.
            let _ = readers_gone.blocking_recv();
            drop((writer, held));
        })?;
        for (mut reader, taking) in readers.into_iter().zip(takers) {
            let reading = reading.clone();
            spawn("twotide-reader", move || {
                while let Some(read) = taking.take() {
                    read(&mut reader);
                }
                drop((reader, reading));
            })?;
        }
        let gone = tokio::sync::Mutex::new(gone);
        Ok(Self { queue: JobQueue::Queues { jobs, reads, gone }, commits, committing })
    }

    /// Counts commits of this process, and of others once they are [notified](Self::notifier).
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Returns the sender that wakes all waiters for a commit.
    pub(crate) fn notifier(&self) -> Arc<watch::Sender<u64>> {
        Arc::clone(&self.commits)
    }

    /// Runs a job in a transaction, and returns when it is committed.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        job: impl FnOnce(&mut W) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_then(durability, job, |_| ()).await
    }

    /// Runs a job in a transaction. Once it is committed, `then` receives the result before any
    /// other code, in commit order.
    pub(crate) async fn write_then<T: Send + 'static>(
        &self,
        durability: Durability,
        job: impl FnOnce(&mut W) -> Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T> {
        let (answer, wait) = oneshot::channel();
        let job: Job<W> = Box::new(move |writer| {
            let result = writer.and_then(|writer| contained(|| job(writer)));
            let failed = result.is_err();
            let reply: Reply = Box::new(move |committed| {
                let result = committed.and(result);
                if let Ok(value) = &result {
                    then(value);
                }
                // The caller may have dropped the future: the result is then discarded.
                let _ = answer.send(result);
            });
            (failed, reply)
        });
        self.submit(WriterMessage::Job(durability, job)).await?;
        wait.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn submit(&self, message: WriterMessage<W>) -> Result<()> {
        match &self.queue {
            JobQueue::Queues { jobs, .. } => jobs.send(message).await.map_err(|_| closed()),
            JobQueue::Inline(cores) => cores.write(message, &self.commits, &self.committing),
        }
    }

    /// Calls [`Transactional::purge_erased`] of the core.
    pub(crate) async fn purge_erased(&self) -> Result<bool> {
        let (answer, wait) = oneshot::channel();
        self.submit(WriterMessage::PurgeErased(answer)).await?;
        wait.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Runs a read on a snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&R) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read_holding(None, job).await
    }

    /// Runs a read on a snapshot between two commits: every commit of this process has been
    /// answered, and the next one comes after the read.
    pub(crate) async fn read_between_commits<T: Send + 'static>(
        &self,
        job: impl FnOnce(&R) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read_holding(Some(Arc::clone(&self.committing)), job).await
    }

    async fn read_holding<T: Send + 'static>(
        &self,
        lock: Option<Arc<RwLock<()>>>,
        job: impl FnOnce(&R) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, wait) = oneshot::channel();
        let job: Read<R> = Box::new(move |reader| {
            // Before the snapshot: a store may block commits as long as one is open.
            let _held = lock.as_ref().map(|l| l.read().unwrap_or_else(PoisonError::into_inner));
            let result = reader.open().and_then(|()| {
                let result = contained(|| job(reader));
                reader.release();
                result
            });
            let _ = answer.send(result);
        });
        match &self.queue {
            JobQueue::Queues { reads, .. } => reads.send(job).await?,
            JobQueue::Inline(cores) => cores.read(job)?,
        }
        wait.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Returns whether it is still open, for answers that need no thread.
    pub(crate) fn check_open(&self) -> Result<()> {
        let is_open = match &self.queue {
            JobQueue::Queues { reads, .. } => reads.is_open(),
            JobQueue::Inline(cores) => cores.is_open(),
        };
        if is_open { Ok(()) } else { Err(closed()) }
    }

    /// Finishes the queued jobs, and ends the threads. Later calls fail with `Closed`.
    pub(crate) async fn close(&self) {
        if let JobQueue::Queues { reads, .. } = &self.queue {
            reads.close();
        }
        // If the writer has ended already, there is nothing to close.
        let _ = self.submit(WriterMessage::Close).await;
        if let JobQueue::Queues { gone, .. } = &self.queue {
            // The writer waits for the readers before it drops its core.
            let _ = gone.lock().await.recv().await;
        }
        // Waiters for a commit wake once more, and find that the storage is closed.
        self.commits.send_modify(|n| *n += 1);
    }
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

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    match std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        Ok(_) => Ok(()),
        Err(e) => {
            Err(Error::new(ErrorKind::Storage, "a storage thread cannot be started").because(e))
        }
    }
}

/// Runs jobs until the storage is closed. Returns the core.
fn write_loop<W: Transactional>(
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
