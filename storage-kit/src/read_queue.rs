//! The queue of reads. Any of several threads takes the next one, and exactly one thread is woken
//! for each. With a channel behind a lock, every waiting thread would wake for each read, also for
//! those that another thread takes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::writer::closed;
use sync_core::error::Result;

struct Shared<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    /// How many more jobs may wait.
    room: Semaphore,
}

struct State<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
    takers: usize,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.room.close();
        self.ready.notify_all();
    }
}

/// The sending side of the queue. Once this is dropped, or closed, the workers end after the queued
/// jobs.
pub(super) struct Asking<T>(Arc<Shared<T>>);

/// The receiving side, one for each thread.
pub(super) struct Taking<T>(Arc<Shared<T>>);

/// Creates a queue in which `room` jobs may wait, and its receivers.
pub(super) fn read_queue<T>(room: usize, takers: usize) -> (Asking<T>, Vec<Taking<T>>) {
    let state = State { waiting: VecDeque::new(), is_closed: false, takers };
    let room = Semaphore::new(room.max(1));
    let shared = Arc::new(Shared { state: Mutex::new(state), ready: Condvar::new(), room });
    let taking = (0..takers).map(|_| Taking(Arc::clone(&shared))).collect();
    (Asking(shared), taking)
}

impl<T> Asking<T> {
    /// Adds a job to the queue, as soon as there is room.
    ///
    /// # Errors
    /// `Closed`.
    pub(super) async fn send(&self, what: T) -> Result<()> {
        self.0.room.acquire().await.map_err(|_| closed())?.forget();
        let mut state = self.0.state();
        if state.is_closed {
            return Err(closed());
        }
        state.waiting.push_back(what);
        drop(state);
        self.0.ready.notify_one();
        Ok(())
    }

    pub(super) fn close(&self) {
        self.0.close();
    }

    pub(super) fn is_open(&self) -> bool {
        !self.0.state().is_closed
    }
}

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Taking<T> {
    /// Waits for the next job; none once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.0.state();
        loop {
            if let Some(next) = state.waiting.pop_front() {
                self.0.room.add_permits(1);
                return Some(next);
            }
            if state.is_closed {
                return None;
            }
            state = self.0.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Taking<T> {
    /// Drops the waiting jobs if this is the last worker, so that their callers receive an error.
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.takers -= 1;
        if state.takers > 0 {
            return;
        }
        let left = std::mem::take(&mut state.waiting);
        drop(state);
        self.0.close();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_send_to_a_full_queue_waits_until_a_job_was_taken() {
        let (asking, takers) = read_queue(1, 1);
        asking.send(1).now_or_never().unwrap().unwrap();
        assert!(asking.send(2).now_or_never().is_none());
        assert_eq!(takers[0].take(), Some(1));
        asking.send(3).now_or_never().unwrap().unwrap();
        assert_eq!(takers[0].take(), Some(3));
    }

    #[test]
    fn queued_jobs_are_taken_before_the_end() {
        let (asking, takers) = read_queue(4, 2);
        asking.send(1).now_or_never().unwrap().unwrap();
        asking.close();
        assert!(!asking.is_open());
        assert!(asking.send(2).now_or_never().unwrap().is_err());
        assert_eq!((takers[1].take(), takers[0].take()), (Some(1), None));
    }

    #[test]
    fn a_dropped_queue_wakes_and_ends_its_takers() {
        let (asking, takers) = read_queue::<u32>(4, 2);
        let (tell, told) = mpsc::channel();
        for taking in takers {
            let tell = tell.clone();
            std::thread::spawn(move || tell.send(taking.take()));
        }
        drop(asking);
        for _ in 0..2 {
            assert_eq!(told.recv_timeout(Duration::from_secs(60)).unwrap(), None);
        }
    }

    #[test]
    fn jobs_without_workers_are_dropped() {
        let (asking, takers) = read_queue(4, 1);
        let (answer, wait) = tokio::sync::oneshot::channel::<()>();
        asking.send(answer).now_or_never().unwrap().unwrap();
        drop(takers);
        assert!(wait.now_or_never().unwrap().is_err());
        assert!(!asking.is_open());
    }
}
