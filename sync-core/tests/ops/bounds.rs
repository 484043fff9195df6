//! The bounds of one transaction, and of one batch.

use super::*;
use sync_core::error::{ErrorKind, Result};

fn put(id: &str, text: &str) -> LocalWrite {
    let DocumentKey { collection, id, .. } = key(id);
    LocalWrite { collection, id, operation: WriteOperation::Put(body(text)) }
}

fn bounded(limits: WriteLimits, writes: &[LocalWrite]) -> Result<Committed> {
    let transaction = LocalTransaction { scope: Scope::default(), writes: writes.to_vec() };
    write(&mut Replica::new().rows, NOW, &limits, &transaction)
}

fn is_refused(limits: WriteLimits, writes: &[LocalWrite]) -> bool {
    match bounded(limits, writes) {
        Ok(committed) => {
            assert_eq!(committed.changes.len(), writes.len());
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            true
        }
    }
}

#[test]
fn a_transaction_is_bounded_by_documents() {
    let transaction = Limits { documents: 2, ..Limits::PUSH };
    let limits = WriteLimits { transaction, ..WriteLimits::default() };
    let writes = ["a", "b", "c", "d"].map(|id| put(id, "x"));
    let refused = [1, 2, 3, 4].map(|count| is_refused(limits, &writes[..count]));
    assert_eq!(refused, [false, false, true, true]);
}

#[test]
fn a_body_is_bounded_by_bytes() {
    let limits = WriteLimits { body_bytes: 10, ..WriteLimits::default() };
    let refused = [8, 9, 20].map(|length| is_refused(limits, &[put("a", &"x".repeat(length))]));
    assert_eq!(refused, [false, true, true], "with its quotes");
}

#[test]
fn a_transaction_is_bounded_by_bytes_and_one_document_always_fits() {
    // Each document counts with its body, its names and a fixed amount.
    let one = body("text").len() + "notes".len() + "a".len() + 64;
    let of = |bytes| {
        let transaction = Limits { bytes, ..Limits::PUSH };
        WriteLimits { transaction, ..WriteLimits::default() }
    };
    let writes = ["a", "b", "c"].map(|id| put(id, "text"));
    assert!(!is_refused(of(1), &writes[..1]));
    assert!(!is_refused(of(2 * one), &writes[..2]) && is_refused(of(2 * one - 1), &writes[..2]));
    assert!(!is_refused(of(3 * one), &writes) && is_refused(of(3 * one - 1), &writes));
    assert!(is_refused(of(2 * one), &writes));
}

/// Returns how many changes the next batch has within limits, after transactions of so many
/// documents.
fn carries(transactions: &[usize], limits: Limits) -> usize {
    let mut replica = Replica::new();
    let mut names = (0..).map(|n| format!("d{n:05}"));
    for count in transactions {
        let names: Vec<_> = names.by_ref().take(*count).collect();
        let write_of = |name: &String| (name.clone(), WriteOperation::Put(body("text")));
        let writes: Vec<_> = names.iter().map(write_of).collect();
        let writes: Vec<_> = writes.iter().map(|(id, op)| (id.as_str(), op.clone())).collect();
        replica.write(&writes);
    }
    let batch = next_push(&mut replica.rows, &replica.cx, &Scope::default(), limits).unwrap();
    batch.map_or(0, |batch| batch.changes.len())
}

#[test]
fn a_batch_carries_whole_transactions_within_its_limits_and_one_always() {
    let documents = |documents| Limits { documents, ..Limits::PUSH };
    let within = [1, 2, 3, 4, 5].map(|most| carries(&[2, 1, 2], documents(most)));
    assert_eq!(within, [2, 2, 3, 3, 5]);
    let one = "notes".len() + "d00000".len() + body("text").len() + 64;
    let bytes = |bytes| carries(&[1, 1, 1], Limits { bytes, ..Limits::PUSH });
    let within = [1, 2 * one - 1, 2 * one, 3 * one - 1, 3 * one].map(bytes);
    assert_eq!(within, [1, 1, 2, 2, 3]);
    assert_eq!(carries(&[1], Limits::NONE), 0);
}

#[test]
fn a_batch_carries_more_edits_than_are_read_at_a_time() {
    assert_eq!(carries(&[200, 56], Limits::PUSH), 256);
    assert_eq!(carries(&[256, 1, 300], Limits::PUSH), 557);
    assert_eq!(carries(&[256, 300], Limits { documents: 500, ..Limits::PUSH }), 256);
}

#[test]
fn a_batch_over_the_limits_is_recalled_if_it_can_be_divided() {
    let is_recalled = |transactions: &[&[&str]], limits| {
        let mut replica = Replica::new();
        for ids in transactions {
            let writes: Vec<_> =
                ids.iter().map(|id| (*id, WriteOperation::Put(body("text")))).collect();
            replica.write(&writes);
        }
        let formed = replica.next_push().unwrap();
        let scope = Scope::default();
        let again = next_push(&mut replica.rows, &replica.cx, &scope, limits).unwrap().unwrap();
        assert_eq!((again.id, again.digest()), (formed.id, formed.digest()));
        (again.recall.is_some(), formed.weight())
    };
    let limits = |documents, bytes| Limits { documents, bytes };
    let three: &[&[&str]] = &[&["a"], &["b"], &["c"]];
    let (_, weight) = is_recalled(three, Limits::PUSH);
    for (limits, expected) in [
        (limits(3, weight), false),
        (limits(2, weight), true),
        (limits(3, weight - 1), true),
        (limits(1, 1), true),
        (limits(4, weight + 1), false),
    ] {
        assert_eq!(is_recalled(three, limits).0, expected, "{limits:?}");
    }
    // One transaction cannot be divided, but is recalled if nothing may be carried at all.
    assert!(!is_recalled(&[&["a", "b"]], limits(1, 1)).0);
    assert!(is_recalled(&[&["a", "b"]], Limits::NONE).0);
}

#[test]
fn an_insert_is_a_pending_edit_and_fails_for_an_existing_document() {
    let mut replica = Replica::new();
    let insert = |text| WriteOperation::Insert(body(text));
    replica.write(&[("a", insert("one")), ("b", insert("two"))]);
    let record = replica.record("a").unwrap();
    assert_eq!(record.live().and_then(|live| live.body.clone()), Some(body("one")));
    assert!(record.pushable().is_some() && record.base().is_none());
    assert_eq!(replica.row().pending, 2);
    let DocumentKey { collection, id, .. } = key("a");
    let writes = vec![LocalWrite { collection, id, operation: insert("again") }];
    let transaction = LocalTransaction { scope: Scope::default(), writes };
    let limits = WriteLimits::default();
    let refused = write(&mut replica.rows, NOW, &limits, &transaction).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
}
