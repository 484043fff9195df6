//! One function for each rule of applying chunks, pushing and settling, over any backend.
//!
//! [`rule_traces!`](crate::rule_traces) makes each of them a named test:
//!
//! ```
//! testkit::rule_traces!(testkit::cores::MemoryCores);
//! # fn main() {}
//! ```

#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a trace that fails ends its test")]

mod applying;
mod choosing;
mod clocks;
mod copies;
mod custom_backend;
mod deferring;
mod erasing;
mod evidence;
mod local_only;
mod numbered;
mod purging;
mod pushing;
mod recalling;
mod refused_erasures;
mod reoffers;
mod resets;
mod restores;
mod scopes;
mod settling;

pub use applying::*;
pub use choosing::*;
pub use clocks::*;
pub use copies::*;
pub use custom_backend::*;
pub use deferring::*;
pub use erasing::*;
pub use evidence::*;
pub use local_only::*;
pub use numbered::*;
pub use purging::*;
pub use pushing::*;
pub use recalling::*;
pub use refused_erasures::*;
pub use reoffers::*;
pub use resets::*;
pub use restores::*;
pub use scopes::*;
pub use settling::*;

use std::sync::Arc;

use sync_core::model::{Change, PushBatch, Rejection, RejectionCode, Verdict, Verdicts};
use sync_core::resolver::ConflictResolver;

use crate::cores::Cores;
use crate::world::{Options, Refuse, World, text_of};

/// Makes a world with two replicas and that resolver.
fn world_with<C: Cores>(cores: C, resolver: impl ConflictResolver) -> World<C> {
    World::with(cores, Options { resolver: Arc::new(resolver), ..Options::default() })
}

/// Returns the batch of a replica, which must exist.
#[track_caller]
fn batch<C: Cores>(world: &mut World<C>, replica: usize) -> PushBatch {
    match world.form(replica) {
        Some(batch) => batch,
        None => panic!("replica {replica} has nothing to push"),
    }
}

/// Returns whether two batches are the same. The replica's marks when it sends them are not
/// compared.
fn is_same(one: &PushBatch, other: &PushBatch) -> bool {
    *one == PushBatch { mark: one.mark.clone(), ..other.clone() }
}

/// Returns the verdicts of a decided batch.
#[track_caller]
fn decided(verdicts: &Verdicts) -> &[Verdict] {
    match verdicts {
        Verdicts::Decided { verdicts, .. } => verdicts,
        other => panic!("decided verdicts were expected, not {other:?}"),
    }
}

/// Returns the next chunk, which must come without a reset.
#[track_caller]
fn chunk<C: Cores>(world: &mut World<C>, replica: usize) -> sync_core::model::Chunk {
    match world.next_chunk(replica) {
        Ok(chunk) => chunk,
        Err(reset) => panic!("a chunk was expected, not {reset:?}"),
    }
}

/// Rejects every body that holds a text.
fn refusing(text: &'static str) -> Option<Refuse> {
    Some(Arc::new(move |change: &Change| {
        let refused = text_of(&change.state).is_some_and(|t| t.contains(text));
        refused.then(|| Rejection { code: RejectionCode::Invalid, reason: "refused".to_owned() })
    }))
}

