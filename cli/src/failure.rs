//! How the program fails.

use std::process::ExitCode;

use twotide::{Error, ErrorKind};

/// Why the program ends with another code than 0.
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

    /// Says what more is to be known.
    pub(crate) fn about(mut self, what: impl std::fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What went wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Tells people, and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("twotide: {}", self.message);
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
        Self::failed(format!("{error}{hint}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(error.to_string())
    }
}
