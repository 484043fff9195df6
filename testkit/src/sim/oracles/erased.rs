//! An erasure removes every body that was written without knowing of it, on the server and on every
//! device (guarantee of `erase`).

use sync_core::model::DocumentState;

use super::{Fact, History, Look, Oracle, OracleResult};

#[derive(Debug)]
pub(super) struct Erased;

impl Oracle for Erased {
    fn name(&self) -> &'static str {
        "erased"
    }

    /// Checks the erasing device at once.
    fn see(&mut self, fact: &Fact, history: &History, look: &mut dyn Look) -> OracleResult {
        let (client, key, gone) = match fact {
            Fact::Wrote { client, key, after: Some(after), .. } if after.is_erasure() => {
                (*client, key, history.story(key).bodies())
            }
            Fact::Changed { client, key, before, after: Some(after), .. }
                if after.erased > DocumentState::erasure_of(before.as_ref()) =>
            {
                (*client, key, history.story(key).erased_by(after))
            }
            _ => return Ok(()),
        };
        let held = format!("{:?}", look.record(client, key));
        match gone.iter().find(|body| held.contains(body.as_str())) {
            Some(body) => Err(format!("client {client} still holds {body:?} of {key}: {held}")),
            None => Ok(()),
        }
    }

    fn finish(&mut self, history: &History, look: &mut dyn Look) -> OracleResult {
        if !history.has_erasures() {
            return Ok(());
        }
        for client in 0..look.clients() {
            for scope in look.scopes_of(client) {
                let records = look.records(client, &scope);
                for (key, row) in look.server_rows(&scope) {
                    let story = history.story(&key);
                    let gone = story.erased_by(&row.state);
                    let record = records.iter().find(|(k, _)| *k == key);
                    for (holder, held) in [
                        ("the server".to_owned(), format!("{row:?}")),
                        (format!("client {client}"), format!("{record:?}")),
                    ] {
                        if let Some(body) = gone.iter().find(|b| held.contains(b.as_str())) {
                            return Err(format!("{holder} still holds {body:?} of {key}: {held}"));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
