//! Round trips of every message in both formats, and invalid messages.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/arbitrary.rs"]
#[allow(unreachable_pub, reason = "a module of a test")]
mod arbitrary;

use std::fmt::Debug;

use arbitrary as any;
use bytes::Bytes;
use proptest::prelude::*;
use sync_core::error::ErrorKind;
use sync_core::model::{Body, PushBatch, PushId, ReplicaId, Reset, Scope, Stamp, Verdicts};
use sync_core::protocol::{Ack, Hello, Pull, Welcome, WireError};
use transport_http::format::{
    Changes, Content, Continued, EventReader, EventWriter, Format, StreamEvent, read_cursor,
    write_cursor,
};

const FORMATS: [Format; 2] = [Format::Frame, Format::Json];

fn survives<T: Content + Clone + Debug + PartialEq>(content: T) {
    for format in FORMATS {
        let bytes = format.encode(content.clone()).unwrap();
        assert_eq!(format.decode::<T>(bytes).unwrap(), content, "{format:?}");
    }
}

proptest! {
    #[test]
    fn messages_are_read_as_written(
        hello in any::hello(),
        welcome in any::welcome(),
        pull in any::pull(),
        batch in any::batch(),
        ack in any::ack(),
        verdicts in any::verdicts(),
        reset in any::reset(),
        error in any::error(),
    ) {
        survives(hello);
        survives(welcome);
        survives(pull);
        survives(batch);
        survives(ack);
        survives(verdicts);
        survives(reset);
        survives(Changes::Reset(reset));
        survives(error);
    }

    #[test]
    fn a_chunk_survives_and_in_json_its_cursor_too(chunk in any::chunk(), cursor in any::cursor()) {
        for format in FORMATS {
            let told = Some(cursor.clone()).filter(|_| format == Format::Json);
            for cursor in [Some(cursor.clone()), None] {
                let chunk = chunk.clone();
                let written = Changes::Chunk(Box::new(Continued { chunk: chunk.clone(), cursor }));
                let bytes = format.encode(written.clone()).unwrap();
                let Changes::Chunk(read) = format.decode(bytes).unwrap() else { panic!("a reset") };
                prop_assert_eq!(&read.chunk, &chunk);
                let Changes::Chunk(written) = written else { panic!("a reset") };
                prop_assert_eq!(read.cursor, written.cursor.and(told.clone()));
            }
        }
    }

    #[test]
    fn a_cursor_survives_its_text(cursor in any::cursor()) {
        let text = write_cursor(&cursor);
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        prop_assert_eq!(read_cursor(&text).unwrap(), cursor);
    }

    #[test]
    fn the_events_of_a_stream_survive_in_their_order(
        resets in proptest::collection::vec(any::reset(), 0..3),
        error in any::error(),
    ) {
        for format in FORMATS {
            let mut events: Vec<_> =
                resets.iter().map(|r| StreamEvent::Changes(Changes::Reset(*r))).collect();
            events.push(StreamEvent::Gone(error.clone()));
            events.push(StreamEvent::Failed(error.clone()));
            let mut writer = EventWriter::new(format);
            let mut reader = EventReader::new(format, 1 << 20);
            for event in events {
                let data = writer.data(event.clone()).unwrap();
                prop_assert_eq!(reader.event(event.name(), &data).unwrap(), Some(event));
            }
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        everything(&bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = read_cursor(text);
        }
    }

    #[test]
    fn no_damage_makes_a_decoder_panic(
        batch in any::batch(),
        chunk in any::chunk(),
        verdicts in any::verdicts(),
        at: prop::sample::Index,
        with in "[\\[\\]{}:,\"0-9a-z\\\\]{0,3}",
    ) {
        let changes = Changes::Chunk(Box::new(Continued { chunk, cursor: None }));
        for format in FORMATS {
            for bytes in [
                format.encode(batch.clone()).unwrap(),
                format.encode(changes.clone()).unwrap(),
                format.encode(verdicts.clone()).unwrap(),
            ] {
                let mut bytes = bytes.to_vec();
                let at = at.index(bytes.len());
                bytes.splice(at..=at, with.bytes());
                everything(&bytes);
            }
        }
    }
}

fn everything(bytes: &[u8]) {
    fn try_it<T: Content>(bytes: &[u8]) {
        for format in FORMATS {
            let _ = format.decode::<T>(Bytes::copy_from_slice(bytes));
        }
    }
    try_it::<Hello>(bytes);
    try_it::<Welcome>(bytes);
    try_it::<Pull>(bytes);
    try_it::<PushBatch>(bytes);
    try_it::<Ack>(bytes);
    try_it::<Verdicts>(bytes);
    try_it::<Reset>(bytes);
    try_it::<Changes>(bytes);
    try_it::<WireError>(bytes);
    let _ = read_cursor(&String::from_utf8_lossy(bytes));
}

fn push(json: &str) -> sync_core::error::Result<PushBatch> {
    let scope = Scope::new("room").unwrap();
    Format::Json.decode_for(Bytes::copy_from_slice(json.as_bytes()), &scope)
}

const REPLICA: &str = "07070707070707070707070707070707";

#[test]
fn a_push_written_by_hand_needs_few_members() {
    let json = r#"{"replica":"R","id":1,"changes":[
        {"collection":"notes","id":"n1","body":{"text": 1.50}},
        {"collection":"notes","id":"n2"},
        {"collection":"notes","id":"n3","body":null}]}"#
        .replace('R', REPLICA);
    let batch = push(&json).unwrap();
    assert_eq!(batch.scope.as_str(), "room");
    assert_eq!((batch.replica, batch.id), (ReplicaId([7; 16]), PushId(1)));
    let [insert, delete, null] = &batch.changes[..] else { panic!("{batch:?}") };
    assert_eq!(insert.state.body.as_ref().unwrap().as_str(), r#"{"text": 1.50}"#);
    assert_eq!(insert.state.revision.stamp, Stamp::ZERO);
    assert_eq!(insert.state.revision.replica, batch.replica);
    assert!(delete.state.is_deleted());
    assert_eq!(null.state.body, Some(Body::parse("null").unwrap()));
    assert_eq!(push(&json).unwrap(), batch, "what is left out is the same each time");
}

