//! Good input to begin with: the stores that a short run of two replicas leaves, and sequences of
//! messages.

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use storage_kit::kv::{KvWriter, MemoryKv, OrderedKv, ReplicaKv, ServerKv};
use sync_core::codec::Codec;
use sync_core::error::Result;
use sync_core::model::{
    Chunk, Cursor, Epoch, Limits, PushBatch, Rejection, RejectionCode, Reset, ResetReason, Scope,
    Verdicts,
};
use sync_core::protocol::{Ack, FrameWriter, Message, Payload, Pull, Push};

use testkit::cores::{Cores, MemoryCores};
use testkit::resolvers::Deferring;
use testkit::sim::Simulation;
use testkit::world::{Options, Reply, World};

/// The memory cores, whose stores are kept.
#[derive(Default)]
struct Kept {
    replicas: Rc<RefCell<Vec<Arc<MemoryKv>>>>,
    servers: Rc<RefCell<Vec<Arc<MemoryKv>>>>,
}

impl Cores for Kept {
    type Replica = <MemoryCores as Cores>::Replica;
    type Server = <MemoryCores as Cores>::Server;

    fn replica(&self) -> Result<Self::Replica> {
        let core = MemoryCores.replica()?;
        self.replicas.borrow_mut().push(Arc::clone(core.0.store()));
        Ok(core)
    }

    fn server(&self) -> Result<Self::Server> {
        let core = MemoryCores.server()?;
        self.servers.borrow_mut().push(Arc::clone(core.0.store()));
        Ok(core)
    }

    fn copy_replica(&self, replica: &Self::Replica) -> Result<Self::Replica> {
        MemoryCores.copy_replica(replica)
    }

    fn copy_server(&self, server: &Self::Server) -> Result<Self::Server> {
        MemoryCores.copy_server(server)
    }
}

/// What a short run left behind.
pub(super) struct Life {
    /// The one scope.
    pub(super) scope: Scope,
    /// The store of the first replica: it has settled, edited, rejected and deferred documents, and
    /// a batch in flight.
    pub(super) replica: Arc<MemoryKv>,
    /// The store of the server.
    pub(super) server: Arc<MemoryKv>,
    /// The batch in flight of the first replica.
    pub(super) batch: Option<PushBatch>,
    /// The verdicts that the server would return for it.
    pub(super) verdicts: Verdicts,
    /// The chunk that the first replica would pull next.
    pub(super) chunk: Option<Chunk>,
    /// The cursor of that pull.
    pub(super) cursor: Cursor,
}

thread_local! {
    /// A run is the same each time, and takes longer than any check.
    static LIFE: Rc<Life> = Rc::new(make_life());
}

/// Returns the result of a short run of two replicas.
pub(super) fn life() -> Rc<Life> {
    LIFE.with(Rc::clone)
}

fn make_life() -> Life {
    let kept = Kept::default();
    let (replicas, servers) = (Rc::clone(&kept.replicas), Rc::clone(&kept.servers));
    let options = Options { resolver: Arc::new(Deferring), ..Options::default() };
    let mut world = World::with(kept, options);
    world.transaction(0, &[("notes/a", Some("one")), ("notes/b", Some("two"))]);
    world.put(0, "lists/c", "three");
    world.sync_all();
    world.put(0, "notes/a", "four");
    world.put(1, "notes/a", "five");
    world.delete(1, "notes/b");
    world.erase(1, "lists/c");
    world.push_all(1);
    world.pull_all(0);
    world.refuse(Some(Arc::new(|change| {
        let reason = "no".to_owned();
        (change.id.as_str() == "no").then_some(Rejection { code: RejectionCode::Invalid, reason })
    })));
    world.put(0, "notes/no", "refused");
    world.push_all(0);
    world.declare_local_only(0, &["drafts"]);
    world.put_local(0, "drafts/d", Some("mine"));
    world.put(0, "notes/e", "six");
    let batch = world.form(0);
    world.put(0, "notes/e", "seven");
    world.put(0, "notes/f", "eight");
    world.put(1, "notes/g", "nine");
    world.push_all(1);
    let cursor = world.cursor(0);
    let chunk = match world.changes(&cursor, Limits::CHUNK) {
        Reply::Chunk(chunk) => Some(chunk),
        Reply::Reset(_) => None,
    };
    // The verdicts come from a copy of the server, so this one does not know the batch.
    let scope = world.scope().clone();
    let server = servers.borrow()[0].copy();
    let verdicts = batch.as_ref().map_or(Verdicts::Stale, |batch| world.deliver(batch));
    let replica = Arc::clone(&replicas.borrow()[0]);
    Life { scope, replica, server: Arc::new(server), batch, verdicts, chunk, cursor }
}

