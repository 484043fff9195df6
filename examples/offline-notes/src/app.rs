//! The app: runs the typed commands, and prints changes that arrive meanwhile.

use std::time::Duration;

use tokio::time::timeout;
use twotide::prelude::*;

use crate::Outcome;
use crate::command::{Command, HELP};
use crate::notes::Notes;
use crate::screen::{Screen, lines};

/// How long the last edits may take to sync when the program ends. The others sync the next time.
const LAST_EDITS: Duration = Duration::from_secs(5);
const NO_SERVER: &str = "no server to sync with: start the app with --server URL";

/// The app.
pub(crate) struct App {
    notes: Notes,
    screen: Screen,
    /// The server to sync with, if there is one.
    server: Option<String>,
    is_online: bool,
    /// The message about the sync that was printed since the last command.
    told: String,
    /// The conflicts that were reported to the user.
    conflicts: u64,
}

impl App {
    pub(crate) fn new(notes: Notes, screen: Screen, server: Option<String>) -> Self {
        Self { notes, screen, server, is_online: false, told: String::new(), conflicts: 0 }
    }

    /// Runs until the user quits, or the input ends.
    pub(crate) async fn run(mut self) -> Outcome<()> {
        let replica = self.notes.replica.clone();
        let mut changes = replica.changes().await?;
        let (mut status, mut statistics) = (replica.status(), replica.statistics());
        for line in self.notes.list().await? {
            self.screen.say(line)?;
        }
        self.screen.say("help lists the commands")?;
        if self.server.is_some() {
            self.go_online().await?;
        }
        let mut input = lines();
        loop {
            tokio::select! {
                line = input.recv() => match line.transpose()? {
                    Some(line) if self.obey(&line).await? => {}
                    _ => break,
                },
                Some(change) = changes.next() => {
                    if let Some(line) = self.notes.tell(&change?).await? {
                        self.screen.say(line)?;
                    }
                }
                changed = status.changed() => {
                    changed?;
                    self.tell_status().await?;
                }
                // A push can be over before the status shows that it began.
                changed = statistics.changed() => {
                    changed?;
                    self.tell_status().await?;
                }
            }
        }
        self.end().await
    }

    /// Runs the command of a line; returns false for the command to quit. An error is printed, and
    /// the app continues.
    async fn obey(&mut self, line: &str) -> Outcome<bool> {
        if line.trim().is_empty() {
            self.screen.prompt()?;
            return Ok(true);
        }
        let command = match Command::parse(line) {
            Ok(Command::Quit) => return Ok(false),
            Ok(command) => command,
            Err(instead) => {
                self.screen.say(instead)?;
                return Ok(true);
            }
        };
        match self.execute(command).await {
            Ok(said) => self.screen.say(said)?,
            Err(error) => self.screen.say(format_args!("! {}", error.report()))?,
        }
        Ok(true)
    }

    async fn execute(&mut self, command: Command) -> Result<String> {
        // After a command a message may be printed again.
        self.told.clear();
        Ok(match command {
            Command::Add(text) => self.notes.add(text).await?,
            Command::List => match self.notes.list().await? {
                lines if lines.is_empty() => "no notes yet: add TEXT makes one".into(),
                lines => lines.join("\n"),
            },
            Command::Edit(number, text) => {
                self.notes.change(number, |note| note.text = text).await?
            }
            Command::Done(number) => {
                self.notes.change(number, |note| note.done = !note.done).await?
            }
            Command::Remove(number) => {
                format!("removed {number}: {}", self.notes.remove(number).await?)
            }
            Command::Keep(number, side) => self.notes.keep(number, side).await?,
            Command::Status => self.describe().await?,
            Command::Offline => {
                self.notes.replica.stop().await;
                self.is_online = false;
                "offline: what you write waits in the file".into()
            }
            Command::Online if self.server.is_none() => NO_SERVER.into(),
            Command::Online => {
                self.go_online().await?;
                "online".into()
            }
            Command::Help | Command::Quit => HELP.into(),
        })
    }

    async fn go_online(&mut self) -> Result<()> {
        self.notes.replica.start().await?;
        self.is_online = true;
        Ok(())
    }

    /// Returns the answer to `status`.
    async fn describe(&self) -> Result<String> {
        let outbox = self.notes.outbox().await?;
        let status = self.notes.replica.status().borrow().clone();
        let sync = match (&self.server, self.is_online) {
            (None, _) => NO_SERVER.to_owned(),
            (Some(_), false) => "offline, as you wished".to_owned(),
            (Some(url), true) => match (status.activity, &status.error) {
                (Activity::Idle, _) => format!("in sync with {url}"),
                (Activity::Syncing, _) => format!("syncing with {url}"),
                (_, Some(error)) => format!("cannot reach {url}: {}", error.report()),
                (_, None) => format!("cannot reach {url}"),
            },
        };
        let (waiting, conflicts) = (outbox.pending + outbox.in_flight, outbox.deferred);
        let refused = outbox.quarantined;
        Ok(format!("{sync}\n{waiting} waiting, {conflicts} in conflict, {refused} refused"))
    }

    /// Prints the state of the sync, once.
    async fn tell_status(&mut self) -> Outcome<()> {
        let status = self.notes.replica.status().borrow().clone();
        let outbox = self.notes.outbox().await?;
        if outbox.deferred > self.conflicts {
            self.screen.say("! a note was changed here and elsewhere: ls shows which")?;
        }
        self.conflicts = outbox.deferred;
        // The status may be older than the last edit, the outbox is not.
        let is_settled = outbox.pending + outbox.in_flight == 0;
        let line = match (status.activity, &status.error) {
            _ if !self.is_online => return Ok(()),
            (Activity::Idle, _) if status.in_sync && is_settled => match outbox.deferred {
                0 => "✓ everything is synced".into(),
                _ => "✓ everything else is synced".into(),
            },
            (Activity::Offline | Activity::Error, _) if status.retries => {
                "… no connection: it is tried again by itself".into()
            }
            (Activity::Error, Some(error)) => format!("! the server refuses: {}", error.report()),
            _ => return Ok(()),
        };
        if line != self.told {
            self.screen.say(&line)?;
            self.told = line;
        }
        Ok(())
    }

    async fn end(self) -> Outcome<()> {
        let replica = &self.notes.replica;
        let activity = replica.status().borrow().activity;
        let is_reached = matches!(activity, Activity::Idle | Activity::Syncing);
        if self.is_online && is_reached {
            // The result is visible in the outbox.
            let _ = timeout(LAST_EDITS, replica.wait_until_in_sync()).await;
        }
        let outbox = self.notes.outbox().await?;
        self.screen.end()?;
        let waiting = outbox.pending + outbox.in_flight;
        if waiting > 0 {
            eprintln!("waiting for the next time online: {waiting}");
        }
        Ok(replica.close().await?)
    }
}
