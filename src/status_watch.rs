//! A value of a replica, now and as it changes.

use std::fmt;
use std::ops::Deref;

use sync_core::error::{Error, ErrorKind, Result};
use tokio::sync::watch;

use crate::Status;
use crate::yielding::{Source, Yielding, stream};

/// The newest value, the number of values before it, and whether it is the last one.
#[derive(Debug)]
struct Told<T> {
    value: T,
    version: u64,
    ended: bool,
}

/// The sender of the value.
#[derive(Debug)]
pub(crate) struct StatusSender<T>(watch::Sender<Told<T>>);

/// The status or the statistics of a replica, now and as they change: created by
/// [`Replica::status`] and [`Replica::statistics`](crate::Replica::statistics).
///
/// As a [`Stream`](futures_util::Stream) it yields the current value first, then the newest one
/// whenever it differs, and ends when the replica is closed. A slow reader skips values in between,
/// and never the last one. It does not keep the replica open.
///
/// [`Replica::status`]: crate::Replica::status
///
/// ```
/// # use twotide::prelude::*;
/// use futures_util::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let replica = Replica::builder().memory().open().await?;
/// let mut status = replica.status();
/// assert_eq!(status.borrow().activity, Activity::Idle);
/// let shows = tokio::spawn(async move {
///     while let Some(status) = status.try_next().await? {
///         println!("{}, {} unsynced", status.activity.as_str(), status.outbox.pending);
///     }
///     Ok::<_, Error>(())
/// });
/// replica.close().await?;
/// shows.await.expect("it ends with the replica")
/// # }
/// ```
pub struct StatusWatch<T = Status>(Yielding<Newest<T>, T>, watch::Receiver<Told<T>>);

/// The newest value, if it is newer than the one that was yielded.
struct Newest<T> {
    receiver: watch::Receiver<Told<T>>,
    /// The version that was yielded last, or that was current when the watch was created.
    given: u64,
    /// Whether the current version is still to be yielded.
    is_first: bool,
}

/// A value that cannot be set while it is borrowed.
struct Value<'a, T>(watch::Ref<'a, Told<T>>);

impl<T> Deref for Value<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.value
    }
}

stream!(StatusWatch<T>, [T: Clone + Send + Sync + 'static], T);

impl<T: Clone + PartialEq + Send + Sync + 'static> StatusSender<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(watch::Sender::new(Told { value, version: 0, ended: false }))
    }

    /// Sets the value if it differs from the current one.
    pub(crate) fn set(&self, value: T) {
        self.0.send_if_modified(|told| {
            let changed = told.value != value;
            if changed {
                (told.value, told.version) = (value, told.version + 1);
            }
            changed
        });
    }

    /// Ends every watch after the current value.
    pub(crate) fn end(&self) {
        self.0.send_modify(|told| told.ended = true);
    }

    pub(crate) fn borrow(&self) -> impl Deref<Target = T> + '_ {
        Value(self.0.borrow())
    }

    pub(crate) fn watch(&self) -> StatusWatch<T> {
        let receiver = self.0.subscribe();
        let (given, is_first) = (receiver.borrow().version, true);
        let newest = Newest { receiver: receiver.clone(), given, is_first };
        StatusWatch(Yielding::new(newest), receiver)
    }
}

impl<T> fmt::Debug for Newest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newest").field("given", &self.given).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for StatusWatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatusWatch").field(&self.1.borrow().value).finish()
    }
}

impl<T: Clone + Send + Sync + 'static> StatusWatch<T> {
    /// Returns the current value, without waiting. The replica cannot set another one as long as it
    /// is borrowed: clone what is kept for longer, and do not hold it across an `await`.
    pub fn borrow(&self) -> impl Deref<Target = T> + '_ {
        Value(self.1.borrow())
    }

    /// Returns the newest value as soon as it is not the one that was yielded last, by this or by
    /// the stream. The value that was current when the watch was created counts as yielded.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Closed` when the replica was closed.
    pub async fn changed(&mut self) -> Result<T> {
        if let Some(newest) = self.0.source_mut() {
            newest.is_first = false;
        }
        let closed = || Error::new(ErrorKind::Closed, "the replica is closed");
        self.0.next().await.ok_or_else(closed)?
    }

    /// Returns the first value, including the current one, for which the closure returns `true`.
    ///
    /// # Errors
    /// `Closed` when the replica was closed before.
    pub async fn wait_for(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Result<T> {
        let mut value = self.borrow().clone();
        while !is_wanted(&value) {
            value = self.changed().await?;
        }
        Ok(value)
    }

    /// Returns the next item of the stream: the current value, then the newest one whenever it
    /// differs; none when the replica was closed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// None today.
    pub async fn next(&mut self) -> Option<Result<T>> {
        self.0.next().await
    }
}

impl<T: Clone + Send + Sync + 'static> Source for Newest<T> {
    type Item = T;

    async fn look(&mut self) -> Result<Option<T>> {
        let told = self.receiver.borrow_and_update();
        if self.is_first || told.version != self.given {
            (self.given, self.is_first) = (told.version, false);
            return Ok(Some(told.value.clone()));
        }
        if told.ended {
            return Err(Error::new(ErrorKind::Closed, "the replica is closed"));
        }
        Ok(None)
    }

    fn wait(&self) -> impl Future<Output = bool> + Send + 'static {
        let mut receiver = self.receiver.clone();
        async move { receiver.changed().await.is_ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_stream_begins_with_the_current_value_and_skips_old_ones() {
        let sender = StatusSender::new(1);
        let mut watch = sender.watch();
        assert_eq!(watch.next().await.unwrap().unwrap(), 1);
        assert!(futures_util::poll!(std::pin::pin!(watch.next())).is_pending());
        for n in 2..=4 {
            sender.set(n);
        }
        assert_eq!(*watch.borrow(), 4);
        assert_eq!(watch.next().await.unwrap().unwrap(), 4);
        sender.set(5);
        sender.end();
        assert_eq!(watch.next().await.unwrap().unwrap(), 5, "the last one is not lost");
        assert!(watch.next().await.is_none() && watch.next().await.is_none());
        assert_eq!(watch.changed().await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(*watch.borrow(), 5);
    }

    #[tokio::test]
    async fn the_initial_value_is_no_change() {
        let sender = StatusSender::new(1);
        let mut watch = sender.watch();
        assert!(futures_util::poll!(std::pin::pin!(watch.changed())).is_pending());
        sender.set(1);
        assert!(futures_util::poll!(std::pin::pin!(watch.changed())).is_pending());
        sender.set(2);
        assert_eq!(watch.changed().await.unwrap(), 2);
        assert_eq!(watch.wait_for(|n| *n == 2).await.unwrap(), 2, "the current value counts");
        drop(sender);
        assert!(watch.wait_for(|n| *n == 3).await.is_err());
    }
}