/// The entries of a store, by their keys.
pub(super) fn entries(kv: &MemoryKv) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let all = kv.range(&[], &[u8::MAX; 8], &mut |key, value| {
        entries.push((key.to_vec(), value.to_vec()));
        Ok(ControlFlow::Continue(()))
    });
    // A map in memory cannot fail to be read.
    all.map(|()| entries).unwrap_or_default()
}

/// Returns the cores over a copy of a store, which the caller may damage.
pub(super) fn replica_over(kv: MemoryKv) -> ReplicaKv<KvWriter<MemoryKv>> {
    ReplicaKv(KvWriter::new(Arc::new(kv)))
}

/// Returns the cores over a copy of a server's store.
pub(super) fn server_over(kv: MemoryKv) -> ServerKv<KvWriter<MemoryKv>> {
    ServerKv(KvWriter::new(Arc::new(kv)))
}

/// Joins messages as the checks of conversations read them: the length of each in two bytes, little
/// endian, then the message. A message over 65,535 bytes is cut.
#[must_use]
pub fn conversation(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let bytes = message.to_bytes();
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&bytes[..usize::from(length)]);
    }
    out
}

/// Splits what [`conversation`] joined; the last piece may be cut short.
pub(super) fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (piece, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        bytes = rest;
        Some(piece)
    })
}

/// Returns the next messages of the replica and of the server after a short run.
fn said() -> (Vec<Message>, Vec<Message>) {
    let life = life();
    let scope = life.scope.clone();
    let pull = Pull { scope: scope.clone(), cursor: life.cursor.clone(), limits: Limits::CHUNK };
    let epoch = life.cursor.epoch.unwrap_or(Epoch([0; 16]));
    let ack = Ack::new(scope, epoch, life.cursor.after);
    let mut asked = vec![Message::Pull(pull.clone()), Message::Ack(ack), Message::Live(pull)];
    let mut told = vec![Message::Verdicts(life.verdicts.clone()), Message::Done];
    asked.extend(life.batch.clone().map(|batch| Message::Push(Push { batch })));
    told.extend(life.chunk.clone().map(Message::Chunk));
    told.push(Message::Reset(Reset { epoch, reason: ResetReason::DigestDiffers }));
    told.push(Message::ScopeGone("a".to_owned()));
    (asked, told)
}

pub(super) fn conversations() -> Vec<Vec<u8>> {
    let (asked, told) = said();
    vec![conversation(&asked), conversation(&told)]
}

/// Good input of [`server_link`](super::server_link) and [`client_link`](super::client_link): the
/// messages of a short run, each on the stream of its request or answer.
#[must_use]
pub fn frames_of_links() -> Vec<Vec<u8>> {
    let (asked, told) = said();
    let piece = |stream: usize, message: &Message| {
        let bytes = [&[(stream % 8) as u8], &message.to_bytes()[..]].concat();
        [&(bytes.len() as u16).to_le_bytes(), &bytes[..]].concat()
    };
    let input = |messages: &[Message], first: u8| {
        let frames = messages.iter().enumerate().flat_map(|(at, m)| piece(at + 1, m));
        std::iter::once(first).chain(frames).collect()
    };
    vec![input(&asked, 0), input(&told, 0), input(&asked, 1)]
}

