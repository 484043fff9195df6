//! A copy that is put over an open file is detected, and nothing is committed to the result.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{NOW, REPLICA, config, place, puts};
use rusqlite::Connection;
use storage_kit::{Durability, Snapshot, Transactional};
use storage_sqlite::{
    SqliteConfig, SqliteReplicaReader, SqliteReplicaWriter, SqliteServerReader, SqliteServerWriter,
};
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::{Epoch, LogKey, NewLog, Scope};
use sync_core::replica::ops;

fn open(path: &Path) -> Result<SqliteReplicaWriter, Error> {
    SqliteReplicaWriter::open(&config(path), REPLICA)
}

fn put(core: &mut SqliteReplicaWriter, ids: std::ops::Range<u32>) -> Result<(), Error> {
    for n in ids {
        core.begin(Durability::Process)?;
        let transaction = puts(&[(&format!("d{n}"), &format!("\"{}\"", "x".repeat(500)))]);
        ops::write(core, NOW, &Default::default(), &transaction)?;
        core.commit()?;
    }
    Ok(())
}

fn documents(core: &SqliteReplicaWriter) -> u64 {
    let checked = ops::check(core).unwrap();
    assert!(checked.iter().all(|c| c.is_right()), "{checked:?}");
    checked.iter().map(|c| c.counted.documents).sum()
}

/// Returns a copy of the file with the log's pages, as a backup makes it while the file is open.
fn back_up(path: &Path) -> Vec<u8> {
    let folder = path.with_file_name("backup");
    std::fs::create_dir(&folder).unwrap();
    let copy = folder.join("app.db");
    for ending in ["", "-wal"] {
        let name = format!("app.db{ending}");
        std::fs::copy(path.with_file_name(&name), folder.join(&name)).unwrap();
    }
    // Closing it moves the log into it.
    let count = "SELECT count(*) FROM sqlite_schema";
    Connection::open(&copy).unwrap().query_row(count, [], |_| Ok(())).unwrap();
    assert!(!folder.join("app.db-wal").exists());
    std::fs::read(copy).unwrap()
}

/// Returns a copy of the same data in other pages.
fn write_anew(path: &Path) -> Vec<u8> {
    let copy = path.with_file_name("copy.db");
    let from = Connection::open(path).unwrap();
    from.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    std::fs::read(copy).unwrap()
}

/// Overwrites the file in place, as `cp` does.
fn put_over(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[track_caller]
fn assert_lost(error: &Error) {
    assert_eq!(error.retry(), Retry::Never, "{error}");
    assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::Incompatible), "{error}");
    assert!(error.report().to_string().contains("app.db"), "{error}");
}

/// Asserts that the open file is lost, and that opening the result is refused.
#[track_caller]
fn assert_noticed(path: &Path, mut core: SqliteReplicaWriter, mut reader: SqliteReplicaReader) {
    let log = path.with_file_name("app.db-wal");
    let before = (std::fs::read(path).unwrap(), std::fs::read(&log).unwrap());
    for _ in 0..2 {
        assert_lost(&put(&mut core, 900..901).unwrap_err());
        assert_lost(&reader.open().unwrap_err());
        assert_lost(&core.purge_erased().unwrap_err());
    }
    drop((core, reader));
    assert!((std::fs::read(path).unwrap(), std::fs::read(&log).unwrap()) == before);
    assert_lost(&open(path).unwrap_err());
}

#[test]
fn a_copy_from_before_the_file_was_opened_is_noticed() {
    let (_folder, path) = place();
    let mut core = open(&path).unwrap();
    put(&mut core, 0..50).unwrap();
    drop(core);
    let older = std::fs::read(&path).unwrap();
    for end in [100, 150] {
        let mut core = open(&path).unwrap();
        put(&mut core, end - 50..end).unwrap();
        drop(core);
    }
    let mut core = open(&path).unwrap();
    let reader = SqliteReplicaReader::open(&config(&path)).unwrap();
    put(&mut core, 150..200).unwrap();
    put_over(&path, &older);
    assert_noticed(&path, core, reader);
}

#[test]
fn a_copy_older_than_the_newest_move_is_noticed() {
    let (_folder, path) = place();
    let mut settings = config(&path);
    settings.checkpoint_pages = 16;
    let mut core = SqliteReplicaWriter::open(&settings, REPLICA).unwrap();
    let reader = SqliteReplicaReader::open(&settings).unwrap();
    put(&mut core, 0..20).unwrap();
    let older = back_up(&path);
    put(&mut core, 20..60).unwrap();
    core.rest();
    put(&mut core, 60..62).unwrap();
    put_over(&path, &older);
    assert_noticed(&path, core, reader);
}

