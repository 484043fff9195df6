//! A recorded run of the script: every change of the disks, and every state of the storages.

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use storage_kit::Durability;
use storage_sqlite::{SqliteReplicaWriter, SqliteServerWriter, Synchronous};
use sync_core::error::Result;
use verification::vfs::{DiskRecording, SimDisk, VFS};

use super::play::{FILE, Play, REPLICA, config};
pub(crate) use super::script::Side;
use super::script::script;

/// Every row of every table, as text.
pub(crate) type Rows = Vec<String>;

/// A connection that reads a file beside those that use it.
#[derive(Debug)]
pub(crate) struct Viewer(Connection);

impl Viewer {
    pub(crate) fn open(disk: &SimDisk) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok(Self(Connection::open_with_flags_and_vfs(disk.path(FILE), flags, VFS)?))
    }

    /// Returns all rows, in one snapshot.
    pub(crate) fn rows(&self) -> rusqlite::Result<Rows> {
        let snapshot = self.0.unchecked_transaction()?;
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut tables = snapshot.prepare_cached(tables)?;
        let names = tables.query_map([], |row| row.get::<_, String>(0))?;
        let mut rows = Vec::new();
        for name in names.collect::<rusqlite::Result<Vec<_>>>()? {
            let mut statement = snapshot.prepare_cached(&format!("SELECT * FROM {name}"))?;
            let columns = statement.column_count();
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                let values = (0..columns).map(|c| row.get::<_, Value>(c));
                let values = values.collect::<rusqlite::Result<Vec<_>>>()?;
                rows.push(format!("{name} {values:?}"));
            }
        }
        Ok(rows)
    }

    /// Returns whether pages and indexes are consistent.
    pub(crate) fn is_sound(&self) -> rusqlite::Result<bool> {
        let said: String = self.0.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        Ok(said == "ok")
    }
}

/// A state of a storage.
#[derive(Debug)]
struct Shot {
    /// The number of the step that produced it; none for the opening.
    step: Option<usize>,
    /// The disk's changes when it was acknowledged.
    changes: usize,
    power: bool,
    rows: Rows,
}

/// The recording of one side.
#[derive(Debug)]
struct Reel {
    recording: DiskRecording,
    shots: Vec<Shot>,
    /// A copy of the disk after each of the shots.
    copies: Vec<SimDisk>,
}

/// A recorded run of the script.
#[derive(Debug)]
pub(crate) struct Film {
    synchronous: Synchronous,
    replica: Reel,
    server: Reel,
}

struct Camera {
    side: Side,
    disk: SimDisk,
    viewer: Viewer,
    reel: Reel,
}

impl Camera {
    fn shoot(&mut self, step: Option<usize>, power: bool) {
        let (changes, rows) = (self.disk.changes() as usize, self.viewer.rows().unwrap());
        self.reel.shots.push(Shot { step, changes, power, rows });
        self.reel.copies.push(self.disk.copy());
    }

    fn end(self) -> Reel {
        let recording = self.disk.take_recording();
        Reel { recording, ..self.reel }
    }
}

impl Film {
    /// Runs the script on disks that are prepared first.
    pub(crate) fn shoot(
        synchronous: Synchronous,
        prepare: impl Fn(&SimDisk),
        sector: usize,
    ) -> Self {
        let disks = [SimDisk::with_sector(sector), SimDisk::with_sector(sector)];
        for disk in &disks {
            prepare(disk);
            disk.record();
        }
        let mut play = Play::open(&disks[0], &disks[1], synchronous);
        let mut cameras =
            [(Side::Replica, &disks[0]), (Side::Server, &disks[1])].map(|(side, disk)| {
                let (recording, shots, copies) = Default::default();
                let viewer = Viewer::open(disk).unwrap();
                let mut camera = Camera {
                    side,
                    disk: disk.clone(),
                    viewer,
                    reel: Reel { recording, shots, copies },
                };
                camera.shoot(None, true);
                camera
            });
        for (number, step) in script().iter().enumerate() {
            play.carry_out(number, step).unwrap_or_else(|e| panic!("step {number}, {step:?}: {e}"));
            let Some(camera) = cameras.iter_mut().find(|c| c.side == step.side()) else { continue };
            camera.shoot(Some(number), step.durability() == Durability::Power);
        }
        play.close();
        let [replica, server] = cameras.map(Camera::end);
        Self { synchronous, replica, server }
    }

