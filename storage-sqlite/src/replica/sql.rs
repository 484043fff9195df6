//! The statements about a replica's tables.

use crate::columns::state_columns;

/// The columns of a record; [`super::reads`] reads them by their places.
macro_rules! record {
    ($more:literal, $from:literal) => {
        concat!(
            "SELECT ",
            state_columns!(),
            ", d.pk, d.known, d.changed_here, d.delivered, d.pushable, d.pending",
            $more,
            " FROM ",
            $from,
            " "
        )
    };
}

macro_rules! scope {
    () => {
        "(SELECT id FROM scope WHERE name = ?1)"
    };
}

pub(super) const META: &str = "SELECT row FROM meta WHERE id = 1";
pub(super) const PUT_META: &str =
    "INSERT INTO meta (id, row) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET row = excluded.row";

pub(super) const SCOPE: &str = "SELECT row FROM scope WHERE name = ?1";
pub(super) const SCOPES: &str = "SELECT name, row FROM scope WHERE row IS NOT NULL ORDER BY name";
pub(super) const PUT_SCOPE: &str = "INSERT INTO scope (name, row) VALUES (?1, ?2) \
     ON CONFLICT (name) DO UPDATE SET row = excluded.row";
pub(super) const CLEAR_SCOPE: &str = "UPDATE scope SET row = NULL WHERE name = ?1";

/// A scope's names are removed with it, unless rows still use them.
pub(super) const FORGET_COLLECTIONS: &str = concat!(
    "DELETE FROM collection WHERE scope_id = ",
    scope!(),
    " AND NOT EXISTS (SELECT 1 FROM document WHERE collection_id = collection.id)"
);
pub(super) const FORGET_SCOPE: &str = "DELETE FROM scope WHERE name = ?1 \
     AND NOT EXISTS (SELECT 1 FROM collection WHERE scope_id = scope.id) \
     AND NOT EXISTS (SELECT 1 FROM quarantine WHERE scope_id = scope.id) \
     AND NOT EXISTS (SELECT 1 FROM batch WHERE scope_id = scope.id)";

pub(super) const COLLECTIONS: &str = concat!(
    "SELECT id, name FROM collection WHERE scope_id = ",
    scope!(),
    " AND name >= ?2 ORDER BY name"
);

pub(super) const RECORD: &str =
    concat!(record!("", "document d"), "WHERE d.collection_id = ?1 AND d.id = ?2");
pub(super) const RECORDS: &str = concat!(
    record!(", d.id", "document d"),
    "WHERE d.collection_id = ?1 AND d.id > ?2 ORDER BY d.id LIMIT ?3"
);
pub(super) const CHANGED: &str = concat!(
    record!(", d.id, d.collection_id", "document d"),
    "WHERE d.pk > ?1 ORDER BY d.pk LIMIT ?2"
);
/// Within a transaction in the order of their rows: the caller sorts these few by name, because an
/// index of their names would slow down every write.
pub(super) const OUTBOX: &str = concat!(
    record!(", d.id, d.collection_id", "document d"),
    "WHERE d.scope_id = ",
    scope!(),
    " AND d.pushable >= ?2 ORDER BY d.pushable, d.pk"
);
pub(super) const DEFERRED: &str = concat!(
    record!(", d.id", "document d"),
    "WHERE d.collection_id = ?1 AND d.deferred IS NOT NULL AND d.id > ?2 ORDER BY d.id LIMIT ?3"
);

/// A document that is not in the feed gets the next lower place.
macro_rules! place {
    ($place:literal) => {
        concat!("coalesce(", $place, ", (SELECT min(coalesce(min(pk), 0), 0) - 1 FROM document))")
    };
}

macro_rules! insert_document {
    () => {
        concat!(
            "INSERT INTO document (pk, collection_id, id, stamp, replica, author_stamp, \
             author_replica, created, erased, known, changed_here, delivered, scope_id, pushable, \
             deferred, pending, body) VALUES (",
            place!("?1"),
            ", ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
        )
    };
    ($conflict:literal) => {
        concat!(insert_document!(), " ON CONFLICT (collection_id, id) ", $conflict)
    };
}

/// Without the index of conflicts.
pub(super) const LOAD: &str = insert_document!();

