//! Bodies that a server leaves out of a chunk, because this replica pushed them.

use sync_core::model::{Chunk, Reset, ResetReason, Scope};

use super::super::run::Outcome;
use super::super::tools::{key, must};
use super::StorageHarness;
use super::fixture::Fixture;
use super::log::Log;

/// Returns the chunk as a server sends it to this replica.
async fn left_out(fixture: &Fixture, chunk: Chunk) -> Chunk {
    let replica = fixture.state().await.replica;
    let own = chunk.without_own(replica, 0);
    assert!(own.is_some(), "the chunk holds nothing that this replica pushed");
    own.unwrap_or(chunk)
}

/// A body that was left out is completed from the replica's own: while the batch is in flight,
/// after its verdict, after the document was edited again, and after a reset that voided the known
/// positions.
pub async fn a_body_that_was_left_out_is_completed<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    for (round, edited_since) in [(1, false), (2, true)] {
        fixture.put("early", &format!("\"early {round}\"")).await;
        let batch = fixture.push().await;
        let before = fixture.position().await;
        let verdicts = log.accept(&batch);
        if edited_since {
            fixture.put("early", "\"edited since\"").await;
        }
        fixture.apply(left_out(&fixture, log.rest(before)).await).await;
        fixture.settle(&batch, verdicts).await;
        let shown = if edited_since { "\"edited since\"" } else { "\"early 1\"" };
        assert_eq!(fixture.text("early").await.as_deref(), Some(shown));
    }
    let batch = fixture.push().await;
    let before = fixture.position().await;
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    fixture.apply(left_out(&fixture, log.rest(before)).await).await;
    let reset = Reset { epoch: log.epoch, reason: ResetReason::DigestDiffers };
    must(fixture.storage.reset(fixture.cx(), Scope::default(), reset).await, "a reset");
    fixture.apply(left_out(&fixture, log.rest(0)).await).await;
    let early = fixture.get("early").await;
    assert_eq!(early.map(|doc| doc.dirty), Some(false));
    assert_eq!(fixture.text("early").await.as_deref(), Some("\"edited since\""));
    Ok(())
}

/// A body that was left out and is missing here, or differs, is requested: nothing of the chunk is
/// applied, and the result holds the reason.
pub async fn a_missing_body_is_requested<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.put("a", "\"one\"").await;
    let batch = fixture.push().await;
    let verdicts = log.accept(&batch);
    let whole = log.rest(0);
    let mut another = whole.clone();
    another.entries[0].state.body = log.put("b", "\"another\"").body;
    let refused = fixture.try_apply(left_out(&fixture, another).await).await;
    let refused = must(refused, "a chunk is looked at");
    assert!(!refused.moved && refused.checkpoint.lacks_own, "{refused:?}");
    assert_eq!(
        (fixture.position().await, fixture.text("a").await.as_deref()),
        (0, Some("\"one\""))
    );
    fixture.settle(&batch, verdicts).await;
    let mut unknown = whole.clone();
    unknown.entries[0].id = key("elsewhere").id;
    let refused = fixture.try_apply(left_out(&fixture, unknown.clone()).await).await;
    let refused = must(refused, "a chunk is looked at");
    assert!(!refused.moved && refused.checkpoint.lacks_own, "{refused:?}");
    let applied = fixture.apply(unknown).await;
    assert!(!applied.checkpoint.lacks_own);
    assert_eq!(fixture.text("elsewhere").await.as_deref(), Some("\"one\""));
    Ok(())
}
