//! Benchmarks without a database and a network: the clock, the codec and the resolvers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::hint::black_box;

use benches::documents::{chunk, collection, revision, state};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sync_core::clock::{Clock, Now};
use sync_core::codec::Codec;
use sync_core::model::{Body, Cursor, DocumentId, DocumentKey, DocumentState, Scope, Stamp};
use sync_core::protocol::Message;
use sync_core::resolver::{Conflict, ConflictResolver, FieldMerge, LastWriteWins, ServerWins};
use transport_http::format::{Changes, Continued, Format};
use transport_kit::framed::Wire;

const DOCUMENTS: usize = 1_000;

fn clock(criterion: &mut Criterion) {
    let mut clock = Clock::default();
    let mut group = criterion.benchmark_group("clock");
    group.bench_function("tick", |b| {
        b.iter(|| clock.tick(black_box(Now(1_790_000_000_000)), black_box(Stamp::ZERO)));
    });
    let mut seen = 0;
    group.bench_function("merge", |b| {
        b.iter(|| {
            seen += 1;
            clock.merge(Now(1_790_000_000_000), black_box(Stamp::new(1_790_000_000_000, seen)));
        });
    });
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let message = Message::Chunk(chunk(DOCUMENTS).expect("a chunk"));
    let bytes = message.to_bytes();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(DOCUMENTS as u64));
    group.bench_function("encode, binary", |b| b.iter(|| black_box(&message).to_bytes()));
    group.bench_function("decode, binary", |b| {
        b.iter(|| Message::from_bytes(black_box(bytes.clone())).expect("a message"));
    });
    group.bench_function("frame, there and back", |b| {
        b.iter(|| {
            let (mut here, mut there) = (Wire::new(1 << 24), Wire::new(1 << 24));
            there.decode(here.encode(1, black_box(&message))).expect("a frame")
        });
    });
    let cursor = Some(Cursor::default());
    let changes =
        Changes::Chunk(Box::new(Continued { chunk: chunk(DOCUMENTS).expect("a chunk"), cursor }));
    let json = Format::Json.encode(changes.clone()).expect("JSON");
    group.bench_function("encode, JSON", |b| {
        b.iter(|| Format::Json.encode(black_box(changes.clone())).expect("JSON"));
    });
    group.bench_function("decode, JSON", |b| {
        b.iter(|| Format::Json.decode::<Changes>(black_box(json.clone())).expect("a chunk"));
    });
    group.finish();
}

fn resolver(criterion: &mut Criterion) {
    let collection = collection().expect("a collection");
    let id = DocumentId::new("one").expect("an id");
    let key = DocumentKey::new(Scope::default(), collection, id);
    let with = |n: usize, text: &str| DocumentState {
        revision: revision(n),
        body: Some(Body::parse(text.to_owned()).expect("a body")),
        ..state(n).expect("a state")
    };
    let base = with(1, r#"{"title":"a","done":false,"tags":["x","y"],"count":1}"#);
    let local = with(2, r#"{"title":"b","done":false,"tags":["x","y","z"],"count":1}"#);
    let remote = with(3, r#"{"title":"a","done":true,"tags":["y"],"count":2}"#);
    let conflict = Conflict::new(&key, Some(&base), &local, Some(&remote));
    let resolvers: [(&str, Box<dyn ConflictResolver>); 3] = [
        ("last write wins", Box::new(LastWriteWins)),
        ("server wins", Box::new(ServerWins)),
        ("field merge", Box::new(FieldMerge::new())),
    ];
    let mut group = criterion.benchmark_group("resolver");
    for (name, resolver) in resolvers {
        group.bench_function(name, |b| b.iter(|| resolver.resolve(black_box(&conflict))));
    }
    group.finish();
}

criterion_group!(benches, clock, codec, resolver);
criterion_main!(benches);
