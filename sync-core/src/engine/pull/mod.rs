//! Catching up and following live: chunks arrive, one is applied at a time, a few wait.

mod failing;
mod head_probe;
mod reset;

use std::collections::VecDeque;

use head_probe::Check;

use super::acknowledge::AckState;
use super::retry::Backoff;
use super::unit::Unit;
use super::{
    ChunkMeta, Delivery, Engine, Event, Failure, Output, ScopeGreeting, ScopeProgress, Ticket,
};
use crate::clock::Instant;
use crate::error::ErrorKind;
use crate::model::{Checkpoint, Cursor, Reset, Scope, Seq};

/// The pending request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Requested {
    /// Nothing.
    Nothing,
    /// A chunk.
    Chunk { ticket: Ticket, since: Instant, deadline: Instant },
    /// A live stream; whether its next event was polled, and the check beside it.
    Live { ticket: Ticket, polled: bool, check: Check },
}

/// The state of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StorageWork {
    Idle,
    Applying,
    Resetting(Reset),
    /// Removing the scope from the device.
    Forgetting,
}

/// The pull machine of one scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PullMachine {
    /// The stored checkpoint.
    checkpoint: Checkpoint,
    /// Where the next chunk starts: after everything that is applied or waits.
    ahead: Cursor,
    asked: Requested,
    storage: StorageWork,
    /// Chunks that wait; the first is being applied.
    waiting: VecDeque<(Ticket, ChunkMeta)>,
    /// The newest known head; none before the first answer of the server.
    head: Option<Seq>,
    /// Whether the chunk that came last reached its head.
    reached_head: bool,
    /// No request before this. It is kept without a link: another link does not help the same pull.
    pause: Option<Instant>,
    /// The attempts since the position moved.
    backoff: Backoff,
    /// The resets in a row: each moves the position back, so that reaching the head again is no
    /// progress.
    resets: Backoff,
    /// A reset that waits for the end of the pause.
    owed: Option<Reset>,
    /// Whether a request had no result, and was sent again at once, since the position moved.
    again: bool,
    /// How much a chunk may hold.
    unit: Unit,
    /// The reason, if trying again cannot help.
    pub(super) refused: Option<ErrorKind>,
    /// Whether the server refused access to the scope, and another greeting has to confirm it.
    doubted: bool,
    catching_up: bool,
    /// The state of the acknowledgement of the position at the head.
    pub(super) acknowledged: AckState,
    /// When a comparison of digests found a difference last.
    pub(super) differed: Option<Instant>,
    pulled: u64,
}

impl PullMachine {
    pub(super) fn new(checkpoint: Checkpoint, unit: usize) -> Self {
        Self {
            ahead: checkpoint.cursor(),
            checkpoint,
            asked: Requested::Nothing,
            storage: StorageWork::Idle,
            waiting: VecDeque::new(),
            head: None,
            reached_head: false,
            pause: None,
            backoff: Backoff::default(),
            resets: Backoff::default(),
            owed: None,
            again: false,
            unit: Unit::new(unit),
            refused: None,
            doubted: false,
            catching_up: false,
            acknowledged: AckState::Unsent,
            differed: None,
            pulled: 0,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.answer_due().or(self.pause)
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
        self.answer_due().is_some_and(|deadline| deadline <= now)
    }

    /// Ends a pause that is over. Returns whether there was one.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        let over = self.pause.is_some_and(|p| p <= now);
        if over {
            self.pause = None;
        }
        over
    }

