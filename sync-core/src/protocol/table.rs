//! The table of messages: one row for each, from which the codec and the checks of both sides
//! follow. PROTOCOL.md has the same table with the fields.

use super::Message;
use crate::codec::{Codec, Reader, malformed};
use crate::error::Result;

/// Which side may send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The replica.
    Client,
    /// The server.
    Server,
    /// Both.
    Either,
}

/// The part of a message in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opens a stream, and is answered once.
    Request,
    /// Opens a stream, and is answered any number of times.
    Subscription,
    /// Answers a request or a subscription.
    Answer,
    /// Concerns an open stream or the whole connection, and is not answered on a stream.
    Control,
}

macro_rules! messages {
    ($($tag:literal $name:ident $(($field:ident))? $sender:ident $role:ident
        [$($answer:ident)*];)*) => {
        /// The type of a message, without its content.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "named as the variants of `Message`")]
        pub enum MessageType {
            $($name,)*
        }

        impl MessageType {
            /// All of them, in the order of their tags.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the byte that the binary form begins with.
            #[must_use]
            pub fn tag(self) -> u8 {
                match self { $(Self::$name => $tag,)* }
            }

            /// Returns which side may send it.
            #[must_use]
            pub fn sender(self) -> Sender {
                match self { $(Self::$name => Sender::$sender,)* }
            }

            /// Returns its part in an exchange.
            #[must_use]
            pub fn role(self) -> Role {
                match self { $(Self::$name => Role::$role,)* }
            }

            /// Returns the messages that answer it.
            #[must_use]
            pub fn answers(self) -> &'static [Self] {
                match self { $(Self::$name => &[$(Self::$answer),*],)* }
            }
        }

        impl Message {
            /// Returns the type of the message.
            #[must_use]
            pub fn message_type(&self) -> MessageType {
                match self { $(Self::$name $((messages!(@any $field)))? => MessageType::$name,)* }
            }
        }

        impl Codec for Message {
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(self.message_type().tag());
                match self { $(Self::$name $(($field))? => { $($field.encode(out);)? })* }
            }

            fn decode(input: &mut Reader) -> Result<Self> {
                match input.byte()? {
                    $($tag => Ok(Self::$name $(({
                        let $field = Codec::decode(input)?;
                        $field
                    }))?),)*
                    n => Err(malformed(format!("{n} is no Message"))),
                }
            }
        }
    };
    (@any $field:ident) => { _ };
}

messages! {
    1 Hello(m) Client Request [Welcome Failed];
    2 Welcome(m) Server Answer [];
    3 Pull(m) Client Request [Chunk Reset Failed];
    4 Live(m) Client Subscription [Chunk Reset ScopeGone Failed];
    5 Credit(n) Client Control [];
    6 EndLive Client Control [];
    7 Push(m) Client Request [Verdicts Failed];
    8 Ack(m) Client Request [Done Reset Failed];
    9 Auth(token) Client Request [Done Failed];
    16 Chunk(m) Server Answer [];
    17 Verdicts(m) Server Answer [];
    18 Reset(m) Server Answer [];
    19 Done Server Answer [];
    20 Failed(m) Server Answer [];
    21 ScopeGone(why) Server Answer [];
    32 Ping(n) Either Control [Pong];
    33 Pong(n) Either Control [];
    34 Goodbye(m) Either Control [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_answers_something_and_every_request_is_answered_or_refused() {
        for message in MessageType::ALL {
            let asked = |m: &&MessageType| m.answers().contains(message);
            match message.role() {
                Role::Answer => {
                    assert_eq!(message.sender(), Sender::Server, "{message:?}");
                    assert!(MessageType::ALL.iter().any(|m| asked(&m)), "{message:?}");
                    assert!(message.answers().is_empty(), "{message:?}");
                }
                Role::Request | Role::Subscription => {
                    assert_eq!(message.sender(), Sender::Client, "{message:?}");
                    assert!(message.answers().contains(&MessageType::Failed), "{message:?}");
                }
                Role::Control => {}
            }
        }
    }

    #[test]
    fn a_byte_that_is_no_tag_is_named_in_the_error() {
        let error = Message::from_bytes(bytes::Bytes::from_static(&[99])).unwrap_err();
        assert!(error.message().contains("99 is no Message"), "{error}");
    }

    #[test]
    fn the_specification_has_every_row() {
        let page = include_str!("../../../PROTOCOL.md");
        for message in MessageType::ALL {
            let row = format!("| {} | `{message:?}` |", message.tag());
            assert!(page.contains(&row), "PROTOCOL.md lacks {row}");
        }
    }
}
