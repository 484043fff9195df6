//! Imports of files that other programs wrote, and of files that are imported again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::process::Stdio;

use serde_json::json;
use support::{Db, Ended, Folder, Process, run_with_input, until};

fn import(db: &Db, more: &[&str], input: impl Into<Vec<u8>>) -> Ended {
    let mut args = vec!["import", "--db", &*db.0];
    args.extend(more);
    args.push("-");
    run_with_input(&args, input)
}

const INTO_C: [&str; 2] = ["--collection", "c"];
const ABSENT: [&str; 3] = ["--collection", "c", "--if-absent"];

#[test]
fn lines_as_windows_writes_them_are_imported() {
    let folder = Folder::new();
    let lines = "{\"id\":\"a\",\"v\":1}\n{\"id\":\"b\",\"v\":2}\n";
    for (n, text) in [
        lines.replace('\n', "\r\n"),
        format!("\u{feff}{lines}"),
        format!("\u{feff}\r\n{}", lines.replace('\n', "\r\n\r\n")),
        lines.trim_end().to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let db = Db::new(&folder, &format!("{n}.db"));
        assert_eq!(import(&db, &INTO_C, text).ok().json(), json!({ "imported": 2 }));
        assert_eq!(db.body("c", "a"), Some(json!({ "id": "a", "v": 1 })));
    }
    // An export with a byte-order mark, too.
    let (one, two) = (Db::new(&folder, "0.db"), Db::new(&folder, "two.db"));
    import(&two, &[], format!("\u{feff}{}", one.export())).ok();
    assert_eq!(two.body("c", "b"), Some(json!({ "id": "b", "v": 2 })));
}

#[test]
fn another_encoding_and_a_folder_are_errors_that_name_them() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let text = "{\"id\":\"a\"}\n";
    let marked = format!("\u{feff}{text}");
    let little: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let bare: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [little, big, bare] {
        import(&db, &INTO_C, bytes).fails(&["line 1", "UTF-16"]);
    }
    import(&db, &INTO_C, b"{}\n{\"id\":\"caf\xe9\"}\n").fails(&["line 2", "not UTF-8"]);
    db.run("import", &["--collection", "c", &folder.arg(".")]).fails(&["it is a folder"]);
}

#[test]
fn a_message_has_one_line_number() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let large = "x".repeat(2 << 20);
    for (bad, says) in [
        ("{\"id\":\n".to_owned(), "not valid JSON"),
        ("[1]\n".to_owned(), "not a JSON object"),
        ("{\"id\":true}\n".to_owned(), "whole number"),
        ("{\"id\":\"\"}\n".to_owned(), "document id"),
        (format!("{{\"id\":\"large\",\"text\":\"{large}\"}}\n"), "body"),
    ] {
        let text = format!("{{\"id\":1}}\n\n{bad}{{\"id\":2}}\n");
        let ended = import(&db, &INTO_C, text);
        ended.fails(&["line 3", says]);
        assert_eq!(ended.stderr.matches("line ").count(), 1, "{}", ended.stderr);
        assert_eq!(ended.json()["imported"], 1);
    }
    let ended = import(&db, &[], "{\"collection\":\"c\",\"id\":7,\"body\":1}\n");
    ended.fails(&["line 1", "--collection"]);
    assert_eq!(ended.stderr.matches("line 1").count(), 1, "{}", ended.stderr);
}

#[test]
fn the_effect_of_importing_again_is_reported() {
    let folder = Folder::new();
    let cases = [
        ("{\"id\":\"a\"}\n{\"id\":\"b\"}\nx\n", "over what they are by then", 2),
        ("{\"v\":1}\n{\"v\":2}\nx\n", "a second time", 4),
        ("{\"id\":\"a\"}\n{\"v\":2}\nx\n", "1 of them a second time", 3),
    ];
    for (n, (text, says, documents)) in cases.into_iter().enumerate() {
        let db = Db::new(&folder, &format!("{n}.db"));
        for _ in 0..2 {
            let ended = import(&db, &INTO_C, text);
            ended.fails(&["line 3", "2 documents", says]);
            assert!(!ended.stderr.contains("is safe"), "{}", ended.stderr);
        }
        assert_eq!(db.export().lines().count(), documents);
    }
}

#[test]
fn if_absent_skips_existing_documents() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let text = "{\"id\":\"a\",\"v\":1}\n{\"id\":\"b\",\"v\":1}\n{\"id\":\"a\",\"v\":2}\n";
    let counts = |imported: u64, present: u64| json!({ "imported": imported, "present": present });
    assert_eq!(import(&db, &ABSENT, text).ok().json(), counts(2, 1));
    db.put("c", "a", "\"edited\"");
    db.rm("c", "b");
    assert_eq!(import(&db, &ABSENT, text).ok().json(), counts(1, 2));
    assert_eq!(db.body("c", "a"), Some(json!("edited")));
    assert_eq!(db.body("c", "b").unwrap()["v"], 1);
    import(&db, &ABSENT, "{\"id\":\"c\"}\n{\"v\":1}\n").fails(&["line 2", "\"id\"", "alone"]);

    // Existing documents of an export are skipped, too.
    db.put("c", "d", "1");
    let other = Db::new(&folder, "other.db");
    other.put("c", "d", "2");
    let copied = import(&other, &["--if-absent"], db.export());
    assert_eq!(copied.ok().json(), counts(3, 1));
    assert_eq!(other.body("c", "d"), Some(json!(2)));
}

#[test]
fn lines_from_a_pipe_are_written_while_it_stays_open() {
    use std::io::Write;
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let args = ["import", "--db", &*db.0, "--collection", "c", "-"];
    let mut process = Process::start_with(&args, |c| c.stdin(Stdio::piped()));
    let mut pipe = process.stdin();
    for id in ["1", "2"] {
        writeln!(pipe, "{{\"id\":{id}}}").unwrap();
        until("it is written", || {
            let got = db.run("get", &["c", id]);
            (got.status.code() == Some(0)).then_some(())
        });
    }
    assert!(process.is_running());
    drop(pipe);
    assert_eq!(process.end().ok().json()["imported"], 2);
}
