//! The statements about a server's tables.

use crate::columns::state_columns;

/// The columns of a row of the log; [`super::reads`] reads them by their places.
macro_rules! log {
    ($more:literal) => {
        concat!("SELECT ", state_columns!(), ", d.seq, d.first, d.offered", $more, " FROM log d ")
    };
}

macro_rules! scope {
    () => {
        "(SELECT id FROM scope WHERE name = ?1)"
    };
}

macro_rules! per_replica {
    (get $table:literal) => {
        concat!("SELECT row FROM ", $table, " WHERE scope_id = ", scope!(), " AND replica = ?2")
    };
    (put $table:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " (scope_id, replica, row) VALUES (?1, ?2, ?3) \
             ON CONFLICT (scope_id, replica) DO UPDATE SET row = excluded.row"
        )
    };
}

pub(super) const SCOPE: &str = "SELECT row FROM scope WHERE name = ?1";
pub(super) const SCOPES: &str = "SELECT name FROM scope WHERE row IS NOT NULL AND name > ?1 \
     ORDER BY name LIMIT ?2";
pub(super) const PUT_SCOPE: &str = "INSERT INTO scope (name, row) VALUES (?1, ?2) \
     ON CONFLICT (name) DO UPDATE SET row = excluded.row";

pub(super) const ROW: &str = concat!(log!(""), "WHERE d.collection_id = ?1 AND d.id = ?2");
pub(super) const LOG: &str = concat!(
    log!(", d.id, d.collection_id"),
    "WHERE d.scope_id = ",
    scope!(),
    " AND d.seq > ?2 ORDER BY d.seq"
);

pub(super) const RUN: &str = concat!(
    "SELECT term, first, last FROM run WHERE scope_id = ",
    scope!(),
    " AND first <= ?2 ORDER BY first DESC LIMIT 1"
);
pub(super) const PUT_RUN: &str = "INSERT INTO run (scope_id, first, term, last) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (scope_id, first) DO UPDATE SET term = excluded.term, last = excluded.last";

pub(super) const INSERT: &str = "INSERT INTO log (scope_id, seq, first, collection_id, id, stamp, replica, author_stamp, \
     author_replica, created, offered, body, erased) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
pub(super) const REMOVE: &str = "DELETE FROM log WHERE collection_id = ?1 AND id = ?2";

pub(super) const PUSH: &str = per_replica!(get "push");
pub(super) const PUT_PUSH: &str = per_replica!(put "push");
pub(super) const ACKNOWLEDGED: &str = per_replica!(get "acknowledged");
pub(super) const PUT_ACKNOWLEDGED: &str = per_replica!(put "acknowledged");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteServerWriter;
    use crate::schema::tests::{assert_searches, plan};

    #[test]
    fn no_statement_scans_or_sorts_a_table() {
        let core = SqliteServerWriter::in_memory().unwrap();
        for sql in [SCOPE, SCOPES, ROW, LOG, RUN, REMOVE, PUSH, ACKNOWLEDGED] {
            assert_searches(&core.connection, sql);
        }
        let log = plan(&core.connection, LOG);
        assert!(log.contains("log_position (scope_id=? AND seq>?)"), "{log}");
    }
}
