//! Storages with a planted fault, which the cases must detect.

mod batches;
mod chunks;
mod memory;
mod wrapper;

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::error::Result;
use sync_core::storage::Storage;

use super::super::faults::BrokenHarness;
use super::StorageHarness;
use wrapper::BrokenStorage;

/// The faults: the name of the test, the fault, and the case that detects it. Passed to another
/// macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! storage_conformance_faults {
    ($callback:ident($($args:tt)*)) => {
        $crate::$callback! { ($($args)*)
            /// An acknowledged write is only in memory, and lost in a crash.
            writes_lost_in_a_crash WritesLostInCrash => an_acknowledged_write_survives_a_crash
            /// A batch is sent before it is durable: after a crash its id is given to another one.
            batches_lost_in_a_crash BatchesLostInCrash => a_batch_survives_a_crash
            /// A disk error is ignored, and the write acknowledged.
            disk_errors_swallowed DiskErrorsSwallowed => a_full_disk_fails_whole_and_recovers
            /// A transaction is executed write by write: the writes before a rejected one stay.
            transactions_write_by_write TransactionsWriteByWrite
                => a_transaction_that_fails_in_the_middle_writes_nothing
            /// The future of a transaction may be dropped between two of its writes, and the rest
            /// is lost.
            halves_when_dropped HalvesWhenDropped => a_dropped_write_is_whole
            /// Another task may read between two writes of a transaction (electric#3900).
            transactions_seen_in_halves TransactionsSeenInHalves => readers_see_whole_transactions
            /// The checkpoint is written before the documents, and stays when they fail
            /// (pouchdb#1240).
            checkpoint_before_documents CheckpointBeforeDocuments
                => a_chunk_that_contradicts_itself_changes_nothing
            /// The documents of a chunk are written in several transactions.
            chunks_in_halves ChunksInHalves => readers_see_whole_chunks
            /// A chunk is applied wherever it begins: one that was requested ahead skips documents
            /// for ever.
            positions_not_compared PositionsNotCompared
                => a_chunk_that_begins_elsewhere_changes_nothing
            /// Starts of the server are not stored: a chunk of a restored server is applied
            /// (cht-core#8093).
            starts_not_remembered StartsNotRemembered
                => a_chunk_of_a_restored_server_is_not_applied
            /// The replica's own writes are treated as echoes, so a wiped device never gets them
            /// back.
            own_writes_filtered OwnWritesFiltered => own_writes_come_back
            /// A body that the server left out is treated as a deletion.
            left_out_bodies_deleted LeftOutBodiesDeleted => a_body_that_was_left_out_is_completed
            /// A body that the server left out, and that is missing here, is never requested.
            left_out_bodies_lost LeftOutBodiesLost => a_missing_body_is_requested
            /// Changes that arrive while a push is in flight are dropped (rxdb#5571).
            changes_dropped_during_a_push ChangesDroppedDuringPush
                => what_arrives_during_a_push_is_not_lost
            /// A failing resolver counts as one that decides for the server: the local edit is
            /// lost.
            failed_resolvers_give_in FailedResolversGiveIn => a_resolver_that_fails_defers
            /// The base is the state before the newest edit and not before the first (a second edit
            /// conflicts with the first).
            bases_overwritten BasesOverwritten
                => the_base_is_the_settled_state_before_the_first_edit
            /// Every retry forms a batch with a new id, so the server treats a retry as another
            /// push.
            a_new_name_for_each_retry NewNameForEachRetry => a_batch_is_the_same_until_it_is_settled
            /// The whole outbox is one batch.
            batches_unbounded BatchesUnbounded => a_batch_is_bounded
            /// An outbox entry is removed although it was edited during the push
            /// (WatermelonDB#1374).
            edits_during_a_push_lost EditsDuringPushLost => an_edit_during_the_push_stays
            /// Verdicts settle the batch in flight, whichever batch they belong to.
            push_names_not_compared PushNamesNotCompared => verdicts_on_another_batch_change_nothing
            /// Verdicts and changes are paired until one list ends.
            verdicts_not_counted VerdictsNotCounted => verdicts_that_do_not_fit_are_refused
            /// The reply to a push moves the pull cursor past changes of other replicas in between
            /// (Pocket).
            verdicts_move_the_position VerdictsMovePosition => a_verdict_never_moves_the_position
            /// An edit that the server rejected is dropped silently.
            refused_edits_dropped RefusedEditsDropped => a_refused_edit_moves_into_the_quarantine
            /// Leases are assigned and not checked.
            leases_not_checked LeasesNotChecked => a_former_holder_changes_nothing
            /// A page begins after a number of documents and not after a document (airbyte#21500).
            pages_by_offset PagesByOffset => paging_goes_on_from_a_document
            /// A page of the feed begins one place too late (a cursor rounded up, airbyte#84400).
            feed_rounded_up FeedRoundedUp => the_feed_returns_every_change_in_order
            /// A commit does not move the counter, so it wakes no task.
            commits_in_silence CommitsInSilence => every_commit_moves_the_counter
            /// The digest is updated by pulls and not by local writes.
            digest_left_behind DigestLeftBehind => the_state_is_what_a_recount_gives
            /// Bodies are rewritten by a JSON library: numbers lose digits, keys their order.
            bodies_written_anew BodiesWrittenAnew => bodies_are_kept_byte_for_byte
            /// Ids are cut to 255 bytes, as a column may do.
            names_cut_short NamesCutShort => names_are_compared_by_their_bytes
            /// Stamps are readings of the wall clock.
            stamps_by_the_wall_clock StampsByWallClock => stamps_only_grow
            /// One collection of a forgotten scope stays on the device.
            forgetting_ends_early ForgettingEndsEarly
                => a_forgotten_scope_leaves_nothing_but_own_edits
            /// A reset begins by deleting the scope, unsynced edits included.
            resets_wipe_edits ResetsWipeEdits => a_reset_keeps_unsynced_edits
            /// The server's limits are not stored: a local write may be too large to push.
            servers_limits_forgotten ServersLimitsForgotten
                => what_the_server_does_not_take_is_refused
            /// The failure that keeps a replica from syncing is not stored.
            failures_forgotten FailuresForgotten => what_failed_is_kept_until_it_works
            /// The choice of collections changes, and the position stays: an added collection is
            /// never pulled.
            choice_keeps_the_position ChoiceKeepsThePosition
                => a_collection_that_is_chosen_later_is_pulled_from_the_beginning
            /// An erasure is treated as a deletion, which keeps bodies that are still needed.
            erasures_written_as_deletions ErasuresWrittenAsDeletions
                => an_erasure_removes_everything_of_a_document
            /// An erasure by another replica is treated as a deletion: states that do not know of
            /// it stay.
            erasures_heard_as_deletions ErasuresHeardAsDeletions
                => a_received_erasure_removes_everything
            /// A local-only collection is synced like any other.
            declarations_dropped DeclarationsDropped => what_is_local_only_stays_on_the_device
            /// A closed storage continues to work.
            open_after_closing OpenAfterClosing => after_closing_everything_fails_as_closed
        }
    };
}

crate::storage_conformance_faults! { __conformance_fault_enum(StorageFault) }

#[async_trait]
impl<H: StorageHarness> StorageHarness for BrokenHarness<H, StorageFault> {
    async fn open(&self) -> Result<Arc<dyn Storage>> {
        let crash = self.prepared_crash();
        Ok(Arc::new(BrokenStorage::new(self.place.open().await?, self.fault, crash)))
    }
}
