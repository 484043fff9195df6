//! Data that survives closing, crashes and full disks.

use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{LogEntry, ReplicaId, Scope, Seq, VerdictKind};
use sync_server::ops::Acknowledgement;
use sync_server::record::ServerScope;

use super::super::run::Outcome;
use super::super::tools::must;
use super::ServerStorageHarness;
use super::fixture::{Fixture, Told, decided, insert};

async fn everything(fixture: &Fixture) -> (ServerScope, Vec<LogEntry>) {
    (fixture.scope().await, fixture.all().await)
}

/// Closed data is complete when it is opened again: documents, positions, counts, acknowledgements.
pub async fn what_was_closed_is_there_again<H: ServerStorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_durable()?;
    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 12).await;
    fixture.push(&[("d-00003", None), ("d-00004", Some("2"))]).await;
    must(fixture.storage.purge(Scope::default(), Seq(5)).await, "a purge");
    let epoch = fixture.scope().await.epoch;
    let ack = Acknowledgement::new(epoch, Seq(7));
    let replica = ReplicaId([0x44; 16]);
    let acknowledged = fixture.storage.acknowledge(Scope::default(), replica, ack).await;
    must(acknowledged, "an acknowledgement");
    let before = everything(&fixture).await;
    must(fixture.storage.close().await, "the storage is closed");
    let fixture = fixture.reopen(&harness).await;
    assert_eq!(everything(&fixture).await, before);
    let at = must(fixture.storage.replica(Scope::default(), replica).await, "the replica").0;
    assert_eq!(at.map(|a| a.seq), Some(Seq(7)));
    let next = fixture.push(&[("d-00004", Some("3"))]).await;
    assert_eq!(decided(&next)[0].seq, Seq(15), "positions go on");
    fixture.check().await;
    Ok(())
}

/// Acknowledged changes are there after a crash: pushes, purges and epochs.
pub async fn what_was_said_survives_a_crash<H: ServerStorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let mut fixture = Fixture::open(&harness).await;
    for step in 0..6 {
        match step {
            0 => drop(fixture.fill("d", 5).await),
            1 => drop(fixture.push(&[("d-00001", None), ("e", Some("1"))]).await),
            2 => drop(must(fixture.storage.purge(Scope::default(), Seq(6)).await, "a purge")),
            3 => {
                let (from, fresh) = (fixture.scope().await.epoch, sync_core::model::Epoch([4; 16]));
                let begun =
                    fixture.storage.begin_epoch(Scope::default(), from, Seq(7), fresh).await;
                drop(must(begun, "a new epoch"));
            }
            _ => drop(fixture.push(&[("e", Some(&step.to_string()))]).await),
        }
        let before = everything(&fixture).await;
        must(harness.crash().await, "a crash");
        fixture = fixture.reopen(&harness).await;
        assert_eq!(everything(&fixture).await, before, "after step {step}");
        fixture.check().await;
    }
    Ok(())
}

/// On a full disk a push fails as a whole, with an error whose advice is to retry later, and is not
/// remembered: it succeeds once there is room. Existing data stays readable.
pub async fn a_full_disk_fails_whole_and_recovers<H: ServerStorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_full_disk()?;
    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 5).await;
    must(fixture.storage.close().await, "the storage is closed");
    must(harness.fill_disk().await, "the disk is filled");
    let fixture = fixture.reopen(&harness).await;
    let large = format!("\"{}\"", "x".repeat(100_000));
    let mut failed = None;
    // A part of the data may still fit.
    for n in 0..100 {
        let changes = (0..4).map(|d| insert(&format!("large-{n}-{d}"), &large)).collect();
        let pushed = fixture.batch(changes);
        let before = everything(&fixture).await;
        let Err(error) = fixture.try_append(pushed.clone(), Told::open()).await else {
            let written = fixture.all().await.len() - before.1.len();
            assert_eq!(written, 4, "a push that was accepted is not there");
            continue;
        };
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert_ne!(error.retry(), Retry::Never, "a full disk is no reason to give up: {error}");
        assert_eq!(everything(&fixture).await, before, "a push that failed left something");
        fixture.check().await;
        failed = Some(pushed);
        break;
    }
    let Some(pushed) = failed else { panic!("the disk does not get full") };
    must(fixture.storage.close().await, "the storage is closed");
    must(harness.free_disk().await, "the disk is freed");
    let fixture = fixture.reopen(&harness).await;
    let appended = fixture.append(&pushed).await;
    assert!(decided(&appended).iter().all(|v| v.kind == VerdictKind::Accepted), "{appended:?}");
    fixture.check().await;
    Ok(())
}
