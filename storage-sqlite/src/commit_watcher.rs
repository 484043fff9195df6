//! Detects the commits of other processes.
//!
//! A thread reads the [version](DataVersion) every 25 ms, while there are listeners. The writer's
//! own commits change it, too, so a listener is sometimes woken twice, which is harmless: a wake-up
//! carries no data.

use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Result};
use tokio::sync::watch;

use crate::moved::Opened;
use crate::place::Place;
use crate::version::DataVersion;

/// The longest time until a commit of another process is detected.
const POLL: Duration = Duration::from_millis(25);

/// The channel that wakes the listeners.
pub(crate) type Listeners = Weak<watch::Sender<u64>>;

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Passes the channel to the thread, which ends when this sender is dropped.
    listeners: Option<Sender<Listeners>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread, which waits for the channel of its listeners.
    pub(crate) fn start(place: &Place) -> Result<(Self, Sender<Listeners>)> {
        let version = DataVersion::open(place)?;
        let opened = place.lockable().map(Opened::at).transpose()?;
        let (listeners, queue) = channel();
        // Commits from here on are reported, however late the thread starts.
        let seen = version.get();
        let started = std::thread::Builder::new()
            .name("twotide-wake".to_owned())
            .spawn(move || watch(&version, opened.as_ref(), seen, &queue));
        let thread = started.map_err(|e| {
            Error::new(ErrorKind::Storage, "a storage thread cannot be started").because(e)
        })?;
        let told = listeners.clone();
        Ok((Self { listeners: Some(listeners), thread: Some(thread) }, told))
    }
}

impl Drop for Watch {
    /// Waits for the thread, so that it has ended when a storage is closed.
    fn drop(&mut self) {
        self.listeners = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported already, and has no other effect.
            let _ = thread.join();
        }
    }
}

fn watch(
    version: &DataVersion,
    opened: Option<&Opened>,
    mut seen: Option<i64>,
    queue: &Receiver<Listeners>,
) {
    let mut was_there = true;
    let Ok(listeners) = queue.recv() else { return };
    while matches!(queue.recv_timeout(POLL), Err(RecvTimeoutError::Timeout)) {
        let Some(commits) = listeners.upgrade() else { return };
        if commits.receiver_count() == 0 {
            continue;
        }
        // A file that was removed or replaced is reported like a commit: the next read or write
        // returns the error.
        let is_there = opened.is_none_or(|opened| opened.check().is_ok());
        if std::mem::replace(&mut was_there, is_there) && !is_there {
            commits.send_modify(|n| *n = n.wrapping_add(1));
        }
        // A failure is not reported here: the next read or write returns it, too.
        let Some(now) = version.get() else { continue };
        if seen.replace(now) != Some(now) {
            commits.send_modify(|n| *n = n.wrapping_add(1));
        }
    }
}
