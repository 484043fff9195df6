//! Other processes of a measurement: this program again, with arguments that select the role.
//!
//! A child prints one line when it is ready, and then answers each line of its input with one line.

mod broadcast;
pub use broadcast::broadcast;
mod clients;
mod replica;
mod serve;

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::{Outcome, meter};

/// Another process. It ends when this is dropped.
#[derive(Debug)]
pub struct Child {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    what: String,
    _process: tokio::process::Child,
}

impl Child {
    /// Starts a child. Returns it with the line that it printed when it was ready.
    ///
    /// # Errors
    /// If it does not start, or ends.
    pub async fn start(words: &[&str]) -> Outcome<(Self, String)> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--child")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().ok_or("a child has no input")?;
        let output = process.stdout.take().ok_or("a child has no output")?;
        let output = BufReader::new(output).lines();
        let mut child = Self { input, output, what: words.join(" "), _process: process };
        let ready = child.hear().await?;
        Ok((child, ready))
    }

    /// Returns the next line that the child prints.
    ///
    /// # Errors
    /// If it ends.
    async fn hear(&mut self) -> Outcome<String> {
        let line = self.output.next_line().await?;
        line.ok_or_else(|| format!("the process `{}` ended too early", self.what).into())
    }

    /// Sends a line to the child, and returns its answer.
    ///
    /// # Errors
    /// If it ends.
    pub async fn ask(&mut self, line: &str) -> Outcome<String> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        self.hear().await
    }

    /// Like [`ask`](Self::ask), for an answer that is a number.
    ///
    /// # Errors
    /// If it ends, or answers something else.
    pub async fn number(&mut self, line: &str) -> Outcome<f64> {
        Ok(self.ask(line).await?.parse()?)
    }
}

/// The requests that a child process receives from its parent.
#[derive(Debug)]
pub struct Asked(Lines<BufReader<tokio::io::Stdin>>);

impl Asked {
    /// Prints that the child is ready.
    #[must_use]
    pub fn ready(with: impl std::fmt::Display) -> Self {
        println!("{with}");
        Self(BufReader::new(tokio::io::stdin()).lines())
    }

    /// Returns the next request; none when the parent has closed the pipe.
    ///
    /// # Errors
    /// As standard input.
    pub async fn next(&mut self) -> Outcome<Option<String>> {
        Ok(self.0.next_line().await?)
    }

    /// Answers the requests that every child supports: its processor time and its memory. Returns
    /// whether the line was one of them.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub fn answer_of_process(&self, line: &str) -> Outcome<bool> {
        match line {
            "cpu" => self.answer(meter::cpu().as_nanos()),
            "memory" => self.answer(meter::resident()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Prints an answer.
    pub fn answer(&self, with: impl std::fmt::Display) {
        println!("{with}");
    }
}

/// Runs the child that the arguments select.
///
/// # Errors
/// The errors of the child.
pub async fn run(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", storage] => serve::run(storage).await,
        ["broadcast"] => broadcast::run().await,
        ["listeners", address, count] => clients::listeners(address.parse()?, count.parse()?).await,
        ["readers", address, count] => clients::readers(address.parse()?, count.parse()?).await,
        ["pull", address, file] => replica::pull(address.parse()?, file.as_ref()).await,
        ["write", file, count] => replica::write(file.as_ref(), count.parse()?).await,
        ["push", address, file] => replica::push(address.parse()?, file.as_ref()).await,
        _ => Err(format!("no such child: {words:?}").into()),
    }
}
