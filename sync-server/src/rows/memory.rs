//! Rows in memory, without transactions: for unit tests of the rules.

use std::collections::BTreeMap;

use sync_core::error::Result;
use sync_core::model::{Collection, DocumentId, LogRun, ReplicaId, Scope, Seq};

use super::{LogRow, ServerReads, ServerRows};
use crate::record::{Acknowledged, PushRecord, ServerRow, ServerScope};

type DocumentName = (Collection, DocumentId);

/// The rows that the transactions so far have written.
#[derive(Debug, Default)]
pub(crate) struct MemoryRows {
    scopes: BTreeMap<Scope, ServerScope>,
    rows: BTreeMap<(Scope, DocumentName), ServerRow>,
    runs: BTreeMap<(Scope, Seq), LogRun>,
    pushes: BTreeMap<(Scope, ReplicaId), PushRecord>,
    acknowledged: BTreeMap<(Scope, ReplicaId), Acknowledged>,
}

impl ServerReads for MemoryRows {
    fn scope(&self, scope: &Scope) -> Result<Option<ServerScope>> {
        Ok(self.scopes.get(scope).cloned())
    }

    fn scopes(&self, after: Option<&Scope>, limit: usize) -> Result<Vec<Scope>> {
        let names = self.scopes.keys().filter(|scope| after.is_none_or(|after| *scope > after));
        Ok(names.take(limit).cloned().collect())
    }

    fn row(
        &self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
    ) -> Result<Option<ServerRow>> {
        Ok(self.rows.get(&(scope.clone(), (collection.clone(), id.clone()))).cloned())
    }

    fn log(
        &self,
        scope: &Scope,
        after: Seq,
        visit: &mut dyn FnMut(LogRow) -> Result<bool>,
    ) -> Result<()> {
        let of_scope = self.rows.iter().filter(|((s, _), row)| s == scope && row.seq > after);
        let log: BTreeMap<Seq, _> =
            of_scope.map(|((_, name), row)| (row.seq, (name, row))).collect();
        for ((collection, id), row) in log.into_values() {
            if !visit((collection.clone(), id.clone(), row.clone()))? {
                break;
            }
        }
        Ok(())
    }

    fn run_at(&self, scope: &Scope, position: Seq) -> Result<Option<LogRun>> {
        let runs = self.runs.range((scope.clone(), Seq(0))..=(scope.clone(), position));
        Ok(runs.last().map(|(_, run)| *run))
    }

    fn push_record(&self, scope: &Scope, replica: ReplicaId) -> Result<Option<PushRecord>> {
        Ok(self.pushes.get(&(scope.clone(), replica)).cloned())
    }

    fn acknowledged(&self, scope: &Scope, replica: ReplicaId) -> Result<Option<Acknowledged>> {
        Ok(self.acknowledged.get(&(scope.clone(), replica)).cloned())
    }
}

impl ServerRows for MemoryRows {
    fn put_scope(&mut self, scope: &Scope, row: &ServerScope) -> Result<()> {
        self.scopes.insert(scope.clone(), row.clone());
        Ok(())
    }

    fn put_run(&mut self, scope: &Scope, run: &LogRun) -> Result<()> {
        self.runs.insert((scope.clone(), run.first), *run);
        Ok(())
    }

    fn put_row(
        &mut self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
        _old: Option<&ServerRow>,
        new: &ServerRow,
    ) -> Result<()> {
        let key = (scope.clone(), (collection.clone(), id.clone()));
        self.rows.insert(key, new.clone());
        Ok(())
    }

    fn remove_row(
        &mut self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
        _old: &ServerRow,
    ) -> Result<()> {
        self.rows.remove(&(scope.clone(), (collection.clone(), id.clone())));
        Ok(())
    }

    fn put_push_record(
        &mut self,
        scope: &Scope,
        replica: ReplicaId,
        record: &PushRecord,
    ) -> Result<()> {
        self.pushes.insert((scope.clone(), replica), record.clone());
        Ok(())
    }

    fn put_acknowledged(
        &mut self,
        scope: &Scope,
        replica: ReplicaId,
        at: &Acknowledged,
    ) -> Result<()> {
        self.acknowledged.insert((scope.clone(), replica), *at);
        Ok(())
    }
}
