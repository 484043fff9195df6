//! Live streams with a fault.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use sync_core::error::Result;
use sync_core::protocol::Pull;
use sync_core::transport::{Connection, Delivery};

use super::super::reader::Live;
use super::TransportFault;
use super::changes::{Attic, change_chunk, change_error, hides};

/// How long a stream that swaps chunks waits for the second one.
const SWAP: Duration = Duration::from_millis(200);

/// Increments a counter while this value exists.
pub(super) struct Count<'a>(&'a AtomicUsize);

impl<'a> Count<'a> {
    pub(super) fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn faulty(fault: TransportFault, inner: Live) -> Live {
    let inner = inner.map(move |event| match event {
        Ok(Delivery::Chunk(mut chunk)) => {
            change_chunk(fault, &mut chunk);
            Ok(Delivery::Chunk(chunk))
        }
        Ok(reset) => Ok(reset),
        Err(error) => Err(change_error(fault, error)),
    });
    match fault {
        TransportFault::DoublesChunks => inner.flat_map(|e| stream::iter([e.clone(), e])).boxed(),
        TransportFault::SwapsChunks => swapped(inner.boxed()),
        TransportFault::EndsSilently => inner.take_while(|e| future::ready(e.is_ok())).boxed(),
        TransportFault::HidesTheEnd => {
            inner.take_while(|e| future::ready(e.is_ok())).chain(stream::pending()).boxed()
        }
        TransportFault::ForgetsWhenGivenUp => {
            Forgetful { inner: inner.boxed(), taken: None }.boxed()
        }
        TransportFault::ReadsAhead => read_ahead(inner.boxed()),
        TransportFault::KeepsOnlyTheNewest => newest(inner.boxed()),
        TransportFault::OutlivesTheLink | TransportFault::TrustsSilence => {
            let shown = move |e: &Result<Delivery>| {
                future::ready(e.as_ref().err().is_none_or(|e| !hides(fault, e)))
            };
            inner.take_while(shown).chain(stream::pending()).boxed()
        }
        _ => inner.boxed(),
    }
}

/// Begins at the head at the time of the first poll.
pub(super) fn at_the_head(connection: Arc<dyn Connection>, mut pull: Pull) -> Live {
    let open = async move {
        while let Ok(Delivery::Chunk(chunk)) = connection.pull(pull.clone()).await {
            pull.cursor = pull.cursor.following(&chunk);
            if !chunk.has_more() {
                break;
            }
        }
        connection.live(pull)
    };
    open.flatten_stream().boxed()
}

/// Drops chunks that arrive while the count is not zero.
pub(super) fn deaf_during(count: Arc<AtomicUsize>, inner: Live) -> Live {
    inner.filter(move |_| future::ready(count.load(Ordering::SeqCst) == 0)).boxed()
}

/// Delivers the second chunk before the first, wherever two arrive one after the other.
fn swapped(inner: Live) -> Live {
    let pairs = stream::unfold(inner, |mut inner| async move {
        let first = inner.next().await?;
        let second = tokio::time::timeout(SWAP, inner.next()).await.ok().flatten();
        Some((stream::iter(second.into_iter().chain([first])), inner))
    });
    pairs.flatten().boxed()
}

/// Reads the stream to its end, whether or not the result is polled.
fn read_ahead(mut inner: Live) -> Live {
    // The missing bound is the fault.
    let (tell, mut hear) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(event) = inner.next().await {
            if tell.send(event).is_err() {
                break;
            }
        }
    });
    stream::poll_fn(move |cx| hear.poll_recv(cx)).boxed()
}

/// Keeps the last chunk only.
fn newest(mut inner: Live) -> Live {
    let (tell, hear) = tokio::sync::watch::channel(None);
    tokio::spawn(async move {
        while let Some(event) = inner.next().await {
            if tell.send(Some(event)).is_err() {
                break;
            }
        }
    });
    let next = async |mut hear: tokio::sync::watch::Receiver<Option<Result<Delivery>>>| {
        hear.changed().await.ok()?;
        let event = hear.borrow_and_update().clone();
        Some((event?, hear))
    };
    stream::unfold(hear, next).boxed()
}

/// A stream that loses the event that it received if another task polls it next.
struct Forgetful {
    inner: Live,
    taken: Option<(Result<Delivery>, Waker)>,
}

impl Stream for Forgetful {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some((event, waker)) = self.taken.take()
            && waker.will_wake(cx.waker())
        {
            return Poll::Ready(Some(event));
        }
        let Some(event) = ready!(self.inner.poll_next_unpin(cx)) else { return Poll::Ready(None) };
        self.taken = Some((event, cx.waker().clone()));
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A stream that stays open when it is dropped.
struct Kept {
    inner: Option<Live>,
    attic: Attic,
}

pub(super) fn kept(inner: Live, attic: Attic) -> Live {
    Kept { inner: Some(inner), attic }.boxed()
}

impl Stream for Kept {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().map_or(Poll::Ready(None), |inner| inner.poll_next_unpin(cx))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut attic = self.attic.0.lock().unwrap_or_else(PoisonError::into_inner);
        attic.extend(self.inner.take());
    }
}
