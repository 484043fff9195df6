//! The guide with curl, run as it stands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/served.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod served;

use std::sync::Arc;

use served::{Served, memory, within};
use sync_core::server::{Hooks, ServerOptions, StaticTokens};
use tokio::process::Command;

const GUIDE: &str = include_str!("../../docs/http.md");
/// Stands between the outputs of two blocks.
const NEXT: &str = "--- next ---";

/// The commands of the guide, each with what it is said to print.
fn blocks() -> Vec<(String, Option<String>)> {
    let mut blocks: Vec<(String, Option<String>)> = Vec::new();
    let mut parts = GUIDE.split("```");
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        match block.split_once('\n').unwrap() {
            ("sh", commands) => blocks.push((commands.to_owned(), None)),
            ("json", output) => blocks.last_mut().unwrap().1 = Some(output.to_owned()),
            (other, _) => panic!("a block of {other}"),
        }
    }
    blocks
}

/// What was drawn at random or read from a clock, as dots.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        let line = line.strip_prefix("id: ").map_or(line, |_| "id: .");
        let mut rest = line;
        // Quoted texts of letters, digits and dashes that are longer than any word here.
        while let Some((before, after)) = rest.split_once('"') {
            let end = after.find('"').unwrap_or(after.len());
            let (quoted, behind) = after.split_at(end);
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            let is_drawn = quoted.len() > 15 && quoted.bytes().all(is_name);
            masked.push_str(before);
            masked.push('"');
            masked.push_str(if is_drawn { "." } else { quoted });
            rest = behind.strip_prefix('"').inspect(|_| masked.push('"')).unwrap_or(behind);
        }
        masked.push_str(rest);
        masked.push('\n');
    }
    masked
}

/// Whether a program is there, in the version that the guide needs.
async fn has_curl() -> bool {
    let asked = Command::new("bash").args(["-c", "curl --help all | grep -q -- --json"]).status();
    asked.await.is_ok_and(|s| s.success())
}

#[tokio::test]
async fn the_guide_prints_what_it_says() {
    if !has_curl().await {
        eprintln!("skipped: there is no bash, or no curl that knows --json");
        return;
    }
    let tokens = StaticTokens::new([("ann".to_owned(), "secret".to_owned())]);
    let hooks = Hooks { authenticate: Arc::new(tokens), ..Hooks::default() };
    let served = Served::with(memory(hooks, ServerOptions::default()), |_| {}).await;
    let blocks = blocks();
    assert!(blocks.len() > 10);
    let script: Vec<_> = blocks.iter().map(|(c, _)| format!("{c}\necho '{NEXT}'\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script.concat()])
        .current_dir(folder.path())
        .env("SERVER", served.url(""))
        .env("no_proxy", "*")
        .kill_on_drop(true)
        .output();
    let output = within(run).await.unwrap();
    let (printed, complained) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{complained}\n{printed}");
    let printed: Vec<_> = printed.split(&format!("{NEXT}\n")).collect();
    for ((commands, said), printed) in blocks.iter().zip(printed) {
        let Some(said) = said else { continue };
        assert_eq!(masked(printed.trim_end()), masked(said.trim_end()), "{commands}");
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