    /// Handles the server's greeting; returns whether it shows that the replica is at the head.
    ///
    /// It does if the greeting was about exactly the replica's position, and the log ends there: a
    /// pull from there would make the same comparison, and return an empty chunk. A cursor without
    /// a mark of its position could not be compared with the log, and a pull from position 0, of a
    /// back-fill, or of everything, does more than to return later changes.
    pub(super) fn take_greeting(&mut self, greeting: &ScopeGreeting) -> bool {
        self.head = Some(greeting.head);
        self.refused = None;
        let at = &self.checkpoint;
        let is_idle = self.storage == StorageWork::Idle && self.waiting.is_empty();
        // A chunk names the collections that the replica may see now.
        let sees_all = at.covered.is_none();
        let is_whole = at.full_pull.is_none() && at.backfills.is_empty() && sees_all;
        let is_marked = at
            .mark
            .as_ref()
            .is_some_and(|mark| Some(mark.epoch) == at.epoch && mark.at >= at.position);
        self.reached_head = greeting.reset.is_none()
            && (is_idle && is_whole && at.position > Seq(0) && is_marked)
            && (at.epoch, at.position) == (Some(greeting.epoch), greeting.head)
            && greeting.asked == at.cursor();
        self.reached_head
    }

    /// Returns whether everything up to the head, and up to the positions of verdicts, is applied.
    pub(super) fn is_at_head(&self, seen: Seq) -> bool {
        self.reached_head
            && (!self.is_checking() && self.waiting.is_empty() && self.storage == StorageWork::Idle)
            && self.checkpoint.after() >= seen
    }

    /// Returns whether the server has acknowledged that the replica is at the head, with the digest
    /// equal if it could compare.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.acknowledged == AckState::Acknowledged
    }

    /// Records that the server does not serve the scope.
    pub(super) fn refuse(&mut self, kind: ErrorKind) {
        self.refused = Some(kind);
    }

    /// Returns whether anything of the scope was ever applied.
    fn holds_something(&self) -> bool {
        self.checkpoint.epoch.is_some()
    }

    /// Returns why trying again cannot help.
    pub(super) fn refusal(&self) -> Option<ErrorKind> {
        self.refused
    }

    pub(super) fn progress(&self) -> ScopeProgress {
        let head = self.head.unwrap_or_default().max(self.checkpoint.position);
        ScopeProgress { pulled: self.pulled, position: self.checkpoint.after(), head }
    }

    /// Handles the loss of the link: requests will not be answered, waiting chunks are still valid.
    pub(super) fn lose_link(&mut self, scope: &Scope, outputs: &mut VecDeque<Output>) {
        if let Requested::Live { ticket, .. } = self.asked {
            outputs.push_back(Output::Unsubscribe { scope: scope.clone(), ticket });
        }
        self.asked = Requested::Nothing;
        // If the position is still not valid, the next greeting reports it.
        self.owed = None;
        self.reached_head = false;
        self.head = None;
        self.acknowledged = AckState::Unsent;
    }

    /// Stores the checkpoint after an applied chunk. If the chunk left out a body that was not
    /// stored here, all bodies are requested up to the head.
    fn take_checkpoint(&mut self, checkpoint: Checkpoint) {
        let is_at_head = self.reached_head && self.waiting.is_empty();
        let lacks_own = self.checkpoint.lacks_own && !is_at_head;
        self.checkpoint = Checkpoint { lacks_own, ..checkpoint };
    }

    /// Discards what waits behind the chunk that is being applied, and starts again from there.
    fn restart(&mut self, scope: &Scope, outputs: &mut VecDeque<Output>) {
        if let Requested::Live { ticket, .. } = self.asked {
            outputs.push_back(Output::Unsubscribe { scope: scope.clone(), ticket });
        }
        self.asked = Requested::Nothing;
        let kept = usize::from(self.storage == StorageWork::Applying);
        for (payload, _) in self.waiting.drain(kept.min(self.waiting.len())..) {
            outputs.push_back(Output::Discard { payload });
        }
        self.ahead = self.checkpoint.cursor();
        if let Some((_, applying)) = self.waiting.front() {
            self.ahead = applying.follow(&self.ahead);
        }
        self.reached_head = false;
    }
}

