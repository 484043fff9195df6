//! Names that both sides agree on: paths, headers, parameters and types of content. [PROTOCOL.md]
//! defines their meaning.
//!
//! [PROTOCOL.md]: https://github.com/twotide/twotide/blob/main/PROTOCOL.md

/// The greeting.
pub const HELLO: &str = "/v1/hello";
/// A summary of a scope.
pub const SCOPE: &str = "/v1/scopes/{scope}";
/// The changes of a scope.
pub const CHANGES: &str = "/v1/scopes/{scope}/changes";
/// Batches that replicas push.
pub const PUSHES: &str = "/v1/scopes/{scope}/pushes";
/// The positions that replicas acknowledge.
pub const ACKNOWLEDGEMENTS: &str = "/v1/scopes/{scope}/acknowledgements";
/// The OpenAPI document.
pub const OPENAPI: &str = "/v1/openapi.json";

/// A message of the protocol in one frame.
pub const FRAME: &str = "application/vnd.twotide.v1";
/// A message as JSON.
pub const JSON: &str = "application/json";
/// A stream of messages, each the data of one server-sent event.
pub const EVENTS: &str = "text/event-stream";

/// The header that names the replica a request comes from: 32 hexadecimal digits.
pub const REPLICA: &str = "twotide-replica";
