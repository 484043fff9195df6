//! The engine: a pure state machine that decides what a replica does next.
//!
//! The caller passes facts to [`Engine::handle_input`], and takes commands from
//! [`Engine::poll_output`] until there are none. The engine spawns no task, reads no clock and
//! draws no randomness: each fact carries the time, and jitter comes from a seed. Payloads stay
//! with the caller, which executes the commands; the engine names them by [`Ticket`].
//!
//! ```text
//!              Input (facts)                                Output (commands)
//!   connected, pulled, applied,   ┌───────────────────┐   connect, pull, subscribe,
//!   formed, pushed, settled, ───► │ session           │ ─► apply, form a batch, push,
//!   reset done, outbox grew,      │  └─ scope: pull   │    settle, reset, tell the app
//!   link lost, tick               │            push   │
//!                                 └───────────────────┘
//! ```
//!
//! ```text
//!   session: Idle ─► Connecting ─► Online ─► (link lost) ─► BackingOff ─► Connecting …
//!   pull:    Idle ─► CatchingUp ─► Live          push:  Idle ─► Forming ─► InFlight ─► Settling ─► Forming …
//! ```
//!
//! **Nothing repeats without progress.** An exchange after which no measure moved is a failed
//! attempt: it is counted, reported ([`Event::Stalled`], [`Event::Disconnected`]), and the next one
//! waits longer each time. Only the loop's own measure ends the series, or an attempt that lasts
//! longer than the longest delay.
//!
//! | Loop | Kept alive by | Measure | Without it |
//! |---|---|---|---|
//! | connect, greet, lose the link | the link, the server | the position, settled edits | session backs off |
//! | push a batch that is cut with its link | the link, the server | settled edits | push pauses, pull continues |
//! | push, settle, push again | verdicts that leave an edit as it was | settled edits | push pauses, pull continues |
//! | recall a batch, form a smaller one | the server | settled edits; one recall is free | push pauses |
//! | pull that is cut with its link | the link, the server | the position | pull pauses, push continues |
//! | chunk out of place, refused by the storage, or empty before the head | the server, the storage | the position; one repetition is free | pull pauses |
//! | live stream that fails or delivers nothing | the server | the position | pull pauses |
//! | reset, pull, reset again | the server, the storage | time: a reset moves the position back; one is free | pull pauses |
//! | another identity, greet, another identity | the server | settled edits; one is free | session backs off |
//! | a scope is removed, access is given back | the server, the storage | each needs a greeting | session backs off |
//! | permission denied, greet, denied again | the server | one doubt is free | the scope is refused |
//! | acknowledge, moved, acknowledge again | the log | the position | ends |
//! | form a batch, none, form again | local writes | writes | ends |
//!
//! **How much one exchange carries** follows the link (see `unit`): batches and chunks begin small,
//! grow with quick exchanges, and shrink when one is interrupted, late or refused by its size. A
//! batch that became too large is recalled and formed smaller; one that cannot get smaller and is
//! refused by its size goes to the quarantine. Deadlines move while bytes do.
//!
//! The engine's memory changes only after the storage has confirmed a commit. The caller executes
//! the commands in a loop:
//!
//! ```
//! use sync_core::clock::Instant;
//! use sync_core::engine::{Engine, EngineOptions, Goal, Input, Output};
//! use sync_core::model::{Checkpoint, Scope};
//!
//! let mut engine = Engine::new(EngineOptions::default(), 42);
//! let scope = Scope::default();
//! engine.handle_input(Instant(0), Input::Opened { scope, checkpoint: Checkpoint::default() });
//! engine.handle_input(Instant(0), Input::Run(Goal::default()));
//! while let Some(output) = engine.poll_output() {
//!     // Execute the command; when it is done, pass the result as another input.
//!     assert!(matches!(output, Output::Connect { .. } | Output::Emit(_)));
//! }
//! // Sleep until something happens, at the latest until this deadline; then pass `Input::Tick`.
//! assert!(engine.next_deadline().is_some());
//! ```

