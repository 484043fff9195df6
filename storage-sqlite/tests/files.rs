//! Which files are opened, and which are refused and stay unchanged.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{REPLICA, config, key, place};
use rusqlite::Connection;
use storage_kit::{Durability, Snapshot, Transactional};
use storage_sqlite::{
    SqliteReplicaReader, SqliteReplicaWriter, SqliteServerReader, SqliteServerWriter, open_replica,
};
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::{ReplicaId, Seq};
use sync_core::replica::record::{Pending, Record};
use sync_core::replica::rows::{ReplicaReads, ReplicaRows};
use sync_core::storage::Storage;

/// Returns the names and bytes of all files in the folder.
fn files(path: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn open_as_replica(path: &Path) -> Result<(), Error> {
    open_replica(&config(path), REPLICA).map(drop)
}

/// Asserts that every way to open it is refused, and that nothing in the folder changes.
fn assert_refused(path: &Path, why: &str) {
    let before = files(path);
    let reader = SqliteReplicaReader::open(&config(path)).map(drop);
    for error in [open_as_replica(path), reader].map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        assert!(error.report().to_string().contains(why), "{error}");
        assert!(error.report().to_string().contains("app.db"), "{error}");
    }
    assert_eq!(files(path), before);
}

#[tokio::test]
async fn a_new_file_becomes_a_replica_and_keeps_its_identity() {
    let (_folder, path) = place();
    for other in [REPLICA, ReplicaId([8; 16])] {
        let storage = open_replica(&config(&path), other).unwrap();
        assert_eq!(storage.state().await.unwrap().replica, REPLICA);
        storage.close().await.unwrap();
    }
}

#[test]
fn an_empty_file_counts_as_new() {
    let (_folder, path) = place();
    std::fs::write(&path, b"").unwrap();
    open_as_replica(&path).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let (_folder, path) = place();
    for bytes in [&b"x"[..], &[0; 4_096], b"SQLite format 3\0", &[b'x'; 9_000]] {
        std::fs::write(&path, bytes).unwrap();
        assert_refused(&path, "no database");
    }
}

#[test]
fn a_database_of_another_program_is_refused() {
    for mode in ["delete", "wal"] {
        let (_folder, path) = place();
        let other = Connection::open(&path).unwrap();
        other.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(())).unwrap();
        other.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)").unwrap();
        assert_refused(&path, "another program");
        drop(other);
        assert_refused(&path, "another program");
    }
}

