//! Output on standard output, and messages on standard error.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;
use serde_json::value::RawValue;
use twotide::backend::model::{Body, Revision};
use twotide::backend::replica::Stored;

use crate::failure::Failure;

/// A document as a line.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) collection: &'a str,
    pub(crate) id: &'a str,
    pub(crate) revision: Revision,
    pub(crate) body: Box<RawValue>,
}

impl<'a> Line<'a> {
    pub(crate) fn of(stored: &'a Stored) -> Result<Self, Failure> {
        let body = stored.state.body.as_ref();
        Ok(Self {
            collection: stored.key.collection.as_str(),
            id: stored.key.id.as_str(),
            revision: stored.state.revision,
            body: one_line(body)?,
        })
    }
}

/// Returns the body as it was written, without line breaks: they have no meaning between tokens,
/// and JSON has none in strings.
pub(crate) fn one_line(body: Option<&Body>) -> Result<Box<RawValue>, Failure> {
    let text = body.map_or("null", Body::as_str).replace(['\n', '\r'], " ");
    Ok(RawValue::from_string(text)?)
}

/// Prints one line of JSON.
pub(crate) fn print(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    print_to(&mut out, value)?;
    out.flush().map_err(|e| Failure::unprinted(&e))
}

/// Prints one line of JSON about a completed operation. If the line cannot be printed, the failure
/// names the operation, which stays done.
pub(crate) fn print_done(done: impl Display, value: &impl Serialize) -> Result<(), Failure> {
    print(value).map_err(|failure| failure.about(done))
}

/// Writes one line of JSON to standard output, or to a buffer in front of it.
pub(crate) fn print_to(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line).map_err(|e| Failure::unprinted(&e))
}
