//! A file and the write-ahead log beside it belong together, or the file is refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use common::{NOW, REPLICA, config, place, puts};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use storage_kit::{Durability, Transactional};
use storage_sqlite::{SqliteReplicaWriter, SqliteServerWriter};
use sync_core::error::ErrorKind;
use sync_core::model::{Epoch, LogKey, NewLog, Scope};
use sync_core::replica::ops;

fn open(path: &Path) -> Result<SqliteReplicaWriter, sync_core::error::Error> {
    SqliteReplicaWriter::open(&config(path), REPLICA)
}

fn put(core: &mut SqliteReplicaWriter, ids: std::ops::Range<u32>) {
    for n in ids {
        core.begin(Durability::Process).unwrap();
        let transaction = puts(&[(&format!("d{n}"), &format!("\"{}\"", "x".repeat(500)))]);
        ops::write(core, NOW, &Default::default(), &transaction).unwrap();
        core.commit().unwrap();
    }
}

/// Copies the file and its log, as a killed process leaves them.
fn copy(path: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir_all(to).unwrap();
    for ending in ["", "-wal"] {
        let name = |folder: &Path| folder.join(format!("app.db{ending}"));
        if name(path.parent().unwrap()).exists() {
            std::fs::copy(name(path.parent().unwrap()), name(to)).unwrap();
        }
    }
    to.join("app.db")
}

fn documents(core: &SqliteReplicaWriter) -> u64 {
    let checked = ops::check(core).unwrap();
    assert!(checked.iter().all(|c| c.is_right()), "{checked:?}");
    checked.iter().map(|c| c.counted.documents).sum()
}

/// Creates an older copy of a file that was closed later, and the log of a later opening.
fn older_file_and_newer_log() -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = place();
    let mut core = open(&path).unwrap();
    put(&mut core, 0..100);
    drop(core);
    let older = std::fs::read(&path).unwrap();
    let mut core = open(&path).unwrap();
    put(&mut core, 100..400);
    drop(core);
    let mut core = open(&path).unwrap();
    put(&mut core, 400..402);
    let mixed = copy(&path, &folder.path().join("mixed"));
    std::fs::write(&mixed, older).unwrap();
    (folder, mixed)
}

#[test]
fn an_older_copy_beside_a_newer_log_is_refused_and_unchanged() {
    let (_folder, path) = older_file_and_newer_log();
    let bytes = || {
        let log = path.with_file_name("app.db-wal");
        (std::fs::read(&path).unwrap(), std::fs::read(log).unwrap())
    };
    let before = bytes();
    let error = open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(error.report().to_string().contains("move the log away"), "{error}");
    assert!(bytes() == before);
    // As the message advises.
    std::fs::remove_file(path.with_file_name("app.db-wal")).unwrap();
    assert_eq!(documents(&open(&path).unwrap()), 100);
}

#[test]
fn an_older_log_beside_a_newer_file_is_refused() {
    let (folder, path) = place();
    let mut core = open(&path).unwrap();
    put(&mut core, 0..50);
    let mixed = copy(&path, &folder.path().join("mixed"));
    drop(core);
    let mut core = open(&path).unwrap();
    put(&mut core, 50..100);
    drop(core);
    std::fs::copy(&path, &mixed).unwrap();
    assert_eq!(open(&mixed).unwrap_err().kind(), ErrorKind::Incompatible);
}

#[test]
fn a_server_file_is_refused_likewise() {
    let (folder, path) = place();
    let open_server = |path: &Path| SqliteServerWriter::open(&config(path));
    let add = |names: std::ops::Range<u32>| {
        let mut core = open_server(&path).unwrap();
        for n in names {
            core.begin(Durability::Process).unwrap();
            let log = NewLog { epoch: Epoch([1; 16]), key: LogKey([7; 16]) };
            let scope = Scope::new(format!("s{n}")).unwrap();
            sync_server::ops::open_scope(&mut core, &scope, log).unwrap();
            core.commit().unwrap();
        }
        core
    };
    drop(add(0..10));
    let older = std::fs::read(&path).unwrap();
    drop(add(10..20));
    let core = add(20..30);
    let mixed = copy(&path, &folder.path().join("mixed"));
    drop(open_server(&mixed).unwrap());
    copy(&path, mixed.parent().unwrap());
    std::fs::write(&mixed, older).unwrap();
    assert_eq!(open_server(&mixed).unwrap_err().kind(), ErrorKind::Incompatible);
    drop(core);
}

#[test]
fn a_copy_of_the_file_alone_fits_the_log_at_that_time() {
    let (folder, path) = place();
    let mut core = open(&path).unwrap();
    put(&mut core, 0..20);
    let older = std::fs::read(&path).unwrap();
    put(&mut core, 20..40);
    let later = copy(&path, &folder.path().join("later"));
    std::fs::write(&later, older).unwrap();
    assert_eq!(documents(&open(&later).unwrap()), 40);
}

#[test]
fn a_process_may_be_killed_at_any_time() {
    let (folder, path) = place();
    let mut settings = config(&path);
    settings.checkpoint_pages = 8;
    let open = || SqliteReplicaWriter::open(&settings, REPLICA).unwrap();
    let (mut one, mut two) = (open(), open());
    for n in 0..120 {
        put(if n % 3 == 0 { &mut two } else { &mut one }, n..n + 1);
        match n % 10 {
            4 => one.rest(),
            7 => two.rest(),
            9 => assert!(one.purge_erased().unwrap()),
            _ => {}
        }
        let killed = copy(&path, &folder.path().join(n.to_string()));
        let core = SqliteReplicaWriter::open(&config(&killed), REPLICA).unwrap();
        assert_eq!(documents(&core), u64::from(n) + 1);
    }
}

/// Removes the log's row about the file, as if the process had been killed before it was written.
fn unbind(path: &Path) {
    let file = Connection::open(path).unwrap();
    file.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    file.execute("UPDATE log_binding SET log = x'0000000000000000'", []).unwrap();
}

#[test]
fn files_that_cannot_be_compared_are_counted() {
    let (folder, path) = place();
    let mut core = open(&path).unwrap();
    put(&mut core, 0..20);
    let killed = copy(&path, &folder.path().join("killed"));
    unbind(&killed);
    assert_eq!(documents(&open(&killed).unwrap()), 20);
    let (_folder, mixed) = older_file_and_newer_log();
    unbind(&mixed);
    assert_eq!(open(&mixed).unwrap_err().kind(), ErrorKind::Incompatible);
}
