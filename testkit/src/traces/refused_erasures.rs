//! Erasures, and edits with knowledge of one, that the server rejects.

use std::sync::Arc;

use sync_core::model::{Change, Rejection, RejectionCode};
use sync_core::replica::Decision;

use super::erasing::edited;
use super::{batch, refusing};
use crate::cores::Cores;
use crate::world::{Refuse, World};

fn refuses_erasures() -> Option<Refuse> {
    Some(Arc::new(|change: &Change| {
        let refused = change.state.is_erasure();
        refused.then(|| Rejection { code: RejectionCode::Forbidden, reason: "refused".to_owned() })
    }))
}

/// A rejected erasure goes to the quarantine, and the document comes back from the server. A retry
/// erases it again.
pub fn a_refused_erasure<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.push_all(1);
    world.pull_all(0);
    world.put(0, "notes/b", "text");
    world.sync_all();
    world.refuse(refuses_erasures());
    world.erase(0, "notes/a");
    world.push_all(0);
    assert_eq!(world.quarantine(0).len(), 1);
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("third secret"), "the server tells it");
    world.sync_all();
    world.assert_converged();
    world.refuse(None);
    let retried = world.decide(0, "notes/a", &Decision::Retry);
    assert!(retried.is_ok(), "{retried:?}");
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!(world.calls().count(), 0);
}

/// The server rejects an edit that knows of a purged erasure, while another replica has written the
/// document anew. The new document is shown, whether it arrived before the push, between push and
/// verdict, or afterwards.
pub fn a_refused_edit_that_includes_an_erasure<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let all = ["notes/before", "notes/between", "notes/after"];
    for name in all {
        world.put(0, name, "secret");
        world.sync_all_of(0);
        world.erase(0, name);
        world.sync_all_of(0);
    }
    let head = world.server_scope().head;
    world.purge(head);
    world.refuse(refusing("refused"));
    for name in all {
        world.put(0, name, "refused");
        world.put(1, name, "anew");
        let pushed = match name {
            "notes/before" => {
                world.push_all(1);
                world.pull_all(0);
                batch(&mut world, 0)
            }
            "notes/between" => {
                let pushed = batch(&mut world, 0);
                world.push_all(1);
                world.pull_all(0);
                pushed
            }
            _ => {
                world.push_all(1);
                batch(&mut world, 0)
            }
        };
        let verdicts = world.deliver(&pushed);
        world.settle(0, pushed.id, &verdicts);
        let shown = Some("anew").filter(|_| name != "notes/after");
        assert_eq!(world.text(0, name).as_deref(), shown, "{name}");
    }
    world.sync_all();
    world.assert_converged();
    let shown = all.map(|name| world.text(0, name));
    assert!(shown.iter().all(|text| text.as_deref() == Some("anew")), "{shown:?}");
    assert_eq!(world.quarantine(0).len(), all.len());
}
