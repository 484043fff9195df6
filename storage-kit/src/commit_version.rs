//! Detection of commits without a transaction.

/// Detects commits.
pub trait CommitVersion: Send + 'static {
    /// Returns a number that every commit changes, also one of another process: while it is the
    /// same, a snapshot that is opened now observes the same as one that was opened after the last
    /// call. None if that cannot be determined at the moment.
    ///
    /// It is called from async tasks: it takes microseconds and does not block.
    fn version(&mut self) -> Option<u64>;
}
