//! Which collections are synced, and what is counted.

use std::collections::BTreeSet;

use super::*;
use sync_core::replica::ops::{check, set_collections};
use sync_core::replica::rows::ReplicaRows;

fn choose_these(replica: &mut Replica, names: &[&str]) {
    let chosen: BTreeSet<_> = names.iter().map(|name| collection(name)).collect();
    set_collections(&mut replica.rows, &replica.cx, &Scope::default(), Some(&chosen)).unwrap();
}

/// Writes so many documents of a collection.
fn write_many(replica: &mut Replica, name: &str, count: usize) {
    let write_of = |n| {
        LocalWrite::new(
            collection(name),
            DocumentId::new(format!("d{n}")).unwrap(),
            WriteOperation::Put(body("x")),
        )
    };
    for page in (0..count).collect::<Vec<_>>().chunks(500) {
        let writes = page.iter().map(write_of).collect();
        let transaction = LocalTransaction { scope: Scope::default(), writes };
        write(&mut replica.rows, NOW, &WriteLimits::default(), &transaction).unwrap();
    }
}

fn counts(replica: &Replica) -> (u64, u64) {
    (replica.row().pending, replica.row().not_chosen)
}

#[test]
fn waiting_edits_are_counted_by_whether_they_are_synced() {
    let mut replica = Replica::new();
    // More than are read at a time.
    write_many(&mut replica, "notes", 2_300);
    write_many(&mut replica, "other", 3);
    assert_eq!(counts(&replica), (2_303, 0));
    choose_these(&mut replica, &["other"]);
    assert_eq!(counts(&replica), (3, 2_300));
    choose_these(&mut replica, &["notes", "other"]);
    assert_eq!(counts(&replica), (2_303, 0));
}

#[test]
fn a_page_that_is_just_full_is_not_the_last_one() {
    let mut replica = Replica::new();
    write_many(&mut replica, "notes", 1_000);
    write_many(&mut replica, "other", 5);
    choose_these(&mut replica, &["notes"]);
    assert_eq!(counts(&replica), (1_000, 5));
}

#[test]
fn a_collection_that_is_left_out_leaves_the_device_once_it_was_synced() {
    let mut replica = Replica::new();
    replica.pull(1, vec![entry(1, "a", state("one", 90))]);
    choose_these(&mut replica, &["other"]);
    assert_eq!((replica.record("a"), replica.row().documents), (None, 0));
}

#[test]
fn edits_from_before_the_first_sync_wait_in_every_collection() {
    let mut replica = Replica::new();
    replica.put("a", "one");
    choose_these(&mut replica, &["other"]);
    assert!(replica.record("a").is_some_and(|record| record.live().is_some()));
}

#[test]
fn edits_in_flight_before_the_first_sync_leave_with_their_collection() {
    let mut replica = Replica::new();
    replica.put("a", "one");
    replica.next_push().unwrap();
    choose_these(&mut replica, &["other"]);
    assert_eq!((replica.record("a"), replica.row().quarantined), (None, 1));
}

#[test]
fn documents_are_counted_again_beside_the_sums_that_are_kept() {
    let mut replica = Replica::new();
    // A page that is just full, and one that is not.
    for count in [256, 600] {
        let entries = (1..=count).map(|n| entry(n, &format!("d{n}"), state("x", 90)));
        let entries = entries.filter(|e| e.seq > replica.row().checkpoint.position);
        let entries: Vec<_> = entries.collect();
        replica.pull(count, entries);
        let checked = check(&replica.rows).unwrap();
        assert_eq!(checked.len(), 1);
        assert!(checked[0].is_right(), "{checked:?}");
        assert_eq!(checked[0].counted.documents, count);
    }
    let right = replica.row();
    let wrong = ScopeRow { documents: 7, ..right.clone() };
    replica.rows.put_scope(&Scope::default(), &wrong).unwrap();
    let checked = check(&replica.rows).unwrap();
    assert_eq!((checked[0].kept.documents, checked[0].counted.documents), (7, 600));
    assert_eq!(checked[0].counted.digest, right.digest);
}
