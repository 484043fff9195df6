//! Support for the tests of the program: processes, bounded waits, and checks of behaviour that is
//! observable from outside.
//!
//! Nothing here sleeps to make a test pass: every wait is for an observable condition, and ends
//! with a failure that shows the last observed state.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this is how a test ends")]
#![allow(clippy::disallowed_methods, reason = "a wait with an end needs a clock")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The bound of every wait: the machine may be slow and busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is polled.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Polls until the closure returns a value.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "in {PATIENCE:?} this did not happen: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Pseudorandom numbers from a seed, to choose when something breaks (SplitMix64).
pub(crate) struct Chance(u64);

impl Chance {
    /// Begins with the variable `TWOTIDE_TEST_SEED` if that is set, and prints the seed, so that a
    /// failure can be run again.
    pub(crate) fn new(test: &str, seed: u64) -> Self {
        let given = std::env::var("TWOTIDE_TEST_SEED").ok().and_then(|s| s.parse().ok());
        let seed = given.unwrap_or(seed);
        println!("{test}: TWOTIDE_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A folder that is removed at the end.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a path as an argument.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// Returns the program with those arguments, and without variables that could affect it.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twotide"));
    command.args(args).env_remove("TWOTIDE_TOKEN").env_remove("RUST_LOG");
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running program.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    /// The output that was read so far.
    printed: String,
    errors: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, |command| command.stdin(Stdio::null()))
    }

    pub(crate) fn start_with(
        args: &[&str],
        setup: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let mut command = program(args);
        setup(&mut command);
        Self::start_command(args.join(" "), command)
    }

    /// Starts another command that becomes the program.
    pub(crate) fn start_command(name: String, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (tell, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let out = std::thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { return };
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = Arc::new(Mutex::new(String::new()));
        let (mut stderr, gathered) = (child.stderr.take().unwrap(), Arc::clone(&errors));
        let err = std::thread::spawn(move || {
            let mut part = [0; 4_096];
            while let Ok(read) = stderr.read(&mut part) {
                if read == 0 {
                    return;
                }
                let text = String::from_utf8_lossy(&part[..read]);
                gathered.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Self { name, child, lines, printed: String::new(), errors, readers: vec![out, err] }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its standard input, if that is a pipe.
    #[track_caller]
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the next line that it prints; none when it has ended.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                let value = serde_json::from_str(&line);
                let value = value.unwrap_or_else(|e| panic!("{}: {line:?}: {e}", self.name));
                self.printed.push_str(&line);
                self.printed.push('\n');
                Some(value)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{}: no line in {PATIENCE:?}; {}", self.name, self.stderr())
            }
        }
    }

    /// Returns the next line for which the closure returns `true`; skips other lines.
    #[track_caller]
    pub(crate) fn line_where(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let Some(line) = self.line() else {
                panic!("{} ended before {what}: {}{}", self.name, self.printed, self.stderr())
            };
            if is(&line) {
                return line;
            }
            assert!(Instant::now() < end, "{}: not {what}, but {line}", self.name);
        }
    }

    /// Returns the lines that were not read yet, without waiting for more.
    pub(crate) fn lines_so_far(&mut self) -> Vec<Value> {
        let mut found = Vec::new();
        while let Ok(line) = self.lines.try_recv() {
            found.push(serde_json::from_str(&line).unwrap());
            self.printed.push_str(&line);
            self.printed.push('\n');
        }
        found
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends SIGKILL: the process has ended when this returns.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends SIGSTOP: the process stops until it is continued.
    #[cfg(unix)]
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Sends SIGCONT.
    #[cfg(unix)]
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let what = format!("{} ends", self.name);
        let status = until(&what, || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        while let Ok(line) = self.lines.try_recv() {
            self.printed.push_str(&line);
            self.printed.push('\n');
        }
        let stdout = std::mem::take(&mut self.printed);
        Ended { name: std::mem::take(&mut self.name), status, stdout, stderr: self.stderr() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}{}", self.name, self.stdout, self.stderr);
        self
    }

    /// Asserts that it succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Self {
        self.code(0)
    }

    /// Asserts that it failed, with these parts of its message.
    #[track_caller]
    pub(crate) fn fails(&self, says: &[&str]) -> &Self {
        self.code(1).says(says)
    }

    /// Asserts that it ended for wrong usage, with these parts of its message.
    #[track_caller]
    pub(crate) fn misused(&self, says: &[&str]) -> &Self {
        self.code(2).says(says)
    }

    #[track_caller]
    fn says(&self, says: &[&str]) -> &Self {
        for part in says {
            assert!(
                self.stderr.contains(part),
                "{}: {part:?} is not in {:?}",
                self.name,
                self.stderr
            );
        }
        assert!(!self.stderr.contains("panicked"), "{}: {}", self.name, self.stderr);
        self
    }

    /// Returns the lines it printed.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |l: &str| {
            serde_json::from_str(l).unwrap_or_else(|e| panic!("{}: {l:?}: {e}", self.name))
        };
        self.stdout.lines().map(parse).collect()
    }

    /// Returns the one line it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{}: {}{}", self.name, self.stdout, self.stderr);
        lines.remove(0)
    }
}

/// Runs the program to its end.
#[track_caller]
pub(crate) fn run(args: &[&str]) -> Ended {
    Process::start(args).end()
}

