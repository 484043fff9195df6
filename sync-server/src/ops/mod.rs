//! The transactions of a server's storage, written once over [rows](super::rows): each function is
//! the body of one transaction.
//!
//! [`ServerStorage`](crate::ServerStorage) documents what must be true afterwards.

mod append;
mod base;
mod changes;
mod check;
mod marks;
mod scope;

pub use append::{AppendContext, Appended, Judge, append};
#[cfg(feature = "runtime")]
pub(crate) use changes::empty;
pub use changes::{ChangesReply, changes, changes_of, check_by_row, check_cursor, nothing_new};
pub use check::has_right_sums;
pub use scope::{Acknowledgement, Noted, acknowledge, begin_epoch, open_scope, purge, read_scope};

#[cfg(test)]
mod tests;
