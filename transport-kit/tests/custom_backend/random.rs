//! Many random histories: two replicas, another client of the service, lost answers, chunks that
//! wait, restarts. At the end all have the same data, no write is missing, and no settled state was
//! ever replaced by an older one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sync_core::error::Result;
use sync_core::model::{Body, Chunk, DocumentState, PushId, Verdicts};
use sync_core::resolver::{Conflict, ConflictResolver, Resolution, Resolvers};

use crate::device::{Device, key};
use crate::service::{EPOCH_MS, Service, Writes};

const IDS: [&str; 3] = ["a", "b", "c"];
const HISTORIES: u64 = 300;
const STEPS: usize = 60;

/// Merges all words of both sides.
#[derive(Debug)]
struct Union;

impl ConflictResolver for Union {
    fn name(&self) -> &str {
        "union"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let text = |s: &DocumentState| s.body.as_ref().map(Body::to::<String>).transpose();
        let local = text(conflict.local)?.unwrap_or_default();
        let remote = conflict.remote.map(text).transpose()?.flatten().unwrap_or_default();
        let words: BTreeSet<&str> = local.split(' ').chain(remote.split(' ')).collect();
        let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
        Ok(Resolution::Merge(Body::from_value(&words.join(" "))?))
    }
}

/// SplitMix64, as in the engine's retries.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

struct Actor {
    device: Device,
    waiting: VecDeque<Chunk>,
    sent: Option<(PushId, Verdicts)>,
    /// The newest settled version of each document that was observed.
    seen: BTreeMap<&'static str, u64>,
}

impl Actor {
    async fn new(service: &Arc<Service>) -> Self {
        let device = Self::with_resolver(Device::new(service).await);
        Self { device, waiting: VecDeque::new(), sent: None, seen: BTreeMap::new() }
    }

    fn with_resolver(mut device: Device) -> Device {
        device.cx.resolvers = Resolvers::new(Union);
        device
    }

    async fn step(&mut self, chance: &mut Chance, word: &str) {
        match chance.below(12) {
            0..=2 => {
                let id = IDS[chance.below(3) as usize];
                let old = self.device.reads(id).await.map(|(text, _)| text).unwrap_or_default();
                self.device.write(id, Some(format!("{old} {word}").trim())).await;
            }
            3..=5 if self.waiting.len() < 3 => {
                let chunk = self.device.fetch().await;
                self.waiting.push_back(chunk);
            }
            6..=7 => self.apply().await,
            8..=9 if self.sent.is_none() => self.send().await,
            10..=11 => self.settle().await,
            _ => {}
        }
    }

    async fn apply(&mut self) {
        let Some(chunk) = self.waiting.pop_front() else { return };
        self.device.apply(chunk).await;
        self.look().await;
    }

    async fn send(&mut self) {
        // A lost answer is requested again.
        self.sent = self.device.try_send().await.and_then(Result::ok);
    }

    async fn settle(&mut self) {
        let Some(sent) = self.sent.take() else { return };
        self.device.settle(sent).await;
        self.look().await;
    }

    async fn restart(self, service: &Arc<Service>) -> Self {
        let device = Self::with_resolver(self.device.restart(service).await);
        Self { device, waiting: VecDeque::new(), sent: None, seen: self.seen }
    }

    /// Asserts that no settled state was replaced by an older one.
    async fn look(&mut self) {
        for id in IDS {
            let found = self.device.storage.get(vec![key(id)]).await.unwrap().remove(0);
            let Some(settled) = found.filter(|f| !f.dirty) else { continue };
            let version = settled.state.revision.stamp.millis() - EPOCH_MS;
            let before = self.seen.insert(id, version).unwrap_or(0);
            assert!(before <= version, "{id} went back from version {before} to {version}");
        }
    }

    /// Completes all waiting steps, and returns whether there were any.
    async fn rest(&mut self) -> bool {
        self.settle().await;
        while !self.waiting.is_empty() {
            self.apply().await;
        }
        self.device.pull().await;
        self.look().await;
        self.send().await;
        let sent = self.sent.is_some();
        self.settle().await;
        sent
    }
}

async fn history(writes: Writes, seed: u64) {
    let service = Service::new(writes);
    let mut chance = Chance(seed);
    let mut actors = vec![Actor::new(&service).await, Actor::new(&service).await];
    let mut words = 0;
    for _ in 0..STEPS {
        words += 1;
        let word = format!("w{words}");
        let who = chance.below(2) as usize;
        match chance.below(20) {
            0 => service.lose_answers(1),
            1 => {
                let actor = actors.remove(who);
                actors.insert(who, actor.restart(&service).await);
            }
            2 | 3 => {
                let id = IDS[chance.below(3) as usize];
                let old = service.text(id).unwrap_or_default();
                service.store(id, Some(format!("{old} {word}").trim()));
            }
            _ => actors[who].step(&mut chance, &word).await,
        }
    }
    service.lose_answers(0);
    for round in 0.. {
        let mut busy = false;
        for actor in &mut actors {
            busy |= actor.rest().await;
        }
        if !busy {
            break;
        }
        assert!(round < 20, "they do not come to rest");
    }
    for id in IDS {
        let held = service.text(id).map(|text| (text, true));
        for actor in &mut actors {
            actor.device.pull().await;
            assert_eq!(actor.device.reads(id).await, held, "{id}");
        }
    }
    // If the service does not check the version, the last write replaces versions that it did not
    // know.
    let looks = writes != Writes::Put;
    for actor in actors.iter().filter(|_| looks) {
        for (id, word) in &actor.device.written() {
            let text = service.text(id).unwrap_or_default();
            assert!(text.split(' ').any(|w| w == word), "{word} of {id} is lost in {text:?}");
        }
    }
}

async fn histories(writes: Writes) {
    for seed in 0..HISTORIES {
        println!("{writes:?}, seed {seed}");
        history(writes, seed).await;
    }
}

// With paused time no test waits for a send that waits for the end of a listing.
#[tokio::test(start_paused = true)]
async fn random_histories_with_conditions_lose_nothing() {
    histories(Writes::Conditional).await;
}

#[tokio::test(start_paused = true)]
async fn random_histories_with_remembered_keys_lose_nothing() {
    histories(Writes::Keyed).await;
}

#[tokio::test(start_paused = true)]
async fn random_histories_without_conditions_end_equal() {
    histories(Writes::Put).await;
}
