//! Checks of text input: names, stamps, bodies and their merging, plans.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use sync_core::codec::Codec;
use sync_core::error::ErrorKind;
use sync_core::model::{
    Body, Collection, DocumentId, DocumentKey, DocumentState, Epoch, ReplicaId, Revision, Scope,
    Stamp,
};
use sync_core::resolver::{Conflict, ConflictResolver, FieldMerge, FieldRule, Resolution};

use testkit::sim::Plan;

/// Checks that a good name is the same in text, in JSON and in its binary form.
fn named<T>(text: &str, new: impl Fn(&str) -> sync_core::error::Result<T>, most: usize)
where
    T: Codec + Serialize + DeserializeOwned + Debug + Display + PartialEq,
{
    let json = serde_json::to_string(text).unwrap_or_default();
    let read = serde_json::from_str::<T>(&json);
    match new(text) {
        Ok(name) => {
            assert!((1..=most).contains(&text.len()), "{name:?} has {} bytes", text.len());
            assert!(!text.chars().any(char::is_control), "{name:?} holds a control character");
            assert_eq!(name.to_string(), text);
            assert_eq!(read.ok().as_ref(), Some(&name));
            assert_eq!(T::from_bytes(name.to_bytes()).ok(), Some(name));
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(read.is_err(), "{text:?} is refused, and in JSON it is not");
        }
    }
}

/// Checks a text as the name of a scope, a collection and a document. Bytes that are not UTF-8 are
/// replaced.
///
/// # Panics
/// If a name is accepted that is empty, too long or not printable, or that differs after it was
/// written.
pub fn name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    named(&text, |t| Scope::new(t), Scope::MAX_BYTES);
    named(&text, |t| Collection::new(t), Collection::MAX_BYTES);
    named(&text, |t| DocumentId::new(t), DocumentId::MAX_BYTES);
}

/// Checks that text that parses as a `T` is the text that the value is written as, except for the
/// case of hexadecimal digits.
fn shown<T: FromStr<Err = sync_core::error::Error> + Display>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => assert!(value.to_string().eq_ignore_ascii_case(text), "{value} of {text:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
    }
}

/// Checks a text as a stamp of the clock, a revision, the id of a replica, an epoch. Bytes that are
/// not UTF-8 are replaced.
///
/// # Panics
/// If a value is parsed from text that it is not written as.
pub fn stamp(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    shown::<Stamp>(&text);
    shown::<Revision>(&text);
    shown::<ReplicaId>(&text);
    shown::<Epoch>(&text);
}

/// Checks the body of a document.
///
/// # Panics
/// If a body is accepted that is not JSON, or does not keep its bytes, also within other JSON.
pub fn body(bytes: &[u8]) {
    let Ok(body) = Body::parse(bytes.to_vec()) else { return };
    assert_eq!(body.as_bytes(), bytes);
    assert!(serde_json::from_str::<IgnoredAny>(body.as_str()).is_ok(), "not JSON, and taken");
    let within = serde_json::to_string(&[&body]);
    let read = within.ok().and_then(|t| serde_json::from_str::<[Body; 1]>(&t).ok());
    let white = [' ', '\t', '\r', '\n'];
    assert_eq!(read.as_ref().map(|[b]| b.as_str()), Some(body.as_str().trim_matches(white)));
}

fn state(body: &str, by: u8) -> Option<DocumentState> {
    let revision =
        Revision { stamp: Stamp::new(1_000 + u64::from(by), 0), replica: ReplicaId([by; 16]) };
    let body = Some(Body::parse(body.to_owned()).ok()?);
    Some(DocumentState { created: Stamp::ZERO, ..DocumentState::new(revision, body) })
}

/// Returns the result of a merge, whichever side was called local.
fn outcome(merge: &FieldMerge, conflict: &Conflict<'_>) -> Option<String> {
    let text = |s: Option<&DocumentState>| Some(s?.body.as_ref()?.as_str().to_owned());
    match merge.resolve(conflict) {
        Ok(Resolution::Local) => text(Some(conflict.local)),
        Ok(Resolution::Remote) => text(conflict.remote),
        Ok(Resolution::Merge(body)) => Some(body.as_str().to_owned()),
        Ok(Resolution::Delete | Resolution::Defer) | Err(_) => None,
    }
}

/// Checks a merge field by field of three bodies with a zero byte between them: base, local edit
/// and server's state. A base that is not JSON is none.
///
/// # Panics
/// If the result is not JSON, or depends on which side is called local.
pub fn merge(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\0');
    let [base, one, other] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let (base, Some(one), Some(other)) = (state(base, 1), state(one, 2), state(other, 3)) else {
        return;
    };
    let (Ok(scope), Ok(collection), Ok(id)) =
        (Scope::new("s"), Collection::new("c"), DocumentId::new("d"))
    else {
        return;
    };
    let key = DocumentKey::new(scope, collection, id);
    for merge in merges() {
        let ours = outcome(&merge, &Conflict::new(&key, base.as_ref(), &one, Some(&other)));
        let theirs = outcome(&merge, &Conflict::new(&key, base.as_ref(), &other, Some(&one)));
        if let Some(merged) = &ours {
            assert!(Body::parse(merged.clone()).is_ok(), "{merged} came out");
        }
        let same = |text: &String| serde_json::from_str::<serde_json::Value>(text).ok();
        assert_eq!(ours.as_ref().map(same), theirs.as_ref().map(same), "{ours:?} {theirs:?}");
    }
}

fn merges() -> Vec<FieldMerge> {
    let arrays = FieldMerge::new()
        .field("/tags", FieldRule::Union)
        .and_then(|m| m.field("/lines", FieldRule::ByKey("id".to_owned())));
    [Ok(FieldMerge::new()), arrays].into_iter().flatten().collect()
}

/// Checks a plan of the simulation as JSON. Bytes that are not UTF-8 are replaced.
///
/// # Panics
/// If a plan differs after it was written.
pub fn plan(bytes: &[u8]) {
    if let Ok(plan) = Plan::from_json(&String::from_utf8_lossy(bytes)) {
        assert_eq!(Plan::from_json(&plan.to_json()).ok(), Some(plan));
    }
}
