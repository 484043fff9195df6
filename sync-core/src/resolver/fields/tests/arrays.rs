//! Arrays with rules, by a table worked out by hand.

use super::*;

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
