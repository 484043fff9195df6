//! A replica's options as data: the content of an app's settings file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::time::Duration;

use serde_json::{Value, json};
use twotide::backend::model::{Limits, Scope};
use twotide::prelude::*;
use twotide::{Direction, ReplicaConfig, RetryPolicy, StorageUrl, Strategy};

fn read(value: Value) -> Result<ReplicaConfig, String> {
    // Parsed from text, as from a file: a `Value` is read by other code than text.
    serde_json::from_str(&value.to_string()).map_err(|e| e.to_string())
}

/// Every option with a value that is not its default.
fn unusual() -> Value {
    let mut all = json!({
        "storage": "memory:", "server": "wss://sync.example.com", "token": "secret", "scope": "team",
        "direction": "pull", "resolver": "merge", "max_failures": 7, "batch_documents": 10,
        "retry": { "enabled": false, "first": "1s", "factor": 3, "ceiling": "1m 30s", "jitter": false },
        "batch_bytes": 20, "chunk_documents": 30, "chunk_bytes": 40, "pipeline_depth": 5,
        "pipeline_bytes": 60, "auto_start": true, "connect_timeout": "2s", "request_timeout": "250ms",
        "compression": true, "keep_revoked": true, "schema": 8, "local_only": ["drafts"],
        "collections": ["notes", "tags"], "allowed_collections": ["people"]
    });
    if cfg!(feature = "http") {
        all["live_by"] = json!("long_poll");
        all["poll_interval"] = json!("10s");
        all["proxy"] = json!("http://user:password@proxy:3128");
    }
    all
}

#[test]
fn every_option_survives_serialization() {
    let config = read(unusual()).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap(), unusual());
    let default = ReplicaConfig::default();
    let text = serde_json::to_string(&default).unwrap();
    assert_eq!(serde_json::from_str::<ReplicaConfig>(&text).unwrap(), default);
    // A new option has to be added above: no option of it has its default.
    let usual = serde_json::to_value(&default).unwrap();
    for (name, value) in unusual().as_object().unwrap() {
        assert_ne!(usual.get(name), Some(value), "{name}");
    }
    for name in usual.as_object().unwrap().keys() {
        assert!(unusual().get(name).is_some(), "{name} is not tested");
    }
}

