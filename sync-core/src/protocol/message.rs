//! The messages.

use std::time::Duration;

use super::{MessageType, VERSIONS};
use crate::codec::{Codec, Reader, codec_struct, decode_digest_and_mark, encode_digest_and_mark};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::model::{
    Chunk, Cursor, Digest, Epoch, Limits, LogMark, PushBatch, PushId, ReplicaId, Reset, Scope, Seq,
    Verdicts,
};

/// The first message of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The versions of the protocol that the replica speaks.
    pub versions: Vec<u32>,
    /// The id of the replica.
    pub replica: ReplicaId,
    /// The token that it authenticates with.
    pub token: Option<String>,
    /// The compressions that it understands, most wanted first.
    pub compressions: Vec<String>,
    /// The version of the app's own schema.
    pub schema: u32,
    /// The program and its version, for logs.
    pub agent: String,
    /// The scopes to sync, and their positions.
    pub scopes: Vec<Greeting>,
}

impl Hello {
    /// The most versions that a greeting may name.
    pub const VERSIONS: usize = 16;
    /// The most compressions that a greeting may name.
    pub const COMPRESSIONS: usize = 16;
    /// The longest token in bytes.
    pub const TOKEN_BYTES: usize = 16 << 10;
    /// The longest name of a program, or of a compression, in bytes.
    pub const NAME_BYTES: usize = 256;

    /// Creates the greeting of a replica that supports every version of the protocol that this
    /// crate does, without a token, compressions, an app's schema, a program's name or scopes.
    #[must_use]
    pub fn new(replica: ReplicaId) -> Self {
        Self {
            versions: VERSIONS.to_vec(),
            replica,
            token: None,
            compressions: Vec::new(),
            schema: 0,
            agent: String::new(),
            scopes: Vec::new(),
        }
    }

    /// Checks that the greeting keeps to its bounds. A server calls this before it uses, logs or
    /// sends back anything of it.
    ///
    /// `InvalidInput` with what exceeds its bound, and the bound.
    pub fn check(&self) -> Result<()> {
        let longest = self.compressions.iter().map(String::len).max().unwrap_or(0);
        let token = self.token.as_ref().map_or(0, String::len);
        for (what, count, most) in [
            ("versions", self.versions.len(), Self::VERSIONS),
            ("compressions", self.compressions.len(), Self::COMPRESSIONS),
            ("bytes in the name of a compression", longest, Self::NAME_BYTES),
            ("bytes in a token", token, Self::TOKEN_BYTES),
            ("bytes in the name of a program", self.agent.len(), Self::NAME_BYTES),
        ] {
            if count > most {
                let message = format!("a greeting has at most {most} {what}, and this one {count}");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        }
        Ok(())
    }
}

/// A scope in a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Greeting {
    /// The scope.
    pub scope: Scope,
    /// The position of the replica.
    pub cursor: Cursor,
    /// The digest of its live documents there, under the same conditions as in an [`Ack`]. With it
    /// the greeting acknowledges the cursor; if the digest differs, the server answers with the
    /// [reset](ScopeWelcome::reset) of the scope.
    pub digest: Option<Digest>,
}

/// The server's answer to a [`Hello`] that it accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Welcome {
    /// The version that is used from here on.
    pub version: u32,
    /// The server's time in Unix milliseconds.
    pub server_time: u64,
    /// The most that a push batch may hold.
    pub push_limits: Limits,
    /// The most that a chunk may hold.
    pub chunk_limits: Limits,
    /// The largest body in bytes.
    pub body_bytes: usize,
    /// How often either side sends something, in milliseconds; a side that is silent for three
    /// times as long counts as gone.
    pub heartbeat: u64,
    /// The compression that is used from here on.
    pub compression: Option<String>,
    /// The scopes of the greeting that the replica may see, in the same order.
    pub scopes: Vec<ScopeWelcome>,
}

impl Welcome {
    /// Creates a welcome in the newest version of the protocol that this crate supports, with the
    /// usual limits, a heartbeat of 30 seconds, no compression and no scopes. The time is in Unix
    /// milliseconds.
    #[must_use]
    pub fn new(server_time: u64) -> Self {
        Self {
            version: VERSIONS[VERSIONS.len() - 1],
            server_time,
            push_limits: Limits::PUSH,
            chunk_limits: Limits::CHUNK,
            body_bytes: Limits::BODY_BYTES,
            heartbeat: 30_000,
            compression: None,
            scopes: Vec::new(),
        }
    }
}

/// A scope in a [`Welcome`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeWelcome {
    /// The scope.
    pub scope: Scope,
    /// The life of its log.
    pub epoch: Epoch,
    /// Its newest position.
    pub head: Seq,
    /// Tombstones below it are purged.
    pub horizon: Seq,
    /// The newest batch of this replica that the server remembers.
    pub last_push: PushId,
    /// The reset, if the replica's position is not valid.
    pub reset: Option<Reset>,
}

impl ScopeWelcome {
    /// Creates the answer for a scope without purged tombstones, in which the server remembers no
    /// batch of the replica, and whose position is valid.
    #[must_use]
    pub fn new(scope: Scope, epoch: Epoch, head: Seq) -> Self {
        Self { scope, epoch, head, horizon: Seq(0), last_push: PushId(0), reset: None }
    }
}

/// A request for the chunk after a cursor, or for all that follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pull {
    /// The scope.
    pub scope: Scope,
    /// Where it starts.
    pub cursor: Cursor,
    /// The most that a chunk may hold.
    pub limits: Limits,
}

