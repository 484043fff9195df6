//! What goes to standard output.

use std::io::Write;

use serde::Serialize;
use serde_json::value::RawValue;
use twotide::core::model::{Body, Revision};
use twotide::core::replica::Stored;

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

/// The body as it was written, without line breaks: between tokens they mean nothing, and inside of strings JSON has none.
pub(crate) fn one_line(body: Option<&Body>) -> Result<Box<RawValue>, Failure> {
    let text = body.map_or("null", Body::as_str).replace(['\n', '\r'], " ");
    Ok(RawValue::from_string(text)?)
}

/// Prints one line of JSON. A reader that has gone away ends the program like any other failure.
pub(crate) fn print(value: &impl Serialize) -> Result<(), Failure> {
    print_to(&mut std::io::stdout().lock(), value)
}

/// Writes one line of JSON.
pub(crate) fn print_to(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line).and_then(|()| out.flush())?;
    Ok(())
}
