//! Acknowledging the position of a scope, and comparing digests with the server.

use std::time::Duration;

use super::{Engine, Event, Failure, Output, Ticket};
use crate::clock::Instant;
use crate::error::ErrorKind;
use crate::model::{Reset, ResetReason, Scope};

/// The state of the acknowledgement of the position at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AckState {
    Unsent,
    /// It is being sent; whether the position has moved since.
    Sending {
        ticket: Ticket,
        moved: bool,
    },
    /// It was sent, and the server found no difference.
    Acknowledged,
}

impl AckState {
    /// Records that the position has moved: an acknowledgement under way is sent again afterwards.
    pub(super) fn after_a_move(self) -> Self {
        match self {
            Self::Sending { ticket, .. } => Self::Sending { ticket, moved: true },
            Self::Unsent | Self::Acknowledged => Self::Unsent,
        }
    }
}

/// Full pulls because of a differing digest are at least this far apart: if one did not help,
/// another will not.
const BETWEEN_DIFFERENCES: Duration = Duration::from_secs(60 * 60);

impl Engine {
    /// Acknowledges the position; if an earlier one is being acknowledged, afterwards.
    pub(super) fn acknowledge(&mut self, scope: &Scope) {
        if self.connection().is_none() {
            return;
        }
        let ticket = self.ticket();
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        if machine.pull.acknowledged == AckState::Unsent {
            machine.pull.acknowledged = AckState::Sending { ticket, moved: false };
            let settled = machine.push.settled_up_to();
            self.out(Output::Acknowledge { scope: scope.clone(), ticket, settled });
        }
    }

    /// Handles the server's answer after it compared digests, or had nothing to compare.
    pub(super) fn handle_acknowledged(
        &mut self,
        now: Instant,
        scope: &Scope,
        ticket: Ticket,
        result: Result<Option<Reset>, Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        let AckState::Sending { ticket: asked, moved } = pull.acknowledged else { return };
        if ticket != asked {
            return;
        }
        pull.acknowledged = if moved { AckState::Unsent } else { AckState::Acknowledged };
        match result {
            Ok(None) => {}
            Ok(Some(reset)) => return self.take_reset(now, scope, reset),
            Err(failure) if Self::needs_new_link(&failure) => {
                return self.lose_link_to(now, failure);
            }
            // A position that the server does not accept now is sent with the next one.
            Err(_) => {}
        }
        if moved {
            self.acknowledge(scope);
        }
    }

    /// Handles the server's answer that the position is not valid, or that its documents differ.
    pub(super) fn take_reset(&mut self, now: Instant, scope: &Scope, reset: Reset) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        if reset.reason == ResetReason::DigestDiffers {
            let lately = pull.differed.is_some_and(|d| now.since(d) < BETWEEN_DIFFERENCES);
            pull.differed = Some(now);
            if lately {
                // Pulling everything again did not help: an operator has to examine that.
                pull.refused = Some(ErrorKind::Internal);
                return self.tell(Event::Diverged(scope.clone()));
            }
        }
        self.begin_reset(scope, reset);
    }
}
