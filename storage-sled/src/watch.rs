//! Wakes a flush that sled does not wake.
//!
//! When one of sled's threads fails to write a buffer, it records the error, and in one of two
//! places (sled 0.34.7, `Log::exit_reservation`) does not wake the waiters for that buffer: they
//! would wait for ever. Any later write finds the error and wakes them. So this thread writes, if a
//! flush takes long and the error is recorded.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sled::Db;
use sync_core::error::{Error, ErrorKind, Result};

/// How long a flush may take before the thread checks whether sled has failed.
const LONG: Duration = Duration::from_millis(100);

/// A message to the thread.
enum Told {
    /// A flush begins.
    Begin,
    /// It has ended, successfully or not.
    End,
}

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    told: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread for a store.
    pub(crate) fn start(db: &Db) -> Result<Self> {
        let (asked, written) = (db.clone(), db.clone());
        let has_failed = move || asked.context.global_error().is_err();
        // The write fails, and wakes the waiters. No entry has this key.
        let wake = move || drop(written.remove([]));
        Self::with(has_failed, wake)
    }

    fn with(
        has_failed: impl Fn() -> bool + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let (told, hears) = sync_channel(2);
        let started = std::thread::Builder::new()
            .name("twotide-sled".to_owned())
            .spawn(move || watch(&hears, has_failed, wake))
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
            // Without the thread a flush may hang; nothing else changes.
            let _ = told.send(what);
        }
    }
}

impl Drop for Watch {
    /// Waits for the thread, which holds a handle of the store.
    fn drop(&mut self) {
        self.told = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported already, and has no other effect.
            let _ = thread.join();
        }
    }
}

fn watch(hears: &Receiver<Told>, has_failed: impl Fn() -> bool, wake: impl Fn()) {
    while let Ok(told) = hears.recv() {
        if matches!(told, Told::End) {
            continue;
        }
        while let Err(RecvTimeoutError::Timeout) = hears.recv_timeout(LONG) {
            if has_failed() {
                wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_flush_that_waits_although_the_store_has_failed_is_woken() {
        let (waking, woken) = sync_channel(100);
        let wake = move || waking.try_send(()).unwrap_or_default();
        let watch = Watch::with(|| true, wake).unwrap();
        for _ in 0..3 {
            assert_eq!(watch.over(|| woken.recv_timeout(SOON)), Ok(()));
        }
    }

    #[test]
    fn a_slow_flush_of_a_working_store_is_not_woken() {
        let (asking, asked) = sync_channel(100);
        let (waking, woken) = sync_channel(100);
        let has_failed = move || asking.try_send(()).is_err();
        let wake = move || waking.try_send(()).unwrap_or_default();
        let watch = Watch::with(has_failed, wake).unwrap();
        watch.over(|| (0..3).for_each(|_| asked.recv_timeout(SOON).unwrap()));
        // The thread has dropped its end of the channel.
        drop(watch);
        assert!(woken.recv().is_err());
    }
}
