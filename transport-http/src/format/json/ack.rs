//! `{"epoch":"…","seq":17}`

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{Digest, Epoch, LogMark, Scope, Seq};
use sync_core::protocol::Ack;

use super::{mark, maybe_digest, read_request, scope_of, write_json};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AckJson {
    scope: Option<Scope>,
    epoch: Epoch,
    seq: Seq,
    #[serde(default, deserialize_with = "maybe_digest", skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(default, with = "mark", skip_serializing_if = "Option::is_none")]
    mark: Option<LogMark>,
}

pub(in crate::format) fn write(ack: Ack) -> Result<Vec<u8>> {
    let Ack { scope, epoch, seq, digest, mark } = ack;
    write_json(&AckJson { scope: Some(scope), epoch, seq, digest, mark })
}

pub(in crate::format) fn read(bytes: &[u8], scope: Option<&Scope>) -> Result<Ack> {
    let AckJson { scope: own, epoch, seq, digest, mark } = read_request(bytes)?;
    Ok(Ack { scope: scope_of(own, scope)?, epoch, seq, digest, mark })
}
