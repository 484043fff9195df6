//! The suite for [`Storage`], the storage of a replica.
//!
//! Implement [`StorageHarness`] and call [`storage_conformance!`](crate::storage_conformance):
//! every case becomes a named test. [`storage_fault_injection!`](crate::storage_fault_injection)
//! proves that the cases detect a broken backend.

#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a case that fails ends its test")]

mod applying;
mod broken;
mod cancelling;
mod choosing;
mod closing;
mod crowds;
mod deciding;
mod erasing;
mod fixture;
mod leases;
mod leaving;
mod local_only;
mod log;
mod own_bodies;
mod purging;
mod pushing;
mod reading;
mod settling;
mod surviving;
mod writing;

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::error::Result;
use sync_core::storage::Storage;

pub use super::capabilities::Capabilities;
pub use super::place::Place;
pub use applying::*;
pub use broken::StorageFault;
pub use cancelling::*;
pub use choosing::*;
pub use closing::*;
pub use crowds::*;
pub use deciding::*;
pub use erasing::*;
pub use leases::*;
pub use leaving::*;
pub use local_only::*;
pub use own_bodies::*;
pub use purging::*;
pub use pushing::*;
pub use reading::*;
pub use settling::*;
pub use surviving::*;
pub use writing::*;

use super::faults::BrokenHarness;
use super::run::{Case, Outcome, demand_failure};

/// A place for one replica, with a way to open it. Every case gets a fresh one, which is empty.
///
/// Storages are opened with the default limits ([`WriteLimits`](sync_core::model::WriteLimits));
/// identities are the harness's choice. A harness that can only `open` has four lines:
///
/// ```
/// use std::sync::Arc;
/// use sync_core::error::Result;
/// use storage_kit::kv::{KvOptions, MemoryKv, open_replica};
/// use sync_core::model::ReplicaId;
/// use sync_core::storage::Storage;
/// use testkit::conformance::Place;
/// use testkit::conformance::storage::StorageHarness;
///
/// struct Memory;
///
/// impl Place for Memory {}
///
/// #[async_trait::async_trait]
/// impl StorageHarness for Memory {
///     async fn open(&self) -> Result<Arc<dyn Storage>> {
///         Ok(Arc::new(open_replica(Arc::<MemoryKv>::default(), ReplicaId([7; 16]), KvOptions::default())?))
///     }
/// }
///
/// testkit::storage_conformance!(Memory);
/// # fn main() {}
/// ```
#[async_trait]
pub trait StorageHarness: Place {
    /// Opens the place. It is empty at first, and holds what the previous storage left there, if
    /// that was closed ([`durable`](Capabilities::durable)), crashed
    /// ([`crash`](Capabilities::crash)) or is still open
    /// ([`several_handles`](Capabilities::several_handles)). Without these a case opens it once.
    async fn open(&self) -> Result<Arc<dyn Storage>>;
}

/// Returns all cases, for callers that run them without the test harness.
#[must_use]
pub fn cases<H: StorageHarness>() -> Vec<Case<H>> {
    crate::storage_conformance_cases!(__conformance_list())
}

/// Runs the case that detects the fault: it has to pass on the correct backend, and to fail on the
/// broken one.
///
/// # Panics
/// If it does not.
pub fn demand<H: StorageHarness>(fault: StorageFault, harness: impl Fn() -> H) -> Outcome {
    let name = fault.noticed_by();
    let sound = cases::<H>().into_iter().find(|c| c.name == name);
    let broken = cases::<BrokenHarness<H, StorageFault>>().into_iter().find(|c| c.name == name);
    let (Some(sound), Some(broken)) = (sound, broken) else {
        panic!("there is no case {name}");
    };
    let wrapped = BrokenHarness::new(harness(), fault);
    demand_failure(&format!("{fault:?}"), name, (sound.run)(harness()), (broken.run)(wrapped))
}

