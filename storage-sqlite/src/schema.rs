//! The tables, and their migration in a file of an older version.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use sync_core::error::{Error, ErrorKind, Result};

use sync_core::replica::Checked;

use crate::binding::another_file;
use crate::core::{Core, Writing};
use crate::error::convert;

/// The kind of a file: [`Replica`] or, with the feature `server`, `Server`; others have no use.
pub trait Kind: Send + 'static {
    /// The number in the file's header that identifies the kind.
    const APPLICATION_ID: i32;
    /// The migrations from each version of the tables to the next, beginning with the empty file.
    /// New ones are only appended.
    const MIGRATIONS: &'static [&'static str];
    /// The first statement of a snapshot. It finds a row in a replica that is being loaded.
    const FIRST_READ: &'static str;

    /// Counts the rows again for which sums are stored.
    ///
    /// # Errors
    /// `Incompatible` if they are wrong.
    #[doc(hidden)]
    fn count_again(core: &Core<Self, Writing>) -> Result<()>
    where
        Self: Sized;
}

/// The data of a replica.
#[derive(Clone, Copy, Debug)]
pub enum Replica {}

/// The number in the header of a replica's file.
const REPLICA_ID: i32 = i32::from_be_bytes(*b"2TDr");

/// The number in the header of a server's file.
pub(crate) const SERVER_ID: i32 = i32::from_be_bytes(*b"2TDs");

impl Kind for Replica {
    const APPLICATION_ID: i32 = REPLICA_ID;
    const MIGRATIONS: &'static [&'static str] = &[
        include_str!("replica/schema_1.sql"),
        include_str!("replica/schema_2.sql"),
        include_str!("replica/schema_3.sql"),
        include_str!("replica/schema_4.sql"),
        include_str!("log_binding.sql"),
        include_str!("log_binding_2.sql"),
    ];
    const FIRST_READ: &'static str = crate::replica::IS_LOADING;

    fn count_again(core: &Core<Self, Writing>) -> Result<()> {
        // A load has no index for counting, and nothing of it is settled before it ends.
        if core.one(Self::FIRST_READ, [], |_| Ok(()))?.is_some() {
            return Ok(());
        }
        let checked = sync_core::replica::ops::check(core)?;
        if checked.iter().all(Checked::is_right) { Ok(()) } else { Err(another_file()) }
    }
}

/// Checks that a file with these numbers may be used as that kind, and returns its version.
pub(crate) fn judge<K: Kind>(application: i32, version: i32, is_blank: bool) -> Result<usize> {
    let refuse = |what: String| Err(Error::new(ErrorKind::Incompatible, what));
    if application != K::APPLICATION_ID {
        return match application {
            0 if version == 0 && is_blank => Ok(0),
            REPLICA_ID => refuse("the file is a replica's, not a server's".to_owned()),
            SERVER_ID => refuse("the file is a server's, not a replica's".to_owned()),
            _ => refuse("the file is a database of another program".to_owned()),
        };
    }
    match usize::try_from(version) {
        Ok(version) if version <= K::MIGRATIONS.len() => Ok(version),
        _ => refuse(format!(
            "the file is of version {version}, and this program knows them up to {}",
            K::MIGRATIONS.len()
        )),
    }
}

/// Returns the version of the tables in a file that SQLite has opened; 0 for none yet.
///
/// # Errors
/// `Incompatible` for what [`judge`] refuses.
pub(crate) fn check<K: Kind>(connection: &Connection) -> Result<usize> {
    let marks = || -> rusqlite::Result<(i64, i32, i32)> {
        // One snapshot: otherwise the numbers of a file that is being created could be read half
        // before and half after.
        let snapshot = connection.is_autocommit().then(|| connection.unchecked_transaction());
        let _snapshot = snapshot.transpose()?;
        let objects =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0));
        Ok((objects, pragma("application_id")?, pragma("user_version")?))
    };
    let (objects, application, version) = marks().map_err(|e| convert("open", None, e))?;
    judge::<K>(application, version, objects == 0).map_err(|e| e.during("open"))
}

