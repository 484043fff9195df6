//! A server's rows over a key-value store.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::OrderedKv;
use super::access::{KvReader, KvReads, KvWriter};
use super::keys::{Key, decode, names, read, tail};
use super::replica::pass_through;
use crate::{CommitVersion, Durability, Snapshot, Transactional};
use sync_core::codec::Codec;
use sync_core::error::Result;
use sync_core::model::{Collection, DocumentId, LogRun, ReplicaId, Scope, Seq};
use sync_server::record::{Acknowledged, PushRecord, ServerRow, ServerScope};
use sync_server::rows::{LogRow, ServerReads, ServerRows};

const SCOPE: u8 = b's';
/// (scope, collection, id) -> position.
const POSITION: u8 = b'd';
/// (scope, position) -> the document and its row: a chunk is one range.
const LOG: u8 = b'l';
const PUSH: u8 = b'p';
const ACKNOWLEDGED: u8 = b'a';
/// (scope, first position, the highest one first) -> the run: the run of a position is the first
/// one of a range.
const RUN: u8 = b'r';

/// A server's rows over a [`KvWriter`] or a [`KvReader`].
#[derive(Debug)]
pub struct ServerKv<T>(pub T);

fn scope_key(scope: &Scope) -> Key {
    Key::table(SCOPE).name(scope.as_bytes())
}

fn position_key(scope: &Scope, collection: &Collection, id: &DocumentId) -> Key {
    Key::table(POSITION).name(scope.as_bytes()).name(collection.as_bytes()).name(id.as_bytes())
}

fn log_key(scope: &Scope, seq: Seq) -> Key {
    Key::table(LOG).name(scope.as_bytes()).number(seq.0)
}

fn run_key(scope: &Scope, first: Seq) -> Key {
    Key::table(RUN).name(scope.as_bytes()).number(u64::MAX - first.0)
}

fn replica_key(table: u8, scope: &Scope, replica: ReplicaId) -> Key {
    Key::table(table).name(scope.as_bytes()).bytes(&replica.0)
}

type Entry = ((Collection, DocumentId), ServerRow);

impl<T: KvReads> ServerReads for ServerKv<T> {
    fn scope(&self, scope: &Scope) -> Result<Option<ServerScope>> {
        read(&self.0, scope_key(scope))
    }

    fn scopes(&self, after: Option<&Scope>, limit: usize) -> Result<Vec<Scope>> {
        let start = match after {
            Some(scope) => scope_key(scope).just_after(),
            None => Key::table(SCOPE),
        };
        let mut found = Vec::new();
        self.0.range(&start, &[SCOPE + 1], &mut |key, _| {
            if found.len() == limit {
                return Ok(ControlFlow::Break(()));
            }
            let [name] = names(tail(key, 1)?)?;
            found.push(Scope::new(name)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    fn row(
        &self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
    ) -> Result<Option<ServerRow>> {
        let Some(seq) = read::<Seq>(&self.0, position_key(scope, collection, id))? else {
            return Ok(None);
        };
        Ok(read::<Entry>(&self.0, log_key(scope, seq))?.map(|(_, row)| row))
    }

    fn log(
        &self,
        scope: &Scope,
        after: Seq,
        visit: &mut dyn FnMut(LogRow) -> Result<bool>,
    ) -> Result<()> {
        let end = Key::table(LOG).name(scope.as_bytes()).end();
        self.0.range(&log_key(scope, after.next()), &end, &mut |_, value| {
            let ((collection, id), row) = decode::<Entry>(Bytes::copy_from_slice(value))?;
            let more = visit((collection, id, row))?;
            Ok(if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }

    fn run_at(&self, scope: &Scope, position: Seq) -> Result<Option<LogRun>> {
        let end = Key::table(RUN).name(scope.as_bytes()).end();
        let mut found = None;
        self.0.range(&run_key(scope, position), &end, &mut |_, value| {
            found = Some(decode::<LogRun>(Bytes::copy_from_slice(value))?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    fn push_record(&self, scope: &Scope, replica: ReplicaId) -> Result<Option<PushRecord>> {
        read(&self.0, replica_key(PUSH, scope, replica))
    }

    fn acknowledged(&self, scope: &Scope, replica: ReplicaId) -> Result<Option<Acknowledged>> {
        read(&self.0, replica_key(ACKNOWLEDGED, scope, replica))
    }
}

impl<K: OrderedKv> ServerRows for ServerKv<KvWriter<K>> {
    fn put_scope(&mut self, scope: &Scope, row: &ServerScope) -> Result<()> {
        self.0.put(scope_key(scope), Some(row.to_bytes()));
        Ok(())
    }

    fn put_run(&mut self, scope: &Scope, run: &LogRun) -> Result<()> {
        self.0.put(run_key(scope, run.first), Some(run.to_bytes()));
        Ok(())
    }

    fn put_row(
        &mut self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
        old: Option<&ServerRow>,
        new: &ServerRow,
    ) -> Result<()> {
        if let Some(old) = old {
            self.0.put(log_key(scope, old.seq), None);
        }
        let entry: Entry = ((collection.clone(), id.clone()), new.clone());
        self.0.put(position_key(scope, collection, id), Some(new.seq.to_bytes()));
        self.0.put(log_key(scope, new.seq), Some(entry.to_bytes()));
        Ok(())
    }

    fn remove_row(
        &mut self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
        old: &ServerRow,
    ) -> Result<()> {
        self.0.put(log_key(scope, old.seq), None);
        self.0.put(position_key(scope, collection, id), None);
        Ok(())
    }

    fn put_push_record(
        &mut self,
        scope: &Scope,
        replica: ReplicaId,
        record: &PushRecord,
    ) -> Result<()> {
        self.0.put(replica_key(PUSH, scope, replica), Some(record.to_bytes()));
        Ok(())
    }

    fn put_acknowledged(
        &mut self,
        scope: &Scope,
        replica: ReplicaId,
        at: &Acknowledged,
    ) -> Result<()> {
        self.0.put(replica_key(ACKNOWLEDGED, scope, replica), Some(at.to_bytes()));
        Ok(())
    }
}

pass_through!(ServerKv);
