//! The kinds of faults.

use serde::{Deserialize, Serialize};

macro_rules! fault_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $per_hour:literal;)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultKind {
            $($(#[$doc])* $name,)*
        }

        impl FaultKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns its name, for command lines and reports.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns how often it happens to each client in an hour, or to the server, in a run
            /// that has it.
            pub(super) fn per_hour(self) -> u64 {
                match self { $(Self::$name => $per_hour,)* }
            }
        }
    };
}

fault_kinds! {
    /// Messages are lost: a stream breaks, a request is not answered.
    Loss = "loss", 12;
    /// Messages come twice.
    Duplicate = "duplicate", 12;
    /// Messages overtake each other.
    Reorder = "reorder", 12;
    /// Bits are flipped.
    Flip = "flip", 6;
    /// Every message is late.
    Delay = "delay", 12;
    /// No message arrives, and no error is reported.
    Clog = "clog", 10;
    /// No message arrives in one direction.
    OneWay = "one-way", 10;
    /// Several clients are cut off together.
    Isolate = "isolate", 8;
    /// The connection breaks again and again.
    Flap = "flap", 8;
    /// The connection breaks.
    Cut = "cut", 20;
    /// The client reads its messages slowly.
    SlowReader = "slow-reader", 8;
    /// The server answers, and the answers are lost.
    LostAnswers = "lost-answers", 12;
    /// The app's process crashes.
    Crash = "crash", 12;
    /// The app's process crashes after a commit and before its result.
    CrashAfterCommit = "crash-after-commit", 12;
    /// The power fails.
    PowerLoss = "power-loss", 10;
    /// The app's process is not scheduled.
    Pause = "pause", 8;
    /// Another process takes the engine over.
    DoubleStart = "double-start", 6;
    /// The app is not used for a while.
    Offline = "offline", 10;
    /// The device's disk fails.
    DiskError = "disk-error", 10;
    /// The device's disk is slow.
    SlowDisk = "slow-disk", 8;
    /// The device's clock is wrong by some seconds or minutes.
    Skew = "skew", 8;
    /// The device's clock jumps by hours.
    ClockJump = "clock-jump", 4;
    /// The device's clock stands still.
    FrozenClock = "frozen-clock", 6;
    /// The server stops and starts again.
    ServerRestart = "server-restart", 20;
    /// The server loses its power.
    ServerPowerLoss = "server-power-loss", 12;
    /// The server's disk fails.
    ServerDiskError = "server-disk-error", 20;
    /// The server is restored from a backup.
    Restore = "restore", 12;
    /// Tombstones are purged.
    Purge = "purge", 40;
    /// The server answers 401.
    Unauthenticated = "unauthenticated", 6;
    /// The server answers 403.
    Forbidden = "forbidden", 6;
    /// The server answers 429.
    TooMany = "too-many", 8;
    /// The server answers 503.
    Unavailable = "unavailable", 8;
    /// The link breaks with each push.
    CutPushes = "cut-pushes", 4;
    /// The link breaks with each pull.
    CutPulls = "cut-pulls", 4;
    /// Each edit is rejected for its stamp.
    ClockRefused = "clock-refused", 4;
    /// Each batch is rejected as another replica's.
    ClonedRefused = "cloned-refused", 2;
    /// Chunks begin at wrong positions.
    Misplaced = "misplaced", 4;
    /// Access to a scope is revoked for a while.
    Revoke = "revoke", 4;
    /// The app requests a reset.
    RequestReset = "request-reset", 6;
    /// A device is copied.
    Clone = "clone", 3;
    /// A device loses everything.
    Wipe = "wipe", 4;
    /// The server is restored from a backup without an announcement.
    SilentRestore = "silent-restore", 8;
    /// The server's clock is wrong, by minutes or hours, and is set right again.
    ServerClock = "server-clock", 10;
    /// Two processes write the server's log in turn.
    SecondServer = "second-server", 16;
    /// The app only pushes for a while.
    PushOnly = "push-only", 6;
    /// The app only pulls for a while.
    PullOnly = "pull-only", 6;
    /// The app chooses some collections, or all of them.
    Choose = "choose", 10;
    /// Access to some collections is revoked for a while.
    Hide = "hide", 6;
    /// A device is restored from an older copy of its files.
    PutBack = "put-back", 5;
    /// The link is slow, in bytes per second.
    Rate = "rate", 8;
    /// Another client breaks the protocol.
    Stranger = "stranger", 40;
}

impl FaultKind {
    /// Returns whether it happens to the server, and not to each client.
    #[must_use]
    pub fn is_of_server(self) -> bool {
        matches!(
            self,
            Self::ServerRestart
                | Self::ServerPowerLoss
                | Self::ServerDiskError
                | Self::Restore
                | Self::SilentRestore
                | Self::ServerClock
                | Self::SecondServer
                | Self::Purge
                | Self::Isolate
                | Self::Stranger
        )
    }
}

impl std::str::FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().copied().find(|k| k.as_str() == text);
        found.ok_or_else(|| format!("there is no fault {text:?}; there are {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_unique_name_that_parses() {
        let names: BTreeSet<_> = FaultKind::ALL.iter().map(|k| k.as_str()).collect();
        assert_eq!(names.len(), FaultKind::ALL.len());
        for kind in FaultKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        assert!("flood".parse::<FaultKind>().unwrap_err().contains("loss"));
    }
}
