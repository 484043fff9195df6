//! `{"replica":"…","scopes":[{"scope":"default","cursor":"…","digest":"…"}]}`

use serde::{Deserialize, Deserializer, Serialize};
use sync_core::error::Result;
use sync_core::model::{Cursor, Digest, ReplicaId, Scope};
use sync_core::protocol::{Greeting, Hello, VERSIONS};

use super::{at_most, cursor, maybe_digest, read_request, write_json};

fn versions() -> Vec<u32> {
    VERSIONS.to_vec()
}

/// The most scopes that are read from a greeting; the server's own limit is lower.
const MOST_SCOPES: usize = 10_000;

fn few<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    at_most::<{ Hello::VERSIONS }, _, _>(d)
}

fn scopes<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<GreetingJson>, D::Error> {
    at_most::<MOST_SCOPES, _, _>(d)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HelloJson {
    #[serde(default = "versions", deserialize_with = "few")]
    versions: Vec<u32>,
    replica: ReplicaId,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, deserialize_with = "few")]
    compressions: Vec<String>,
    #[serde(default)]
    schema: u32,
    #[serde(default)]
    agent: String,
    #[serde(default, deserialize_with = "scopes")]
    scopes: Vec<GreetingJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GreetingJson {
    scope: Scope,
    #[serde(default, with = "cursor")]
    cursor: Cursor,
    #[serde(default, deserialize_with = "maybe_digest", skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
}

pub(in crate::format) fn write(hello: Hello) -> Result<Vec<u8>> {
    let Hello { versions, replica, token, compressions, schema, agent, scopes } = hello;
    let json = |g: Greeting| GreetingJson { scope: g.scope, cursor: g.cursor, digest: g.digest };
    let scopes = scopes.into_iter().map(json);
    let scopes = scopes.collect();
    write_json(&HelloJson { versions, replica, token, compressions, schema, agent, scopes })
}

pub(in crate::format) fn read(bytes: &[u8], _: Option<&Scope>) -> Result<Hello> {
    let json: HelloJson = read_request(bytes)?;
    let HelloJson { versions, replica, token, compressions, schema, agent, scopes } = json;
    let greeting =
        |g: GreetingJson| Greeting { scope: g.scope, cursor: g.cursor, digest: g.digest };
    let scopes = scopes.into_iter().map(greeting);
    let scopes = scopes.collect();
    Ok(Hello { versions, replica, token, compressions, schema, agent, scopes })
}
