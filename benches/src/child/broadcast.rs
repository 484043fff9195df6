//! The least work of a broadcaster: one frame that is encoded once, and written to every socket in
//! turn.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::Asked;
use crate::Outcome;
use crate::raw::frame;

/// Writes a frame to every socket, `times` times.
///
/// # Errors
/// As the sockets.
pub async fn broadcast(sockets: &mut [TcpStream], frame: &Bytes, times: usize) -> Outcome {
    for _ in 0..times {
        for socket in sockets.iter_mut() {
            socket.write_all(frame).await?;
        }
    }
    Ok(())
}

pub(super) async fn run() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut asked = Asked::ready(listener.local_addr()?);
    let mut sockets: Vec<TcpStream> = Vec::new();
    while let Some(line) = asked.next().await? {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["accept", count] => {
                let count: usize = count.parse()?;
                while sockets.len() < count {
                    let (socket, _) = listener.accept().await?;
                    socket.set_nodelay(true)?;
                    sockets.push(socket);
                }
                asked.answer("accepted");
            }
            ["send", times, bytes] => {
                let frame = frame(bytes.parse()?);
                broadcast(&mut sockets, &frame, times.parse()?).await?;
                asked.answer("sent");
            }
            _ if asked.answer_of_process(&line)? => {}
            _ => return Err(format!("a broadcaster is not asked `{line}`").into()),
        }
    }
    Ok(())
}
