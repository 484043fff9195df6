//! The connection: how it is made, lost and made again.

use super::pull::PullMachine;
use super::push::PushMachine;
use super::{Engine, Event, Failure, Goal, Output, ScopeGreeting, ScopeMachine, Ticket};
use crate::clock::Instant;
use crate::error::{ErrorKind, Retry};
use crate::model::{Checkpoint, PushId, Scope};

/// The number of bytes within the time of a request that counts as progress.
const GETS_ON: u64 = 4 << 10;

/// Whether there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LinkState {
    /// No connection is wanted.
    Idle,
    /// The connection is being made.
    Connecting { ticket: Ticket, deadline: Instant },
    /// The connection is open.
    Online { ticket: Ticket },
    /// It failed, and is made again at that time.
    BackingOff { until: Instant },
    /// It was refused, and trying again cannot help.
    Refused(ErrorKind),
}

impl LinkState {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Connecting { deadline, .. } => Some(*deadline),
            Self::BackingOff { until } => Some(*until),
            Self::Idle | Self::Online { .. } | Self::Refused(_) => None,
        }
    }

    pub(super) fn refusal(&self) -> Option<ErrorKind> {
        match self {
            Self::Refused(kind) => Some(*kind),
            _ => None,
        }
    }
}

impl Engine {
    pub(super) fn handle_opened(&mut self, now: Instant, scope: Scope, checkpoint: Checkpoint) {
        let (pull, push) = (self.options.first_pull_bytes, self.options.first_push_bytes);
        let machine =
            ScopeMachine { pull: PullMachine::new(checkpoint, pull), push: PushMachine::new(push) };
        self.scopes.insert(scope, machine);
        // The greeting names all scopes, so a scope that is added later needs another one.
        if let LinkState::Online { ticket } | LinkState::Connecting { ticket, .. } = self.session {
            self.drop_link(ticket);
            self.connect(now);
        }
    }

    pub(super) fn handle_run(&mut self, now: Instant, goal: Goal) {
        self.goal = goal;
        self.told_in_sync = false;
        for machine in self.scopes.values_mut() {
            machine.pull.end_pause();
            machine.push.end_pause();
        }
        match self.session {
            LinkState::Idle | LinkState::BackingOff { .. } | LinkState::Refused(_) => {
                self.connect(now)
            }
            LinkState::Connecting { .. } => {}
            // The access may have changed: a new greeting shows whether the scope is served now.
            LinkState::Online { ticket } if self.scopes.values().any(ScopeMachine::is_refused) => {
                self.drop_link(ticket);
                self.connect(now);
            }
            LinkState::Online { .. } => {
                // The caller requests the current state, not that of the last chunk which the
                // stream delivered.
                for (scope, machine) in &mut self.scopes {
                    machine.pull.look_again(scope, goal.live, &mut self.outputs);
                }
                self.resume_scopes(now);
            }
        }
    }

    pub(super) fn handle_stop(&mut self) {
        if let LinkState::Online { ticket } | LinkState::Connecting { ticket, .. } = self.session {
            self.drop_link(ticket);
        }
        self.session = LinkState::Idle;
    }

    fn connect(&mut self, now: Instant) {
        let ticket = self.ticket();
        self.session =
            LinkState::Connecting { ticket, deadline: now.plus(self.options.connect_timeout) };
        let scopes = self.scopes.keys().cloned().collect();
        self.out(Output::Connect { ticket, scopes });
    }

