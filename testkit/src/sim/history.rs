//! The truth, from the recorded facts: which writes a state descends from, by the actions of the
//! apps and the results of the resolvers.
//!
//! The engine's own metadata (bases, known positions) is not used. A revision is only the name of a
//! state here.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::{Collection, DocumentKey, DocumentState, LocalSeq, ReplicaId, Scope};
use sync_core::resolver::Resolution;

use super::bits::Bits;
use super::copies::Copied;
use super::fact::{Cause, Fact};
use super::story::{Story, Write};
use super::units::Units;

/// The events that determine which client knew of which write.
#[derive(Debug, Default)]
pub struct History {
    stories: BTreeMap<DocumentKey, Story>,
    nothing: Story,
    /// The states that each client shows.
    shown: Vec<BTreeMap<DocumentKey, DocumentState>>,
    units: BTreeMap<usize, Units>,
    /// Clients that lost everything, and how often.
    wiped: BTreeMap<usize, usize>,
    /// The states that resolvers made within the current step.
    pub(super) made: BTreeMap<DocumentKey, Bits>,
    /// Scopes whose log was restored and has not begun a new epoch since: a position may be one of
    /// either log.
    pub(super) in_doubt: BTreeSet<Scope>,
    /// Whether there was a restore.
    pub(super) restored: bool,
    /// Identities that two devices have.
    shared: BTreeSet<ReplicaId>,
    /// Whether the server's clock may have gone back.
    pub(super) server_clock_set: bool,
    /// The collections of a scope that each client chose; all if there is no entry.
    chosen: BTreeMap<(usize, Scope), BTreeSet<Collection>>,
    /// Documents of which a verdict did not contain the server's state for a client.
    pub(super) withheld: BTreeSet<(usize, DocumentKey)>,
    /// The newest copy of each device's files.
    pub(super) copies: BTreeMap<usize, Copied>,
    /// Clients that were restored from a copy of their files.
    pub(super) put_back: BTreeSet<usize>,
    /// Whether conflicts are decided by the author's stamps.
    pub(super) later_wins: bool,
    /// Two devices had one identity.
    pub(super) cloned: bool,
    /// Two clients gave one revision to two states, which cannot be distinguished any more.
    pub(super) collided: bool,
    pub(super) writes: u64,
    pub(super) calls: u64,
}

impl History {
    pub(super) fn story(&self, key: &DocumentKey) -> &Story {
        self.stories.get(key).unwrap_or(&self.nothing)
    }

    pub(super) fn has_erasures(&self) -> bool {
        self.stories.values().any(|story| !story.erasures.is_empty())
    }

    pub(super) fn stories(&self) -> impl Iterator<Item = (&DocumentKey, &Story)> {
        self.stories.iter()
    }

    pub(super) fn stories_mut(&mut self) -> impl Iterator<Item = (&DocumentKey, &mut Story)> {
        self.stories.iter_mut()
    }

    pub(super) fn set_units(&mut self, client: usize, units: Option<Units>) {
        match units {
            Some(units) => self.units.insert(client, units),
            None => self.units.remove(&client),
        };
    }

    /// Returns whether a client may give a name to a state that another state has.
    fn may_collide(&self, client: usize) -> bool {
        self.cloned || self.put_back.contains(&client)
    }

    /// Returns whether the device that made a state shares its identity with another one.
    fn is_shared(&self, state: Option<&DocumentState>) -> bool {
        state.is_some_and(|state| self.shared.contains(&state.revision.replica))
    }

    pub(super) fn shown(&self, client: usize, key: &DocumentKey) -> Option<&DocumentState> {
        self.shown.get(client)?.get(key)
    }

    pub(super) fn all_shown(
        &self,
        client: usize,
    ) -> impl Iterator<Item = (&DocumentKey, &DocumentState)> {
        self.shown.get(client).into_iter().flatten()
    }

    /// Returns whether a client syncs a collection.
    pub(super) fn syncs(&self, client: usize, scope: &Scope, collection: &Collection) -> bool {
        let chosen = self.chosen.get(&(client, scope.clone()));
        chosen.is_none_or(|chosen| chosen.contains(collection))
    }

