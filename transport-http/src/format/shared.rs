//! Chunks for many readers, in parts: the large part is encoded once and shared, the parts that
//! differ between readers are small.

use std::sync::Arc;

use bytes::Bytes;
use sync_core::error::Result;
use sync_core::model::Cursor;
use sync_core::protocol::FrameWriter;
use sync_server::SharedChunk;

use super::{EventWriter, Format, json, write_cursor};

/// The JSON of a chunk, to which each reader's cursor is appended.
const JSON: &str = "json";
/// The same with its lines split for an event; empty if it has no line breaks.
const EVENT: &str = "event";

/// Parts of a body or of an event, in their order.
pub type Parts = Box<dyn Iterator<Item = Bytes> + Send>;

fn open_json(shared: &Arc<SharedChunk>) -> Result<Bytes> {
    shared.encoded(JSON, |chunk| json::chunk::open(chunk).map(Bytes::from))
}

fn continued(open: Bytes, cursor: &Cursor, end: &str) -> Result<[Bytes; 2]> {
    let mut rest = json::chunk::cursor_field(cursor)?;
    rest.extend_from_slice(end.as_bytes());
    Ok([open, rest.into()])
}

/// Returns the body of an answer: the chunk, and for JSON the cursor that follows it.
///
/// # Errors
/// `Internal` if a document's body is not JSON.
pub fn chunk_body(
    shared: &Arc<SharedChunk>,
    cursor: &Cursor,
    format: Format,
) -> Result<[Bytes; 2]> {
    match format {
        Format::Frame => Ok(FrameWriter::default().parts(0, &shared.payload(None))),
        Format::Json => continued(open_json(shared)?, cursor, "}"),
    }
}

/// Returns an event that carries a chunk, with the cursor that follows it as its id.
///
/// # Errors
/// `Internal` if a document's body is not JSON.
pub fn chunk_event(
    shared: &Arc<SharedChunk>,
    cursor: &Cursor,
    writer: &mut EventWriter,
) -> Result<Parts> {
    let begin = Bytes::from(format!("event: chunk\nid: {}\ndata: ", write_cursor(cursor)));
    let begin = std::iter::once(begin);
    if writer.format() == Format::Frame {
        let end = std::iter::once(Bytes::from_static(b"\n\n"));
        return Ok(Box::new(begin.chain(writer.pieces(&shared.payload(None))).chain(end)));
    }
    let mut open = open_json(shared)?;
    let lines = shared.encoded(EVENT, |_| Ok(cut(&open)))?;
    if !lines.is_empty() {
        open = lines;
    }
    Ok(Box::new(begin.chain(continued(open, cursor, "}\n\n")?)))
}

/// Splits data at line breaks, of which there are three kinds; they occur only in white space of
/// the JSON. Returns nothing for data without one.
fn cut(data: &[u8]) -> Bytes {
    if !data.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Bytes::new();
    }
    let mut lines = Vec::with_capacity(data.len() + 64);
    let mut bytes = data.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' if bytes.peek() == Some(&b'\n') => {}
            b'\n' | b'\r' => lines.extend_from_slice(b"\ndata: "),
            byte => lines.push(byte),
        }
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_split_at_line_breaks_only() {
        assert_eq!(cut(b"[1,\r\n2,\n3,\r4]"), "[1,\ndata: 2,\ndata: 3,\ndata: 4]");
        assert_eq!(cut(b"{}"), "");
    }
}
