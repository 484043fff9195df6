//! Reading a server's rows.

use rusqlite::{Row, params};
use sync_core::error::Result;
use sync_core::model::{Collection, DocumentId, LogRun, ReplicaId, Scope, Seq, ServerStart};
use sync_server::record::{Acknowledged, PushRecord, ServerRow, ServerScope};
use sync_server::rows::{LogRow, ServerReads};

use super::Server;
use super::sql;
use crate::columns::{self, STATE_COLUMNS, bound, page};
use crate::core::Core;
use crate::error::damaged;

/// The first column after the columns of a row.
const KEY: usize = STATE_COLUMNS + 3;

fn server_row(row: &Row<'_>) -> Result<ServerRow> {
    let state = columns::state(row)?.ok_or_else(|| damaged("a row is damaged: it has no state"))?;
    Ok(ServerRow {
        seq: Seq(columns::unsigned(row, STATE_COLUMNS)?),
        first: Seq(columns::unsigned(row, STATE_COLUMNS + 1)?),
        state,
        offered: columns::optional_decoded(row, STATE_COLUMNS + 2)?,
    })
}

impl<A> ServerReads for Core<Server, A> {
    fn scope(&self, scope: &Scope) -> Result<Option<ServerScope>> {
        let row =
            self.one(sql::SCOPE, params![scope.as_str()], |row| columns::optional_decoded(row, 0))?;
        Ok(row.flatten())
    }

    fn scopes(&self, after: Option<&Scope>, limit: usize) -> Result<Vec<Scope>> {
        let after = after.map_or("", Scope::as_str);
        self.many(sql::SCOPES, params![after, page(limit)], |row| columns::scope(row, 0))
    }

    fn row(
        &self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
    ) -> Result<Option<ServerRow>> {
        let Some(collection) = self.find_collection(scope, collection)? else { return Ok(None) };
        self.one(sql::ROW, params![collection, id.as_str()], server_row)
    }

    fn log(
        &self,
        scope: &Scope,
        after: Seq,
        visit: &mut dyn FnMut(LogRow) -> Result<bool>,
    ) -> Result<()> {
        let decode = |row: &Row<'_>| {
            let (_, collection) = self.name_of(columns::integer(row, KEY + 1)?)?;
            Ok((collection, columns::document_id(row, KEY)?, server_row(row)?))
        };
        self.each(sql::LOG, params![scope.as_str(), bound(after.0)], decode, visit)
    }

    fn run_at(&self, scope: &Scope, position: Seq) -> Result<Option<LogRun>> {
        self.one(sql::RUN, params![scope.as_str(), bound(position.0)], |row| {
            Ok(LogRun {
                // The id of a start is 64 random bits, of which the sign has no meaning.
                start: ServerStart(columns::integer(row, 0)?.cast_unsigned()),
                first: Seq(columns::unsigned(row, 1)?),
                last: Seq(columns::unsigned(row, 2)?),
            })
        })
    }

    fn push_record(&self, scope: &Scope, replica: ReplicaId) -> Result<Option<PushRecord>> {
        self.one(sql::PUSH, params![scope.as_str(), &replica.0[..]], |row| columns::decoded(row, 0))
    }

    fn acknowledged(&self, scope: &Scope, replica: ReplicaId) -> Result<Option<Acknowledged>> {
        let key = params![scope.as_str(), &replica.0[..]];
        self.one(sql::ACKNOWLEDGED, key, |row| columns::decoded(row, 0))
    }
}
