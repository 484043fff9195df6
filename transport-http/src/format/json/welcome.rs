//! `{"version":1,"server_time_ms":…,"push_limits":{"documents":1000,"bytes":4194304},…}`

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{Epoch, Limits, PushId, Scope, Seq};
use sync_core::protocol::{ScopeWelcome, Welcome};

use super::reset::Told;
use super::{read_answer, write_json};

#[derive(Serialize, Deserialize)]
struct WelcomeJson {
    version: u32,
    server_time_ms: u64,
    push_limits: Limits,
    chunk_limits: Limits,
    body_bytes: usize,
    heartbeat_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<String>,
    scopes: Vec<ScopeJson>,
}

#[derive(Serialize, Deserialize)]
struct ScopeJson {
    scope: Scope,
    epoch: Epoch,
    head: Seq,
    horizon: Seq,
    last_push: PushId,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<Told>,
}

pub(in crate::format) fn write(welcome: Welcome) -> Result<Vec<u8>> {
    let scopes = welcome.scopes.into_iter().map(|s| {
        let ScopeWelcome { scope, epoch, head, horizon, last_push, reset } = s;
        ScopeJson { scope, epoch, head, horizon, last_push, reset: reset.map(Told::from) }
    });
    write_json(&WelcomeJson {
        version: welcome.version,
        server_time_ms: welcome.server_time,
        push_limits: welcome.push_limits,
        chunk_limits: welcome.chunk_limits,
        body_bytes: welcome.body_bytes,
        heartbeat_ms: welcome.heartbeat,
        compression: welcome.compression,
        scopes: scopes.collect(),
    })
}

pub(in crate::format) fn read(bytes: &[u8], _: Option<&Scope>) -> Result<Welcome> {
    let json: WelcomeJson = read_answer(bytes)?;
    let mut scopes = Vec::with_capacity(json.scopes.len());
    for s in json.scopes {
        let ScopeJson { scope, epoch, head, horizon, last_push, reset } = s;
        let reset = reset.map(Told::into_reset).transpose()?;
        scopes.push(ScopeWelcome { scope, epoch, head, horizon, last_push, reset });
    }
    Ok(Welcome {
        version: json.version,
        server_time: json.server_time_ms,
        push_limits: json.push_limits,
        chunk_limits: json.chunk_limits,
        body_bytes: json.body_bytes,
        heartbeat: json.heartbeat_ms,
        compression: json.compression,
        scopes,
    })
}
