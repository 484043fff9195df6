//! The error type: the operation, its context, why it failed, and whether to retry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize};

/// The result of every operation in Twotide that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for callers that handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller passed something that can never work: a bad name, a body that is not JSON, a
    /// document over the limit.
    InvalidInput,
    /// The requested document, scope or conflict does not exist.
    NotFound,
    /// An insert found a document with that id.
    AlreadyExists,
    /// The token is missing or wrong.
    Unauthenticated,
    /// The token is valid, but does not permit the request.
    PermissionDenied,
    /// Another process holds the engine lease of this replica.
    Busy,
    /// A newer lease, a reset or another write of the document took over: the operation changed
    /// nothing.
    Superseded,
    /// The storage failed: I/O, a full disk, a read-only file.
    Storage,
    /// The file is not one of Twotide, is from a newer version, or is damaged.
    Incompatible,
    /// The link failed or could not be made.
    Network,
    /// The other side broke the protocol.
    Protocol,
    /// Too much, or too often: retry later.
    Overloaded,
    /// The operation took longer than its bound.
    Timeout,
    /// Something on the way does not accept a message of this size.
    TooLarge,
    /// The replica, server or connection was closed.
    Closed,
    /// An internal fault.
    Internal,
}

impl ErrorKind {
    /// All kinds, each at the index that is its number on the wire. New ones are added at the end.
    pub const ALL: [Self; 16] = [
        Self::Internal,
        Self::InvalidInput,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::Busy,
        Self::Superseded,
        Self::Storage,
        Self::Incompatible,
        Self::Network,
        Self::Protocol,
        Self::Overloaded,
        Self::Timeout,
        Self::Closed,
        Self::TooLarge,
    ];

    /// Returns the kind as it is written on the wire and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Busy => "busy",
            Self::Superseded => "superseded",
            Self::Storage => "storage",
            Self::Incompatible => "incompatible",
            Self::Network => "network",
            Self::Protocol => "protocol",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }

    fn default_retry(self) -> Retry {
        match self {
            Self::Network | Self::Timeout | Self::Protocol => Retry::Reconnect,
            Self::Busy | Self::Storage | Self::Overloaded | Self::TooLarge | Self::Internal => {
                Retry::Later(None)
            }
            _ => Retry::Never,
        }
    }
}

/// Whether a retry of the same request can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Never: the same request fails until the cause is removed.
    Never,
    /// Later: after this long at the earliest, if the other side set it.
    Later(Option<Duration>),
    /// After connecting again.
    Reconnect,
}

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    operation: Option<&'static str>,
    context: Vec<(&'static str, String)>,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// An error: a [kind](ErrorKind), [retry advice](Retry), the operation, its context, a message and
/// the cause.
///
/// Its `Display` shows what failed, and not why: the cause is its
/// [`source`](std::error::Error::source), and [`report`](Self::report) shows both in one line.
///
/// Cheap to clone, so that one failure can be returned to every caller that waits for it.
///
/// ```
/// use sync_core::error::{Error, ErrorKind, Retry};
/// let error = Error::new(ErrorKind::Network, "the link is down").during("push").with("scope", "default");
/// assert_eq!(error.retry(), Retry::Reconnect);
/// assert_eq!(error.to_string(), "push: the link is down (scope default)");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// Errors are equal if they give the same advice and their [reports](Error::report) read the same.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        let said = |e: &Self| (e.kind(), e.retry(), e.report().to_string());
        Arc::ptr_eq(&self.0, &other.0) || said(self) == said(other)
    }
}

impl Eq for Error {}

impl Error {
    /// Makes an error of that kind with the kind's usual retry advice.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            retry: kind.default_retry(),
            operation: None,
            context: Vec::new(),
            message: message.into(),
            source: None,
        }))
    }

    fn change(mut self, f: impl FnOnce(&mut Inner)) -> Self {
        if Arc::get_mut(&mut self.0).is_none() {
            let old = &self.0;
            self = Self(Arc::new(Inner {
                kind: old.kind,
                retry: old.retry,
                operation: old.operation,
                context: old.context.clone(),
                message: old.message.clone(),
                source: old.source.clone(),
            }));
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            f(inner);
        }
        self
    }

    /// Sets the operation, if none is set yet.
    #[must_use]
    pub fn during(self, operation: &'static str) -> Self {
        self.change(|e| e.operation = e.operation.or(Some(operation)))
    }

    /// Adds a name and a value to the context.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        self.change(|e| e.context.push((name, value)))
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.change(|e| e.source = Some(Arc::new(source)))
    }

    /// Replaces the retry advice.
    #[must_use]
    pub fn retrying(self, retry: Retry) -> Self {
        self.change(|e| e.retry = retry)
    }

    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the advice whether, and when, a retry can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Returns whether a retry can succeed without any other change.
    ///
    /// ```
    /// use sync_core::error::{Error, ErrorKind};
    /// assert!(Error::new(ErrorKind::Network, "the link broke").is_retryable());
    /// assert!(!Error::new(ErrorKind::InvalidInput, "the name is empty").is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retry() != Retry::Never
    }

    /// Returns the operation that failed.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// Returns the error and its causes for a line of a log or of a terminal, each behind a colon.
    ///
    /// ```
    /// use sync_core::error::{Error, ErrorKind};
    /// let cause = std::io::Error::other("the disk is full");
    /// let error = Error::new(ErrorKind::Storage, "a write failed").because(cause);
    /// assert_eq!(error.to_string(), "a write failed");
    /// assert_eq!(error.report().to_string(), "a write failed: the disk is full");
    /// ```
    #[must_use]
    pub fn report(&self) -> ErrorReport<'_> {
        ErrorReport(self)
    }

    /// Returns the message alone, without operation, context and cause.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the context: pairs of name and value.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&self.0.message)?;
        for (i, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name} {value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// An error with its causes, in one line: made by [`Error::report`].
#[derive(Clone, Copy, Debug)]
pub struct ErrorReport<'a>(&'a Error);

impl fmt::Display for ErrorReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = std::error::Error::source(self.0);
        while let Some(source) = next {
            let text = source.to_string();
            // Some errors end with the text of their cause.
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            (said, next) = (text, source.source());
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("retry", &self.0.retry)
            .field("text", &self.report().to_string())
            .finish()
    }
}

/// Serializes as `{"kind":"network","message":"…","retryable":true}`, for front ends. The message
/// is the [report](Error::report).
impl Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut error = to.serialize_struct("Error", 3)?;
        error.serialize_field("kind", &self.kind())?;
        error.serialize_field("message", &self.report().to_string())?;
        error.serialize_field("retryable", &self.is_retryable())?;
        error.end()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_reported_once() {
        let disk = Error::new(ErrorKind::Storage, "the disk is full").with("path", "a.db");
        let row = Error::new(ErrorKind::Storage, "a row was not written").because(disk.clone());
        let error = Error::new(ErrorKind::Storage, "nothing was noted").during("push").because(row);
        assert_eq!(error.to_string(), "push: nothing was noted");
        let whole = "push: nothing was noted: a row was not written: the disk is full (path a.db)";
        assert_eq!(error.report().to_string(), whole);
        assert!(format!("{error:?}").contains(whole), "{error:?}");
        assert!(std::error::Error::source(&error).is_some());
        // An error whose text ends with its cause is not repeated.
        let repeating = Error::new(ErrorKind::Storage, format!("it failed: {disk}")).because(disk);
        assert_eq!(repeating.report().to_string(), repeating.to_string());
    }
}
