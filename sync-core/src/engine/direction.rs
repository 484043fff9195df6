//! The direction of a replica's sync.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Goal;
use crate::error::{Error, ErrorKind, Result};

/// The direction of a replica's sync. As text: `push`, `pull` or `both`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Local edits are pushed; other replicas' edits are not pulled.
    Push,
    /// Other replicas' edits are pulled; local edits stay in the outbox.
    Pull,
    /// Both.
    #[default]
    Both,
}

impl Direction {
    /// All directions.
    pub const ALL: [Self; 3] = [Self::Push, Self::Pull, Self::Both];

    /// Returns whether local edits are pushed.
    #[must_use]
    pub fn pushes(self) -> bool {
        self != Self::Pull
    }

    /// Returns whether the server's changes are pulled.
    #[must_use]
    pub fn pulls(self) -> bool {
        self != Self::Push
    }

    /// Returns the goal of an engine with this direction.
    #[must_use]
    pub fn goal(self, live: bool) -> Goal {
        Goal { push: self.pushes(), pull: self.pulls(), live }
    }

    /// Returns its text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Both => "both",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Direction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let message = "a direction is one of push, pull and both";
        Self::ALL.into_iter().find(|d| d.as_str() == text).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, message).with("direction", format!("{text:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_leaves_out_the_other_one() {
        let ways = Direction::ALL.map(|d| (d, d.pushes(), d.pulls()));
        let expected = [
            (Direction::Push, true, false),
            (Direction::Pull, false, true),
            (Direction::Both, true, true),
        ];
        assert_eq!(ways, expected);
    }

    #[test]
    fn a_direction_is_its_word_everywhere() {
        for direction in Direction::ALL {
            assert_eq!(direction.as_str().parse::<Direction>().unwrap(), direction);
            let json = format!("\"{direction}\"");
            assert_eq!(serde_json::to_string(&direction).unwrap(), json);
            let goal = direction.goal(false);
            assert_eq!((goal.push, goal.pull), (direction.pushes(), direction.pulls()));
        }
        assert_eq!(Direction::default().goal(true), Goal::default());
        assert!("Push".parse::<Direction>().unwrap_err().to_string().contains("both"));
    }
}
