//! Makes marks of a log, and compares the marks of clients with the log.

use std::cmp::Ordering;

use crate::record::{Fork, ServerScope};
use crate::rows::{ServerReads, ServerRows};
use sync_core::error::Result;
use sync_core::model::{LogMark, LogRun, Scope, Seq, ServerStart, StartRecord};

/// How many runs before the newest starts a scope's row names.
const OLDER: usize = 8;

/// How many runs before a position its mark names without a gap.
const NEAREST: usize = 12;

/// The last position of a run that has not ended.
const OPEN: Seq = Seq(u64::MAX);

/// Registers a server start whose first position is `first`, unless it is registered already.
/// Several processes that write one log are registered once each, in whatever order they append.
///
/// # Errors
/// The errors of the rows.
pub(super) fn register_start(
    rows: &mut dyn ServerRows,
    scope: &Scope,
    row: &mut ServerScope,
    start: ServerStart,
    first: Seq,
) -> Result<()> {
    if row.starts.iter().any(|known| known.start == start) {
        return Ok(());
    }
    if let Some(last) = row.starts.last() {
        let ended = LogRun { start: last.start, first: last.first, last: before(first) };
        rows.put_run(scope, &ended)?;
    }
    rows.put_run(scope, &LogRun { start, first, last: OPEN })?;
    row.starts.push(StartRecord { start, first });
    if row.starts.len() > StartRecord::KEPT {
        let oldest = row.starts.remove(0);
        let last = row.starts.first().map_or(first, |next| before(next.first));
        row.older.push(LogRun { start: oldest.start, first: oldest.first, last });
        thin_out(&mut row.older, row.head);
    }
    Ok(())
}

fn before(position: Seq) -> Seq {
    Seq(position.0.saturating_sub(1))
}

/// Keeps the first run, and fewer of the others the further back they are.
fn thin_out(older: &mut Vec<LogRun>, head: Seq) {
    while older.len() > OLDER {
        // The one that is closest to the run before it, measured by its distance from the head.
        let crowding = |at: usize| {
            let (gap, age) =
                (older[at].first.0 - older[at - 1].first.0, head.0 - older[at].first.0);
            u128::from(gap) * 1_000 / u128::from(age.max(1))
        };
        let Some(most) = (1..older.len()).min_by_key(|at| crowding(*at)) else { return };
        older.remove(most);
    }
}

/// Returns the runs that the row names, in order: some of the older ones, and all of the newest.
fn known_runs(row: &ServerScope) -> Vec<LogRun> {
    let ends = row.starts.iter().skip(1).map(|next| before(next.first)).chain([OPEN]);
    let newest = row.starts.iter().zip(ends);
    let newest = newest.map(|(s, last)| LogRun { start: s.start, first: s.first, last });
    row.older.iter().copied().chain(newest).collect()
}

/// Returns the mark of the log at a position; none before the first append, or if the row alone
/// does not show to which run the position belongs.
fn mark_by_row(row: &ServerScope, at: Seq) -> Option<LogMark> {
    let known = known_runs(row);
    let run = known.iter().rev().find(|run| run.first <= at).filter(|run| at <= run.last)?;
    sign(row, *run, &known, at)
}

fn sign(row: &ServerScope, run: LogRun, known: &[LogRun], at: Seq) -> Option<LogMark> {
    let key = row.key.as_ref()?;
    let mut runs: Vec<LogRun> = known.iter().filter(|r| r.last < run.first).copied().collect();
    // The last ones before the position, and of those before them a few. Where a run is left out, a
    // restore is cut at the end of the one before it: somewhat more than was lost is then offered
    // again, which the server recognises.
    let count = runs.len();
    let mut place = 0..;
    runs.retain(|_| {
        let at = place.next().unwrap_or_default();
        let back = count - at;
        at < row.older.len().max(1) || back <= NEAREST || back.is_power_of_two()
    });
    runs.push(LogRun { last: at, ..run });
    Some(LogMark::sign(row.epoch, runs, key))
}

/// Returns the mark of the log at a position; none of an empty log.
///
/// # Errors
/// The errors of the rows.
pub(super) fn mark_at(
    rows: &(impl ServerReads + ?Sized),
    scope: &Scope,
    row: &ServerScope,
    at: Seq,
) -> Result<Option<LogMark>> {
    if let Some(mark) = mark_by_row(row, at) {
        return Ok(Some(mark));
    }
    let is_known = row.key.is_some() && row.starts.first().is_some_and(|start| at < start.first);
    let run = if is_known { rows.run_at(scope, at)? } else { None };
    Ok(run.and_then(|run| sign(row, run, &known_runs(row), at)))
}

/// As [`mark_at`], at the head, from the row alone.
#[must_use]
pub(super) fn mark_at_head(row: &ServerScope) -> Option<LogMark> {
    mark_by_row(row, row.head)
}

/// The evidence of a client's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Nothing: there is none, or it is not authentic.
    None,
    /// This log and the one that the mark was made of are the same up to that position, and not
    /// beyond. If the mark names higher positions, they were lost: the log was restored from a
    /// backup.
    SharedUpTo(Seq),
}

