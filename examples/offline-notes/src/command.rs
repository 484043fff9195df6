//! The typed commands.

pub(crate) const HELP: &str = "\
add TEXT          a new note
ls                all notes: ✓ synced, … waits for the server, ! needs you
edit N TEXT       another text for note N
done N            ticks note N off, or back on
rm N              removes note N
keep N mine       ends a conflict: your text stands
keep N theirs     ends a conflict: the other text stands
status            what the sync is at
offline, online   leaves the network, and comes back
help, quit";

/// A command of the user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add(String),
    List,
    Edit(usize, String),
    Done(usize),
    Remove(usize),
    Keep(usize, Side),
    Status,
    Offline,
    Online,
    Help,
    Quit,
}

/// The side whose text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Mine,
    Theirs,
}

impl Command {
    /// Parses a line that is not empty.
    ///
    /// # Errors
    /// A message with the valid commands.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let (word, rest) = split(line);
        match word {
            "add" => Ok(Self::Add(text(rest, "add TEXT")?)),
            "edit" => {
                let usage = "edit N TEXT";
                let (number, rest) = split(rest);
                Ok(Self::Edit(note(number, usage)?, text(rest, usage)?))
            }
            "done" => Ok(Self::Done(note(rest, "done N")?)),
            "rm" => Ok(Self::Remove(note(rest, "rm N")?)),
            "keep" => {
                let usage = "keep N mine, or keep N theirs";
                let (number, side) = split(rest);
                let side = match side {
                    "mine" => Side::Mine,
                    "theirs" => Side::Theirs,
                    _ => return Err(format!("type {usage}")),
                };
                Ok(Self::Keep(note(number, usage)?, side))
            }
            "ls" => alone(Self::List, rest),
            "status" => alone(Self::Status, rest),
            "offline" => alone(Self::Offline, rest),
            "online" => alone(Self::Online, rest),
            "help" => alone(Self::Help, rest),
            "quit" => alone(Self::Quit, rest),
            _ => Err(format!("there is no command {word:?}: help lists them")),
        }
    }
}

/// Returns the first word, and the rest.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, rest.trim_start())
}

fn text(rest: &str, usage: &str) -> Result<String, String> {
    if rest.is_empty() { Err(format!("type {usage}")) } else { Ok(rest.to_owned()) }
}

fn note(word: &str, usage: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("type {usage}, where N is a number that ls shows"))
}

fn alone(command: Command, rest: &str) -> Result<Command, String> {
    if rest.is_empty() { Ok(command) } else { Err(format!("nothing follows here: {rest:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        for (line, command) in [
            ("add buy  oat milk ", Command::Add("buy  oat milk".into())),
            ("  ls", Command::List),
            ("edit 12\tbuy tea", Command::Edit(12, "buy tea".into())),
            ("done 1", Command::Done(1)),
            ("rm 2", Command::Remove(2)),
            ("keep 3 theirs", Command::Keep(3, Side::Theirs)),
            ("quit", Command::Quit),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn an_invalid_command_is_answered_with_the_valid_ones() {
        for (line, says) in [
            ("add", "type add TEXT"),
            ("edit one two", "type edit N TEXT"),
            ("edit 1", "type edit N TEXT"),
            ("done", "type done N"),
            ("rm -1", "type rm N"),
            ("keep 1", "type keep N mine"),
            ("ls all", "nothing follows"),
            ("dance", "there is no command \"dance\""),
        ] {
            let told = Command::parse(line).unwrap_err();
            assert!(told.starts_with(says), "{line}: {told}");
        }
    }
}
