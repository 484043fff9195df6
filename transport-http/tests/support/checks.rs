//! Checks of input over HTTP that must hold for any bytes. `fuzz/` runs these with libFuzzer;
//! `tests/fuzz.rs` with damaged input.

use std::fmt::Debug;

use bytes::Bytes;
use sync_core::error::ErrorKind;
use sync_core::model::{PushBatch, Reset, Scope, Verdicts};
use sync_core::protocol::{Ack, Hello, Pull, Welcome, WireError};
use transport_http::format::{
    Changes, Content, EventReader, EventWriter, Format, Glance, entity_tag, error_of,
    has_entity_tag, read_cursor, write_cursor,
};

#[path = "../../src/client/events.rs"]
mod events;

use events::Item;

/// Checks that a body is the same after it was read, written and read again, that an invalid one is
/// refused with the right kind of error, and that one for the scope of an address is of that scope.
fn survives<T: Content + Clone + Debug + PartialEq>(format: Format, bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    match format.decode::<T>(bytes.clone()) {
        Ok(content) => {
            let again = format.encode(content.clone()).and_then(|bytes| format.decode::<T>(bytes));
            assert_eq!(again.as_ref().ok(), Some(&content), "{again:?}");
            // JSON and frames have the same content, except for the cursor of a chunk, which only
            // JSON has.
            let frame =
                Format::Frame.encode(content).and_then(|bytes| Format::Frame.decode::<T>(bytes));
            assert!(frame.is_ok(), "{frame:?}");
        }
        Err(error) => {
            let told = [ErrorKind::InvalidInput, ErrorKind::Protocol];
            assert!(told.contains(&error.kind()), "{error}");
        }
    }
    if let Ok(scope) = Scope::new("room")
        && let Ok(content) = format.decode_for::<T>(bytes, &scope)
    {
        assert!(content.scope().is_none_or(|own| *own == scope), "another scope: {content:?}");
    }
}

/// Checks the body of a request or an answer: the first byte selects the format and the type
/// (modulo their number), the rest is the body.
///
/// # Panics
/// If a body is not the same after it was written, or an error is of another kind than documented.
pub fn content(bytes: &[u8]) {
    let checks: [fn(Format, &[u8]); 9] = [
        survives::<Hello>,
        survives::<Welcome>,
        survives::<Pull>,
        survives::<PushBatch>,
        survives::<Ack>,
        survives::<Verdicts>,
        survives::<Reset>,
        survives::<Changes>,
        survives::<WireError>,
    ];
    let Some((choice, rest)) = bytes.split_first() else { return };
    let format = if choice & 0x80 == 0 { Format::Json } else { Format::Frame };
    checks[usize::from(choice & 0x7f) % checks.len()](format, rest);
    if let Ok(glance) = serde_json::from_slice::<Glance>(rest) {
        let again = serde_json::to_vec(&glance).ok();
        assert_eq!(again.and_then(|a| serde_json::from_slice::<Glance>(&a).ok()), Some(glance));
    }
}

/// Checks a cursor in an address, and headers: each is read from the text. Invalid UTF-8 is
/// replaced in it.
///
/// # Panics
/// If a cursor changes when it is written, or is read from two texts.
pub fn address(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match read_cursor(&text) {
        Ok(cursor) if text.is_empty() => {
            assert_eq!(read_cursor(&write_cursor(&cursor)).ok(), Some(cursor))
        }
        Ok(cursor) => assert_eq!(write_cursor(&cursor), text),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
    }
    let tag = entity_tag(sync_core::model::Epoch([7; 16]), sync_core::model::Seq(7));
    assert!(has_entity_tag(&format!("{tag},{text}"), &tag), "a tag before {text:?} was not found");
    let format = Format::of_content_type(&text);
    let error = error_of(503, format, &Bytes::copy_from_slice(bytes), Some(&text));
    assert_ne!(error.retry(), sync_core::error::Retry::Reconnect, "{error}");
}

/// Checks the events of a stream by the data of one: a line with the name, and the rest is the
/// data.
///
/// # Panics
/// If an event changes when it is written, or an error is of another kind than documented.
pub fn event(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (name, data) = text.split_once('\n').unwrap_or((&text, ""));
    for format in [Format::Json, Format::Frame] {
        match EventReader::new(format, 1 << 16).event(name, data) {
            Ok(Some(event)) => {
                assert_eq!(event.name(), name);
                let data = EventWriter::new(format).data(event.clone());
                let data = data.unwrap_or_default();
                let again = EventReader::new(format, usize::MAX).event(name, &data);
                assert_eq!(again.ok().flatten(), Some(event));
            }
            Ok(None) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Protocol, "{error}"),
        }
    }
}

/// The largest event that [`lines`] accepts.
const MOST: usize = 1 << 10;

fn read(parts: &mut dyn Iterator<Item = &[u8]>) -> Result<Vec<Item>, Vec<Item>> {
    let (mut reader, mut items) = (events::EventReader::new(MOST), Vec::new());
    for part in parts {
        let mut part = Bytes::copy_from_slice(part);
        loop {
            match reader.next(&mut part) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
                    return Err(items);
                }
            }
        }
        assert!(part.is_empty(), "{} bytes were left", part.len());
    }
    Ok(items)
}

/// Checks the bytes of a stream of server-sent events.
///
/// # Panics
/// If the result depends on where the stream is cut, or an event is over the limit.
pub fn lines(bytes: &[u8]) {
    let whole = read(&mut std::iter::once(bytes));
    assert_eq!(whole, read(&mut bytes.chunks(1)), "cut after every byte");
    assert_eq!(whole, read(&mut bytes.chunks(7)), "cut after every seventh byte");
    for item in whole.unwrap_or_else(|items| items) {
        if let Item::Event { name, data } = item {
            assert!(name == "message" || name.len() + data.len() <= MOST, "{} bytes", data.len());
        }
    }
}
