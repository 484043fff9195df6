//! The diagram for terminals.

use std::fmt::Write;

use crate::sim::trace::{Mark, Trace, TraceEvent};

/// The width of a lane in columns.
const WIDE: usize = 10;

/// Returns the diagram of a trace, one line for each moment, and the documents that differ at the
/// end. Of a long trace only the last `most` moments are shown.
#[must_use]
pub fn text(trace: &Trace, most: usize) -> String {
    let mut out = String::new();
    let mut moments: Vec<&TraceEvent> = trace.moments.iter().collect();
    moments.sort_by_key(|m| m.at);
    let left_out = moments.len().saturating_sub(most);
    let names = trace.lanes.iter().map(|name| format!("{name:^WIDE$}")).collect::<String>();
    let _ = writeln!(out, "{:>10}  {names}", "time");
    if left_out > 0 {
        let _ = writeln!(out, "{:>10}  ({left_out} earlier moments are left out)", "");
    }
    for moment in moments.into_iter().skip(left_out) {
        let at = moment.at as f64 / 1_000.0;
        let _ = writeln!(out, "{at:>10.3}  {} {}", lanes(trace.lanes.len(), moment), words(moment));
    }
    for difference in &trace.differences {
        let _ = writeln!(out, "\n{} is not the same everywhere:", difference.document);
        for (lane, shown) in &difference.shown {
            let _ = writeln!(out, "  {lane:<10} {shown}");
        }
    }
    out
}

fn words(moment: &TraceEvent) -> String {
    match (moment.mark, moment.to) {
        (Mark::Message, Some((at, _))) => {
            format!("{}, there at {:.3}", moment.text, at as f64 / 1_000.0)
        }
        (Mark::Lost, _) => format!("{}, lost", moment.text),
        _ => moment.text.clone(),
    }
}

/// Returns one line of all lanes: a sign on the lane of the event, an arrow to the lane where it
/// arrives.
fn lanes(count: usize, moment: &TraceEvent) -> String {
    let centre = |lane: usize| lane * WIDE + WIDE / 2;
    let mut line = vec![' '; count * WIDE];
    for lane in 0..count {
        line[centre(lane)] = '│';
    }
    let from = centre(moment.lane.min(count.saturating_sub(1)));
    if let Some((_, to)) = moment.to {
        let to = centre(to.min(count.saturating_sub(1)));
        for cell in &mut line[from.min(to)..=from.max(to)] {
            *cell = '─';
        }
        line[to] = match (moment.mark, from < to) {
            (Mark::Lost, _) => '×',
            (_, true) => '►',
            (_, false) => '◄',
        };
    }
    line[from] = sign(moment.mark);
    line.into_iter().collect()
}

/// Returns the sign of an event.
fn sign(mark: Mark) -> char {
    match mark {
        Mark::Write => '●',
        Mark::Message | Mark::Lost => '○',
        Mark::Stored => '■',
        Mark::Conflict => '◆',
        Mark::Down => '▼',
        Mark::Up => '▲',
        Mark::Fault => '!',
        Mark::Violation => '✗',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::trace::Difference;

    #[test]
    fn a_message_is_an_arrow_between_lanes() {
        let moment = |mark, to| TraceEvent { at: 1_500, lane: 1, mark, text: "push 1".into(), to };
        let trace = Trace {
            lanes: vec!["server".into(), "client 0".into()],
            moments: vec![
                moment(Mark::Write, None),
                moment(Mark::Message, Some((1_520, 0))),
                moment(Mark::Lost, Some((1_520, 0))),
            ],
            differences: vec![Difference {
                document: "notes/1".into(),
                shown: vec![("server".into(), "\"a\"".into())],
            }],
        };
        let shown = text(&trace, 100);
        assert!(shown.contains("     1.500       │         ●     push 1\n"), "{shown}");
        assert!(shown.contains("◄─────────○     push 1, there at 1.520"), "{shown}");
        assert!(shown.contains("×─────────○     push 1, lost"), "{shown}");
        assert!(shown.contains("notes/1 is not the same everywhere"), "{shown}");
        assert!(text(&trace, 1).contains("2 earlier moments are left out"));
    }
}
