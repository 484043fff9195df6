//! Pushing the outbox: one batch of a scope at a time, the same one until its verdicts are settled.

use super::retry::Backoff;
use super::{Answer, Engine, Event, Failure, Output, Ticket};
use crate::clock::Now;
use crate::error::{ErrorKind, Retry};
use crate::model::{PushId, Scope, Seq};

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Nobody asked the storage for one yet, since the last thing that could have made one.
    Unknown,
    /// The storage was asked.
    Forming,
    /// The storage has nothing to push.
    Empty,
    /// It is on its way.
    InFlight { push: PushId, ticket: Ticket, deadline: Now },
    /// Its verdicts are being taken in.
    Settling { push: PushId },
    /// Trying again cannot help.
    Refused(ErrorKind),
}

/// The push machine of one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Push {
    state: State,
    /// Something was written since the storage was asked.
    grew: bool,
    /// The newest position that a verdict named.
    settled: Seq,
    /// The newest position that verdicts on their way name.
    answered: Seq,
    /// No attempt before this.
    pause: Option<Now>,
    backoff: Backoff,
}

impl Push {
    pub(super) fn new() -> Self {
        Self {
            state: State::Unknown,
            grew: false,
            settled: Seq(0),
            answered: Seq(0),
            pause: None,
            backoff: Backoff::default(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        match self.state {
            State::InFlight { deadline, .. } => Some(deadline),
            _ => self.pause,
        }
    }

    /// When the attempt after a failed one begins.
    pub(super) fn pause(&self) -> Option<Now> {
        self.pause
    }

    pub(super) fn is_overdue(&self, now: Now) -> bool {
        matches!(self.state, State::InFlight { deadline, .. } if deadline <= now)
    }

    /// Whether a pause is over.
    pub(super) fn wake(&mut self, now: Now) -> bool {
        let over = self.pause.is_some_and(|p| p <= now);
        if over {
            self.pause = None;
        }
        over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty && !self.grew
    }

    /// Why trying again cannot help.
    pub(super) fn refusal(&self) -> Option<ErrorKind> {
        match self.state {
            State::Refused(kind) => Some(kind),
            _ => None,
        }
    }

    pub(super) fn settled_up_to(&self) -> Seq {
        self.settled
    }

    /// The positions that verdicts named mean nothing any more.
    pub(super) fn forget_positions(&mut self) {
        self.settled = Seq(0);
        self.answered = Seq(0);
    }

    /// The link is gone: whether the batch arrived is unknown, and the same batch is pushed again.
    pub(super) fn lose_link(&mut self) {
        if matches!(self.state, State::InFlight { .. } | State::Refused(_) | State::Empty) {
            self.state = State::Unknown;
        }
        self.pause = None;
    }
}

impl Engine {
    /// Asks the storage for a batch, unless one is on its way.
    pub(super) fn form(&mut self, scope: &Scope) {
        if self.connection().is_none() || !self.goal.push {
            return;
        }
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        let may = match push.state {
            State::Unknown => true,
            State::Empty => push.grew,
            State::Forming
            | State::InFlight { .. }
            | State::Settling { .. }
            | State::Refused(_) => false,
        };
        if may && push.pause.is_none() {
            push.state = State::Forming;
            push.grew = false;
            self.out(Output::Form { scope: scope.clone() });
        }
    }

    pub(super) fn handle_outbox_grew(&mut self, scope: &Scope) {
        if let Some(machine) = self.scopes.get_mut(scope) {
            machine.push.grew = true;
            self.form(scope);
            if mutant!(WriteDuringPushUnnoticed)
                && let Some(machine) = self.scopes.get_mut(scope)
            {
                machine.push.grew = false;
            }
        }
    }

    pub(super) fn handle_formed(
        &mut self,
        now: Now,
        scope: &Scope,
        result: Result<Option<PushId>, Failure>,
    ) {
        let online = self.connection().is_some();
        let ticket = Ticket(self.last_ticket + 1);
        let deadline = now.plus(self.options.request_timeout);
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        if push.state != State::Forming {
            return;
        }
        match result {
            Ok(Some(_)) if !online => push.state = State::Unknown,
            Ok(Some(id)) => {
                push.state = State::InFlight { push: id, ticket, deadline };
                self.last_ticket = ticket.0;
                self.out(Output::Push { scope: scope.clone(), ticket, push: id });
            }
            Ok(None) => {
                push.state = State::Empty;
                self.form(scope);
            }
            Err(failure) => self.fail_push(now, scope, failure),
        }
    }

    pub(super) fn handle_pushed(
        &mut self,
        now: Now,
        scope: &Scope,
        ticket: Ticket,
        result: Result<Answer, Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else {
            return self.out(Output::Discard { payload: ticket });
        };
        let push = &mut machine.push;
        let State::InFlight { push: id, ticket: waited_for, .. } = push.state else {
            return self.out(Output::Discard { payload: ticket });
        };
        if ticket != waited_for {
            return self.out(Output::Discard { payload: ticket });
        }
        match result {
            Ok(Answer::Decided(newest)) => {
                push.answered = newest;
                push.state = State::Settling { push: id };
                self.out(Output::Settle { scope: scope.clone(), ticket, push: id });
            }
            Ok(Answer::Cloned) => {
                push.state = State::Unknown;
                self.out(Output::Discard { payload: ticket });
                self.out(Output::Reidentify);
            }
            Err(failure) => self.fail_push(now, scope, failure),
        }
    }

    pub(super) fn handle_settled(
        &mut self,
        now: Now,
        scope: &Scope,
        result: Result<usize, Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        if !matches!(push.state, State::Settling { .. }) {
            return;
        }
        push.state = State::Unknown;
        match result {
            Ok(taken) if taken > 0 => {
                push.settled = push.settled.max(push.answered);
                push.backoff.success();
                self.backoff.success();
                self.after_settling(scope);
                // More may wait, and what was told of the head is behind now.
                self.form(scope);
                self.advance_pull(now, scope);
            }
            // The verdicts belong to another life of the log than the replica stands in: a new greeting sorts it out.
            Ok(_) => {
                let failure = Failure { kind: ErrorKind::Superseded, retry: Retry::Reconnect };
                self.lose_link_to(now, failure);
            }
            Err(failure) => self.fail_push(now, scope, failure),
        }
    }

    fn fail_push(&mut self, now: Now, scope: &Scope, failure: Failure) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        push.state = State::Unknown;
        if Self::needs_new_link(&failure) || failure.kind == ErrorKind::Superseded {
            return self.lose_link_to(now, failure);
        }
        if failure.retry == Retry::Never || !self.options.retry.enabled {
            push.state = State::Refused(failure.kind);
            return self.tell(Event::ScopeRefused(scope.clone(), failure.kind));
        }
        let until = push.backoff.failure(now, failure.retry, &self.options.retry, &mut self.chance);
        if mutant!(PushRetriedByWriteOnly) {
            push.state = State::Empty;
            return;
        }
        push.pause = Some(until);
        self.tell(Event::Stalled(scope.clone(), failure));
    }

    /// The server does not serve the scope.
    pub(super) fn refuse_push(&mut self, scope: &Scope, kind: ErrorKind) {
        if let Some(machine) = self.scopes.get_mut(scope) {
            machine.push.state = State::Refused(kind);
        }
    }

    /// After a new epoch: positions that verdicts named mean nothing any more, and a batch in flight goes again.
    pub(super) fn push_again(&mut self, scope: &Scope) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        push.forget_positions();
        if matches!(push.state, State::InFlight { .. } | State::Empty | State::Refused(_)) {
            push.state = State::Unknown;
        }
    }
}