pub(super) fn messages() -> Vec<Vec<u8>> {
    let (asked, told) = said();
    asked.iter().chain(&told).map(|message| message.to_bytes().to_vec()).collect()
}

pub(super) fn frames() -> Vec<Vec<u8>> {
    let frame = |bytes: Vec<u8>| FrameWriter::default().frame(7, &Payload::of(bytes.into(), false));
    messages().into_iter().map(|bytes| frame(bytes).to_vec()).collect()
}

/// A cursor, a chunk, a batch and verdicts, and their parts, each after the number of its type.
pub(super) fn models() -> Vec<Vec<u8>> {
    let life = life();
    let mut samples = vec![(0, life.cursor.to_bytes()), (4, life.verdicts.to_bytes())];
    if let Some(chunk) = &life.chunk {
        samples.extend(chunk.entries.iter().map(|e| (5, e.state.to_bytes())));
        samples.push((2, chunk.to_bytes()));
    }
    if let Some(batch) = &life.batch {
        samples.extend(batch.changes.iter().map(|c| (6, c.to_bytes())));
        samples.push((3, batch.to_bytes()));
    }
    samples.push((11, life.scope.to_bytes()));
    samples.into_iter().map(|(choice, bytes)| [&[choice], &bytes[..]].concat()).collect()
}

/// Every row of a replica's and a server's store after a short run, as each of the types that it
/// might be.
pub(super) fn rows() -> Vec<Vec<u8>> {
    let life = life();
    let mut samples = Vec::new();
    for (_, value) in entries(&life.replica).into_iter().chain(entries(&life.server)) {
        samples.extend((0..9).map(|choice| [&[choice], &value[..]].concat()));
    }
    samples
}

/// Damage to each of the first entries of a store: another byte, a missing one, and one more.
pub(super) fn damages() -> Vec<Vec<u8>> {
    let piece = |entry, place, gone, instead: &[u8]| {
        let piece = [&[entry, place, gone], instead].concat();
        [&(piece.len() as u16).to_le_bytes(), &piece[..]].concat()
    };
    (0..30)
        .flat_map(|entry| {
            [piece(entry, 1, 1, &[7]), piece(entry, 0, 9, &[]), piece(entry, 255, 0, &[0])]
        })
        .collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(super) fn names() -> Vec<Vec<u8>> {
    texts(&["room 7/ä", "notes", "", "a\nb", &"x".repeat(513)])
}

pub(super) fn stamps() -> Vec<Vec<u8>> {
    texts(&[
        "0192f3c4a5b6-0001",
        "0192f3c4a5b6-0001-abababababababababababababababab",
        "ABABABABABABABABABABABABABABABAB",
    ])
}

pub(super) fn bodies() -> Vec<Vec<u8>> {
    texts(&[r#" {"b":1,"a":[1.50,-0e400,"\u00e4\ud83d\ude00",null]}"#, "0"])
}

pub(super) fn merges() -> Vec<Vec<u8>> {
    texts(&[
        "{\"a\":1,\"tags\":[1,2]}\0{\"a\":2,\"tags\":[2]}\0{\"b\":3,\"tags\":[1,2,3]}",
        "\0{\"lines\":[{\"id\":1,\"n\":2}]}\0{\"lines\":[{\"id\":1,\"n\":3},{\"id\":2}]}",
        "[1]\0[2]\0\"3\"",
    ])
}

pub(super) fn plans() -> Vec<Vec<u8>> {
    vec![Simulation::builder().clients(3).build().plan(7).to_json().into_bytes()]
}

/// The golden vectors of the protocol in that folder (`spec/vectors`), by their names.
///
/// # Errors
/// If a file cannot be read, or is no vector.
pub fn golden(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        let byte = |at| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
        let no_vector = || io::Error::new(io::ErrorKind::InvalidData, "this is no golden vector");
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.push((name, bytes.ok_or_else(no_vector)?));
    }
    found.sort();
    Ok(found)
}
