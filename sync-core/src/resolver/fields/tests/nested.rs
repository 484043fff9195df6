//! Arrays in arrays, odd keys and names, changing types and depth, by a table worked out by hand.

use super::*;

fn by_id() -> FieldMerge {
    FieldMerge::new()
        .field("/lines", FieldRule::ByKey("id".into()))
        .and_then(|m| m.field("/lines/*/parts", FieldRule::ByKey("id".into())))
        .and_then(|m| m.field("/lines/*/tags", FieldRule::Union))
        .and_then(|m| m.field("/kind", FieldRule::Union))
        .unwrap()
}

const NESTED: &[Row] = &[
    // Arrays in the elements of an array, each by the rule of its place.
    (
        r#"{"lines":[{"id":1,"parts":[{"id":"p","n":1},{"id":"q","n":1}],"tags":["a"]}]}"#,
        r#"{"lines":[{"id":1,"parts":[{"id":"p","n":2},{"id":"q","n":1}],"tags":["a","b"]}]}"#,
        r#"{"lines":[{"id":1,"parts":[{"id":"p","n":1},{"id":"r","n":1}],"tags":["c"]}]}"#,
        r#"{"lines":[{"id":1,"parts":[{"id":"p","n":2},{"id":"r","n":1}],"tags":["c","b"]}]}"#,
        r#"{"lines":[{"id":1,"parts":[{"id":"p","n":2},{"id":"r","n":1}],"tags":["b","c"]}]}"#,
    ),
    // An array in an element that has no rule is replaced as a whole.
    (
        r#"{"lines":[{"id":1,"x":[1],"n":1}]}"#,
        r#"{"lines":[{"id":1,"x":[1,2],"n":2}]}"#,
        r#"{"lines":[{"id":1,"x":[3],"n":1}]}"#,
        r#"{"lines":[{"id":1,"x":[1,2],"n":2}]}"#,
        r#"{"lines":[{"id":1,"x":[3],"n":2}]}"#,
    ),
    // Keys are compared as text: 1, 1.0 and "1" are three, and large numbers are not rounded into
    // one.
    (
        r#"{"lines":[{"id":1,"n":1}]}"#,
        r#"{"lines":[{"id":1,"n":2},{"id":1.0,"n":2}]}"#,
        r#"{"lines":[{"id":1,"n":1},{"id":"1","n":3}]}"#,
        r#"{"lines":[{"id":1,"n":2},{"id":"1","n":3},{"id":1.0,"n":2}]}"#,
        r#"{"lines":[{"id":1,"n":2},{"id":1.0,"n":2},{"id":"1","n":3}]}"#,
    ),
    (
        r#"{"lines":[]}"#,
        r#"{"lines":[{"id":9007199254740993}]}"#,
        r#"{"lines":[{"id":9007199254740992}]}"#,
        r#"{"lines":[{"id":9007199254740992},{"id":9007199254740993}]}"#,
        r#"{"lines":[{"id":9007199254740993},{"id":9007199254740992}]}"#,
    ),
    // A key may be any value, also null, an object, and the same text in other escapes.
    (
        r#"{"lines":[{"id":null,"n":1},{"id":{"a":1,"b":2},"n":1},{"id":"\u00e4","n":1}]}"#,
        r#"{"lines":[{"id":null,"n":2},{"id":{"b":2,"a":1},"n":1},{"id":"ä","n":1}]}"#,
        r#"{"lines":[{"id":null,"n":1},{"id":{"a":1,"b":2},"n":3},{"id":"ä","n":4}]}"#,
        r#"{"lines":[{"id":null,"n":2},{"id":{"a":1,"b":2},"n":3},{"id":"ä","n":4}]}"#,
        r#"{"lines":[{"id":null,"n":2},{"id":{"a":1,"b":2},"n":3},{"id":"ä","n":4}]}"#,
    ),
    // A new element under an id that both made is merged as two inserts.
    (
        r#"{"lines":[]}"#,
        r#"{"lines":[{"id":1,"a":1,"b":1}]}"#,
        r#"{"lines":[{"id":1,"a":2,"c":1}]}"#,
        r#"{"lines":[{"id":1,"a":1,"c":1,"b":1}]}"#,
        r#"{"lines":[{"id":1,"a":2,"b":1,"c":1}]}"#,
    ),
    // Another order of the elements alone: one side changed the array.
    (
        r#"{"lines":[{"id":1},{"id":2}],"n":1}"#,
        r#"{"lines":[{"id":2},{"id":1}],"n":1}"#,
        r#"{"lines":[{"id":1},{"id":2}],"n":2}"#,
        r#"{"lines":[{"id":2},{"id":1}],"n":2}"#,
        r#"{"lines":[{"id":2},{"id":1}],"n":2}"#,
    ),
    // The type changes under a rule: on one side, on both, and from none.
    (
        r#"{"kind":"a","n":1}"#,
        r#"{"kind":["a"],"n":1}"#,
        r#"{"kind":"a","n":2}"#,
        r#"{"kind":["a"],"n":2}"#,
        r#"{"kind":["a"],"n":2}"#,
    ),
    (
        r#"{"kind":"a"}"#,
        r#"{"kind":["a"]}"#,
        r#"{"kind":["b"]}"#,
        r#"{"kind":["b","a"]}"#,
        r#"{"kind":["a","b"]}"#,
    ),
    (
        r#"{"kind":["a"]}"#,
        r#"{"kind":{"a":1}}"#,
        r#"{"kind":["a","b"]}"#,
        r#"{"kind":{"a":1}}"#,
        r#"{"kind":["a","b"]}"#,
    ),
    (
        r#"{"kind":["a"]}"#,
        r#"{"kind":{"x":1}}"#,
        r#"{"kind":{"y":1}}"#,
        r#"{"kind":{"y":1,"x":1}}"#,
        r#"{"kind":{"x":1,"y":1}}"#,
    ),
    (r#"{"kind":["a"]}"#, "{}", r#"{"kind":["a","b"]}"#, "{}", r#"{"kind":["a","b"]}"#),
    (
        r#"{"kind":["a"]}"#,
        r#"{"kind":null}"#,
        r#"{"kind":["b"]}"#,
        r#"{"kind":null}"#,
        r#"{"kind":["b"]}"#,
    ),
    // An element that was an object is something else on one side: the whole array.
    (
        r#"{"lines":[{"id":1,"n":1}]}"#,
        r#"{"lines":[{"id":1,"n":2}]}"#,
        r#"{"lines":[7]}"#,
        r#"{"lines":[{"id":1,"n":2}]}"#,
        r#"{"lines":[7]}"#,
    ),
    // Empty names are names, and composed and decomposed letters are two: nothing is normalised.
    (
        r#"{"":{"":1,"x":1}}"#,
        r#"{"":{"":2,"x":1}}"#,
        r#"{"":{"":1,"x":2}}"#,
        r#"{"":{"":2,"x":2}}"#,
        r#"{"":{"":2,"x":2}}"#,
    ),
    (
        "{\"\u{e9}\":1}",
        "{\"\u{e9}\":1,\"e\u{301}\":2}",
        "{\"\u{e9}\":3}",
        "{\"\u{e9}\":3,\"e\u{301}\":2}",
        "{\"\u{e9}\":3,\"e\u{301}\":2}",
    ),
    (
        "{\"kind\":[\"\u{e9}\"]}",
        "{\"kind\":[\"\u{e9}\",\"e\u{301}\"]}",
        "{\"kind\":[\"\u{e9}\",\"x\"]}",
        "{\"kind\":[\"\u{e9}\",\"x\",\"e\u{301}\"]}",
        "{\"kind\":[\"\u{e9}\",\"e\u{301}\",\"x\"]}",
    ),
    // Two escapes that make one letter are that letter; halves of such a pair are kept as they are
    // written, and an object with one in a name is one value.
    (
        r#"{"a":"\ud83e\udd80","b":1}"#,
        r#"{"a":"🦀","b":2}"#,
        r#"{"a":"🦀","b":1,"c":1}"#,
        r#"{"a":"🦀","b":2,"c":1}"#,
        r#"{"a":"🦀","b":2,"c":1}"#,
    ),
    (
        r#"{"a":"\ud800","b":1}"#,
        r#"{"a":"\ud800","b":2}"#,
        r#"{"a":"\ud801","b":1}"#,
        r#"{"a":"\ud801","b":2}"#,
        r#"{"a":"\ud801","b":2}"#,
    ),
    (
        r#"{"o":{"\ud800":1,"a":1},"b":1}"#,
        r#"{"o":{"\ud800":2,"a":1},"b":2}"#,
        r#"{"o":{"\ud800":1,"a":2},"b":1}"#,
        r#"{"o":{"\ud800":2,"a":1},"b":2}"#,
        r#"{"o":{"\ud800":1,"a":2},"b":2}"#,
    ),
];

#[test]
fn nested_arrays_and_odd_keys_merge_as_worked_out_by_hand() {
    let merge = by_id();
    for &(base, local, remote, if_local, if_remote) in NESTED {
        assert_eq!(merged(&merge, base, local, remote, true), if_local, "{base} {local} {remote}");
        assert_eq!(
            merged(&merge, base, local, remote, false),
            if_remote,
            "{base} {local} {remote}"
        );
    }
}

#[test]
fn an_object_with_a_rule_of_its_own_is_never_mixed() {
    let (base, local, remote) = (
        r#"{"at":{"x":1,"y":1},"n":1}"#,
        r#"{"at":{"x":2,"y":1},"n":2}"#,
        r#"{"at":{"x":1,"y":3},"n":1}"#,
    );
    let (ours, theirs) = (r#"{"at":{"x":2,"y":1},"n":2}"#, r#"{"at":{"x":1,"y":3},"n":2}"#);
    let with = |rule| FieldMerge::new().field("/at", rule).unwrap();
    for (rule, if_local, if_remote) in [
        (FieldRule::LastWrite, ours, theirs),
        (FieldRule::Local, ours, ours),
        (FieldRule::Remote, theirs, theirs),
        (FieldRule::Defer, "Defer", "Defer"),
    ] {
        let merge = with(rule);
        assert_eq!(merged(&merge, base, local, remote, true), if_local);
        assert_eq!(merged(&merge, base, local, remote, false), if_remote);
        // What one side changed is taken, whatever the rule.
        let one = r#"{"at":{"x":1,"y":1},"n":3}"#;
        let both = r#"{"at":{"x":2,"y":1},"n":2}"#;
        assert_eq!(merged(&merge, base, local, one, true), both);
    }
    // Rules for arrays, and the rule of all other places, leave objects to be merged.
    let mixed = r#"{"at":{"x":2,"y":3},"n":2}"#;
    for merge in [with(FieldRule::Union), FieldMerge::new().otherwise(FieldRule::Defer)] {
        assert_eq!(merged(&merge, base, local, remote, true), mixed);
    }
}

/// Objects in each other, with a leaf at the bottom and a field beside it on every level.
fn nested(levels: usize, leaf: &str, beside: &str) -> String {
    let mut value = leaf.to_owned();
    for _ in 0..levels {
        value = format!(r#"{{"o":{value},"b":{beside}}}"#);
    }
    value
}

#[test]
fn down_to_its_depth_a_merge_looks_into_objects_and_below_it_they_are_one_value() {
    let merge = FieldMerge::new();
    let looks = |levels| {
        let [base, local, remote] =
            [("1", "1"), ("2", "1"), ("1", "2")].map(|(l, b)| nested(levels, l, b));
        [true, false].map(|later| merged(&merge, &base, &local, &remote, later))
    };
    let both = |levels| [nested(levels, "2", "2"), nested(levels, "2", "2")];
    for levels in [1, 10, 63, 64] {
        assert_eq!(looks(levels), both(levels), "{levels}");
    }
    for levels in [65, 100, 120] {
        let [if_local, if_remote] = looks(levels);
        assert_ne!(if_local, if_remote, "{levels}: the innermost objects are one value");
        for result in [if_local, if_remote] {
            assert!(Body::parse(result).is_ok());
        }
    }
}
