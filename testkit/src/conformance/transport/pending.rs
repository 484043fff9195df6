//! Requests of every kind that wait for their answers.

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::time::Duration;
use sync_core::error::{Error, Result};
use sync_core::model::{Cursor, Epoch, Scope, Seq};
use sync_core::protocol::Ack;
use sync_core::transport::Connection;

use super::fixture::{Fixture, NOTES, batch, insert, pull, scope, text, within};
use super::harness::TransportHarness;

/// A pull, a push, an acknowledgement and a live stream that the server holds, and a live stream
/// that sleeps at the head.
pub(super) struct Pending<'a>(FuturesUnordered<BoxFuture<'a, (&'static str, Result<()>)>>);

/// Returns the scope in which they are held.
fn held() -> Scope {
    scope("held")
}

impl<'a> Pending<'a> {
    /// Sends the requests, and waits until all of them have arrived at the server.
    pub(super) async fn ask<H: TransportHarness>(
        fixture: &Fixture<H>,
        connection: &'a dyn Connection,
    ) -> Self {
        let (held, idle) = (held(), scope("idle"));
        fixture.author().await.write_each(&idle, 0..1).await;
        let mut sleeping = connection.live(pull(&idle, Cursor::default()));
        let first = fixture.soon("the first chunk", sleeping.next()).await;
        first.expect("it ended without a word").expect("a chunk");
        fixture.access_switch.hold(&held);
        let push = batch(1, 1, &held, vec![insert(NOTES, "held", text("x"))]);
        let ack = Ack::new(held.clone(), Epoch([1; 16]), Seq(0));
        let mut live = connection.live(pull(&held, Cursor::default()));
        let ended = "a live stream that ended without a word";
        let mut pending = Self(FuturesUnordered::new());
        let pulled = connection.pull(pull(&held, Cursor::default()));
        pending.add("the pull", pulled.map(|r| r.map(drop)));
        pending.add("the push", connection.push(push).map(|r| r.map(drop)));
        pending.add("the acknowledgement", connection.acknowledge(ack).map(|r| r.map(drop)));
        pending.add("the live stream", async move { live.next().await.expect(ended).map(drop) });
        tokio::select! {
            (what, result) = pending.answer() => panic!("{what} was held, and got {result:?}"),
            () = fixture.soon("arrival at the server", fixture.access_switch.holds(4)) => {}
        }
        pending.add("the sleeping stream", async move {
            let last = sleeping.next().await.expect(ended).map(drop);
            assert!(sleeping.next().await.is_none(), "more after an error");
            last
        });
        pending
    }

    fn add(&mut self, what: &'static str, result: impl Future<Output = Result<()>> + Send + 'a) {
        self.0.push(async move { (what, result.await) }.boxed());
    }

    async fn answer(&mut self) -> (&'static str, Result<()>) {
        self.0.next().await.expect("something is pending")
    }

    /// Asserts that all of them fail within the bound, while `meanwhile` runs; returns the errors.
    pub(super) async fn fails(mut self, bound: Duration, meanwhile: impl Future) -> Vec<Error> {
        let mut errors = Vec::new();
        meanwhile.await;
        while !self.0.is_empty() {
            let left = format!("the failure of what is pending, after {}", errors.len());
            match within(bound, &left, self.answer()).await {
                (what, Ok(())) => panic!("{what} should have failed"),
                (_, Err(error)) => errors.push(error),
            }
        }
        errors
    }
}
