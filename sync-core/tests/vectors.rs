//! The golden vectors in `spec/vectors`: every message in its exact bytes, for this codec and for
//! any other.
//!
//! The values are built here. `UPDATE_VECTORS=1 cargo test -p sync-core --test vectors` writes the
//! files again; a change of the files is a change of the protocol.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use sync_core::codec::Codec;
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{
    BaseRef, Body, Change, Chunk, Collection, Cursor, Digest, DocumentId, DocumentState, Epoch,
    Limits, LogEntry, LogKey, LogMark, LogRun, OWN_BODY_BYTES, PushBatch, PushId, Rejection,
    RejectionCode, ReplicaId, Reset, ResetReason, Revision, Scope, Seq, ServerStart, ServerState,
    Stamp, Verdict, VerdictKind, Verdicts,
};
use sync_core::protocol::{
    Ack, FrameReader, FrameWriter, Goodbye, Greeting, Hello, Message, Payload, Pull, Push,
    ScopeWelcome, Welcome, WireError,
};

const EPOCH: Epoch = Epoch([0xe0; 16]);
const NEXT_EPOCH: Epoch = Epoch([0xe1; 16]);
const LAPTOP: ReplicaId = ReplicaId([0xa1; 16]);
const PHONE: ReplicaId = ReplicaId([0xb2; 16]);

fn scope() -> Scope {
    Scope::new("room 7").unwrap()
}

fn notes() -> Collection {
    Collection::new("notes").unwrap()
}

fn id(text: &str) -> DocumentId {
    DocumentId::new(text).unwrap()
}

fn revision(millis: u64, counter: u16, replica: ReplicaId) -> Revision {
    Revision { stamp: Stamp::new(millis, counter), replica }
}

/// As written by a user: author and revision are the same.
fn written(revision: Revision, body: &'static str) -> DocumentState {
    DocumentState {
        revision,
        author: revision,
        created: Stamp::new(0x0192_f3c4_a000, 0),
        body: Some(Body::parse(body).unwrap()),
        erased: None,
    }
}

fn tombstone(revision: Revision) -> DocumentState {
    DocumentState { body: None, ..written(revision, "null") }
}

/// An old edit that a resolver let win: the revision is new, the author is not.
fn won_again(revision: Revision, author: Revision, body: &'static str) -> DocumentState {
    DocumentState { author, ..written(revision, body) }
}

/// Written with knowledge that the document was erased by that revision.
fn since(state: DocumentState, erased: Revision) -> DocumentState {
    DocumentState { erased: Some(erased), ..state }
}

/// Two runs of a log, the second of which ends there.
fn mark(at: u64) -> LogMark {
    let run = |start, first, last| LogRun {
        start: ServerStart(start),
        first: Seq(first),
        last: Seq(last),
    };
    let runs = vec![run(0x1122_3344_5566_7788, 1, 199), run(u64::MAX, 200, at)];
    LogMark::sign(EPOCH, runs, &LogKey([0x4b; 16]))
}

/// A cursor in the middle of a full pull, with a collection that was added later.
fn cursor() -> Cursor {
    Cursor {
        epoch: Some(EPOCH),
        after: Seq(5),
        position: Seq(300),
        backfills: BTreeMap::from([
            (Collection::new("labels").unwrap(), Seq(5)),
            (Collection::new("überlauf").unwrap(), Seq(127)),
        ]),
        floor: Some(Seq(1_000)),
        mark: Some(mark(300)),
        ..Cursor::default()
    }
}

/// A state that a replica pushed, in the chunk for that replica.
fn own_chunk() -> Chunk {
    let entry = LogEntry {
        seq: Seq(301),
        collection: notes(),
        id: id("own"),
        state: written(
            revision(0x0192_f3c4_a000, 1, LAPTOP),
            r#"{"text":"long enough to be left out"}"#,
        ),
    };
    let chunk = Chunk {
        scope: scope(),
        epoch: EPOCH,
        after: Seq(300),
        next: Seq(301),
        head: Seq(301),
        horizon: Seq(128),
        mark: None,
        covers: None,
        entries: vec![entry],
        left_out: Default::default(),
        bookmarks: None,
    };
    chunk.without_own(LAPTOP, OWN_BODY_BYTES).unwrap()
}