/// Finds the run to which a position belongs.
type RunAt<'a> = dyn Fn(Seq) -> Result<Option<LogRun>> + 'a;

/// Compares an authentic mark with the log. With a look-up it always finds the result; without one,
/// from the row alone, it may not (none).
fn examine(
    run_at: Option<&RunAt<'_>>,
    row: &ServerScope,
    mark: Option<&LogMark>,
) -> Result<Option<Evidence>> {
    let authentic = |mark: &&LogMark| row.key.as_ref().is_some_and(|key| mark.is_authentic(key));
    let Some(mark) = mark.filter(authentic) else { return Ok(Some(Evidence::None)) };
    let known = known_runs(row);
    for theirs in mark.runs.iter().rev() {
        let ours = match find(row, &known, theirs) {
            Found::Here(run) => Some(run),
            Found::Nowhere => None,
            Found::Unsure => match run_at {
                Some(run_at) => run_at(theirs.first)?.filter(|run| run.is_same_start(theirs)),
                None => return Ok(None),
            },
        };
        if let Some(ours) = ours {
            let end = ours.last.min(row.head).min(theirs.last);
            return Ok(Some(Evidence::SharedUpTo(end)));
        }
    }
    Ok(Some(Evidence::SharedUpTo(Seq(0))))
}

enum Found {
    Here(LogRun),
    Nowhere,
    /// The row does not name all runs of that time.
    Unsure,
}

fn find(row: &ServerScope, known: &[LogRun], theirs: &LogRun) -> Found {
    if let Some(run) = known.iter().find(|run| run.is_same_start(theirs)) {
        return Found::Here(*run);
    }
    match row.starts.first().map(|oldest| theirs.first.cmp(&oldest.first)) {
        Some(Ordering::Less) => Found::Unsure,
        _ => Found::Nowhere,
    }
}

/// Returns the evidence of a mark about this log.
///
/// # Errors
/// The errors of the rows.
pub(super) fn evidence(
    rows: &(impl ServerReads + ?Sized),
    scope: &Scope,
    row: &ServerScope,
    mark: Option<&LogMark>,
) -> Result<Evidence> {
    let run_at = |position| rows.run_at(scope, position);
    Ok(examine(Some(&run_at), row, mark)?.unwrap_or(Evidence::None))
}

/// As [`evidence`], from the row alone; none if that is not enough.
#[must_use]
pub(super) fn evidence_by_row(row: &ServerScope, mark: Option<&LogMark>) -> Option<Evidence> {
    examine(None, row, mark).ok().flatten()
}

/// The restore that a mark proves, if it proves one.
///
/// # Errors
/// As the rows.
pub(super) fn find_restore(
    rows: &(impl ServerReads + ?Sized),
    scope: &Scope,
    row: &ServerScope,
    mark: Option<&LogMark>,
) -> Result<Option<Fork>> {
    Ok(restored(row, mark, evidence(rows, scope, row, mark)?))
}

