//! Wakes a flush that sled forgot.
//!
//! When one of sled's threads fails to write a buffer, it remembers the error, and in one of two places forgets to tell
//! those who wait for that buffer: they would wait for ever. Whoever writes meanwhile finds the error and tells them. So
//! this thread does, if a flush takes long and the error is there.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sled::Db;
use sync_core::error::{Error, ErrorKind, Result};

/// How long a flush may take before somebody looks whether sled has failed.
const LONG: Duration = Duration::from_millis(100);

/// What the thread is told.
enum Told {
    /// A flush begins.
    Begin,
    /// It has ended, one way or the other.
    End,
}

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    told: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread.
    pub(crate) fn start(db: Db) -> Result<Self> {
        let (told, hears) = sync_channel(2);
        let started = std::thread::Builder::new()
            .name("twotide-sled".to_owned())
            .spawn(move || watch(&db, &hears))
            .map_err(|e| {
                Error::new(ErrorKind::Storage, "a storage thread cannot be started").because(e)
            })?;
        Ok(Self { told: Some(told), thread: Some(started) })
    }

    /// Runs a flush.
    pub(crate) fn over<T>(&self, flush: impl FnOnce() -> T) -> T {
        self.tell(Told::Begin);
        let result = flush();
        self.tell(Told::End);
        result
    }

    fn tell(&self, what: Told) {
        if let Some(told) = &self.told {
            // Without the thread a flush may hang, and nothing else is different.
            let _ = told.send(what);
        }
    }
}

impl Drop for Watch {
    /// Waits for the thread, which holds a handle of the store.
    fn drop(&mut self) {
        self.told = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already, and took nothing with it.
            let _ = thread.join();
        }
    }
}

fn watch(db: &Db, hears: &Receiver<Told>) {
    while let Ok(told) = hears.recv() {
        if matches!(told, Told::End) {
            continue;
        }
        while let Err(RecvTimeoutError::Timeout) = hears.recv_timeout(LONG) {
            if db.context.global_error().is_err() {
                // It fails, and wakes who waits. No entry has this key.
                let _ = db.remove([]);
            }
        }
    }
}
