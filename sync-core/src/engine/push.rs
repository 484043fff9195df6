//! Pushing the outbox: one batch of a scope at a time, the same one until its verdicts are settled
//! or it is recalled.

use std::time::Duration;

use super::retry::Backoff;
use super::unit::Unit;
use super::{Answer, BatchMeta, Engine, Event, Failure, Output, RetryPolicy, Settlement, Ticket};
use crate::clock::Instant;
use crate::engine::retry::Chance;
use crate::error::{ErrorKind, Retry};
use crate::model::{Epoch, Limits, Scope, Seq};

/// The slowest link on which the time for a push is enough, in bytes per second. The engine does
/// not observe bytes that the operating system has accepted and not sent yet, so a large batch gets
/// more time from the beginning.
const SLOWEST: usize = 2 << 10;

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PushState {
    /// No batch was requested from the storage since the last event that could have made one.
    Unknown,
    /// A batch was requested from the storage.
    Forming,
    /// The storage has nothing to push.
    Empty,
    /// It is on its way.
    InFlight { batch: BatchMeta, ticket: Ticket, since: Instant, deadline: Instant },
    /// Its verdicts are being applied.
    Settling { batch: BatchMeta },
    /// Trying again cannot help.
    Refused(ErrorKind),
}

/// The push machine of one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PushMachine {
    state: PushState,
    /// Whether something was written since a batch was requested from the storage.
    grew: bool,
    /// The newest position that a verdict named.
    settled: Seq,
    /// The newest position that verdicts on their way name.
    answered: Seq,
    /// No attempt before this. It is kept without a link: another link does not help the same push.
    pause: Option<Instant>,
    /// The attempts since an edit made progress.
    backoff: Backoff,
    /// How much a batch holds.
    unit: Unit,
    /// The limits of the last request to the storage.
    asked: Limits,
    /// Whether the storage's batch cannot get smaller, and the peer refuses it by its size: it is
    /// recalled, and rejected here.
    too_large: bool,
    /// How often the link was lost because of its size.
    oversized: u8,
    /// Whether an exchange that moved nothing was followed by another one at once, since the last
    /// that failed or made progress.
    again: bool,
    /// The epoch of the log in the greeting.
    pub(super) epoch: Option<Epoch>,
}

impl PushMachine {
    pub(super) fn new(unit: usize) -> Self {
        Self {
            state: PushState::Unknown,
            grew: false,
            settled: Seq(0),
            answered: Seq(0),
            pause: None,
            backoff: Backoff::default(),
            unit: Unit::new(unit),
            asked: Limits::NONE,
            too_large: false,
            oversized: 0,
            again: false,
            epoch: None,
        }
    }

    /// Handles another identity of the replica: the batch in flight is formed again. Failed
    /// attempts still count.
    pub(super) fn rename(&mut self) {
        self.state = PushState::Unknown;
        self.forget_positions();
        (self.too_large, self.oversized, self.again) = (false, 0, false);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            PushState::InFlight { deadline, .. } => Some(deadline),
            _ => self.pause,
        }
    }

    /// Returns when the attempt after a failed one begins.
    pub(super) fn pause(&self) -> Option<Instant> {
        self.pause
    }

    /// Ends a wait for the next attempt.
    pub(super) fn end_pause(&mut self) {
        self.pause = None;
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.state, PushState::InFlight { deadline, .. } if deadline <= now)
    }

    /// Moves the deadline of the push: bytes were sent to the server.
    pub(super) fn bytes_moved(&mut self, until: Instant) {
        if let PushState::InFlight { deadline, .. } = &mut self.state {
            *deadline = until.max(*deadline);
        }
    }

    /// Ends a pause that is over. Returns whether there was one.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        let over = self.pause.is_some_and(|p| p <= now);
        if over {
            self.pause = None;
        }
        over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state == PushState::Empty && !self.grew
    }

    /// Returns why trying again cannot help.
    pub(super) fn refusal(&self) -> Option<ErrorKind> {
        match self.state {
            PushState::Refused(kind) => Some(kind),
            _ => None,
        }
    }

    pub(super) fn settled_up_to(&self) -> Seq {
        self.settled
    }

    /// Discards the positions that verdicts named: they are not valid any more.
    pub(super) fn forget_positions(&mut self) {
        self.settled = Seq(0);
        self.answered = Seq(0);
    }

    /// Handles the loss of the link: whether the batch arrived is unknown, and it is pushed again.
    pub(super) fn lose_link(&mut self) {
        if matches!(
            self.state,
            PushState::InFlight { .. } | PushState::Refused(_) | PushState::Empty
        ) {
            self.state = PushState::Unknown;
        }
    }

    /// An attempt failed: the next one waits.
    fn fail(&mut self, now: Instant, retry: Retry, policy: &RetryPolicy, chance: &mut Chance) {
        self.again = false;
        self.pause = Some(self.backoff.failure(now, retry, policy, chance));
    }

    /// Handles the loss of the link for a batch that was on it. Returns whether there was one.
    /// `pulls` is whether documents had been requested from the server too, so that the size of its
    /// answer may have been the reason.
    pub(super) fn blame(
        &mut self,
        now: Instant,
        failure: Failure,
        pulls: bool,
        policy: &RetryPolicy,
        chance: &mut Chance,
    ) -> bool {
        let PushState::InFlight { batch, .. } = self.state else { return false };
        if failure.kind == ErrorKind::TooLarge {
            self.unit.refused(batch.bytes);
            self.oversized = self.oversized.saturating_add(u8::from(!pulls));
            self.too_large |= self.oversized > 1 && self.is_indivisible(batch);
        } else {
            self.unit.cut(Some(batch.bytes));
        }
        self.fail(now, failure.retry, policy, chance);
        true
    }

    /// Returns whether the storage could not make a batch smaller: it is over the limits, and was
    /// not recalled.
    fn is_indivisible(&self, batch: BatchMeta) -> bool {
        let fits = batch.bytes <= self.asked.bytes && batch.documents <= self.asked.documents;
        !batch.recall && !fits
    }
}

