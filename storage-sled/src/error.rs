//! Converts sled's errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sync_core::error::{Error, ErrorKind, Result, Retry};

/// Converts an error of sled.
pub(crate) fn convert(operation: &'static str, folder: &Path, error: sled::Error) -> Error {
    classify(&error).because(error).during(operation).with("folder", folder.display())
}

fn classify(error: &sled::Error) -> Error {
    match error {
        e if is_locked(e) => Error::new(
            ErrorKind::Busy,
            "another process has the folder open, and sled allows one process: end it, or close its storage",
        ),
        sled::Error::Io(_) => {
            Error::new(ErrorKind::Storage, "the folder cannot be read or written")
        }
        sled::Error::Corruption { .. } => {
            Error::new(ErrorKind::Incompatible, "the store is damaged")
        }
        sled::Error::Unsupported(_) | sled::Error::CollectionNotFound(_) => Error::new(
            ErrorKind::Incompatible,
            "the store was made by another program, or by another version of sled",
        ),
        _ => Error::new(ErrorKind::Internal, "sled failed internally"),
    }
}

/// Returns whether the folder is locked, by the error's text: sled has no variant for it, and its
/// version is pinned.
pub(crate) fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().starts_with("could not acquire lock"))
}

/// Returns the error for damaged data.
pub(crate) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Incompatible, format!("the store is damaged: {what}"))
}

/// Returns the error for a file operation of this crate.
pub(crate) fn io(operation: &'static str, folder: &Path, error: std::io::Error) -> Error {
    let base = Error::new(ErrorKind::Storage, "the folder cannot be read or written");
    base.because(error).during(operation).with("folder", folder.display())
}

/// Returns the error of every call after a failed write: sled fail-stops, as the storage does.
pub(crate) fn stopped(error: Error) -> Error {
    let advice = "sled stopped, because a write failed; close the storage, see to the cause, and open it again";
    let kind = match error.kind() {
        ErrorKind::Incompatible => ErrorKind::Incompatible,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, advice).retrying(Retry::Never).because(error)
}

/// Calls sled, and converts a panic, as of its assertions, into an error.
pub(crate) fn contained<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(damaged("sled panicked").with("said", format!("{said:?}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: sled::Error) -> Error {
        convert("write", Path::new("app.sled"), error)
    }

    fn io(kind: std::io::ErrorKind, text: &str) -> sled::Error {
        sled::Error::Io(std::io::Error::new(kind, text.to_owned()))
    }

    #[test]
    fn an_error_says_what_failed_where_and_whether_to_retry() {
        let full = of(io(std::io::ErrorKind::StorageFull, "no space left"));
        assert_eq!((full.kind(), full.retry()), (ErrorKind::Storage, Retry::Later(None)));
        assert!(full.report().to_string().contains("(folder app.sled)"), "{full}");
        assert!(full.report().to_string().contains("no space left"), "{full}");
        let busy = of(io(std::io::ErrorKind::Other, "could not acquire lock on \"db\": EAGAIN"));
        assert_eq!((busy.kind(), busy.retry()), (ErrorKind::Busy, Retry::Later(None)));
        assert_eq!(of(sled::Error::Unsupported("x".into())).kind(), ErrorKind::Incompatible);
        assert_eq!(
            of(sled::Error::Corruption { at: None, bt: () }).kind(),
            ErrorKind::Incompatible
        );
        assert_eq!(of(sled::Error::ReportableBug("x".into())).kind(), ErrorKind::Internal);
    }

    #[test]
    fn calls_after_a_failed_write_return_its_cause_and_retry_never() {
        let error = stopped(of(io(std::io::ErrorKind::StorageFull, "no space left")));
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Storage, Retry::Never));
        assert!(error.report().to_string().contains("no space left"), "{error}");
    }

    #[test]
    fn a_panic_is_an_error() {
        let error =
            contained::<()>(|| std::panic::panic_any("an assertion".to_owned())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(error.report().to_string().contains("an assertion"), "{error}");
    }
}
