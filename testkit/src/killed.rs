//! Processes that are killed while they write, for tests of what they leave.
//!
//! The process is the test's own program, which runs one test, the child. Without a place, which
//! [`Child::start`] passes to it, the child has nothing to do.
//!
//! ```no_run
//! use testkit::killed::{Child, place_of_child, report};
//!
//! #[test]
//! fn child_writes() {
//!     let Some(path) = place_of_child() else { return };
//!     for n in 0.. {
//!         // Write to the storage at `path` here.
//!         if !report(n) {
//!             return;
//!         }
//!     }
//! }
//!
//! #[test]
//! fn what_was_reported_is_there() {
//!     let reported = Child::start("child_writes", "app.db".as_ref(), 10).kill();
//!     // Open the storage, and look for so many writes.
//!     assert!(reported >= 10);
//! }
//! ```

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use crate::cores::must;

const PLACE: &str = "TESTKIT_KILLED_PLACE";
const REPORT: &str = "reported ";

/// Returns where a child works; none if the test is not run as a child.
#[must_use]
pub fn place_of_child() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(Into::into)
}

/// Reports a step of a child; false once the reader is gone.
pub fn report(step: u64) -> bool {
    let mut out = std::io::stdout();
    writeln!(out, "{REPORT}{step}").and_then(|()| out.flush()).is_ok()
}

/// Returns how many times as many processes are killed as usual: the variable
/// `TWOTIDE_TEST_KILLS_TIMES`. Opening what they leave waits for the disk, so a usual run kills
/// few.
#[must_use]
pub fn times() -> u64 {
    let told = std::env::var("TWOTIDE_TEST_KILLS_TIMES");
    told.map_or(1, |times| must(times.parse(), "TWOTIDE_TEST_KILLS_TIMES is a number"))
}

/// A process that runs one test of this program. It is killed at the end, also of a test that
/// fails.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    output: Lines<BufReader<ChildStdout>>,
    reports: u64,
}

impl Child {
    /// Starts the test of that name at a place, and returns once it has reported so many steps.
    ///
    /// # Panics
    /// If it ends before that.
    #[must_use]
    pub fn start(test: &str, place: &Path, reports: u64) -> Self {
        let program = must(std::env::current_exe(), "this program has a path");
        let mut command = Command::new(program);
        command.args(["--exact", test, "--nocapture"]).env(PLACE, place).stdout(Stdio::piped());
        let mut process = must(command.spawn(), "a child starts");
        let output = must(process.stdout.take().ok_or("none"), "the output of a child");
        let mut child = Self { process, output: BufReader::new(output).lines(), reports: 0 };
        while child.reports < reports {
            assert!(child.read(), "the child ended after {} reports", child.reports);
        }
        child
    }

    /// Kills it; returns how many steps it had reported by then.
    pub fn kill(mut self) -> u64 {
        self.end();
        while self.read() {}
        self.reports
    }

    /// Reads a line; false at the end.
    fn read(&mut self) -> bool {
        let line = self.output.next().and_then(Result::ok);
        self.reports += u64::from(line.as_ref().is_some_and(|line| line.starts_with(REPORT)));
        line.is_some()
    }

    fn end(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}
