//! Runs a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use sync_core::model::{
    Chunk, DocumentKey, DocumentState, Limits, PushBatch, PushId, Seq, VerdictKind, Verdicts,
};

use super::action::{SearchAction, SearchPlan, SearchSetting, Step};
use super::oracle::{Cause, SearchOracle, SearchTally, Verdict};
use testkit::cores::Cores;
use testkit::quietly::quietly;
use testkit::random::SplitMix64;
use testkit::resolvers::{Joining, refusing};
use testkit::world::{Backup, Options, Reply, World};

/// Why a plan failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchFailure {
    /// The kind of failure. Shrinking keeps it.
    pub kind: String,
    /// The step; none after the last one.
    pub step: Option<usize>,
    /// What was observed.
    pub what: String,
}

impl fmt::Display for SearchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "{} at step {step}: {}", self.kind, self.what),
            None => write!(f, "{} while healing: {}", self.kind, self.what),
        }
    }
}

/// Runs a plan, ends all faults, and checks the promises.
///
/// # Errors
/// The failure.
pub fn run<C: Cores>(cores: C, plan: &SearchPlan) -> Result<SearchTally, SearchFailure> {
    let mut runner = Runner::new(cores, plan.setting);
    for (i, step) in plan.steps.iter().enumerate() {
        match runner.guarded(|r| r.step(step)) {
            Ok(()) => {}
            Err((kind, _)) if kind == "collision" && runner.oracle.cloned => {
                runner.oracle.tally.collisions += 1;
                return Ok(runner.oracle.tally);
            }
            Err((kind, what)) => return Err(SearchFailure { kind, step: Some(i), what }),
        }
        if runner.blind {
            runner.oracle.tally.blind += 1;
            return Ok(runner.oracle.tally);
        }
    }
    match runner.guarded(Runner::heal) {
        Err((kind, _)) if kind == "collision" && runner.oracle.cloned => {
            runner.oracle.tally.collisions += 1;
        }
        Err((kind, what)) => return Err(SearchFailure { kind, step: None, what }),
        Ok(()) => {}
    }
    runner.oracle.tally.plans = 1;
    Ok(runner.oracle.tally)
}

/// A message in transit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Batch(usize, PushBatch),
    Verdicts(usize, PushId, Verdicts),
    Chunk(usize, Chunk),
}

pub(crate) struct Runner<C: Cores> {
    pub(super) setting: SearchSetting,
    pub(crate) world: World<C>,
    pub(crate) oracle: SearchOracle,
    pub(crate) bag: Vec<Message>,
    pub(crate) backups: Vec<Backup<C::Server>>,
    /// Counts bodies, so that no two are equal.
    pub(super) bodies: usize,
    /// See [`SearchTally::blind`].
    blind: bool,
    /// Replicas that have not sent their position since the server was restored silently.
    unaware: BTreeSet<usize>,
    /// Whether the server may be at a position that some replica does not know of.
    silent: bool,
}

impl<C: Cores> Runner<C> {
    pub(crate) fn new(cores: C, setting: SearchSetting) -> Self {
        let on_server = if setting.on_server {
            vec![(World::<C>::collection("merged"), Arc::new(Joining) as _)]
        } else {
            Vec::new()
        };
        let options = Options {
            replicas: setting.replicas,
            resolver: setting.resolver.resolver(),
            on_server,
            refuse: setting.refusals.then(refusing),
            push: Limits { documents: setting.push, ..Limits::PUSH },
            chunk: Limits { documents: setting.chunk, ..Limits::CHUNK },
            ..Options::default()
        };
        let mut world = World::with(cores, options);
        world.skew(setting.replicas - 1, setting.skew);
        let oracle = SearchOracle::default();
        let (bag, backups) = (Vec::new(), Vec::new());
        Self {
            setting,
            world,
            oracle,
            bag,
            backups,
            bodies: 0,
            blind: false,
            unaware: BTreeSet::new(),
            silent: false,
        }
    }

    fn guarded(&mut self, job: impl FnOnce(&mut Self) -> Verdict) -> Result<(), (String, String)> {
        match quietly(|| job(self)) {
            Ok(verdict) => verdict.map_err(|(kind, what)| (kind.to_owned(), what)),
            Err(panic) => {
                let kind = panic.chars().take_while(|c| !c.is_ascii_digit() && *c != '\n');
                Err((format!("panic: {}", kind.collect::<String>()), panic))
            }
        }
    }

