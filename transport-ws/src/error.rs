//! Converts errors of sockets.

use sync_core::error::{Error, ErrorKind, Retry};
use tokio_tungstenite::tungstenite;
use tungstenite::error::ProtocolError;

/// The close code for a message that is too large for the side that closes the socket (RFC 6455,
/// 7.4.1).
const TOO_BIG: u16 = 1009;

/// Converts an error of a socket.
pub(crate) fn of_socket(error: tungstenite::Error) -> Error {
    use tungstenite::Error as Ws;
    match error {
        Ws::ConnectionClosed
        | Ws::AlreadyClosed
        | Ws::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => Error::new(ErrorKind::Network, "the link was closed"),
        Ws::Io(e) => Error::new(ErrorKind::Network, "the link broke").because(e),
        Ws::Tls(e) => Error::new(ErrorKind::Network, "TLS failed").because(e),
        Ws::Capacity(e) => {
            let error = Error::new(ErrorKind::TooLarge, "a message is over the limit");
            error.retrying(Retry::Reconnect).because(e)
        }
        Ws::WriteBufferFull(_) => {
            Error::new(ErrorKind::Internal, "a message is over the limit of the write buffer")
        }
        #[cfg(feature = "client")]
        Ws::Http(response) => refusal(&response),
        #[cfg(feature = "client")]
        Ws::Protocol(ProtocolError::HttparseError(e)) => Error::new(
            ErrorKind::Network,
            "the other side does not speak HTTP: the address of a port for TLS begins with wss://",
        )
        .because(e),
        e => Error::new(ErrorKind::Protocol, "the other side does not speak WebSocket").because(e),
    }
}

/// Returns the error for a text message, which the protocol does not have.
pub(crate) fn text() -> Error {
    Error::new(ErrorKind::Protocol, "a text message came where frames are expected")
}

/// Returns the error for a socket that the other side closed.
pub(crate) fn closed(code: u16, reason: &str) -> Error {
    let error = match code {
        TOO_BIG => {
            let error =
                Error::new(ErrorKind::TooLarge, "a message is too large for the other side");
            error.retrying(Retry::Reconnect)
        }
        _ => Error::new(ErrorKind::Network, "the link was closed"),
    };
    error.with("code", code).with("reason", format!("{reason:?}"))
}

/// Returns the error for an HTTP answer instead of a WebSocket.
#[cfg(feature = "client")]
fn refusal(response: &tungstenite::http::Response<Option<Vec<u8>>>) -> Error {
    use sync_core::environment::{Environment, System};

    let status = response.status();
    let text = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
    let asked = text("retry-after");
    let wait = |asked| transport_kit::retry_after(asked, text("date"), System.now());
    let later = Retry::Later(asked.and_then(wait).map(transport_kit::gateway_wait));
    // A server refuses tokens in frames. Each of these answers may come from a gateway or a
    // network, and be temporary.
    let kind = transport_kit::gateway_error(status.as_u16());
    let mut error = Error::new(kind, "the server refused the connection").with("status", status);
    let said = response.body().as_deref().and_then(|b| std::str::from_utf8(b).ok());
    if let Some(said) = said.filter(|s| !s.is_empty()) {
        error = error.with("answer", format!("{:?}", transport_kit::shown_text(said)));
    }
    error.retrying(later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_for_a_too_large_message_has_its_reason() {
        let error = closed(1009, "too big");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::TooLarge, Retry::Reconnect));
        assert_eq!(closed(1001, "").kind(), ErrorKind::Network);
    }
}