pub(super) const INSERT: &str = insert_document!("DO NOTHING");
pub(super) const PUT: &str = insert_document!(
    "DO UPDATE SET pk = excluded.pk, stamp = excluded.stamp, replica = excluded.replica, \
     author_stamp = excluded.author_stamp, author_replica = excluded.author_replica, \
     created = excluded.created, erased = excluded.erased, known = excluded.known, \
     changed_here = excluded.changed_here, delivered = excluded.delivered, \
     scope_id = excluded.scope_id, pushable = excluded.pushable, deferred = excluded.deferred, \
     pending = excluded.pending, body = excluded.body"
);
/// Updates the marks of a document whose row, state and place stay the same.
pub(super) const UPDATE_MARKS: &str = "UPDATE document SET known = ?2, changed_here = ?3, delivered = ?4, scope_id = ?5, \
     pushable = ?6, deferred = ?7, pending = ?8 WHERE pk = ?1";
/// Updates a document by its row.
pub(super) const UPDATE: &str = concat!(
    "UPDATE document SET pk = ",
    place!("?2"),
    ", stamp = ?3, replica = ?4, author_stamp = ?5, author_replica = ?6, created = ?7, erased = ?8, \
     known = ?9, changed_here = ?10, delivered = ?11, scope_id = ?12, pushable = ?13, \
     deferred = ?14, pending = ?15, body = ?16 WHERE pk = ?1"
);
pub(super) const REMOVE: &str = "DELETE FROM document WHERE collection_id = ?1 AND id = ?2";

pub(super) const BATCH: &str = concat!("SELECT row FROM batch WHERE scope_id = ", scope!());
pub(super) const PUT_BATCH: &str = "INSERT INTO batch (scope_id, row) VALUES (?1, ?2) \
     ON CONFLICT (scope_id) DO UPDATE SET row = excluded.row";
pub(super) const REMOVE_BATCH: &str = concat!("DELETE FROM batch WHERE scope_id = ", scope!());

pub(super) const QUARANTINE: &str = concat!(
    "SELECT ticket, row FROM quarantine WHERE scope_id = ",
    scope!(),
    " AND ticket > ?2 ORDER BY ticket LIMIT ?3"
);
pub(super) const PUT_QUARANTINE: &str = "INSERT INTO quarantine (scope_id, ticket, row) VALUES (?1, ?2, ?3) \
     ON CONFLICT (scope_id, ticket) DO UPDATE SET row = excluded.row";
pub(super) const REMOVE_QUARANTINE: &str =
    concat!("DELETE FROM quarantine WHERE scope_id = ", scope!(), " AND ticket = ?2");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;
    use crate::schema::tests::plan;
    use crate::{SqliteReplicaWriter, schema::tests::assert_searches};
    use sync_core::model::ReplicaId;

    #[test]
    fn no_statement_scans_or_sorts_a_table() {
        let core = SqliteReplicaWriter::in_memory(ReplicaId([1; 16])).unwrap();
        for sql in [
            META,
            SCOPE,
            COLLECTIONS,
            RECORD,
            RECORDS,
            CHANGED,
            OUTBOX,
            DEFERRED,
            BATCH,
            QUARANTINE,
            REMOVE,
            REMOVE_BATCH,
            REMOVE_QUARANTINE,
            CLEAR_SCOPE,
            UPDATE,
            UPDATE_MARKS,
            INSERT,
            FORGET_COLLECTIONS,
            names::SCOPE,
            names::COLLECTION,
            names::COLLECTION_BY_ID,
        ] {
            assert_searches(&core.connection, sql);
        }
    }

    #[test]
    fn a_page_begins_in_the_index_and_not_at_its_front() {
        let core = SqliteReplicaWriter::in_memory(ReplicaId([1; 16])).unwrap();
        for (sql, place) in [
            (RECORDS, "(collection_id=? AND id>?)"),
            (CHANGED, "PRIMARY KEY (rowid>?)"),
            (OUTBOX, "document_outbox (scope_id=? AND pushable>?)"),
            (DEFERRED, "document_deferred (collection_id=? AND id>?)"),
            (QUARANTINE, "(scope_id=? AND ticket>?)"),
        ] {
            let plan = plan(&core.connection, sql);
            assert!(plan.contains(place), "{sql}\n{plan}");
        }
    }

    #[test]
    fn a_statement_is_planned_once_whatever_values_it_is_used_with() {
        let core = SqliteReplicaWriter::in_memory(ReplicaId([1; 16])).unwrap();
        for sql in [RECORD, RECORDS, CHANGED, OUTBOX, DEFERRED, QUARANTINE] {
            for value in 1..4 {
                let mut statement = core.connection.prepare_cached(sql).unwrap();
                for place in 1..=statement.parameter_count() {
                    statement.raw_bind_parameter(place, value).unwrap();
                }
                while statement.raw_query().next().unwrap().is_some() {}
                assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0, "{sql}");
            }
        }
    }
}