#[test]
fn the_names_of_earlier_files_are_read() {
    let old = read(json!({ "attempts": 7, "known": ["people"] })).unwrap();
    let new = read(json!({ "max_failures": 7, "allowed_collections": ["people"] })).unwrap();
    assert_eq!(old, new);
    let written = serde_json::to_value(&old).unwrap();
    assert!(written.get("attempts").is_none() && written.get("known").is_none(), "{written}");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn settings_of_sqlite_are_used_and_the_storage_that_is_named_last_counts() {
    use twotide::sqlite::SqliteConfig;

    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.db");
    let mut config = SqliteConfig::new(&small);
    config.max_page_count = Some(64);
    let builder = Replica::builder().memory().sqlite_with(config.clone());
    assert_eq!(builder.options().storage, Some(StorageUrl::sqlite(&small)));
    let replica = builder.open().await.unwrap();
    let large = "x".repeat(64 * 4_096);
    let error = replica.collection("notes").unwrap().put("n", &large).await.unwrap_err();
    assert_eq!(error.kind(), twotide::ErrorKind::Storage, "{error}");
    replica.close().await.unwrap();
    // The same file without the bound, and another storage.
    for builder in [
        Replica::builder().sqlite_with(config.clone()).sqlite(&small),
        Replica::builder().sqlite_with(config).memory(),
    ] {
        let replica = builder.open().await.unwrap();
        replica.collection("notes").unwrap().put("n", &large).await.unwrap();
        replica.close().await.unwrap();
    }
    let refused = Replica::builder().sqlite_with(SqliteConfig::new(":memory:")).open().await;
    assert_eq!(refused.unwrap_err().kind(), twotide::ErrorKind::InvalidInput);
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let mut written = json!({
        "scope": "default", "direction": "both", "resolver": "lww", "max_failures": 5,
        "retry": { "enabled": true, "first": "250ms", "factor": 2, "ceiling": "30s", "jitter": true },
        "batch_documents": 1_000, "batch_bytes": 4 << 20, "chunk_documents": 1_000,
        "chunk_bytes": 4 << 20, "pipeline_depth": 2, "pipeline_bytes": 16 << 20,
        "auto_start": false, "connect_timeout": "15s", "request_timeout": "1m",
        "compression": false, "keep_revoked": false, "schema": 0
    });
    if cfg!(feature = "http") {
        written["live_by"] = json!("auto");
        written["poll_interval"] = json!("5s");
        written["proxy"] = json!("system");
    }
    assert_eq!(serde_json::to_value(ReplicaConfig::default()).unwrap(), written);
    assert_eq!(read(json!({})).unwrap(), ReplicaConfig::default());
    assert_eq!(Replica::builder().options(), &ReplicaConfig::default());
}

#[test]
fn the_builder_applies_every_option_of_the_config() {
    let mut retry = RetryPolicy::default();
    (retry.enabled, retry.first, retry.factor) = (false, Duration::from_secs(1), 3);
    (retry.ceiling, retry.jitter) = (Duration::from_secs(90), false);
    let built = Replica::builder()
        .storage_at(StorageUrl::memory())
        .server("wss://sync.example.com")
        .token("secret")
        .scope("team")
        .direction(Direction::Pull)
        .strategy(Strategy::Merge)
        .retry(retry)
        .max_failures(7)
        .push_limits(Limits { documents: 10, bytes: 20 })
        .chunk_limits(Limits { documents: 30, bytes: 40 })
        .pipeline(5, 60)
        .auto_start(true)
        .connect_timeout(Duration::from_secs(2))
        .request_timeout(Duration::from_millis(250))
        .compression(true)
        .keep_revoked(true)
        .schema(8)
        .collections(["notes", "tags"])
        .local_only(["drafts"])
        .allowed_collections(["people"]);
    #[cfg(feature = "http")]
    let built = built
        .live_by(twotide::http::LiveBy::LongPoll)
        .poll_interval(Duration::from_secs(10))
        .proxy("http://user:password@proxy:3128".parse().unwrap());
    assert_eq!(built.options(), &read(unusual()).unwrap());
    let taken_over = Replica::builder().config(read(unusual()).unwrap());
    assert_eq!(taken_over.options(), built.options());
}

#[tokio::test]
async fn a_replica_opens_from_a_config_and_later_calls_change_it() {
    let config =
        read(json!({ "storage": "memory:", "scope": "team", "direction": "push" })).unwrap();
    let replica = Replica::builder().config(config.clone()).open().await.unwrap();
    assert_eq!((replica.scope().as_str(), replica.direction()), ("team", Direction::Push));
    assert_eq!(replica.status().borrow().direction, Direction::Push);
    let other = Replica::builder().config(config).scope("other").open().await.unwrap();
    assert_eq!(other.scope(), &Scope::new("other").unwrap());
}

#[test]
fn an_unknown_option_is_an_error_that_lists_the_options() {
    for (bad, named) in [
        (json!({ "sever": "ws://a" }), ["`sever`", "`server`"]),
        (json!({ "retry": { "delay": "1s" } }), ["`delay`", "`first`"]),
        (json!({ "heartbeat": "1s" }), ["`heartbeat`", "`connect_timeout`"]),
    ] {
        let error = read(bad).unwrap_err();
        assert!(named.iter().all(|n| error.contains(n)), "{error}");
    }
}

#[test]
fn an_invalid_value_is_an_error_that_states_what_is_expected() {
    for (bad, named) in [
        (json!({ "direction": "up" }), ["`up`", "`both`"]),
        (json!({ "resolver": "mine" }), ["`mine`", "`merge`"]),
        (json!({ "storage": "redis:x" }), ["redis:x", "memory:"]),
        (json!({ "scope": "" }), ["scope", "empty"]),
        (json!({ "connect_timeout": "30" }), ["\"30\"", "250ms"]),
        (json!({ "connect_timeout": "3 parsecs" }), ["parsecs", "30s"]),
        (json!({ "retry": { "first": 250 } }), ["250", "string"]),
        (json!({ "schema": -1 }), ["-1", "u32"]),
    ] {
        let error = read(bad).unwrap_err();
        assert!(named.iter().all(|n| error.contains(n)), "{error}");
    }
}

#[tokio::test]
async fn a_value_out_of_range_is_an_error_when_the_replica_is_opened() {
    let mut wrong = vec![
        (json!({ "max_failures": 0 }), "`max_failures` is 0"),
        (json!({ "retry": { "factor": 0 } }), "`retry.factor` is 0"),
        (json!({ "retry": { "first": "0s" } }), "`retry.first` is 0ns"),
        (json!({ "retry": { "first": "1m" } }), "`retry.ceiling` is 30s"),
        (json!({ "batch_documents": 0 }), "`batch_documents` is 0"),
        (json!({ "batch_bytes": 0 }), "`batch_bytes` is 0"),
        (json!({ "chunk_documents": 0 }), "`chunk_documents` is 0"),
        (json!({ "chunk_bytes": 0 }), "`chunk_bytes` is 0"),
        (json!({ "connect_timeout": "0s" }), "`connect_timeout` is 0ns"),
        (json!({ "request_timeout": "1us" }), "`request_timeout` is 1µs"),
    ];
    if cfg!(feature = "http") {
        wrong.push((json!({ "poll_interval": "0s" }), "`poll_interval` is 0ns"));
    }
    for (bad, told) in wrong {
        let config = read(bad).unwrap();
        let error = Replica::builder().config(config).memory().open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(told), "{error}");
        assert!(error.to_string().contains("has to be"), "{error}");
    }
}

#[test]
fn the_token_is_not_in_the_debug_output() {
    let config = read(unusual()).unwrap();
    let shown = format!("{config:?} {:?}", Replica::builder().config(config.clone()));
    assert!(!shown.contains("secret"), "{shown}");
}
