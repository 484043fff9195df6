//! Plans: a setting, and all events, as data.
//!
//! A plan replays to the byte. Events beside the plan (how long a message takes, whether a bad
//! network loses it) are a function of the seed, the client and the time, so that removing one
//! action from a plan changes no other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sync_core::engine::Direction;
use sync_core::model::Body;
use sync_core::resolver::ConflictResolver;

use crate::resolvers::ResolverKind;

/// The setting of a whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The seed of all randomness.
    pub seed: u64,
    /// The number of devices.
    pub clients: usize,
    /// The number of scopes. Client `n` follows scope `n` modulo this, and every third client the
    /// next scope too.
    pub scopes: usize,
    /// The number of documents in each scope.
    pub documents: usize,
    /// How long the plan's actions last, in milliseconds. Healing follows.
    pub millis: u64,
    /// The resolver that decides conflicts.
    pub resolver: Decider,
    /// Whether every second document is in a collection that the server resolves.
    pub on_server: bool,
    /// Whether the server rejects some writes.
    pub refusals: bool,
    /// Every how many clients one sends single requests, as over HTTP, instead of a stream of
    /// frames; 0 for none.
    pub requests_every: usize,
    /// The largest number of documents in a push batch.
    pub push: usize,
    /// The largest number of documents in a chunk.
    pub chunk: usize,
    /// The heartbeat of connections, in milliseconds.
    pub heartbeat: u64,
    /// The shortest time that a message takes, in milliseconds.
    pub latency: u64,
    /// The most that is added to that time.
    pub jitter: u64,
    /// The largest batch that reaches the server, in bytes, until the end of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<usize>,
    /// The number of collections that the documents are spread over, beside the one that the server
    /// resolves.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub collections: usize,
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
fn is_one(count: &usize) -> bool {
    *count == 1
}

/// The resolver that decides conflicts in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Decider {
    /// One of the resolvers of the framework or of the testkit.
    Kind(ResolverKind),
    /// The resolver that the simulation was given. Only a simulation that is given one can replay
    /// the plan.
    Given {
        /// Its name.
        given: String,
    },
}

impl Decider {
    /// Returns whether the later edit wins.
    pub(super) fn is_last_write_wins(&self) -> bool {
        matches!(self, Self::Kind(ResolverKind::LastWriteWins))
    }

    /// Returns the resolver, as far as the plan determines it: last-write-wins for a given one.
    pub(super) fn known(&self) -> Arc<dyn ConflictResolver> {
        match self {
            Self::Kind(kind) => kind.resolver(),
            Self::Given { .. } => ResolverKind::LastWriteWins.resolver(),
        }
    }
}

/// An action with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The time in milliseconds since the beginning.
    pub at: u64,
    /// The action.
    #[serde(flatten)]
    pub what: What,
}

