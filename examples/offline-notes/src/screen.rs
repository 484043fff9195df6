//! Output and input.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::thread;

use tokio::sync::mpsc;

const PROMPT: &str = "> ";
/// Moves to the beginning of the line, and clears it.
const CLEAR: &str = "\r\x1b[K";

/// Standard output. A terminal gets a prompt, a pipe only lines.
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

    /// Prints the prompt where nothing was printed.
    pub(crate) fn prompt(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_interactive {
            write!(out, "{CLEAR}{PROMPT}")?;
        }
        out.flush()
    }

    /// Restores the terminal.
    pub(crate) fn end(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_interactive {
            write!(out, "{CLEAR}")?;
        }
        out.flush()
    }
}

/// Returns the lines of standard input. They are read on a separate thread, which may wait for a
/// key when the program ends; a task of tokio would keep the program from ending.
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
