//! Writing a server's rows.

use rusqlite::params;
use sync_core::codec::Codec;
use sync_core::error::Result;
use sync_core::model::{Collection, DocumentId, LogRun, ReplicaId, Scope};
use sync_server::record::{Acknowledged, PushRecord, ServerRow, ServerScope};
use sync_server::rows::ServerRows;

use super::{SqliteServerWriter, sql};
use crate::columns::{StateColumns, bound, number, to_blob};

impl SqliteServerWriter {
    fn put_per_replica(
        &self,
        sql: &'static str,
        scope: &Scope,
        replica: ReplicaId,
        row: &impl Codec,
    ) -> Result<()> {
        let scope = self.intern_scope(scope)?;
        self.run(sql, params![scope, &replica.0[..], to_blob(row)]).map(drop)
    }
}

impl ServerRows for SqliteServerWriter {
    fn put_scope(&mut self, scope: &Scope, row: &ServerScope) -> Result<()> {
        self.run(sql::PUT_SCOPE, params![scope.as_str(), to_blob(row)]).map(drop)
    }

    fn put_run(&mut self, scope: &Scope, run: &LogRun) -> Result<()> {
        let (first, last) = (number(run.first.0)?, bound(run.last.0));
        let start = run.start.0.cast_signed();
        self.run(sql::PUT_RUN, params![self.intern_scope(scope)?, first, start, last]).map(drop)
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
            self.remove_row(scope, collection, id, old)?;
        }
        let collection = self.intern_collection(scope, collection)?;
        let state = StateColumns::of(Some(&new.state));
        self.insert(
            sql::INSERT,
            params![
                self.intern_scope(scope)?,
                number(new.seq.0)?,
                number(new.first.0)?,
                collection,
                id.as_str(),
                state.stamp,
                state.replica,
                state.author_stamp,
                state.author_replica,
                state.created,
                new.offered.as_ref().map(to_blob),
                state.body,
                state.erased,
            ],
        )
        .map(drop)
    }

    fn note_erasure(&mut self) -> Result<()> {
        self.note_untidy()
    }

    fn remove_row(
        &mut self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
        _old: &ServerRow,
    ) -> Result<()> {
        let collection = self.intern_collection(scope, collection)?;
        self.run(sql::REMOVE, params![collection, id.as_str()]).map(drop)
    }

    fn put_push_record(
        &mut self,
        scope: &Scope,
        replica: ReplicaId,
        record: &PushRecord,
    ) -> Result<()> {
        self.put_per_replica(sql::PUT_PUSH, scope, replica, record)
    }

    fn put_acknowledged(
        &mut self,
        scope: &Scope,
        replica: ReplicaId,
        at: &Acknowledged,
    ) -> Result<()> {
        self.put_per_replica(sql::PUT_ACKNOWLEDGED, scope, replica, at)
    }
}
