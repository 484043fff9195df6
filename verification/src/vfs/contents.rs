//! The contents of a disk: the visible ones, the synced ones, and what a power failure leaves of
//! the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Arc;

use testkit::random::SplitMix64;

/// Identifies a file, whatever its name is.
pub(super) type Inode = u64;

/// A change of the disk.
#[derive(Clone, Debug)]
pub(super) enum DiskChange {
    /// A new file is named.
    Create { name: String },
    /// Bytes are written.
    Write { inode: Inode, at: usize, bytes: Arc<[u8]> },
    /// The length of a file changes.
    Truncate { inode: Inode, len: usize },
    /// The writes to a file are synced; with the folder, all names are too.
    Sync { inode: Inode, folder: bool },
    /// A name is removed.
    Delete { name: String, folder: bool },
}

/// What a power failure did to unsynced changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Sectors of writes, and truncations, that were kept.
    pub kept: u64,
    /// Sectors of writes, and truncations, that were lost.
    pub lost: u64,
    /// Sectors that were written in part.
    pub torn: u64,
    /// Names whose creation or removal was lost.
    pub names: u64,
}

impl AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.lost += other.lost;
        self.torn += other.torn;
        self.names += other.names;
    }
}

#[derive(Clone, Debug)]
enum Unsynced {
    Write(usize, Arc<[u8]>),
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    seen: Vec<u8>,
    synced: Vec<u8>,
    /// The changes that lead from the synced to the visible contents, in order.
    unsynced: Vec<Unsynced>,
}

/// Files and their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    files: BTreeMap<Inode, File>,
    seen: BTreeMap<String, Inode>,
    synced: BTreeMap<String, Inode>,
    /// The changes that lead from the synced to the visible names, in order.
    unsynced: Vec<(String, Option<Inode>)>,
    last: Inode,
}

impl Contents {
    pub(super) fn find(&self, name: &str) -> Option<Inode> {
        self.seen.get(name).copied()
    }

    pub(super) fn bytes(&self, inode: Inode) -> &[u8] {
        self.files.get(&inode).map(|file| &file.seen[..]).unwrap_or_default()
    }

    /// Returns the bytes of all named files.
    pub(super) fn len(&self) -> usize {
        self.seen.values().map(|inode| self.bytes(*inode).len()).sum()
    }

    /// Applies a change, without what it syncs.
    pub(super) fn begin(&mut self, change: &DiskChange) {
        match change {
            DiskChange::Create { name } => {
                self.last += 1;
                self.files.insert(self.last, File::default());
                self.name(name, Some(self.last));
            }
            DiskChange::Delete { name, .. } => self.name(name, None),
            DiskChange::Write { inode, at, bytes } => {
                let Some(file) = self.files.get_mut(inode) else { return };
                put(&mut file.seen, *at, bytes);
                file.unsynced.push(Unsynced::Write(*at, Arc::clone(bytes)));
            }
            DiskChange::Truncate { inode, len } => {
                let Some(file) = self.files.get_mut(inode) else { return };
                file.seen.resize(*len, 0);
                file.unsynced.push(Unsynced::Truncate(*len));
            }
            DiskChange::Sync { .. } => {}
        }
    }

    /// Syncs what a change syncs.
    pub(super) fn finish(&mut self, change: &DiskChange) {
        let sync_folder = match change {
            DiskChange::Sync { inode, folder } => {
                if let Some(file) = self.files.get_mut(inode) {
                    file.sync();
                }
                *folder
            }
            DiskChange::Delete { folder, .. } => *folder,
            _ => false,
        };
        if sync_folder {
            self.synced = self.seen.clone();
            self.unsynced.clear();
        }
    }

    fn name(&mut self, name: &str, inode: Option<Inode>) {
        rename(&mut self.seen, name, inode);
        self.unsynced.push((name.to_owned(), inode));
    }

    /// Syncs everything visible.
    pub(super) fn sync_all(&mut self) {
        self.synced = self.seen.clone();
        self.unsynced.clear();
        self.forget_unnamed();
        for file in self.files.values_mut() {
            file.sync();
        }
    }

    /// Removes the files without a name.
    pub(super) fn forget_unnamed(&mut self) {
        let late = self.unsynced.iter().filter_map(|(_, inode)| *inode);
        let named: BTreeSet<Inode> =
            self.seen.values().chain(self.synced.values()).copied().chain(late).collect();
        self.files.retain(|inode, _| named.contains(inode));
    }

    /// Simulates a power failure. The salt decides what is left of unsynced changes: nothing (its
    /// remainder by 8 is 0), everything (1), or some of it.
    pub(super) fn lose_power(&mut self, sector: usize, salt: u64) -> Loss {
        let mut loss = Loss::default();
        let mut chance = Chance { salt, rng: SplitMix64::of(salt, 0) };
        for (name, inode) in std::mem::take(&mut self.unsynced) {
            if chance.keeps() {
                rename(&mut self.synced, &name, inode);
            } else {
                loss.names += 1;
            }
        }
        self.seen = self.synced.clone();
        self.forget_unnamed();
        for (inode, file) in &mut self.files {
            chance.rng = SplitMix64::of(salt, *inode);
            loss += file.lose_power(sector, &mut chance);
        }
        loss
    }
}

