//! The base of every watch and feed: it reads the next item, and waits until another read may find
//! one.
//!
//! A read is a future that owns its source, so that a caller that drops `next` halfway loses
//! nothing: the next call continues with the same read.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sync_core::error::{ErrorKind, Result};
use tokio::sync::watch;

/// A source of items.
pub(crate) trait Source: Send + Unpin + 'static {
    /// The item that it yields.
    type Item: Send + 'static;

    /// Returns the next available item; none if there is none yet. An error of the kind `Closed`
    /// means that there will be none any more.
    fn look(&mut self) -> impl Future<Output = Result<Option<Self::Item>>> + Send;

    /// Returns when another read may find something: at once, if something was added since the last
    /// read. `false` means that nothing will be added any more.
    fn wait(&self) -> impl Future<Output = bool> + Send + 'static;
}

/// Yields what a [`Source`] has, until it is closed.
pub(crate) struct Yielding<S, I>(State<S, I>);

type Look<S, I> = BoxFuture<'static, (S, Result<Option<I>>)>;

enum State<S, I> {
    Idle(S),
    Looking(Look<S, I>),
    Waiting(S, BoxFuture<'static, bool>),
    Ended,
}

impl<S, I> Yielding<S, I> {
    pub(crate) fn new(source: S) -> Self {
        Self(State::Idle(source))
    }

    /// Returns the source, unless a read is under way or it has ended.
    pub(crate) fn source(&self) -> Option<&S> {
        match &self.0 {
            State::Idle(source) | State::Waiting(source, _) => Some(source),
            State::Looking(_) | State::Ended => None,
        }
    }

    pub(crate) fn source_mut(&mut self) -> Option<&mut S> {
        match &mut self.0 {
            State::Idle(source) | State::Waiting(source, _) => Some(source),
            State::Looking(_) | State::Ended => None,
        }
    }
}

impl<S: fmt::Debug, I> fmt::Debug for Yielding<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source(), &self.0) {
            (Some(source), _) => source.fmt(f),
            (None, State::Ended) => f.write_str("Ended"),
            (None, _) => f.write_str("Looking"),
        }
    }
}

impl<S: Source> Yielding<S, S::Item> {
    /// Returns the next item; none when the source has ended. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Result<S::Item>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Returns the next item that is already available, without waiting for another one.
    pub(crate) async fn next_ready(&mut self) -> Result<Option<S::Item>> {
        poll_fn(|cx| self.poll_look(cx)).await.unwrap_or(Ok(None))
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<S::Item>>> {
        loop {
            if let State::Waiting(_, wait) = &mut self.0
                && !ready!(wait.poll_unpin(cx))
            {
                self.0 = State::Ended;
            }
            match ready!(self.poll_look(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(None)) => self.begin_waiting(),
                Some(found) => return Poll::Ready(found.transpose()),
            }
        }
    }

    /// Polls one read; none if the source has ended. It is idle afterwards.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Option<S::Item>>>> {
        let mut look = match mem::replace(&mut self.0, State::Ended) {
            State::Ended => return Poll::Ready(None),
            State::Looking(look) => look,
            State::Idle(mut source) | State::Waiting(mut source, _) => async move {
                let found = source.look().await;
                (source, found)
            }
            .boxed(),
        };
        let Poll::Ready((source, found)) = look.poll_unpin(cx) else {
            self.0 = State::Looking(look);
            return Poll::Pending;
        };
        if matches!(&found, Err(error) if error.kind() == ErrorKind::Closed) {
            return Poll::Ready(None);
        }
        self.0 = State::Idle(source);
        Poll::Ready(Some(found))
    }

    fn begin_waiting(&mut self) {
        self.0 = match mem::replace(&mut self.0, State::Ended) {
            State::Idle(source) => {
                let wait = source.wait().boxed();
                State::Waiting(source, wait)
            }
            other => other,
        };
    }
}

/// Returns when something was committed since the storage's counter of commits was read; `false` if
/// the storage was closed.
pub(crate) fn more(commits: &watch::Receiver<u64>) -> impl Future<Output = bool> + Send + 'static {
    let mut commits = commits.clone();
    async move { commits.changed().await.is_ok() }
}

/// Makes a [`Stream`](futures_util::Stream) of a type around a [`Yielding`].
macro_rules! stream {
    ($of:ty, [$($bounds:tt)*], $item:ty) => {
        impl<$($bounds)*> futures_util::Stream for $of {
            type Item = sync_core::error::Result<$item>;

            fn poll_next(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Self::Item>> {
                self.0.poll_next(cx)
            }
        }
    };
}
pub(crate) use stream;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use sync_core::error::Error;

    use super::*;

    /// Yields the values that were added to it, and reads slowly.
    #[derive(Debug)]
    struct Queue(watch::Receiver<VecDeque<u32>>, u32);

    impl Source for Queue {
        type Item = u32;

        async fn look(&mut self) -> Result<Option<u32>> {
            tokio::task::yield_now().await;
            let found = self.0.borrow_and_update().iter().find(|n| **n > self.1).copied();
            self.1 = found.unwrap_or(self.1);
            match found {
                Some(13) => Err(Error::new(ErrorKind::Storage, "unlucky")),
                Some(99) => Err(Error::new(ErrorKind::Closed, "over")),
                found => Ok(found),
            }
        }

        fn wait(&self) -> impl Future<Output = bool> + Send + 'static {
            let mut receiver = self.0.clone();
            async move { receiver.changed().await.is_ok() }
        }
    }

    fn queue(items: &[u32]) -> (watch::Sender<VecDeque<u32>>, Yielding<Queue, u32>) {
        let (sender, receiver) = watch::channel(items.iter().copied().collect());
        (sender, Yielding::new(Queue(receiver, 0)))
    }

    #[tokio::test]
    async fn a_future_that_is_dropped_loses_nothing() {
        let (sender, mut yielding) = queue(&[1, 2]);
        for expected in 1..=2 {
            // The read is under way when the future is dropped.
            assert!(futures_util::poll!(std::pin::pin!(yielding.next())).is_pending());
            assert_eq!(yielding.next().await.unwrap().unwrap(), expected);
        }
        assert!(futures_util::poll!(std::pin::pin!(yielding.next())).is_pending());
        assert!(futures_util::poll!(std::pin::pin!(yielding.next())).is_pending());
        assert_eq!(yielding.next_ready().await.unwrap(), None, "it does not wait");
        sender.send_modify(|items| items.push_back(3));
        assert_eq!(yielding.next().await.unwrap().unwrap(), 3);
    }

    #[tokio::test]
    async fn an_error_does_not_end_it_and_its_end_stays() {
        let (_sender, mut yielding) = queue(&[13, 14, 99]);
        assert_eq!(yielding.next().await.unwrap().unwrap_err().kind(), ErrorKind::Storage);
        assert_eq!(yielding.next().await.unwrap().unwrap(), 14);
        assert!(yielding.next().await.is_none() && yielding.next().await.is_none());
        assert_eq!(yielding.next_ready().await.unwrap(), None);
        assert_eq!(format!("{yielding:?}"), "Ended");
    }

    #[tokio::test]
    async fn it_ends_when_nothing_can_be_added_any_more() {
        let (sender, mut yielding) = queue(&[]);
        assert!(futures_util::poll!(std::pin::pin!(yielding.next())).is_pending());
        assert!(futures_util::poll!(std::pin::pin!(yielding.next())).is_pending());
        drop(sender);
        assert!(yielding.next().await.is_none());
    }
}