/// As [`check`], for connections that cannot migrate the tables.
pub(crate) fn check_current<K: Kind>(connection: &Connection) -> Result<()> {
    if check::<K>(connection)? == K::MIGRATIONS.len() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Incompatible,
        "the file is older; it has to be opened for writing first",
    )
    .during("open"))
}

/// Migrates the tables, in one transaction. For a new file it runs without the write-ahead log, so
/// that the file's own header identifies it as Twotide's from the beginning.
pub(crate) fn migrate<K: Kind>(connection: &Connection, migrations: &[&str]) -> Result<()> {
    if check::<K>(connection)? == migrations.len() {
        return Ok(());
    }
    let failed = |e| convert("update the tables", None, e);
    let tx = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Another process may have migrated them first.
    let version = check::<K>(&tx)?;
    for step in migrations.iter().skip(version) {
        tx.execute_batch(step).map_err(failed)?;
    }
    tx.pragma_update(None, "application_id", K::APPLICATION_ID).map_err(failed)?;
    tx.pragma_update(None, "user_version", migrations.len() as i64).map_err(failed)?;
    tx.commit().map_err(failed)
}

/// Enables the write-ahead log, permanently for the file.
///
/// SQLite does not wait if another process is about to do the same, so this is retried within the
/// busy timeout.
pub(crate) fn use_write_ahead_log(connection: &Connection, patience: Duration) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    let mut tries = 1 + patience.as_millis() / PAUSE.as_millis();
    loop {
        tries -= 1;
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::Storage,
                    "this file system does not support several readers beside a writer",
                )
                .during("open"));
            }
            Err(e) if is_busy(&e) && tries > 0 => std::thread::sleep(PAUSE),
            Err(e) => return Err(convert("open", None, e)),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns SQLite's plan for a statement.
    pub(crate) fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    /// Asserts that a statement finds its rows, and their order, in indexes.
    pub(crate) fn assert_searches(connection: &Connection, sql: &str) {
        let plan = plan(connection, sql);
        for bad in ["SCAN", "TEMP B-TREE"] {
            assert!(!plan.contains(bad), "{sql}\n{plan}");
        }
    }

    enum Toy {}

    impl Kind for Toy {
        const APPLICATION_ID: i32 = 7;
        const FIRST_READ: &'static str = "SELECT 1 FROM t WHERE 0";
        const MIGRATIONS: &'static [&'static str] = &[
            "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1);",
            "ALTER TABLE t ADD COLUMN b TEXT; UPDATE t SET b = 'new';",
        ];

        fn count_again(_: &Core<Self, Writing>) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_older_file_is_migrated_and_keeps_its_data() {
        let connection = Connection::open_in_memory().unwrap();
        migrate::<Toy>(&connection, &Toy::MIGRATIONS[..1]).unwrap();
        assert_eq!(check::<Toy>(&connection).unwrap(), 1);
        assert_eq!(check_current::<Toy>(&connection).unwrap_err().kind(), ErrorKind::Incompatible);
        migrate::<Toy>(&connection, Toy::MIGRATIONS).unwrap();
        check_current::<Toy>(&connection).unwrap();
        let row: (i64, String) = connection
            .query_row("SELECT a, b FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(row, (1, "new".to_owned()));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let connection = Connection::open_in_memory().unwrap();
        migrate::<Toy>(&connection, &Toy::MIGRATIONS[..1]).unwrap();
        let broken = [Toy::MIGRATIONS[0], "UPDATE t SET a = 2; SELECT nonsense;"];
        migrate::<Toy>(&connection, &broken).unwrap_err();
        assert_eq!(check::<Toy>(&connection).unwrap(), 1);
        let a: i64 = connection.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(a, 1);
    }
}
