//! Messages on standard error.

use std::fmt::Display;
use std::io::Write;

/// Prints a message for people to standard error. The program continues if that is closed.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
