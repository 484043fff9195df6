//! A judge for a broken storage, which changes its decisions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sync_core::model::{Change, DocumentState, Rejection, Scope};
use sync_core::resolver::Resolution;
use sync_server::ops::Judge;

use super::ServerStorageFault as Fault;

#[derive(Debug)]
pub(super) struct Misheard {
    pub(super) judge: Arc<dyn Judge>,
    pub(super) fault: Fault,
}

impl Judge for Misheard {
    fn admit(&self, change: &Change, current: Option<&DocumentState>) -> Result<(), Rejection> {
        let asked = || self.judge.admit(change, current);
        match self.fault {
            Fault::RefusedChangesStored => Ok(()),
            Fault::PanicsAdmit => catch_unwind(AssertUnwindSafe(asked)).unwrap_or(Ok(())),
            _ => asked(),
        }
    }

    fn resolve(
        &self,
        scope: &Scope,
        change: &Change,
        current: Option<&DocumentState>,
    ) -> Option<Resolution> {
        if self.fault == Fault::ConflictsOverwritten {
            return Some(Resolution::Local);
        }
        self.judge.resolve(scope, change, current)
    }
}
