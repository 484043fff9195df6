//! The laws of a merge, on random documents.

use proptest::prelude::*;

use super::*;

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
    fn a_merge_does_not_depend_on_which_side_is_local(
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
        // An object or array that lost its last member by the two removals is empty, which neither
        // side was.
        let given = all(&[&one, &other]);
        for leaf in all(&[&result]) {
            prop_assert!(given.contains(&leaf) || leaf.ends_with("={}") || leaf.ends_with("=[]"), "{leaf}");
        }
    }

    #[test]
    fn a_side_without_changes_has_no_effect(base in value(), one in value(), later: bool) {
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