    pub(super) fn handle_connected(
        &mut self,
        now: Instant,
        ticket: Ticket,
        greetings: Vec<ScopeGreeting>,
        last_push: PushId,
    ) {
        if !matches!(self.session, LinkState::Connecting { ticket: t, .. } if t == ticket) {
            self.out(Output::Disconnect { ticket });
            return;
        }
        self.session = LinkState::Online { ticket };
        self.tell(Event::Connected);
        for machine in self.scopes.values_mut() {
            // A pause that was over before the connection was made delays nothing.
            machine.pull.wake(now);
            machine.push.wake(now);
        }
        if greetings.iter().any(|g| g.last_push > last_push) {
            // The server remembers a batch that this replica never formed: its file was copied or
            // restored.
            self.reidentify();
        }
        let unseen = |s: &&Scope| !greetings.iter().any(|g| g.scope == **s);
        for scope in self.scopes.keys().filter(unseen).cloned().collect::<Vec<_>>() {
            self.begin_forgetting(&scope);
            self.refuse_scope(&scope, ErrorKind::PermissionDenied);
        }
        for greeting in greetings {
            if let Some(machine) = self.scopes.get_mut(&greeting.scope) {
                machine.push.epoch = Some(greeting.epoch);
                if machine.pull.take_greeting(&greeting) && self.goal.pull {
                    self.acknowledge(&greeting.scope);
                }
                if let Some(reset) = greeting.reset {
                    self.take_reset(now, &greeting.scope, reset);
                }
            }
        }
        self.resume_scopes(now);
    }

    fn refuse_scope(&mut self, scope: &Scope, kind: ErrorKind) {
        if let Some(machine) = self.scopes.get_mut(scope) {
            machine.pull.refuse(kind);
        }
        self.refuse_push(scope, kind);
        self.tell(Event::ScopeRefused(scope.clone(), kind));
    }

    pub(super) fn resume_scopes(&mut self, now: Instant) {
        let scopes: Vec<Scope> = self.scopes.keys().cloned().collect();
        for scope in scopes {
            if !self.begin_owed_reset(&scope) {
                self.advance_pull(now, &scope);
            }
            self.form(&scope);
        }
    }

    /// Handles the failure of the link: everything that was pending on it fails at once.
    pub(super) fn handle_link_lost(&mut self, now: Instant, ticket: Ticket, failure: Failure) {
        self.end_link(now, ticket, failure, false);
    }

    /// The same; `blamed` is whether a request that failed before is to blame.
    fn end_link(&mut self, now: Instant, ticket: Ticket, failure: Failure, blamed: bool) {
        let is_ours = match self.session {
            LinkState::Connecting { ticket: t, .. } | LinkState::Online { ticket: t } => {
                t == ticket
            }
            _ => false,
        };
        if !is_ours {
            return;
        }
        let blamed = self.blame_requests(now, failure) || blamed;
        self.drop_link(ticket);
        self.tell(Event::Disconnected(failure));
        if failure.retry == Retry::Never || !self.options.retry.enabled {
            self.session = LinkState::Refused(failure.kind);
            self.tell(Event::Refused(failure.kind));
            return;
        }
        if blamed {
            // The link worked until then: the request waits longer each time, and delays nothing
            // else.
            self.backoff.success();
        }
        let until = self.backoff.failure(now, failure.retry, &self.options.retry, &mut self.chance);
        self.session = LinkState::BackingOff { until };
    }

    /// Counts a failed attempt for each request that was pending when a link was lost. Returns
    /// whether there was any.
    fn blame_requests(&mut self, now: Instant, failure: Failure) -> bool {
        let (policy, chance) = (&self.options.retry, &mut self.chance);
        let mut blamed = false;
        for machine in self.scopes.values_mut() {
            let pulls = machine.pull.awaits_answer();
            blamed |= machine.push.blame(now, failure, pulls, policy, chance);
            blamed |= machine.pull.blame(now, failure, policy, chance);
        }
        blamed
    }

    /// Drops a connection and its pending requests.
    pub(super) fn drop_link(&mut self, ticket: Ticket) {
        self.out(Output::Disconnect { ticket });
        for (scope, machine) in &mut self.scopes {
            machine.pull.lose_link(scope, &mut self.outputs);
            machine.push.lose_link();
        }
    }

