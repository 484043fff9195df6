//! Arbitrary messages.

use std::time::Duration;
use sync_core::model::{LogKey, LogMark, LogRun};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::*;
use sync_core::protocol::*;

fn seq() -> impl Strategy<Value = Seq> {
    prop_oneof![0u64..40, any::<u64>()].prop_map(Seq)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<[u8; 16]>().prop_map(Epoch)
}

pub fn scope() -> impl Strategy<Value = Scope> {
    "[^\\p{Cc}]{1,20}".prop_map(|s| Scope::new(s).unwrap())
}

fn collection() -> impl Strategy<Value = Collection> {
    "[^\\p{Cc}]{1,20}".prop_map(|s| Collection::new(s).unwrap())
}

fn document() -> impl Strategy<Value = DocumentId> {
    "[^\\p{Cc}]{1,20}".prop_map(|s| DocumentId::new(s).unwrap())
}

fn stamp() -> impl Strategy<Value = Stamp> {
    prop_oneof![Just(Stamp::ZERO), any::<u64>().prop_map(Stamp::from_bits)]
}

fn replica() -> impl Strategy<Value = ReplicaId> {
    prop_oneof![Just(ReplicaId([7; 16])), any::<[u8; 16]>().prop_map(ReplicaId)]
}

fn revision() -> impl Strategy<Value = Revision> {
    (stamp(), replica()).prop_map(|(stamp, replica)| Revision { stamp, replica })
}

/// Returns JSON that reveals whether a stage parses numbers, orders keys or unescapes texts. It has
/// no white space around it, which JSON within JSON does not keep.
fn body() -> impl Strategy<Value = Body> {
    let texts = vec![
        "null",
        "0",
        "\"\"",
        "[]",
        "123456789012345678901234567890.123456789012345678901234567890e-400",
        "{\"b\":1, \"a\" : 2,\n\t\"b\":3}",
        "\"\\u00e4\\/\u{2028}ä\"",
        "{\"$serde_json::private::Number\":\"1\"}",
        "{\"$serde_json::private::RawValue\":\"1\"}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]",
    ];
    let made = ".{0,30}".prop_map(|text| Body::from_value(&text).unwrap());
    prop_oneof![prop::sample::select(texts).prop_map(|t| Body::parse(t).unwrap()), made]
}

fn state() -> impl Strategy<Value = DocumentState> {
    let erased = option::of(prop_oneof![revision().prop_map(Some), Just(None)]);
    (revision(), option::of(revision()), stamp(), option::of(body()), erased).prop_map(
        |(revision, author, created, body, erased)| DocumentState {
            revision,
            author: author.unwrap_or(revision),
            created,
            body,
            erased: erased.map(|before| before.unwrap_or(revision)),
        },
    )
}

fn base() -> impl Strategy<Value = BaseRef> {
    (revision(), epoch(), prop_oneof![seq(), Just(BaseRef::NOT_IN_LOG)], any::<bool>())
        .prop_map(|(revision, epoch, seq, tombstone)| BaseRef { revision, epoch, seq, tombstone })
}

fn mark() -> impl Strategy<Value = Option<LogMark>> {
    let runs = vec((any::<u64>(), 1..1_000_u64), 1..4).prop_map(|runs| {
        let mut last = 0;
        let run = |(start, length): (u64, u64)| {
            let first = last + 1;
            last += length;
            LogRun { start: ServerStart(start), first: Seq(first), last: Seq(last) }
        };
        runs.into_iter().map(run).collect::<Vec<_>>()
    });
    let key = any::<[u8; 16]>().prop_map(LogKey);
    option::of((epoch(), runs, key).prop_map(|(epoch, runs, key)| LogMark::sign(epoch, runs, &key)))
}

