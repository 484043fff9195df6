//! Replicas do not overrule each other for ever, whatever their resolvers return: between two local
//! writes of a document the number of conflicts is bounded by how many replicas have unsettled
//! edits of it. `sync_core::resolver` explains why; the resolvers here provoke it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use sync_core::error::Result;
use sync_core::resolver::{Conflict, ConflictResolver, Resolution};
use testkit::actors::Actors;
use testkit::cores::MemoryCores;
use testkit::world::{Options, World, body};

/// Merges every conflict into a new body, against the rule that resolvers are deterministic.
#[derive(Debug, Default)]
struct Restless(AtomicU64);

impl ConflictResolver for Restless {
    fn name(&self) -> &str {
        "restless"
    }

    fn needs_base(&self) -> bool {
        true
    }

    fn resolve(&self, _: &Conflict<'_>) -> Result<Resolution> {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Resolution::Merge(body(&format!("restless {n}"))))
    }
}

/// A different resolver on every replica: by the replica's number it keeps the local edit, takes
/// the server's, deletes, or writes the number.
#[derive(Debug)]
struct Quarrelling;

impl ConflictResolver for Quarrelling {
    fn name(&self) -> &str {
        "quarrelling"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let own = conflict.local.revision.replica;
        Ok(match own.0[15] % 4 {
            0 => Resolution::Local,
            1 => Resolution::Merge(body(&format!("{} says so", own.0[15]))),
            2 => Resolution::Delete,
            _ => Resolution::Remote,
        })
    }
}

fn resolvers() -> [Arc<dyn ConflictResolver>; 2] {
    [Arc::new(Restless::default()), Arc::new(Quarrelling)]
}

fn world(
    resolver: Arc<dyn ConflictResolver>,
    replicas: usize,
    on_server: bool,
) -> World<MemoryCores> {
    let mut options = Options { replicas, ..Options::default() };
    if on_server {
        options.on_server = vec![(World::<MemoryCores>::collection("notes"), resolver)];
    } else {
        options.resolver = resolver;
    }
    World::with(MemoryCores, options)
}

/// Each push that is accepted settles one replica's edit, and every other edit conflicts with one
/// new state.
fn most_calls(replicas: usize) -> usize {
    replicas * (replicas - 1) / 2
}

/// Pushes once, or applies one chunk, as over a network that answers at any time.
fn small_step(world: &mut World<MemoryCores>, replica: usize, pull: bool) {
    if !pull {
        world.push_once(replica);
    } else if let Ok(chunk) = world.next_chunk(replica) {
        world.apply(replica, &chunk);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn conflicts_are_bounded_in_any_order_of_pushes_and_pulls(
        replicas in 2..6usize, on_server: bool, moves in proptest::collection::vec((0..6usize, any::<bool>()), 0..40),
    ) {
        for resolver in resolvers() {
            let mut world = world(resolver, replicas, on_server);
            world.put(0, "notes/a", "base");
            world.sync_all();
            for round in 0..3 {
                let before = world.calls().count();
                (0..replicas).for_each(|r| world.put(r, "notes/a", &format!("{r} in round {round}")));
                for (replica, pull) in &moves {
                    small_step(&mut world, replica % replicas, *pull);
                }
                world.sync_all();
                world.assert_converged();
                let calls = world.calls().count() - before;
                prop_assert!(calls <= most_calls(replicas), "{} calls of {} replicas", calls, replicas);
                // Without further writes the head does not move, and no resolver is called.
                let head = world.server_scope().head;
                world.sync_all();
                prop_assert_eq!(world.calls().count() - before, calls);
                prop_assert_eq!(world.server_scope().head, head);
            }
        }
    }
}

#[test]
fn engines_that_follow_live_become_idle() {
    for on_server in [false, true] {
        for resolver in resolvers() {
            const REPLICAS: usize = 5;
            let mut actors = Actors::new(world(resolver, REPLICAS, on_server));
            (0..REPLICAS).for_each(|r| actors.start(r));
            actors.run();
            for round in 0..10 {
                let before = actors.world.calls().count();
                (0..REPLICAS)
                    .for_each(|r| actors.write(r, "notes/a", Some(&format!("{r} {round}"))));
                // Panics if it does not end.
                actors.run();
                let calls = actors.world.calls().count() - before;
                assert!(0 < calls && calls <= most_calls(REPLICAS), "{calls} calls");
            }
            actors.world.assert_converged();
        }
    }
}
