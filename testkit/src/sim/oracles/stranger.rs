//! Only proof of a restore makes the server begin a new epoch, or a replica reset its position; no
//! message does.

use sync_core::model::ResetReason;

use super::{Fact, History, Look, Oracle, OracleResult, STRANGER};

#[derive(Debug)]
pub(super) struct Stranger;

impl Oracle for Stranger {
    fn name(&self) -> &'static str {
        STRANGER
    }

    fn see(&mut self, fact: &Fact, history: &History, _: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Began { scope } if !history.in_doubt.contains(scope) => {
                Err(format!("the log of {scope} begins a new life, and was not restored since"))
            }
            Fact::Reset {
                client,
                scope,
                reason: reason @ (ResetReason::EpochChanged { .. } | ResetReason::Unproven),
            } if !history.restored => {
                Err(format!("client {client} gives up its position in {scope}: {reason:?}"))
            }
            _ => Ok(()),
        }
    }
}
