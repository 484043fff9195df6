//! Tables of cases worked out by hand, and the laws of a merge.

mod arrays;
mod laws;
mod nested;
mod objects;

use super::*;
use crate::model::{
    Collection, DocumentId, DocumentKey, DocumentState, ReplicaId, Revision, Scope, Stamp,
};

/// A state as a storage may hold it, including what no write stores any more.
fn state(millis: u64, body: Option<&str>) -> DocumentState {
    let revision = Revision { stamp: Stamp::new(millis, 0), replica: ReplicaId([1; 16]) };
    let body = body.map(|b| Body::trusted(b.to_owned().into()).unwrap());
    DocumentState::new(revision, body)
}

fn key() -> DocumentKey {
    let (collection, id) = (Collection::new("c").unwrap(), DocumentId::new("d").unwrap());
    DocumentKey::new(Scope::default(), collection, id)
}

/// Resolves two states, the local one written later or earlier.
fn resolve(
    merge: &impl ConflictResolver,
    base: Option<&str>,
    local: Option<&str>,
    remote: Option<&str>,
    local_is_later: bool,
) -> Resolution {
    let (ours, theirs) = if local_is_later { (20, 10) } else { (10, 20) };
    let base = base.map(|b| state(1, Some(b)));
    let (local, remote) = (state(ours, local), state(theirs, remote));
    merge.resolve(&Conflict::new(&key(), base.as_ref(), &local, Some(&remote))).unwrap()
}

/// Returns the body after the resolution.
fn merged(
    merge: &FieldMerge,
    base: &str,
    local: &str,
    remote: &str,
    local_is_later: bool,
) -> String {
    let base = (!base.is_empty()).then_some(base);
    match resolve(merge, base, Some(local), Some(remote), local_is_later) {
        Resolution::Local => local.to_owned(),
        Resolution::Remote => remote.to_owned(),
        Resolution::Merge(body) => body.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}

/// Base, local, remote, and what must come out when the local edit is the later one, and when the
/// remote one is. An empty base is none.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

fn with_arrays() -> FieldMerge {
    FieldMerge::new()
        .field("/tags", FieldRule::Union)
        .and_then(|m| m.field("/lines", FieldRule::ByKey("id".into())))
        .and_then(|m| m.field("/lines/*/price", FieldRule::Remote))
        .unwrap()
}

#[test]
fn a_rule_decides_its_place_and_no_other() {
    let (base, local, remote) = (r#"{"a":1,"b":1}"#, r#"{"a":2,"b":2}"#, r#"{"a":3,"b":3}"#);
    let with = |rule| FieldMerge::new().field("/a", rule).unwrap();
    assert_eq!(merged(&with(FieldRule::Local), base, local, remote, false), r#"{"a":2,"b":3}"#);
    assert_eq!(merged(&with(FieldRule::Remote), base, local, remote, true), r#"{"a":3,"b":2}"#);
    assert_eq!(merged(&with(FieldRule::Defer), base, local, remote, true), "Defer");
    assert_eq!(
        merged(&with(FieldRule::Defer), base, r#"{"a":1,"b":2}"#, remote, true),
        r#"{"a":3,"b":2}"#
    );
    let otherwise = FieldMerge::new().otherwise(FieldRule::Remote);
    assert_eq!(merged(&otherwise, base, local, remote, true), remote);
    let stars = FieldMerge::new()
        .field("/*/x", FieldRule::Remote)
        .and_then(|m| m.field("/o/x", FieldRule::Local))
        .unwrap();
    let (base, local, remote) = (
        r#"{"o":{"x":1},"p":{"x":1}}"#,
        r#"{"o":{"x":2},"p":{"x":2}}"#,
        r#"{"o":{"x":3},"p":{"x":3}}"#,
    );
    assert_eq!(merged(&stars, base, local, remote, true), r#"{"o":{"x":2},"p":{"x":3}}"#);
}

#[test]
fn an_invalid_pointer_is_rejected() {
    for bad in ["a", "a/b", "/a~", "/~2"] {
        let error = FieldMerge::new().field(bad, FieldRule::Union).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
    }
    assert_eq!(parse_pointer("/a~1b/~0/").unwrap(), ["a/b", "~", ""]);
}

#[test]
fn a_deletion_against_an_edit_follows_the_policy_both_ways() {
    let body = Some(r#"{"a":1}"#);
    let ends = |on_delete, local, remote, later| {
        resolve(&FieldMerge::new().on_delete(on_delete), body, local, remote, later)
    };
    for later in [true, false] {
        assert_eq!(ends(OnDelete::KeepEdit, None, body, later), Resolution::Remote);
        assert_eq!(ends(OnDelete::KeepEdit, body, None, later), Resolution::Local);
        assert_eq!(ends(OnDelete::KeepDeletion, None, body, later), Resolution::Local);
        assert_eq!(ends(OnDelete::KeepDeletion, body, None, later), Resolution::Remote);
        assert_eq!(ends(OnDelete::Defer, body, None, later), Resolution::Defer);
        let last = if later { Resolution::Local } else { Resolution::Remote };
        assert_eq!(ends(OnDelete::LastWrite, None, body, later), last);
        assert_eq!(ends(OnDelete::LastWrite, body, None, later), last);
    }
}
