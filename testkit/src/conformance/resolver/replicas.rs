//! Replicas whose conflicts the resolver decides.

use std::sync::Arc;

use sync_core::model::{Body, Collection, DocumentKey};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};

use super::super::run::Outcome;
use super::Subject;
use crate::cores::{MemoryCores, must};
use crate::world::{Options, World};

/// Writes or deletes a document.
fn write(world: &mut World<MemoryCores>, replica: usize, name: &str, body: Option<&Body>) {
    let DocumentKey { scope, collection, id } = world.key(name);
    let operation = body.map_or(WriteOperation::Delete, |b| WriteOperation::Put(b.clone()));
    let writes = vec![LocalWrite { collection, id, operation }];
    must(world.write(replica, LocalTransaction { scope, writes }), "a write");
}

/// Makes documents, and concurrent edits of them on two replicas.
fn disagree(world: &mut World<MemoryCores>, documents: &[Body]) {
    let sides = || documents.iter().map(Some).chain([None]);
    let mut names = Vec::new();
    for (m, mine) in sides().enumerate() {
        for (t, theirs) in sides().enumerate() {
            names.push((format!("known/{m}-{t}"), mine, theirs));
        }
    }
    for (name, ..) in &names {
        write(world, 0, name, Some(&documents[0]));
    }
    world.sync_all();
    for (name, mine, theirs) in &names {
        write(world, 0, name, *mine);
        world.tick(3);
        write(world, 1, name, *theirs);
    }
    // Both replicas also made documents that the other one does not know.
    for (m, mine) in documents.iter().enumerate() {
        for (t, theirs) in documents.iter().enumerate() {
            let name = format!("new/{m}-{t}");
            write(world, 1, &name, Some(theirs));
            world.tick(3);
            write(world, 0, &name, Some(mine));
        }
    }
}

fn become_equal(options: &Options, documents: &[Body]) {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::with(MemoryCores, options.clone());
        disagree(&mut world, documents);
        for replica in order {
            world.sync_all_of(replica);
        }
        world.sync_all();
        world.assert_converged();
        // A settled document is never passed to a resolver again.
        let calls = world.calls().count();
        world.sync_all();
        assert_eq!(world.calls().count(), calls, "a resolver is asked about what is settled");
    }
}

/// Two replicas that disagree about every document become equal, in whatever order they sync.
pub async fn replicas_become_equal_in_any_order_of_syncs(subject: Subject) -> Outcome {
    let options = Options { resolver: Arc::clone(&subject.resolver), ..Options::default() };
    become_equal(&options, &subject.documents);
    Ok(())
}

/// Two replicas that disagree become equal where the server resolves.
pub async fn replicas_become_equal_when_the_server_resolves(subject: Subject) -> Outcome {
    let collections = ["known", "new"];
    let on_server = collections
        .map(|name| (must(Collection::new(name), "a collection"), Arc::clone(&subject.resolver)));
    let options = Options { on_server: on_server.to_vec(), ..Options::default() };
    become_equal(&options, &subject.documents);
    Ok(())
}

/// Three replicas that keep disagreeing converge after each round, and every conflict is decided a
/// bounded number of times.
pub async fn three_replicas_converge(subject: Subject) -> Outcome {
    const ROUNDS: usize = 6;
    const DOCUMENTS: usize = 5;
    let options =
        Options { replicas: 3, resolver: Arc::clone(&subject.resolver), ..Options::default() };
    let mut world = World::with(MemoryCores, options);
    for round in 0..ROUNDS {
        let before = world.calls().count();
        for n in 0..DOCUMENTS {
            for replica in 0..3 {
                let body = &subject.documents[(round + n + replica) % subject.documents.len()];
                write(&mut world, replica, &format!("notes/{n}"), Some(body));
            }
        }
        for replica in [2, 0, 1] {
            world.sync_all_of((replica + round) % 3);
        }
        world.sync_all();
        world.assert_converged();
        let calls = world.calls().count() - before;
        assert!(calls <= DOCUMENTS * 3 * 4, "{calls} calls for {DOCUMENTS} documents");
    }
    Ok(())
}
