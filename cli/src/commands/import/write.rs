//! The writes of an import.

use std::collections::BTreeSet;

use serde::Serialize;
use twotide::backend::environment::{Environment, System};
use twotide::backend::model::{DocumentKey, Limits};
use twotide::backend::replica::{LocalTransaction, LocalWrite, WriteOperation};
use twotide::{Error, ErrorKind, Replica};

use super::parse::Parsed;
use crate::failure::Failure;

/// The result of an import.
#[derive(Serialize)]
pub(super) struct Counts {
    imported: u64,
    /// Documents that existed and were skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    present: Option<u64>,
}

/// Writes lines as documents, many at a time.
pub(super) struct Writer<'a> {
    replica: &'a Replica,
    if_absent: bool,
    batch: Vec<(u64, Parsed)>,
    bytes: usize,
    written: u64,
    /// How many of the written documents had no id in their line.
    made_up: u64,
    present: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(replica: &'a Replica, if_absent: bool) -> Self {
        let (batch, bytes) = (Vec::new(), 0);
        Self { replica, if_absent, batch, bytes, written: 0, made_up: 0, present: 0 }
    }

    /// Adds the document of a line; [`Self::flush`] writes it.
    pub(super) fn add(&mut self, line: u64, parsed: Parsed) {
        self.bytes += parsed.body.len();
        self.batch.push((line, parsed));
    }

    /// Returns whether something was added that is not written.
    pub(super) fn has_some(&self) -> bool {
        !self.batch.is_empty()
    }

    pub(super) fn is_full(&self, limits: Limits) -> bool {
        self.batch.len() >= limits.documents || self.bytes >= limits.bytes
    }

    /// Returns how many documents were written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn counts(&self) -> Counts {
        let present = self.if_absent.then_some(self.present);
        Counts { imported: self.written, present }
    }

    pub(super) fn done(&self) -> String {
        format!("{} documents were written", self.written)
    }

    /// Returns what a failed import has written, and the effect of importing the file again; none
    /// if nothing was written.
    pub(super) fn done_before_failure(&self) -> Option<String> {
        let (written, made_up) = (self.written, self.made_up);
        if written == 0 {
            return None;
        }
        let again = if self.if_absent {
            "importing again with --if-absent leaves them alone".to_owned()
        } else if made_up == written {
            "importing again writes them a second time, because their lines have no ids".to_owned()
        } else if made_up > 0 {
            format!(
                "importing again writes {made_up} of them a second time, because their lines have no ids, and the others over \
                 what they are by then"
            )
        } else {
            "importing again writes over what they are by then, and with --if-absent leaves them alone".to_owned()
        };
        Some(format!("after {written} documents were written ({again})"))
    }

    /// Writes what was added, in one transaction.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let Some((first, _)) = batch.first() else { return Ok(()) };
        let first = *first;
        match self.write(&batch).await {
            Ok(()) => Ok(()),
            // One of the documents cannot be written: writing each alone finds it.
            Err(e) if e.kind() == ErrorKind::InvalidInput => {
                for one in batch.chunks(1) {
                    let about = |e: Error| Failure::from(e).about(format!("line {}", one[0].0));
                    self.write(one).await.map_err(about)?;
                }
                Ok(())
            }
            Err(e) => Err(Failure::from(e).about(format!("from line {first} on"))),
        }
    }

    async fn write(&mut self, batch: &[(u64, Parsed)]) -> Result<(), Error> {
        loop {
            let (wanted, present) = self.wanted(batch).await?;
            let made_up = wanted.iter().filter(|p| p.is_made_up).count() as u64;
            let writes: Vec<_> = wanted.into_iter().map(|p| self.local_write(p)).collect();
            let count = writes.len() as u64;
            if count == 0 {
                self.present += present;
                return Ok(());
            }
            let scope = self.replica.scope().clone();
            let transaction = LocalTransaction { scope, writes };
            match self.replica.storage().write(System.now(), transaction).await {
                // Another process created one of them meanwhile.
                Err(e) if self.if_absent && e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
                Ok(_) => {
                    self.written += count;
                    self.made_up += made_up;
                    self.present += present;
                    return Ok(());
                }
            }
        }
    }

    fn local_write(&self, parsed: Parsed) -> LocalWrite {
        let Parsed { collection, id, body, .. } = parsed;
        let operation = match self.if_absent {
            true => WriteOperation::Insert(body),
            false => WriteOperation::Put(body),
        };
        LocalWrite { collection, id, operation }
    }

    /// Returns the documents to write, and the number of those that exist.
    async fn wanted(&self, batch: &[(u64, Parsed)]) -> Result<(Vec<Parsed>, u64), Error> {
        if !self.if_absent {
            return Ok((batch.iter().map(|(_, parsed)| parsed.clone()).collect(), 0));
        }
        let keys = batch.iter().map(|(_, parsed)| self.key(parsed)).collect();
        let stored = self.replica.storage().get(keys).await?;
        let mut there: BTreeSet<DocumentKey> =
            stored.into_iter().flatten().map(|stored| stored.key).collect();
        let (mut wanted, mut present) = (Vec::new(), 0);
        for (_, parsed) in batch {
            // The first of several lines with one id is written.
            match there.insert(self.key(parsed)) {
                true => wanted.push(parsed.clone()),
                false => present += 1,
            }
        }
        Ok((wanted, present))
    }

    fn key(&self, parsed: &Parsed) -> DocumentKey {
        DocumentKey {
            scope: self.replica.scope().clone(),
            collection: parsed.collection.clone(),
            id: parsed.id.clone(),
        }
    }
}
