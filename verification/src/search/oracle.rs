//! The truth, from the recorded history: which writes a state descends from, by the actions of the
//! apps and the results of the resolvers.
//!
//! The engine's own metadata (bases, known positions) is not used. A revision is only the name of a
//! state here.

#[cfg(feature = "model")]
mod compare;

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::{
    Body, DocumentKey, DocumentState, PushBatch, Revision, VerdictKind, Verdicts,
};
use sync_core::resolver::Resolution;

use testkit::cores::Cores;
use testkit::world::{PushResult, World};

/// The writes that a state descends from, by their number in [`World::writes`].
pub(crate) type Writes = BTreeSet<usize>;
type Name = (DocumentKey, Revision);

/// The sum of what runs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchTally {
    /// The number of plans.
    pub plans: usize,
    /// The number of acknowledged writes.
    pub writes: usize,
    /// The number of resolver calls.
    pub calls: usize,
    /// Resolver calls that were not about two concurrent edits, in plans in which that is allowed:
    /// after a restore, or with clones.
    pub tolerated: usize,
    /// Plans that ended early because a clone made the same revision twice.
    pub collisions: usize,
    /// Plans that ended early because the server was restored silently while a replica held
    /// positions that its cursor does not send (from verdicts, or from before a reset), or restored
    /// again before every replica had detected the silent restore: nothing distinguishes such lives
    /// of the log.
    pub blind: usize,
}

impl SearchTally {
    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        self.plans += other.plans;
        self.writes += other.writes;
        self.calls += other.calls;
        self.tolerated += other.tolerated;
        self.collisions += other.collisions;
        self.blind += other.blind;
    }
}

/// The kind of a step, for the oracle.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// Writes, messages, resets.
    Ordinary,
    /// The app decided about a document, with the states that the decision was made of.
    Decided(DocumentKey, Vec<Revision>),
}

/// A state, by the states that it was made of.
#[derive(Clone, Debug, Default)]
struct Node {
    body: Option<Body>,
    writes: Writes,
    /// The states that it was made on. It descends from everything that these descend from.
    parents: BTreeSet<Revision>,
}

/// Checks a world step by step.
#[derive(Clone, Debug, Default)]
pub struct SearchOracle {
    states: BTreeMap<Name, Node>,
    /// Writes that ended: decided against by a resolver, rejected, removed before they were pushed,
    /// or deleted and purged.
    ended: Writes,
    /// Writes that were in a batch.
    travelled: Writes,
    /// The states that each replica showed last.
    shown: Vec<BTreeMap<DocumentKey, DocumentState>>,
    /// Rejected states that were observed.
    refused: BTreeSet<(usize, Name)>,
    writes_seen: usize,
    calls_seen: usize,
    /// The states of local transactions, by replica and transaction.
    units: BTreeMap<(usize, u64), Vec<Name>>,
    /// Whether positions of an epoch may be in doubt: a resolver may be called needlessly.
    pub(crate) restored: bool,
    /// Two devices had one identity.
    pub(super) cloned: bool,
    pub(super) tally: SearchTally,
}

