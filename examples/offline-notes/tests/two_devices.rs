//! The app as a user runs it: processes with pipes, on a server in one of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// The bound of every wait: the machine may be slow and busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running app.
struct App {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// The output so far, for the message of a failing test.
    printed: Vec<String>,
}

impl App {
    fn start(db: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-notes"));
        command.arg("--db").arg(db).args(more);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self { input: child.stdin.take(), child, lines, printed: Vec::new() }
    }

    fn says(&mut self, command: &str) {
        writeln!(self.input.as_ref().unwrap(), "{command}").unwrap();
    }

    /// Reads up to a line that contains `part`.
    #[track_caller]
    fn sees(&mut self, part: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("{part:?} was not printed:\n{}", self.printed.join("\n"));
            };
            self.printed.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Sends a command, and reads up to a line that contains `part`.
    #[track_caller]
    fn does(&mut self, command: &str, part: &str) -> String {
        self.says(command);
        self.sees(part)
    }

    /// Ends the input, waits for the end, and returns everything printed since the last read.
    #[track_caller]
    fn ends(mut self) -> Vec<String> {
        drop(self.input.take());
        let mut rest = Vec::new();
        // The lines end when the process does.
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(_) => panic!("it does not end:\n{}", self.printed.join("\n")),
            }
        }
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder, and an app in it that only serves.
struct Place {
    folder: TempDir,
    server: App,
    url: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = App::start(&folder.path().join("s.db"), &["--serve", "127.0.0.1:0"]);
        let url = server.sees("serving ").split(' ').nth(1).unwrap().to_owned();
        Self { folder, server, url }
    }

    fn db(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts an app that is connected.
    #[track_caller]
    fn device(&self, name: &str) -> App {
        let mut app = App::start(&self.db(name), &["--server", &self.url]);
        app.sees("everything is synced");
        app
    }
}

#[test]
fn a_note_added_on_one_device_appears_on_the_other() {
    let mut place = Place::new();
    let (mut ann, mut ben) = (place.device("ann.db"), place.device("ben.db"));
    ann.does("add buy milk", "[ ] buy milk");
    assert_eq!(ben.sees("milk"), "* added     1 ✓ [ ] buy milk");
    ann.sees("everything is synced");
    ben.does("done 1", "[x] buy milk");
    assert_eq!(ann.sees("milk"), "* changed   1 ✓ [x] buy milk");
    ben.sees("everything is synced");
    ann.does("rm 1", "removed 1: buy milk");
    assert_eq!(ben.sees("milk"), "* removed   1 buy milk");
    // The app with the server is a device as well.
    place.server.sees("removed   1");
    ann.does("ls", "no notes yet");
    assert_eq!(ben.ends(), [""; 0]);
}

#[test]
fn edits_made_offline_sync_when_the_device_is_online_again() {
    let place = Place::new();
    let (mut ann, mut ben) = (place.device("ann.db"), place.device("ben.db"));
    ann.does("add buy milk", "everything is synced");
    ben.sees("buy milk");
    ben.does("offline", "offline: ");
    ben.does("edit 1 buy oat milk", "  1 … [ ] buy oat milk");
    ben.does("add feed the cat", "  2 … [ ] feed the cat");
    ben.does("status", "offline, as you wished");
    ben.sees("2 waiting, 0 in conflict, 0 refused");
    // Ann's edits do not reach Ben meanwhile, and Ben's do not reach her.
    ann.does("add call mum", "everything is synced");
    assert_eq!(ann.does("ls", "1 ✓"), "  1 ✓ [ ] buy milk");
    assert_eq!(ann.sees("2 ✓"), "  2 ✓ [ ] call mum");
    ben.does("online", "online");
    let told = [ann.sees("* "), ann.sees("* ")];
    assert!(told.contains(&"* changed   1 ✓ [ ] buy oat milk".to_owned()), "{told:?}");
    assert!(told.contains(&"* added     3 ✓ [ ] feed the cat".to_owned()), "{told:?}");
    assert!(ben.printed.iter().all(|line| !line.contains("call mum")));
}

