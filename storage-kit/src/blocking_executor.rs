//! One writer thread with group commit, and a few readers, which run a synchronous core as an async
//! storage.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

use super::inline::Inline;
use super::read_queue::{Asking, read_queue};
use super::transactional::{Durability, Snapshot, Transactional};
use super::writer::{Job, Reply, WriterMessage, closed, contained, write_loop};
use sync_core::error::{Error, ErrorKind, Result};

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

/// Runs on a reader's thread.
type Read<R> = Box<dyn FnOnce(&mut R) + Send>;

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

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    match std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        Ok(_) => Ok(()),
        Err(e) => {
            Err(Error::new(ErrorKind::Storage, "a storage thread cannot be started").because(e))
        }
    }
}