    pub(crate) fn document(&self, n: usize) -> String {
        let collection = if self.setting.on_server && n % 2 == 1 { "merged" } else { "notes" };
        format!("{collection}/{n}")
    }

    pub(crate) fn rows(&mut self) -> BTreeMap<DocumentKey, DocumentState> {
        self.world.server_rows().into_iter().map(|(k, row)| (k, row.state)).collect()
    }

    fn replica(&self, n: usize) -> usize {
        n % self.world.replicas()
    }

    fn take(
        &mut self,
        rng: &mut SplitMix64,
        again: bool,
        fits: impl Fn(&Message) -> bool,
    ) -> Option<Message> {
        let found: Vec<usize> = (0..self.bag.len()).filter(|i| fits(&self.bag[*i])).collect();
        let at = *found.get(rng.below(found.len()))?;
        Some(if again { self.bag[at].clone() } else { self.bag.remove(at) })
    }

    fn step(&mut self, step: &Step) -> Verdict {
        let mut rng = SplitMix64::new(step.salt);
        self.world.tick(rng.next_u64() % 5);
        match step.action {
            SearchAction::Put { replica, document } => {
                self.put(replica, document, &mut rng);
            }
            SearchAction::Delete { replica, document } => {
                let (replica, name) = (self.replica(replica), self.document(document));
                if self.world.text(replica, &name).is_some() {
                    self.world.delete(replica, &name);
                }
            }
            SearchAction::Transaction { replica } => self.transaction(replica, &mut rng),
            SearchAction::Form { replica } => self.form(replica)?,
            SearchAction::Deliver { again } => {
                let batch = self.take(&mut rng, again, |m| matches!(m, Message::Batch(..)));
                if let Some(Message::Batch(replica, batch)) = batch {
                    let verdicts = self.deliver(&batch)?;
                    self.bag.push(Message::Verdicts(replica, batch.id, verdicts));
                }
            }
            SearchAction::Settle { again } => {
                let verdicts = self.take(&mut rng, again, |m| matches!(m, Message::Verdicts(..)));
                if let Some(Message::Verdicts(replica, id, verdicts)) = verdicts {
                    self.settle(replica, id, &verdicts)?;
                }
            }
            SearchAction::Read { replica } => self.read(replica, false)?,
            SearchAction::ReadAhead { replica } => self.read(replica, true)?,
            SearchAction::Apply { again } => {
                let chunk = self.take(&mut rng, again, |m| matches!(m, Message::Chunk(..)));
                if let Some(Message::Chunk(replica, chunk)) = chunk {
                    self.world.apply(replica, &chunk);
                    self.oracle.look(&mut self.world, replica, &Cause::Ordinary)?;
                }
            }
            SearchAction::Lose => {
                self.take(&mut rng, false, |_| true);
            }
            SearchAction::Sync { replica } => self.sync(self.replica(replica))?,
            SearchAction::Connect { replica } => {
                let replica = self.replica(replica);
                self.unaware.remove(&replica);
                self.world.connect(replica);
                self.oracle.look(&mut self.world, replica, &Cause::Ordinary)?;
            }
            SearchAction::Acknowledge { replica } => self.acknowledge(self.replica(replica))?,
            SearchAction::Purge => {
                let before = self.rows();
                let head = self.world.server_scope().head;
                self.world.purge(Seq(rng.next_u64() % (head.0 + 1)));
                let after = self.rows();
                self.oracle.note_purge(&before, &after);
            }
            SearchAction::RequestReset { replica } => {
                let replica = self.replica(replica);
                self.blind |= self.unaware.contains(&replica);
                self.world.request_reset(replica);
                self.drop_chunks(replica);
                self.oracle.look(&mut self.world, replica, &Cause::Ordinary)?;
            }
            SearchAction::Backup => {
                let backup = self.world.backup();
                self.backups.push(backup);
            }
            SearchAction::Restore { silently } => self.restore(silently, &mut rng),
            SearchAction::Restart => {
                self.world.restart_server();
            }
            SearchAction::Clone { replica } => {
                if self.world.replicas() < 5 {
                    let from = self.replica(replica);
                    let to = self.world.clone_replica(from);
                    self.oracle.note_clone(from, to);
                }
            }
            SearchAction::Decide { replica } => self.decide(self.replica(replica), &mut rng)?,
            SearchAction::Jump { replica } => {
                let skews = [0, 0, 40, -40, 900_000, -900_000];
                self.world.skew(self.replica(replica), skews[rng.below(skews.len())]);
            }
            SearchAction::TellTime { replica } => {
                let replica = self.replica(replica);
                self.world.tell_time(replica);
                // Edits in the outbox may get new stamps.
                self.oracle.look(&mut self.world, replica, &Cause::Ordinary)?;
            }
        }
        self.oracle.note_writes(&self.world)?;
        self.world.assert_consistent();
        Ok(())
    }

