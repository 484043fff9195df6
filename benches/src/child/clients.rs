//! Many clients that listen, in one process: over a transport of Twotide, or as bare sockets.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use sync_core::model::{Cursor, Limits, ReplicaId, Scope, Seq};
use sync_core::protocol::{Greeting, Hello, Pull};
use sync_core::transport::{Delivery, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Asked;
use crate::Outcome;
use crate::server::{Way, transport};

/// The number of connections that are opened at a time.
const AT_A_TIME: usize = 50;
/// How long to wait until all clients have received what was sent.
const PATIENCE: Duration = Duration::from_secs(120);

/// The progress of each client: its position, or the bytes that it has read.
type Progress = Vec<watch::Receiver<u64>>;

/// Answers `wait N` when every client has reached N.
async fn serve(mut asked: Asked, progress: Progress) -> Outcome {
    while let Some(line) = asked.next().await? {
        if asked.answer_of_process(&line)? {
            continue;
        }
        let goal: u64 = line.strip_prefix("wait ").ok_or("a client is told to wait")?.parse()?;
        let all = async {
            for each in &progress {
                each.clone().wait_for(|n| *n >= goal).await?;
            }
            Outcome::Ok(())
        };
        tokio::time::timeout(PATIENCE, all).await.map_err(|_| "something never came")??;
        asked.answer("all");
    }
    Ok(())
}

/// Runs bare sockets that read; their progress is bytes.
pub(super) async fn readers(address: SocketAddr, count: usize) -> Outcome {
    let mut progress = Progress::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(address).await?;
        let (tell, told) = watch::channel(0);
        progress.push(told);
        tokio::spawn(async move {
            let mut buffer = vec![0; 4_096];
            while let Ok(n @ 1..) = socket.read(&mut buffer).await {
                tell.send_modify(|sum| *sum += n as u64);
            }
        });
    }
    serve(Asked::ready("connected"), progress).await
}

/// Follows a scope over a transport of Twotide; the progress is its position.
async fn listen(transport: &dyn Transport, n: usize) -> Outcome<watch::Receiver<u64>> {
    let mut id = [5; 16];
    id[..8].copy_from_slice(&(n as u64).to_le_bytes());
    let hello = Hello {
        agent: "report".to_owned(),
        scopes: vec![Greeting { scope: Scope::default(), cursor: Cursor::default(), digest: None }],
        ..Hello::new(ReplicaId(id))
    };
    let (connection, welcome) = transport.connect(hello).await?;
    let first = welcome.scopes.first().ok_or("the scope is not served")?;
    let cursor = Cursor {
        epoch: Some(first.epoch),
        after: first.head,
        position: first.head,
        ..Cursor::default()
    };
    let mut live = connection.live(Pull { scope: Scope::default(), cursor, limits: Limits::CHUNK });
    let (tell, told) = watch::channel(first.head.0);
    tokio::spawn(async move {
        let _connection = connection;
        while let Some(Ok(Delivery::Chunk(chunk))) = live.next().await {
            let Seq(next) = chunk.next;
            tell.send_replace(next);
        }
    });
    Ok(told)
}

pub(super) async fn listeners(address: SocketAddr, count: usize) -> Outcome {
    let transport = transport(address, Way::WebSocket)?;
    let mut progress = Progress::new();
    let mut joining = JoinSet::new();
    for n in 0..count {
        let transport = transport.clone();
        joining.spawn(async move { listen(&*transport, n).await });
        if joining.len() == AT_A_TIME
            && let Some(joined) = joining.join_next().await
        {
            progress.push(joined??);
        }
    }
    while let Some(joined) = joining.join_next().await {
        progress.push(joined??);
    }
    serve(Asked::ready("connected"), progress).await
}