/// Expands to one named test for each trace. The argument makes the [`Cores`](crate::cores::Cores)
/// of one test.
#[macro_export]
macro_rules! rule_traces {
    ($cores:expr) => {
        $crate::rule_traces!(@each $cores;
            trace_1_a_newer_state_comes_before_the_ack
            trace_2_an_own_echo_after_a_later_edit
            trace_2_a_late_accepted_after_a_conflict
            trace_3_a_pipelined_chunk_comes_early
            trace_3_a_chunk_that_overlaps
            trace_4_a_doubled_old_push
            trace_5_settled_then_the_server_is_restored
            trace_6_a_late_ack_after_a_purge
            trace_6_on_a_replica_that_never_pulled
            trace_7_edited_while_the_server_merges
            an_empty_chunk_moves_the_position
            a_known_state_changes_nothing
            a_clean_document_follows_the_server
            an_echo_before_the_ack
            an_echo_of_what_is_in_flight_is_the_base
            what_is_in_flight_waits_for_the_verdict
            a_true_conflict_is_decided_once
            the_resolver_returns_remote
            the_resolver_returns_local
            the_resolver_returns_merge
            the_resolver_returns_delete
            the_resolver_returns_defer
            a_deferred_document_is_edited
            delete_against_delete
            equal_bodies
            only_the_server_resolves
            the_server_leaves_it_open
            the_server_makes_what_it_holds
            the_server_needs_a_base_and_gets_none
            a_retry_sends_the_same_batch
            created_and_deleted_is_never_pushed
            created_pushed_and_deleted_is_pushed
            a_retried_push_gets_the_original_verdicts
            a_cloned_replica_takes_a_new_identity
            clones_that_made_one_revision
            a_clone_keeps_the_time_of_its_edits
            the_echo_of_an_edit_from_a_copy_is_known
            a_batch_in_flight_is_known_after_a_new_identity
            an_erasure_under_an_edit_keeps_its_name
            what_an_older_copy_of_this_replica_wrote_is_not_stamped_again
            a_servers_clock_that_was_ahead_blocks_no_replica
            a_servers_clock_that_goes_back_blocks_no_replica
            a_refused_edit_follows_what_the_server_holds
            a_settled_erasure_stays_known_to_a_clock_that_is_behind
            an_edit_stamped_anew_follows_the_erasure_that_is_left
            an_erasure_after_the_clock_went_back_takes_its_base
            all_of_the_outbox_is_stamped_anew
            the_stamp_of_an_author_is_bounded
            a_conflict_is_not_decided_by_a_clock_that_ran_ahead
            a_refused_follower_of_what_is_gone_is_stamped_anew
            a_device_whose_clock_is_set_right_is_believed_again
            many_starts_of_the_server_are_no_restore
            processes_that_write_one_log_are_no_restore
            what_a_client_makes_up_concerns_it_alone
            a_restore_that_undoes_a_purge_blocks_no_edit
            a_restore_that_undoes_an_early_purge_blocks_no_edit
            a_restore_that_undoes_the_purge_of_an_erasure_blocks_no_edit
            a_restore_is_found_by_the_mark_of_verdicts
            a_restore_is_found_by_an_acknowledgement
            a_deferred_conflict_ends_when_the_app_writes_the_same
            a_deferred_conflict_ends_when_the_server_holds_the_same
            a_deferred_conflict_ends_when_the_app_deletes_too
            a_deferred_conflict_ends_when_the_server_deletes_too
            absence_is_concluded_of_chosen_collections_only
            absence_is_concluded_of_visible_collections_only
            a_rolled_back_replica_is_found_by_its_greeting
            the_same_revision_is_accepted_in_any_batch
            a_whole_refusal_does_not_block_the_outbox
            a_batch_holds_whole_transactions
            a_later_edit_takes_a_document_over
            what_absent_matches
            verdicts_on_another_batch_change_nothing
            verdicts_that_do_not_fit_change_nothing
            two_conflicts_at_one_verdict_are_both_reported
            an_old_verdict_only_ends_the_batch
            a_late_verdict_after_a_reset_keeps_the_base
            accepted_and_edited_since
            a_conflict_by_verdict
            merged_and_edited_since
            rejected_moves_aside
            rejected_inserts_and_deletions
            rejected_and_edited_since
            a_quarantined_edit_is_retried
            a_retry_equal_to_what_is_settled_vanishes
            a_quarantined_edit_is_discarded
            a_clock_that_runs_ahead
            stamps_are_taken_anew_before_a_batch
            stamps_taken_anew_are_unique
            a_refused_stamp_and_edited_since
            a_child_is_stamped_after_its_parent
            a_full_pull_removes_what_is_absent
            a_full_pull_removes_what_is_absent_beside_a_deferred_insert
            a_full_pull_is_safe_up_to_its_floor
            a_full_pull_leaves_dirty_documents_to_the_push
            a_refused_edit_of_what_a_full_pull_did_not_find
            a_deferred_document_is_gone_meanwhile
            an_insert_after_a_purge_is_a_new_document
            a_digest_reset_is_no_conflict
            a_digest_reset_repairs
            a_reset_while_in_flight
            a_reset_while_deferred
            a_requested_reset_keeps_edits
            a_restore_while_everything_is_pulled
            a_restore_brings_a_purged_tombstone_back
            an_edit_on_what_is_absent_meets_a_purged_tombstone
            a_restore_brings_a_purged_erasure_back
            tombstones_leave_the_replicas
            absences_leave_the_replicas
            an_unsettled_tombstone_stays
            a_restore_of_tombstones_that_left
            a_restore_below_what_left
            an_erased_tombstone_stays_on_the_replicas
            a_restore_while_absent_waits_for_a_verdict
            a_restore_while_absent_waits_for_the_app
            only_what_lies_above_the_cut_is_offered_again
            every_replica_offers_everything_again
            a_reoffer_over_an_older_one
            a_reoffer_over_a_newer_one
            a_reoffer_over_a_descendant_of_a_newer_one
            an_edit_on_a_lost_state
            a_reoffer_against_a_fresh_write
            a_second_restore
            states_of_two_lost_lives
            a_reoffer_has_no_common_base
            a_merge_is_lost
            a_merge_is_lost_in_flight
            a_reoffer_after_a_purge
            an_unannounced_restore_is_found_by_starts
            two_lives_under_one_epoch
            a_chunk_requested_ahead_is_from_a_restored_server
            a_refused_edit_on_a_lost_state
            a_refused_reoffer
            a_conflict_with_an_empty_log
            a_position_ahead_of_the_head
            a_collection_added_later_backfills
            a_chunk_never_cuts_an_append
            a_transaction_that_could_not_be_pushed_is_refused
            a_transaction_happens_whole
            a_scope_that_is_gone
            batches_are_counted_on_after_a_scope_was_forgotten
            a_collection_leaves_while_another_is_in_flight
            a_replica_syncs_what_it_chose
            a_collection_that_is_added_is_filled_in
            a_collection_that_is_left_out_leaves_and_comes_back
            from_some_collections_to_all
            a_choice_survives_resets_and_restores
            a_chunk_holds_more_than_was_requested
            a_choice_in_the_middle_of_a_full_pull
            a_collection_that_may_be_seen_is_filled_in
            a_collection_that_may_be_seen_in_the_middle_of_a_full_pull
            an_erasure_removes_every_body
            an_erasure_wins_over_what_the_server_accepted_meanwhile
            an_edit_without_the_erasure_is_discarded
            what_is_in_flight_is_erased_here
            what_is_in_flight_is_erased_by_another
            the_others_of_a_batch_are_settled_as_ever
            a_batch_is_recalled_that_had_arrived
            a_batch_is_recalled_before_it_arrives
            a_clone_recalls_another_batch
            a_new_life_comes_before_the_verdict
            refused_edits_are_erased
            deferred_conflicts_are_erased
            written_again_after_an_erasure
            written_again_before_the_erasure_has_travelled
            two_erasures
            an_erasure_of_what_was_deleted
            an_erasure_of_what_never_left
            an_erasure_calls_no_resolver_of_the_server
            an_erasure_with_a_wrong_clock
            a_refused_erasure
            a_refused_edit_that_includes_an_erasure
            an_erasure_is_lost_in_a_restore
            an_erased_tombstone_is_purged
            an_erasure_of_a_deleted_document_is_pushed_alone
            an_erasure_that_is_known_revives_nothing
            a_retry_of_an_edit_that_includes_an_erasure_erases_nothing
            an_erasure_after_a_digest_reset
            what_is_local_only_is_never_pushed
            a_local_only_collection_is_untouched_by_resets
            a_collection_that_was_local_only_is_pulled
            a_purge_does_not_overtake_a_backfill
            a_bookmark_moves_with_its_chunk
            accepted_under_another_revision
            accepted_under_another_revision_and_edited_since
        );
    };
    (@each $cores:expr; $($name:ident)*) => {$(
        #[test]
        fn $name() {
            $crate::traces::$name($cores);
        }
    )*};
}
