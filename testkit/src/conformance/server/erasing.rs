//! Erasures.

use sync_core::model::{Change, DocumentState, Rejection, RejectionCode, VerdictKind};
use sync_core::resolver::Resolution;

use super::super::run::Outcome;
use super::super::tools::{body, must};
use super::ServerStorageHarness;
use super::fixture::{Fixture, Told, change, decided, insert};

/// Makes an erasure of a change, with the same base.
fn erasing(change: Change) -> Change {
    let revision = change.state.revision;
    let state = DocumentState { body: None, erased: Some(revision), ..change.state };
    Change { state, ..change }
}

/// An erasure is accepted whatever its base is, and supersedes states that were written without
/// knowing of it. No resolver is called. A change that knows of the erasure is accepted as usual.
pub async fn an_erasure_wins_whatever_it_was_made_on<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("\"secret\"")), ("b", Some("\"secret\""))]).await;
    let (old, late) = (fixture.next("a", None), fixture.next("a", Some("\"late secret\"")));
    fixture.push(&[("a", Some("\"newer secret\""))]).await;
    let judge = Told::resolving(|_, _| Some(Resolution::Merge(body("\"merged secret\""))));
    let erased = erasing(old);
    let erasures =
        vec![erased.clone(), erasing(change("b", None, None)), erasing(insert("c", "1"))];
    let appended = fixture.append_by(&fixture.batch(erasures), judge.clone()).await;
    assert!(decided(&appended).iter().all(|v| v.kind == VerdictKind::Accepted), "{appended:?}");
    let erasures = appended.erasures;
    assert!(erasures > 0, "nothing tells that chunks in memory hold what was erased");
    for unknowing in [late, insert("a", "\"another secret\"")] {
        let appended = fixture.append_by(&fixture.batch(vec![unknowing]), judge.clone()).await;
        let verdict = &decided(&appended)[0];
        assert_eq!(verdict.kind, VerdictKind::Superseded);
        let told = verdict.current.as_ref().and_then(|c| c.state.as_ref());
        assert_eq!(told, Some(&erased.state));
    }
    assert!(!format!("{:?}", fixture.all().await).contains("secret"));
    let mut fresh = fixture.next("a", Some("\"fresh\""));
    fresh.state.erased = erased.state.erased;
    let appended = fixture.append_by(&fixture.batch(vec![fresh]), judge).await;
    assert_eq!(decided(&appended)[0].kind, VerdictKind::Accepted);
    assert_eq!(appended.erasures, erasures);
    fixture.check().await;
    Ok(())
}

/// A rejected erasure changes nothing, and its verdict has the current state, because the replica
/// that sent it has removed its own copy. An erasure that claims to know of a later one than itself
/// is rejected.
pub async fn a_refused_erasure_carries_the_current_state<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1"))]).await;
    let before = fixture.all().await;
    let refuses = Told::admitting(|change| match change.state.is_erasure() {
        true => Err(Rejection { code: RejectionCode::Forbidden, reason: "kept".to_owned() }),
        false => Ok(()),
    });
    let batch = fixture.batch(vec![erasing(fixture.next("a", None))]);
    for _ in 0..2 {
        let appended = fixture.append_by(&batch, refuses.clone()).await;
        let verdict = &decided(&appended)[0];
        assert!(matches!(verdict.kind, VerdictKind::Rejected(_)), "{verdict:?}");
        let told = verdict.current.as_ref().and_then(|c| c.state.as_ref());
        assert_eq!(told, Some(&before[0].state), "what is held is not told");
    }
    let mut ahead = erasing(fixture.next("a", None));
    ahead.state.erased.iter_mut().for_each(|e| e.stamp = e.stamp.next());
    let appended = fixture.append(&fixture.batch(vec![ahead])).await;
    assert!(matches!(decided(&appended)[0].kind, VerdictKind::Rejected(_)), "{appended:?}");
    assert_eq!(fixture.all().await, before);
    fixture.check().await;
    Ok(())
}

/// After `purge_erased`, no byte of erased data is in the storage's files, whatever states the
/// document had before.
pub async fn nothing_is_left_in_the_files_of_what_was_erased<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    harness.capabilities().need_searchable()?;
    let fixture = Fixture::open(&harness).await;
    for round in 0..3 {
        for n in 0..200 {
            let (bulk, kept) = (format!("bulk-{n}"), format!("kept-{n}"));
            let text = format!("\"secret {round} {}\"", "s".repeat((n + round) % 20 * 700));
            fixture.push(&[(&bulk, Some(&text)), (&kept, Some("1"))]).await;
        }
    }
    let found = search(&harness, b"secret").await;
    assert!(found > 200, "the search finds what is there: {found}");
    let erasures = (0..200).map(|n| erasing(fixture.next(&format!("bulk-{n}"), None))).collect();
    fixture.append(&fixture.batch(erasures)).await;
    assert!(must(fixture.storage.purge_erased().await, "the storage is purged"));
    assert_eq!(search(&harness, b"secret").await, 0, "something is left in the files");
    fixture.check().await;
    must(fixture.storage.close().await, "the storage is closed");
    assert_eq!(search(&harness, b"secret").await, 0, "something is left in the files");
    Ok(())
}

/// Counts how often a word occurs in the files.
async fn search<H: ServerStorageHarness>(harness: &H, word: &[u8]) -> usize {
    let bytes = must(harness.bytes().await, "the files are read");
    bytes.windows(word.len()).filter(|w| *w == word).count()
}
