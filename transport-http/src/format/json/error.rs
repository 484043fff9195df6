//! `{"kind":"overloaded","message":"…","retry":{"after_ms":1500}}`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sync_core::error::{ErrorKind, Result, Retry};
use sync_core::model::Scope;
use sync_core::protocol::WireError;

use super::{read_answer, write_json};

#[derive(Serialize, Deserialize)]
struct ErrorJson {
    kind: String,
    message: String,
    retry: RetryJson,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RetryJson {
    Never,
    Reconnect,
    AfterMs(Option<u64>),
}

pub(in crate::format) fn write(error: WireError) -> Result<Vec<u8>> {
    let retry = match error.retry {
        Retry::Never => RetryJson::Never,
        Retry::Reconnect => RetryJson::Reconnect,
        Retry::Later(after) => {
            RetryJson::AfterMs(after.map(|a| u64::try_from(a.as_millis()).unwrap_or(u64::MAX)))
        }
    };
    write_json(&ErrorJson { kind: error.kind.as_str().to_owned(), message: error.message, retry })
}

/// Reads an error. An unknown kind comes from a later version: then the retry advice determines how
/// the client reacts.
pub(in crate::format) fn read(bytes: &[u8], _: Option<&Scope>) -> Result<WireError> {
    let ErrorJson { kind, message, retry } = read_answer(bytes)?;
    let kind =
        ErrorKind::ALL.into_iter().find(|k| k.as_str() == kind).unwrap_or(ErrorKind::Internal);
    let retry = match retry {
        RetryJson::Never => Retry::Never,
        RetryJson::Reconnect => Retry::Reconnect,
        RetryJson::AfterMs(after) => Retry::Later(after.map(Duration::from_millis)),
    };
    Ok(WireError { kind, message, retry })
}