impl File {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Unsynced::Write(at, bytes) => put(&mut self.synced, at, &bytes),
                Unsynced::Truncate(len) => self.synced.resize(len, 0),
            }
        }
    }

    fn lose_power(&mut self, sector: usize, chance: &mut Chance) -> Loss {
        let mut loss = Loss::default();
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Unsynced::Truncate(len) if chance.keeps() => {
                    loss.kept += 1;
                    self.synced.resize(len, 0);
                }
                Unsynced::Truncate(_) => loss.lost += 1,
                Unsynced::Write(at, bytes) => {
                    for (at, piece) in pieces(at, &bytes, sector) {
                        chance.write(&mut self.synced, at, piece, &mut loss);
                    }
                }
            }
        }
        self.seen = self.synced.clone();
        loss
    }
}

/// Draws what is left.
struct Chance {
    salt: u64,
    rng: SplitMix64,
}

impl Chance {
    fn keeps(&mut self) -> bool {
        match self.salt % 8 {
            0 => false,
            1 => true,
            _ => self.rng.percent(50),
        }
    }

    /// Keeps, loses or tears a piece of a write within one sector. Of a torn piece a part is
    /// written, and the rest is the earlier contents, or noise.
    fn write(&mut self, file: &mut Vec<u8>, at: usize, piece: &[u8], loss: &mut Loss) {
        if self.salt % 8 > 1 && piece.len() > 1 && self.rng.percent(20) {
            loss.torn += 1;
            let cut = 1 + self.rng.below(piece.len() - 1);
            let mut torn = piece[..cut].to_vec();
            if self.rng.percent(30) {
                torn.extend(piece[cut..].iter().map(|_| self.rng.next_u64() as u8));
            }
            put(file, at, &torn);
        } else if self.keeps() {
            loss.kept += 1;
            put(file, at, piece);
        } else {
            loss.lost += 1;
        }
    }
}

/// Splits a write by sector.
fn pieces(at: usize, bytes: &[u8], sector: usize) -> impl Iterator<Item = (usize, &[u8])> {
    let mut left = (at, bytes);
    std::iter::from_fn(move || {
        let (at, bytes) = left;
        if bytes.is_empty() {
            return None;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(sector - at % sector));
        left = (at + piece.len(), rest);
        Some((at, piece))
    })
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

fn rename(names: &mut BTreeMap<String, Inode>, name: &str, inode: Option<Inode>) {
    match inode {
        Some(inode) => names.insert(name.to_owned(), inode),
        None => names.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happen(contents: &mut Contents, change: DiskChange) {
        contents.begin(&change);
        contents.finish(&change);
    }

    fn write(contents: &mut Contents, at: usize, bytes: &[u8]) {
        happen(contents, DiskChange::Write { inode: 1, at, bytes: bytes.into() });
    }

    /// A file with a synced sector of ones, over which 16 sectors of twos were written.
    fn half_synced() -> Contents {
        let mut contents = Contents::default();
        happen(&mut contents, DiskChange::Create { name: "a".to_owned() });
        write(&mut contents, 0, &[1; 512]);
        happen(&mut contents, DiskChange::Sync { inode: 1, folder: true });
        write(&mut contents, 256, &[2; 16 * 512]);
        contents
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_is_kept_lost_or_torn() {
        let mut total = Loss::default();
        for salt in 0..64 {
            let mut contents = half_synced();
            let loss = contents.lose_power(512, salt);
            assert_eq!(loss.kept + loss.lost + loss.torn, 17);
            let bytes = contents.bytes(1);
            assert_eq!(bytes[..256], [1; 256]);
            match salt % 8 {
                0 => assert_eq!(bytes, [1; 512]),
                1 => assert_eq!(bytes[256..], [2; 16 * 512]),
                _ => total += loss,
            }
        }
        assert!(total.kept > 0 && total.lost > 0 && total.torn > 0, "{total:?}");
    }

    #[test]
    fn the_same_salt_leaves_the_same() {
        let (mut one, mut other) = (half_synced(), half_synced());
        assert_eq!(one.lose_power(512, 7), other.lose_power(512, 7));
        assert_eq!(one.bytes(1), other.bytes(1));
    }

    #[test]
    fn a_name_is_durable_once_its_folder_is_synced() {
        let mut contents = half_synced();
        happen(&mut contents, DiskChange::Create { name: "b".to_owned() });
        happen(&mut contents, DiskChange::Delete { name: "a".to_owned(), folder: false });
        assert_eq!((contents.find("a"), contents.find("b")), (None, Some(2)));
        assert_eq!(contents.lose_power(512, 0).names, 2);
        assert_eq!((contents.find("a"), contents.find("b")), (Some(1), None));
        happen(&mut contents, DiskChange::Delete { name: "a".to_owned(), folder: true });
        contents.lose_power(512, 0);
        assert_eq!(contents.find("a"), None);
    }

    #[test]
    fn a_sync_without_the_folder_leaves_names_as_they_were() {
        let mut contents = Contents::default();
        happen(&mut contents, DiskChange::Create { name: "a".to_owned() });
        happen(&mut contents, DiskChange::Sync { inode: 1, folder: false });
        contents.lose_power(512, 0);
        assert_eq!(contents.find("a"), None);
    }
}
