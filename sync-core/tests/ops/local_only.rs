//! Collections that never leave the device.

use std::collections::BTreeSet;

use super::*;
use sync_core::error::{ErrorKind, Result};
use sync_core::replica::ops::declare_local_only;

fn declare(replica: &mut Replica, names: &[&str]) -> Result<()> {
    let collections: BTreeSet<_> = names.iter().map(|name| collection(name)).collect();
    declare_local_only(&mut replica.rows, &collections)
}

fn write_to(replica: &mut Replica, scope: Scope, operation: WriteOperation) -> Result<Committed> {
    let DocumentKey { collection, id, .. } = key("a");
    let writes = vec![LocalWrite { collection, id, operation }];
    let transaction = LocalTransaction { scope, writes };
    write(&mut replica.rows, NOW, &WriteLimits::default(), &transaction)
}

fn local(id: &str) -> DocumentKey {
    DocumentKey { scope: Scope::local(), ..key(id) }
}

#[test]
fn a_collection_that_holds_anything_synced_does_not_become_local() {
    let mut pulled = Replica::new();
    pulled.pull(1, vec![entry(1, "a", state("one", 90))]);
    let mut written = Replica::new();
    written.put("a", "one");
    let mut deleted = Replica::new();
    deleted.pull(1, vec![entry(1, "a", state("one", 90))]);
    deleted.write(&[("a", WriteOperation::Delete)]);
    for mut replica in [pulled, written, deleted] {
        assert_eq!(declare(&mut replica, &["notes"]).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(replica.meta().local_only.is_empty());
        declare(&mut replica, &["other"]).unwrap();
    }
}

#[test]
fn a_collection_of_which_only_tombstones_are_left_may_become_local() {
    let mut replica = Replica::new();
    replica.pull(1, vec![entry(1, "a", state("one", 90).without_body())]);
    declare(&mut replica, &["notes"]).unwrap();
    assert_eq!(replica.meta().local_only, [collection("notes")].into());
}

#[test]
fn local_documents_are_written_to_their_own_scope_and_others_elsewhere() {
    let mut replica = Replica::new();
    declare(&mut replica, &["notes"]).unwrap();
    let put = || WriteOperation::Put(body("x"));
    let refused = write_to(&mut replica, Scope::default(), put()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    write_to(&mut replica, Scope::local(), put()).unwrap();
    assert!(replica.next_push().is_none());
    let mut other = Replica::new();
    let refused = write_to(&mut other, Scope::local(), put()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_collection_that_holds_local_documents_is_not_synced() {
    let mut replica = Replica::new();
    declare(&mut replica, &["notes"]).unwrap();
    write_to(&mut replica, Scope::local(), WriteOperation::Put(body("x"))).unwrap();
    assert_eq!(declare(&mut replica, &[]).unwrap_err().kind(), ErrorKind::InvalidInput);
    write_to(&mut replica, Scope::local(), WriteOperation::Delete).unwrap();
    declare(&mut replica, &[]).unwrap();
}

#[test]
fn local_deletions_and_erasures_leave_no_trace() {
    for operation in [WriteOperation::Delete, WriteOperation::Erase] {
        let mut replica = Replica::new();
        declare(&mut replica, &["notes"]).unwrap();
        write_to(&mut replica, Scope::local(), WriteOperation::Put(body("x"))).unwrap();
        let gone = write_to(&mut replica, Scope::local(), operation.clone()).unwrap();
        assert_eq!(replica.rows.record(&local("a")).unwrap(), None);
        let erased = if operation == WriteOperation::Erase { vec![local("a")] } else { vec![] };
        assert_eq!(gone.erased, erased);
        let again = write_to(&mut replica, Scope::local(), operation).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn the_local_scope_is_rejected_by_server_operations() {
    let mut replica = Replica::new();
    let told = Chunk { scope: Scope::local(), ..chunk(Seq(0), 0, 0, Vec::new()) };
    let refused = apply(&mut replica.rows, &replica.cx, &told).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_replica_that_leaves_out_documents_of_the_server_reports_it() {
    use sync_core::replica::ops::{set_collections, state as state_of};
    let is_partial = |replica: &Replica| {
        state_of(&replica.rows).unwrap().scope(&Scope::default()).unwrap().is_partial
    };
    let one = || vec![entry(1, "a", state("one", 90))];
    let mut whole = Replica::new();
    whole.pull(1, one());
    assert!(!is_partial(&whole));
    let mut leaves_out = Replica::new();
    declare(&mut leaves_out, &["notes"]).unwrap();
    leaves_out.pull(1, one());
    assert!(is_partial(&leaves_out));
    let mut chosen = Replica::new();
    let notes = [collection("notes")].into();
    set_collections(&mut chosen.rows, &chosen.cx, &Scope::default(), Some(&notes)).unwrap();
    assert!(is_partial(&chosen));
}
