//! The strategies that need only the two states.

use super::{Conflict, ConflictResolver, Resolution};
use crate::error::Result;

/// The edit that was written later wins, by hybrid logical clock, then by replica id. The clocks of
/// the writers are bounded by the server, so that a device with a wrong clock does not win for
/// ever.
///
/// If the server has no trace of the document any more, any edit wins: the time of the deletion is
/// unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastWriteWins;

impl ConflictResolver for LastWriteWins {
    fn name(&self) -> &str {
        "last-write-wins"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        Ok(if conflict.local_is_later() { Resolution::Local } else { Resolution::Remote })
    }
}

/// The state that the server settled first wins.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerWins;

impl ConflictResolver for ServerWins {
    fn name(&self) -> &str {
        "server-wins"
    }

    fn resolve(&self, _: &Conflict<'_>) -> Result<Resolution> {
        Ok(Resolution::Remote)
    }
}

/// The replica's edit wins, whatever the server's state is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientWins;

impl ConflictResolver for ClientWins {
    fn name(&self) -> &str {
        "client-wins"
    }

    fn resolve(&self, _: &Conflict<'_>) -> Result<Resolution> {
        Ok(Resolution::Local)
    }
}
