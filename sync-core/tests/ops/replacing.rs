//! A write that applies only to the revision that was read.

use super::*;
use sync_core::error::{ErrorKind, Result};

fn try_write(
    replica: &mut Replica,
    scope: &Scope,
    operations: &[WriteOperation],
) -> Result<Committed> {
    let DocumentKey { collection, id, .. } = key("a");
    let of = |operation: &WriteOperation| {
        LocalWrite::new(collection.clone(), id.clone(), operation.clone())
    };
    let writes = operations.iter().map(of).collect();
    let transaction = LocalTransaction { scope: scope.clone(), writes };
    write(&mut replica.rows, NOW, &WriteLimits::default(), &transaction)
}

fn revision(replica: &Replica, scope: &Scope) -> Revision {
    let key = DocumentKey { scope: scope.clone(), ..key("a") };
    replica.rows.record(&key).unwrap().unwrap().live().unwrap().revision
}

fn put(text: &str) -> WriteOperation {
    WriteOperation::Put(body(text))
}

fn replaces(mut replica: Replica, scope: &Scope) {
    try_write(&mut replica, scope, &[put("1")]).unwrap();
    let read = revision(&replica, scope);
    let replace = |text| WriteOperation::Replace(read, body(text));
    let done = try_write(&mut replica, scope, &[replace("2")]).unwrap();
    assert_eq!(done.changes[0].document.as_ref().unwrap().body, Some(body("2")));
    // Now it is at another revision.
    let error = try_write(&mut replica, scope, &[replace("3")]).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Superseded, false), "{error}");
    // An earlier write of the transaction counts, and the transaction is undone as a whole.
    let now = revision(&replica, scope);
    let after_put = [put("4"), WriteOperation::Replace(now, body("5"))];
    // Rows in memory keep what a failed transaction wrote: a storage drops them.
    assert_eq!(
        try_write(&mut replica, scope, &after_put).unwrap_err().kind(),
        ErrorKind::Superseded
    );
    try_write(&mut replica, scope, &[WriteOperation::Delete]).unwrap();
    let error = try_write(&mut replica, scope, &[replace("6")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_document_is_replaced_at_the_revision_that_was_read_alone() {
    replaces(Replica::new(), &Scope::default());
}

#[test]
fn a_local_only_document_is_replaced_likewise() {
    let mut replica = Replica::new();
    let names = [collection("notes")].into();
    sync_core::replica::ops::declare_local_only(&mut replica.rows, &names).unwrap();
    replaces(replica, &Scope::local());
}

#[test]
fn a_replacement_that_is_over_the_limit_is_refused() {
    let mut replica = Replica::new();
    replica.put("a", "1");
    let read = revision(&replica, &Scope::default());
    let DocumentKey { collection, id, .. } = key("a");
    let operation = WriteOperation::Replace(read, body(&"x".repeat(20)));
    let writes = vec![LocalWrite { collection, id, operation }];
    let limits = WriteLimits { body_bytes: 10, ..WriteLimits::default() };
    let transaction = LocalTransaction { scope: Scope::default(), writes };
    let error = write(&mut replica.rows, NOW, &limits, &transaction).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// A state of the server is another revision, too.
#[test]
fn a_document_that_was_pulled_since_is_not_replaced() {
    let mut replica = Replica::new();
    replica.pull(1, vec![entry(1, "a", state("theirs", 20))]);
    let read = revision(&replica, &Scope::default());
    replica.pull(2, vec![entry(2, "a", state("newer", 10))]);
    let replace = WriteOperation::Replace(read, body("ours"));
    let error = try_write(&mut replica, &Scope::default(), &[replace]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Superseded);
    assert_eq!(replica.record("a").unwrap().live().unwrap().body, Some(body("newer")));
}
