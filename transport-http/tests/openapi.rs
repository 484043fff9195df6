//! The OpenAPI document describes the actual routes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/document.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod document;
#[path = "support/served.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod served;

use std::collections::BTreeSet;

use document::{METHODS, assert_valid, document, operations, resolved, validator};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};
use served::{REPLICA, Served, expect, memory, within};
use sync_core::error::ErrorKind;
use sync_core::model::{Epoch, Seq};
use sync_server::{Hooks, ServerOptions};
use transport_http::api;
use transport_http::format::status_of;

#[test]
fn the_document_is_valid() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(names.insert(id), "{method} {path}: the operation's id is not its own");
        assert!(operation["summary"].is_string());
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|s| s.starts_with('2')), "{method} {path}");
        for (status, response) in responses {
            assert!(status.parse::<u16>().is_ok_and(|s| (200..600).contains(&s)));
            assert!(resolved(&document, response)["description"].is_string(), "{path} {status}");
        }
        // Every name in braces is a parameter.
        let of_path = document["paths"][&path]["parameters"].as_array();
        let parameters = of_path.into_iter().chain(operation["parameters"].as_array()).flatten();
        let mut in_path = BTreeSet::new();
        for parameter in parameters {
            let parameter = resolved(&document, parameter);
            assert!(parameter["schema"].is_object(), "{parameter}");
            match parameter["in"].as_str().unwrap() {
                "path" => {
                    assert_eq!(parameter["required"], true);
                    in_path.insert(format!("{{{}}}", parameter["name"].as_str().unwrap()));
                }
                place => assert!(["query", "header"].contains(&place)),
            }
        }
        let braces = path.split('/').filter(|s| s.starts_with('{')).map(str::to_owned);
        assert_eq!(in_path, braces.collect(), "{path}");
    }
    references(&document, &document);
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}");
        validator(&document, schema);
    }
}

/// Asserts that every reference has a target.
fn references(document: &Value, value: &Value) {
    match value {
        Value::Object(members) => {
            resolved(document, value);
            members.values().for_each(|v| references(document, v));
        }
        Value::Array(items) => items.iter().for_each(|v| references(document, v)),
        _ => {}
    }
}

#[test]
fn every_example_is_valid() {
    let document = document();
    let mut examples = 0;
    for (_, _, operation) in operations(&document) {
        let content = &operation["requestBody"]["content"][api::JSON];
        if content.is_object() {
            assert_valid(&document, &content["schema"], &content["example"]);
            examples += 1;
        }
    }
    assert_eq!(examples, 4);
}