    /// Returns how often a client's device lost everything.
    pub(super) fn device(&self, client: usize) -> usize {
        self.wiped.get(&client).copied().unwrap_or(0)
    }

    /// Returns the local transactions of a client.
    pub(super) fn units(&self, client: usize) -> Option<&Units> {
        self.units.get(&client)
    }

    /// Returns what a resolver made of a document within this step.
    pub(super) fn made(&self, key: &DocumentKey) -> Option<&Bits> {
        self.made.get(key)
    }

    /// Returns the writes that a queried state descends from. Within a step it may have got a new
    /// stamp.
    pub(super) fn asked(
        &self,
        client: Option<usize>,
        key: &DocumentKey,
        local: &DocumentState,
    ) -> Bits {
        let story = self.story(key);
        if story.knows(local) {
            return story.of(Some(local));
        }
        if let Some(made) = self.made.get(key) {
            return made.clone();
        }
        let shown = client.and_then(|c| self.shown(c, key)).filter(|s| s.body == local.body);
        story.of(Some(shown.unwrap_or(local)))
    }

    /// Begins the next step.
    pub(super) fn begin_step(&mut self) {
        self.made.clear();
    }

    fn show(&mut self, client: usize, key: &DocumentKey, state: Option<&DocumentState>) {
        while self.shown.len() <= client {
            self.shown.push(BTreeMap::new());
        }
        match state {
            Some(state) => self.shown[client].insert(key.clone(), state.clone()),
            None => self.shown[client].remove(key),
        };
    }

    pub(super) fn story_mut(&mut self, key: &DocumentKey) -> &mut Story {
        self.stories.entry(key.clone()).or_default()
    }

