//! The app's end of a live stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::connection::{Command, Fate, Live, Signals};
use super::transport::broken;
use sync_core::error::Result;
use sync_core::model::Scope;
use sync_core::protocol::Payload;
use sync_core::transport::Delivery;

/// Opens on the first poll, gives credit as chunks are taken out, and ends the stream when it is
/// dropped.
pub(super) struct LiveStream {
    scope: Scope,
    opening: Option<BoxFuture<'static, ()>>,
    events: mpsc::Receiver<Result<Delivery>>,
    taken: Arc<AtomicU32>,
    /// How many taken chunks are reported in one message.
    due: u32,
    signals: Arc<Signals>,
    fate: Fate,
    is_over: bool,
}

impl LiveStream {
    pub(super) fn new(
        scope: Scope,
        payload: Payload,
        commands: mpsc::Sender<Command>,
        signals: Arc<Signals>,
        fate: Fate,
        window: u32,
    ) -> Self {
        let (tell, events) = mpsc::channel(window as usize + 1);
        let taken = Arc::new(AtomicU32::new(0));
        let live = Live { events: tell, taken: Arc::clone(&taken), credit: 0 };
        let opening = async move {
            // If the task has ended, the command is dropped with its sender, which is how the
            // stream detects it.
            let _ = commands.send(Command::Live { payload, live }).await;
        };
        let opening: Option<BoxFuture<'static, ()>> = Some(Box::pin(opening));
        Self { scope, opening, events, taken, due: due(window), signals, fate, is_over: false }
    }
}

/// Returns for how many chunks of a window credit is given at a time. The other half is in flight
/// meanwhile.
pub(super) fn due(window: u32) -> u32 {
    window.div_ceil(2)
}

impl Stream for LiveStream {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Some(opening) = &mut this.opening {
            ready!(Pin::new(opening).poll(cx));
            this.opening = None;
        }
        let event = match ready!(this.events.poll_recv(cx)) {
            Some(Ok(Delivery::Chunk(chunk))) if chunk.scope != this.scope => {
                Err(broken("the server sent a chunk of another scope"))
            }
            Some(Ok(Delivery::Chunk(chunk))) => {
                if this.taken.fetch_add(1, Ordering::Relaxed) + 1 >= this.due {
                    this.signals.wake();
                }
                return Poll::Ready(Some(Ok(Delivery::Chunk(chunk))));
            }
            Some(event) => event,
            None => Err(this.fate.error()),
        };
        this.end();
        Poll::Ready(Some(event))
    }
}

impl LiveStream {
    fn end(&mut self) {
        self.is_over = true;
        self.events.close();
        self.signals.wake();
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.end();
    }
}
