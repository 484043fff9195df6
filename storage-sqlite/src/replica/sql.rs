//! The statements about a replica's tables.

use crate::columns::state_columns;

/// What a record is read from; [`super::reads`] knows the columns by their places.
macro_rules! record {
    ($more:literal, $from:literal) => {
        concat!(
            "SELECT ",
            state_columns!(),
            ", d.known, d.changed, d.changed_here, d.delivered, u.pending",
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

/// A scope's names leave with it, unless something is left of it.
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
    " AND name >= ?2 AND name <= coalesce(?3, name) ORDER BY name"
);

pub(super) const RECORD: &str = concat!(
    record!(", d.pk", "document d LEFT JOIN unsettled u ON u.document = d.pk"),
    "WHERE d.collection_id = ?1 AND d.id = ?2"
);
pub(super) const RECORDS: &str = concat!(
    record!(", d.id", "document d LEFT JOIN unsettled u ON u.document = d.pk"),
    "WHERE d.collection_id = ?1 AND d.id > ?2 ORDER BY d.id LIMIT ?3"
);
pub(super) const CHANGED: &str = concat!(
    record!(", d.id, d.collection_id", "document d LEFT JOIN unsettled u ON u.document = d.pk"),
    "WHERE d.changed > ?1 ORDER BY d.changed LIMIT ?2"
);
pub(super) const OUTBOX: &str = concat!(
    record!(", u.id, u.collection", "unsettled u CROSS JOIN document d ON d.pk = u.document"),
    "WHERE u.scope_id = ",
    scope!(),
    " AND u.pushable IS NOT NULL AND (u.pushable, u.collection, u.id) > (?2, ?3, ?4) \
     ORDER BY u.pushable, u.collection, u.id LIMIT ?5"
);
pub(super) const DEFERRED: &str = concat!(
    record!(", u.id, u.collection", "unsettled u CROSS JOIN document d ON d.pk = u.document"),
    "WHERE u.scope_id = ",
    scope!(),
    " AND u.deferred = 1 AND (u.collection, u.id) > (?2, ?3) \
     ORDER BY u.collection, u.id LIMIT ?4"
);

macro_rules! insert_document {
    () => {
        "INSERT INTO document (collection_id, id, stamp, replica, author_stamp, \
         author_replica, created, known, changed, changed_here, delivered, body, erased) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
    };
    ($conflict:literal) => {
        concat!(insert_document!(), " ON CONFLICT (collection_id, id) ", $conflict)
    };
}

/// Without the index that knows of conflicts.
pub(super) const LOAD: &str = insert_document!();

pub(super) const INSERT: &str = insert_document!("DO NOTHING");
pub(super) const PUT: &str = insert_document!(
    "DO UPDATE SET stamp = excluded.stamp, replica = excluded.replica, \
     author_stamp = excluded.author_stamp, author_replica = excluded.author_replica, \
     created = excluded.created, known = excluded.known, changed = excluded.changed, \
     changed_here = excluded.changed_here, delivered = excluded.delivered, body = excluded.body, \
     erased = excluded.erased"
);
/// A document whose row is known.
pub(super) const UPDATE: &str = "UPDATE document SET stamp = ?2, replica = ?3, author_stamp = ?4, \
     author_replica = ?5, created = ?6, known = ?7, changed = ?8, changed_here = ?9, \
     delivered = ?10, body = ?11, erased = ?12 WHERE pk = ?1";
pub(super) const REMOVE: &str = "DELETE FROM document WHERE collection_id = ?1 AND id = ?2";

pub(super) const PUT_UNSETTLED: &str = "INSERT INTO unsettled (document, scope_id, collection, id, pushable, deferred, pending) \
     SELECT d.pk, c.scope_id, c.name, d.id, ?3, ?4, ?5 \
     FROM document d JOIN collection c ON c.id = d.collection_id \
     WHERE d.collection_id = ?1 AND d.id = ?2 \
     ON CONFLICT (document) DO UPDATE SET \
     pushable = excluded.pushable, deferred = excluded.deferred, pending = excluded.pending";
/// The same where the row of the document is known.
pub(super) const PUT_UNSETTLED_AT: &str = "INSERT INTO unsettled (document, scope_id, collection, id, pushable, deferred, pending) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (document) DO UPDATE SET \
     pushable = excluded.pushable, deferred = excluded.deferred, pending = excluded.pending";
pub(super) const REMOVE_UNSETTLED_AT: &str = "DELETE FROM unsettled WHERE document = ?1";
pub(super) const REMOVE_UNSETTLED: &str = "DELETE FROM unsettled WHERE document = \
     (SELECT pk FROM document WHERE collection_id = ?1 AND id = ?2)";

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
            REMOVE_UNSETTLED,
            REMOVE_BATCH,
            REMOVE_QUARANTINE,
            CLEAR_SCOPE,
            PUT_UNSETTLED,
            UPDATE,
            REMOVE_UNSETTLED_AT,
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
            (CHANGED, "(changed>?)"),
            (OUTBOX, "(scope_id=? AND (pushable,collection,id)>(?,?,?))"),
            (DEFERRED, "(scope_id=? AND (collection,id)>(?,?))"),
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
