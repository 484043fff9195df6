//! The connection: made, lost, made again.

use super::pull::Pull;
use super::push::Push;
use super::{Engine, Event, Failure, Goal, Output, ScopeGreeting, ScopeMachine, Ticket};
use crate::clock::Now;
use crate::error::{ErrorKind, Retry};
use crate::model::{Checkpoint, PushId, Scope};

/// Whether there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Session {
    /// Nobody wants one.
    Idle,
    /// It is being made.
    Connecting { ticket: Ticket, deadline: Now },
    /// It is there.
    Online { ticket: Ticket },
    /// It failed, and is made again then.
    BackingOff { until: Now },
    /// It was refused, and trying again cannot help.
    Refused(ErrorKind),
}

impl Session {
    pub(super) fn deadline(&self) -> Option<Now> {
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
    pub(super) fn handle_opened(&mut self, now: Now, scope: Scope, checkpoint: Checkpoint) {
        let machine = ScopeMachine { pull: Pull::new(checkpoint), push: Push::new() };
        self.scopes.insert(scope, machine);
        // The greeting names all scopes, so a scope that comes later needs another one.
        if let Session::Online { ticket } | Session::Connecting { ticket, .. } = self.session {
            self.drop_link(ticket);
            self.connect(now);
        }
    }

    pub(super) fn handle_run(&mut self, now: Now, goal: Goal) {
        self.goal = goal;
        self.told_in_sync = false;
        match self.session {
            Session::Idle | Session::BackingOff { .. } | Session::Refused(_) => self.connect(now),
            Session::Connecting { .. } => {}
            // Somebody changed something: the greeting tells whether the scope is served now.
            Session::Online { ticket }
                if self.scopes.values().any(ScopeMachine::is_refused)
                    && !mutant!(RefusedForEver) =>
            {
                self.drop_link(ticket);
                self.connect(now);
            }
            Session::Online { .. } => {
                // Whoever asks wants to know how it is now, not how it was when the stream brought something last.
                let mut outputs = Vec::new();
                for (scope, machine) in &mut self.scopes {
                    machine.pull.look_again(scope, goal.live, &mut outputs);
                }
                self.outputs.extend(outputs);
                self.resume_scopes(now);
            }
        }
    }

    pub(super) fn handle_stop(&mut self) {
        if let Session::Online { ticket } | Session::Connecting { ticket, .. } = self.session {
            self.drop_link(ticket);
        }
        self.session = Session::Idle;
    }

    fn connect(&mut self, now: Now) {
        let ticket = self.ticket();
        self.session =
            Session::Connecting { ticket, deadline: now.plus(self.options.connect_timeout) };
        let scopes = self.scopes.keys().cloned().collect();
        self.out(Output::Connect { ticket, scopes });
    }

    pub(super) fn handle_connected(
        &mut self,
        now: Now,
        ticket: Ticket,
        greetings: Vec<ScopeGreeting>,
        last_push: PushId,
    ) {
        if !matches!(self.session, Session::Connecting { ticket: t, .. } if t == ticket) {
            self.out(Output::Disconnect { ticket });
            return;
        }
        self.session = Session::Online { ticket };
        self.tell(Event::Connected);
        if greetings.iter().any(|g| g.last_push > last_push) {
            // The server remembers a batch that this replica never formed: its file was copied or restored.
            self.out(Output::Reidentify);
        }
        let unseen = |s: &&Scope| !greetings.iter().any(|g| g.scope == **s);
        for scope in self.scopes.keys().filter(unseen).cloned().collect::<Vec<_>>() {
            self.begin_forgetting(&scope);
            self.refuse_scope(&scope, ErrorKind::PermissionDenied);
        }
        for greeting in greetings {
            if let Some(machine) = self.scopes.get_mut(&greeting.scope) {
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

    pub(super) fn resume_scopes(&mut self, now: Now) {
        let scopes: Vec<Scope> = self.scopes.keys().cloned().collect();
        for scope in scopes {
            self.advance_pull(now, &scope);
            self.form(&scope);
        }
    }

    /// Any failure that means the link is no good: everything that was pending on it fails at once.
    pub(super) fn handle_link_lost(&mut self, now: Now, ticket: Ticket, failure: Failure) {
        let is_ours = match self.session {
            Session::Connecting { ticket: t, .. } | Session::Online { ticket: t } => t == ticket,
            _ => false,
        };
        if !is_ours {
            return;
        }
        self.drop_link(ticket);
        self.tell(Event::Disconnected(failure));
        if failure.retry == Retry::Never || !self.options.retry.enabled {
            self.session = Session::Refused(failure.kind);
            self.tell(Event::Refused(failure.kind));
            return;
        }
        let until = self.backoff.failure(now, failure.retry, &self.options.retry, &mut self.chance);
        self.session = Session::BackingOff { until };
    }

    /// Lets go of a connection and of what was pending on it.
    pub(super) fn drop_link(&mut self, ticket: Ticket) {
        self.out(Output::Disconnect { ticket });
        let mut outputs = Vec::new();
        for (scope, machine) in &mut self.scopes {
            machine.pull.lose_link(scope, &mut outputs);
            machine.push.lose_link();
        }
        self.outputs.extend(outputs);
    }

    /// A failure of one request on a connection that otherwise works decides by its retry advice. A token that is no good
    /// any more is no good for all of the connection, whichever scope asked.
    pub(super) fn needs_new_link(failure: &Failure) -> bool {
        failure.retry == Retry::Reconnect || failure.kind == ErrorKind::Unauthenticated
    }

    pub(super) fn handle_reidentified(&mut self, now: Now, result: Result<(), Failure>) {
        match result {
            Ok(()) => {
                self.tell(Event::Reidentified);
                // The greeting carried the old identity.
                if let Some(ticket) = self.connection() {
                    self.drop_link(ticket);
                }
                for machine in self.scopes.values_mut() {
                    machine.push = Push::new();
                }
                self.connect(now);
            }
            Err(failure) => self.lose_link_to(now, failure),
        }
    }

    /// The connection is of no use because of something on our side: begin again later.
    pub(super) fn lose_link_to(&mut self, now: Now, failure: Failure) {
        if let Some(ticket) = self.connection() {
            self.handle_link_lost(now, ticket, failure);
        }
    }

    pub(super) fn handle_tick(&mut self, now: Now) {
        let timeout = Failure { kind: ErrorKind::Timeout, retry: Retry::Reconnect };
        match self.session {
            Session::BackingOff { until } if until <= now => self.connect(now),
            Session::Connecting { ticket, deadline } if deadline <= now => {
                self.handle_link_lost(now, ticket, timeout);
            }
            Session::Online { ticket } => {
                if self.scopes.values().any(|s| s.pull.is_overdue(now) || s.push.is_overdue(now)) {
                    self.handle_link_lost(now, ticket, timeout);
                } else {
                    self.retry_scopes(now);
                }
            }
            _ => {}
        }
    }

    /// Scopes whose own wait is over.
    fn retry_scopes(&mut self, now: Now) {
        let scopes: Vec<Scope> = self.scopes.keys().cloned().collect();
        for scope in scopes {
            let Some(machine) = self.scopes.get_mut(&scope) else { continue };
            let (pull, push) = (machine.pull.wake(now), machine.push.wake(now));
            if pull {
                self.advance_pull(now, &scope);
            }
            if push {
                self.form(&scope);
            }
        }
    }
}