impl Engine {
    /// Requests the next chunk, if there is room for it.
    pub(super) fn advance_pull(&mut self, now: Instant, scope: &Scope) {
        if self.connection().is_none() || !self.goal.pull {
            return;
        }
        let ticket = Ticket(self.last_ticket + 1);
        let deadline = now.plus(self.options.request_timeout);
        let (depth, window) = (self.options.depth, self.options.window_bytes);
        let live = self.goal.live;
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        let bytes: usize = pull.waiting.iter().map(|(_, m)| m.weight).sum();
        // One is applied, `depth` may wait behind it.
        let is_full = pull.waiting.len() > depth || (bytes >= window && !pull.waiting.is_empty());
        let blocked = matches!(pull.storage, StorageWork::Resetting(_) | StorageWork::Forgetting)
            || pull.refused.is_some()
            || pull.pause.is_some();
        if is_full || blocked {
            return;
        }
        let seen = machine.push.settled_up_to();
        let scope = scope.clone();
        match pull.asked {
            Requested::Live { ticket: stream, polled, check: Check::Due } => {
                let check = Check::Requested { ticket, deadline };
                pull.asked = Requested::Live { ticket: stream, polled: true, check };
                let (cursor, limits) = (pull.ahead.clone(), pull.unit.limits());
                self.last_ticket = ticket.0;
                self.out(Output::Pull { scope: scope.clone(), ticket, cursor, limits });
                if !polled {
                    self.out(Output::NextLive { scope, ticket: stream });
                }
            }
            Requested::Chunk { .. } | Requested::Live { polled: true, .. } => {}
            Requested::Live { ticket, check, .. } => {
                pull.asked = Requested::Live { ticket, polled: true, check };
                self.out(Output::NextLive { scope, ticket });
            }
            Requested::Nothing if pull.reached_head && live => {
                let (cursor, limits) = (pull.ahead.clone(), pull.unit.limits());
                pull.asked = Requested::Live { ticket, polled: true, check: Check::None };
                self.last_ticket = ticket.0;
                self.out(Output::Subscribe { scope: scope.clone(), ticket, cursor, limits });
                self.out(Output::NextLive { scope, ticket });
            }
            Requested::Nothing if pull.reached_head && pull.ahead.after >= seen => {}
            Requested::Nothing => {
                let (cursor, limits) = (pull.ahead.clone(), pull.unit.limits());
                pull.asked = Requested::Chunk { ticket, since: now, deadline };
                self.last_ticket = ticket.0;
                self.out(Output::Pull { scope, ticket, cursor, limits });
            }
        }
    }

    pub(super) fn handle_delivered(
        &mut self,
        now: Instant,
        scope: &Scope,
        ticket: Ticket,
        payload: Ticket,
        result: Result<Delivery, Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else {
            return self.out(Output::Discard { payload });
        };
        let pull = &mut machine.pull;
        let is_live = matches!(pull.asked, Requested::Live { ticket: t, .. } if t == ticket);
        match pull.asked {
            Requested::Chunk { ticket: t, since, .. } if t == ticket => {
                pull.asked = Requested::Nothing;
                if let Ok(Delivery::Chunk(meta)) = &result {
                    pull.unit.carried(meta.weight, now.since(since));
                }
            }
            Requested::Live { ticket: t, check, .. } if t == ticket => {
                pull.asked = Requested::Live { ticket, polled: false, check };
            }
            Requested::Live { check: Check::Requested { ticket: t, .. }, .. } if t == ticket => {
                let ended = pull.take_answer(scope, &result);
                self.outputs.extend(ended);
            }
            _ => return self.out(Output::Discard { payload }),
        }
        match result {
            Ok(Delivery::Chunk(meta)) if is_live && self.is_old_news(scope, &meta) => {
                self.out(Output::Discard { payload });
                self.move_nothing(now, scope);
                self.advance_pull(now, scope);
            }
            Ok(Delivery::Chunk(meta)) => self.take_chunk(now, scope, payload, meta),
            Ok(Delivery::Reset(reset)) => {
                self.out(Output::Discard { payload });
                self.begin_reset(scope, reset);
            }
            Err(failure) => self.fail_pull(now, scope, failure, !is_live),
        }
    }

