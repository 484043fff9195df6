//! The messages between clients and the server.

use std::sync::Arc;

use sync_core::engine::{Failure, ScopeGreeting, Ticket};
use sync_core::model::{Chunk, Cursor, PushBatch, ReplicaId, Reset, Scope, Verdicts};
use sync_server::ops::Acknowledgement;

use super::link_conditions::LinkKind;

/// From a client to the server.
#[derive(Clone, Debug)]
pub(super) enum Up {
    Hello { replica: ReplicaId, scopes: Vec<(Scope, Cursor)> },
    Pull { scope: Scope, cursor: Cursor },
    Push(PushBatch),
    Ack { scope: Scope, ack: Acknowledgement },
    Live { scope: Scope, cursor: Cursor },
    Credit(u32),
    EndLive,
    Ping(u64),
    Pong,
}

/// From the server to a client.
#[derive(Clone, Debug)]
pub(super) enum Down {
    Welcome { time: u64, scopes: Vec<ScopeGreeting> },
    Chunk(Arc<Chunk>),
    Reset(Reset),
    Verdicts(Verdicts),
    Acknowledged(Option<Reset>),
    Failed(Failure),
    Ping,
    Pong,
}

impl Up {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Pull { .. } => "pull",
            Self::Push(_) => "push",
            Self::Ack { .. } => "ack",
            Self::Live { .. } => "live",
            Self::Credit(_) => "credit",
            Self::EndLive => "end live",
            Self::Ping(_) => "ping",
            Self::Pong => "pong",
        }
    }

    /// Returns whether it is a heartbeat and nothing else.
    pub(super) fn is_heartbeat(&self) -> bool {
        matches!(self, Self::Ping(_) | Self::Pong)
    }

    /// Describes it in words.
    pub(super) fn tell(&self) -> String {
        match self {
            Self::Hello { scopes, .. } => {
                let at: Vec<_> = scopes.iter().map(|(s, c)| format!("{s}@{}", c.after)).collect();
                format!("hello {}", at.join(" "))
            }
            Self::Pull { cursor, .. } => format!("pull after {}", cursor.after),
            Self::Live { cursor, .. } => format!("live after {}", cursor.after),
            Self::Push(batch) => {
                let ids: Vec<_> = batch.changes.iter().map(|c| c.id.to_string()).collect();
                format!("push {} [{}]", batch.id, ids.join(" "))
            }
            Self::Ack { ack, .. } => format!("ack {}", ack.seq),
            other => other.name().to_owned(),
        }
    }
}

impl Down {
    pub(super) fn is_heartbeat(&self) -> bool {
        matches!(self, Self::Ping | Self::Pong)
    }

    /// Returns whether it is the answer to a request.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Verdicts(_) | Self::Acknowledged(_) | Self::Chunk(_))
    }

    /// Describes it in words.
    pub(super) fn tell(&self) -> String {
        match self {
            Self::Welcome { scopes, .. } => {
                let heads: Vec<_> =
                    scopes.iter().map(|s| format!("{}@{}", s.scope, s.head)).collect();
                format!("welcome {}", heads.join(" "))
            }
            Self::Chunk(chunk) => {
                let ids: Vec<_> = chunk.entries.iter().map(|e| e.id.to_string()).collect();
                format!("chunk {}..{} [{}]", chunk.after, chunk.next, ids.join(" "))
            }
            Self::Reset(reset) => format!("reset {:?}", reset.reason),
            Self::Verdicts(Verdicts::Decided { verdicts, .. }) => {
                let kinds = verdicts.iter().map(|v| format!("{}@{}", kind_of(&v.kind), v.seq));
                format!("verdicts {}", kinds.collect::<Vec<_>>().join(" "))
            }
            Self::Verdicts(other) => format!("verdicts {other:?}"),
            Self::Acknowledged(None) => "acknowledged".to_owned(),
            Self::Acknowledged(Some(reset)) => format!("acknowledged, reset {:?}", reset.reason),
            Self::Failed(failure) => format!("failed {:?}", failure.kind),
            Self::Ping => "ping".to_owned(),
            Self::Pong => "pong".to_owned(),
        }
    }
}

fn kind_of(kind: &sync_core::model::VerdictKind) -> &'static str {
    use sync_core::model::VerdictKind::{Accepted, Conflict, Merged, Rejected, Superseded};
    match kind {
        Accepted => "accepted",
        Superseded => "superseded",
        Merged => "merged",
        Conflict => "conflict",
        Rejected(_) => "rejected",
    }
}

/// A connection, by number; the two sides may disagree on whether it exists.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) kind: LinkKind,
    pub(super) ticket: Ticket,
    /// Whether the client still uses it.
    pub(super) is_open: bool,
    /// When the newest message of each direction arrives. A stream keeps its order.
    pub(super) arrives: [u64; 2],
}
