//! Every answer is one that the document describes; requests that the document allows are accepted,
//! and others are not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/document.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod document;
#[path = "support/served.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod served;

use std::time::Duration;

use document::{assert_valid, document, errors, operations, resolved, validator};
use proptest::prelude::*;
use proptest::string::string_regex;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Map, Value, json};
use served::{Served, memory, within};
use sync_server::{Hooks, ServerOptions};
use transport_http::api;

/// Returns any JSON of small depth.
fn anything() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,4}", inner), 0..4)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
    .boxed()
}

/// Returns texts of a pattern. Its end is bounded: names are bounded in bytes, which a pattern
/// cannot express.
fn text(schema: &Value) -> BoxedStrategy<Value> {
    let Some(pattern) = schema["pattern"].as_str() else {
        return "[ -~]{0,12}".prop_map(Value::from).boxed();
    };
    let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
    let pattern = match pattern.strip_suffix('*') {
        Some(each) => format!("{each}{{1,12}}"),
        None => pattern.to_owned(),
    };
    string_regex(&pattern).unwrap().prop_map(Value::from).boxed()
}

fn of_type(document: &Value, schema: &Value, kind: &str) -> BoxedStrategy<Value> {
    match kind {
        "null" => Just(Value::Null).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "string" => text(schema),
        "integer" => {
            let bound = |name: &str, otherwise| schema[name].as_u64().unwrap_or(otherwise);
            let (least, most) = (bound("minimum", 0), bound("maximum", u64::MAX));
            prop_oneof![least..=most, least..=most.min(20), Just(least), Just(most)]
                .prop_map(Value::from)
                .boxed()
        }
        "array" => {
            let items = allowed(document, &schema["items"]);
            prop::collection::vec(items, 0..4).prop_map(Value::from).boxed()
        }
        "object" => object(document, schema),
        other => panic!("{other}"),
    }
}

fn object(document: &Value, schema: &Value) -> BoxedStrategy<Value> {
    let required = |name: &String| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|n| *n == **name))
    };
    let mut members = Just(Map::new()).boxed();
    for (name, property) in schema["properties"].as_object().unwrap() {
        let value = allowed(document, property);
        let value = match required(name) {
            true => value.prop_map(Some).boxed(),
            false => prop::option::of(value).boxed(),
        };
        let name = name.clone();
        members = (members, value)
            .prop_map(move |(mut members, value)| {
                members.extend(value.map(|value| (name.clone(), value)));
                members
            })
            .boxed();
    }
    let valid = validator(document, schema);
    members
        .prop_map(Value::from)
        .prop_filter("conditions between members", move |value| valid.is_valid(value))
        .boxed()
}

/// Returns values that a schema allows.
fn allowed(document: &Value, schema: &Value) -> BoxedStrategy<Value> {
    match schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
        // Opaque texts of the server.
        Some("Cursor") => return Just(json!("")).boxed(),
        Some("Mark") => {
            return Just(json!("4MikyzEND1-dL206W3yOkAQBiO_NmsXk1pEiAQSAgICAgICAgAE")).boxed();
        }
        _ => {}
    }
    let schema = resolved(document, schema);
    if let Some(one) = schema.get("const") {
        return Just(one.clone()).boxed();
    }
    if let Some(all) = schema["enum"].as_array() {
        return prop::sample::select(all.clone()).boxed();
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(all) = schema[choice].as_array() {
            let all = all.iter().map(|one| allowed(document, one));
            return prop::strategy::Union::new(all).boxed();
        }
    }
    match &schema["type"] {
        Value::String(kind) => of_type(document, schema, kind),
        Value::Array(kinds) => {
            let all = kinds.iter().map(|kind| of_type(document, schema, kind.as_str().unwrap()));
            prop::strategy::Union::new(all).boxed()
        }
        _ => anything(),
    }
}

/// Returns a value of which one place is replaced, removed or added.
fn damaged(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    (value, any::<prop::sample::Index>(), prop::option::of(anything()), any::<bool>())
        .prop_map(|(mut value, place, new, adds)| {
            let mut places = Vec::new();
            collect(&value, String::new(), &mut places);
            let place = place.get(&places).clone();
            if adds && let Some(Value::Object(members)) = value.pointer_mut(&place) {
                members.insert("unknown".to_owned(), new.unwrap_or_default());
                return value;
            }
            let (parent, name) = place.rsplit_once('/').unwrap_or_default();
            match (new, value.pointer_mut(parent)) {
                (None, Some(Value::Object(members))) => drop(members.remove(name)),
                (new, _) => *value.pointer_mut(&place).unwrap() = new.unwrap_or_default(),
            }
            value
        })
        .boxed()
}

fn collect(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if !name.contains(['/', '~']) {
                    collect(member, format!("{at}/{name}"), places);
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                collect(item, format!("{at}/{n}"), places);
            }
        }
        _ => {}
    }
    places.push(at);
}

