//! The measurements, for readers and for programs.

mod html;
mod table;

use std::path::Path;

use crate::Outcome;
use crate::measure::{Bench, Row};

pub use html::page;
pub use table::table;

/// Writes the rows as a JSON list.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(path: &Path, rows: &[Row]) -> Outcome {
    let mut json = serde_json::to_string_pretty(rows)?;
    json.push('\n');
    Ok(std::fs::write(path, json)?)
}

/// Writes the page.
///
/// # Errors
/// If the file cannot be written.
pub fn write_html(path: &Path, bench: &Bench) -> Outcome {
    Ok(std::fs::write(path, page(bench))?)
}

/// Formats a figure with the digits that are significant.
fn shown(figure: f64) -> String {
    let size = figure.abs();
    if !figure.is_finite() {
        "?".to_owned()
    } else if size >= 1_000.0 {
        let digits = format!("{:.0}", size);
        let mut grouped = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        if figure < 0.0 { format!("-{grouped}") } else { grouped }
    } else if size >= 100.0 {
        format!("{figure:.0}")
    } else if size >= 10.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn figures_are_shown_with_the_digits_that_they_are_worth() {
        for (figure, text) in [
            (0.934, "0.93"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_500_000.0, "1,500,000"),
            (-2_500.0, "-2,500"),
        ] {
            assert_eq!(shown(figure), text);
        }
        assert_eq!(shown(f64::NAN), "?");
    }
}
