//! Complete replicas with their drivers.

use storage_kit::kv::{KvOptions, MemoryKv, open_replica};
use sync_core::driver::{Driver, DriverOptions, Parts, Unobserved};
use sync_core::engine::{Goal, Phase};
use sync_core::environment::{Environment, System};
use sync_core::model::{DocumentId, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;

use super::*;

/// The number of rounds of writes and cuts.
const ROUNDS: usize = 8;
/// The number of documents that a replica writes in a round.
const WRITES: usize = 20;

struct Device {
    storage: Arc<dyn Storage>,
    driver: Driver,
    who: u8,
}

impl Device {
    async fn start<H: TransportHarness>(fixture: &Fixture<H>, who: u8, scope: &Scope) -> Self {
        let (kv, options) = (Arc::new(MemoryKv::default()), KvOptions::default());
        let storage: Arc<dyn Storage> = Arc::new(open_replica(kv, replica(who), options).unwrap());
        let parts = Parts {
            storage: storage.clone(),
            transport: fixture.transport.clone(),
            environment: Arc::new(System),
            observer: Arc::new(Unobserved),
        };
        let mut options = DriverOptions::default();
        options.scopes = vec![scope.clone()];
        options.token = Some(TOKEN.to_owned());
        options.engine.retry.first = Duration::from_millis(20);
        options.engine.retry.ceiling = Duration::from_millis(200);
        options.chunk_limits.documents = 7;
        let driver = Driver::start(parts, options).await.unwrap();
        driver.run(Goal::default()).await.unwrap();
        Self { storage, driver, who }
    }

    async fn write(&self, scope: &Scope, round: usize) {
        for n in 0..WRITES {
            // Every second document is shared by all replicas, the others belong to this one.
            let id = if n % 2 == 0 { format!("shared-{n}") } else { format!("{}-{n}", self.who) };
            let write = LocalWrite::new(
                Collection::new(NOTES).unwrap(),
                DocumentId::new(id).unwrap(),
                WriteOperation::Put(text(&format!("{} in round {round}", self.who))),
            );
            let transaction = LocalTransaction { scope: scope.clone(), writes: vec![write] };
            self.storage.write(System.now(), transaction).await.unwrap();
        }
    }

    async fn digest(&self, scope: &Scope) -> (Digest, u64) {
        let state = self.storage.state().await.unwrap();
        let unsettled = state.outbox(scope);
        let summary = state.scope(scope).expect("the scope");
        (summary.digest, unsettled.pending + unsettled.in_flight)
    }
}

/// Two replicas that write shared and own documents, over links that are cut again and again, hold
/// the same as the server when the links stay.
pub async fn replicas_converge_over_links_that_are_cut<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("cut");
    let devices =
        [Device::start(&fixture, 1, &scope).await, Device::start(&fixture, 2, &scope).await];
    for round in 0..ROUNDS {
        for device in &devices {
            device.write(&scope, round).await;
            fixture.harness.cut().await?;
        }
        // The next round begins when some bytes have arrived in spite of the cuts.
        let mut status = devices[round % 2].driver.status();
        let pushed = status.borrow().pushed;
        let moved = status.wait_for(|s| s.pushed > pushed || s.progress.phase == Phase::InSync);
        fixture.soon("progress between two cuts", moved).await.unwrap();
    }
    converge(&fixture, devices, &scope, ROUNDS - 1).await;
    Ok(())
}

/// Two replicas over links that fall silent detect that, and continue when the links carry bytes
/// again, without a call of the app.
pub async fn replicas_converge_over_links_that_fall_silent<H: TransportHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::with_heartbeat(harness).await;
    let scope = scope("silent");
    let devices =
        [Device::start(&fixture, 1, &scope).await, Device::start(&fixture, 2, &scope).await];
    for round in 0..3 {
        for device in &devices {
            let mut status = device.driver.status();
            let in_sync = status.wait_for(|s| s.progress.phase == Phase::InSync);
            fixture.soon("being in sync", in_sync).await.unwrap();
        }
        fixture.harness.stall().await?;
        for device in &devices {
            device.write(&scope, round).await;
            let mut status = device.driver.status();
            let noticed =
                status.wait_for(|s| !matches!(s.progress.phase, Phase::Syncing | Phase::InSync));
            within(fixture.timing.silence, "noticing the silence", noticed).await.unwrap();
        }
        fixture.harness.heal().await;
    }
    converge(&fixture, devices, &scope, 2).await;
    Ok(())
}

/// Waits until both replicas hold what the server holds: the documents of the last round.
async fn converge<H: TransportHarness>(
    fixture: &Fixture<H>,
    devices: [Device; 2],
    scope: &Scope,
    last: usize,
) {
    let converged = async {
        loop {
            let server = (fixture.row(scope).await.digest, 0);
            if devices[0].digest(scope).await == server && devices[1].digest(scope).await == server
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    within(fixture.timing.prompt * 3, "convergence", converged).await;
    let mut reader = Reader::new(scope);
    let connection = fixture.connect(3, &[scope]).await;
    fixture.soon("a pull", reader.pull_all(&*connection)).await.unwrap();
    let last = format!("in round {last}");
    assert_eq!(reader.entries.len(), WRITES / 2 + WRITES);
    for entry in &reader.entries {
        let body = entry.state.body.as_ref().expect("nothing was deleted");
        assert!(body.as_str().contains(&last), "an older write survived: {entry:?}");
    }
    for device in devices {
        fixture.soon("stopping", device.driver.stop()).await;
    }
}