/// An action. Clients, scopes and documents are named by numbers that wrap around.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "the fields are whom it concerns, how long, and what chance is derived from"
)]
pub enum What {
    /// The app writes a document.
    Put { client: usize, document: usize, salt: u64 },
    /// The app writes this JSON text as a document, in the first of its scopes.
    Set { client: usize, document: usize, body: String },
    /// The app deletes a document, if it exists.
    Delete { client: usize, document: usize },
    /// The app erases a document, if it exists or has a tombstone.
    Erase { client: usize, document: usize },
    /// The app writes or deletes several documents in one transaction.
    Transaction { client: usize, salt: u64 },
    /// The app decides deferred conflicts and quarantined edits.
    Decide { client: usize, salt: u64 },
    /// Messages are lost, doubled and late.
    BadNetwork { client: usize, millis: u64, loss: u8, duplicate: u8, reorder: u8 },
    /// Bits are flipped.
    Flips { client: usize, millis: u64, percent: u8 },
    /// Every message takes longer.
    Delay { client: usize, millis: u64, by: u64 },
    /// No message arrives in one direction or in both, and no error is reported.
    Silence { client: usize, millis: u64, to_server: bool, to_client: bool },
    /// Clients are cut off from the server, together.
    Partition { clients: Vec<usize>, millis: u64 },
    /// The connection breaks; messages to the server may still arrive.
    Cut { client: usize },
    /// The connection breaks again and again.
    Flap { client: usize, times: u8, every: u64 },
    /// The client reads its messages slowly.
    SlowReader { client: usize, millis: u64 },
    /// The server handles requests, and its answers are lost.
    LoseAnswers { client: usize, millis: u64 },
    /// The app's process crashes, and starts again.
    Crash { client: usize, millis: u64, power: bool, salt: u64 },
    /// The app's process crashes just after its next commit, before the commit's result.
    CrashAfterCommit { client: usize, millis: u64, power: bool, salt: u64 },
    /// The app's process is not scheduled.
    Pause { client: usize, millis: u64 },
    /// A second process takes the engine over while the first one still runs.
    DoubleStart { client: usize },
    /// The app stops the sync, and starts it again.
    Offline { client: usize, millis: u64 },
    /// Commits of a device fail.
    DiskErrors { client: usize, commits: u32 },
    /// The disk of a device is slow.
    SlowDisk { client: usize, millis: u64, by: u64 },
    /// A device's clock jumps.
    Jump { client: usize, to: i64 },
    /// A device's clock stands still.
    Freeze { client: usize, millis: u64 },
    /// The server stops, and starts again.
    RestartServer { millis: u64, power: bool, salt: u64 },
    /// Commits of the server fail.
    ServerDiskErrors { commits: u32 },
    /// The server is backed up.
    Backup,
    /// The server is restored from its newest backup, with an announcement.
    Restore,
    /// The server is restored from its newest backup without an announcement.
    RestoreSilently,
    /// The server's clock jumps.
    ServerJump { to: i64 },
    /// Another process answers for a while, which writes the same log.
    OtherServer { millis: u64 },
    /// Tombstones are purged, up to that part in 100 of the log.
    Purge { scope: usize, percent: u8 },
    /// The server, or a gateway, refuses a client's requests.
    Refuse { client: usize, millis: u64, how: Refusal },
    /// Access of a client to a scope is revoked for a while.
    Revoke { client: usize, scope: usize, millis: u64 },
    /// The app requests a reset.
    RequestReset { client: usize },
    /// A device is copied with everything on it; the copy replaces another device.
    Clone { from: usize, to: usize },
    /// A device loses everything on it.
    Wipe { client: usize },
    /// The link of a client carries that many bytes in a second.
    Rate { client: usize, millis: u64, rate: u64 },
    /// A client that is none of the others, and breaks the protocol, sends some messages.
    Stranger { messages: u8, requests: bool, salt: u64 },
    /// The files of a device are copied, and the copy is kept.
    KeepCopy { client: usize },
    /// A device is restored from the newest copy of its files.
    PutBack { client: usize },
    /// The app opens its replica again with a direction, and after that time with both.
    Direct { client: usize, direction: Direction, millis: u64 },
    /// The app opens its replica again and chooses the collections of a scope that it syncs; all of
    /// them if there are none.
    Choose { client: usize, scope: usize, collections: Option<Vec<usize>> },
    /// Access of a client to some collections of a scope is revoked for a while.
    Hide { client: usize, scope: usize, collections: Vec<usize>, millis: u64 },
}

/// How a server refuses requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// 401: the token is not valid.
    Unauthenticated,
    /// 403: the request is not allowed.
    Forbidden,
    /// 429: retry later.
    TooMany,
    /// 503: the server has failed.
    Unavailable,
    /// The link breaks whenever a batch is pushed.
    CutPushes,
    /// The link breaks whenever a chunk is requested.
    CutPulls,
    /// Every edit is rejected for its stamp.
    Clock,
    /// Every batch is rejected as another replica's.
    Cloned,
    /// Chunks begin at a position that was not requested.
    Misplaced,
}