impl Engine {
    /// Requests a batch from the storage, unless a request is pending.
    pub(super) fn form(&mut self, scope: &Scope) {
        if self.connection().is_none() || !self.goal.push {
            return;
        }
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        let may = match push.state {
            PushState::Unknown => true,
            PushState::Empty => push.grew,
            PushState::Forming
            | PushState::InFlight { .. }
            | PushState::Settling { .. }
            | PushState::Refused(_) => false,
        };
        if may && push.pause.is_none() && !self.reidentifying {
            push.state = PushState::Forming;
            push.grew = false;
            push.asked = if push.too_large { Limits::NONE } else { push.unit.limits() };
            let limits = push.asked;
            self.out(Output::NextBatch { scope: scope.clone(), limits });
        }
    }

    pub(super) fn handle_outbox_grew(&mut self, scope: &Scope) {
        if let Some(machine) = self.scopes.get_mut(scope) {
            machine.push.grew = true;
            self.form(scope);
        }
    }

    pub(super) fn handle_formed(
        &mut self,
        now: Instant,
        scope: &Scope,
        result: Result<Option<BatchMeta>, Failure>,
    ) {
        let online = self.connection().is_some();
        let ticket = Ticket(self.last_ticket + 1);
        let patience = self.options.request_timeout;
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        if push.state != PushState::Forming {
            return;
        }
        match result {
            Ok(Some(_)) if !online => push.state = PushState::Unknown,
            Ok(Some(batch)) => {
                let more = Duration::from_secs((batch.bytes / SLOWEST) as u64);
                let deadline = now.plus(patience.saturating_add(more));
                push.state = PushState::InFlight { batch, ticket, since: now, deadline };
                self.last_ticket = ticket.0;
                self.out(Output::Push { scope: scope.clone(), ticket, push: batch.id });
            }
            Ok(None) if push.too_large => {
                // The edit that was too large was removed, because the app decided about it or a
                // verdict arrived.
                push.too_large = false;
                push.state = PushState::Unknown;
                self.form(scope);
            }
            Ok(None) => {
                push.state = PushState::Empty;
                push.backoff.success();
                self.form(scope);
            }
            Err(failure) => self.fail_push(now, scope, failure),
        }
    }

