//! No scope reaches a client that may not read it (guarantee 12), and a client keeps nothing of
//! scopes that it does not follow.

use super::{Fact, History, Look, Oracle, OracleResult};

#[derive(Debug)]
pub(super) struct Scopes;

impl Oracle for Scopes {
    fn name(&self) -> &'static str {
        "scopes"
    }

    fn see(&mut self, fact: &Fact, _: &History, look: &mut dyn Look) -> OracleResult {
        match fact {
            Fact::Received { client, chunk, allowed } => {
                if !allowed {
                    return Err(format!(
                        "{} reached client {client}, which may not see it",
                        chunk.scope
                    ));
                }
                Ok(())
            }
            Fact::Changed { client, key, .. } if !look.scopes_of(*client).contains(&key.scope) => {
                Err(format!("client {client} shows {key}, of a scope that it does not follow"))
            }
            Fact::Forgot { client, scope } => match look.records(*client, scope).first() {
                None => Ok(()),
                Some((key, _)) => {
                    Err(format!("{key} stayed on client {client}, which may not see it"))
                }
            },
            _ => Ok(()),
        }
    }
}