mod acknowledge;
mod direction;
mod event;
mod io;
mod pull;
mod push;
mod retry;
mod session;
mod unit;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Instant;
use crate::model::Scope;

pub use direction::Direction;
pub use event::{Event, Phase, Progress, ScopeProgress};
pub use io::{
    Answer, BatchMeta, ChunkMeta, Delivery, Failure, Input, Output, ScopeGreeting, Settlement,
    Ticket,
};
pub use retry::RetryPolicy;

use pull::PullMachine;
use push::PushMachine;
use retry::{Backoff, Chance};
use session::LinkState;

/// The goal of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Goal {
    /// Push local edits.
    pub push: bool,
    /// Pull the server's changes.
    pub pull: bool,
    /// Stay and follow live, instead of being done at the head.
    pub live: bool,
}

impl Default for Goal {
    /// Push, pull and stay.
    fn default() -> Self {
        Self { push: true, pull: true, live: true }
    }
}

impl Goal {
    /// Push and pull until in sync.
    pub const ONCE: Self = Self { push: true, pull: true, live: false };
}

/// Bounds and times of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Chunks that may wait while one is applied.
    pub depth: usize,
    /// Bytes of chunks that may wait or be applied; one chunk always may.
    pub window_bytes: usize,
    /// How failures are retried.
    pub retry: RetryPolicy,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a pull or a push may take while no bytes of it move.
    pub request_timeout: Duration,
    /// How much the first push batches hold, in bytes. The limit follows the link from there.
    pub first_push_bytes: usize,
    /// How much the first chunks that are pulled hold, in bytes, likewise.
    pub first_pull_bytes: usize,
    /// Whether a scope that was pulled before is removed from the device when the server's greeting
    /// reports that it may not be seen any more.
    pub forget_revoked: bool,
}

