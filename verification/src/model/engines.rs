//! Exploration through the real engines: each of two replicas has one, and their messages are sent
//! over a wire.
//!
//! Nothing happens that no engine requests. An answer reaches only the request that it belongs to,
//! as on a connection. Requests may still arrive after the link is lost.

use std::hash::{DefaultHasher, Hash, Hasher};

use sync_core::model::{DocumentKey, Limits, LogEntry};

use super::action::ModelAction;
use super::bounds::Bounds;
use super::explored::Explored;
use super::truth::{Truth, check_covered, check_place};
use crate::search::{Cause, SearchOracle, Verdict};
use testkit::actors::{Actors, Parcel, ParcelContent};
use testkit::cores::{Cores, MemoryCores};
use testkit::resolvers::Joining;
use testkit::world::{Backup, Options, PushResult, Reply, World};

pub(super) struct Engines {
    actors: Actors<MemoryCores>,
    oracle: SearchOracle,
    truth: Truth,
    backup: Option<Backup<<MemoryCores as Cores>::Server>>,
    left: Bounds,
    /// The documents that each replica shows.
    shows: Vec<Vec<usize>>,
}

fn name(document: usize) -> String {
    let collection = if document % 2 == 1 { "merged" } else { "notes" };
    format!("{collection}/{document}")
}

impl Engines {
    fn replicas(&self) -> std::ops::Range<usize> {
        0..self.left.writes.len()
    }

    /// Returns whether the replica has nothing in transit and its engine waits for a deadline.
    fn waits(&self, replica: usize) -> bool {
        let is_its = |p: &Parcel| p.replica == replica;
        let is_alone = !self.actors.is_linked(replica) || !self.actors.wire.iter().any(is_its);
        is_alone && self.actors.engine(replica).next_deadline().is_some()
    }

    fn write(&mut self, replica: usize, document: usize, delete: bool) {
        let left = &mut self.left.writes[replica];
        *left -= 1;
        let text = format!("w{replica}{left}");
        self.actors.write(replica, &name(document), (!delete).then_some(text.as_str()));
    }

    fn deliver(&mut self, parcel: Parcel) -> Verdict {
        let ParcelContent::Push(batch) = parcel.content.clone() else {
            let calls = self.actors.world.calls().count();
            self.actors.deliver(parcel);
            return check_place(&self.actors.world, calls);
        };
        let rows = self.rows();
        let head = self.actors.world.server_scope().head;
        let (replica, ticket) = (parcel.replica, parcel.ticket);
        let on_its_way = self.actors.wire.clone();
        self.actors.deliver(parcel);
        let answer = self.actors.wire.iter().find_map(|p| match &p.content {
            ParcelContent::Pushed(verdicts) if (p.replica, p.ticket) == (replica, ticket) => {
                (!on_its_way.contains(p)).then(|| verdicts.clone())
            }
            _ => None,
        });
        // An equal message is in transit already.
        let Some(verdicts) = answer else { return Ok(()) };
        let entries = self.actors.world.server_rows().into_iter().filter(|(_, row)| row.seq > head);
        let entries = entries.map(|(key, row)| {
            let DocumentKey { collection, id, .. } = key;
            LogEntry { seq: row.seq, collection, id, state: row.state }
        });
        let entries = entries.collect();
        let delivery = PushResult { verdicts, entries };
        self.oracle.note_append(&self.actors.world, &batch, &rows, &delivery)?;
        let after = self.rows();
        self.truth.note_append(&self.oracle, &batch, &delivery.verdicts, &rows, &after)
    }

    fn rows(&mut self) -> super::truth::Rows {
        self.actors.world.server_rows().into_iter().map(|(k, row)| (k, row.state)).collect()
    }

    fn server(&mut self, action: ModelAction) {
        match action {
            ModelAction::Restart => {
                self.left.restarted -= 1;
                self.actors.world.restart_server();
                self.lose_server();
            }
            ModelAction::Purge => {
                self.left.purged -= 1;
                let before = self.rows();
                let head = self.actors.world.server_scope().head;
                self.actors.world.purge(head);
                let after = self.rows();
                self.oracle.note_purge(&before, &after);
            }
            ModelAction::Backup => self.backup = Some(self.actors.world.backup()),
            ModelAction::Restore => {
                if let Some(backup) = self.backup.take() {
                    self.left.restored -= 1;
                    self.oracle.restored = true;
                    self.truth.note_restore();
                    self.actors.world.restore(&backup);
                    self.lose_server();
                }
            }
            _ => {}
        }
    }

    /// Drops the messages in transit and cuts every link, because the server has stopped.
    fn lose_server(&mut self) {
        self.actors.wire.clear();
        self.replicas().for_each(|replica| self.actors.cut(replica));
    }

    /// Checks the replica that the step concerned, if there was one.
    fn look(&mut self, at: Option<usize>) -> Verdict {
        self.oracle.note_writes(&self.actors.world)?;
        let sent: Vec<Parcel> = self.actors.wire.clone();
        if let Some(replica) = at {
            self.oracle.look(&mut self.actors.world, replica, &Cause::Ordinary)?;
            let documents = self.left.documents.iter().copied();
            let world = &mut self.actors.world;
            let shown = documents.filter(|d| world.text(replica, &name(*d)).is_some());
            self.shows[replica] = shown.collect();
        }
        for parcel in sent.iter().filter(|p| Some(p.replica) == at) {
            if let ParcelContent::Push(batch) = &parcel.content {
                self.oracle.note_batch(&mut self.actors.world, parcel.replica, batch)?;
            }
        }
        self.actors.wire.sort_by_cached_key(|parcel| {
            let mut hasher = DefaultHasher::new();
            parcel.hash(&mut hasher);
            hasher.finish()
        });
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.actors.wire.is_empty() && !self.replicas().any(|replica| self.waits(replica))
    }
}