/// A name for a violation, and its description.
pub(crate) type Verdict = Result<(), (&'static str, String)>;

fn wrong(kind: &'static str, what: impl Into<String>) -> Verdict {
    Err((kind, what.into()))
}

impl SearchOracle {
    /// Returns the writes that a state descends from.
    pub(crate) fn ancestry(&self, key: &DocumentKey, revision: Revision) -> Writes {
        let (mut writes, mut seen) = (Writes::new(), BTreeSet::new());
        let mut open = vec![revision];
        while let Some(revision) = open.pop() {
            if let Some(node) = self.states.get(&(key.clone(), revision))
                && seen.insert(revision)
            {
                writes.extend(&node.writes);
                open.extend(&node.parents);
            }
        }
        writes
    }

    fn knows(&self, key: &DocumentKey, state: &DocumentState) -> bool {
        let node = self.states.get(&(key.clone(), state.revision));
        node.is_some_and(|n| n.body == state.body)
    }

    fn of(&self, key: &DocumentKey, state: Option<&DocumentState>) -> Writes {
        state.map(|s| self.ancestry(key, s.revision)).unwrap_or_default()
    }

    /// Names a state. A replica whose clock is set back may use a name again that it never sent.
    fn name(
        &mut self,
        key: &DocumentKey,
        state: &DocumentState,
        writes: Writes,
        parents: impl IntoIterator<Item = Revision>,
    ) {
        let node = self.states.entry((key.clone(), state.revision)).or_default();
        if node.body != state.body {
            *node = Node { body: state.body.clone(), ..Node::default() };
        }
        node.writes.extend(writes);
        node.parents.extend(parents.into_iter().filter(|p| *p != state.revision));
    }

    /// Returns the first write of `older` that neither belongs to `newer` nor ended otherwise.
    fn missing(&self, older: &Writes, newer: &Writes) -> Option<usize> {
        older.iter().copied().find(|w| !newer.contains(w) && !self.ended.contains(w))
    }

    /// Records local writes. Fails if a clone used a revision twice.
    pub(crate) fn note_writes<C: Cores>(&mut self, world: &World<C>) -> Verdict {
        let from = std::mem::replace(&mut self.writes_seen, world.writes().len());
        for (i, write) in world.writes().iter().enumerate().skip(from) {
            self.tally.writes += 1;
            let mut writes = self.of(&write.key, write.before.as_ref());
            let before = writes.clone();
            writes.insert(i);
            self.grow(write.replica);
            if let (true, Some(after)) = (write.ends_conflict, &write.after) {
                // The write equals the state that the server holds, which is shown.
                self.ended.extend(writes);
                self.shown[write.replica].insert(write.key.clone(), after.clone());
                continue;
            }
            match &write.after {
                Some(after) => {
                    let name = (write.key.clone(), after.revision);
                    if self.cloned && self.states.contains_key(&name) {
                        return wrong("collision", format!("{name:?}"));
                    }
                    let parent = write.before.as_ref().map(|b| b.revision);
                    self.name(&write.key, after, writes, parent);
                    self.shown[write.replica].insert(write.key.clone(), after.clone());
                    let unit = (write.replica, write.transaction.0);
                    self.units.entry(unit).or_default().push(name);
                }
                None => {
                    let clones = self.cloned; // A copy does not know what the other one pushed.
                    if let Some(w) = before.intersection(&self.travelled).next().filter(|_| !clones)
                    {
                        return wrong("undone", format!("write {w} had travelled and vanished"));
                    }
                    self.ended.extend(writes);
                    self.shown[write.replica].remove(&write.key);
                }
            }
        }
        Ok(())
    }

    fn grow(&mut self, replica: usize) {
        while self.shown.len() <= replica {
            self.shown.push(BTreeMap::new());
        }
    }

    /// Records that a device was cloned.
    pub(super) fn note_clone(&mut self, from: usize, to: usize) {
        self.grow(from.max(to));
        self.cloned = true;
        self.shown[to] = self.shown[from].clone();
        let refused: Vec<_> = self.refused.iter().filter(|(r, _)| *r == from).cloned().collect();
        self.refused.extend(refused.into_iter().map(|(_, n)| (to, n)));
    }

    /// Records a new batch, and checks that it holds whole transactions.
    pub(crate) fn note_batch<C: Cores>(
        &mut self,
        world: &mut World<C>,
        replica: usize,
        batch: &PushBatch,
    ) -> Verdict {
        let name = |c: &sync_core::model::Change| {
            let key = DocumentKey::new(batch.scope.clone(), c.collection.clone(), c.id.clone());
            (key, c.state.revision)
        };
        let names: BTreeSet<Name> = batch.changes.iter().map(name).collect();
        for (key, revision) in &names {
            let writes = self.ancestry(key, *revision);
            self.travelled.extend(writes);
        }
        let units = self.units.iter().filter(|((r, _), _)| *r == replica);
        for (unit, states) in units {
            if !states.iter().any(|s| names.contains(s)) {
                continue;
            }
            for (key, revision) in states.iter().filter(|s| !names.contains(*s)) {
                let record = world.record_at(replica, key).unwrap_or_default();
                let newest = record.current.as_ref().map(|c| c.revision) == Some(*revision);
                // A settled state that is offered again is a separate unit.
                let base = record.edit().and_then(|e| e.base.as_ref());
                let offered = base.is_some_and(|b| b.state.revision == *revision);
                if newest && !offered && record.pushable().is_some() {
                    return wrong("torn", format!("{key} of transaction {unit:?} was left behind"));
                }
            }
        }
        Ok(())
    }

    /// Records the calls of resolvers; returns what the states that they made descend from, by
    /// document.
    fn note_calls<C: Cores>(
        &mut self,
        world: &World<C>,
        replica: Option<usize>,
    ) -> Result<BTreeMap<DocumentKey, Writes>, (&'static str, String)> {
        let calls = world.calls().since(self.calls_seen);
        self.calls_seen += calls.len();
        let mut made: BTreeMap<DocumentKey, Writes> = BTreeMap::new();
        for call in calls {
            self.tally.calls += 1;
            let known = self.knows(&call.key, &call.local);
            let earlier = made.get(&call.key).filter(|_| !known).cloned();
            // The edit got a new stamp within this very step.
            let stamped = || {
                let shown = self.shown.get(replica?)?.get(&call.key)?;
                let same = !known && shown.body == call.local.body;
                same.then(|| self.of(&call.key, Some(shown)))
            };
            let local = earlier
                .or_else(stamped)
                .unwrap_or_else(|| self.ancestry(&call.key, call.local.revision));
            let remote = self.of(&call.key, call.remote.as_ref());
            if call.remote.is_some() && (local.is_subset(&remote) || remote.is_subset(&local)) {
                if !self.restored && !self.cloned {
                    let text = format!("{local:?} against {remote:?} in {call:#?}");
                    return Err(("not concurrent", text));
                }
                self.tally.tolerated += 1;
            }
            let all = || local.union(&remote).copied().collect::<Writes>();
            match call.effect() {
                Some(Resolution::Remote) => {
                    self.ended.extend(local.difference(&remote).copied());
                    made.insert(call.key, remote);
                }
                Some(Resolution::Defer) | None => {}
                Some(_) => {
                    made.insert(call.key, all());
                }
            }
        }
        Ok(made)
    }

    /// Checks what a replica shows after a step.
    pub(crate) fn look<C: Cores>(
        &mut self,
        world: &mut World<C>,
        replica: usize,
        cause: &Cause,
    ) -> Verdict {
        self.grow(replica);
        let mut made = self.note_calls(world, Some(replica))?;
        if let Cause::Decided(key, of) = cause {
            let writes: Writes = of.iter().flat_map(|r| self.ancestry(key, *r)).collect();
            made.insert(key.clone(), writes);
        }
        let refused = self.newly_refused(world, replica);
        let now: BTreeMap<_, _> = world
            .records(replica)
            .into_iter()
            .filter_map(|(key, r)| Some((key, r.current?)))
            .collect();
        let before = std::mem::replace(&mut self.shown[replica], now.clone());
        let keys: BTreeSet<_> = before.keys().chain(now.keys()).cloned().collect();
        for key in keys {
            let (old, new) = (before.get(&key), now.get(&key));
            if old.map(|s| s.revision) == new.map(|s| s.revision) {
                continue;
            }
            self.judge(replica, &key, old, new, made.get(&key), refused.contains(&key), cause)?;
        }
        Ok(())
    }

    fn newly_refused<C: Cores>(
        &mut self,
        world: &mut World<C>,
        replica: usize,
    ) -> BTreeSet<DocumentKey> {
        let mut keys = BTreeSet::new();
        for row in world.quarantine(replica) {
            let name = (row.key.clone(), row.state.revision);
            if self.refused.insert((replica, name)) {
                keys.insert(row.key);
            }
        }
        keys
    }

    #[allow(clippy::too_many_arguments, reason = "one call, and each is one side of the question")]
    fn judge(
        &mut self,
        replica: usize,
        key: &DocumentKey,
        old: Option<&DocumentState>,
        new: Option<&DocumentState>,
        made: Option<&Writes>,
        refused: bool,
        cause: &Cause,
    ) -> Verdict {
        let had = self.of(key, old);
        let decided = matches!(cause, Cause::Decided(k, _) if k == key);
        if let Some(state) = new
            && !self.knows(key, state)
        {
            if self.cloned && self.states.contains_key(&(key.clone(), state.revision)) {
                return wrong("collision", format!("{key}: {state:?}"));
            }
            let parent = old.map(|o| o.revision);
            let writes = match (made, old) {
                (Some(made), _) => made.union(&had).copied().collect(),
                (None, Some(old)) if old.body == state.body => had,
                _ if self.cloned => return wrong("collision", format!("{key}: {state:?}")),
                _ => return wrong("from nowhere", format!("{key} on {replica}: {state:?}")),
            };
            self.name(key, state, writes, parent);
            return Ok(());
        }
        let has = self.of(key, new);
        if decided || refused {
            self.ended.extend(had.difference(&has).copied());
            return Ok(());
        }
        let both_gone = |s: Option<&DocumentState>| s.is_none_or(DocumentState::is_deleted);
        if both_gone(old) && both_gone(new) {
            self.ended.extend(had.difference(&has).copied());
            return Ok(());
        }
        match self.missing(&had, &has) {
            None => Ok(()),
            Some(write) => wrong(
                "went back",
                format!("{key} on {replica} lost write {write}: {old:?} became {new:?}"),
            ),
        }
    }

    /// Checks what the server made of a batch. `rows` is what it held before.
    pub(crate) fn note_append<C: Cores>(
        &mut self,
        world: &World<C>,
        batch: &PushBatch,
        rows: &BTreeMap<DocumentKey, DocumentState>,
        delivery: &PushResult,
    ) -> Verdict {
        let Verdicts::Decided { verdicts, .. } = &delivery.verdicts else {
            let _ = self.note_calls(world, None)?;
            return Ok(());
        };
        let made = self.note_calls(world, None)?;
        for (change, verdict) in batch.changes.iter().zip(verdicts) {
            let key =
                DocumentKey::new(batch.scope.clone(), change.collection.clone(), change.id.clone());
            let row = rows.get(&key);
            let (held, offered) = (self.of(&key, row), self.ancestry(&key, change.state.revision));
            let entry = delivery.entries.iter().find(|e| {
                (&e.collection, &e.id) == (&change.collection, &change.id) && e.seq == verdict.seq
            });
            match (&verdict.kind, entry) {
                (VerdictKind::Accepted | VerdictKind::Merged, Some(entry)) => {
                    let asked = made.contains_key(&key);
                    let both: Writes = held.union(&offered).copied().collect();
                    if let Some(write) = self.missing(&held, &offered).filter(|_| !asked) {
                        return wrong(
                            "overwrote",
                            format!("write {write} of {key} by {change:#?}"),
                        );
                    }
                    let writes = if asked { both } else { offered };
                    let parent = row.filter(|_| asked).map(|r| r.revision);
                    self.name(&key, &entry.state, writes, parent);
                }
                (VerdictKind::Superseded, _) => {
                    // Equal bodies are no conflict: the state that the server holds represents
                    // both.
                    let offered_body = &change.state.body;
                    if row.map_or(offered_body.is_none(), |r| r.body == *offered_body) {
                        self.ended.extend(offered.difference(&held).copied());
                    } else if let Some(write) = self.missing(&offered, &held) {
                        return wrong("dropped", format!("write {write} of {key}: {change:#?}"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Records that tombstones were purged.
    pub(crate) fn note_purge(
        &mut self,
        before: &BTreeMap<DocumentKey, DocumentState>,
        after: &BTreeMap<DocumentKey, DocumentState>,
    ) {
        for (key, state) in before.iter().filter(|(k, _)| !after.contains_key(*k)) {
            let writes = self.of(key, Some(state));
            self.ended.extend(writes);
        }
    }

    /// Checks at the end that every write is part of what the server holds, or ended in a way that
    /// was reported.
    pub(crate) fn finish<C: Cores>(&self, world: &mut World<C>) -> Verdict {
        let held: BTreeMap<_, _> =
            world.server_rows().into_iter().map(|(k, row)| (k, row.state)).collect();
        for (i, write) in world.writes().iter().enumerate() {
            let has = self.of(&write.key, held.get(&write.key));
            if !has.contains(&i) && !self.ended.contains(&i) {
                let state = held.get(&write.key);
                return wrong("lost", format!("write {i}: {write:#?}\nthe server holds {state:?}"));
            }
        }
        Ok(())
    }
}