#[test]
fn errors_of_a_request_name_the_place() {
    let change = |more: &str| {
        format!(
            r#"{{"replica":"{REPLICA}","id":1,"changes":[{{"collection":"c","id":"d"{more}}}]}}"#
        )
    };
    for (json, what) in [
        ("{".to_owned(), "EOF while parsing an object at line 1 column 1"),
        (change(r#","bodi":1"#), "unknown field `bodi`"),
        (change(r#","id":"e""#), "duplicate field `id`"),
        (change(r#","body":1,"deleted":true"#), "change 0 (counted from 0): it is deleted, and"),
        (change(r#","deleted":false"#), "it is not deleted, and it has no body"),
        (change(r#","revision":"x""#), "not a valid revision"),
        (change(r#","body":nul"#), "expected ident at line 1 column"),
        (
            change(r#","base":{"revision":"0192f3c4a5b6-0001-07070707070707070707070707070707"}"#),
            "missing field `epoch` at line 1 column",
        ),
        (change("").replace("\"c\"", "\"\""), "not a valid collection: it is empty"),
        (change("").replace(":1,", ":-1,"), "invalid value: integer `-1`"),
        (change("").replace(":1,", ":\"1\","), "invalid type: string \"1\", expected u64"),
        (change("").replace(REPLICA, "ab"), "not a valid replica id"),
        (change("").replace("{\"replica", "{\"scope\":\"other\",\"replica"), "about the scope"),
        (change("") + "x", "trailing characters"),
    ] {
        let error = push(&json).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{json}");
        assert!(error.message().contains(what), "{json}: {}", error.message());
    }
    let pull = |json: &str| Format::Json.decode::<Pull>(Bytes::copy_from_slice(json.as_bytes()));
    let error = pull(r#"{"scope":"s","cursor":"AA=="}"#).unwrap_err();
    assert!(error.message().contains("no cursor: Invalid"), "{error}");
    assert!(pull("{}").unwrap_err().message().contains("names no scope"));
}

#[test]
fn members_of_a_later_version_are_ignored_in_answers() {
    let bytes = Bytes::from_static(br#"{"outcome":"stale","hint":{"a":[1]}}"#);
    assert_eq!(Format::Json.decode::<Verdicts>(bytes).unwrap(), Verdicts::Stale);
    let bytes = Bytes::from_static(br#"{"kind":"tired","message":"m","retry":"never","x":0}"#);
    assert_eq!(Format::Json.decode::<WireError>(bytes).unwrap().kind, ErrorKind::Internal);
}

#[test]
fn a_changed_frame_or_one_with_other_content_is_refused() {
    let frame = Format::Frame.encode(Verdicts::Stale).unwrap();
    assert!(Format::Frame.decode::<Reset>(frame.clone()).is_err());
    for at in 0..frame.len() {
        let mut changed = frame.to_vec();
        changed[at] ^= 1;
        let error = Format::Frame.decode::<Verdicts>(changed.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
}

#[test]
fn a_missing_or_duplicated_event_is_detected_in_frames() {
    let event = || {
        StreamEvent::Changes(Changes::Reset(Reset {
            epoch: sync_core::model::Epoch([1; 16]),
            reason: sync_core::model::ResetReason::Requested,
        }))
    };
    let mut writer = EventWriter::new(Format::Frame);
    let (first, second) = (writer.data(event()).unwrap(), writer.data(event()).unwrap());
    let mut reader = EventReader::new(Format::Frame, 1 << 10);
    assert!(reader.event("reset", &second).is_err());
    assert!(reader.event("reset", &first).unwrap().is_some());
    assert!(reader.event("reset", &first).is_err());
    assert_eq!(reader.event("news", "nothing of ours").unwrap(), None);
    assert!(reader.event("chunk", &second).is_err(), "the name promises something else");
}
