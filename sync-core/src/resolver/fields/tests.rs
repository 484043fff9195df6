//! A table of cases worked out by hand, and the laws of a merge.

use proptest::prelude::*;

use super::*;
use crate::model::{
    Collection, DocumentId, DocumentKey, DocumentState, ReplicaId, Revision, Scope, Stamp,
};

fn state(millis: u64, body: Option<&str>) -> DocumentState {
    let revision = Revision { stamp: Stamp::new(millis, 0), replica: ReplicaId([1; 16]) };
    let body = body.map(|b| Body::parse(b.to_owned()).unwrap());
    DocumentState { revision, author: revision, created: revision.stamp, body }
}

fn key() -> DocumentKey {
    let (collection, id) = (Collection::new("c").unwrap(), DocumentId::new("d").unwrap());
    DocumentKey::new(Scope::default(), collection, id)
}

/// What becomes of two states, the local one written later or earlier.
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

/// The body that stands at the end.
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

/// Base, local, remote, and what must come out when the local edit is the later one, and when the remote one is. An empty
/// base is none.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const FIELDS: &[Row] = &[
    // Fields changed on one side are taken.
    (
        r#"{"a":1,"b":1}"#,
        r#"{"a":2,"b":1}"#,
        r#"{"a":1,"b":2}"#,
        r#"{"a":2,"b":2}"#,
        r#"{"a":2,"b":2}"#,
    ),
    (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, r#"{"a":3}"#, r#"{"a":3,"b":2}"#, r#"{"a":3,"b":2}"#),
    (r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":2}"#),
    (r#"{"a":1}"#, r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":2}"#, r#"{"a":2}"#),
    // Both changed one field: the later edit's value.
    (r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#, r#"{"a":2}"#, r#"{"a":3}"#),
    (
        r#"{"a":1,"b":1}"#,
        r#"{"a":2,"b":2}"#,
        r#"{"a":3,"b":1}"#,
        r#"{"a":2,"b":2}"#,
        r#"{"a":3,"b":2}"#,
    ),
    // Both made the same change.
    (
        r#"{"a":1,"b":1}"#,
        r#"{"a":2,"b":1}"#,
        r#"{"a":2,"b":2}"#,
        r#"{"a":2,"b":2}"#,
        r#"{"a":2,"b":2}"#,
    ),
    // Removed on one side.
    (r#"{"a":1,"b":1}"#, r#"{"a":1}"#, r#"{"a":2,"b":1}"#, r#"{"a":2}"#, r#"{"a":2}"#),
    (r#"{"a":1,"b":1}"#, r#"{"b":2}"#, r#"{"a":1,"b":1}"#, r#"{"b":2}"#, r#"{"b":2}"#),
    // Removed on one side, changed on the other.
    (r#"{"a":1,"b":1}"#, r#"{"b":1}"#, r#"{"a":2,"b":1}"#, r#"{"b":1}"#, r#"{"a":2,"b":1}"#),
    // Removed on both.
    (
        r#"{"a":1,"b":1,"c":1}"#,
        r#"{"b":2,"c":1}"#,
        r#"{"b":1,"c":2}"#,
        r#"{"b":2,"c":2}"#,
        r#"{"b":2,"c":2}"#,
    ),
    // Added on both, under different names and under one.
    ("{}", r#"{"a":1}"#, r#"{"b":1}"#, r#"{"b":1,"a":1}"#, r#"{"a":1,"b":1}"#),
    ("{}", r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":1}"#, r#"{"a":2}"#),
    // Null is a value, absence is none.
    (
        r#"{"a":1,"b":1}"#,
        r#"{"a":null,"b":1}"#,
        r#"{"a":1,"b":2}"#,
        r#"{"a":null,"b":2}"#,
        r#"{"a":null,"b":2}"#,
    ),
    (r#"{"a":null,"b":1}"#, r#"{"b":1}"#, r#"{"a":null,"b":2}"#, r#"{"b":2}"#, r#"{"b":2}"#),
    (
        r#"{"b":1}"#,
        r#"{"a":null,"b":1}"#,
        r#"{"b":2}"#,
        r#"{"b":2,"a":null}"#,
        r#"{"b":2,"a":null}"#,
    ),
    (r#"{"a":1}"#, r#"{"a":null}"#, "{}", r#"{"a":null}"#, "{}"),
    // Objects in objects.
    (
        r#"{"o":{"x":1,"y":1}}"#,
        r#"{"o":{"x":2,"y":1}}"#,
        r#"{"o":{"x":1,"y":2}}"#,
        r#"{"o":{"x":2,"y":2}}"#,
        r#"{"o":{"x":2,"y":2}}"#,
    ),
    (
        r#"{"o":{"p":{"x":1,"y":1}}}"#,
        r#"{"o":{"p":{"x":2,"y":2}}}"#,
        r#"{"o":{"p":{"x":3,"y":1}}}"#,
        r#"{"o":{"p":{"x":2,"y":2}}}"#,
        r#"{"o":{"p":{"x":3,"y":2}}}"#,
    ),
    (
        "{}",
        r#"{"o":{"x":1}}"#,
        r#"{"o":{"y":1}}"#,
        r#"{"o":{"y":1,"x":1}}"#,
        r#"{"o":{"x":1,"y":1}}"#,
    ),
    (r#"{"o":{"x":1}}"#, "{}", r#"{"o":{"x":2}}"#, "{}", r#"{"o":{"x":2}}"#),
    (r#"{"o":{"x":1},"b":1}"#, r#"{"b":1}"#, r#"{"o":{"x":1},"b":2}"#, r#"{"b":2}"#, r#"{"b":2}"#),
    // The type changes.
    (r#"{"a":1}"#, r#"{"a":"x"}"#, r#"{"a":{"n":1}}"#, r#"{"a":"x"}"#, r#"{"a":{"n":1}}"#),
    (
        r#"{"a":{"n":1},"b":1}"#,
        r#"{"a":[1],"b":1}"#,
        r#"{"a":{"n":1},"b":2}"#,
        r#"{"a":[1],"b":2}"#,
        r#"{"a":[1],"b":2}"#,
    ),
    (
        r#"{"a":1}"#,
        r#"{"a":{"x":1}}"#,
        r#"{"a":{"y":1}}"#,
        r#"{"a":{"y":1,"x":1}}"#,
        r#"{"a":{"x":1,"y":1}}"#,
    ),
    (r#"{"a":true}"#, r#"{"a":false}"#, r#"{"a":"true"}"#, r#"{"a":false}"#, r#"{"a":"true"}"#),
    // Arrays are replaced as a whole.
    (
        r#"{"a":[1],"b":1}"#,
        r#"{"a":[1,2],"b":1}"#,
        r#"{"a":[1],"b":2}"#,
        r#"{"a":[1,2],"b":2}"#,
        r#"{"a":[1,2],"b":2}"#,
    ),
    (r#"{"a":[1]}"#, r#"{"a":[1,2]}"#, r#"{"a":[1,3]}"#, r#"{"a":[1,2]}"#, r#"{"a":[1,3]}"#),
    (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, r#"{"a":[2,1]}"#),
    // Unicode names, escaped or not, are one name.
    (
        r#"{"ä":1,"b":1}"#,
        r#"{"\u00e4":2,"b":1}"#,
        r#"{"ä":1,"b":2}"#,
        r#"{"ä":2,"b":2}"#,
        r#"{"ä":2,"b":2}"#,
    ),
    (
        r#"{"🦀":1,"日本":1}"#,
        r#"{"🦀":2,"日本":1}"#,
        r#"{"🦀":1,"日本":2}"#,
        r#"{"🦀":2,"日本":2}"#,
        r#"{"🦀":2,"日本":2}"#,
    ),
    (
        r#"{"a/b~c":1,"":1}"#,
        r#"{"a/b~c":2,"":1}"#,
        r#"{"a/b~c":1,"":2}"#,
        r#"{"a/b~c":2,"":2}"#,
        r#"{"a/b~c":2,"":2}"#,
    ),
    // Of doubled names the last counts.
    (
        r#"{"a":1,"b":1}"#,
        r#"{"a":7,"a":2,"b":1}"#,
        r#"{"a":1,"b":2}"#,
        r#"{"a":2,"b":2}"#,
        r#"{"a":2,"b":2}"#,
    ),
    (
        r#"{"a":9,"a":1,"b":1}"#,
        r#"{"a":1,"b":3}"#,
        r#"{"a":2,"b":1}"#,
        r#"{"a":2,"b":3}"#,
        r#"{"a":2,"b":3}"#,
    ),
    // Numbers keep their digits.
    (
        r#"{"n":123456789012345678901234567890,"b":1}"#,
        r#"{"n":123456789012345678901234567890,"b":2}"#,
        r#"{"n":123456789012345678901234567891,"b":1}"#,
        r#"{"n":123456789012345678901234567891,"b":2}"#,
        r#"{"n":123456789012345678901234567891,"b":2}"#,
    ),
    (
        r#"{"n":1.10,"b":1}"#,
        r#"{"n":1.10,"b":2}"#,
        r#"{"n":1.100,"b":1}"#,
        r#"{"n":1.100,"b":2}"#,
        r#"{"n":1.100,"b":2}"#,
    ),
    (
        r#"{"n":1e400,"b":1}"#,
        r#"{"n":-1e400,"b":1}"#,
        r#"{"n":1e400,"b":2}"#,
        r#"{"n":-1e400,"b":2}"#,
        r#"{"n":-1e400,"b":2}"#,
    ),
    // Another order of fields, and other white space, is no change.
    (
        r#"{"a":1,"b":1}"#,
        r#"{"b":1,"a":1}"#,
        r#"{"a":2,"b":1}"#,
        r#"{"a":2,"b":1}"#,
        r#"{"a":2,"b":1}"#,
    ),
    (
        r#"{"o":{"x":1,"y":2}}"#,
        r#"{ "o" : { "y" : 2 , "x" : 1 } , "n" : 1 }"#,
        r#"{"o":{"x":1,"y":3}}"#,
        r#"{"o":{"x":1,"y":3},"n":1}"#,
        r#"{"o":{"x":1,"y":3},"n":1}"#,
    ),
    // Documents that are no objects are one value.
    ("1", "2", "3", "2", "3"),
    (r#""a""#, r#""b""#, r#"{"a":1}"#, r#""b""#, r#"{"a":1}"#),
    ("[1]", "[2]", "[1]", "[2]", "[2]"),
    ("null", r#"{"a":1}"#, r#"{"b":1}"#, r#"{"b":1,"a":1}"#, r#"{"a":1,"b":1}"#),
    // Two inserts of one id.
    (
        "",
        r#"{"a":1,"b":1}"#,
        r#"{"a":2,"c":1}"#,
        r#"{"a":1,"c":1,"b":1}"#,
        r#"{"a":2,"b":1,"c":1}"#,
    ),
    ("", "1", r#"{"a":1}"#, "1", r#"{"a":1}"#),
];

#[test]
fn fields_merge_as_worked_out_by_hand() {
    assert!(FIELDS.len() >= 40);
    let merge = FieldMerge::new();
    for &(base, local, remote, if_local, if_remote) in FIELDS {
        assert_eq!(merged(&merge, base, local, remote, true), if_local, "{base} {local} {remote}");
        assert_eq!(
            merged(&merge, base, local, remote, false),
            if_remote,
            "{base} {local} {remote}"
        );
    }
}

fn with_arrays() -> FieldMerge {
    FieldMerge::new()
        .field("/tags", FieldRule::Union)
        .and_then(|m| m.field("/lines", FieldRule::ByKey("id".into())))
        .and_then(|m| m.field("/lines/*/price", FieldRule::Remote))
        .unwrap()
}

const ARRAYS: &[Row] = &[
    // Sets: additions of both, removals of both, each once.
    (
        r#"{"tags":["a"]}"#,
        r#"{"tags":["a","b"]}"#,
        r#"{"tags":["a","c"]}"#,
        r#"{"tags":["a","c","b"]}"#,
        r#"{"tags":["a","b","c"]}"#,
    ),
    (
        r#"{"tags":["a","b"]}"#,
        r#"{"tags":["b"]}"#,
        r#"{"tags":["a","b","c"]}"#,
        r#"{"tags":["b","c"]}"#,
        r#"{"tags":["b","c"]}"#,
    ),
    (
        r#"{"tags":["a","b"]}"#,
        r#"{"tags":["a"]}"#,
        r#"{"tags":["b"]}"#,
        r#"{"tags":[]}"#,
        r#"{"tags":[]}"#,
    ),
    (
        r#"{"tags":[]}"#,
        r#"{"tags":["x","y"]}"#,
        r#"{"tags":["y","x"]}"#,
        r#"{"tags":["y","x"]}"#,
        r#"{"tags":["x","y"]}"#,
    ),
    (
        r#"{"tags":["\u00e4"]}"#,
        r#"{"tags":["ä","b"]}"#,
        r#"{"tags":["ä","ä","c"]}"#,
        r#"{"tags":["\u00e4","c","b"]}"#,
        r#"{"tags":["\u00e4","b","c"]}"#,
    ),
    (
        r#"{"tags":[{"x":1,"y":2}]}"#,
        r#"{"tags":[{"y":2,"x":1},1]}"#,
        r#"{"tags":[2]}"#,
        r#"{"tags":[2,1]}"#,
        r#"{"tags":[1,2]}"#,
    ),
    (
        r#"{}"#,
        r#"{"tags":["a"]}"#,
        r#"{"tags":["b"]}"#,
        r#"{"tags":["b","a"]}"#,
        r#"{"tags":["a","b"]}"#,
    ),
    (
        r#"{"tags":["a"]}"#,
        r#"{"tags":"a"}"#,
        r#"{"tags":["b"]}"#,
        r#"{"tags":"a"}"#,
        r#"{"tags":["b"]}"#,
    ),
    // By key: each element by itself.
    (
        r#"{"lines":[{"id":1,"n":1},{"id":2,"n":1}]}"#,
        r#"{"lines":[{"id":1,"n":2},{"id":2,"n":1}]}"#,
        r#"{"lines":[{"id":1,"n":1},{"id":2,"n":2}]}"#,
        r#"{"lines":[{"id":1,"n":2},{"id":2,"n":2}]}"#,
        r#"{"lines":[{"id":1,"n":2},{"id":2,"n":2}]}"#,
    ),
    (
        r#"{"lines":[{"id":1}]}"#,
        r#"{"lines":[{"id":1},{"id":2}]}"#,
        r#"{"lines":[{"id":3},{"id":1}]}"#,
        r#"{"lines":[{"id":1},{"id":3},{"id":2}]}"#,
        r#"{"lines":[{"id":1},{"id":2},{"id":3}]}"#,
    ),
    (
        r#"{"lines":[{"id":"a","n":1},{"id":"b","n":1}]}"#,
        r#"{"lines":[{"id":"b","n":1}]}"#,
        r#"{"lines":[{"id":"a","n":1},{"id":"b","n":2}]}"#,
        r#"{"lines":[{"id":"b","n":2}]}"#,
        r#"{"lines":[{"id":"b","n":2}]}"#,
    ),
    (
        r#"{"lines":[{"id":1,"n":1}]}"#,
        r#"{"lines":[]}"#,
        r#"{"lines":[{"id":1,"n":2}]}"#,
        r#"{"lines":[]}"#,
        r#"{"lines":[{"id":1,"n":2}]}"#,
    ),
    // A rule of a place inside the elements.
    (
        r#"{"lines":[{"id":1,"price":1,"n":1}]}"#,
        r#"{"lines":[{"id":1,"price":2,"n":2}]}"#,
        r#"{"lines":[{"id":1,"price":3,"n":3}]}"#,
        r#"{"lines":[{"id":1,"price":3,"n":2}]}"#,
        r#"{"lines":[{"id":1,"price":3,"n":3}]}"#,
    ),
    // Not every element has the key, or two share it: the whole array.
    (
        r#"{"lines":[]}"#,
        r#"{"lines":[{"id":1}]}"#,
        r#"{"lines":[{"n":1}]}"#,
        r#"{"lines":[{"id":1}]}"#,
        r#"{"lines":[{"n":1}]}"#,
    ),
    (
        r#"{"lines":[]}"#,
        r#"{"lines":[{"id":1},{"id":1}]}"#,
        r#"{"lines":[{"id":2}]}"#,
        r#"{"lines":[{"id":1},{"id":1}]}"#,
        r#"{"lines":[{"id":2}]}"#,
    ),
];

#[test]
fn arrays_merge_as_worked_out_by_hand() {
    let merge = with_arrays();
    for &(base, local, remote, if_local, if_remote) in ARRAYS {
        assert_eq!(merged(&merge, base, local, remote, true), if_local, "{base} {local} {remote}");
        assert_eq!(
            merged(&merge, base, local, remote, false),
            if_remote,
            "{base} {local} {remote}"
        );
    }
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
fn a_pointer_that_is_none_is_refused() {
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

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        (0u8..4).prop_map(|n| n.to_string()),
        "[ab]".prop_map(|s| format!("\"{s}\"")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|v| format!("[{}]", v.join(","))),
            object_of(inner),
        ]
    })
}

fn object_of(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    proptest::collection::btree_map("[abc]|tags|lines|id", inner, 0..4).prop_map(|fields| {
        let fields: Vec<String> = fields.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// The leaves with their places; elements of arrays without their places.
fn leaves(value: &serde_json::Value, place: &str, out: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(n, v)| leaves(v, &format!("{place}/{n}"), out));
        }
        serde_json::Value::Array(elements) if !elements.is_empty() => {
            elements.iter().for_each(|v| leaves(v, &format!("{place}/*"), out));
        }
        leaf => drop(out.insert(format!("{place}={leaf}"))),
    }
}

proptest! {
    #[test]
    fn whoever_is_called_local_the_same_comes_out(
        base in proptest::option::of(value()), one in value(), other in value(), later: bool,
    ) {
        for merge in [FieldMerge::new(), with_arrays().otherwise(FieldRule::LastWrite)] {
            let base = base.as_deref().unwrap_or("");
            let price = with_arrays().rules.len() == merge.rules.len();
            prop_assume!(!price || !format!("{one}{other}").contains("price"));
            let ab = merged(&merge, base, &one, &other, later);
            let ba = merged(&merge, base, &other, &one, !later);
            prop_assert!(json::same(&ab, &ba, 0), "{ab} {ba}");
        }
    }

    #[test]
    fn nothing_is_invented(
        base in proptest::option::of(value()), one in value(), other in value(), later: bool,
    ) {
        let all = |texts: &[&str]| {
            let mut found = std::collections::BTreeSet::new();
            for text in texts {
                leaves(&serde_json::from_str(text).unwrap(), "", &mut found);
            }
            found
        };
        let result = merged(&with_arrays(), base.as_deref().unwrap_or(""), &one, &other, later);
        // An object or array that lost its last member by the two removals is empty, which neither side was.
        let given = all(&[&one, &other]);
        for leaf in all(&[&result]) {
            prop_assert!(given.contains(&leaf) || leaf.ends_with("={}") || leaf.ends_with("=[]"), "{leaf}");
        }
    }

    #[test]
    fn who_changed_nothing_changes_nothing(base in value(), one in value(), later: bool) {
        for merge in [FieldMerge::new(), with_arrays()] {
            prop_assert!(json::same(&merged(&merge, &base, &one, &base, later), &one, 0));
            prop_assert!(json::same(&merged(&merge, &base, &base, &one, later), &one, 0));
        }
    }

    #[test]
    fn no_text_makes_it_panic(one in "\\PC{0,40}", other in "\\PC{0,40}") {
        json::same(&one, &other, 0);
        json::canonical(&one, 0);
    }
}
