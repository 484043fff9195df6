//! A check, next to a live stream, whether it has delivered everything.

use std::collections::VecDeque;

use super::{PullMachine, Requested, StorageWork};
use crate::clock::Instant;
use crate::engine::{Delivery, Failure, Output, Ticket};
use crate::model::Scope;

/// A check whether a live stream has delivered everything. A silent stream may have nothing to
/// deliver, so the engine pulls a chunk beside it; if that chunk is empty, the stream continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Check {
    /// No check is wanted.
    None,
    /// The pull is sent next.
    Due,
    /// The pull was sent.
    Requested { ticket: Ticket, deadline: Instant },
}

impl PullMachine {
    /// Returns when the request has to be answered at the latest.
    pub(super) fn answer_due(&self) -> Option<Instant> {
        match self.asked {
            Requested::Chunk { deadline, .. }
            | Requested::Live { check: Check::Requested { deadline, .. }, .. } => Some(deadline),
            Requested::Nothing | Requested::Live { .. } => None,
        }
    }

    /// Moves the deadline of the request: bytes arrived from the server.
    pub(in crate::engine) fn bytes_moved(&mut self, until: Instant) {
        match &mut self.asked {
            Requested::Chunk { deadline, .. }
            | Requested::Live { check: Check::Requested { deadline, .. }, .. } => {
                *deadline = until.max(*deadline);
            }
            Requested::Nothing | Requested::Live { .. } => {}
        }
    }

    /// Returns whether a check is due or under way.
    pub(super) fn is_checking(&self) -> bool {
        matches!(self.asked, Requested::Live { check: Check::Due | Check::Requested { .. }, .. })
    }

    /// Pulls at the head again; ends a live stream if the goal is no longer to follow live.
    pub(in crate::engine) fn look_again(
        &mut self,
        scope: &Scope,
        live: bool,
        outputs: &mut VecDeque<Output>,
    ) {
        let is_at_rest = self.storage == StorageWork::Idle && self.waiting.is_empty();
        match &mut self.asked {
            // An answer to an earlier request may be older than this one.
            Requested::Live { check, .. } if live && is_at_rest => *check = Check::Due,
            Requested::Live { .. } => self.restart(scope, outputs),
            Requested::Nothing | Requested::Chunk { .. } => {}
        }
        self.reached_head = false;
    }

    /// Handles the answer. If it has news the live stream ends, because it would deliver all of it
    /// again.
    pub(super) fn take_answer(
        &mut self,
        scope: &Scope,
        answer: &Result<Delivery, Failure>,
    ) -> Option<Output> {
        let Requested::Live { ticket, polled, .. } = self.asked else { return None };
        if self.is_nothing_new(answer) {
            self.asked = Requested::Live { ticket, polled, check: Check::None };
            return None;
        }
        self.asked = Requested::Nothing;
        Some(Output::Unsubscribe { scope: scope.clone(), ticket })
    }

    /// Returns whether an answer shows that the log ends at the replica's position.
    fn is_nothing_new(&self, answer: &Result<Delivery, Failure>) -> bool {
        let Ok(Delivery::Chunk(chunk)) = answer else { return false };
        chunk.after == self.ahead.after && chunk.next == chunk.after && chunk.next >= chunk.head
    }
}
