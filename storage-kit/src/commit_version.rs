//! How commits are noticed without a transaction.

/// Detects commits.
pub trait CommitVersion: Send + 'static {
    /// Returns a number that every commit changes, also one of another process: while it is the
    /// same, a snapshot that is opened now sees what one that was opened after the last call saw.
    /// None if that cannot be determined at the moment.
    ///
    /// It is called from async tasks: it takes microseconds and does not block.
    fn version(&mut self) -> Option<u64>;
}