    fn reel(&self, side: Side) -> &Reel {
        match side {
            Side::Replica => &self.replica,
            Side::Server => &self.server,
        }
    }

    /// Every change of a side's disk.
    pub(crate) fn recording(&self, side: Side) -> &DiskRecording {
        &self.reel(side).recording
    }

    /// Returns how many calls of the script were on a side.
    pub(crate) fn calls(&self, side: Side) -> usize {
        self.reel(side).shots.len() - 1
    }

    /// Returns the newest state that was acknowledged after so many changes; none before the
    /// opening was.
    fn acknowledged(&self, side: Side, changes: usize) -> Option<usize> {
        let shots = &self.reel(side).shots;
        shots.partition_point(|shot| shot.changes <= changes).checked_sub(1)
    }

    /// Returns the step that is under way after so many changes.
    pub(crate) fn step_at(&self, side: Side, changes: usize) -> usize {
        let shots = &self.reel(side).shots;
        let next = self.acknowledged(side, changes).map_or(0, |a| a + 1);
        shots.get(next).map_or(usize::MAX, |shot| shot.step.unwrap_or(0))
    }

    /// Returns the other side's disk while that step is under way.
    pub(crate) fn other_disk(&self, side: Side, step: usize) -> SimDisk {
        let other = match side {
            Side::Replica => &self.server,
            Side::Server => &self.replica,
        };
        let before = other.shots.partition_point(|shot| shot.step.is_none_or(|s| s < step));
        other.copies[before - 1].copy()
    }

    /// Checks the disk after a power failure after so many changes: it must open, be consistent,
    /// and be in a state of the recording, at or after the newest that was acknowledged as durable.
    /// Returns that state.
    pub(crate) fn check(
        &self,
        side: Side,
        changes: usize,
        disk: &SimDisk,
    ) -> Result<usize, String> {
        let rows = reopened(side, disk, self.synchronous)?;
        let shots = &self.reel(side).shots;
        let acknowledged = self.acknowledged(side, changes);
        let durable =
            acknowledged.map_or(0, |a| (0..=a).rev().find(|n| shots[*n].power).unwrap_or(0));
        let last = acknowledged.map_or(0, |a| a + 1).min(shots.len() - 1);
        if let Some(found) = (durable..=last).find(|n| shots[*n].rows == rows) {
            return Ok(found);
        }
        let earlier = shots.iter().position(|shot| shot.rows == rows);
        let what = match earlier {
            Some(n) => format!("it went back to state {n}"),
            None => "it is in a state of its own".to_owned(),
        };
        Err(format!("{what}; the durable one is {durable}, the newest {last}"))
    }
}

/// Opens the remaining data, as an app would, and returns its rows.
pub(crate) fn reopened(
    side: Side,
    disk: &SimDisk,
    synchronous: Synchronous,
) -> Result<Rows, String> {
    let config = config(disk, synchronous);
    let opened = match side {
        Side::Replica => SqliteReplicaWriter::open(&config, REPLICA).map(drop),
        Side::Server => SqliteServerWriter::open(&config).map(drop),
    };
    opened.map_err(|e| format!("it does not open: {e}"))?;
    let look = || {
        let viewer = Viewer::open(disk)?;
        Ok::<_, rusqlite::Error>((viewer.is_sound()?, viewer.rows()?))
    };
    let (is_sound, rows) = look().map_err(|e| format!("it cannot be read: {e}"))?;
    if is_sound { Ok(rows) } else { Err("it is damaged".to_owned()) }
}