/// Runs it with something on standard input.
#[track_caller]
pub(crate) fn run_with_input(args: &[&str], input: impl Into<Vec<u8>>) -> Ended {
    let mut process = Process::start_with(args, |c| c.stdin(Stdio::piped()));
    let (mut stdin, input) = (process.stdin(), input.into());
    // It may end before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let ended = process.end();
    writer.join().unwrap();
    ended
}

/// A server as a process.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Starts a server on a free port.
    #[track_caller]
    pub(crate) fn start(storage: &Path) -> Self {
        Self::start_at(storage, "127.0.0.1:0", &[])
    }

    #[track_caller]
    pub(crate) fn start_at(storage: &Path, listen: &str, more: &[&str]) -> Self {
        let mut args = vec!["serve", "--listen", listen, "--storage", storage.to_str().unwrap()];
        args.extend(more);
        let mut process = Process::start(&args);
        let Some(line) = process.line() else { panic!("no server: {}", process.stderr()) };
        let address = line["listening"].as_str().unwrap().parse().unwrap();
        Self { process, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Returns the answer to `GET /v1/scopes/default`.
    #[track_caller]
    pub(crate) fn scope(&self) -> Value {
        let (code, scope) = http_get(self.address, "/v1/scopes/default", None);
        assert_eq!(code, 200, "{scope}");
        scope
    }
}

/// Sends a GET over plain HTTP, and returns the status, and the body as JSON.
#[track_caller]
pub(crate) fn http_get(address: SocketAddr, path: &str, token: Option<&str>) -> (u16, Value) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let token = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A replica's file, and the commands on it.
#[derive(Clone)]
pub(crate) struct Db(pub(crate) String);

impl Db {
    pub(crate) fn new(folder: &Folder, name: &str) -> Self {
        Self(folder.arg(name))
    }

    /// Returns the arguments with `--db` among them.
    fn args<'a>(&'a self, command: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec![command, "--db", &self.0];
        args.extend(rest);
        args
    }

    #[track_caller]
    pub(crate) fn run(&self, command: &str, rest: &[&str]) -> Ended {
        run(&self.args(command, rest))
    }

    pub(crate) fn start(&self, command: &str, rest: &[&str]) -> Process {
        Process::start(&self.args(command, rest))
    }

    #[track_caller]
    pub(crate) fn put(&self, collection: &str, id: &str, json: &str) -> Value {
        self.run("put", &[collection, id, json]).ok().json()
    }

    #[track_caller]
    pub(crate) fn rm(&self, collection: &str, id: &str) {
        self.run("rm", &[collection, id]).ok();
    }

    /// Returns the body of a document; none if there is no such document.
    #[track_caller]
    pub(crate) fn body(&self, collection: &str, id: &str) -> Option<Value> {
        let ended = self.run("get", &[collection, id]);
        if ended.status.code() == Some(1) {
            assert!(ended.stderr.contains("there is no document"), "{ended:?}");
            return None;
        }
        Some(ended.ok().json()["body"].clone())
    }

    /// Runs `sync --once`, which must succeed, and returns its output.
    #[track_caller]
    pub(crate) fn sync(&self, server: &Served) -> Value {
        let ended = self.run("sync", &["--server", &server.url(), "--once"]);
        let line = ended.ok().json();
        assert_eq!(line["in_sync"], true, "{line}");
        line
    }

    /// Starts `sync --live`.
    pub(crate) fn live(&self, server: &Served, rest: &[&str]) -> Process {
        let url = server.url();
        let mut args = vec!["--server", &*url, "--live"];
        args.extend(rest);
        self.start("sync", &args)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.run("status", &["--json"]).ok().json()
    }

    /// Returns position, documents and digest in the scope `default`, if the replica has it.
    #[track_caller]
    pub(crate) fn position(&self) -> Option<(u64, u64, String)> {
        let status = self.run("status", &["--json"]);
        // While the file is being created there is nothing to read.
        if status.status.code() != Some(0) {
            return None;
        }
        let status = status.json();
        let scope = status["scopes"].as_array()?.iter().find(|s| s["scope"] == "default")?.clone();
        let number = |field: &str| scope[field].as_u64();
        Some((number("position")?, number("documents")?, scope["digest"].as_str()?.to_owned()))
    }

    #[track_caller]
    pub(crate) fn export(&self) -> String {
        self.run("export", &[]).ok().stdout.clone()
    }

    /// Waits until the replica is at the server's head, with nothing left to push.
    #[track_caller]
    pub(crate) fn reaches(&self, server: &Served) -> Value {
        until(&format!("{} reaches the server", self.0), || {
            let (status, scope) = (self.status(), server.scope());
            let mine = status["scopes"].as_array()?.iter().find(|s| s["scope"] == "default")?;
            let outbox = &status["outbox"];
            let equal = mine["position"] == scope["head"]
                && mine["digest"] == scope["digest"]
                && outbox["pending"] == 0
                && outbox["in_flight"] == 0;
            equal.then_some(scope)
        })
    }
}

/// Returns the peak memory of a process so far, in KiB; none where that cannot be read.
pub(crate) fn most_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Returns a path as an argument.
pub(crate) fn arg(path: &impl AsRef<OsStr>) -> &str {
    path.as_ref().to_str().unwrap()
}