    pub(super) fn fresh_body(&mut self, rng: &mut SplitMix64) -> String {
        self.bodies += 1;
        let bad = self.setting.refusals && rng.percent(25);
        format!("w{}{}", self.bodies, if bad { "!" } else { "" })
    }

    fn put(&mut self, replica: usize, document: usize, rng: &mut SplitMix64) {
        let (replica, name) = (self.replica(replica), self.document(document));
        let text = self.fresh_body(rng);
        self.world.put(replica, &name, &text);
    }

    fn transaction(&mut self, replica: usize, rng: &mut SplitMix64) {
        let replica = self.replica(replica);
        let mut writes = Vec::new();
        for n in 0..self.setting.documents {
            let name = self.document(n);
            let there = self.world.text(replica, &name).is_some();
            let text = (!there || rng.percent(70)).then(|| self.fresh_body(rng));
            if rng.percent(80) {
                writes.push((name, text));
            }
        }
        let writes: Vec<_> = writes.iter().map(|(n, t)| (n.as_str(), t.as_deref())).collect();
        if !writes.is_empty() {
            self.world.transaction(replica, &writes);
        }
    }

    pub(crate) fn form(&mut self, replica: usize) -> Verdict {
        let replica = self.replica(replica);
        if let Some(batch) = self.world.form(replica) {
            // Forming a batch may replace stamps.
            self.oracle.look(&mut self.world, replica, &Cause::Ordinary)?;
            self.oracle.note_batch(&mut self.world, replica, &batch)?;
            self.bag.push(Message::Batch(replica, batch));
        }
        Ok(())
    }

    pub(crate) fn deliver(
        &mut self,
        batch: &PushBatch,
    ) -> Result<Verdicts, (&'static str, String)> {
        let rows = self.rows();
        let delivery = self.world.append(batch);
        self.oracle.note_append(&self.world, batch, &rows, &delivery)?;
        Ok(delivery.verdicts)
    }

    pub(crate) fn settle(&mut self, replica: usize, id: PushId, verdicts: &Verdicts) -> Verdict {
        let in_flight = self.world.batch_in_flight(replica);
        if matches!(verdicts, Verdicts::Decided { .. } | Verdicts::Recalled) {
            self.world.settle(replica, id, verdicts);
        } else if in_flight == Some(id) {
            if !self.oracle.cloned {
                let what = format!("{verdicts:?} for batch {id} of {replica}");
                return Err(("took a retry for a clone", what));
            }
            self.world.reidentify(replica);
        }
        self.oracle.look(&mut self.world, replica, &Cause::Ordinary)
    }

    pub(crate) fn read(&mut self, replica: usize, ahead: bool) -> Verdict {
        let replica = self.replica(replica);
        let mut cursor = self.world.cursor(replica);
        if ahead {
            let newest = self.bag.iter().rev().find_map(|m| match m {
                Message::Chunk(r, chunk) if *r == replica => Some(chunk),
                _ => None,
            });
            let Some(chunk) = newest else { return Ok(()) };
            cursor = cursor.following(chunk);
            cursor.epoch = Some(chunk.epoch);
        }
        let limits = self.world.options().chunk;
        match self.world.changes(&cursor, limits) {
            Reply::Chunk(chunk) => {
                self.check_boundary(&chunk)?;
                self.bag.push(Message::Chunk(replica, chunk));
            }
            Reply::Reset(reset) => {
                if !ahead {
                    self.world.reset(replica, &reset);
                }
            }
        }
        self.oracle.look(&mut self.world, replica, &Cause::Ordinary)
    }