    fn take_chunk(&mut self, now: Instant, scope: &Scope, payload: Ticket, meta: ChunkMeta) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        if meta.after != pull.ahead.after {
            // Out of place: the storage would reject it. Pull again from the current position.
            self.out(Output::Discard { payload });
            self.move_nothing(now, scope);
            self.apply_next(scope);
            return self.advance_pull(now, scope);
        }
        // A chunk that the server cached names the head at that time, which is not the newest one.
        let head = meta.head.max(pull.head.unwrap_or_default());
        pull.head = Some(head);
        pull.ahead = meta.follow(&pull.ahead);
        pull.reached_head = meta.next >= head;
        // Entries after the head are new: this replica has the bodies that it pushed.
        pull.ahead.has_own |= pull.reached_head;
        let started = !pull.reached_head && !pull.catching_up;
        pull.catching_up |= started;
        pull.waiting.push_back((payload, meta));
        if started {
            self.tell(Event::CatchUpStarted(scope.clone()));
        }
        self.apply_next(scope);
        self.advance_pull(now, scope);
    }

    fn apply_next(&mut self, scope: &Scope) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        if pull.storage != StorageWork::Idle {
            return;
        }
        if let Some((payload, _)) = pull.waiting.front() {
            pull.storage = StorageWork::Applying;
            let payload = *payload;
            self.out(Output::Apply { scope: scope.clone(), payload });
        }
    }

    pub(super) fn handle_applied(
        &mut self,
        now: Instant,
        scope: &Scope,
        payload: Ticket,
        result: Result<(bool, Checkpoint), Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        if pull.storage != StorageWork::Applying
            || pull.waiting.front().is_none_or(|(p, _)| *p != payload)
        {
            return;
        }
        pull.storage = StorageWork::Idle;
        let meta = pull.waiting.pop_front().map(|(_, meta)| meta);
        match result {
            Ok((true, checkpoint)) => {
                // A sync without news has nothing to acknowledge.
                let moved = stands_elsewhere(&pull.checkpoint, &checkpoint);
                if moved {
                    pull.acknowledged = pull.acknowledged.after_a_move();
                }
                let has_progress = moved || pull.checkpoint.bookmark != checkpoint.bookmark;
                let goes_back = meta.as_ref().is_some_and(|m| checkpoint.after() < m.next);
                pull.take_checkpoint(checkpoint);
                if goes_back {
                    // Collections that may be seen from now on are pulled from the beginning.
                    pull.restart(scope, &mut self.outputs);
                }
                pull.pulled += meta.map_or(0, |m| m.entries as u64);
                self.after_applied(now, scope, has_progress);
            }
            Ok((false, checkpoint)) => {
                pull.checkpoint = checkpoint;
                self.move_nothing(now, scope);
            }
            Err(failure) => return self.fail_pull(now, scope, failure, true),
        }
        self.apply_next(scope);
        self.advance_pull(now, scope);
    }

    fn after_applied(&mut self, now: Instant, scope: &Scope, has_progress: bool) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        pull.doubted = false;
        if has_progress {
            pull.backoff.success();
            pull.again = false;
        }
        let ScopeProgress { position, head, .. } = pull.progress();
        let done = pull.reached_head && pull.waiting.is_empty();
        let is_idle = pull.waiting.is_empty();
        // Pull again if more follows, or if the log ends below the position of a verdict.
        let is_behind = !done || pull.ahead.after < machine.push.settled_up_to();
        let caught_up = done && std::mem::take(&mut pull.catching_up);
        if has_progress {
            self.backoff.success();
            self.tell(Event::Advanced(scope.clone()));
        }
        self.tell(Event::CheckpointMoved { scope: scope.clone(), position, head });
        if done {
            self.acknowledge(scope);
        }
        if caught_up {
            self.tell(Event::CatchUpDone(scope.clone()));
        }
        if is_idle && !has_progress && is_behind {
            self.move_nothing(now, scope);
        }
    }
}

/// Returns whether a chunk moved anything that has to be acknowledged.
fn stands_elsewhere(before: &Checkpoint, after: &Checkpoint) -> bool {
    let place = |c: &Checkpoint| (c.epoch, c.position, c.full_pull.is_some());
    place(before) != place(after) || before.backfills != after.backfills
}
