//! The other end of a link in memory: prepared chunks, which are encoded for every pull.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use sync_core::error::Result;
use sync_core::model::{Chunk, DocumentId, Epoch, LogEntry, Scope, Seq};
use sync_core::protocol::{Message, ScopeWelcome, Welcome};
use sync_core::transport::FrameLink;
use transport_kit::framed::{Dial, MAX_PAYLOAD, Wire, chunk_payload, memory_link};

use crate::Outcome;
use crate::documents::{Order, collection, id, state};

/// A log in chunks, as a server keeps it in memory.
#[derive(Debug)]
pub(super) struct Chunks(Vec<Chunk>);

impl Chunks {
    /// Creates a log of that many documents, `each` to a chunk.
    pub(super) fn new(documents: usize, each: usize) -> Outcome<Self> {
        let collection = collection()?;
        let entry = |n: usize| -> Outcome<LogEntry> {
            let id = DocumentId::new(id(Order::Random, n))?;
            let entry = LogEntry::new(Seq(n as u64 + 1), collection.clone(), id, state(n)?);
            // The first clone of a value in an unshared buffer moves it into a shared one. That is
            // not measured.
            drop(entry.clone());
            Ok(entry)
        };
        let chunk = |from: usize| -> Outcome<Chunk> {
            let end = documents.min(from + each);
            Ok(Chunk {
                next: Seq(end as u64),
                head: Seq(documents as u64),
                entries: (from..end).map(entry).collect::<Outcome<_>>()?,
                ..Chunk::empty(Scope::default(), Epoch([1; 16]), Seq(from as u64))
            })
        };
        Ok(Self((0..documents).step_by(each).map(chunk).collect::<Outcome<_>>()?))
    }

    pub(super) fn documents(&self) -> usize {
        self.0.iter().map(|c| c.entries.len()).sum()
    }

    fn answer(&self, message: Message) -> Option<Message> {
        let head = Seq(self.documents() as u64);
        Some(match message {
            Message::Hello(_) => Message::Welcome(Welcome {
                heartbeat: 20_000,
                scopes: vec![ScopeWelcome::new(Scope::default(), Epoch([1; 16]), head)],
                ..Welcome::new(1_790_000_000_000)
            }),
            Message::Ping(n) => Message::Pong(n),
            Message::Ack(_) => Message::Done,
            _ => return None,
        })
    }
}

/// Makes links to a log.
#[derive(Debug)]
pub(super) struct DialChunks(pub(super) Arc<Chunks>);

#[async_trait]
impl Dial for DialChunks {
    async fn dial(&self) -> Result<FrameLink> {
        let (here, mut there) = memory_link(8);
        let chunks = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut wire = Wire::new(MAX_PAYLOAD);
            while let Some(Ok(frame)) = there.incoming.next().await {
                let Ok((stream, message)) = wire.decode(frame) else { return };
                let frame = if let Message::Pull(pull) = &message {
                    let at = chunks.0.partition_point(|c| c.after < pull.cursor.after);
                    let Some(chunk) = chunks.0.get(at) else { return };
                    wire.encode_payload(stream, &chunk_payload(chunk, None))
                } else {
                    let Some(answer) = chunks.answer(message) else { continue };
                    wire.encode(stream, &answer)
                };
                if there.outgoing.send(frame).await.is_err() {
                    return;
                }
            }
        });
        Ok(here)
    }
}
