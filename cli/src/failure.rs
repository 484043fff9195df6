//! Failures of the program.

use std::io;
use std::process::ExitCode;

use twotide::{Error, ErrorKind};

use crate::stderr::tell;

/// Why the program ends before it has done everything.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Returns a failure of the operation, or of a document that was not found: code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// Returns a failure for wrong usage: code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// Returns a failure for an argument that cannot be used, with the reason from an error.
    pub(crate) fn argument(error: &Error) -> Self {
        Self::usage(error.report().to_string())
    }

    /// Returns a failure to write standard output. A reader that closed it, such as `head`, has
    /// read enough: the program ends with code 0 and without a message.
    pub(crate) fn unprinted(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { code: 0, message: String::new() },
            _ => Self::failed(format!("standard output cannot be written: {error}")),
        }
    }

    /// Returns `Ok` if the only failure is that the reader of standard output has closed it.
    pub(crate) fn unless_unread(self) -> Result<(), Self> {
        if self.code == 0 { Ok(()) } else { Err(self) }
    }

    /// Puts a context before the message.
    pub(crate) fn about(mut self, what: impl std::fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Returns the message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints the message to standard error, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.code != 0 {
            tell(format_args!("twotide: {}", self.message));
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match error.kind() {
            ErrorKind::Unauthenticated => {
                " (give the token with --token, --token-file or TWOTIDE_TOKEN)"
            }
            _ => "",
        };
        Self::failed(format!("{}{hint}", error.report()))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(error.to_string())
    }
}