#[test]
fn a_server_that_was_down_is_reconnected_automatically() {
    let mut place = Place::new();
    let (mut ann, mut ben) = (place.device("ann.db"), place.device("ben.db"));
    place.server.child.kill().unwrap();
    place.server.child.wait().unwrap();
    ann.sees("no connection");
    ann.does("add buy milk", "  1 … [ ] buy milk");
    ann.does("status", "1 waiting");
    let address = place.url.strip_prefix("ws://").unwrap();
    place.server = App::start(&place.db("s.db"), &["--serve", address]);
    place.server.sees("serving ");
    ann.sees("everything is synced");
    assert_eq!(ben.sees("milk"), "* added     1 ✓ [ ] buy milk");
}

#[test]
fn a_restart_keeps_notes_and_unsynced_edits() {
    let place = Place::new();
    let db = place.db("ann.db");
    let mut alone = App::start(&db, &[]);
    alone.does("add buy milk", "1 … [ ] buy milk");
    alone.does("online", "no server to sync with");
    alone.ends();
    let mut again = App::start(&db, &[]);
    assert_eq!(again.sees("buy milk"), "  1 … [ ] buy milk");
    again.does("done 1", "1 … [x] buy milk");
    again.says("quit");
    again.ends();
    // All commands at once, as in scripts: the last edit still syncs before the end.
    let mut ann = App::start(&db, &["--server", &place.url]);
    ann.says("add feed the cat");
    ann.ends();
    let mut ben = place.device("ben.db");
    ben.does("ls", "✓ [x] buy milk");
    ben.sees("✓ [ ] feed the cat");
}

#[test]
fn two_texts_for_one_note_wait_for_the_user_and_other_notes_sync() {
    let place = Place::new();
    let (mut ann, mut ben) = (place.device("ann.db"), place.device("ben.db"));
    ann.does("add leave at 9", "everything is synced");
    ben.sees("leave at 9");
    ben.does("offline", "offline: ");
    ben.does("edit 1 leave at 9 by train", "1 … [ ]");
    ann.does("edit 1 leave at 8", "everything is synced");
    ben.does("online", "! a note was changed here and elsewhere");
    let waits =
        "  1 ! [ ] leave at 9 by train  (elsewhere \"leave at 8\": keep 1 mine, or keep 1 theirs)";
    assert_eq!(ben.does("ls", "1 !"), waits);
    ben.does("add bring bread", "everything else is synced");
    ann.sees("bring bread");
    ben.does("keep 1 mine", "leave at 9 by train");
    ben.sees("everything is synced");
    assert_eq!(ann.sees("train"), "* changed   1 ✓ [ ] leave at 9 by train");
    ben.does("keep 1 mine", "! note 1 is in no conflict");
    // Two changes of different fields are no conflict.
    ben.does("offline", "offline: ");
    ben.does("done 1", "1 … [x]");
    ann.does("edit 1 leave at 7", "everything is synced");
    ben.does("online", "leave at 7");
    assert_eq!(ann.sees("[x]"), "* changed   1 ✓ [x] leave at 7");
}

#[test]
fn an_invalid_command_is_answered_and_the_app_continues() {
    let place = Place::new();
    let mut app = App::start(&place.db("a.db"), &[]);
    app.does("dance", "there is no command \"dance\"");
    app.does("edit 7 text", "! there is no note 7");
    app.does("done one", "type done N");
    app.does("help", "add TEXT");
    app.does("add it goes on", "1 … [ ] it goes on");
    app.ends();
    for wrong in [["--server", "nowhere"], ["--serve", "0.0.0.0:0"]] {
        let mut refused = App::start(&place.db("b.db"), &wrong);
        assert_eq!(refused.child.wait().unwrap().code(), Some(1), "{wrong:?}");
    }
}
