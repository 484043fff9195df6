//! The kind of fault of an action, and its display.

use sync_core::engine::Direction;

use super::FaultKind;
use super::plan::{Refusal, What};

/// Returns the kind of fault of an action.
pub(super) fn kind_of(what: &What) -> Option<FaultKind> {
    Some(match what {
        What::BadNetwork { loss, .. } if *loss > 0 => FaultKind::Loss,
        What::BadNetwork { duplicate, .. } if *duplicate > 0 => FaultKind::Duplicate,
        What::BadNetwork { .. } => FaultKind::Reorder,
        What::Flips { .. } => FaultKind::Flip,
        What::Delay { .. } => FaultKind::Delay,
        What::Silence { to_server: true, to_client: true, .. } => FaultKind::Clog,
        What::Silence { .. } => FaultKind::OneWay,
        What::Partition { .. } => FaultKind::Isolate,
        What::Cut { .. } => FaultKind::Cut,
        What::Flap { .. } => FaultKind::Flap,
        What::SlowReader { .. } => FaultKind::SlowReader,
        What::LoseAnswers { .. } => FaultKind::LostAnswers,
        What::Crash { power: true, .. } => FaultKind::PowerLoss,
        What::Crash { .. } => FaultKind::Crash,
        What::CrashAfterCommit { .. } => FaultKind::CrashAfterCommit,
        What::Pause { .. } => FaultKind::Pause,
        What::DoubleStart { .. } => FaultKind::DoubleStart,
        What::Offline { .. } => FaultKind::Offline,
        What::DiskErrors { .. } => FaultKind::DiskError,
        What::SlowDisk { .. } => FaultKind::SlowDisk,
        What::Jump { to, .. } if to.abs() >= 3_600_000 => FaultKind::ClockJump,
        What::Jump { .. } => FaultKind::Skew,
        What::Freeze { .. } => FaultKind::FrozenClock,
        What::RestartServer { power: true, .. } => FaultKind::ServerPowerLoss,
        What::RestartServer { .. } => FaultKind::ServerRestart,
        What::ServerDiskErrors { .. } => FaultKind::ServerDiskError,
        What::Restore => FaultKind::Restore,
        What::RestoreSilently => FaultKind::SilentRestore,
        What::ServerJump { .. } => FaultKind::ServerClock,
        What::OtherServer { .. } => FaultKind::SecondServer,
        What::Purge { .. } => FaultKind::Purge,
        What::Refuse { how: Refusal::Unauthenticated, .. } => FaultKind::Unauthenticated,
        What::Refuse { how: Refusal::Forbidden, .. } => FaultKind::Forbidden,
        What::Refuse { how: Refusal::TooMany, .. } => FaultKind::TooMany,
        What::Refuse { how: Refusal::Unavailable, .. } => FaultKind::Unavailable,
        What::Refuse { how: Refusal::CutPushes, .. } => FaultKind::CutPushes,
        What::Refuse { how: Refusal::CutPulls, .. } => FaultKind::CutPulls,
        What::Refuse { how: Refusal::Clock, .. } => FaultKind::ClockRefused,
        What::Refuse { how: Refusal::Cloned, .. } => FaultKind::ClonedRefused,
        What::Refuse { how: Refusal::Misplaced, .. } => FaultKind::Misplaced,
        What::Revoke { .. } => FaultKind::Revoke,
        What::RequestReset { .. } => FaultKind::RequestReset,
        What::Clone { .. } => FaultKind::Clone,
        What::Wipe { .. } => FaultKind::Wipe,
        What::Rate { .. } => FaultKind::Rate,
        What::Stranger { .. } => FaultKind::Stranger,
        What::PutBack { .. } => FaultKind::PutBack,
        What::Choose { .. } => FaultKind::Choose,
        What::Hide { .. } => FaultKind::Hide,
        What::Direct { direction: Direction::Push, .. } => FaultKind::PushOnly,
        What::Direct { direction: Direction::Pull, .. } => FaultKind::PullOnly,
        What::Direct { direction: Direction::Both, .. }
        | What::KeepCopy { .. }
        | What::Put { .. }
        | What::Set { .. }
        | What::Delete { .. }
        | What::Erase { .. }
        | What::Transaction { .. }
        | What::Decide { .. }
        | What::Backup => return None,
    })
}

/// Returns for how many milliseconds an action lasts, if it does.
pub(super) fn lasts(what: &What) -> Option<u64> {
    Some(match what {
        What::BadNetwork { millis, .. }
        | What::Flips { millis, .. }
        | What::Delay { millis, .. }
        | What::Silence { millis, .. }
        | What::Partition { millis, .. }
        | What::SlowReader { millis, .. }
        | What::LoseAnswers { millis, .. }
        | What::Crash { millis, .. }
        | What::Pause { millis, .. }
        | What::Offline { millis, .. }
        | What::SlowDisk { millis, .. }
        | What::Freeze { millis, .. }
        | What::RestartServer { millis, .. }
        | What::OtherServer { millis }
        | What::Refuse { millis, .. }
        | What::Revoke { millis, .. }
        | What::Rate { millis, .. }
        | What::Hide { millis, .. }
        | What::Direct { millis, .. } => *millis,
        _ => return None,
    })
}

pub(super) fn describe(what: &What) -> String {
    let name = kind_of(what).map_or("", FaultKind::as_str);
    match lasts(what) {
        Some(millis) => format!("{name} for {:.1} s", millis as f64 / 1_000.0),
        None => name.to_owned(),
    }
}