fn verdict(seq: u64, kind: VerdictKind, current: Option<ServerState>) -> Verdict {
    Verdict { seq: Seq(seq), kind, current }
}

fn rejected(code: RejectionCode, reason: &str) -> VerdictKind {
    VerdictKind::Rejected(Rejection { code, reason: reason.to_owned() })
}

fn messages() -> Vec<(&'static str, &'static str, Message)> {
    let a1 = revision(0x0192_f3c4_a5b6, 1, LAPTOP);
    let b1 = revision(0x0192_f3c4_a5b7, 0, PHONE);
    let a2 = revision(0x0192_f3c4_ffff, u16::MAX, LAPTOP);
    let pull = Pull {
        scope: scope(),
        cursor: cursor(),
        limits: Limits { documents: 1_000, bytes: 4 << 20 },
    };
    let first_pull = Pull {
        scope: Scope::default(),
        cursor: Cursor::default(),
        limits: Limits { documents: 1, bytes: 127 },
    };
    let reset = |reason| Message::Reset(Reset { epoch: NEXT_EPOCH, reason });
    let failed = |kind, retry| {
        let message = "come back".to_owned();
        Message::Failed(WireError { kind, message, retry })
    };
    vec![
        (
            "hello",
            "A replica that syncs two scopes, one of them for the first time.",
            Message::Hello(Hello {
                versions: vec![1, 300],
                replica: LAPTOP,
                token: Some("secret".to_owned()),
                compressions: vec!["zstd".to_owned(), "lz4".to_owned()],
                schema: 3,
                agent: "twotide/0.1 (test)".to_owned(),
                scopes: vec![
                    Greeting { scope: scope(), cursor: cursor(), digest: Some(Digest(7 << 64)) },
                    Greeting { scope: Scope::default(), cursor: Cursor::default(), digest: None },
                ],
            }),
        ),
        (
            "hello-least",
            "The shortest greeting.",
            Message::Hello(Hello {
                versions: vec![1],
                replica: PHONE,
                token: None,
                compressions: Vec::new(),
                schema: 0,
                agent: String::new(),
                scopes: Vec::new(),
            }),
        ),
        (
            "welcome",
            "One scope is fine, one has to begin from a cut.",
            Message::Welcome(Welcome {
                version: 1,
                server_time: 0x0192_f3c4_a5b6,
                push_limits: Limits { documents: 1_000, bytes: 4 << 20 },
                chunk_limits: Limits { documents: 2_000, bytes: 8 << 20 },
                body_bytes: 1 << 20,
                heartbeat: 30_000,
                compression: Some("zstd".to_owned()),
                scopes: vec![
                    ScopeWelcome {
                        scope: scope(),
                        epoch: EPOCH,
                        head: Seq(300),
                        horizon: Seq(128),
                        last_push: PushId(16_384),
                        reset: None,
                    },
                    ScopeWelcome {
                        scope: Scope::default(),
                        epoch: NEXT_EPOCH,
                        head: Seq(60),
                        horizon: Seq(0),
                        last_push: PushId(0),
                        reset: Some(Reset {
                            epoch: NEXT_EPOCH,
                            reason: ResetReason::EpochChanged { cut: Seq(60) },
                        }),
                    },
                ],
            }),
        ),
        (
            "pull",
            "A cursor with back-fills, a full pull under way, and server starts.",
            Message::Pull(pull.clone()),
        ),
        ("pull-first", "A replica that never pulled.", Message::Pull(first_pull)),
        (
            "pull-chosen",
            "At the head with two collections, of which one was added later.",
            Message::Pull(Pull {
                scope: scope(),
                cursor: Cursor {
                    epoch: Some(EPOCH),
                    after: Seq(0),
                    position: Seq(300),
                    backfills: [(Collection::new("labels").unwrap(), Seq(0))].into(),
                    collections: Some([notes(), Collection::new("labels").unwrap()].into()),
                    has_own: true,
                    ..Cursor::default()
                },
                limits: Limits::CHUNK,
            }),
        ),
        ("live", "The same request, for all chunks that follow.", Message::Live(pull)),
        ("credit", "Two more chunks.", Message::Credit(2)),
        ("credit-most", "As many as a number can say.", Message::Credit(u32::MAX)),
        ("end-live", "No more of this stream.", Message::EndLive),
        (
            "push-erased",
            "An erasure of a state that was settled.",
            Message::Push(Push {
                batch: PushBatch {
                    scope: Scope::default(),
                    replica: LAPTOP,
                    id: PushId(18),
                    changes: vec![Change {
                        collection: notes(),
                        id: id("erased"),
                        base: Some(BaseRef {
                            revision: b1,
                            epoch: EPOCH,
                            seq: Seq(299),
                            tombstone: true,
                        }),
                        base_body: None,
                        state: since(tombstone(a2), a2),
                    }],
                    recall: None,
                    mark: Some(mark(300)),
                },
            }),
        ),
        (
            "push",
            "An insert with an id outside ASCII, an edit with its base and the base's body, a deletion of a state that was \
             settled in an earlier epoch, a re-offer of a state that a restored server has lost, and an edit that a \
             resolver let win again.",
            Message::Push(Push {
                batch: PushBatch {
                    scope: scope(),
                    replica: LAPTOP,
                    id: PushId(17),
                    recall: None,
                    mark: None,
                    changes: vec![
                        Change {
                            collection: notes(),
                            id: id("日本語 🌊"),
                            base: None,
                            base_body: None,
                            state: written(a1, r#"{"text":"grüße","n":12345678901234567890.10}"#),
                        },
                        Change {
                            collection: notes(),
                            id: id("edited"),
                            base: Some(BaseRef {
                                revision: b1,
                                epoch: EPOCH,
                                seq: Seq(299),
                                tombstone: false,
                            }),
                            base_body: Some(Body::parse("[1]").unwrap()),
                            state: written(a2, "[1,2]"),
                        },
                        Change {
                            collection: Collection::new("labels").unwrap(),
                            id: id("deleted"),
                            base: Some(BaseRef {
                                revision: b1,
                                epoch: NEXT_EPOCH,
                                seq: Seq(1),
                                tombstone: true,
                            }),
                            base_body: None,
                            state: tombstone(a2),
                        },
                        Change {
                            collection: Collection::new("labels").unwrap(),
                            id: id("offered again"),
                            base: Some(BaseRef {
                                revision: b1,
                                epoch: EPOCH,
                                seq: Seq(61),
                                tombstone: false,
                            }),
                            base_body: None,
                            state: written(b1, "true"),
                        },
                        Change {
                            collection: notes(),
                            id: id("won"),
                            base: None,
                            base_body: None,
                            state: won_again(a2, a1, "0"),
                        },
                    ],
                },
            }),
        ),
        (
            "ack",
            "A position, and the digest of what is there.",
            Message::Ack(Ack {
                scope: scope(),
                epoch: EPOCH,
                seq: Seq(300),
                digest: Some(Digest(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)),
                mark: Some(mark(300)),
            }),
        ),
        (
            "ack-unsettled",
            "A position of a replica with edits of its own.",
            Message::Ack(Ack {
                scope: scope(),
                epoch: EPOCH,
                seq: Seq(0),
                digest: None,
                mark: None,
            }),
        ),
        ("auth", "Another token.", Message::Auth("another secret".to_owned())),
        (
            "chunk",
            "Entries of two collections, among them a tombstone, a state whose author is not its revision, and an id \
             outside ASCII. More follows.",
            Message::Chunk(Chunk {
                scope: scope(),
                epoch: EPOCH,
                after: Seq(5),
                next: Seq(299),
                head: Seq(300),
                horizon: Seq(128),
                mark: Some(mark(299)),
                covers: Some(BTreeSet::from([notes(), Collection::new("labels").unwrap()])),
                entries: vec![
                    LogEntry {
                        seq: Seq(6),
                        collection: notes(),
                        id: id("日本語 🌊"),
                        state: written(a1, r#"{"text":"grüße"}"#),
                    },
                    LogEntry {
                        seq: Seq(128),
                        collection: notes(),
                        id: id("won"),
                        state: won_again(a2, b1, "[]"),
                    },
                    LogEntry {
                        seq: Seq(299),
                        collection: Collection::new("labels").unwrap(),
                        id: id("deleted"),
                        state: tombstone(b1),
                    },
                ],
                left_out: Default::default(),
                bookmarks: None,
            }),
        ),
        (
            "chunk-erased",
            "An erased tombstone, a deletion of a document that was erased before, and one that was written again after it.",
            Message::Chunk(Chunk {
                scope: scope(),
                epoch: EPOCH,
                after: Seq(299),
                next: Seq(302),
                head: Seq(302),
                horizon: Seq(128),
                mark: None,
                covers: None,
                entries: vec![
                    LogEntry {
                        seq: Seq(300),
                        collection: notes(),
                        id: id("erased"),
                        state: since(tombstone(b1), b1),
                    },
                    LogEntry {
                        seq: Seq(301),
                        collection: notes(),
                        id: id("deleted since"),
                        state: since(tombstone(a2), b1),
                    },
                    LogEntry {
                        seq: Seq(302),
                        collection: notes(),
                        id: id("written since"),
                        state: since(written(a2, "[1]"), b1),
                    },
                ],
                left_out: Default::default(),
                bookmarks: None,
            }),
        ),
        (
            "chunk-own",
            "A change whose body the reader pushed itself, and is not told again.",
            Message::Chunk(own_chunk()),
        ),
        (
            "chunk-empty",
            "Nothing new up to the head.",
            Message::Chunk(Chunk {
                scope: Scope::default(),
                epoch: EPOCH,
                after: Seq(300),
                next: Seq(301),
                head: Seq(301),
                horizon: Seq(0),
                mark: None,
                covers: None,
                entries: Vec::new(),
                left_out: Default::default(),
                bookmarks: None,
            }),
        ),
        (
            "verdicts",
            "Every kind of verdict: accepted, superseded, merged, conflict, conflict with a document that is absent, and \
             every kind of rejection.",
            Message::Verdicts(Verdicts::Decided {
                epoch: EPOCH,
                mark: Some(mark(305)),
                verdicts: vec![
                    verdict(301, VerdictKind::Accepted, None),
                    verdict(
                        299,
                        VerdictKind::Superseded,
                        Some(ServerState { seq: Seq(299), state: Some(tombstone(b1)) }),
                    ),
                    verdict(
                        302,
                        VerdictKind::Merged,
                        Some(ServerState {
                            seq: Seq(302),
                            state: Some(won_again(
                                revision(0x0192_f3c5_0000, 0, ReplicaId(EPOCH.0)),
                                a2,
                                "[1,2,3]",
                            )),
                        }),
                    ),
                    verdict(
                        300,
                        VerdictKind::Conflict,
                        Some(ServerState { seq: Seq(300), state: Some(written(b1, "[1,3]")) }),
                    ),
                    verdict(
                        302,
                        VerdictKind::Conflict,
                        Some(ServerState { seq: Seq(302), state: None }),
                    ),
                    verdict(302, rejected(RejectionCode::Forbidden, "read only"), None),
                    verdict(302, rejected(RejectionCode::Invalid, "no title"), None),
                    verdict(302, rejected(RejectionCode::TooLarge, "2 MiB"), None),
                    verdict(
                        302,
                        rejected(
                            RejectionCode::Clock { server_time: Stamp::new(0x0192_f3c4_a5b6, 0) },
                            "too far ahead",
                        ),
                        None,
                    ),
                ],
            }),
        ),
        (
            "push-recalled",
            "A batch of one change that was erased since.",
            Message::Push(Push {
                batch: PushBatch {
                    scope: scope(),
                    replica: LAPTOP,
                    id: PushId(18),
                    changes: vec![Change {
                        collection: notes(),
                        id: id("erased"),
                        base: None,
                        base_body: None,
                        state: tombstone(a1),
                    }],
                    recall: Some(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
                    mark: None,
                },
            }),
        ),
        (
            "verdicts-recalled",
            "A batch that was recalled before it had arrived.",
            Message::Verdicts(Verdicts::Recalled),
        ),
        ("verdicts-stale", "A doubled old push.", Message::Verdicts(Verdicts::Stale)),
        (
            "verdicts-cloned",
            "Another batch is known under this id.",
            Message::Verdicts(Verdicts::Cloned),
        ),
        (
            "reset-epoch-changed",
            "Positions up to 60 are still good.",
            reset(ResetReason::EpochChanged { cut: Seq(60) }),
        ),
        ("reset-below-horizon", "Everything is pulled afresh.", reset(ResetReason::BelowHorizon)),
        (
            "reset-digest-differs",
            "The same position, other documents.",
            reset(ResetReason::DigestDiffers),
        ),
        ("reset-requested", "The app asked for it.", reset(ResetReason::Requested)),
        ("done", "Done.", Message::Done),
        (
            "failed-never",
            "Trying again cannot help.",
            failed(ErrorKind::Unauthenticated, Retry::Never),
        ),
        ("failed-later", "Later, whenever.", failed(ErrorKind::Internal, Retry::Later(None))),
        (
            "failed-later-after",
            "Later, in a minute and a half at the earliest.",
            failed(ErrorKind::Overloaded, Retry::Later(Some(Duration::from_secs(90)))),
        ),
        ("failed-reconnect", "After connecting anew.", failed(ErrorKind::Closed, Retry::Reconnect)),
        (
            "scope-gone",
            "Not yours any more.",
            Message::ScopeGone("removed by its owner".to_owned()),
        ),
        ("ping", "A small number.", Message::Ping(7)),
        ("ping-most", "The largest number.", Message::Ping(u64::MAX)),
        ("pong", "A number of two bytes.", Message::Pong(300)),
        (
            "goodbye",
            "The server restarts.",
            Message::Goodbye(Goodbye { reason: "restart".to_owned(), retry_after: Some(5_000) }),
        ),
        (
            "goodbye-plain",
            "The replica leaves.",
            Message::Goodbye(Goodbye { reason: "bye".to_owned(), retry_after: None }),
        ),
    ]
}

/// How many kinds of message there are.
const KINDS: usize = 18;

/// A number for every kind, all below [`KINDS`]. A new kind does not compile until it is named
/// here, and does not pass until it has a vector.
fn kind(message: &Message) -> usize {
    match message {
        Message::Hello(_) => 0,
        Message::Welcome(_) => 1,
        Message::Pull(_) => 2,
        Message::Live(_) => 3,
        Message::Credit(_) => 4,
        Message::EndLive => 5,
        Message::Push(_) => 6,
        Message::Ack(_) => 7,
        Message::Auth(_) => 8,
        Message::Chunk(_) => 9,
        Message::Verdicts(_) => 10,
        Message::Reset(_) => 11,
        Message::Done => 12,
        Message::Failed(_) => 13,
        Message::ScopeGone(_) => 14,
        Message::Ping(_) => 15,
        Message::Pong(_) => 16,
        Message::Goodbye(_) => 17,
    }
}

/// A compressed payload that every zstd decoder reads: one raw block with the message of
/// `pong.hex`.
fn stored_by_zstd() -> Payload {
    let message = Message::Pong(300).to_bytes();
    let length = message.len() as u8;
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, length, length << 3 | 1, 0, 0];
    bytes.extend_from_slice(&message);
    Payload::of(bytes.into(), true)
}

/// The frames of one direction of one connection, in their order.
fn frames() -> Vec<(&'static str, &'static str, u32, Payload)> {
    vec![
        ("frame-0", "The message of ping.hex on stream 0.", 0, Payload::plain(&Message::Ping(7))),
        (
            "frame-1",
            "The message of credit.hex on stream 3.",
            3,
            Payload::plain(&Message::Credit(2)),
        ),
        (
            "frame-2-compressed",
            "The message of pong.hex on the highest stream, compressed with zstd.",
            u32::MAX,
            stored_by_zstd(),
        ),
    ]
}

/// The digest of two documents.
fn digest() -> Digest {
    let mut digest = Digest::default();
    digest.add(&notes(), &id("日本語 🌊"), &revision(0x0192_f3c4_a5b6, 1, LAPTOP));
    digest.add(
        &Collection::new("labels").unwrap(),
        &id("a"),
        &revision(0x0192_f3c4_a5b7, 0, PHONE),
    );
    digest
}

/// All vectors: file name, the text above the bytes, and the bytes.
fn vectors() -> BTreeMap<String, (String, Bytes)> {
    let about = |what: &str, value: &dyn Debug| {
        let mut text = String::new();
        for line in
            what.lines().map(str::to_owned).chain(format!("{value:#?}").lines().map(str::to_owned))
        {
            let _ = writeln!(text, "# {line}");
        }
        text
    };
    let mut all = BTreeMap::new();
    for (name, what, message) in messages() {
        all.insert(format!("{name}.hex"), (about(what, &message), message.to_bytes()));
    }
    let mut writer = FrameWriter::default();
    for (name, what, stream, payload) in frames() {
        let text = format!("# {what}\n");
        all.insert(format!("{name}.hex"), (text, writer.frame(stream, &payload)));
    }
    let what = "The digest of two live documents: collection notes, id 日本語 🌊, revision \
                0192f3c4a5b6-0001-a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1; and collection labels, id a, revision \
                0192f3c4a5b7-0000-b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2.";
    all.insert("digest.hex".to_owned(), (about(what, &digest()), digest().to_bytes()));
    all
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors")
}

fn to_text(about: &str, bytes: &[u8]) -> String {
    let mut text = about.to_owned();
    for line in bytes.chunks(32) {
        let hex: String = line.iter().map(|b| format!("{b:02x}")).collect();
        text.push_str(&hex);
        text.push('\n');
    }
    text
}

fn read(name: &str) -> Bytes {
    let text = fs::read_to_string(folder().join(name))
        .unwrap_or_else(|e| panic!("{name}: {e}; UPDATE_VECTORS=1 writes the vectors"));
    let hex: String = text.lines().filter(|l| !l.starts_with('#')).collect();
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Updates the files, if requested, before any test reads them.
fn update_if_asked() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("UPDATE_VECTORS").is_some_and(|v| v == "1") {
            fs::create_dir_all(folder()).unwrap();
            for entry in fs::read_dir(folder()).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|e| e == "hex") {
                    fs::remove_file(path).unwrap();
                }
            }
            for (name, (about, bytes)) in vectors() {
                fs::write(folder().join(name), to_text(&about, &bytes)).unwrap();
            }
        }
    });
}

