//! The history of one document: which writes each of its states descends from.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::{Body, DocumentState, Revision};

use super::bits::Bits;

/// A write of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) client: usize,
    /// How often the client's device had lost everything before.
    pub(super) device: usize,
    /// Whether it deleted the document.
    pub(super) deletes: bool,
    /// The time in milliseconds since the beginning.
    pub(super) at: u64,
}

/// A state, by the writes that it descends from.
#[derive(Clone, Debug, Default)]
struct Node {
    body: Option<Body>,
    writes: Bits,
    /// Whether it was in a batch, or the server made it: other devices may have it.
    travelled: bool,
    /// States that were made on it. They descend from everything that it descends from.
    children: Vec<Revision>,
}

/// The history of one document.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    pub(super) writes: Vec<Write>,
    /// The writes that each write was made on.
    pub(super) known: Vec<Bits>,
    /// Writes that erased the document: states that do not know of one have to be removed.
    pub(super) erasures: Bits,
    /// Whether a device was copied while it held an erasure. If that erasure was not pushed yet,
    /// the copy stamps it anew under another identity, and it becomes another erasure, which no
    /// client knows of.
    pub(super) doubled: bool,
    /// Writes that ended: decided against by a resolver, rejected, removed before they were pushed,
    /// deleted and purged, or lost with their device.
    pub(super) ended: Bits,
    /// Writes that were in a batch.
    pub(super) travelled: Bits,
    /// Writes that were part of a state of the server.
    pub(super) reached: Bits,
    /// Clients whose device the document left with its scope or collection, and the writes that its
    /// state there descended from.
    pub(super) left: BTreeMap<usize, Bits>,
    /// Writes of clients that an older copy of their files does not hold.
    rolled_back: BTreeMap<usize, Bits>,
    /// Whether a device holds an edit again that may have been settled since its files were copied:
    /// it cannot know which states followed that edit.
    pub(super) forked: bool,
    /// Whether a restored log has lost a state of it: its settled states are in doubt, and a
    /// resolver may be called needlessly.
    pub(super) restored: bool,
    /// Two devices of one identity had, or made, an edit of it.
    pub(super) cloned: bool,
    /// The states that each client put into a batch, or renamed with a new identity, since its
    /// device was new.
    own: BTreeMap<usize, BTreeSet<Revision>>,
    /// Whether a batch that held it was dissolved and pushed again under another id: the server may
    /// have appended both.
    pub(super) dissolved: bool,
    /// Whether an edit that left with its scope was retried: its base is not known on that device
    /// any more.
    pub(super) detached: bool,
    /// The writes that purged tombstones descend from, their deletions included.
    pub(super) purged: Vec<Bits>,
    states: BTreeMap<Revision, Node>,
}

impl Story {
    pub(super) fn of(&self, state: Option<&DocumentState>) -> Bits {
        state.map(|s| self.of_revision(s.revision)).unwrap_or_default()
    }

    pub(super) fn of_revision(&self, revision: Revision) -> Bits {
        self.states.get(&revision).map(|n| n.writes.clone()).unwrap_or_default()
    }

    pub(super) fn knows(&self, state: &DocumentState) -> bool {
        self.states.get(&state.revision).is_some_and(|n| n.body == state.body)
    }

    /// Returns whether a state is a deletion that was made before.
    pub(super) fn is_settled_deletion(&self, state: &DocumentState) -> bool {
        state.is_deleted() && self.knows(state)
    }

    /// Returns whether a state holds a write that no server ever held.
    pub(super) fn is_news(&self, state: &DocumentState) -> bool {
        !self.of(Some(state)).is_subset(&self.reached)
    }

    /// Returns whether another state has that name.
    pub(super) fn collides(&self, state: &DocumentState) -> bool {
        self.states.get(&state.revision).is_some_and(|n| n.body != state.body)
    }

    /// Returns the writes of a client.
    pub(super) fn by(&self, client: usize) -> Bits {
        let mut writes = Bits::default();
        let own = self.writes.iter().enumerate().filter(|(_, w)| w.client == client);
        own.for_each(|(n, _)| writes.insert(n));
        writes
    }