#[test]
fn a_copy_from_an_earlier_opening_with_nothing_moved_since_is_noticed() {
    let (_folder, path) = place();
    let mut core = open(&path).unwrap();
    put(&mut core, 0..20).unwrap();
    let older = back_up(&path);
    put(&mut core, 20..40).unwrap();
    core.purge_erased().unwrap();
    drop(core);
    let mut core = open(&path).unwrap();
    let reader = SqliteReplicaReader::open(&config(&path)).unwrap();
    put(&mut core, 40..60).unwrap();
    put_over(&path, &older);
    let mut reader = reader;
    assert_lost(&put(&mut core, 900..901).unwrap_err());
    assert_lost(&reader.open().unwrap_err());
}

#[test]
fn a_copy_as_new_as_the_newest_move_is_accepted() {
    let (_folder, path) = place();
    let mut core = open(&path).unwrap();
    put(&mut core, 0..20).unwrap();
    let older = back_up(&path);
    put(&mut core, 20..40).unwrap();
    put_over(&path, &older);
    put(&mut core, 40..60).unwrap();
    core.purge_erased().unwrap();
    drop(core);
    assert_eq!(documents(&open(&path).unwrap()), 60);
}

#[test]
fn a_copy_of_the_same_state_with_other_pages_is_noticed() {
    let (_folder, path) = place();
    let mut core = open(&path).unwrap();
    put(&mut core, 0..40).unwrap();
    core.purge_erased().unwrap();
    drop(core);
    let mut core = open(&path).unwrap();
    put(&mut core, 40..60).unwrap();
    let copy = write_anew(&path);
    put(&mut core, 60..80).unwrap();
    put_over(&path, &copy);
    assert_lost(&put(&mut core, 900..901).unwrap_err());
}

#[test]
fn a_copy_over_a_servers_file_is_noticed() {
    let (_folder, path) = place();
    let add = |core: &mut SqliteServerWriter, name: &str| -> Result<(), Error> {
        core.begin(Durability::Process)?;
        let log = NewLog { epoch: Epoch([1; 16]), key: LogKey([7; 16]) };
        sync_server::ops::open_scope(core, &Scope::new(name).unwrap(), log)?;
        core.commit().map(drop)
    };
    let open_server = || SqliteServerWriter::open(&config(&path)).unwrap();
    add(&mut open_server(), "a").unwrap();
    let older = std::fs::read(&path).unwrap();
    add(&mut open_server(), "b").unwrap();
    let mut core = open_server();
    let mut reader = SqliteServerReader::open(&config(&path)).unwrap();
    add(&mut core, "c").unwrap();
    put_over(&path, &older);
    assert_lost(&add(&mut core, "d").unwrap_err());
    assert_lost(&reader.open().unwrap_err());
}

#[test]
fn a_file_that_took_the_place_of_an_open_one_keeps_its_own_log() {
    let (_folder, path) = place();
    let mut lost = open(&path).unwrap();
    put(&mut lost, 0..10).unwrap();
    for ending in ["", "-wal", "-shm"] {
        let name = |name: &str| path.with_file_name(format!("{name}{ending}"));
        std::fs::rename(name("app.db"), name("old.db")).unwrap();
    }
    let mut core = open(&path).unwrap();
    put(&mut core, 0..20).unwrap();
    drop(lost);
    assert!(path.with_file_name("app.db-wal").exists());
    put(&mut core, 20..30).unwrap();
    drop(core);
    assert_eq!(documents(&open(&path).unwrap()), 30);
}

/// Opens and reads on a thread until `stop` is set.
fn read_on(settings: &SqliteConfig, stop: &AtomicBool) {
    let mut reader = SqliteReplicaReader::open(settings).unwrap();
    while !stop.load(Ordering::Relaxed) {
        reader.open().unwrap();
        reader.release();
    }
}

#[test]
fn moves_and_rewrites_of_any_process_are_no_errors() {
    let (_folder, path) = place();
    let mut settings = config(&path);
    settings.checkpoint_pages = 8;
    let open = || SqliteReplicaWriter::open(&settings, REPLICA).unwrap();
    let (mut one, mut two) = (open(), open());
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| read_on(&settings, &stop));
        }
        for n in 0..300 {
            put(if n % 3 == 0 { &mut two } else { &mut one }, n..n + 1).unwrap();
            match n % 10 {
                4 => one.rest(),
                7 => two.rest(),
                // Another program moves the log, or rewrites the whole file.
                9 => {
                    let other = Connection::open(&path).unwrap();
                    other.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
                    let how = ["PRAGMA wal_checkpoint(PASSIVE)", "VACUUM"][n as usize / 10 % 2];
                    other.execute_batch(how).unwrap();
                }
                _ => {}
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(documents(&one), 300);
}
