//! A full disk is an error, and neither a panic nor a hang.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{NOW, REPLICA, config, key, place, puts};
use storage_sled::{SledConfig, open_replica};
use sync_core::error::{ErrorKind, Retry};
use sync_core::storage::Storage;

const FOLDER: &str = "TWOTIDE_TEST_FULL_FOLDER";

/// Returns settings with background cleaning at full speed: it writes, too, and hits the same
/// errors.
fn tidied(path: &Path) -> SledConfig {
    let mut config = config(path);
    config.tidy_every = Some(Duration::from_millis(1));
    config
}

/// Returns a transaction of some 300 KiB over five documents, so that a file becomes full at many
/// places of a batch.
fn bodies(n: usize) -> Vec<(String, String)> {
    let body = |size: usize| format!("\"{n} {}\"", "x".repeat(size));
    (0..5).map(|at| (at.to_string(), body(60_000 + 1_000 * (n % 7)))).collect()
}

/// Runs in a child process with a limit of the file size, started by the test below.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(FOLDER) else { return };
    let storage = open_replica(&tidied(Path::new(&path)), REPLICA).unwrap();
    let mut written = 0;
    let error = loop {
        let documents = bodies(written);
        let documents: Vec<_> = documents.iter().map(|(i, b)| (i.as_str(), b.as_str())).collect();
        match storage.write(NOW, puts(&documents)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    println!("\nwritten {written}");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Storage, Retry::Never), "{error}");
    assert!(error.report().to_string().contains("app.sled"), "{error}");
    // Every later call returns the same at once.
    let again = storage.write(NOW, puts(&[("a", "1")])).await.unwrap_err();
    assert_eq!(again.report().to_string(), error.report().to_string());
    let read = storage.get(vec![key("0")]).await.map(drop).unwrap_err();
    assert_eq!(read.report().to_string(), error.report().to_string());
    storage.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_what_was_acknowledged_is_there_afterwards() {
    for blocks in [6_300, 7_400, 8_200, 9_100, 12_288, 15_001] {
        let (_folder, path) = place();
        // The shell sets the limit, in blocks of 512 bytes; with the signal ignored, a write over
        // it is an error.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let child = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, &path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let Ok(output) = tokio::time::timeout(Duration::from_secs(60), ended).await else {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            panic!("with {blocks} blocks it hangs");
        };
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{complained}");
        let written = said.lines().find_map(|l| l.strip_prefix("written ")).unwrap();
        let written: usize = written.parse().unwrap();
        assert!(written > 0);
        let storage = open_replica(&tidied(&path), REPLICA).unwrap();
        for at in 0..5 {
            let found = storage.get(vec![key(&at.to_string())]).await.unwrap();
            let body = found[0].as_ref().unwrap().state.body.clone().unwrap();
            // The failed transaction may be stored, whole.
            let expected = [bodies(written - 1), bodies(written)];
            assert!(expected.iter().any(|b| b[at].1 == body.as_str()), "{written} were written");
        }
        storage.write(NOW, puts(&[("a", "1")])).await.unwrap();
        storage.close().await.unwrap();
    }
}
