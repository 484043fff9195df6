//! A run as people look at it: lanes over time, and what happened on them.

use serde::Serialize;

/// What kind of thing happened, for how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The app wrote.
    Write,
    /// A message that arrived.
    Message,
    /// A message that did not arrive.
    Lost,
    /// A storage took something in.
    Stored,
    /// A resolver was asked.
    Conflict,
    /// A process or a link ended.
    Down,
    /// A process or a link began.
    Up,
    /// Something went wrong on purpose.
    Fault,
    /// What an oracle saw.
    Violation,
}

/// One thing on a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When, in milliseconds since the beginning.
    pub at: u64,
    /// The lane: 0 is the server, client `n` is `n + 1`.
    pub lane: usize,
    /// What kind.
    pub mark: Mark,
    /// What, in a few words.
    pub text: String,
    /// For a message: when and on which lane it arrived, or would have.
    pub to: Option<(u64, usize)>,
}

/// Both sides of a document that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The document.
    pub document: String,
    /// What each lane shows of it, the server first.
    pub shown: Vec<(String, String)>,
}

/// A run as people look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The names of the lanes, the server first.
    pub lanes: Vec<String>,
    /// What happened, by time.
    pub moments: Vec<Moment>,
    /// The documents as they are at the end, where not all lanes show the same.
    pub differences: Vec<Difference>,
}