impl Explored for Engines {
    fn start(bounds: Bounds) -> Self {
        let on_server = match bounds.on_server {
            true => vec![(
                World::<MemoryCores>::collection("merged"),
                std::sync::Arc::new(Joining) as _,
            )],
            false => Vec::new(),
        };
        let options = Options {
            replicas: bounds.writes.len(),
            resolver: bounds.resolver.resolver(),
            on_server,
            chunk: Limits { documents: bounds.chunk, ..Limits::CHUNK },
            ..Options::default()
        };
        let mut world = World::with(MemoryCores, options);
        world.stand_still();
        let mut actors = Actors::new(world);
        for replica in 0..bounds.writes.len() {
            actors.start(replica);
        }
        actors.run();
        let shows = vec![Vec::new(); bounds.writes.len()];
        let (oracle, truth) = (SearchOracle::default(), Truth::default());
        Self { actors, oracle, truth, backup: None, left: bounds, shows }
    }

    fn copy(&self) -> Self {
        Self {
            actors: self.actors.copy(),
            oracle: self.oracle.clone(),
            truth: self.truth.clone(),
            backup: self.backup.as_ref().map(Backup::copy),
            left: self.left,
            shows: self.shows.clone(),
        }
    }

    fn hash_state(&self, hasher: &mut DefaultHasher) {
        self.actors.hash_state(hasher);
        self.oracle.hash_history(self.actors.world.writes(), hasher);
        self.backup.iter().for_each(|b| b.hash_rows(hasher));
        (&self.truth, self.left).hash(hasher);
    }

    fn actions(&self, actions: &mut Vec<ModelAction>) {
        let left = &self.left;
        for replica in self.replicas() {
            if left.writes[replica] > 0 {
                actions.extend(
                    left.documents.iter().map(|d| ModelAction::Write { replica, document: *d }),
                );
                let shown = self.shows[replica].iter().filter(|_| left.deletes);
                actions.extend(shown.map(|d| ModelAction::Delete { replica, document: *d }));
            }
            if left.cut > 0 && self.actors.is_linked(replica) {
                actions.push(ModelAction::Cut { replica });
            }
            if left.crashed > 0 {
                actions.push(ModelAction::Crash { replica });
            }
            if self.waits(replica) {
                actions.push(ModelAction::Wake { replica });
            }
        }
        left.common(&self.actors.wire, self.backup.is_some(), actions);
    }

    fn step(&mut self, action: ModelAction) -> Result<bool, (&'static str, String)> {
        let by_message = action.message().map(|at| self.actors.wire[at].replica);
        let at = action.replica().or(by_message);
        match action {
            ModelAction::Write { replica, document } => self.write(replica, document, false),
            ModelAction::Delete { replica, document } => self.write(replica, document, true),
            ModelAction::Deliver { message } => {
                let parcel = self.actors.wire.remove(message);
                self.deliver(parcel)?;
            }
            ModelAction::Double { message } => {
                self.left.doubled -= 1;
                let parcel = self.actors.wire[message].clone();
                self.deliver(parcel)?;
            }
            ModelAction::Lose { message } => {
                self.left.lost -= 1;
                let Parcel { replica, content, .. } = self.actors.wire.remove(message);
                // A request may never be answered. A link on which an answer is missing cannot be
                // used any more, because frames are numbered.
                if matches!(content, ParcelContent::Pulled(_) | ParcelContent::Pushed(_)) {
                    self.actors.drop_answers(replica);
                    self.actors.cut(replica);
                }
            }
            ModelAction::Cut { replica } => {
                self.left.cut -= 1;
                self.actors.drop_answers(replica);
                self.actors.cut(replica);
            }
            ModelAction::Crash { replica } => {
                self.left.crashed -= 1;
                self.actors.drop_answers(replica);
                self.actors.restart(replica);
            }
            ModelAction::Wake { replica } => self.actors.wake(replica),
            other => self.server(other),
        }
        self.look(at)?;
        Ok(self.actors.wire.len() <= self.left.in_flight)
    }

    fn judge(&mut self) -> Verdict {
        self.actors.world.assert_consistent();
        check_covered(&mut self.actors.world, &self.oracle)?;
        if !self.is_quiet() {
            return Ok(());
        }
        for replica in self.replicas() {
            let row = self.actors.world.scope_row(replica);
            let is_done = row.pending + row.in_flight == 0;
            if !is_done || !self.actors.engine(replica).is_in_sync() {
                let engine = self.actors.engine(replica);
                return Err(("not quiet", format!("replica {replica} rests: {row:?} {engine:?}")));
            }
        }
        self.actors.world.assert_converged();
        self.oracle.finish(&mut self.actors.world)
    }

    fn is_at_rest(&self) -> bool {
        self.left.writes == [0, 0] && self.is_quiet()
    }

    fn describe(&self, action: ModelAction) -> String {
        let Some(at) = action.message() else { return action.to_string() };
        let Parcel { replica, content, .. } = &self.actors.wire[at];
        let message = match content {
            ParcelContent::Pull(cursor) => {
                format!("replica {replica}'s request for what follows {}", cursor.after)
            }
            ParcelContent::Push(batch) => format!("batch {} of replica {replica}", batch.id),
            ParcelContent::Pulled(Reply::Chunk(chunk)) => {
                format!("the chunk {} for replica {replica}", super::chunk_in_words(chunk))
            }
            ParcelContent::Pulled(Reply::Reset(reset)) => {
                format!("a reset for replica {replica} ({:?})", reset.reason)
            }
            ParcelContent::Pushed(verdicts) => {
                format!("{} for replica {replica}", super::verdicts_in_words(verdicts))
            }
        };
        super::of_message(action, &message)
    }
}
