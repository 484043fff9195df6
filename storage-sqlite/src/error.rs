//! Converts SQLite's errors.

use std::path::Path;

use rusqlite::ErrorCode;
use sync_core::error::{Error, ErrorKind, Retry};

/// Adds the file to an error; a database in memory has none.
pub(crate) fn on(error: Error, file: Option<&Path>) -> Error {
    match file {
        Some(file) => error.with("file", file.display()),
        None => error,
    }
}

/// Converts an error of SQLite.
pub(crate) fn convert(
    operation: &'static str,
    file: Option<&Path>,
    error: rusqlite::Error,
) -> Error {
    on(classify(&error).because(error).during(operation), file)
}

fn classify(error: &rusqlite::Error) -> Error {
    let storage = |message| Error::new(ErrorKind::Storage, message);
    let Some(code) = error.sqlite_error_code() else {
        // The remaining errors are values of another type than the schema has.
        return Error::new(ErrorKind::Incompatible, "the database holds something unexpected");
    };
    match code {
        ErrorCode::DiskFull => storage(
            "the disk is full, or the file has reached its largest size; nothing was changed",
        ),
        ErrorCode::ReadOnly => {
            storage("the file or its folder cannot be written").retrying(Retry::Never)
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            storage("another process is writing to the file and did not finish in time")
        }
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            storage("the file, or one of those beside it, cannot be opened or made")
        }
        ErrorCode::SystemIoFailure if has_no_space(error) => storage(
            "the index of the write-ahead log could not be made beside the file: the disk is full",
        ),
        ErrorCode::SystemIoFailure => storage("reading or writing the file failed"),
        ErrorCode::NotADatabase => Error::new(ErrorKind::Incompatible, "the file is no database"),
        ErrorCode::DatabaseCorrupt => Error::new(ErrorKind::Incompatible, "the file is damaged"),
        // Writes are preceded by reads that exclude this, so the file was changed by another
        // program.
        ErrorCode::ConstraintViolation => Error::new(
            ErrorKind::Incompatible,
            "the file is damaged: a row contradicts another one",
        ),
        _ => storage("the database failed"),
    }
}

/// Returns whether the shared memory of the write-ahead log could not grow. Readers need it, too;
/// for an open file the only cause is a full disk or a quota.
fn has_no_space(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|e| e.extended_code);
    extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Returns the error for damaged data.
pub(crate) fn damaged(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Incompatible, what)
}

/// Returns the error for a file operation.
pub(crate) fn io(operation: &'static str, file: &Path, error: std::io::Error) -> Error {
    let base = Error::new(ErrorKind::Storage, "the file cannot be used");
    on(base.during(operation), Some(file)).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32) -> Error {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        convert("write", Some(Path::new("app.db")), error)
    }

    #[test]
    fn an_error_says_what_failed_where_and_whether_to_retry() {
        let full = of(13);
        assert_eq!((full.kind(), full.retry()), (ErrorKind::Storage, Retry::Later(None)));
        assert!(full.to_string().starts_with("write: the disk is full"), "{full}");
        assert!(full.to_string().contains("file app.db"), "{full}");
        let no_index = of(rusqlite::ffi::SQLITE_IOERR_SHMSIZE).to_string();
        assert!(no_index.contains("the disk is full"), "{no_index}");
        assert!(!of(10).to_string().contains("full"));
        let read_only = of(8);
        assert_eq!((read_only.kind(), read_only.retry()), (ErrorKind::Storage, Retry::Never));
        assert_eq!((of(5).kind(), of(5).retry()), (ErrorKind::Storage, Retry::Later(None)));
        assert_eq!(of(26).kind(), ErrorKind::Incompatible);
        assert_eq!(of(11).kind(), ErrorKind::Incompatible);
    }
}
