//! Helpers of all suites: time, values, and failures.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use sync_core::clock::{Now, ServerTime};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{
    Body, Collection, DocumentId, DocumentKey, DocumentState, Limits, LogEntry, ReplicaId,
    Revision, Scope, Seq, Stamp,
};

pub(super) use crate::cores::must;

/// The replica that wrote the states of other devices.
pub(super) const ELSEWHERE: ReplicaId = ReplicaId([0xe1; 16]);

/// A limit above the size of any page in a case.
pub(super) const ALL: Limits = Limits { documents: 1_000_000, bytes: 1 << 30 };

/// Returns limits of that many documents.
pub(super) fn documents(documents: usize) -> Limits {
    Limits { documents, ..ALL }
}

/// The bound for events that a case waits for.
const SOON: Duration = Duration::from_secs(5);

/// Returns the time, which is later at each call.
pub(super) fn now() -> Now {
    static TIME: AtomicU64 = AtomicU64::new(1_800_000_000_000);
    Now(TIME.fetch_add(1, Ordering::Relaxed))
}

/// Returns the time of a server that answers at once.
pub(super) fn server_time(told: Now) -> ServerTime {
    ServerTime { sent: now(), server: told }
}

pub(super) fn body(json: &str) -> Body {
    must(Body::parse(json.to_owned()), "JSON becomes a body")
}

pub(super) fn id(name: &str) -> DocumentId {
    must(DocumentId::new(name), "the name of a document")
}

pub(super) fn collection(name: &str) -> Collection {
    must(Collection::new(name), "the name of a collection")
}

pub(super) fn scope(name: &str) -> Scope {
    must(Scope::new(name), "the name of a scope")
}

/// Returns the key of a document in the default scope: `id`, or `collection/id`.
pub(super) fn key(name: &str) -> DocumentKey {
    let (c, i) = name.split_once('/').unwrap_or(("notes", name));
    DocumentKey::new(Scope::default(), collection(c), id(i))
}

/// Returns a state that another replica wrote just now: a body, or a tombstone.
pub(super) fn state(json: Option<&str>) -> DocumentState {
    let revision = Revision { stamp: Stamp::new(now().0, 0), replica: ELSEWHERE };
    DocumentState::new(revision, json.map(body))
}

/// Returns the entry at a position: `id` or `collection/id`.
pub(super) fn entry(seq: u64, name: &str, json: Option<&str>) -> LogEntry {
    let DocumentKey { collection, id, .. } = key(name);
    LogEntry { seq: Seq(seq), collection, id, state: state(json) }
}

/// Returns the JSON of a live document.
pub(super) fn json(state: &DocumentState) -> &str {
    state.body.as_ref().map_or("(a tombstone)", Body::as_str)
}

/// Asserts a failure of that kind.
#[allow(clippy::panic, reason = "this is how a case fails")]
#[track_caller]
pub(super) fn refused<T: Debug>(result: Result<T>, kind: ErrorKind, what: &str) -> Error {
    match result {
        Err(error) if error.kind() == kind => error,
        Err(error) => panic!("{what}: {kind:?} was expected, not {error:?}"),
        Ok(value) => panic!("{what}: {kind:?} was expected, not {value:?}"),
    }
}

/// Asserts that a storage is closed.
#[track_caller]
pub(super) fn closed<T: Debug>(result: Result<T>, what: &str) {
    refused(result, ErrorKind::Closed, what);
}

/// Asserts that a storage can be closed twice, also at the same time.
pub(super) async fn closes_twice<F: Future<Output = Result<()>>>(close: impl Fn() -> F) {
    let (one, two) = tokio::join!(close(), close());
    must(one, "the storage is closed");
    must(two, "closing at the same time");
    must(soon("closing again", close()).await, "closing again");
}

/// Polls a future that often and drops it; returns its output, if it was ready by then.
pub(super) async fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left > 0 {
            left -= 1;
            if let Poll::Ready(answer) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
        }
        if left == 0 { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// Waits for an event, within a bound.
#[allow(clippy::panic, reason = "this is how a case fails")]
pub(super) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(SOON, future).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what}: nothing came within {SOON:?}"),
    }
}

/// Runs futures as tasks at the same time; returns their outputs, in their order.
pub(super) async fn together<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(finished(task).await);
    }
    answers
}

/// Returns the output of a task, or continues its panic.
pub(super) async fn finished<T>(task: tokio::task::JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
}

/// Panics without a message.
pub(super) fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("a panic that is expected"))
}