impl Default for EngineOptions {
    /// Two chunks ahead within 16 MiB, 15 s to connect, 60 s for a request, batches from 128 KiB
    /// and chunks from 256 KiB on; revoked scopes are removed.
    fn default() -> Self {
        Self {
            depth: 2,
            window_bytes: 16 << 20,
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(60),
            first_push_bytes: 128 << 10,
            first_pull_bytes: 256 << 10,
            forget_revoked: true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ScopeMachine {
    pull: PullMachine,
    push: PushMachine,
}

impl ScopeMachine {
    /// Returns whether pulling or pushing was stopped, because a retry cannot succeed.
    fn is_refused(&self) -> bool {
        self.pull.refusal().or(self.push.refusal()).is_some()
    }
}

/// The state machine. `Clone + Eq + Hash`, without payloads: a model checker can explore it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Engine {
    options: EngineOptions,
    goal: Goal,
    session: LinkState,
    scopes: BTreeMap<Scope, ScopeMachine>,
    /// The attempts to connect since a measure moved.
    backoff: Backoff,
    /// Whether a new identity is being taken.
    reidentifying: bool,
    /// The identities that were taken since an edit was settled; a position that moves is no
    /// progress for them.
    identities: Backoff,
    chance: Chance,
    last_ticket: u64,
    outputs: VecDeque<Output>,
    told_in_sync: bool,
}

impl Engine {
    /// Makes an engine at rest. The seed is for the jitter of retries.
    #[must_use]
    pub fn new(options: EngineOptions, seed: u64) -> Self {
        Self {
            options,
            goal: Goal::default(),
            session: LinkState::Idle,
            scopes: BTreeMap::new(),
            backoff: Backoff::default(),
            reidentifying: false,
            identities: Backoff::default(),
            chance: Chance::new(seed),
            last_ticket: 0,
            outputs: VecDeque::new(),
            told_in_sync: false,
        }
    }

    /// Returns a new ticket, to name a payload.
    pub fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Returns the next command; none when all commands were returned.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when `Input::Tick` is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        // Without a connection nothing of a scope can be tried again, however long its own wait is
        // over.
        let online = self.connection().is_some();
        let scopes = self.scopes.values().filter(|_| online);
        let scopes = scopes.flat_map(|s| [s.pull.deadline(), s.push.deadline()]);
        scopes.chain([self.session.deadline()]).flatten().min()
    }

    /// Returns when a scope whose last attempt failed is tried again; none while an attempt is
    /// under way, and if no retry is scheduled before the caller, the token or the access changes.
    #[must_use]
    pub fn next_attempt(&self, scope: &Scope) -> Option<Instant> {
        match self.session {
            LinkState::BackingOff { until } => Some(until),
            LinkState::Online { .. } => {
                let machine = self.scopes.get(scope)?;
                [machine.pull.pause(), machine.push.pause()].into_iter().flatten().min()
            }
            LinkState::Idle | LinkState::Connecting { .. } | LinkState::Refused(_) => None,
        }
    }

    /// Handles a fact. Facts about requests that are not pending any more change nothing.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Opened { scope, checkpoint } => self.handle_opened(now, scope, checkpoint),
            Input::Run(goal) => self.handle_run(now, goal),
            Input::Stop => self.handle_stop(),
            Input::Connected { ticket, scopes, last_push } => {
                self.handle_connected(now, ticket, scopes, last_push);
            }
            Input::LinkLost { ticket, failure } => self.handle_link_lost(now, ticket, failure),
            Input::Delivered { scope, ticket, payload, result } => {
                self.handle_delivered(now, &scope, ticket, payload, result);
            }
            Input::Applied { scope, payload, result } => {
                self.handle_applied(now, &scope, payload, result);
            }
            Input::NextBatch { scope, result } => self.handle_formed(now, &scope, result),
            Input::Pushed { scope, ticket, result } => {
                self.handle_pushed(now, &scope, ticket, result);
            }
            Input::Settled { scope, result } => self.handle_settled(now, &scope, result),
            Input::Acknowledged { scope, ticket, result } => {
                self.handle_acknowledged(now, &scope, ticket, result);
            }
            Input::ResetDone { scope, result } => self.handle_reset_done(now, &scope, result),
            Input::Forgotten { scope, result } => self.handle_forgotten(now, &scope, result),
            Input::Reidentified { result } => self.handle_reidentified(now, result),
            Input::OutboxGrew { scope } => self.handle_outbox_grew(&scope),
            Input::Transferred { up, down } => self.handle_transferred(now, up, down),
            Input::Tick => self.handle_tick(now),
        }
        self.tell_if_in_sync();
    }

    /// Returns the current state of the sync.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let phase = match &self.session {
            LinkState::Idle | LinkState::Refused(_) => Phase::Stopped,
            LinkState::BackingOff { .. } => Phase::Offline,
            LinkState::Connecting { .. } => Phase::Connecting,
            LinkState::Online { .. } if self.is_in_sync() => Phase::InSync,
            LinkState::Online { .. } => Phase::Syncing,
        };
        let scopes = self.scopes.iter().map(|(scope, m)| (scope.clone(), m.pull.progress()));
        let of_scopes = self.scopes.values().find_map(|m| m.pull.refusal().or(m.push.refusal()));
        let refused = self.session.refusal().or(of_scopes);
        Progress { phase, scopes: scopes.collect(), refused }
    }

    /// Returns whether everything that the goal requires is done, as far as the engine knows.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        let goal = self.goal;
        matches!(self.session, LinkState::Online { .. })
            && self.scopes.values().all(|s| {
                let refused = s.is_refused();
                let seen = s.push.settled_up_to();
                let pulled = s.pull.is_at_head(seen) && (goal.live || s.pull.is_acknowledged());
                !refused && (!goal.pull || pulled) && (!goal.push || s.push.is_empty())
            })
    }

    fn tell_if_in_sync(&mut self) {
        let in_sync = self.is_in_sync();
        if in_sync && !self.told_in_sync {
            self.tell(Event::InSync);
        }
        self.told_in_sync = in_sync;
    }

    fn out(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn tell(&mut self, event: Event) {
        self.out(Output::Emit(event));
    }

    fn connection(&self) -> Option<Ticket> {
        match self.session {
            LinkState::Online { ticket } => Some(ticket),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