/// A push.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Push {
    /// The batch.
    pub batch: PushBatch,
}

/// How far a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    /// The scope.
    pub scope: Scope,
    /// The life of the log.
    pub epoch: Epoch,
    /// The position up to which everything is applied.
    pub seq: Seq,
    /// The digest of its documents, if nothing of them is unsettled.
    pub digest: Option<Digest>,
    /// The newest mark of the log that the replica has.
    pub mark: Option<LogMark>,
}

impl Ack {
    /// Creates an acknowledgement without a digest and without a mark.
    #[must_use]
    pub fn new(scope: Scope, epoch: Epoch, seq: Seq) -> Self {
        Self { scope, epoch, seq, digest: None, mark: None }
    }
}

/// Why a side closes the connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Goodbye {
    /// A sentence for people.
    pub reason: String,
    /// How long to wait before connecting again, in milliseconds.
    pub retry_after: Option<u64>,
}

/// An error on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// A sentence for people.
    pub message: String,
    /// The retry advice.
    pub retry: Retry,
}

impl From<&Error> for WireError {
    /// Copies kind, message and advice. Context and cause are left out: they may contain internal
    /// details of this side.
    ///
    /// A storage's advice *never* is for this process, which has to open the storage again. After
    /// that the same request works, so the other side gets the advice *later*.
    fn from(error: &Error) -> Self {
        let retry = match (error.kind(), error.retry()) {
            (ErrorKind::Storage | ErrorKind::Closed, Retry::Never) => Retry::Later(None),
            (_, retry) => retry,
        };
        Self { kind: error.kind(), message: error.message().to_owned(), retry }
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        Self::new(wire.kind, wire.message).retrying(wire.retry)
    }
}

/// Every message of a connection. The stream of its frame shows which request it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Client: the greeting, with its identity and the scopes to sync.
    Hello(Hello),
    /// Server: accepts the greeting.
    Welcome(Welcome),
    /// Client: requests the chunk after this cursor. Answered by `Chunk`, `Reset` or `Failed`.
    Pull(Pull),
    /// Client: requests all chunks after this cursor as they appear, as many as there is credit
    /// for. Answered by any number of `Chunk`, then `Reset`, `ScopeGone` or `Failed`.
    Live(Pull),
    /// Client: allows that many more chunks on this live stream.
    Credit(u32),
    /// Client: ends this live stream.
    EndLive,
    /// Client: pushes these changes. Answered by `Verdicts` or `Failed`.
    Push(Push),
    /// Client: acknowledges what it has applied. Answered by `Done`, `Reset` or `Failed`.
    Ack(Ack),
    /// Client: continues with another token. Answered by `Done` or `Failed`.
    Auth(String),
    /// Server: a chunk.
    Chunk(Chunk),
    /// Server: verdicts.
    Verdicts(Verdicts),
    /// Server: the position is not valid.
    Reset(Reset),
    /// Server: the request succeeded.
    Done,
    /// Server: the request failed.
    Failed(WireError),
    /// Server: this scope is gone, or the client may not see it any more.
    ScopeGone(String),
    /// Either: requests a `Pong` with the same number.
    Ping(u64),
    /// Either: answers a `Ping`.
    Pong(u64),
    /// Either: closes the connection.
    Goodbye(Goodbye),
}

impl Codec for Ack {
    fn encode(&self, out: &mut Vec<u8>) {
        self.scope.encode(out);
        self.epoch.encode(out);
        self.seq.encode(out);
        encode_digest_and_mark(self.digest.as_ref(), self.mark.as_ref(), out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let (scope, epoch, seq) =
            (Codec::decode(input)?, Codec::decode(input)?, Codec::decode(input)?);
        let (digest, mark) = decode_digest_and_mark(input)?;
        Ok(Self { scope, epoch, seq, digest, mark })
    }
}

codec_struct! {
    Hello { versions, replica, token, compressions, schema, agent, scopes }
    Greeting { scope, cursor, digest }
    Welcome { version, server_time, push_limits, chunk_limits, body_bytes, heartbeat, compression, scopes }
    ScopeWelcome { scope, epoch, head, horizon, last_push, reset }
    Pull { scope, cursor, limits }
    Push { batch }
    Goodbye { reason, retry_after }
    WireError { kind, message, retry }
}

impl Message {
    /// Appends the binary form of [`Message::Chunk`] with that chunk, without moving it: a server
    /// shares it among many clients.
    pub fn encode_chunk(chunk: &Chunk, out: &mut Vec<u8>) {
        out.push(MessageType::Chunk.tag());
        chunk.encode(out);
    }
}

impl Codec for ErrorKind {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(Self::ALL.iter().position(|k| k == self).unwrap_or_default() as u8);
    }

    /// An unknown kind is of a later version. The retry advice beside it shows what it means for
    /// this side.
    fn decode(input: &mut Reader) -> Result<Self> {
        Ok(Self::ALL.get(usize::from(input.byte()?)).copied().unwrap_or(Self::Internal))
    }
}

impl Codec for Retry {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Never => out.push(0),
            Self::Later(after) => {
                out.push(1);
                after.map(|a| u64::try_from(a.as_millis()).unwrap_or(u64::MAX)).encode(out);
            }
            Self::Reconnect => out.push(2),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self> {
        match input.byte()? {
            0 => Ok(Self::Never),
            1 => Ok(Self::Later(Option::<u64>::decode(input)?.map(Duration::from_millis))),
            2 => Ok(Self::Reconnect),
            n => Err(crate::codec::malformed(format!("{n} is no retry advice"))),
        }
    }
}
