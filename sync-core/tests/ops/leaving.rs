//! Refused edits, and what leaves the device.

use super::*;
use sync_core::model::{Rejection, RejectionCode};
use sync_core::replica::ops::{decide, forget};
use sync_core::replica::record::QuarantineRow;
use sync_core::replica::{Decision, Forget};

/// A replica that has pulled `a`.
fn with(held: DocumentState) -> Replica {
    let mut replica = Replica::new();
    replica.pull(1, vec![entry(1, "a", held)]);
    replica
}

fn refuse(replica: &mut Replica) {
    let batch = replica.next_push().unwrap();
    let rejection = Rejection { code: RejectionCode::Forbidden, reason: "no".to_owned() };
    replica.settle(&batch, 1, &VerdictKind::Rejected(rejection));
}

fn quarantined(replica: &Replica) -> Vec<QuarantineRow> {
    let rows = replica.rows.quarantine(&Scope::default(), 0, 10).unwrap();
    rows.into_iter().map(|(_, row)| row).collect()
}

fn retry(replica: &mut Replica) {
    decide(&mut replica.rows, NOW, &key("a"), &Decision::Retry).unwrap();
    assert_eq!((quarantined(replica), replica.row().quarantined), (Vec::new(), 0));
}

#[test]
fn a_refused_edit_that_is_tried_again_is_an_edit_and_erases_nothing() {
    let knows = DocumentState {
        erased: Some(Revision { stamp: Stamp::new(NOW.0 - 200, 0), replica: THERE }),
        ..state("held", 90)
    };
    for held in [state("held", 90), knows] {
        let mut replica = with(held.clone());
        replica.put("a", "mine");
        refuse(&mut replica);
        assert_eq!(replica.record("a").unwrap().current, Some(held.clone()));
        retry(&mut replica);
        let current = replica.record("a").unwrap().current.unwrap();
        assert_eq!((current.body, current.erased), (Some(body("mine")), held.erased));
    }
}

#[test]
fn a_refused_erasure_that_is_tried_again_erases() {
    let mut replica = with(state("held", 90));
    replica.write(&[("a", WriteOperation::Erase)]);
    refuse(&mut replica);
    assert_eq!(quarantined(&replica).len(), 1);
    retry(&mut replica);
    let record = replica.record("a").unwrap();
    assert!(record.current.as_ref().is_some_and(DocumentState::is_erasure), "{record:?}");
    assert!(record.pushable().is_some());
}

#[test]
fn an_edit_that_leaves_the_device_keeps_no_body_of_what_it_was_made_on() {
    let erased = Some(Revision { stamp: Stamp::new(NOW.0 - 200, 0), replica: THERE });
    for (held, known) in
        [(state("held", 90), None), (DocumentState { erased, ..state("held", 90) }, erased)]
    {
        let mut replica = with(held);
        replica.put("a", "mine");
        let scope = Forget::Scope(Scope::default());
        forget(&mut replica.rows, NOW, None, &scope).unwrap();
        let rows = quarantined(&replica);
        assert_eq!((rows.len(), replica.record("a")), (1, None));
        assert_eq!(rows[0].state.body, Some(body("mine")));
        let base = rows[0].base.as_ref().map(|b| (&b.state.body, b.state.erased));
        assert_eq!(base, known.map(|known| (&None, Some(known))));
    }
}
