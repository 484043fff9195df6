//! What happened to one document: which writes each of its states descends from.

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
    /// When, in milliseconds since the beginning.
    pub(super) at: u64,
}

/// A state, by the writes that it descends from.
#[derive(Clone, Debug, Default)]
struct Node {
    body: Option<Body>,
    writes: Bits,
    /// It was in a batch, or the server made it: other devices may have it.
    travelled: bool,
    /// States that were made on it. What it turns out to descend from, they descend from too.
    children: Vec<Revision>,
}

/// What happened to one document.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    pub(super) writes: Vec<Write>,
    /// What each write was made on.
    pub(super) known: Vec<Bits>,
    /// Writes that erased the document: what does not know of one has to go.
    pub(super) erasures: Bits,
    /// A device was copied while it held an erasure. If that erasure was not pushed yet, the copy
    /// stamps it anew under another identity, and it becomes another erasure, which no client knows
    /// of.
    pub(super) doubled: bool,
    /// Writes that ended: resolved away, refused, undone before they were pushed, deleted and
    /// purged, or gone with their device.
    pub(super) ended: Bits,
    /// Writes that were in a batch.
    pub(super) travelled: Bits,
    /// Writes that were part of what the server held once.
    pub(super) reached: Bits,
    /// Clients that it left while they showed it, with its scope or its collection, and what it
    /// descended from there.
    pub(super) left: BTreeMap<usize, Bits>,
    /// What clients wrote that an older copy of their files does not hold.
    rolled_back: BTreeMap<usize, Bits>,
    /// A device holds an edit again that may have been settled since its files were copied: it
    /// cannot know what followed on that edit.
    pub(super) forked: bool,
    /// A restored log does not hold what the server held of it: what is settled of it may be
    /// doubted, and a resolver be asked about what it need not.
    pub(super) restored: bool,
    /// Two devices of one identity had, or made, an edit of it.
    pub(super) cloned: bool,
    /// The states that each client put into a batch, or gave another name when it took a new
    /// identity, since its device was new.
    own: BTreeMap<usize, BTreeSet<Revision>>,
    /// A batch that held it was given up and pushed again under another name: the server may have
    /// taken in both.
    pub(super) dissolved: bool,
    /// An edit that left with its scope was tried again: what it had been made on is not known on
    /// that device any more.
    pub(super) detached: bool,
    /// What the tombstones that were purged descend from, their deletions included.
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

    /// Whether a state is a deletion that was made before.
    pub(super) fn is_settled_deletion(&self, state: &DocumentState) -> bool {
        state.is_deleted() && self.knows(state)
    }

    /// Whether a state holds a write that no server ever held.
    pub(super) fn is_news(&self, state: &DocumentState) -> bool {
        !self.of(Some(state)).is_subset(&self.reached)
    }

    /// Whether another state has that name.
    pub(super) fn collides(&self, state: &DocumentState) -> bool {
        self.states.get(&state.revision).is_some_and(|n| n.body != state.body)
    }

    /// The writes of a client.
    pub(super) fn by(&self, client: usize) -> Bits {
        let mut writes = Bits::default();
        let own = self.writes.iter().enumerate().filter(|(_, w)| w.client == client);
        own.for_each(|(n, _)| writes.insert(n));
        writes
    }

    /// The copy of a client's files, which knows of the writes before that one, takes their place.
    pub(super) fn roll_back(&mut self, client: usize, first: usize) {
        let mut gone = Bits::default();
        self.by(client).iter().filter(|n| *n >= first).for_each(|n| gone.insert(n));
        let lost = if self.restored { gone.clone() } else { gone.without(&self.reached) };
        self.ended.extend(&lost);
        self.rolled_back.entry(client).or_default().extend(&gone);
    }

    /// A device holds an edit again that may have been settled. If it is an erasure, it is another
    /// one under the identity that the device takes: what was written knowing of the first does not
    /// know of it.
    pub(super) fn fork(&mut self) {
        self.forked = true;
        self.doubled |= !self.erasures.is_empty();
    }

    /// The log lost what it held of the document: what a device gave away, and does not have any
    /// more, is lost.
    pub(super) fn lose_log<'a>(&mut self, wiped: impl Iterator<Item = &'a usize>) {
        self.restored = true;
        for client in wiped {
            self.ended.extend(&self.by(*client));
        }
        for (client, gone) in self.left.iter().chain(&self.rolled_back) {
            self.ended.extend(&self.by(*client).common(gone));
        }
    }

    /// The oldest write of a client that reached no server and did not end otherwise, and when it
    /// was made.
    pub(super) fn oldest_unsettled(&self, client: usize) -> Option<(usize, u64)> {
        let open = self.by(client).without(&self.reached).without(&self.ended);
        open.first().map(|n| (n, self.writes[n].at))
    }

    /// Whether a write of a client left its device once: what it has of it since comes from the
    /// server.
    pub(super) fn has_left(&self, client: usize, write: usize) -> bool {
        let of =
            |gone: &BTreeMap<usize, Bits>| gone.get(&client).is_some_and(|g| g.contains(write));
        of(&self.left) || of(&self.rolled_back)
    }

    /// The first of `older` that neither belongs to `newer` nor ended otherwise.
    pub(super) fn missing(&self, older: &Bits, newer: &Bits) -> Option<usize> {
        let missing = older.without(newer).without(&self.ended);
        if self.erasures.is_empty() {
            return missing.first();
        }
        missing.iter().find(|n| !self.is_erased(*n, newer))
    }

    /// Whether a write did not know of an erasure that a state descends from.
    pub(super) fn is_erased(&self, write: usize, newer: &Bits) -> bool {
        let erasures = newer.common(&self.erasures);
        let known = &self.known[write];
        self.doubled && !erasures.is_empty()
            || erasures.iter().any(|erasure| erasure != write && !known.contains(erasure))
    }

    /// All bodies that the document ever had.
    pub(super) fn bodies(&self) -> BTreeSet<String> {
        let bodies = self.states.values().filter_map(|n| n.body.as_ref());
        bodies.map(|b| b.as_str().to_owned()).collect()
    }

    /// The bodies that the erasures which a state descends from took.
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

    /// Whether a deletion met another one that the later state knows: two deletions are no
    /// conflict, and what was written after seeing the other one may follow at once.
    pub(super) fn deletions_met(
        &self,
        before: Option<&DocumentState>,
        after: Option<&DocumentState>,
    ) -> bool {
        let news = self.of(after).without(&self.of(before));
        before.is_some_and(DocumentState::is_deleted)
            && self.writes.iter().enumerate().any(|(n, w)| w.deletes && news.contains(n))
    }

    /// Whether a state goes on from a life of the document that was deleted and purged, without
    /// knowing of that.
    pub(super) fn goes_on_from_purged(&self, state: &DocumentState) -> bool {
        let writes = self.of(Some(state));
        self.purged.iter().any(|gone| {
            let shared = writes.without(&writes.without(gone));
            shared.first().is_some() && !gone.is_subset(&writes)
        })
    }

    /// Whether a tombstone was purged once; a restore may have brought it back.
    pub(super) fn was_purged(&self, state: &DocumentState) -> bool {
        state.is_deleted() && self.purged.contains(&self.of(Some(state)))
    }

    /// Gives a state its name. A replica that sets its clock back may use a name again that never
    /// left it.
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

    /// Another device takes the place of a client's: a new one, or a copy of that client's.
    pub(super) fn replace_device(&mut self, client: usize, from: Option<usize>) {
        match from.and_then(|from| self.own.get(&from)).cloned() {
            Some(own) => self.own.insert(client, own),
            None => self.own.remove(&client),
        };
    }

    /// Whether a client, or the one that its device was copied from, knows a state as its own.
    pub(super) fn is_own_of(&self, client: usize, state: &DocumentState) -> bool {
        self.own.get(&client).is_some_and(|own| own.contains(&state.revision))
    }

    /// A state left its device, or the server made it.
    pub(super) fn note_travelled(&mut self, revision: Revision) {
        if let Some(node) = self.states.get_mut(&revision) {
            node.travelled = true;
        }
    }

    /// A device lost a state with its power. If it never travelled, what the device makes now may
    /// get its name again.
    pub(super) fn forget_lost(&mut self, revision: Revision) {
        if self.states.get(&revision).is_some_and(|node| !node.travelled) {
            self.states.remove(&revision);
        }
    }

    /// A state descends from more than was known, and so do those that were made on it.
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
    fn a_copy_that_is_put_back_ends_what_was_written_after_it_and_reached_no_server() {
        let mut story = Story::default();
        for client in [0, 0, 1, 0] {
            story.writes.push(Write { client, device: 0, deletes: false, at: 0 });
            story.known.push(Bits::default());
        }
        story.reached.insert(1);
        story.roll_back(0, 1);
        assert_eq!(story.ended.iter().collect::<Vec<_>>(), [3]);
        assert!(story.has_left(0, 1) && !story.has_left(0, 0) && !story.has_left(1, 2));
        // A restore takes what reached the server, and the device does not have it any more.
        story.lose_log([].iter());
        assert_eq!(story.ended.iter().collect::<Vec<_>>(), [1, 3]);
    }
}