#[test]
fn a_servers_file_is_no_replicas_and_the_reverse() {
    let (_folder, path) = place();
    drop(SqliteServerWriter::open(&config(&path)).unwrap());
    assert_refused(&path, "a server's, not a replica's");
    let (_folder, path) = place();
    drop(SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap());
    for error in [
        SqliteServerWriter::open(&config(&path)).map(drop).unwrap_err(),
        SqliteServerReader::open(&config(&path)).map(drop).unwrap_err(),
    ] {
        assert!(error.report().to_string().contains("a replica's, not a server's"), "{error}");
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused_also_if_the_version_is_only_in_its_log() {
    let (_folder, path) = place();
    drop(SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap());
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    // The version is in the write-ahead log alone now, and must stay there.
    let before = std::fs::read(&path).unwrap();
    let error = open_as_replica(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.report().to_string().contains("version 99"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    drop(newer);
    assert_refused(&path, "version 99");
}

#[test]
fn a_file_whose_creation_was_interrupted_is_created_again() {
    let (_folder, path) = place();
    drop(SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap());
    // As a crash leaves it: the first page is on the disk, and according to the journal the file
    // had none before.
    std::fs::write(&path, [0; 4_096]).unwrap();
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for n in [0u32, 7, 0, 512, 4_096] {
        journal.extend(n.to_be_bytes());
    }
    journal.resize(512, 0);
    std::fs::write(path.with_file_name("app.db-journal"), journal).unwrap();
    let core = SqliteReplicaWriter::open(&config(&path), ReplicaId([9; 16])).unwrap();
    assert_eq!(core.meta().unwrap().unwrap().replica, ReplicaId([9; 16]));
}

#[test]
fn damaged_rows_are_incompatible_with_the_file_in_the_error() {
    let (_folder, path) = place();
    let mut core = SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap();
    let document = key("a", "c", "x");
    let pending = Some(Box::new(Pending { deferred: true, ..Pending::default() }));
    core.begin(Durability::Process).unwrap();
    core.put_record(&document, None, &Record { server_seq: Seq(1), pending, ..Record::default() })
        .unwrap();
    core.commit().unwrap();
    let other = Connection::open(&path).unwrap();
    for damage in [
        "UPDATE document SET pending = x'01ff'",
        "UPDATE document SET pending = x'02'",
        "UPDATE document SET pending = x''",
        "UPDATE document SET known = -1",
        "UPDATE document SET pending = NULL, known = 1, stamp = 1, replica = x'00'",
    ] {
        other.execute_batch(damage).unwrap();
        let error = core.record(&document).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{damage}");
        assert!(error.report().to_string().contains("app.db"), "{error}");
    }
}

#[test]
fn an_unopenable_file_is_a_storage_error_with_the_path() {
    let (folder, path) = place();
    for bad in [path.join("no/such/folder/app.db"), folder.path().to_owned()] {
        let error = open_as_replica(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert!(error.report().to_string().contains(bad.to_str().unwrap()), "{error}");
    }
}

/// Permissions do not apply to the superuser, so the test changes to another user first.
#[cfg(unix)]
mod read_only {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    const FILE: &str = "TWOTIDE_TEST_READ_ONLY_FILE";
    const OPENS: &str = "TWOTIDE_TEST_READ_ONLY_OPENS";
    const NOBODY: u32 = 65_534;

    /// Runs in a child process, started by the tests below.
    #[test]
    fn child() {
        let Some(path) = std::env::var_os(FILE) else { return };
        let opened = open_as_replica(Path::new(&path));
        if std::env::var_os(OPENS).is_some() {
            return opened.unwrap();
        }
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert!(error.report().to_string().contains("app.db"), "{error}");
    }

    /// A program that is being copied cannot be run, and a process that another test starts
    /// meanwhile holds the copy open.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn assert_child_is_refused(folder: &Path, path: &Path) {
        run_child(folder, path, |child| child);
    }

    fn assert_child_opens(folder: &Path, path: &Path) {
        run_child(folder, path, |child| child.env(OPENS, "1"));
    }

    fn run_child(folder: &Path, path: &Path, how: fn(&mut Command) -> &mut Command) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let program = folder.join("test-program");
        // The build folder may not be accessible to other users.
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut child = Command::new(program);
        child.args(["--exact", "read_only::child"]).env(FILE, path).current_dir("/");
        if std::fs::metadata(folder).unwrap().uid() == 0 {
            child.uid(NOBODY).gid(NOBODY);
        }
        let output = how(&mut child).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    /// Creates a replica in a folder inside one that every user may enter.
    fn closed_place() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let path = inner.join("app.db");
        drop(SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap());
        (folder, path)
    }

    #[test]
    fn a_file_that_may_only_be_read_is_a_storage_error() {
        let (folder, path) = closed_place();
        set_permissions(path.parent().unwrap(), Permissions::from_mode(0o777)).unwrap();
        set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert_child_is_refused(folder.path(), &path);
    }

    /// Returns the names and permissions of the files beside a file.
    fn permissions(path: &Path) -> Vec<(String, u32)> {
        let entries = std::fs::read_dir(path.parent().unwrap()).unwrap().map(Result::unwrap);
        let mut found: Vec<_> = entries
            .map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().mode() & 0o777))
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_file_that_could_only_be_read_for_a_while_can_be_used_afterwards() {
        let (folder, path) = closed_place();
        let inner = path.parent().unwrap();
        set_permissions(inner, Permissions::from_mode(0o777)).unwrap();
        // It must belong to the process that may not write to it.
        if std::fs::metadata(inner).unwrap().uid() == 0 {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        for mode in [0o444, 0o400] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let before = permissions(&path);
            assert_child_is_refused(folder.path(), &path);
            assert_eq!(permissions(&path), before);
        }
        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_child_opens(folder.path(), &path);
    }

    #[test]
    fn files_beside_a_file_that_was_read_only_do_not_block_it() {
        let (folder, path) = closed_place();
        let inner = path.parent().unwrap();
        set_permissions(inner, Permissions::from_mode(0o777)).unwrap();
        let endings = ["", "-wal", "-shm"];
        for ending in endings {
            let file = inner.join(format!("app.db{ending}"));
            if !ending.is_empty() {
                std::fs::write(&file, b"").unwrap();
                set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
            }
            if std::fs::metadata(inner).unwrap().uid() == 0 {
                std::os::unix::fs::chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        assert_child_opens(folder.path(), &path);
    }

    #[test]
    fn a_folder_that_may_only_be_read_is_a_storage_error() {
        let (folder, path) = closed_place();
        let inner = path.parent().unwrap();
        set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        set_permissions(inner, Permissions::from_mode(0o555)).unwrap();
        assert_child_is_refused(folder.path(), &path);
        assert_child_is_refused(folder.path(), &inner.join("new-app.db"));
        // Otherwise it could not be removed.
        set_permissions(inner, Permissions::from_mode(0o755)).unwrap();
    }
}

/// Changes files while they are open, and returns the errors of the next calls.
#[cfg(unix)]
fn lost(how: fn(&Path)) -> (String, String) {
    let (_folder, path) = place();
    let mut writer = SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap();
    let mut reader = SqliteReplicaReader::open(&config(&path)).unwrap();
    let server = path.with_file_name("server.db");
    let mut served = SqliteServerWriter::open(&config(&server)).unwrap();
    writer.begin(Durability::Power).unwrap();
    writer.put_meta(&writer.meta().unwrap().unwrap()).unwrap();
    writer.commit().unwrap();
    how(&path);
    how(&server);
    let errors = [
        writer.begin(Durability::Power).unwrap_err(),
        reader.open().unwrap_err(),
        served.begin(Durability::Power).unwrap_err(),
    ];
    for error in &errors {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Storage, Retry::Never), "{error}");
    }
    (errors[0].report().to_string(), errors[1].report().to_string())
}

#[cfg(unix)]
#[test]
fn a_file_that_is_not_at_its_path_any_more_is_neither_read_nor_written() {
    let gone = lost(|path| std::fs::remove_file(path).unwrap());
    assert!(gone.0.contains("deleted or moved") && gone.1.contains("app.db"), "{gone:?}");
    let moved = lost(|path| std::fs::rename(path, path.with_extension("old")).unwrap());
    assert!(moved.1.contains("deleted or moved"), "{moved:?}");
    let replaced = lost(|path| {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).unwrap();
        std::fs::rename(copy, path).unwrap();
    });
    assert!(replaced.0.contains("replaced"), "{replaced:?}");
    let emptied = lost(|path| std::fs::File::create(path).map(drop).unwrap());
    assert!(emptied.1.contains("emptied"), "{emptied:?}");
}

#[cfg(unix)]
#[test]
fn without_its_log_a_file_is_not_written() {
    let (_folder, path) = place();
    let mut writer = SqliteReplicaWriter::open(&config(&path), REPLICA).unwrap();
    std::fs::remove_file(path.with_file_name("app.db-wal")).unwrap();
    let error = writer.begin(Durability::Power).unwrap_err();
    assert!(error.report().to_string().contains("write-ahead log"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_removed_file_is_detected_without_a_call() {
    let (_folder, path) = place();
    let storage = open_replica(&config(&path), REPLICA).unwrap();
    let mut commits = storage.commits();
    commits.borrow_and_update();
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    commits.changed().await.unwrap();
    assert_eq!(storage.state().await.unwrap_err().kind(), ErrorKind::Storage);
    storage.close().await.unwrap();
}
