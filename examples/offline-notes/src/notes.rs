//! The notes, in a replica.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use twotide::OutboxCounts;
use twotide::RetryPolicy;
use twotide::SyncState;
use twotide::prelude::*;

use crate::command::Side;

const NOTES: &str = "notes";
/// How many notes are read at a time.
const PAGE: usize = 256;

/// A note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) text: String,
    pub(crate) done: bool,
}

/// A note as the user was shown it.
struct Numbered {
    id: String,
    /// The text that was shown last: a removed note has no other.
    text: String,
}

/// The notes, which the user identifies by numbers.
pub(crate) struct Notes {
    pub(crate) replica: Replica,
    collection: Collection<Note>,
    /// By number, from 1. A note keeps its number while the program runs, whatever changes arrive.
    numbered: Vec<Numbered>,
}

impl Notes {
    pub(crate) async fn open(file: PathBuf, server: Option<&str>) -> Result<Self> {
        // If both sides changed the text, the user decides. A concurrent change of `done` is no
        // conflict, and a note that was edited concurrently is not removed.
        let resolver = FieldMerge::new().field("/text", FieldRule::Defer)?;
        // A user is waiting, so a server that is back must be detected soon.
        let mut retry = RetryPolicy::default();
        retry.ceiling = Duration::from_secs(3);
        let mut builder = Replica::builder()
            .sqlite(file)
            .resolver(resolver.on_delete(OnDelete::KeepEdit))
            .retry(retry);
        if let Some(url) = server {
            builder = builder.server(url);
        }
        let replica = builder.open().await?;
        let collection = replica.collection(NOTES)?;
        Ok(Self { replica, collection, numbered: Vec::new() })
    }

    /// Returns the number of a note; a new note gets the next number.
    fn number(&mut self, id: &str) -> usize {
        let known = self.numbered.iter().position(|known| known.id == id);
        let at = known.unwrap_or_else(|| {
            self.numbered.push(Numbered { id: id.to_owned(), text: String::new() });
            self.numbered.len() - 1
        });
        at + 1
    }

    /// Returns the note with a number.
    async fn find(&self, number: usize) -> Result<Document<Note>> {
        let none = || Error::new(ErrorKind::NotFound, format!("there is no note {number}"));
        let known = number.checked_sub(1).and_then(|at| self.numbered.get(at)).ok_or_else(none)?;
        self.collection.get(&known.id).await?.ok_or_else(none)
    }

    pub(crate) async fn add(&mut self, text: String) -> Result<String> {
        let note = self.collection.insert(&Note { text, done: false }).await?;
        self.show(&note).await
    }

    /// Changes a note, and returns its line.
    pub(crate) async fn change(
        &mut self,
        number: usize,
        change: impl FnOnce(&mut Note),
    ) -> Result<String> {
        let found = self.find(number).await?;
        let mut note = found.value().clone();
        change(&mut note);
        let changed = self.collection.update(found.id(), &note).await?;
        self.show(&changed).await
    }

    /// Removes a note, and returns its text.
    pub(crate) async fn remove(&self, number: usize) -> Result<String> {
        let found = self.find(number).await?;
        self.collection.delete(found.id()).await?;
        Ok(found.into_value().text)
    }

    /// Resolves the conflict of a note, and returns its line.
    pub(crate) async fn keep(&mut self, number: usize, side: Side) -> Result<String> {
        let (found, conflicts) = (self.find(number).await?, self.replica.conflicts());
        if conflicts.get(NOTES, found.id()).await?.is_none() {
            let message = format!("note {number} is in no conflict");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let resolution = match side {
            Side::Mine => Resolution::Local,
            Side::Theirs => Resolution::Remote,
        };
        conflicts.resolve(NOTES, found.id(), resolution).await?;
        self.show(&self.find(number).await?).await
    }

    /// Returns all notes, a line each, the oldest first.
    pub(crate) async fn list(&mut self) -> Result<Vec<String>> {
        let (mut lines, mut after) = (Vec::new(), None);
        loop {
            let page = self.collection.scan(after.as_deref(), PAGE).await?;
            for note in &page.documents {
                lines.push(self.show(note).await?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(lines);
            }
        }
    }

    /// Returns a note as a line: its number, whether it is synced, and its text.
    async fn show(&mut self, note: &Document<Note>) -> Result<String> {
        let number = self.number(note.id());
        let (mark, why) = match self.replica.sync_state(NOTES, note.id()).await? {
            SyncState::Synced => ("✓", String::new()),
            SyncState::Conflict(conflict) => {
                let theirs = conflict.remote.map(|body| body.to::<Note>()).transpose()?;
                let theirs = theirs.map_or("removed".into(), |note| format!("{:?}", note.text));
                (
                    "!",
                    format!("  (elsewhere {theirs}: keep {number} mine, or keep {number} theirs)"),
                )
            }
            SyncState::Quarantined(refused) => {
                let reasons: Vec<_> = refused.into_iter().map(|r| r.rejection.reason).collect();
                ("!", format!("  (refused: {})", reasons.join("; ")))
            }
            // Being pushed, or waiting to be.
            _ => ("…", String::new()),
        };
        let Note { text, done } = note.value();
        self.numbered[number - 1].text.clone_from(text);
        let tick = if *done { "x" } else { " " };
        Ok(format!("{number:>3} {mark} [{tick}] {text}{why}"))
    }

    /// Returns a remote change as a line; none for a local one.
    pub(crate) async fn tell(&mut self, change: &Change) -> Result<Option<String>> {
        if change.origin() == Origin::Local || change.key().collection.as_str() != NOTES {
            return Ok(None);
        }
        let verb = match change.operation() {
            Operation::Insert => "added",
            Operation::Update => "changed",
            Operation::Delete => "removed",
        };
        let line = match change.document()? {
            Some(note) => self.show(&note).await?,
            None => {
                let number = self.number(change.key().id.as_str());
                format!("{number:>3} {}", self.numbered[number - 1].text)
            }
        };
        Ok(Some(format!("* {verb:<7} {line}")))
    }

    /// Returns the counts of unsettled notes.
    pub(crate) async fn outbox(&self) -> Result<OutboxCounts> {
        Ok(self.replica.state().await?.outbox(self.replica.scope()))
    }
}