    pub(super) fn handle_pushed(
        &mut self,
        now: Instant,
        scope: &Scope,
        ticket: Ticket,
        result: Result<Answer, Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else {
            return self.out(Output::Discard { payload: ticket });
        };
        let push = &mut machine.push;
        let PushState::InFlight { batch, ticket: waited_for, since, .. } = push.state else {
            return self.out(Output::Discard { payload: ticket });
        };
        if ticket != waited_for {
            return self.out(Output::Discard { payload: ticket });
        }
        let id = batch.id;
        match result {
            Ok(Answer::Recalled)
                if push.too_large
                    && batch.recall
                    && let Some(epoch) = push.epoch =>
            {
                push.answered = Seq(0);
                push.state = PushState::Settling { batch };
                let documents = batch.documents;
                self.out(Output::Discard { payload: ticket });
                self.out(Output::Refuse { scope: scope.clone(), push: id, epoch, documents });
            }
            Ok(answer @ (Answer::Decided(_) | Answer::Recalled)) => {
                push.answered = match answer {
                    Answer::Decided(newest) => newest,
                    _ => Seq(0),
                };
                if !batch.recall {
                    push.unit.carried(batch.bytes, now.since(since));
                }
                push.state = PushState::Settling { batch };
                self.out(Output::Settle { scope: scope.clone(), ticket, push: id });
            }
            Ok(Answer::Cloned) => {
                push.state = PushState::Unknown;
                self.out(Output::Discard { payload: ticket });
                self.reidentify();
            }
            Err(failure) if Self::needs_new_link(&failure) => self.lose_link_to(now, failure),
            Err(failure) => {
                match failure.kind {
                    ErrorKind::TooLarge => {
                        push.too_large = push.is_indivisible(batch);
                        push.unit.refused(batch.bytes);
                    }
                    ErrorKind::Timeout => push.unit.cut(Some(batch.bytes)),
                    _ => {}
                }
                self.fail_push(now, scope, failure);
            }
        }
    }

    pub(super) fn handle_settled(
        &mut self,
        now: Instant,
        scope: &Scope,
        result: Result<Settlement, Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        let PushState::Settling { batch } = push.state else { return };
        push.state = PushState::Unknown;
        match result {
            Ok(Settlement { applied: taken, moved, backfilled }) if taken > 0 => {
                push.settled = push.settled.max(push.answered);
                (push.too_large, push.oversized) = (false, 0);
                // A recall makes room for smaller batches; without retries the edit may have a new
                // stamp.
                let is_free = batch.recall || !self.options.retry.enabled;
                let moved = moved > 0;
                if moved {
                    push.backoff.success();
                    push.again = false;
                    self.backoff.success();
                    self.identities.success();
                    self.tell(Event::Advanced(scope.clone()));
                } else if !is_free || std::mem::replace(&mut push.again, true) {
                    // The edits are as they were, and would be pushed again at once.
                    let failure = Failure { kind: ErrorKind::Protocol, retry: Retry::Later(None) };
                    self.fail_push(now, scope, failure);
                }
                self.backfill(scope, backfilled);
                // More may wait, and the acknowledged head is older now.
                self.form(scope);
                self.advance_pull(now, scope);
            }
            // The verdicts belong to another epoch of the log than the replica's: a new greeting
            // resolves it.
            Ok(_) => {
                let failure = Failure { kind: ErrorKind::Superseded, retry: Retry::Reconnect };
                self.fail_push(now, scope, failure);
            }
            Err(failure) => self.fail_push(now, scope, failure),
        }
    }

    /// Handles a failed step of a push that was not cut with its link.
    fn fail_push(&mut self, now: Instant, scope: &Scope, failure: Failure) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        push.state = PushState::Unknown;
        let needs_link = Self::needs_new_link(&failure) || failure.kind == ErrorKind::Superseded;
        // A batch that is too large gets smaller, or is rejected here: the scope is not refused.
        let is_final = failure.retry == Retry::Never && failure.kind != ErrorKind::TooLarge;
        if !needs_link && (is_final || !self.options.retry.enabled) {
            push.state = PushState::Refused(failure.kind);
            return self.tell(Event::ScopeRefused(scope.clone(), failure.kind));
        }
        push.fail(now, failure.retry, &self.options.retry, &mut self.chance);
        if needs_link {
            return self.lose_link_to(now, failure);
        }
        self.tell(Event::Stalled(scope.clone(), failure));
    }

    /// Records that the server does not serve the scope.
    pub(super) fn refuse_push(&mut self, scope: &Scope, kind: ErrorKind) {
        if let Some(machine) = self.scopes.get_mut(scope) {
            machine.push.state = PushState::Refused(kind);
        }
    }

    /// Pushes again after a new epoch: positions of verdicts are not valid any more, and a batch in
    /// flight is sent again.
    pub(super) fn push_again(&mut self, scope: &Scope) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let push = &mut machine.push;
        push.forget_positions();
        if matches!(
            push.state,
            PushState::InFlight { .. } | PushState::Empty | PushState::Refused(_)
        ) {
            push.state = PushState::Unknown;
        }
    }
}