/// Whether an authentic mark of the current epoch shows that the log was restored, and up to where
/// the two logs are the same.
pub(super) fn restored(row: &ServerScope, mark: Option<&LogMark>, shown: Evidence) -> Option<Fork> {
    let Evidence::SharedUpTo(cut) = shown else { return None };
    let is_lost = mark.is_some_and(|mark| mark.epoch == row.epoch && cut < mark.at);
    is_lost.then_some(Fork::Unannounced { epoch: row.epoch, cut })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::memory::MemoryRows;
    use sync_core::model::{Epoch, LogKey};

    type Rows = MemoryRows;

    fn rows() -> Rows {
        MemoryRows::default()
    }

    fn scope_row() -> ServerScope {
        ServerScope { key: Some(LogKey([7; 16])), ..ServerScope::new(Epoch([1; 16])) }
    }

    /// Appends `count` positions by a start.
    fn append(rows: &mut Rows, row: &mut ServerScope, start: u64, count: u64) {
        let first = row.head.next();
        register_start(rows, &Scope::default(), row, ServerStart(start), first).unwrap();
        row.head = Seq(row.head.0 + count);
    }

    fn mark(rows: &Rows, row: &ServerScope, at: u64) -> Option<LogMark> {
        mark_at(rows, &Scope::default(), row, Seq(at)).unwrap()
    }

    fn shared(rows: &Rows, row: &ServerScope, mark: &LogMark) -> u64 {
        match evidence(rows, &Scope::default(), row, Some(mark)).unwrap() {
            Evidence::SharedUpTo(seq) => seq.0,
            Evidence::None => panic!("it is authentic"),
        }
    }

    #[test]
    fn every_start_is_known_however_many_there_were_since() {
        let (mut rows, mut row) = (rows(), scope_row());
        let mut marks = Vec::new();
        for start in 1..=500 {
            append(&mut rows, &mut row, start, start % 3 + 1);
            marks.push(mark(&rows, &row, row.head.0).unwrap());
        }
        assert!(row.starts.len() == StartRecord::KEPT && row.older.len() <= OLDER);
        for mark in &marks {
            assert!(mark.is_well_formed(), "{mark:?}");
            assert_eq!(shared(&rows, &row, mark), mark.at.0);
        }
        for at in 1..=row.head.0 {
            let mark = mark(&rows, &row, at).unwrap();
            assert!(mark.is_well_formed() && mark.at == Seq(at));
            assert_eq!(shared(&rows, &row, &mark), at);
        }
    }

    #[test]
    fn a_restore_is_cut_where_the_backup_ended_however_long_ago_it_was_made() {
        let (mut rows, mut row) = (rows(), scope_row());
        for start in 1..=100 {
            append(&mut rows, &mut row, start, 5);
        }
        // A backup at 500, and an epoch after it that was lost.
        let backup = row.clone();
        for starts in [0, 1, 2, 7, 11, 40, 300] {
            let (mut lost_rows, mut lost) = (self::rows(), backup.clone());
            for run in known_runs(&backup) {
                lost_rows.put_run(&Scope::default(), &run).unwrap();
            }
            append(&mut lost_rows, &mut lost, 100, 2);
            for start in 0..starts {
                append(&mut lost_rows, &mut lost, 1_000 + start, 3);
            }
            let mark = mark(&lost_rows, &lost, lost.head.0).unwrap();
            // Nothing was written since the restore, or something was.
            let cut = shared(&rows, &backup, &mark);
            assert!(cut == 500 || (starts > 11 && cut < 500), "{starts}: {cut}");
            let mut after = backup.clone();
            register_start(&mut rows, &Scope::default(), &mut after, ServerStart(9_999), Seq(501))
                .unwrap();
            after.head = Seq(600);
            let cut = shared(&rows, &after, &mark);
            assert!(cut == 500 || (starts > 11 && cut < 500), "{starts}: {cut}");
        }
    }

    #[test]
    fn processes_that_write_one_log_in_turn_are_registered_once_each() {
        let (mut rows, mut row) = (rows(), scope_row());
        for _ in 0..50 {
            for start in [1, 2, 3] {
                append(&mut rows, &mut row, start, 1);
            }
        }
        let starts: Vec<_> = row.starts.iter().map(|s| (s.start.0, s.first.0)).collect();
        assert_eq!(starts, [(1, 1), (2, 2), (3, 3)]);
    }

    #[test]
    fn a_mark_that_is_not_authentic_shows_nothing() {
        let (mut rows, mut row) = (rows(), scope_row());
        append(&mut rows, &mut row, 1, 5);
        let good = mark(&rows, &row, 5).unwrap();
        let scope = Scope::default();
        let of = |mark: Option<&LogMark>| evidence(&rows, &scope, &row, mark).unwrap();
        assert_eq!(of(Some(&good)), Evidence::SharedUpTo(Seq(5)));
        assert_eq!(of(None), Evidence::None);
        assert_eq!(of(Some(&LogMark { at: Seq(9), ..good.clone() })), Evidence::None);
        let made_up = vec![LogRun { start: ServerStart(4_711), first: Seq(1), last: Seq(5) }];
        let forged = LogMark::sign(row.epoch, made_up, &LogKey([1; 16]));
        assert_eq!(of(Some(&forged)), Evidence::None);
    }

    #[test]
    fn the_old_run_closest_to_the_run_before_is_removed_relative_to_its_age() {
        let kept = |firsts: [u64; OLDER + 1]| {
            let run =
                |first| LogRun { start: ServerStart(first), first: Seq(first), last: Seq(first) };
            let mut older = firsts.map(run).to_vec();
            thin_out(&mut older, Seq(900));
            older.iter().map(|run| run.first.0).collect::<Vec<_>>()
        };
        let even = [1, 101, 201, 301, 401, 501, 601, 701, 801];
        assert_eq!(kept(even), [1, 201, 301, 401, 501, 601, 701, 801], "the oldest but the first");
        let close = [1, 101, 201, 301, 401, 501, 601, 605, 801];
        assert_eq!(kept(close), [1, 101, 201, 301, 401, 501, 601, 801]);
        let closer = [1, 101, 201, 301, 401, 501, 571, 601, 801];
        assert_eq!(kept(closer), [1, 101, 201, 301, 401, 501, 571, 801]);
    }

    #[test]
    fn every_mark_names_the_first_run_and_the_nearest_ones() {
        let (mut rows, mut row) = (rows(), scope_row());
        for start in 1..=60 {
            append(&mut rows, &mut row, start, 10);
            let mark = mark_at_head(&row).unwrap();
            let starts: Vec<_> = mark.runs.iter().rev().map(|run| run.start.0).collect();
            let nearest: Vec<_> = (1..=start).rev().take(NEAREST + 1).collect();
            assert_eq!(starts[..nearest.len()], nearest);
            assert_eq!(starts.last(), Some(&1));
        }
    }

    #[test]
    fn a_row_from_before_keys_makes_no_marks() {
        let (mut rows, mut row) = (rows(), ServerScope { key: None, ..scope_row() });
        append(&mut rows, &mut row, 1, 5);
        assert_eq!(mark(&rows, &row, 5), None);
        assert_eq!(mark_at_head(&row), None);
    }
}
