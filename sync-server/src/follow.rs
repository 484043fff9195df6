//! Following a log without a link: for transports in which every request is independent.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::client::AuthenticatedClient;
use super::own_task::on_its_own;
use super::read::Served;
use super::service::OpenSession;
use super::tail::{Hub, is_all};
use sync_core::error::Result;
use sync_core::model::{Cursor, Epoch, Seq};
use sync_core::protocol::Pull;

/// Follows a log from a cursor, through catching up and following live. It counts as a session
/// until it is dropped.
///
/// ```
/// # use std::sync::Arc;
/// # use sync_core::environment::System;
/// # use storage_kit::kv::{KvOptions, MemoryKv, open_server};
/// # use sync_core::model::{Cursor, Limits, ReplicaId, Scope};
/// # use sync_core::protocol::Pull;
/// # use sync_server::{Hooks, Served, Server, ServerOptions};
/// # async fn follow(server: Server) -> sync_core::error::Result<()> {
/// let peer = server.admit(Some("token"), ReplicaId([1; 16])).await?;
/// let pull = Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
/// let mut follower = peer.follow(pull);
/// while let Some(served) = follower.next().await? {
///     match served {
///         Served::Chunk(chunk) => println!("up to {}", chunk.chunk().next),
///         Served::Reset(_) => break,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Follower {
    peer: AuthenticatedClient,
    pull: Pull,
    /// Holding it keeps the scope's tail.
    _hub: Arc<Hub>,
    head: watch::Receiver<(Epoch, Seq)>,
    draining: watch::Receiver<bool>,
    /// Whether the last read found something, from which the next one continues.
    goes_on: bool,
    _open: OpenSession,
}

impl AuthenticatedClient {
    /// Follows the log of a scope from there on.
    #[must_use]
    pub fn follow(&self, pull: Pull) -> Follower {
        let hub = self.server.hub(&pull.scope);
        Follower {
            peer: self.clone(),
            pull,
            head: hub.head(),
            _hub: hub,
            draining: self.server.draining(),
            goes_on: false,
            _open: self.server.open_session(),
        }
    }
}

impl Follower {
    /// Returns the cursor after the newest returned chunk.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.pull.cursor
    }

    /// Reads on a separate task: a stream that is not polled, because its socket accepts nothing,
    /// delays no other reader.
    async fn read(&self) -> Result<Served> {
        let (peer, pull) = (self.peer.clone(), self.pull.clone());
        let mut read = async move { peer.read(&pull).await }.boxed();
        match (&mut read).now_or_never() {
            Some(served) => served,
            None => on_its_own(read).await,
        }
    }

    /// Returns the next chunk as soon as there is something after the cursor, which moves past it;
    /// or a reset, after which the cursor is unchanged. None when the server drains. A chunk may be
    /// empty, if the principal may not see any of its changes.
    ///
    /// While it waits it reads again once a heartbeat: another process may append to the same log,
    /// and the principal's access may change. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The errors of [`AuthenticatedClient::read`].
    pub async fn next(&mut self) -> Result<Option<Served>> {
        let heartbeat = self.peer.server.options().heartbeat;
        loop {
            if *self.draining.borrow_and_update() {
                return Ok(None);
            }
            // The head is noted before the read, so that nothing falls between the read and the
            // sleep.
            let (epoch, head) = *self.head.borrow_and_update();
            // After the newest change there is nothing to read: the next append wakes this.
            let is_at_end =
                std::mem::take(&mut self.goes_on) && is_all(&self.pull.cursor, epoch, head);
            if !is_at_end {
                match self.read().await? {
                    Served::Chunk(chunk) if chunk.chunk().next <= self.pull.cursor.after => {}
                    Served::Chunk(chunk) => {
                        self.goes_on = true;
                        self.pull.cursor = self.pull.cursor.following(chunk.chunk());
                        return Ok(Some(Served::Chunk(chunk)));
                    }
                    reset => return Ok(Some(reset)),
                }
            }
            let woken = async {
                tokio::select! {
                    // The order of the branches does not matter, but it is always the same.
                    biased;
                    _ = self.head.changed() => {}
                    _ = self.draining.changed() => {}
                }
            };
            // Whichever branch ended, the log has the current state.
            let _ = timeout(heartbeat, woken).await;
        }
    }
}