/// The names of all cases, passed to another macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! storage_conformance_cases {
    ($callback:ident($($args:tt)*)) => {
        $crate::$callback! { ($($args)*)
            a_write_is_there_when_it_returns
            a_transaction_that_fails_in_the_middle_writes_nothing
            a_transaction_over_the_limits_is_refused
            what_the_server_does_not_take_is_refused
            a_later_write_sees_the_earlier_ones
            bodies_are_kept_byte_for_byte
            names_are_compared_by_their_bytes
            the_base_is_the_settled_state_before_the_first_edit
            created_and_deleted_in_between_is_never_pushed
            stamps_only_grow
            the_servers_time_corrects_the_clock
            get_answers_every_key_in_its_place
            scopes_and_collections_are_apart
            pages_are_bounded
            paging_goes_on_from_a_document
            paging_is_complete_while_others_write
            the_feed_returns_every_change_in_order
            following_the_feed_misses_nothing
            every_commit_moves_the_counter
            the_state_is_what_a_recount_gives
            a_chunk_brings_documents_and_position
            a_chunk_that_contradicts_itself_changes_nothing
            a_chunk_that_begins_elsewhere_changes_nothing
            an_empty_chunk_moves_the_position
            own_writes_come_back
            a_body_that_was_left_out_is_completed
            a_missing_body_is_requested
            what_arrives_during_a_push_is_not_lost
            an_echo_is_no_conflict
            a_conflict_calls_the_resolver_once
            a_resolver_that_fails_defers
            a_full_pull_removes_what_is_absent
            tombstones_leave_with_the_horizon
            tombstones_stay_until_the_head
            a_chunk_of_a_restored_server_is_not_applied
            a_batch_is_the_same_until_it_is_settled
            a_batch_is_bounded
            batches_hold_whole_transactions_in_order
            ten_thousand_edits_are_pushed_in_bounded_batches
            what_is_accepted_is_clean
            an_edit_during_the_push_stays
            verdicts_on_another_batch_change_nothing
            verdicts_that_do_not_fit_are_refused
            a_recalled_batch_is_formed_anew
            a_verdict_never_moves_the_position
            a_late_verdict_does_not_go_back
            a_merged_state_is_applied
            a_refused_edit_moves_into_the_quarantine
            a_conflict_verdict_is_resolved
            a_refused_stamp_is_taken_anew
            a_quarantined_edit_is_retried_or_discarded
            a_deferred_conflict_ends_as_decided
            what_is_not_settled_comes_by_pages
            what_failed_is_kept_until_it_works
            a_former_holder_changes_nothing
            a_lease_is_given_back_and_taken_again
            the_app_needs_no_lease
            two_processes_share_a_replica
            two_processes_follow_one_feed
            a_forgotten_scope_leaves_nothing_but_own_edits
            a_forgotten_collection_leaves_the_others
            the_feed_reports_a_gap
            a_reset_keeps_unsynced_edits
            after_a_reset_everything_is_pulled_afresh
            a_new_identity_stamps_edits_anew
            an_erasure_removes_everything_of_a_document
            a_received_erasure_removes_everything
            nothing_is_left_in_the_files_of_what_was_erased
            only_what_was_chosen_is_synced
            a_collection_that_is_chosen_later_is_pulled_from_the_beginning
            a_collection_that_is_left_out_leaves
            what_is_local_only_stays_on_the_device
            a_declaration_that_would_change_documents_is_refused
            a_declaration_is_kept
            what_was_closed_is_there_again
            an_acknowledged_write_survives_a_crash
            a_batch_survives_a_crash
            a_crash_leaves_one_state
            decisions_survive_a_crash
            a_full_disk_fails_whole_and_recovers
            closing_twice_is_fine
            after_closing_everything_fails_as_closed
            closing_finishes_earlier_calls
            a_dropped_write_is_whole
            a_dropped_apply_is_whole
            a_dropped_push_is_whole
            after_a_dropped_call_the_next_one_works
            many_callers_write_at_once
            readers_see_whole_transactions
            readers_see_whole_chunks
        }
    };
}

/// Expands to one named test for each case of the [suite](crate::conformance::storage). The
/// argument makes the [`StorageHarness`](crate::conformance::storage::StorageHarness) of one test.
#[macro_export]
macro_rules! storage_conformance {
    ($harness:expr) => {
        $crate::storage_conformance_cases! { __conformance_tests(storage, $harness) }
    };
}

/// Expands to one named test for each [fault](crate::conformance::storage::StorageFault): the case
/// that detects it passes on the harness, and fails when the fault is built into the backend.
#[macro_export]
macro_rules! storage_fault_injection {
    ($harness:expr) => {
        $crate::storage_conformance_faults! { __conformance_fault_tests(storage, StorageFault, $harness) }
    };
}
