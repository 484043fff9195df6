//! Figures and their aims: rounds that are run in turn, their median, and a verdict.

use serde::{Serialize, Serializer};

use crate::Outcome;
use crate::goal::Goal;

/// Whether more or less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The figure should be at least the bar.
    Higher,
    /// The figure should be at most the bar.
    Lower,
}

/// An aim for one figure.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The goal that the aim belongs to.
    pub goal: Goal,
    /// What is measured.
    pub what: String,
    /// What the figure counts, such as `of raw` or `µs`.
    pub unit: &'static str,
    /// Whether more or less is better.
    pub better: Better,
    /// The bar that the figure must reach.
    pub bar: f64,
    /// The stretch: a better figure than the bar.
    pub stretch: f64,
}

impl Aim {
    /// A figure that should be at least the bar.
    #[must_use]
    pub fn at_least(
        goal: Goal,
        what: impl Into<String>,
        unit: &'static str,
        bar: f64,
        stretch: f64,
    ) -> Self {
        Self { goal, what: what.into(), unit, better: Better::Higher, bar, stretch }
    }

    /// A figure that should be at most the bar.
    #[must_use]
    pub fn at_most(
        goal: Goal,
        what: impl Into<String>,
        unit: &'static str,
        bar: f64,
        stretch: f64,
    ) -> Self {
        Self { goal, what: what.into(), unit, better: Better::Lower, bar, stretch }
    }

    fn holds(&self, figure: f64, limit: f64) -> bool {
        match self.better {
            Better::Higher => figure >= limit,
            Better::Lower => figure <= limit,
        }
    }
}

/// The verdict on an aim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every round reached the bar.
    Ok,
    /// No round reached the bar.
    Missed,
    /// Some rounds reached the bar and some did not.
    Inconclusive,
}

impl Verdict {
    /// The verdict as a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missed => "missed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// An aim, and its measurements.
#[derive(Clone, Debug)]
pub struct Row {
    /// The aim.
    pub aim: Aim,
    /// The figure of each round, in their order.
    pub rounds: Vec<f64>,
}

impl Row {
    /// The median of the rounds.
    #[must_use]
    pub fn figure(&self) -> f64 {
        median(&self.rounds)
    }

    /// Returns the verdict: every round has to reach the bar, or none.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let reached = self.rounds.iter().filter(|r| self.aim.holds(**r, self.aim.bar)).count();
        match reached {
            0 => Verdict::Missed,
            n if n == self.rounds.len() => Verdict::Ok,
            _ => Verdict::Inconclusive,
        }
    }

    /// Whether the median reaches the stretch.
    #[must_use]
    pub fn stretched(&self) -> bool {
        self.aim.holds(self.figure(), self.aim.stretch)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(8))?;
        map.serialize_entry("goal", &self.aim.goal.number())?;
        map.serialize_entry("what", &format!("{} ({})", self.aim.what, self.aim.unit))?;
        map.serialize_entry("figure", &rounded(self.figure()))?;
        map.serialize_entry("bar", &self.aim.bar)?;
        map.serialize_entry("stretch", &self.aim.stretch)?;
        map.serialize_entry("verdict", &self.verdict())?;
        map.serialize_entry(
            "rounds",
            &self.rounds.iter().map(|r| rounded(*r)).collect::<Vec<_>>(),
        )?;
        map.end()
    }
}

/// Rounds to four digits: more would be noise on a shared machine.
fn rounded(figure: f64) -> f64 {
    if figure.abs() >= 1_000.0 { figure.round() } else { (figure * 10_000.0).round() / 10_000.0 }
}

/// Figures of the same measurement at several sizes.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// What is measured.
    pub what: String,
    /// What the figures count.
    pub unit: &'static str,
    /// The lines by name: documents, and the figure there.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// Returns the median of some figures; NaN if there are none.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => f64::NAN,
        Some(upper) if sorted.len() % 2 == 1 => *upper,
        Some(upper) => (sorted[middle - 1] + upper) / 2.0,
    }
}

/// The measurements so far, and how they are made.
#[derive(Debug)]
pub struct Bench {
    /// Whether it should end within minutes.
    pub quick: bool,
    /// What was measured.
    pub rows: Vec<Row>,
    /// Curves for the page.
    pub curves: Vec<Curve>,
    /// A folder for files, removed at the end.
    pub folder: tempfile::TempDir,
    files: usize,
}

impl Bench {
    /// Creates a bench without measurements.
    ///
    /// # Errors
    /// If no folder can be made.
    pub fn new(quick: bool) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("twotide-report").tempdir()?;
        Ok(Self { quick, rows: Vec::new(), curves: Vec::new(), folder, files: 0 })
    }

    /// How many rounds are run: never fewer than five.
    #[must_use]
    pub fn rounds(&self) -> usize {
        if self.quick { 5 } else { 9 }
    }

    /// Returns a path at which no file exists.
    pub fn path(&mut self, ending: &str) -> std::path::PathBuf {
        self.files += 1;
        self.folder.path().join(format!("{}{ending}", self.files))
    }

    /// Prints a progress message on standard error.
    pub fn say(&self, what: impl std::fmt::Display) {
        eprintln!("  {what}");
    }

    /// Adds a row.
    pub fn row(&mut self, aim: Aim, rounds: Vec<f64>) {
        let row = Row { aim, rounds };
        let Row { aim, .. } = &row;
        self.say(format_args!(
            "{}: {:.2} {} ({})",
            aim.what,
            row.figure(),
            aim.unit,
            row.verdict().word()
        ));
        self.rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rounds: &[f64]) -> Row {
        Row {
            aim: Aim::at_least(Goal::Pull, "a thing", "of raw", 0.8, 0.9),
            rounds: rounds.to_vec(),
        }
    }

    #[test]
    fn a_row_whose_rounds_straddle_the_bar_is_never_ok() {
        assert_eq!(row(&[0.8, 0.9, 0.95]).verdict(), Verdict::Ok);
        assert_eq!(row(&[0.79, 0.9, 0.95]).verdict(), Verdict::Inconclusive);
        assert_eq!(row(&[0.7, 0.79]).verdict(), Verdict::Missed);
        assert_eq!(row(&[f64::NAN]).verdict(), Verdict::Missed);
    }

    #[test]
    fn the_figure_is_the_middle_of_the_rounds() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_row_is_serialized_with_the_keys_that_programs_read() {
        let json = serde_json::to_value(row(&[0.8, 0.9, 0.95])).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["bar", "figure", "goal", "rounds", "stretch", "verdict", "what"]);
        assert_eq!(json["verdict"], "ok");
    }
}