/// A setting and actions, in the order of their times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The setting.
    pub setting: Setting,
    /// The actions.
    pub actions: Vec<Action>,
}

impl Plan {
    /// Returns the plan as JSON, one action a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let line = |value: &dyn erased::Json| value.json();
        let actions: Vec<String> = self.actions.iter().map(|a| line(a)).collect();
        let actions = actions.join(",\n  ");
        format!("{{\"setting\": {},\n\"actions\": [\n  {actions}\n]}}\n", line(&self.setting))
    }

    /// Reads a plan from JSON.
    ///
    /// # Errors
    /// The error in the text, and its place.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let plan: Self = serde_json::from_str(text)?;
        for action in &plan.actions {
            if let What::Set { body, .. } = &action.what {
                let read = Body::parse(body.clone());
                read.map_err(|e| serde::de::Error::custom(format!("at {}: {e}", action.at)))?;
            }
        }
        Ok(plan)
    }
}

mod erased {
    /// A value that becomes one line of JSON.
    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            // Plans are numbers, names and lists, whose serialization cannot fail.
            serde_json::to_string(self).unwrap_or_default()
        }
    }
}

/// Selects the number of the client that an action concerns most, if there is one: `&usize` or
/// `&mut usize`, as the action is.
macro_rules! whom {
    ($what:expr) => {
        match $what {
            What::Put { client, .. }
            | What::Set { client, .. }
            | What::Delete { client, .. }
            | What::Erase { client, .. }
            | What::Transaction { client, .. }
            | What::Decide { client, .. }
            | What::BadNetwork { client, .. }
            | What::Flips { client, .. }
            | What::Delay { client, .. }
            | What::Silence { client, .. }
            | What::Cut { client }
            | What::Flap { client, .. }
            | What::SlowReader { client, .. }
            | What::LoseAnswers { client, .. }
            | What::Crash { client, .. }
            | What::CrashAfterCommit { client, .. }
            | What::Pause { client, .. }
            | What::DoubleStart { client }
            | What::Offline { client, .. }
            | What::DiskErrors { client, .. }
            | What::SlowDisk { client, .. }
            | What::Jump { client, .. }
            | What::Freeze { client, .. }
            | What::Refuse { client, .. }
            | What::Revoke { client, .. }
            | What::RequestReset { client }
            | What::Clone { to: client, .. }
            | What::Wipe { client }
            | What::Rate { client, .. }
            | What::KeepCopy { client }
            | What::PutBack { client }
            | What::Direct { client, .. }
            | What::Choose { client, .. }
            | What::Hide { client, .. } => Some(client),
            What::Stranger { .. }
            | What::Partition { .. }
            | What::RestartServer { .. }
            | What::ServerDiskErrors { .. }
            | What::Backup
            | What::Restore
            | What::RestoreSilently
            | What::ServerJump { .. }
            | What::OtherServer { .. }
            | What::Purge { .. } => None,
        }
    };
}

impl What {
    /// Returns the client that it concerns most; none for an action on the server.
    #[must_use]
    pub fn client(&self) -> Option<usize> {
        match self {
            Self::Partition { clients, .. } => clients.first().copied(),
            what => whom!(what).copied(),
        }
    }

    /// Renumbers the clients.
    pub(super) fn renumber(&mut self, number: impl Fn(&mut usize)) {
        match self {
            Self::Partition { clients, .. } => clients.iter_mut().for_each(number),
            Self::Clone { from, to } => {
                number(from);
                number(to);
            }
            what => whom!(what).into_iter().for_each(number),
        }
    }

    /// Returns whether the action is one of an app, and not a fault.
    #[must_use]
    pub fn is_work(&self) -> bool {
        use What::{Decide, Delete, Erase, Put, Set, Transaction};
        matches!(
            self,
            Put { .. }
                | Set { .. }
                | Delete { .. }
                | Erase { .. }
                | Transaction { .. }
                | Decide { .. }
        )
    }
}
