//! The table for a terminal.

use super::shown;
use crate::measure::{Better, Row};

/// Returns the rows as a table, for a terminal.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut lines =
        vec![["goal", "what", "figure", "bar", "stretch", "rounds", "verdict"].map(str::to_owned)];
    for row in rows {
        let aim = &row.aim;
        let limit = |n: f64| match aim.better {
            Better::Higher => format!(">= {}", shown(n)),
            Better::Lower => format!("<= {}", shown(n)),
        };
        let sorted =
            |pick: fn(f64, f64) -> f64| row.rounds.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        let star = if row.stretched() { " *" } else { "" };
        lines.push([
            aim.goal.number().to_string(),
            format!("{} ({})", aim.what, aim.unit),
            shown(row.figure()),
            limit(aim.bar),
            limit(aim.stretch),
            format!("{}..{}", shown(sorted(f64::min)), shown(sorted(f64::max))),
            format!("{}{star}", row.verdict().word()),
        ]);
    }
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            2..=4 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push_str("* the stretch is reached\n");
    text
}
