//! The guide with curl, and the commands of the README, run as written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/served.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod served;

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use served::{Served, memory, within};
use sync_server::{Hooks, ServerOptions, StaticTokens};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

const README: &str = include_str!("../../README.md");
const GUIDE: &str = include_str!("../../docs/http.md");
/// Separates the outputs of two blocks.
const NEXT: &str = "--- next ---";

/// Returns the commands of the guide, each with its documented output.
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

/// Replaces random values and values from a clock by dots.
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

/// Returns whether the program exists, in the version that the guide needs.
async fn has_curl() -> bool {
    let asked = Command::new("bash").args(["-c", "curl --help all | grep -q -- --json"]).status();
    asked.await.is_ok_and(|s| s.success())
}

/// Reports that nothing was tested, also if the output of passing tests is not shown.
fn skip() {
    let message = "skipped: there is no bash, or no curl that knows --json\n";
    let _ = std::io::stderr().write_all(message.as_bytes());
}

#[tokio::test]
async fn the_guide_prints_its_documented_output() {
    if !has_curl().await {
        return skip();
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

/// Returns the block of the README, for a server at another address. `CURSOR` is replaced by the
/// one of the answer before, and another client writes while the block waits for a change.
fn readme(address: &str) -> String {
    let block = README.split("```sh\n").find(|b| b.starts_with("NOTES=")).unwrap();
    let block = block.split("```").next().unwrap();
    let mut script = String::new();
    for line in block.lines() {
        let line = line.replace("http://127.0.0.1:8787", address);
        if line.contains("wait=20") {
            script += "CURSOR=$(sed 's/.*\"cursor\":\"\\([^\"]*\\)\".*/\\1/' read.json)\n";
            script += "curl -s --json '{\"replica\":\"00000000000000000000000000000002\",\"id\":1,\"changes\":[
              {\"collection\":\"notes\",\"id\":\"late\",\"body\":1}]}' $NOTES/pushes >/dev/null &\n";
        }
        script += &line.replace("cursor=CURSOR", "cursor=$CURSOR");
        script += if line == "curl -s $NOTES/changes" { " | tee read.json; echo\n" } else { "\n" };
    }
    script
}

#[tokio::test]
async fn the_commands_of_the_readme_work() {
    if !has_curl().await {
        return skip();
    }
    let served = Served::new().await;
    let script = readme(&served.url(""));
    assert!(script.contains("-sN") && script.contains("wait=20"), "{script}");
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("no_proxy", "*")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // The last command does not end: its output is complete when the stream has both documents.
    let (mut out, mut printed) = (run.stdout.take().unwrap(), String::new());
    let streamed =
        |p: &str| p.split_once("event: chunk").is_some_and(|(_, s)| s.contains("\"late\""));
    while !streamed(&printed) {
        let mut some = [0; 1024];
        let read = within(out.read(&mut some)).await.unwrap();
        assert!(read > 0, "it ended after {printed}");
        printed += &String::from_utf8_lossy(&some[..read]);
    }
    let (pushed, rest) = printed.split_once("}{").unwrap();
    assert!(pushed.contains(r#""kind":"accepted""#), "{printed}");
    let (read, waited) = rest.split_once('\n').unwrap();
    assert!(read.contains("drink tea") && !read.contains("late"), "{printed}");
    assert!(waited.contains(r#""late""#), "{printed}");
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
