//! The suite for [`ServerStorage`], the storage of a server.
//!
//! Implement [`ServerStorageHarness`] and call
//! [`server_storage_conformance!`](crate::server_storage_conformance): every case becomes a named
//! test. [`server_storage_fault_injection!`](crate::server_storage_fault_injection) proves that the
//! cases detect a broken backend.

#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a case that fails ends its test")]

mod appending;
mod asking;
mod broken;
mod closing;
mod deciding;
mod erasing;
mod fixture;
mod lives;
mod reading;
mod retrying;
mod surviving;

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::error::Result;
use sync_server::ServerStorage;

pub use super::capabilities::Capabilities;
pub use super::place::Place;
pub use appending::*;
pub use asking::*;
pub use broken::ServerStorageFault;
pub use closing::*;
pub use deciding::*;
pub use erasing::*;
pub use lives::*;
pub use reading::*;
pub use retrying::*;
pub use surviving::*;

use super::faults::BrokenHarness;
use super::run::{Case, Outcome, demand_failure};

/// A place for one server, with a way to open it. Every case gets a fresh one, which is empty.
///
/// ```
/// use std::sync::Arc;
/// use sync_core::error::Result;
/// use storage_kit::kv::{KvOptions, MemoryKv, open_server};
/// use sync_server::ServerStorage;
/// use testkit::conformance::Place;
/// use testkit::conformance::server::ServerStorageHarness;
///
/// struct Memory;
///
/// impl Place for Memory {}
///
/// #[async_trait::async_trait]
/// impl ServerStorageHarness for Memory {
///     async fn open(&self) -> Result<Arc<dyn ServerStorage>> {
///         Ok(Arc::new(open_server(Arc::<MemoryKv>::default(), KvOptions::default())?))
///     }
/// }
///
/// testkit::server_storage_conformance!(Memory);
/// # fn main() {}
/// ```
#[async_trait]
pub trait ServerStorageHarness: Place {
    /// Opens the place. It is empty at first, and holds what the previous storage left there, if
    /// that was closed ([`durable`](Capabilities::durable)), crashed
    /// ([`crash`](Capabilities::crash)) or is still open
    /// ([`several_handles`](Capabilities::several_handles)). Without these a case opens it once.
    async fn open(&self) -> Result<Arc<dyn ServerStorage>>;
}

/// Returns all cases, for callers that run them without the test harness.
#[must_use]
pub fn cases<H: ServerStorageHarness>() -> Vec<Case<H>> {
    crate::server_storage_conformance_cases!(__conformance_list())
}

/// Runs the case that detects the fault: it has to pass on the correct backend, and to fail on the
/// broken one.
///
/// # Panics
/// If it does not.
pub fn demand<H: ServerStorageHarness>(
    fault: ServerStorageFault,
    harness: impl Fn() -> H,
) -> Outcome {
    let name = fault.noticed_by();
    let sound = cases::<H>().into_iter().find(|c| c.name == name);
    let broken =
        cases::<BrokenHarness<H, ServerStorageFault>>().into_iter().find(|c| c.name == name);
    let (Some(sound), Some(broken)) = (sound, broken) else {
        panic!("there is no case {name}");
    };
    let wrapped = BrokenHarness::new(harness(), fault);
    demand_failure(&format!("{fault:?}"), name, (sound.run)(harness()), (broken.run)(wrapped))
}

/// The names of all cases, passed to another macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! server_storage_conformance_cases {
    ($callback:ident($($args:tt)*)) => {
        $crate::$callback! { ($($args)*)
            an_append_is_there_when_it_returns
            positions_are_commit_order
            two_processes_share_a_log
            a_document_twice_in_a_push_is_one_entry
            followers_receive_everything_below_their_position
            readers_see_whole_pushes
            a_judge_that_panics_fails_its_push_whole
            a_dropped_append_is_whole
            after_a_dropped_call_the_next_one_works
            a_retry_gets_the_original_verdicts
            a_retry_is_recognised_after_reopening
            a_retry_is_recognised_after_a_crash
            an_older_push_is_stale
            another_push_under_a_known_id_is_cloned
            a_recalled_push_gets_its_verdicts
            a_recalled_push_is_never_appended
            pushes_are_remembered_for_each_replica_and_scope
            a_conflict_carries_the_current_state
            what_absent_matches
            the_same_state_is_accepted_in_any_push
            a_rejected_change_is_not_stored
            a_stamp_too_far_ahead_is_rejected
            the_server_resolves_as_the_judge_decides
            a_merge_that_is_not_admitted_is_a_conflict
            an_erasure_wins_whatever_it_was_made_on
            a_refused_erasure_carries_the_current_state
            nothing_is_left_in_the_files_of_what_was_erased
            states_in_verdicts_are_bounded
            every_document_once_at_its_newest_position
            a_chunk_holds_exactly_what_follows
            a_chunk_never_cuts_a_push
            chunks_are_bounded_and_move_on
            only_visible_collections_are_read
            only_chosen_collections_are_read
            a_collection_further_behind_is_filled_in
            a_read_at_the_head_sees_every_commit
            a_read_at_the_head_sees_commits_of_other_processes
            a_read_meanwhile_sees_answered_appends
            an_unknown_scope_is_not_found
            scopes_come_by_pages
            scopes_are_apart
            positions_of_another_log_are_a_fork
            bodies_and_names_come_back_byte_for_byte
            a_scope_begins_once
            a_purge_removes_tombstones_and_moves_the_horizon
            a_purge_reaches_everything
            a_new_epoch_begins_once
            an_unannounced_restore_is_found
            acknowledgements_move_forward
            starts_of_the_server_are_all_remembered
            a_digest_that_differs_is_answered_by_a_reset
            the_scope_is_what_a_recount_gives
            what_was_closed_is_there_again
            what_was_said_survives_a_crash
            a_full_disk_fails_whole_and_recovers
            closing_twice_is_fine
            after_closing_everything_fails_as_closed
            closing_finishes_earlier_calls
        }
    };
}

/// Expands to one named test for each case of the [suite](crate::conformance::server). The argument
/// makes the [`ServerStorageHarness`](crate::conformance::server::ServerStorageHarness) of one
/// test.
#[macro_export]
macro_rules! server_storage_conformance {
    ($harness:expr) => {
        $crate::server_storage_conformance_cases! { __conformance_tests(server, $harness) }
    };
}

/// Expands to one named test for each [fault](crate::conformance::server::ServerStorageFault): the
/// case that detects it passes on the harness, and fails when the fault is built into the backend.
#[macro_export]
macro_rules! server_storage_fault_injection {
    ($harness:expr) => {
        $crate::server_storage_conformance_faults! { __conformance_fault_tests(server, ServerStorageFault, $harness) }
    };
}