/// One request: parameters by place and name, and a body.
#[derive(Clone, Debug)]
struct Asked {
    parameters: Vec<(String, String, String)>,
    body: Option<Value>,
}

fn parameter(
    document: &Value,
    parameter: &Value,
) -> BoxedStrategy<Option<(String, String, String)>> {
    let parameter = resolved(document, parameter);
    let (place, name) = (&parameter["in"], &parameter["name"]);
    let (place, name) = (place.as_str().unwrap().to_owned(), name.as_str().unwrap().to_owned());
    let valid = validator(document, &parameter["schema"]);
    let value = allowed(document, &parameter["schema"])
        .prop_filter("conditions on the value", move |value| valid.is_valid(value));
    let value = value.prop_map(move |value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (place.clone(), name.clone(), text)
    });
    match parameter["required"] == true {
        true => value.prop_map(Some).boxed(),
        false => prop::option::of(value).boxed(),
    }
}

/// Returns requests of an operation, with bodies that are allowed or damaged.
fn requests(document: &Value, path: &str, operation: &Value) -> BoxedStrategy<Asked> {
    let own = operation["parameters"].as_array().into_iter().flatten();
    let shared = document["paths"][path]["parameters"].as_array().into_iter().flatten();
    let parameters: Vec<_> = own.chain(shared).map(|p| parameter(document, p)).collect();
    let schema = &operation["requestBody"]["content"][api::JSON]["schema"];
    let body = match schema.is_object() {
        true => {
            let body = allowed(document, schema);
            prop_oneof![body.clone(), damaged(body)].prop_map(Some).boxed()
        }
        false => Just(None).boxed(),
    };
    (parameters, body)
        .prop_map(|(parameters, body)| Asked {
            parameters: parameters.into_iter().flatten().collect(),
            body,
        })
        .boxed()
}

/// Sends a request, and returns the status, and the JSON of the answer if it has a body.
async fn send(served: &Served, path: &str, method: &str, asked: &Asked) -> (u16, Option<Value>) {
    let in_place = |place: &'static str| {
        asked.parameters.iter().filter(move |p| p.0 == place).map(|p| (&p.1, &p.2))
    };
    let mut url: reqwest::Url = served.url("").parse().unwrap();
    let scope = in_place("path").next().map_or("", |(_, scope)| scope.as_str());
    url.path_segments_mut()
        .unwrap()
        .pop_if_empty()
        .extend(path.split('/').skip(1).map(|part| if part == "{scope}" { scope } else { part }));
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    if in_place("query").next().is_some() {
        url.query_pairs_mut().extend_pairs(in_place("query"));
    }
    let mut request = served.client.request(method, url);
    for (name, value) in in_place("header") {
        request = request.header(name, value);
    }
    if let Some(body) = &asked.body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = within(request.send()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = within(answer.bytes()).await.unwrap();
    let json = (!bytes.is_empty())
        .then(|| serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {bytes:?}")));
    (status, json)
}

/// Returns whether a request was refused for its form, which the document describes.
fn is_for_the_form(status: u16, answer: Option<&Value>) -> bool {
    let message = answer.and_then(|a| a["message"].as_str()).unwrap_or_default();
    status == 422
        || (status == 400
            && ["the body is not what is expected", "the address is wrong"]
                .iter()
                .any(|begin| message.starts_with(begin)))
}

#[test]
fn every_answer_is_described_and_every_described_form_is_accepted() {
    let document = document();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let served = runtime.block_on(async {
        let server = memory(Hooks::default(), ServerOptions::default());
        Served::with(server, |config| config.wait = Duration::ZERO).await
    });
    for (path, method, operation) in operations(&document) {
        let schema = &operation["requestBody"]["content"][api::JSON]["schema"];
        let mut runner =
            TestRunner::new(Config { cases: 100, failure_persistence: None, ..Config::default() });
        let ended = runner.run(&requests(&document, &path, &operation), |asked| {
            let (status, answer) = runtime.block_on(send(&served, &path, &method, &asked));
            let response = resolved(&document, &operation["responses"][status.to_string()]);
            prop_assert!(response.is_object(), "{status} is not described");
            prop_assert!(status < 500, "{status}: {answer:?}");
            let content = &response["content"][api::JSON]["schema"];
            if let Some(answer) = &answer {
                assert_valid(&document, content, answer);
            }
            let wrong: Vec<_> =
                asked.body.iter().flat_map(|b| errors(&document, schema, b)).collect();
            if wrong.is_empty() {
                prop_assert!(!is_for_the_form(status, answer.as_ref()), "{status}: {answer:?}");
            } else {
                prop_assert!((400..500).contains(&status), "{status}, and {wrong:?}");
            }
            Ok(())
        });
        ended.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
    }
}
