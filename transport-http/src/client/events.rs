//! A parser of server-sent events, incremental over arbitrary pieces of input.

use bytes::{Buf, Bytes};
use sync_core::error::{Error, ErrorKind, Result};

/// One parsed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A comment or another line without data, which shows that the server is alive.
    Comment,
    /// An event.
    Event {
        /// The name of the event; `message` if the server gave none.
        name: String,
        /// With a line feed between its lines.
        data: String,
    },
}

/// Parses the lines of a stream. Its memory is bounded by the largest event.
#[derive(Debug)]
pub(super) struct EventReader {
    max: usize,
    line: Vec<u8>,
    /// Whether the last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
    is_first_line: bool,
    name: String,
    data: String,
    has_data: bool,
}

const BOM: &[u8] = b"\xef\xbb\xbf";

fn wrong(what: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, what).during("read a stream of events")
}

impl EventReader {
    /// Creates a reader at the beginning of a stream, which accepts events up to that many bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            line: Vec::new(),
            after_return: false,
            is_first_line: true,
            name: String::new(),
            data: String::new(),
            has_data: false,
        }
    }

    /// Consumes bytes from the front of `input` until an item is complete; none once all are
    /// consumed.
    ///
    /// # Errors
    /// `Protocol` for an event over the limit, and for input that is not UTF-8.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Item>> {
        while !input.is_empty() {
            if std::mem::take(&mut self.after_return) && input[0] == b'\n' {
                input.advance(1);
                continue;
            }
            let end = input.iter().position(|b| matches!(b, b'\r' | b'\n'));
            let taken = end.unwrap_or(input.len());
            if self.held() + taken > self.max {
                return Err(wrong("an event is over the limit").with("limit", self.max));
            }
            self.line.extend_from_slice(&input[..taken]);
            input.advance(taken);
            if end.is_none() {
                return Ok(None);
            }
            self.after_return = input[0] == b'\r';
            input.advance(1);
            if let Some(item) = self.end_line()? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn held(&self) -> usize {
        self.line.len() + self.data.len() + self.name.len()
    }

    fn end_line(&mut self) -> Result<Option<Item>> {
        let line = std::mem::take(&mut self.line);
        let is_first = std::mem::take(&mut self.is_first_line);
        let line = if is_first { line.strip_prefix(BOM).unwrap_or(&line) } else { &line };
        let line = std::str::from_utf8(line).map_err(|e| wrong("not UTF-8").because(e))?;
        if line.is_empty() {
            return Ok(self.end_event());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Ok(Some(Item::Comment)),
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // `id` repeats a part of the chunk, and `retry` is ignored: the ladder sets the delays.
            _ => {}
        }
        Ok(None)
    }

    /// Ends an event at an empty line. An event without data is ignored.
    fn end_event(&mut self) -> Option<Item> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        let name = if name.is_empty() { "message".to_owned() } else { name };
        std::mem::take(&mut self.has_data).then_some(Item::Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_with(max: usize, parts: &[&[u8]]) -> Result<Vec<Item>> {
        let (mut reader, mut items) = (EventReader::new(max), Vec::new());
        for part in parts {
            let mut part = Bytes::copy_from_slice(part);
            while let Some(item) = reader.next(&mut part)? {
                items.push(item);
            }
            assert!(part.is_empty());
        }
        Ok(items)
    }

    fn read(text: &str) -> Vec<Item> {
        read_with(1_000, &[text.as_bytes()]).unwrap()
    }

    fn event(name: &str, data: &str) -> Item {
        Item::Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn lines_end_in_any_of_the_three_ways() {
        for end in ["\n", "\r\n", "\r"] {
            let text =
                ": hello\nevent: chunk\ndata: 1\ndata:2\nid: x\n\ndata\n\n".replace('\n', end);
            let all = [Item::Comment, event("chunk", "1\n2"), event("message", "")];
            assert_eq!(read(&text), all, "{end:?}");
        }
    }

    #[test]
    fn only_one_space_and_only_the_first_mark_are_removed() {
        assert_eq!(read("\u{feff}data:  a: b\n\n"), [event("message", " a: b")]);
        assert_eq!(read("data: 1\n\n\u{feff}data: 2\n\n"), [event("message", "1")]);
    }

    #[test]
    fn an_event_without_data_or_without_an_end_is_ignored() {
        assert_eq!(read("event: chunk\nid: 7\nretry: 9\nnonsense\n\ndata: 1\n"), []);
        assert_eq!(read("event: reset\n\ndata: 1\n\n"), [event("message", "1")]);
    }

    #[test]
    fn too_long_events_and_invalid_text_are_refused() {
        let long = format!("data: {}\n\n", "x".repeat(40));
        assert!(read_with(50, &[long.as_bytes()]).is_ok());
        for (max, parts) in [
            (45, vec![long.as_bytes()]),
            // Neither an endless line nor endless lines may exhaust the memory.
            (50, vec![b"data: xxxxxxxxxxxxxx".as_slice(); 4]),
            (50, vec![b"data: xxxxxxxxxxxxxx\n".as_slice(); 4]),
            (50, vec![b"data: \xff\xfe\n".as_slice()]),
        ] {
            assert!(read_with(max, &parts).is_err(), "{parts:?}");
        }
        // Comments are not kept.
        assert_eq!(read_with(50, &[b": xxxxxxxxxxxxxx\n".as_slice(); 40]).unwrap().len(), 40);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_stream_is_cut(
            pieces in proptest::collection::vec("(data: [a-z]{0,5}|event: [a-z]{1,3}|:|)(\r\n|\n|\r)", 0..12),
            cuts in proptest::collection::vec(1usize..6, 0..80),
        ) {
            let text = pieces.concat();
            let (mut rest, mut parts) = (text.as_bytes(), Vec::new());
            for cut in cuts {
                let (part, tail) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = tail;
            }
            parts.push(rest);
            prop_assert_eq!(read_with(1_000, &parts).unwrap(), read(&text));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_with(64, &[&bytes]);
        }
    }
}
