//! A run in readable form: lanes over time, and the events on them.

use serde::Serialize;

/// The kind of an event, for its display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The app wrote.
    Write,
    /// A message that arrived.
    Message,
    /// A message that did not arrive.
    Lost,
    /// A storage committed a change.
    Stored,
    /// A resolver was called.
    Conflict,
    /// A process or a link ended.
    Down,
    /// A process or a link started.
    Up,
    /// A fault occurred.
    Fault,
    /// An oracle's violation.
    Violation,
}

/// One event on a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TraceEvent {
    /// The time in milliseconds since the beginning.
    pub at: u64,
    /// The lane: 0 is the server, client `n` is `n + 1`.
    pub lane: usize,
    /// The kind.
    pub mark: Mark,
    /// A short description.
    pub text: String,
    /// For a message, when and on which lane it arrived, or would have.
    pub to: Option<(u64, usize)>,
}

/// Both sides of a document that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The document.
    pub document: String,
    /// The state that each lane shows, the server first.
    pub shown: Vec<(String, String)>,
}

/// A run in readable form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The names of the lanes, the server first.
    pub lanes: Vec<String>,
    /// The events, by time.
    pub moments: Vec<TraceEvent>,
    /// The documents at the end of which not all lanes show the same state.
    pub differences: Vec<Difference>,
}
