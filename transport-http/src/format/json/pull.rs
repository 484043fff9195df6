//! `{"cursor":"…","documents":100,"bytes":100000}`, each optional.

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{Cursor, Scope};
use sync_core::protocol::Pull;

use super::{cursor, limits, maybe_limit, read_request, scope_of, write_json};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PullJson {
    scope: Option<Scope>,
    #[serde(default, with = "cursor")]
    cursor: Cursor,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
}

pub(in crate::format) fn write(pull: Pull) -> Result<Vec<u8>> {
    let Pull { scope, cursor, limits } = pull;
    let (documents, bytes) = (maybe_limit(limits.documents), maybe_limit(limits.bytes));
    write_json(&PullJson { scope: Some(scope), cursor, documents, bytes })
}

pub(in crate::format) fn read(bytes: &[u8], scope: Option<&Scope>) -> Result<Pull> {
    let json: PullJson = read_request(bytes)?;
    let limits = limits(json.documents, json.bytes);
    Ok(Pull { scope: scope_of(json.scope, scope)?, cursor: json.cursor, limits })
}
