//! One step of an exploration.

use std::fmt;

/// A step. Replicas and documents are numbers; a message is named by its place in the list of those
/// in transit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are the replica, the document and the message")]
pub enum ModelAction {
    /// The app writes a document.
    Write { replica: usize, document: usize },
    /// The app deletes a document.
    Delete { replica: usize, document: usize },
    /// The replica's batch is sent, possibly again.
    Form { replica: usize },
    /// The replica's next chunk is read and sent.
    Read { replica: usize },
    /// The chunk after the one in transit is read.
    ReadAhead { replica: usize },
    /// A message arrives.
    Deliver { message: usize },
    /// A message arrives, and stays in transit.
    Double { message: usize },
    /// A message is lost.
    Lose { message: usize },
    /// The replica loses its link.
    Cut { replica: usize },
    /// The time advances until the replica's engine acts on a deadline.
    Wake { replica: usize },
    /// The replica's process crashes and starts again.
    Crash { replica: usize },
    /// The server crashes and starts again.
    Restart,
    /// The server purges its tombstones.
    Purge,
    /// The server is backed up.
    Backup,
    /// The server is restored from the backup, with an announcement.
    Restore,
}

impl ModelAction {
    /// Returns the replica that the action concerns.
    pub(super) fn replica(self) -> Option<usize> {
        match self {
            Self::Write { replica, .. }
            | Self::Delete { replica, .. }
            | Self::Form { replica }
            | Self::Read { replica }
            | Self::ReadAhead { replica }
            | Self::Cut { replica }
            | Self::Wake { replica }
            | Self::Crash { replica } => Some(replica),
            _ => None,
        }
    }

    /// Returns the message that the action concerns.
    pub(super) fn message(self) -> Option<usize> {
        match self {
            Self::Deliver { message } | Self::Double { message } | Self::Lose { message } => {
                Some(message)
            }
            _ => None,
        }
    }
}

/// Shows messages by their number; a caller that has the messages can print more.
impl fmt::Display for ModelAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { replica, document } => {
                write!(f, "replica {replica} writes document {document}")
            }
            Self::Delete { replica, document } => {
                write!(f, "replica {replica} deletes document {document}")
            }
            Self::Form { replica } => write!(f, "replica {replica} sends its batch"),
            Self::Read { replica } => {
                write!(f, "replica {replica} asks for its next chunk, which is read")
            }
            Self::ReadAhead { replica } => {
                write!(f, "replica {replica} asks for the chunk after that, which is read")
            }
            Self::Deliver { message } => write!(f, "message {message} arrives"),
            Self::Double { message } => write!(f, "message {message} arrives, and will again"),
            Self::Lose { message } => write!(f, "message {message} is lost"),
            Self::Cut { replica } => write!(f, "replica {replica} loses its link"),
            Self::Wake { replica } => write!(f, "time passes until replica {replica} tries again"),
            Self::Crash { replica } => write!(f, "replica {replica} dies and starts again"),
            Self::Restart => write!(f, "the server dies and starts again"),
            Self::Purge => write!(f, "the server forgets its tombstones"),
            Self::Backup => write!(f, "the server is backed up"),
            Self::Restore => write!(f, "the server is restored from the backup"),
        }
    }
}