    /// Records that a client was restored from a copy of its files, which knows of the writes
    /// before that one.
    pub(super) fn roll_back(&mut self, client: usize, first: usize) {
        let mut gone = Bits::default();
        self.by(client).iter().filter(|n| *n >= first).for_each(|n| gone.insert(n));
        let lost = if self.restored { gone.clone() } else { gone.without(&self.reached) };
        self.ended.extend(&lost);
        self.rolled_back.entry(client).or_default().extend(&gone);
    }

    /// Records that a device holds an edit again that may have been settled. If it is an erasure,
    /// it becomes another one under the identity that the device takes: states that know of the
    /// first do not know of it.
    pub(super) fn fork(&mut self) {
        self.forked = true;
        self.doubled |= !self.erasures.is_empty();
    }

    /// Records that the log lost its states of the document: states that a device pushed and does
    /// not have any more are lost.
    pub(super) fn lose_log<'a>(&mut self, wiped: impl Iterator<Item = &'a usize>) {
        self.restored = true;
        for client in wiped {
            self.ended.extend(&self.by(*client));
        }
        for (client, gone) in self.left.iter().chain(&self.rolled_back) {
            self.ended.extend(&self.by(*client).common(gone));
        }
    }

    /// Returns the oldest write of a client that reached no server and did not end otherwise, and
    /// its time.
    pub(super) fn oldest_unsettled(&self, client: usize) -> Option<(usize, u64)> {
        let open = self.by(client).without(&self.reached).without(&self.ended);
        open.first().map(|n| (n, self.writes[n].at))
    }

    /// Returns whether a write of a client left its device once: later states of it there come from
    /// the server.
    pub(super) fn has_left(&self, client: usize, write: usize) -> bool {
        let of =
            |gone: &BTreeMap<usize, Bits>| gone.get(&client).is_some_and(|g| g.contains(write));
        of(&self.left) || of(&self.rolled_back)
    }

    /// Returns the first write of `older` that neither belongs to `newer` nor ended otherwise.
    pub(super) fn missing(&self, older: &Bits, newer: &Bits) -> Option<usize> {
        let missing = older.without(newer).without(&self.ended);
        if self.erasures.is_empty() {
            return missing.first();
        }
        missing.iter().find(|n| !self.is_erased(*n, newer))
    }

    /// Returns whether a write did not know of an erasure that a state descends from.
    pub(super) fn is_erased(&self, write: usize, newer: &Bits) -> bool {
        let erasures = newer.common(&self.erasures);
        let known = &self.known[write];
        self.doubled && !erasures.is_empty()
            || erasures.iter().any(|erasure| erasure != write && !known.contains(erasure))
    }

    /// Returns all bodies that the document ever had.
    pub(super) fn bodies(&self) -> BTreeSet<String> {
        let bodies = self.states.values().filter_map(|n| n.body.as_ref());
        bodies.map(|b| b.as_str().to_owned()).collect()
    }

    /// Returns the bodies that the erasures in a state's history removed.
    pub(super) fn erased_by(&self, state: &DocumentState) -> BTreeSet<String> {
        let erasures = self.of(Some(state)).common(&self.erasures);
        let bodies = |knowing: bool| {
            let of = move |n: &&Node| erasures_known(n, &erasures) == knowing;
            let bodies = self.states.values().filter(of).filter_map(|n| n.body.as_ref());
            bodies.map(|b| b.as_str().to_owned()).collect::<BTreeSet<_>>()
        };
        let kept = bodies.clone()(true);
        bodies(false).difference(&kept).cloned().collect()
    }

    /// Returns whether a deletion met another one that the later state knows: two deletions are no
    /// conflict, and a write after the other one may follow at once.
    pub(super) fn deletions_met(
        &self,
        before: Option<&DocumentState>,
        after: Option<&DocumentState>,
    ) -> bool {
        let news = self.of(after).without(&self.of(before));
        before.is_some_and(DocumentState::is_deleted)
            && self.writes.iter().enumerate().any(|(n, w)| w.deletes && news.contains(n))
    }

    /// Returns whether a state continues a life of the document that was deleted and purged,
    /// without knowing of that.
    pub(super) fn goes_on_from_purged(&self, state: &DocumentState) -> bool {
        let writes = self.of(Some(state));
        self.purged.iter().any(|gone| {
            let shared = writes.without(&writes.without(gone));
            shared.first().is_some() && !gone.is_subset(&writes)
        })
    }

    /// Returns whether a tombstone was purged once; a restore may have brought it back.
    pub(super) fn was_purged(&self, state: &DocumentState) -> bool {
        state.is_deleted() && self.purged.contains(&self.of(Some(state)))
    }

    /// Names a state. A replica whose clock is set back may use a name again that it never sent.
    pub(super) fn name(
        &mut self,
        state: &DocumentState,
        writes: &Bits,
        parent: Option<&DocumentState>,
    ) {
        let node = self.states.entry(state.revision).or_default();
        if node.body != state.body {
            *node = Node { body: state.body.clone(), ..Node::default() };
        }
        if let Some(parent) = parent.filter(|p| p.revision != state.revision)
            && let Some(parent) = self.states.get_mut(&parent.revision)
        {
            parent.children.push(state.revision);
        }
        self.grow(state.revision, writes);
    }

    pub(super) fn note_own(&mut self, client: usize, revision: Revision) {
        self.own.entry(client).or_default().insert(revision);
    }

    /// Records that a client's device was replaced: by a new one, or by a copy of that client's.
    pub(super) fn replace_device(&mut self, client: usize, from: Option<usize>) {
        match from.and_then(|from| self.own.get(&from)).cloned() {
            Some(own) => self.own.insert(client, own),
            None => self.own.remove(&client),
        };
    }

    /// Returns whether a client, or the one that its device was copied from, recognises a state as
    /// its own.
    pub(super) fn is_own_of(&self, client: usize, state: &DocumentState) -> bool {
        self.own.get(&client).is_some_and(|own| own.contains(&state.revision))
    }

    /// Records that a state left its device, or that the server made it.
    pub(super) fn note_travelled(&mut self, revision: Revision) {
        if let Some(node) = self.states.get_mut(&revision) {
            node.travelled = true;
        }
    }

    /// Records that a device lost a state in a power failure. If it never left the device, the next
    /// state there may get its name again.
    pub(super) fn forget_lost(&mut self, revision: Revision) {
        if self.states.get(&revision).is_some_and(|node| !node.travelled) {
            self.states.remove(&revision);
        }
    }

    /// Adds writes to those that a state descends from, and to those of the states that were made
    /// on it.
    fn grow(&mut self, revision: Revision, writes: &Bits) {
        let mut open = vec![revision];
        while let Some(revision) = open.pop() {
            if let Some(node) = self.states.get_mut(&revision)
                && !writes.is_subset(&node.writes)
            {
                node.writes.extend(writes);
                open.extend(&node.children);
            }
        }
    }
}

fn erasures_known(node: &Node, erasures: &Bits) -> bool {
    erasures.is_subset(&node.writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_copy_ends_the_writes_after_it_that_reached_no_server() {
        let mut story = Story::default();
        for client in [0, 0, 1, 0] {
            story.writes.push(Write { client, device: 0, deletes: false, at: 0 });
            story.known.push(Bits::default());
        }
        story.reached.insert(1);
        story.roll_back(0, 1);
        assert_eq!(story.ended.iter().collect::<Vec<_>>(), [3]);
        assert!(story.has_left(0, 1) && !story.has_left(0, 0) && !story.has_left(1, 2));
        // A restore removes what reached the server, and the device does not have it any more.
        story.lose_log([].iter());
        assert_eq!(story.ended.iter().collect::<Vec<_>>(), [1, 3]);
    }
}
