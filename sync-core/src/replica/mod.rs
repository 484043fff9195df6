//! A replica's data: records, the rules of one document, and what each transaction does.

mod failures;
pub mod ops;
pub mod record;
pub mod rows;
mod rules;
mod settling;
mod stamping;
#[cfg(test)]
mod tests;
mod types;

pub use failures::{Failed, Failures};
pub use rules::Decided;
pub use types::{
    Applied, Checked, Committed, ConflictReport, Context, Decision, DocumentChange, FeedPage,
    Forget, LocalTransaction, LocalWrite, Operation, Origin, OutboxCounts, ReplicaState, Scan,
    ScopeSummary, StoragePage, Stored, Sums, Unsettled, UnsettledAfter, UnsettledEntry,
    WriteOperation,
};
