//! Futures that are polled independently of the task that waits for them.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

/// Runs a future on a separate task, which ends when this is dropped.
///
/// The messages for a client are made by the task that also writes to its socket. While that task
/// is blocked in a write it polls nothing else, and a future that has just reached the front of a
/// shared queue would block it for as long: one slow client would delay all others.
pub(super) struct OwnTask<T>(JoinHandle<T>);

/// Spawns an [`OwnTask`].
pub(super) fn on_its_own<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> OwnTask<T> {
    OwnTask(tokio::spawn(future))
}

impl<T> Future for OwnTask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(Ok(value)) => Poll::Ready(value),
            // The panic continues where the future is awaited, as if it had been polled there.
            Poll::Ready(Err(error)) if error.is_panic() => {
                std::panic::resume_unwind(error.into_panic())
            }
            // Only the drop of this ends it, or a runtime that shuts down and polls nothing any
            // more.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for OwnTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
