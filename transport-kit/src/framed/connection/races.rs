//! Races of two threads on one connection.

use std::time::Duration;

use futures_util::StreamExt;

use crate::framed::{FramedOptions, Wire, memory_link};
use sync_core::error::Retry;
use sync_core::model::{Cursor, Limits, Scope};
use sync_core::protocol::Pull;
use sync_core::transport::Connection;

use super::FramedConnection;

/// The queue accepts a request at the very moment at which the task that reads it ends. The task
/// does not answer it then, so the caller must detect the end in another way. It takes some hundred
/// attempts to hit that moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_while_the_link_ends_is_answered() {
    const PROMPT: Duration = Duration::from_secs(20);
    for _ in 0..4_000 {
        let (here, there) = memory_link(8);
        let (wire, options) = (Wire::new(1 << 16), FramedOptions::default());
        let heartbeat = Duration::from_secs(3_600);
        let connection = FramedConnection::start(here, wire, heartbeat, &options);
        let pull =
            || Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
        let ending = tokio::spawn(async move { drop(there) });
        let pulled = tokio::time::timeout(PROMPT, connection.pull(pull()));
        let error = pulled.await.expect("a pull is answered").unwrap_err();
        assert_eq!(error.retry(), Retry::Reconnect);
        let mut live = connection.live(pull());
        let last = tokio::time::timeout(PROMPT, live.next()).await.expect("a stream ends");
        assert_eq!(last.unwrap().unwrap_err().retry(), Retry::Reconnect);
        ending.await.unwrap();
    }
}
