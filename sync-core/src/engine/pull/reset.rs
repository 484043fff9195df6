//! Positions that are discarded: by a reset, and by a scope that is removed from the device.

use super::{PullMachine, StorageWork};
use crate::clock::Instant;
use crate::engine::{Engine, Event, Failure, Output};
use crate::error::{ErrorKind, Retry};
use crate::model::{Checkpoint, Collection, Reset, ResetReason, Scope, Seq};

impl Engine {
    /// Begins a reset of the position: it is discarded once the storage is free.
    pub(in crate::engine) fn begin_reset(&mut self, scope: &Scope, reset: Reset) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        if matches!(pull.storage, StorageWork::Resetting(_) | StorageWork::Forgetting) {
            return;
        }
        if pull.pause.is_some() {
            // An attempt has failed: this one waits as well.
            pull.owed = Some(reset);
            pull.restart(scope, &mut self.outputs);
            return;
        }
        // The storage finishes a chunk that it is applying before it resets; that result is not
        // awaited any more.
        pull.storage = StorageWork::Resetting(reset);
        pull.restart(scope, &mut self.outputs);
        pull.head = None;
        self.out(Output::Reset { scope: scope.clone(), reset });
    }

    /// Pulls some collections from the beginning, because the storage discarded their positions.
    pub(in crate::engine) fn backfill(&mut self, scope: &Scope, collections: Vec<Collection>) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        if collections.is_empty() {
            return;
        }
        pull.checkpoint.backfills.extend(collections.into_iter().map(|c| (c, Seq(0))));
        pull.restart(scope, &mut self.outputs);
    }

    /// Begins a reset that waited for the end of the pause. Returns whether there was one.
    pub(in crate::engine) fn begin_owed_reset(&mut self, scope: &Scope) -> bool {
        let owed = self.scopes.get_mut(scope).and_then(|machine| machine.pull.owed.take());
        let is_owed = owed.is_some();
        if let Some(reset) = owed {
            self.begin_reset(scope, reset);
        }
        is_owed
    }

    /// Begins to remove the data of a scope that the server's greeting left out. Returns whether
    /// there is any.
    pub(in crate::engine) fn begin_forgetting(&mut self, scope: &Scope) -> bool {
        let Some(machine) = self.scopes.get_mut(scope) else { return false };
        let pull = &mut machine.pull;
        if !self.options.forget_revoked || !pull.holds_something() {
            return false;
        }
        if pull.storage != StorageWork::Forgetting {
            // The storage finishes a chunk that it is applying before it forgets; that result is
            // not awaited any more.
            pull.storage = StorageWork::Forgetting;
            pull.restart(scope, &mut self.outputs);
            self.out(Output::Forget { scope: scope.clone() });
        }
        true
    }

    pub(in crate::engine) fn handle_forgotten(
        &mut self,
        now: Instant,
        scope: &Scope,
        result: Result<(), Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        if pull.storage != StorageWork::Forgetting {
            return;
        }
        pull.storage = StorageWork::Idle;
        match result {
            Ok(()) => {
                // The storage keeps the choice of collections, too.
                let collections = pull.checkpoint.collections.clone();
                let nowhere = Checkpoint { collections, ..Checkpoint::default() };
                let fresh = PullMachine::new(nowhere, self.options.first_pull_bytes);
                *pull = PullMachine { refused: pull.refused, backoff: pull.backoff, ..fresh };
                // The positions of verdicts are not valid after the removal; the log may have
                // another epoch when access is given back.
                machine.push.forget_positions();
                self.tell(Event::ScopeGone(scope.clone()));
                // A later greeting may have served the scope again while the storage forgot it.
                self.form(scope);
                self.advance_pull(now, scope);
            }
            // The next greeting leaves it out again, and the removal is retried.
            Err(_) => {
                let failure = Failure { kind: ErrorKind::Storage, retry: Retry::Reconnect };
                self.lose_link_to(now, failure);
            }
        }
    }

    pub(in crate::engine) fn handle_reset_done(
        &mut self,
        now: Instant,
        scope: &Scope,
        result: Result<Checkpoint, Failure>,
    ) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let pull = &mut machine.pull;
        let StorageWork::Resetting(reset) = pull.storage else { return };
        pull.storage = StorageWork::Idle;
        match result {
            Ok(checkpoint) => {
                pull.checkpoint = checkpoint;
                pull.ahead = pull.checkpoint.cursor();
                self.tell(Event::Reset(scope.clone(), reset));
                if let ResetReason::EpochChanged { .. } = reset.reason {
                    // What was lost is offered again, and a batch in flight is pushed again in the
                    // new epoch.
                    self.push_again(scope);
                }
                self.count_reset(now, scope);
                self.form(scope);
                self.advance_pull(now, scope);
            }
            Err(failure) if failure.retry == Retry::Never => self.stall_pull(now, scope, failure),
            Err(failure) => {
                pull.owed = Some(reset);
                let failure = Failure { kind: failure.kind, retry: Retry::Later(None) };
                self.stall_pull(now, scope, failure);
            }
        }
    }

    /// The first reset of a row is followed at once by a pull; those that follow soon are failed
    /// attempts.
    fn count_reset(&mut self, now: Instant, scope: &Scope) {
        let Some(machine) = self.scopes.get_mut(scope) else { return };
        let (pull, policy) = (&mut machine.pull, &self.options.retry);
        let is_first = pull.resets.is_fresh(now, policy);
        let until = pull.resets.failure(now, Retry::Later(None), policy, &mut self.chance);
        if !is_first && policy.enabled {
            pull.pause = Some(until);
            let failure = Failure { kind: ErrorKind::Superseded, retry: Retry::Later(None) };
            self.tell(Event::Stalled(scope.clone(), failure));
        }
    }
}
