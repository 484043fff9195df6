//! Converts redb's errors.

use std::io::ErrorKind as IoErrorKind;
use std::path::Path;

use sync_core::error::{Error, ErrorKind, Retry};

/// Converts an error of redb: its kind, the retry advice, the operation, the file, and the cause.
pub(crate) fn convert(operation: &'static str, path: &Path, error: redb::Error) -> Error {
    let ours = match &error {
        redb::Error::DatabaseAlreadyOpen => Error::new(
            ErrorKind::Busy,
            "the file is open already: redb allows one process. End the other one, or close its storage",
        ),
        redb::Error::Io(e) if e.kind() == IoErrorKind::InvalidData => {
            Error::new(ErrorKind::Incompatible, "the file is not redb's")
        }
        redb::Error::Corrupted(_) => Error::new(ErrorKind::Incompatible, "the file is damaged"),
        redb::Error::UpgradeRequired(_) | redb::Error::TableTypeMismatch { .. } => {
            Error::new(ErrorKind::Incompatible, "the file is from another version or program")
        }
        // After one failure redb refuses everything: a retry cannot help, reopening the file can.
        redb::Error::PreviousIo => {
            Error::new(ErrorKind::Storage, "redb stopped after a failure; open the file again")
                .retrying(Retry::Never)
        }
        _ => Error::new(ErrorKind::Storage, "the file cannot be read or written"),
    };
    ours.because(error).during(operation).with("file", path.display())
}