#[tokio::test]
async fn the_routes_and_the_document_are_the_same() {
    let document = document();
    let served = Served::new().await;
    let told: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(told, transport_http::paths().map(|(path, _)| path.to_owned()).collect());
    served.push(1, &["a"]).await;
    for (path, allow) in transport_http::paths() {
        let url = served.url(&path.replace("{scope}", "room"));
        let allowed: BTreeSet<_> = allow.split(", ").map(str::to_lowercase).collect();
        for method in METHODS {
            let is_told = document["paths"][path][method].is_object();
            let sent = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = within(served.client.request(sent, &url).send()).await.unwrap();
            let status = answer.status().as_u16();
            let is_served = ![404, 405].contains(&status);
            assert_eq!(is_served, allowed.contains(method), "{method} {path}: {status}");
            match method {
                // These are defined by HTTP itself.
                "options" => {
                    assert_eq!((status, &answer.headers()["allow"]), (204, &allow.parse().unwrap()))
                }
                "head" => assert_eq!(is_served, document["paths"][path]["get"].is_object()),
                _ => assert_eq!(is_served, is_told, "{method} {path}: {status}"),
            }
        }
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let served = Served::new().await;
    assert_eq!(expect(served.get(api::OPENAPI), 200).await.1, document());
}

#[tokio::test]
async fn the_document_has_the_address_of_the_routes_also_when_nested() {
    let server = memory(Hooks::default(), ServerOptions::default());
    for mount in ["", "/sync", "/a/b"] {
        let routes = transport_http::router(server.clone());
        let app = if mount.is_empty() { routes } else { axum::Router::new().nest(mount, routes) };
        let served = Served::app(server.clone(), app).await;
        let url: Url = served.url(&format!("{mount}{}", api::OPENAPI)).parse().unwrap();
        let (_, document) = expect(served.client.get(url.clone()), 200).await;
        // As the specification defines it: relative to the document.
        let root = url.join(document["servers"][0]["url"].as_str().unwrap()).unwrap();
        let hello = format!("{}{}", root.as_str().trim_end_matches('/'), api::HELLO);
        assert_eq!(hello, served.url(&format!("{mount}{}", api::HELLO)));
    }
}

/// Every status of an error of this crate is documented for every operation except reading the
/// document.
#[test]
fn every_status_of_an_error_is_documented() {
    let document = document();
    let kinds = [
        ErrorKind::InvalidInput,
        ErrorKind::Unauthenticated,
        ErrorKind::PermissionDenied,
        ErrorKind::Busy,
        ErrorKind::Network,
        ErrorKind::Overloaded,
        ErrorKind::Timeout,
        ErrorKind::Storage,
    ];
    for (path, method, operation) in operations(&document).iter().filter(|o| o.0 != api::OPENAPI) {
        for kind in kinds {
            let status = status_of(kind).to_string();
            assert!(operation["responses"][&status].is_object(), "{method} {path}: {status}");
        }
    }
}

/// Sends a request, and compares the answer with the document's description of its status.
async fn check(
    document: &Value,
    path: &str,
    method: &str,
    request: RequestBuilder,
    status: u16,
) -> Value {
    let (headers, answer) = expect(request, status).await;
    let operation = &document["paths"][path][method];
    let response = resolved(document, &operation["responses"][status.to_string()]);
    assert!(response.is_object(), "{method} {path}: {status} is not documented");
    let content = &response["content"][api::JSON];
    assert_eq!(content.is_object(), headers.contains_key("content-type"));
    if content.is_object() {
        assert_valid(document, &content["schema"], &answer);
    }
    answer
}

#[tokio::test]
async fn real_answers_match_the_document() {
    let document = document();
    let served = Served::new().await;
    let check = async |path: &str, method: &str, request, status| {
        check(&document, path, method, request, status).await
    };
    let get = |path: &str| served.get(&path.replace("{scope}", "room"));
    let post = |path: &str, json: Value| {
        let request = served.post(&path.replace("{scope}", "room"), &json.to_string());
        request.header(api::REPLICA, REPLICA)
    };
    let push = |id: u64, changes: Value| {
        post(api::PUSHES, json!({"replica": REPLICA, "id": id, "changes": changes}))
    };
    let change = |id: &str, more: Value| {
        let mut change = json!({"collection": "notes", "id": id});
        change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        change
    };
    check(api::SCOPE, "get", get(api::SCOPE), 404).await;
    // Every kind of verdict but the server's own merge.
    let far = format!("ffffffffffff-0000-{REPLICA}");
    let changes = json!([
        change("a", json!({"body": {"text": "hi"}})),
        change("a", json!({"body": 2})),
        change("a", json!({"body": {"text": "hi"}})),
        change("b", json!({"body": null})),
        change("c", json!({"revision": far, "body": 1})),
        change("d", json!({"body": "x".repeat(2 << 20)})),
        change("e", json!({"deleted": true})),
    ]);
    let verdicts = check(api::PUSHES, "post", push(2, changes), 200).await;
    let kinds: Vec<_> = verdicts["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["kind"].as_str().unwrap())
        .collect();
    let expected =
        ["accepted", "conflict", "superseded", "accepted", "rejected", "rejected", "accepted"];
    assert_eq!(kinds, expected);
    assert_eq!(check(api::PUSHES, "post", push(1, json!([])), 200).await["outcome"], "stale");
    assert_eq!(check(api::PUSHES, "post", push(2, json!([])), 200).await["outcome"], "cloned");
    let base = json!({
        "revision": far, "epoch": verdicts["epoch"], "seq": 1, "deleted": false,
    });
    let absent = push(3, json!([change("nowhere", json!({"base": base, "body": 1}))]));
    let absent = check(api::PUSHES, "post", absent, 200).await;
    assert_eq!(absent["verdicts"][0]["current"]["revision"], Value::Null);
    check(api::PUSHES, "post", push(4, json!([{"id": 1}])), 400).await;
    check(api::PUSHES, "post", served.client.post(served.url("/v1/scopes/room/pushes")), 415).await;

    check(api::SCOPE, "get", get(api::SCOPE), 200).await;
    let chunk = check(api::CHANGES, "get", get(api::CHANGES), 200).await;
    let cursor = chunk["cursor"].as_str().unwrap().to_owned();
    let tag = format!("\"{}-{}\"", chunk["epoch"].as_str().unwrap(), chunk["next"]);
    let at_head = format!("{}?cursor={cursor}", api::CHANGES);
    check(api::CHANGES, "get", get(&at_head).header("if-none-match", tag), 304).await;
    check(api::CHANGES, "get", get(api::CHANGES).header("accept", "a/b"), 406).await;
    check(api::CHANGES, "post", post(api::CHANGES, json!({"documents": 1})), 200).await;
    check(api::CHANGES, "post", post(api::CHANGES, json!({"cursor": "!"})), 400).await;

    let hello = |more: Value| {
        let mut hello =
            json!({"replica": REPLICA, "scopes": [{"scope": "room", "cursor": cursor}]});
        hello.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(api::HELLO, hello)
    };
    check(api::HELLO, "post", hello(json!({})), 200).await;
    check(api::HELLO, "post", hello(json!({"versions": [7]})), 426).await;
    let ack = json!({"epoch": chunk["epoch"], "seq": chunk["next"]});
    check(api::ACKNOWLEDGEMENTS, "post", post(api::ACKNOWLEDGEMENTS, ack.clone()), 204).await;
    let mut differs = ack;
    differs["digest"] = "0".repeat(32).into();
    check(api::ACKNOWLEDGEMENTS, "post", post(api::ACKNOWLEDGEMENTS, differs), 200).await;
    check(api::OPENAPI, "get", get(api::OPENAPI), 200).await;

    let from: Epoch = chunk["epoch"].as_str().unwrap().parse().unwrap();
    let storage = served.server.storage();
    let room = sync_core::model::Scope::new("room").unwrap();
    storage.begin_epoch(room, from, Seq(1), Epoch([9; 16])).await.unwrap();
    let reset = check(api::CHANGES, "get", get(&at_head), 200).await;
    assert_eq!(reset["reset"]["cut"], 1);
    let welcome = check(api::HELLO, "post", hello(json!({})), 200).await;
    assert_eq!(welcome["scopes"][0]["reset"]["reason"], "epoch_changed");
    served.server.drain();
    check(api::CHANGES, "get", get(api::CHANGES), 503).await;
}
