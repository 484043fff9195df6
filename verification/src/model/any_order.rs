//! The rules alone: messages in any order, over storages without engines.
//!
//! The steps are those of the [search](crate::search), with its oracle. The search draws one
//! choice; this explores every choice. A network without order is more than any engine meets, and
//! the rules hold over it, because all safety against doubled and reordered messages rests in the
//! compare-and-sets.

use std::hash::{DefaultHasher, Hash, Hasher};

use sync_core::model::{Chunk, PushId};

use super::action::ModelAction;
use super::bounds::Bounds;
use super::explored::Explored;
use super::truth::{Truth, check_covered, check_place};
use crate::search::{Cause, Message, Mix, Runner, SearchSetting, Verdict};
use testkit::cores::MemoryCores;
use testkit::world::text_of;

pub(super) struct AnyOrder {
    runner: Runner<MemoryCores>,
    truth: Truth,
    left: Bounds,
    /// The facts that decide which actions are possible, by replica.
    views: Vec<View>,
}

/// The facts that decide which actions are possible for a replica.
#[derive(Clone, Debug, Default)]
struct View {
    /// The documents that it shows.
    shows: Vec<usize>,
    /// Whether it has anything to push.
    pushes: bool,
    /// The batch in flight.
    in_flight: Option<PushId>,
    /// Whether a chunk would bring anything new.
    is_behind: bool,
}

impl AnyOrder {
    fn is_room(&self) -> bool {
        self.runner.bag.len() < self.left.in_flight
    }

    /// Computes the possible actions, and sorts the messages in transit, so that equal states have
    /// equal orders.
    fn look(&mut self) {
        let scope = self.runner.world.server_scope();
        self.views.clear();
        for replica in 0..self.left.writes.len() {
            let mut view = View::default();
            for document in self.left.documents {
                let name = self.runner.document(*document);
                let key = self.runner.world.key(&name);
                let shown = self.runner.world.current(replica, &key);
                if shown.as_ref().and_then(text_of).is_some() {
                    view.shows.push(*document);
                }
            }
            let row = self.runner.world.scope_row(replica);
            view.pushes = row.pending + row.in_flight > 0;
            view.in_flight = self.runner.world.batch_in_flight(replica);
            let at = &row.checkpoint;
            let is_fresh = at.epoch == Some(scope.epoch) && at.full_pull.is_none();
            view.is_behind = !is_fresh || at.after() < scope.head;
            self.views.push(view);
        }
        self.runner.bag.sort_by_cached_key(|message| {
            let mut hasher = DefaultHasher::new();
            message.hash(&mut hasher);
            hasher.finish()
        });
    }

    fn write(&mut self, replica: usize, document: usize, delete: bool) -> Verdict {
        let left = &mut self.left.writes[replica];
        *left -= 1;
        let (name, text) = (self.runner.document(document), format!("w{replica}{left}"));
        match delete {
            true => self.runner.world.delete(replica, &name),
            false => self.runner.world.put(replica, &name, &text),
        }
        self.runner.oracle.note_writes(&self.runner.world)
    }

    fn deliver(&mut self, message: Message) -> Verdict {
        let calls = self.runner.world.calls().count();
        match message {
            Message::Batch(replica, batch) => {
                let before = self.runner.rows();
                let verdicts = self.runner.deliver(&batch)?;
                let after = self.runner.rows();
                let oracle = &self.runner.oracle;
                self.truth.note_append(oracle, &batch, &verdicts, &before, &after)?;
                self.runner.bag.push(Message::Verdicts(replica, batch.id, verdicts));
                Ok(())
            }
            Message::Verdicts(replica, id, verdicts) => {
                self.runner.settle(replica, id, &verdicts)?;
                check_place(&self.runner.world, calls)
            }
            Message::Chunk(replica, chunk) => {
                self.runner.world.apply(replica, &chunk);
                self.runner.oracle.look(&mut self.runner.world, replica, &Cause::Ordinary)?;
                check_place(&self.runner.world, calls)
            }
        }
    }