    /// Returns whether a failure of one request on a working connection ends it, by its retry
    /// advice. A token that is not valid any more is invalid for the whole connection, whichever
    /// scope's request failed.
    pub(super) fn needs_new_link(failure: &Failure) -> bool {
        failure.retry == Retry::Reconnect || failure.kind == ErrorKind::Unauthenticated
    }

    /// Takes another identity; only once, however many answers report the need.
    pub(super) fn reidentify(&mut self) {
        if !std::mem::replace(&mut self.reidentifying, true) {
            self.out(Output::Reidentify);
        }
    }

    pub(super) fn handle_reidentified(&mut self, now: Instant, result: Result<(), Failure>) {
        if !std::mem::take(&mut self.reidentifying) {
            return;
        }
        if let Err(failure) = result {
            return self.lose_link_to(now, failure);
        }
        self.tell(Event::Reidentified);
        for machine in self.scopes.values_mut() {
            machine.push.rename();
        }
        // The greeting carried the old identity.
        let (LinkState::Online { ticket } | LinkState::Connecting { ticket, .. }) = self.session
        else {
            return;
        };
        self.drop_link(ticket);
        // If the one before this did not bring the sync further either, another one is no remedy.
        let policy = &self.options.retry;
        let is_first = self.identities.is_fresh(now, policy);
        let later = Retry::Later(None);
        let until = self.identities.failure(now, later, policy, &mut self.chance);
        if is_first {
            return self.connect(now);
        }
        let failure = Failure { kind: ErrorKind::Superseded, retry: later };
        self.session = match policy.enabled {
            true => LinkState::BackingOff { until },
            false => LinkState::Refused(failure.kind),
        };
        self.tell(Event::Disconnected(failure));
    }

    /// Ends the connection for a local reason: it is made again later.
    pub(super) fn lose_link_to(&mut self, now: Instant, failure: Failure) {
        self.lose_blamed_link(now, failure, false);
    }

    /// The same; `blamed` is whether a request that failed is to blame.
    pub(super) fn lose_blamed_link(&mut self, now: Instant, failure: Failure, blamed: bool) {
        if let Some(ticket) = self.connection() {
            self.end_link(now, ticket, failure, blamed);
        }
    }

    /// Bytes moved: a request in progress is not overdue, however slow the link is. Heartbeats
    /// alone are too few.
    pub(super) fn handle_transferred(&mut self, now: Instant, up: u64, down: u64) {
        let until = now.plus(self.options.request_timeout);
        for machine in self.scopes.values_mut() {
            if up >= GETS_ON {
                machine.push.bytes_moved(until);
            }
            if down >= GETS_ON {
                machine.pull.bytes_moved(until);
            }
        }
    }

    /// Returns whether a request is overdue. The caller that executes the commands first passes
    /// what [moved](super::Input::Transferred), and then that time passed.
    #[must_use]
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.scopes.values().any(|s| s.pull.is_overdue(now) || s.push.is_overdue(now))
    }

    pub(super) fn handle_tick(&mut self, now: Instant) {
        let timeout = Failure { kind: ErrorKind::Timeout, retry: Retry::Reconnect };
        match self.session {
            LinkState::BackingOff { until } if until <= now => self.connect(now),
            LinkState::Connecting { ticket, deadline } if deadline <= now => {
                self.handle_link_lost(now, ticket, timeout);
            }
            LinkState::Online { ticket } => {
                if self.is_overdue(now) {
                    self.handle_link_lost(now, ticket, timeout);
                } else {
                    self.retry_scopes(now);
                }
            }
            _ => {}
        }
    }

    /// Retries the scopes whose wait is over.
    fn retry_scopes(&mut self, now: Instant) {
        let scopes: Vec<Scope> = self.scopes.keys().cloned().collect();
        for scope in scopes {
            let Some(machine) = self.scopes.get_mut(&scope) else { continue };
            let (pull, push) = (machine.pull.wake(now), machine.push.wake(now));
            if pull && !self.begin_owed_reset(&scope) {
                self.advance_pull(now, &scope);
            }
            if push {
                self.form(&scope);
            }
        }
    }
}
