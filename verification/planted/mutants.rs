//! Faults planted on purpose, one at a time, to show that the tests detect them.
//!
//! Each is a trap that a real system fell into, or one of the rules taken away. This module is part
//! of `sync-core` only in the copy of the workspace that `verification/planted/make` makes. A
//! mutant is active on the thread that [activated](with) it.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Runs a job with a mutant active on this thread, or with none.
pub fn with<T>(mutant: Option<Mutant>, job: impl FnOnce() -> T) -> T {
    /// Puts back what was before, also if the job panics.
    struct Before(Option<Mutant>);
    impl Drop for Before {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
        }
    }
    let _before = Before(ACTIVE.replace(mutant));
    job()
}

/// Whether that mutant is active on this thread.
#[must_use]
pub fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A fault built in on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name, for command lines and reports.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

mutants! {
    /// A state that is not newer than what was taken in is taken in again.
    KnownStateTakenAgain = "known-state-taken-again";
    /// The own echo is not known for what it is.
    OwnEchoForeign = "own-echo-foreign";
    /// Rule M: a newer state does not wait for the verdict of what is in flight.
    NoRemoteSlot = "no-remote-slot";
    /// Rule M: replicas decide conflicts of collections that the server resolves.
    BothResolve = "both-resolve";
    /// Rule M: a verdict that is older than what was taken in counts.
    LateVerdictCounts = "late-verdict-counts";
    /// Rule M: an accepted push does not say what is known.
    VerdictLeavesKnown = "verdict-leaves-known";
    /// The outbox entry goes with the verdict, although it was edited during the upload
    /// (WatermelonDB #1374).
    EditDuringPushDropped = "edit-during-push-dropped";
    /// What waited for the verdict is thrown away.
    SlotDropped = "slot-dropped";
    /// A refused edit stays in the outbox and is pushed for ever.
    RefusedStays = "refused-stays";
    /// A conflict that is left to the app is pushed all the same.
    DeferredForgotten = "deferred-forgotten";
    /// Rule M: a chunk is taken in wherever the replica stands.
    ChunkOutOfPlace = "chunk-out-of-place";
    /// The cursor passes a change that was not taken in (airbyte #85918).
    CursorPassesChange = "cursor-passes-change";
    /// The cursor is rounded up to the head (airbyte #84400).
    CursorRoundedUp = "cursor-rounded-up";
    /// A server state replaces a local edit.
    EditOverwritten = "edit-overwritten";
    /// Own writes are skipped when they come from the server: a restored device loses them.
    EchoFilteredByAuthor = "echo-filtered-by-author";
    /// The clock follows the device's time, back too.
    ClockGoesBack = "clock-goes-back";
    /// The base of an edit is the state before it, settled or not.
    BaseMoves = "base-moves";
    /// What was deleted before it was settled never travels, although it is in flight (WatermelonDB
    /// #1462).
    DeletedInFlightVanishes = "deleted-in-flight-vanishes";
    /// A batch is cut within a local transaction.
    TransactionTorn = "transaction-torn";
    /// A retry is another batch.
    RetryRenamed = "retry-renamed";
    /// A batch of which something was erased is given up without asking whether it had arrived.
    NothingRecalled = "nothing-recalled";
    /// A stamp that is too far ahead ends in the quarantine.
    ClockRefusalQuarantined = "clock-refusal-quarantined";
    /// Verdicts on any batch settle the one in flight.
    AnyVerdictSettles = "any-verdict-settles";
    /// A reset throws unsynced edits away.
    ResetDropsEdits = "reset-drops-edits";
    /// Rule M: the position stays after the server was restored.
    PositionKeptAfterRestore = "position-kept-after-restore";
    /// What was settled above the cut is not offered again (cht-core #8093).
    LostNotOffered = "lost-not-offered";
    /// A full pull does not find out what is gone.
    GoneNotFound = "gone-not-found";
    /// A scope that was revoked stays on the device.
    RevokedStays = "revoked-stays";
    /// The server does not remember pushes: a retry takes itself for a conflict.
    RetryForgotten = "retry-forgotten";
    /// Rule M: a doubled old push overwrites what is remembered of the newest one.
    OldPushCounts = "old-push-counts";
    /// The server takes every change for made on what it holds.
    BaseNotChecked = "base-not-checked";
    /// A refused change is stored and handed out all the same.
    RefusedIsStored = "refused-is-stored";
    /// A deletion leaves no tombstone: replicas that are behind never hear of it.
    NoTombstone = "no-tombstone";
    /// Any base matches a document whose tombstone was purged: a stale client brings it back.
    PurgedComesBack = "purged-comes-back";
    /// Any stamp is believed, however far ahead.
    DriftUnbounded = "drift-unbounded";
    /// A chunk ends within one append.
    ChunkCutsAppend = "chunk-cuts-append";
    /// The first change of a chunk is skipped: paging by offset over a growing log (airbyte
    /// #21500).
    PageShifted = "page-shifted";
    /// A position below the horizon is good.
    HorizonIgnored = "horizon-ignored";
    /// A position of another life of the log is good.
    EpochIgnored = "epoch-ignored";
    /// Live events that come while a chunk is applied are dropped (rxdb #5571).
    LiveDroppedWhileApplying = "live-dropped-while-applying";
    /// A failed upload is tried again at the next local write.
    PushRetriedByWriteOnly = "push-retried-by-write-only";
    /// A request outlives its link.
    RequestOutlivesLink = "request-outlives-link";
    /// What a replica may see again is not pulled from the beginning.
    WidenedNotFilled = "widened-not-filled";
    /// A replica that only pulls pushes, and one that only pushes pulls.
    DirectionIgnored = "direction-ignored";
    /// A chunk holds collections that the reader may not see.
    HiddenIsTold = "hidden-is-told";
    /// A mark counts as proof without a valid signature.
    ForgedMarkBelieved = "forged-mark-believed";
    /// An edit that wins a conflict counts as written then.
    WinnerGrowsYounger = "winner-grows-younger";
    /// A stream that ended is not opened again (rxdb PR 4612).
    StreamNotReopened = "stream-not-reopened";
    /// Failures are tried again at once.
    NoBackoff = "no-backoff";
    /// A push that dies with its link is no failed attempt: a good greeting is followed by the same
    /// push at once.
    CutPushNotCounted = "cut-push-not-counted";
    /// The pause of a push ends with its link.
    PushPauseEndsWithLink = "push-pause-ends-with-link";
    /// The pause of a pull ends with its link.
    PullPauseEndsWithLink = "pull-pause-ends-with-link";
    /// Verdicts count as progress even if they leave every edit as it was.
    VerdictsAreProgress = "verdicts-are-progress";
    /// What brought nothing is asked again at once, for ever.
    NothingMovedAtOnce = "nothing-moved-at-once";
    /// One reset after another is followed at once.
    ResetsAtOnce = "resets-at-once";
    /// One new identity after another is taken at once.
    IdentitiesAtOnce = "identities-at-once";
    /// What is cut or refused by its size is sent again as large as it was.
    UnitNeverShrinks = "unit-never-shrinks";
    /// A batch in flight stays as large as it is.
    LargeBatchKept = "large-batch-kept";
    /// A document that a peer refuses by its size stays in the outbox.
    TooLargeNotRefused = "too-large-not-refused";
    /// A request is overdue although its bytes move.
    DeadlinesIgnoreBytes = "deadlines-ignore-bytes";
    /// What is written during a push is noticed with the next write.
    WriteDuringPushUnnoticed = "write-during-push-unnoticed";
    /// The position is told again and again.
    AcknowledgesForEver = "acknowledges-for-ever";
    /// A session that sleeps does not look at the head by itself.
    SleepsThroughHeartbeats = "sleeps-through-heartbeats";
    /// A commit is acknowledged before it is synced.
    WriteNotSynced = "write-not-synced";
    /// The feed leaves out what came from the server.
    FeedSilent = "feed-silent";
    /// A scope that was refused is not asked for again while the connection works.
    RefusedForEver = "refused-for-ever";
    /// A scope that is served again while the storage forgets it is not pulled.
    ForgottenStaysAway = "forgotten-stays-away";
    /// A collection whose position a verdict gave up is not pulled.
    BackfillNotPulled = "backfill-not-pulled";
    /// A body that the server left out, and that is not here, is asked for without it again.
    OwnBodyNotAskedFor = "own-body-not-asked-for";
    /// After a reset a late verdict moves the base of a later edit back.
    VoidedForgotten = "voided-forgotten";
    /// A scope waits for its next attempt without a connection: the driver never sleeps.
    WaitsWithoutLink = "waits-without-link";
    /// What an erasure takes stays where an edit, a verdict or a conflict needs it.
    ErasedBodiesStay = "erased-bodies-stay";
    /// An edit that knew of an erasure wins over what is absent: what was purged since comes back.
    KnownErasureRevives = "known-erasure-revives";
    /// A retry makes an erasure again of which the edit only knew.
    RetryErases = "retry-erases";
    /// A stamp far ahead carries all later ones with it.
    ClockStaysAhead = "clock-stays-ahead";
    /// A state that travelled under an earlier identity is taken for another replica's.
    FormerForeign = "former-foreign";
    /// A conflict that waits for the app does not end when both sides become equal.
    EqualStaysDeferred = "equal-stays-deferred";
    /// An edit that is stamped anew loses its body.
    StampingLosesBody = "stamping-loses-body";
    /// An edit whose clock was refused does not follow its base, although the server holds it.
    RefusalDropsBase = "refusal-drops-base";
    /// Of the stamps beyond the drift bound only the newest one is remembered.
    FollowersRepeat = "followers-repeat";
    /// A mark that proves a restore is not looked at.
    EvidenceIgnored = "evidence-ignored";
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().copied().find(|m| m.as_str() == text);
        found.ok_or_else(|| format!("there is no mutant {text:?}; there are {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_active_on_its_thread_and_for_its_time() {
        with(Some(Mutant::NoBackoff), || {
            assert!(is_active(Mutant::NoBackoff) && !is_active(Mutant::NoRemoteSlot));
            std::thread::spawn(|| assert!(!is_active(Mutant::NoBackoff))).join().unwrap();
        });
        assert!(!is_active(Mutant::NoBackoff));
    }

    #[test]
    fn every_mutant_is_understood_by_its_name() {
        for mutant in Mutant::ALL {
            assert_eq!(mutant.as_str().parse(), Ok(*mutant));
        }
    }
}
