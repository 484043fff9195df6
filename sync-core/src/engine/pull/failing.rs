//! Attempts that failed, and those that moved nothing.

use super::{PullMachine, StorageWork};
use crate::clock::Instant;
use crate::engine::retry::Chance;
use crate::engine::{ChunkMeta, Engine, Event, Failure, RetryPolicy, ScopeMachine};
use crate::error::{ErrorKind, Retry};
use crate::model::Scope;

impl PullMachine {
    /// Counts a failed attempt: the next one waits.
    fn fail(&mut self, now: Instant, retry: Retry, policy: &RetryPolicy, chance: &mut Chance) {
        self.pause = Some(self.backoff.failure(now, retry, policy, chance));
    }

    /// Returns whether a request for documents is pending at the server.
    pub(in crate::engine) fn awaits_answer(&self) -> bool {
        self.answer_due().is_some()
    }

    /// Handles the loss of the link. Returns whether an answer was under way on it: that attempt
    /// failed.
    pub(in crate::engine) fn blame(
        &mut self,
        now: Instant,
        failure: Failure,
        policy: &RetryPolicy,
        chance: &mut Chance,
    ) -> bool {
        if !self.awaits_answer() {
            return false;
        }
        self.unit.cut(None);
        self.fail(now, failure.retry, policy, chance);
        true
    }
}

impl Engine {
    /// Returns whether a live stream delivered a chunk that moves nothing. No server has to send
    /// one.
    pub(super) fn is_old_news(&self, scope: &Scope, meta: &ChunkMeta) -> bool {
        let Some(ScopeMachine { pull, .. }) = self.scopes.get(scope) else { return false };
        let is_whole = pull.checkpoint.full_pull.is_none() && pull.checkpoint.backfills.is_empty();
        let is_at_rest = pull.waiting.is_empty() && pull.storage == StorageWork::Idle;
        let is_known = pull.checkpoint.epoch == Some(meta.epoch) && meta.bookmark.is_none();
        is_whole && is_at_rest && is_known && meta.next == meta.after
    }

    /// Handles a request that had no result. It is sent again at once, but only once: then the
    /// attempt has failed.
    pub(super) fn move_nothing(&mut self, now: Instant, scope: &Scope) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        pull.restart(scope, &mut self.outputs);
        if std::mem::replace(&mut pull.again, true) {
            let failure = Failure { kind: ErrorKind::Protocol, retry: Retry::Later(None) };
            self.stall_pull(now, scope, failure);
        }
    }

    /// Handles a failure of a pull, a live stream or the storage. `counts` is whether a link that
    /// is lost for this reason counts as a failed attempt of the pull: the end of a stream without
    /// news does not.
    pub(in crate::engine) fn fail_pull(
        &mut self,
        now: Instant,
        scope: &Scope,
        failure: Failure,
        counts: bool,
    ) {
        let link_is_bad = Self::needs_new_link(&failure) || failure.kind == ErrorKind::Superseded;
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        pull.restart(scope, &mut self.outputs);
        if counts
            && matches!(failure.kind, ErrorKind::Network | ErrorKind::Timeout | ErrorKind::TooLarge)
        {
            pull.unit.cut(None);
        }
        if link_is_bad {
            if counts {
                pull.fail(now, failure.retry, &self.options.retry, &mut self.chance);
            }
            return self.lose_blamed_link(now, failure, counts);
        }
        if failure.kind == ErrorKind::PermissionDenied
            && !std::mem::replace(&mut pull.doubted, true)
        {
            // A gateway may have sent it, or it may be old: the next greeting shows the server's
            // decision.
            return self.lose_link_to(now, Failure { retry: Retry::Reconnect, ..failure });
        }
        self.stall_pull(now, scope, failure);
    }

    /// Counts a failed attempt on a link that works: the next one waits, or none follows.
    pub(super) fn stall_pull(&mut self, now: Instant, scope: &Scope, failure: Failure) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        if failure.retry == Retry::Never || !self.options.retry.enabled {
            pull.refused = Some(failure.kind);
            return self.tell(Event::ScopeRefused(scope.clone(), failure.kind));
        }
        pull.fail(now, failure.retry, &self.options.retry, &mut self.chance);
        self.tell(Event::Stalled(scope.clone(), failure));
    }
}
