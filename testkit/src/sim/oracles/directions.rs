//! A replica that only pushes neither requests nor applies chunks, and one that only pulls pushes
//! nothing. Each still has to reach its goal, an empty outbox or the position of the head, which is
//! checked after the faults have ended.

use std::collections::BTreeMap;

use sync_core::engine::Direction;

use super::{Fact, History, Look, Oracle, OracleResult};

#[derive(Debug, Default)]
pub(super) struct Directions(BTreeMap<usize, Direction>);

impl Directions {
    fn allow(&self, client: usize, may: fn(Direction) -> bool, what: &str) -> OracleResult {
        let direction = self.0.get(&client).copied().unwrap_or_default();
        if may(direction) {
            return Ok(());
        }
        Err(format!("client {client} {what} although its direction is `{direction}`"))
    }
}

impl Oracle for Directions {
    fn name(&self) -> &'static str {
        "directions"
    }

    fn see(&mut self, fact: &Fact, _: &History, _: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Directed { client, direction } => {
                self.0.insert(*client, *direction);
                Ok(())
            }
            Fact::Pulls { client, .. } => self.allow(*client, Direction::pulls, "asks for changes"),
            Fact::Applied { client, moved: true, .. } => {
                self.allow(*client, Direction::pulls, "takes in changes")
            }
            Fact::Formed { client, .. } | Fact::Pushes { client, .. } => {
                self.allow(*client, Direction::pushes, "pushes")
            }
            _ => Ok(()),
        }
    }
}
