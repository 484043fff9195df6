//! Server storages with a planted fault, which the cases must detect.

mod judge;
mod wrapper;

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::error::Result;
use sync_server::ServerStorage;

use super::super::faults::BrokenHarness;
use super::ServerStorageHarness;
use wrapper::BrokenServerStorage;

/// The faults: the name of the test, the fault, and the case that detects it. Passed to another
/// macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! server_storage_conformance_faults {
    ($callback:ident($($args:tt)*)) => {
        $crate::$callback! { ($($args)*)
            /// A position is assigned before the commit: readers pass it while it is a hole
            /// (airbyte#85918).
            positions_before_commit PositionsBeforeCommit
                => followers_receive_everything_below_their_position
            /// A repeated push is answered from its documents and not from the stored verdicts.
            retries_judged_anew RetriesJudgedAnew => a_retry_gets_the_original_verdicts
            /// Verdicts are sent before they are durable: after a crash a retry is another push.
            pushes_lost_in_a_crash PushesLostInCrash => a_retry_is_recognised_after_a_crash
            /// Acknowledged changes are not durable: after a crash the log has gone back.
            log_goes_back_in_a_crash LogGoesBackInCrash => what_was_said_survives_a_crash
            /// A disk error is ignored, and the push accepted.
            disk_errors_swallowed DiskErrorsSwallowed => a_full_disk_fails_whole_and_recovers
            /// A doubled old push replaces the record of the newest one.
            stale_pushes_taken StalePushesTaken => an_older_push_is_stale
            /// Two copies of a replica push under one id, and both pushes are appended.
            clones_taken ClonesTaken => another_push_under_a_known_id_is_cloned
            /// Every recall is answered as if the batch had not arrived, and the batch may still
            /// arrive.
            recalls_not_looked_up RecallsNotLookedUp => a_recalled_push_gets_its_verdicts
            /// A push is appended change by change: when its future is dropped, half of it is
            /// stored.
            pushes_in_halves PushesInHalves => a_dropped_append_is_whole
            /// Another task may read between two changes of a push (electric#3900).
            pushes_seen_in_halves PushesSeenInHalves => readers_see_whole_pushes
            /// A judge that panics counts as one that admits the change.
            panics_admit PanicsAdmit => a_judge_that_panics_fails_its_push_whole
            /// A rejected change is stored and sent to readers (a rejected row that is broadcast).
            refused_changes_stored RefusedChangesStored => a_rejected_change_is_not_stored
            /// The last push wins, whatever base it was made on.
            conflicts_overwritten ConflictsOverwritten => a_conflict_carries_the_current_state
            /// A reader gets all collections, whichever it requested.
            choices_ignored ChoicesIgnored => only_chosen_collections_are_read
            /// An erasure is treated as a deletion, and has to be made on the newest state like any
            /// change.
            erasures_taken_for_deletions ErasuresTakenForDeletions
                => an_erasure_wins_whatever_it_was_made_on
            /// Any stamp is admitted, however far ahead.
            stamps_believed StampsBelieved => a_stamp_too_far_ahead_is_rejected
            /// A chunk ends after so many rows, also inside a push (rows on one position cut at a
            /// page).
            pushes_cut_by_chunks PushesCutByChunks => a_chunk_never_cuts_a_push
            /// A chunk holds everything that follows, however much.
            chunks_unbounded ChunksUnbounded => chunks_are_bounded_and_move_on
            /// A push larger than a chunk never fits, and the reader makes no progress.
            chunks_stand_still ChunksStandStill => chunks_are_bounded_and_move_on
            /// A cursor is rounded up, and the entry at its position is never read (airbyte#84400).
            cursors_rounded_up CursorsRoundedUp => a_chunk_holds_exactly_what_follows
            /// A cursor is used as a number of rows (airbyte#21500).
            log_paged_by_offset LogPagedByOffset => a_chunk_holds_exactly_what_follows
            /// Older states of a document stay in the log.
            old_states_told OldStatesTold => every_document_once_at_its_newest_position
            /// The answer that there is nothing new is cached, and returned after the next commit
            /// too.
            heads_remembered HeadsRemembered => a_read_at_the_head_sees_every_commit
            /// A reader below the horizon gets no reset (purged tombstones revive,
            /// go-fast-note-sync#9).
            horizon_forgotten HorizonForgotten => a_purge_removes_tombstones_and_moves_the_horizon
            /// A purge removes the first tombstones and reports that it is complete.
            purges_end_early PurgesEndEarly => a_purge_reaches_everything
            /// The filter of visible collections is ignored.
            visibility_ignored VisibilityIgnored => only_visible_collections_are_read
            /// An unknown scope is answered as an empty one.
            unknown_scopes_empty UnknownScopesEmpty => an_unknown_scope_is_not_found
            /// A page of scopes begins with the last scope of the page before.
            scopes_told_twice ScopesToldTwice => scopes_come_by_pages
            /// Every call begins a new epoch, also one that names an epoch that has ended.
            epochs_not_compared EpochsNotCompared => a_new_epoch_begins_once
            /// Starts of the server are not stored: a restore is not detected (cht-core#8093).
            starts_not_noted StartsNotNoted => an_unannounced_restore_is_found
            /// A late acknowledgement moves a replica's position back.
            acknowledgements_go_back AcknowledgementsGoBack => acknowledgements_move_forward
            /// Digests are stored and not compared.
            digests_not_compared DigestsNotCompared => a_digest_that_differs_is_answered_by_a_reset
            /// Counts and digest stay those of the first read.
            digest_left_behind DigestLeftBehind => the_scope_is_what_a_recount_gives
            /// A closed storage continues to work.
            open_after_closing OpenAfterClosing => after_closing_everything_fails_as_closed
        }
    };
}

crate::server_storage_conformance_faults! { __conformance_fault_enum(ServerStorageFault) }

#[async_trait]
impl<H: ServerStorageHarness> ServerStorageHarness for BrokenHarness<H, ServerStorageFault> {
    async fn open(&self) -> Result<Arc<dyn ServerStorage>> {
        let crash = self.prepared_crash();
        Ok(Arc::new(BrokenServerStorage::new(self.place.open().await?, self.fault, crash)))
    }
}