#[test]
fn every_value_has_the_bytes_of_its_file() {
    update_if_asked();
    for (name, (_, bytes)) in vectors() {
        assert_eq!(read(&name), bytes, "{name}");
    }
}

#[test]
fn every_file_has_the_value_of_its_bytes() {
    update_if_asked();
    for (name, _, message) in messages() {
        let read = Message::from_bytes(read(&format!("{name}.hex"))).unwrap();
        assert_eq!(read, message, "{name}");
    }
}

#[test]
fn frames_are_read_in_their_order() {
    update_if_asked();
    let mut reader = FrameReader::new(1_000);
    for (name, _, stream, payload) in frames() {
        let frame = reader.frame(read(&format!("{name}.hex"))).unwrap();
        assert_eq!((frame.stream, &frame.payload), (stream, payload.bytes()), "{name}");
        assert_eq!(frame.compressed, name.ends_with("compressed"));
    }
}

#[test]
fn every_kind_of_message_has_a_vector() {
    let kinds: BTreeSet<_> = messages().iter().map(|(_, _, m)| kind(m)).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), (0..KINDS).collect::<Vec<_>>());
}

#[test]
fn no_file_is_left_over() {
    update_if_asked();
    let files: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, vectors().into_keys().collect());
}

#[test]
fn no_message_can_be_cut_or_go_on() {
    for (name, _, message) in messages() {
        let bytes = message.to_bytes();
        for end in 0..bytes.len() {
            assert!(Message::from_bytes(bytes.slice(..end)).is_err(), "{name} cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Message::from_bytes(longer.into()).is_err(), "{name}");
    }
}
