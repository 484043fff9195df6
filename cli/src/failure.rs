//! How the program fails.

use std::io;
use std::process::ExitCode;

use twotide::{Error, ErrorKind};

use crate::output::tell;

/// Why the program ends before it did everything.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// What was asked failed, or was not found.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// It was asked the wrong way.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// An argument cannot be used, for the reason that an error gives.
    pub(crate) fn argument(error: &Error) -> Self {
        Self::usage(error.report().to_string())
    }

    /// Standard output cannot be written. A reader that closed it, such as `head`, has read enough:
    /// the program ends with code 0 and says nothing.
    pub(crate) fn unprinted(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { code: 0, message: String::new() },
            _ => Self::failed(format!("standard output cannot be written: {error}")),
        }
    }

    /// Nothing, if all that failed is that the reader of standard output has read enough.
    pub(crate) fn unless_unread(self) -> Result<(), Self> {
        if self.code == 0 { Ok(()) } else { Err(self) }
    }

    /// Says what more is to be known.
    pub(crate) fn about(mut self, what: impl std::fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What went wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Tells it on standard error, and gives the code.
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
