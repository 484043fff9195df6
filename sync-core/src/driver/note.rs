//! Records in the storage what keeps the replica from syncing, so that every process can show why
//! data is not synced.

use super::DriverTask;
use super::finish::Done;
use crate::engine::Event;
use crate::model::Scope;
use crate::replica::Failed;

impl DriverTask {
    /// Records what an event of the engine reports about attempts.
    pub(super) fn note_attempts(&mut self, event: &Event) {
        match event {
            Event::Disconnected(_) => {
                self.status.failures += 1;
                for scope in self.options.scopes.clone() {
                    self.note_failure(scope);
                }
            }
            Event::Stalled(scope, _) => {
                self.status.failures += 1;
                self.note_failure(scope.clone());
            }
            Event::ScopeRefused(scope, _) | Event::Diverged(scope) => {
                self.note_failure(scope.clone());
            }
            Event::Advanced(_) => self.status.failures = 0,
            Event::InSync => {
                self.status.failures = 0;
                if std::mem::take(&mut self.has_failures) {
                    for scope in self.options.scopes.clone() {
                        self.note(scope, None);
                    }
                }
            }
            _ => {}
        }
    }

    fn note_failure(&mut self, scope: Scope) {
        let Some(error) = &self.status.last_error else { return };
        let (kind, message, at) =
            (error.kind(), error.report().to_string(), self.parts.environment.now());
        let retry_at = self.engine.next_attempt(&scope).map(|due| at.plus(due.since(self.now())));
        self.has_failures = true;
        self.note(scope, Some(Failed { kind, message, at, retry_at }));
    }

    fn note(&mut self, scope: Scope, failed: Option<Failed>) {
        let (storage, cx) = (self.parts.storage.clone(), self.context());
        self.store(
            async move { Done::Noted { result: storage.note_attempt(cx, scope, failed).await } },
        );
    }
}