    fn server(&mut self, action: ModelAction) -> Verdict {
        let runner = &mut self.runner;
        match action {
            ModelAction::Purge => {
                let before = runner.rows();
                let head = runner.world.server_scope().head;
                runner.world.purge(head);
                let after = runner.rows();
                runner.oracle.note_purge(&before, &after);
                self.left.purged -= 1;
            }
            ModelAction::Backup => {
                let backup = runner.world.backup();
                runner.backups.push(backup);
            }
            ModelAction::Restore => {
                if let Some(backup) = runner.backups.pop() {
                    runner.oracle.restored = true;
                    runner.world.restore(&backup);
                    self.truth.note_restore();
                    self.left.restored -= 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns whether a replica's batch in flight, or its verdicts, are in transit.
    fn is_pushing(&self, replica: usize) -> bool {
        let in_flight = self.views[replica].in_flight;
        self.runner.bag.iter().any(|m| match m {
            Message::Batch(r, batch) => *r == replica && Some(batch.id) == in_flight,
            Message::Verdicts(r, id, _) => *r == replica && Some(*id) == in_flight,
            Message::Chunk(..) => false,
        })
    }

    fn chunks(&self, replica: usize) -> impl Iterator<Item = &Chunk> {
        self.runner.bag.iter().filter_map(move |m| match m {
            Message::Chunk(r, chunk) if *r == replica => Some(chunk),
            _ => None,
        })
    }
}

impl Explored for AnyOrder {
    fn start(bounds: Bounds) -> Self {
        let setting = SearchSetting {
            mix: Mix::Both,
            replicas: bounds.writes.len(),
            documents: bounds.documents.len(),
            resolver: bounds.resolver,
            on_server: bounds.on_server,
            push: 1_000,
            chunk: bounds.chunk,
            refusals: false,
            skew: 0,
        };
        let mut runner = Runner::new(MemoryCores, setting);
        runner.world.stand_still();
        let mut start = Self { runner, truth: Truth::default(), left: bounds, views: Vec::new() };
        start.look();
        start
    }

    fn copy(&self) -> Self {
        Self {
            runner: self.runner.copy(),
            truth: self.truth.clone(),
            left: self.left,
            views: self.views.clone(),
        }
    }

    fn hash_state(&self, hasher: &mut DefaultHasher) {
        self.runner.world.hash_rows(hasher);
        self.runner.oracle.hash_history(self.runner.world.writes(), hasher);
        self.runner.bag.hash(hasher);
        self.runner.backups.iter().for_each(|b| b.hash_rows(hasher));
        (&self.truth, self.left).hash(hasher);
    }

    fn actions(&self, actions: &mut Vec<ModelAction>) {
        let left = &self.left;
        for (replica, view) in self.views.iter().enumerate() {
            if left.writes[replica] > 0 {
                actions.extend(
                    left.documents.iter().map(|d| ModelAction::Write { replica, document: *d }),
                );
                let shown = view.shows.iter().filter(|_| left.deletes);
                actions.extend(shown.map(|d| ModelAction::Delete { replica, document: *d }));
            }
            if !self.is_room() {
                continue;
            }
            if view.pushes && !self.is_pushing(replica) {
                actions.push(ModelAction::Form { replica });
            }
            if view.is_behind {
                actions.push(ModelAction::Read { replica });
            }
            if left.ahead > 0 && self.chunks(replica).next().is_some() {
                actions.push(ModelAction::ReadAhead { replica });
            }
        }
        left.common(&self.runner.bag, !self.runner.backups.is_empty(), actions);
    }

    fn step(&mut self, action: ModelAction) -> Result<bool, (&'static str, String)> {
        match action {
            ModelAction::Write { replica, document } => self.write(replica, document, false)?,
            ModelAction::Delete { replica, document } => self.write(replica, document, true)?,
            ModelAction::Form { replica } => self.runner.form(replica)?,
            ModelAction::Read { replica } => self.runner.read(replica, false)?,
            ModelAction::ReadAhead { replica } => {
                self.left.ahead -= 1;
                self.runner.read(replica, true)?;
            }
            ModelAction::Deliver { message } => {
                let message = self.runner.bag.remove(message);
                self.deliver(message)?;
            }
            ModelAction::Double { message } => {
                self.left.doubled -= 1;
                let message = self.runner.bag[message].clone();
                self.deliver(message)?;
            }
            ModelAction::Lose { message } => {
                self.left.lost -= 1;
                self.runner.bag.remove(message);
            }
            other => self.server(other)?,
        }
        self.look();
        Ok(self.runner.bag.len() <= self.left.in_flight)
    }

    fn judge(&mut self) -> Verdict {
        self.runner.world.assert_consistent();
        check_covered(&mut self.runner.world, &self.runner.oracle)?;
        if self.runner.bag.is_empty() {
            self.runner.settle_down()?;
            self.runner.oracle.finish(&mut self.runner.world)?;
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        let is_idle = |view: &View| !view.pushes && !view.is_behind;
        self.left.writes == [0, 0] && self.runner.bag.is_empty() && self.views.iter().all(is_idle)
    }

    fn describe(&self, action: ModelAction) -> String {
        let Some(at) = action.message() else { return action.to_string() };
        let message = match &self.runner.bag[at] {
            Message::Batch(replica, batch) => format!("batch {} of replica {replica}", batch.id),
            Message::Verdicts(replica, id, verdicts) => {
                format!(
                    "{} on batch {id} for replica {replica}",
                    super::verdicts_in_words(verdicts)
                )
            }
            Message::Chunk(replica, chunk) => {
                format!("the chunk {} for replica {replica}", super::chunk_in_words(chunk))
            }
        };
        super::of_message(action, &message)
    }
}