    fn check_boundary(&mut self, chunk: &Chunk) -> Verdict {
        let cut = |first: Seq, seq: Seq| first <= chunk.next && chunk.next < seq;
        match self.world.server_rows().into_iter().find(|(_, row)| cut(row.first, row.seq)) {
            Some((key, row)) if row.first > chunk.after => {
                let (next, first, seq) = (chunk.next, row.first, row.seq);
                Err(("cut", format!("a chunk ends at {next}, within {first}..={seq} of {key}")))
            }
            _ => Ok(()),
        }
    }

    /// Pushes and pulls without faults, with a check after each step.
    pub(super) fn sync(&mut self, replica: usize) -> Verdict {
        for _ in 0..2 {
            self.unaware.remove(&replica);
            self.world.connect(replica);
            self.oracle.look(&mut self.world, replica, &Cause::Ordinary)?;
            for _ in 0..32 {
                let Some(batch) = self.world.form(replica) else { break };
                self.oracle.look(&mut self.world, replica, &Cause::Ordinary)?;
                self.oracle.note_batch(&mut self.world, replica, &batch)?;
                let verdicts = self.deliver(&batch)?;
                self.settle(replica, batch.id, &verdicts)?;
                let Verdicts::Decided { verdicts, .. } = &verdicts else { continue };
                if verdicts.iter().all(|v| v.kind == VerdictKind::Conflict) {
                    break; // A pull may have to come first.
                }
            }
            for _ in 0..256 {
                match self.world.next_chunk(replica) {
                    Err(reset) => {
                        self.world.reset(replica, &reset);
                    }
                    Ok(chunk) => {
                        self.check_boundary(&chunk)?;
                        self.world.apply(replica, &chunk);
                        self.oracle.look(&mut self.world, replica, &Cause::Ordinary)?;
                        if !chunk.has_more() {
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, replica: usize) -> Verdict {
        let Some(reset) = self.world.acknowledge(replica) else { return Ok(()) };
        if !self.silent {
            let what = format!("replica {replica}: {:#?}", self.world.scope_row(replica));
            return Err(("the digest differs", what));
        }
        self.world.reset(replica, &reset);
        self.drop_chunks(replica);
        self.oracle.look(&mut self.world, replica, &Cause::Ordinary)
    }

    /// Drops the chunks that were requested before a reset that voids the known positions, as an
    /// engine does.
    fn drop_chunks(&mut self, replica: usize) {
        self.bag.retain(|m| !matches!(m, Message::Chunk(r, _) if *r == replica));
    }

    fn restore(&mut self, silently: bool, rng: &mut SplitMix64) {
        let Some(backup) = self.backups.get(rng.below(self.backups.len())) else { return };
        self.oracle.restored = true;
        // Two lives of the log had one epoch, and now both are lost: their positions cannot be
        // distinguished.
        self.blind |= !self.unaware.is_empty();
        if !silently {
            return self.world.restore(backup);
        }
        self.silent = true;
        self.unaware.extend(0..self.world.replicas());
        for replica in 0..self.world.replicas() {
            let position = self.world.cursor(replica).after;
            if position > backup.head {
                continue;
            }
            for (_, record) in self.world.records(replica) {
                let told = record.in_flight().is_some_and(|f| self.is_told(replica, f.push));
                let pending_remote =
                    record.pending.as_ref().and_then(|p| p.pending_remote.as_ref());
                let base = record.edit().and_then(|e| e.base.as_ref());
                let heard =
                    pending_remote.map(|s| s.seq).max(base.map(|b| b.seq)).unwrap_or_default();
                self.blind |= told || heard.max(record.settled_at()) > backup.head;
            }
        }
        self.world.restore_silently(backup);
    }

    /// Returns whether verdicts on that batch are in transit.
    fn is_told(&self, replica: usize, push: PushId) -> bool {
        let told =
            |m: &Message| matches!(m, Message::Verdicts(r, id, _) if (*r, *id) == (replica, push));
        self.bag.iter().any(told)
    }
}

#[cfg(feature = "model")]
impl Runner<testkit::cores::MemoryCores> {
    /// Copies the runner.
    pub(crate) fn copy(&self) -> Self {
        Self {
            setting: self.setting,
            world: self.world.copy(),
            oracle: self.oracle.clone(),
            bag: self.bag.clone(),
            backups: self.backups.iter().map(Backup::copy).collect(),
            bodies: self.bodies,
            blind: self.blind,
            unaware: self.unaware.clone(),
            silent: self.silent,
        }
    }
}
