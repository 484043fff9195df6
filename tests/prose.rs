//! The style of the sources: comments of at most 100 columns, except what cannot be wrapped; and in
//! the listed crates, sentences about the parts of the program and not about persons.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;

/// Collects the workspace's source files.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, into);
            }
        } else if name.ends_with(".rs") {
            into.push(path);
        }
    }
}

/// Returns the lines of a file that are comments, with their numbers. Code, tables and drawings in
/// them are left out: they cannot be wrapped.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (n, line) in text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            is_code = false;
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim_start();
        if comment.starts_with("```") {
            is_code = !is_code;
            continue;
        }
        let is_drawn = comment.contains(['│', '├', '└', '─', '►', '◄']);
        if !is_code && !comment.starts_with('|') && !is_drawn {
            found.push((n + 1, line));
        }
    }
    found
}

#[test]
fn comments_are_within_the_columns() {
    let mut files = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    assert!(files.len() > 400, "{} files are the workspace", files.len());
    let mut wide = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let over = prose(&text).into_iter().filter(|(_, line)| line.chars().count() > COLUMNS);
        wide.extend(over.map(|(n, line)| format!("{}:{n}: {}", file.display(), line.trim())));
    }
    assert!(wide.is_empty(), "over {COLUMNS} columns:\n{}", wide.join("\n"));
}

/// The subject of a sentence is the type, the caller, the client or the server.
const PERSONS: [&str; 8] =
    ["who", "whoever", "whom", "somebody", "nobody", "anybody", "someone", "everybody"];

#[test]
fn comments_speak_of_the_parts_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in [
        "src",
        "cli/src",
        "storage-kit/src",
        "storage-sled/src",
        "storage-sqlite/src",
        "sync-core/src",
        "sync-server/src",
        "testkit/src",
        "transport-http/src",
        "transport-kit/src",
        "transport-ws/src",
        "verification/src",
    ] {
        sources(&root.join(folder), &mut files);
    }
    let mut found = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        for (n, line) in prose(&text) {
            let mut words = line.split(|c: char| !c.is_alphabetic());
            if words.any(|word| PERSONS.contains(&word.to_lowercase().as_str())) {
                found.push(format!("{}:{n}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "persons in comments:\n{}", found.join("\n"));
}

#[test]
fn code_in_comments_is_no_prose() {
    let text =
        "/// One.\n/// ```\n/// code\n/// ```\n/// | a | b |\n/// a ──► b\nfn f() {} // no\n";
    assert_eq!(prose(text), [(1, "/// One.")]);
}
