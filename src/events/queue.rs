//! A bounded queue of the events that wait for one stream. When it is full, the oldest is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::SyncEvent;

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<SyncEvent>,
    /// How many were dropped since the reader was last notified.
    missed: u64,
    ended: bool,
    reader: Option<Waker>,
}

/// The sending end of a queue. Dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct EventSender {
    waiting: Arc<Mutex<Waiting>>,
    bound: usize,
}

/// The receiving end of a queue, which a stream reads.
#[derive(Debug)]
pub(super) struct EventReceiver(Arc<Mutex<Waiting>>);

/// Creates a queue of at most `bound` events.
pub(super) fn queue(bound: usize) -> (EventSender, EventReceiver) {
    let waiting = Arc::default();
    (EventSender { waiting: Arc::clone(&waiting), bound }, EventReceiver(waiting))
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventSender {
    /// Returns whether a stream reads the queue.
    pub(crate) fn is_read(&self) -> bool {
        Arc::strong_count(&self.waiting) > 1
    }

    /// Adds an event, and drops the oldest one if there are too many.
    pub(crate) fn send(&self, event: SyncEvent) {
        let mut waiting = lock(&self.waiting);
        if waiting.events.len() >= self.bound {
            waiting.events.pop_front();
            waiting.missed += 1;
        }
        waiting.events.push_back(event);
        wake(waiting);
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        waiting.ended = true;
        wake(waiting);
    }
}

/// Wakes the reader when the lock is free.
fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let reader = waiting.reader.take();
    drop(waiting);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl Waiting {
    fn next(&mut self) -> Option<SyncEvent> {
        match std::mem::take(&mut self.missed) {
            0 => self.events.pop_front(),
            missed => Some(SyncEvent::Lagged(missed)),
        }
    }
}

impl EventReceiver {
    pub(super) fn next_ready(&mut self) -> Option<SyncEvent> {
        lock(&self.0).next()
    }

    pub(super) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<SyncEvent>> {
        let mut waiting = lock(&self.0);
        match waiting.next() {
            None if !waiting.ended => {
                waiting.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            next => Poll::Ready(next),
        }
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.0).events.len()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn the_oldest_events_are_dropped_and_counted_once() {
        let (sender, mut receiver) = queue(2);
        for failures in 1..=5 {
            sender.send(SyncEvent::Failing(failures));
        }
        assert_eq!(receiver.len(), 2);
        for expected in [SyncEvent::Lagged(3), SyncEvent::Failing(4), SyncEvent::Failing(5)] {
            assert_eq!(receiver.next_ready(), Some(expected));
        }
        assert_eq!(receiver.next_ready(), None);
        sender.send(SyncEvent::InSync);
        drop(sender);
        let mut next = async || poll_fn(|cx| receiver.poll_next(cx)).await;
        assert_eq!((next().await, next().await), (Some(SyncEvent::InSync), None));
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_events_and_by_the_end() {
        let (sender, mut receiver) = queue(2);
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            while let Some(event) = poll_fn(|cx| receiver.poll_next(cx)).await {
                read.push(event);
            }
            read
        });
        tokio::task::yield_now().await;
        assert!(sender.is_read());
        sender.send(SyncEvent::Connected);
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(reader.await.unwrap(), [SyncEvent::Connected]);
    }
}
