//! What is printed, and what is typed.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::thread;

use tokio::sync::mpsc;

const PROMPT: &str = "> ";
/// To the beginning of the line, and nothing is on it any more.
const CLEAR: &str = "\r\x1b[K";

/// Standard output. A person gets a prompt, a pipe gets lines only.
#[derive(Debug)]
pub(crate) struct Screen {
    is_interactive: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { is_interactive: io::stdin().is_terminal() && io::stdout().is_terminal() }
    }

    /// Prints a line, also while the user types.
    pub(crate) fn say(&self, line: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.is_interactive {
            true => write!(out, "{CLEAR}{line}\n{PROMPT}")?,
            false => writeln!(out, "{line}")?,
        }
        out.flush()
    }

    /// Asks for the next command where nothing was printed.
    pub(crate) fn prompt(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_interactive {
            write!(out, "{CLEAR}{PROMPT}")?;
        }
        out.flush()
    }

    /// Leaves the terminal as it was found.
    pub(crate) fn end(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_interactive {
            write!(out, "{CLEAR}")?;
        }
        out.flush()
    }
}

/// The lines of standard input, until it ends. They are read on a thread of their own, which may
/// wait for a key when the program ends; a task of tokio would hold the program up.
pub(crate) fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (send, lines) = mpsc::channel(16);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let is_last = line.is_err();
            if send.blocking_send(line).is_err() || is_last {
                break;
            }
        }
    });
    lines
}