pub fn cursor() -> impl Strategy<Value = Cursor> {
    let places = (option::of(epoch()), seq(), seq(), option::of(seq()));
    let chosen = option::of(btree_set(collection(), 0..3));
    (places, btree_map(collection(), seq(), 0..3), mark(), chosen).prop_map(
        |((epoch, after, position, floor), backfills, mark, collections)| Cursor {
            epoch,
            after,
            position,
            backfills,
            floor,
            mark,
            collections,
            ..Cursor::default()
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let limit = || prop_oneof![any::<usize>(), Just(usize::MAX)];
    (limit(), limit()).prop_map(|(documents, bytes)| Limits { documents, bytes })
}

pub fn hello() -> impl Strategy<Value = Hello> {
    let greeting = (scope(), cursor(), option::of(any::<u128>().prop_map(Digest)))
        .prop_map(|(scope, cursor, digest)| Greeting { scope, cursor, digest });
    let texts = (option::of(".*"), vec(".*", 0..3), ".*");
    (vec(any::<u32>(), 0..3), replica(), texts, any::<u32>(), vec(greeting, 0..3)).prop_map(
        |(versions, replica, (token, compressions, agent), schema, scopes)| Hello {
            versions,
            replica,
            token,
            compressions,
            schema,
            agent,
            scopes,
        },
    )
}

pub fn reset() -> impl Strategy<Value = Reset> {
    let reason = prop_oneof![
        seq().prop_map(|cut| ResetReason::EpochChanged { cut }),
        Just(ResetReason::BelowHorizon),
        Just(ResetReason::DigestDiffers),
        Just(ResetReason::Requested),
    ];
    (epoch(), reason).prop_map(|(epoch, reason)| Reset { epoch, reason })
}

pub fn welcome() -> impl Strategy<Value = Welcome> {
    let scope = (scope(), epoch(), seq(), seq(), any::<u64>(), option::of(reset())).prop_map(
        |(scope, epoch, head, horizon, last, reset)| ScopeWelcome {
            scope,
            epoch,
            head,
            horizon,
            last_push: PushId(last),
            reset,
        },
    );
    let numbers = (any::<u32>(), any::<u64>(), any::<usize>(), any::<u64>());
    (numbers, limits(), limits(), option::of(".*"), vec(scope, 0..3)).prop_map(
        |((version, server_time, body_bytes, heartbeat), push, chunk, compression, scopes)| {
            Welcome {
                version,
                server_time,
                push_limits: push,
                chunk_limits: chunk,
                body_bytes,
                heartbeat,
                compression,
                scopes,
            }
        },
    )
}

pub fn pull() -> impl Strategy<Value = Pull> {
    (scope(), cursor(), limits()).prop_map(|(scope, cursor, limits)| Pull { scope, cursor, limits })
}

pub fn ack() -> impl Strategy<Value = Ack> {
    let digest = option::of(any::<u128>().prop_map(Digest));
    (scope(), epoch(), seq(), digest, mark()).prop_map(|(scope, epoch, seq, digest, mark)| Ack {
        scope,
        epoch,
        seq,
        digest,
        mark,
    })
}

pub fn batch() -> impl Strategy<Value = PushBatch> {
    let change = (collection(), document(), option::of(base()), option::of(body()), state())
        .prop_map(|(collection, id, base, base_body, state)| Change {
            collection,
            id,
            base,
            base_body,
            state,
        });
    (scope(), replica(), any::<u64>(), vec(change, 0..4), option::of(any::<u128>()), mark())
        .prop_map(|(scope, replica, id, changes, recall, mark)| PushBatch {
            scope,
            replica,
            id: PushId(id),
            changes,
            recall,
            mark,
        })
}

pub fn chunk() -> impl Strategy<Value = Chunk> {
    let entry = (seq(), collection(), document(), state())
        .prop_map(|(seq, collection, id, state)| LogEntry { seq, collection, id, state });
    let seqs = (seq(), seq(), seq(), seq());
    let covers = option::of(btree_set(collection(), 0..3));
    (scope(), epoch(), seqs, mark(), covers, vec(entry, 0..4)).prop_map(
        |(scope, epoch, (after, next, head, horizon), mark, covers, entries)| Chunk {
            scope,
            epoch,
            after,
            next,
            head,
            horizon,
            mark,
            covers,
            entries,
            left_out: Default::default(),
            bookmarks: None,
        },
    )
}

pub fn verdicts() -> impl Strategy<Value = Verdicts> {
    let code = prop_oneof![
        Just(RejectionCode::Forbidden),
        Just(RejectionCode::Invalid),
        Just(RejectionCode::TooLarge),
        stamp().prop_map(|server_time| RejectionCode::Clock { server_time }),
    ];
    let kind = prop_oneof![
        Just(VerdictKind::Accepted),
        Just(VerdictKind::Superseded),
        Just(VerdictKind::Merged),
        Just(VerdictKind::Conflict),
        (code, ".*").prop_map(|(code, reason)| VerdictKind::Rejected(Rejection { code, reason })),
    ];
    let current = (seq(), option::of(state())).prop_map(|(seq, state)| ServerState { seq, state });
    let verdict = (seq(), kind, option::of(current)).prop_map(|(seq, kind, current)| Verdict {
        seq,
        kind,
        current,
    });
    prop_oneof![
        (epoch(), vec(verdict, 0..4)).prop_map(|(epoch, verdicts)| Verdicts::Decided {
            epoch,
            mark: None,
            verdicts
        }),
        Just(Verdicts::Recalled),
        Just(Verdicts::Stale),
        Just(Verdicts::Cloned),
    ]
}

pub fn error() -> impl Strategy<Value = WireError> {
    let retry = prop_oneof![
        Just(Retry::Never),
        Just(Retry::Reconnect),
        option::of(any::<u64>()).prop_map(|after| Retry::Later(after.map(Duration::from_millis))),
    ];
    (prop::sample::select(ErrorKind::ALL.to_vec()), ".*", retry)
        .prop_map(|(kind, message, retry)| WireError { kind, message, retry })
}