    /// Records a fact that the oracles have checked.
    pub(super) fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Wrote { client, key, before, after, unit, at } => {
                self.note_write(*client, key, before.as_ref(), after.as_ref(), (*unit, *at));
            }
            Fact::Changed { client, key, before, after, cause } => {
                self.note_change(*client, key, before.as_ref(), after.as_ref(), cause);
            }
            Fact::Asked { client, call } => {
                self.calls += 1;
                let local = self.asked(*client, &call.key, &call.local);
                let remote = self.story(&call.key).of(call.remote.as_ref());
                match call.effect() {
                    Some(Resolution::Remote) => {
                        self.story_mut(&call.key).ended.extend(&local.without(&remote));
                        self.made.insert(call.key.clone(), remote);
                    }
                    Some(Resolution::Defer) | None => {}
                    Some(_) => {
                        self.made.insert(call.key.clone(), local.union(&remote));
                    }
                }
            }
            Fact::Formed { client, batch } => {
                for change in &batch.changes {
                    let key = key_of(&batch.scope, change);
                    let writes = self.story(&key).of_revision(change.state.revision);
                    let story = self.story_mut(&key);
                    story.travelled.extend(&writes);
                    story.note_travelled(change.state.revision);
                    story.note_own(*client, change.state.revision);
                }
            }
            Fact::Appended { .. } => self.note_append(fact),
            Fact::Purged { key, state } => {
                let writes = self.story(key).of(Some(state));
                let story = self.story_mut(key);
                story.ended.extend(&writes);
                for n in (0..story.writes.len())
                    .filter(|n| story.is_erased(*n, &writes))
                    .collect::<Vec<_>>()
                {
                    story.ended.insert(n);
                }
                story.purged.push(writes);
            }
            Fact::Restored { scopes, lost } => self.note_restore(scopes, lost),
            Fact::Began { scope } => {
                self.in_doubt.remove(scope);
            }
            Fact::Unshared { replica } => {
                self.shared.remove(replica);
            }
            Fact::Cloned { from, to, replica, unsettled } => {
                self.cloned = true;
                self.shared.insert(*replica);
                for (key, story) in &mut self.stories {
                    story.doubled |= !story.erasures.is_empty();
                    story.cloned |= unsettled.contains(key);
                    story.replace_device(*to, Some(*from));
                }
                let shown = self.shown.get(*from).cloned().unwrap_or_default();
                self.show_all(*to, shown);
                let units = self.units.get(from).cloned().unwrap_or_default();
                self.units.insert(*to, units);
                let of = |((client, scope), chosen): (&(usize, Scope), &BTreeSet<Collection>)| {
                    (client == from).then(|| ((*to, scope.clone()), chosen.clone()))
                };
                let chosen: Vec<_> = self.chosen.iter().filter_map(of).collect();
                self.chosen.extend(chosen);
            }
            Fact::Dissolved { keys } => {
                keys.iter().for_each(|key| self.story_mut(key).dissolved = true);
            }
            Fact::Withheld { client, key } => {
                self.withheld.insert((*client, key.clone()));
            }
            Fact::Copied { client, unsettled } => self.note_copy(*client, unsettled.clone()),
            Fact::PutBack { client } => self.note_put_back(*client),
            Fact::Wiped { client } => self.note_wipe(*client),
            Fact::Chose { client, scope, collections } => {
                let place = (*client, scope.clone());
                match collections {
                    Some(chosen) => self.chosen.insert(place, chosen.clone()),
                    None => self.chosen.remove(&place),
                };
            }
            Fact::ServerClockSet => self.server_clock_set = true,
            _ => {}
        }
    }

    /// Returns whether the log has lost a state of a document, by a restore or a purge, and the
    /// server's clock was set: a later state may get an earlier stamp, and know of an earlier
    /// erasure.
    pub(super) fn is_time_lost(&self, key: &DocumentKey) -> bool {
        let story = self.story(key);
        self.server_clock_set && (story.restored || !story.purged.is_empty())
    }

    /// Returns whether an erasure that the log has lost, by a restore or a purge, has a later time
    /// than the one that followed it. Only time orders the two then, and a server's clock that was
    /// set back reverses the order.
    pub(super) fn are_erasures_turned_round(
        &self,
        key: &DocumentKey,
        first: Option<&DocumentState>,
        then: Option<&DocumentState>,
    ) -> bool {
        let erased = |state: Option<&DocumentState>| state.and_then(|state| state.erased);
        self.is_time_lost(key) && erased(first).is_some() && erased(first) < erased(then)
    }

    /// Records a restore: states that the backup did not hold come back only from the devices that
    /// have them.
    fn note_restore(&mut self, scopes: &[Scope], lost: &BTreeSet<DocumentKey>) {
        self.restored = true;
        self.in_doubt.extend(scopes.iter().cloned());
        for (key, story) in &mut self.stories {
            // After a purge nothing shows what the backup held.
            if lost.contains(key) || !story.purged.is_empty() {
                story.lose_log(self.wiped.keys());
            }
        }
    }

    pub(super) fn show_all(&mut self, client: usize, shown: BTreeMap<DocumentKey, DocumentState>) {
        while self.shown.len() <= client {
            self.shown.push(BTreeMap::new());
        }
        self.shown[client] = shown;
    }

    fn note_write(
        &mut self,
        client: usize,
        key: &DocumentKey,
        before: Option<&DocumentState>,
        after: Option<&DocumentState>,
        (unit, at): (LocalSeq, u64),
    ) {
        self.writes += 1;
        let (cloned, device) = (self.may_collide(client), self.device(client));
        let is_shared = self.is_shared(after);
        let story = self.story_mut(key);
        story.cloned |= is_shared;
        let mut writes = story.of(before);
        writes.insert(story.writes.len());
        let deletes = after.is_none_or(DocumentState::is_deleted);
        story.writes.push(Write { client, device, deletes, at });
        if after.is_some_and(DocumentState::is_erasure) {
            story.erasures.insert(story.known.len());
        }
        story.known.push(story.of(before));
        match after {
            // A deletion of a document that is deleted on the server ends a deferred conflict: the
            // server's deletion represents both.
            Some(after) if story.is_settled_deletion(after) => {
                let has = story.of(Some(after));
                story.ended.extend(&writes.without(&has));
            }
            Some(after) => {
                let collided = cloned && story.collides(after);
                story.name(after, &writes, before);
                self.collided |= collided;
                self.units.entry(client).or_default().add(unit, key, after.revision);
            }
            None => story.ended.extend(&writes),
        }
        self.show(client, key, after);
    }

    fn note_change(
        &mut self,
        client: usize,
        key: &DocumentKey,
        before: Option<&DocumentState>,
        after: Option<&DocumentState>,
        cause: &Cause,
    ) {
        let made = self.made.get(key).cloned();
        let (cloned, is_shared) = (self.may_collide(client), self.is_shared(after));
        let story = self.story_mut(key);
        story.cloned |= is_shared && after.is_some_and(|after| !story.knows(after));
        let had = story.of(before);
        if *cause == Cause::Forgotten {
            story.left.entry(client).or_default().extend(&had);
        }
        if let (Cause::Stamped, Some(before), Some(after)) = (cause, before, after) {
            // A state that the server appended under the earlier identity, and that was replaced
            // since, is not recognised again.
            let is_renamed = before.revision.replica != after.revision.replica;
            story.forked |= is_renamed && !story.is_news(before);
            if is_renamed {
                story.note_own(client, before.revision);
            }
        }
        story.detached |= matches!(cause, Cause::Decided(_)) && story.left.contains_key(&client);
        match after {
            Some(after) if !story.knows(after) => {
                let mut writes = had;
                writes.extend(&made.unwrap_or_default());
                if let Cause::Decided(of) = cause {
                    of.iter().for_each(|r| writes.extend(&story.of_revision(*r)));
                }
                let collided = cloned && story.collides(after);
                story.name(after, &writes, before);
                self.collided |= collided;
            }
            _ if *cause == Cause::RolledBack => {
                let lost = before.filter(|lost| after.map(|s| s.revision) != Some(lost.revision));
                lost.iter().for_each(|lost| story.forget_lost(lost.revision));
            }
            _ => {
                let has = story.of(after);
                let told = matches!(cause, Cause::Decided(_) | Cause::Refused | Cause::Forgotten);
                let gone = |s: Option<&DocumentState>| s.is_none_or(DocumentState::is_deleted);
                let met = story.deletions_met(before, after);
                // Equal bodies are no conflict: either state represents both.
                let same = before.map(|s| &s.body) == after.map(|s| &s.body);
                // A state that did not know of an erasure has to be removed, even if the erasure's
                // origin has purged it already.
                let erased = DocumentState::erasure_of(before) < DocumentState::erasure_of(after);
                if told || met || same || erased || (gone(before) && gone(after)) {
                    let mut lost = had.without(&has);
                    if *cause == Cause::Forgotten && !story.restored {
                        // The server still holds the states that reached it.
                        lost = lost.without(&story.reached);
                    }
                    story.ended.extend(&lost);
                }
                if let Cause::Decided(of) = cause {
                    let of =
                        of.iter().fold(Bits::default(), |all, r| all.union(&story.of_revision(*r)));
                    story.ended.extend(&of.without(&has));
                }
            }
        }
        self.show(client, key, after);
    }

    /// Records that a device lost everything, including what only it had.
    fn note_wipe(&mut self, client: usize) {
        for (key, story) in &mut self.stories {
            let shown = self.shown.get(client).and_then(|s| s.get(key));
            let mut writes = story.of(shown);
            // This includes edits in flight, and those that wait on the device.
            writes.extend(&story.by(client));
            let lost = if story.restored { writes } else { writes.without(&story.reached) };
            story.ended.extend(&lost);
            story.replace_device(client, None);
        }
        self.chosen.retain(|(of, _), _| *of != client);
        *self.wiped.entry(client).or_default() += 1;
        self.show_all(client, BTreeMap::new());
        self.units.remove(&client);
    }
}

/// Returns the document of a change.
pub(super) fn key_of(
    scope: &sync_core::model::Scope,
    change: &sync_core::model::Change,
) -> DocumentKey {
    DocumentKey::new(scope.clone(), change.collection.clone(), change.id.clone())
}
