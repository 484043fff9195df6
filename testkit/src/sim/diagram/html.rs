//! The diagram as a self-contained page: no script, no font, no network.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::sim::trace::{Mark, Trace, TraceEvent};
use crate::sim::{Failure, Plan};

/// Pixels between lanes, to the left of the first one, and above them.
const LANE: f64 = 190.0;
const LEFT: f64 = 150.0;
const TOP: f64 = 40.0;
/// The least distance between two moments on one lane.
const LINE: f64 = 17.0;
/// The number of letters after which a label is cut. Pointing at it shows all of it.
const LABEL: usize = 26;

/// Returns the page of a failure: the violation, the shrunk plan, the diagram of its last `most`
/// moments, and the documents that differ, side by side.
#[must_use]
pub fn html(failure: &Failure, most: usize) -> String {
    let (oracle, what) = (failure.shrunk.oracle, &failure.shrunk.what);
    let seed = failure.seed;
    let mut out = begin(&format!("seed {seed} fails"));
    let at = failure.shrunk.at as f64 / 1_000.0;
    let _ = writeln!(
        out,
        "<header><p class=\"kind\">{}</p><h1>{}</h1><p>Seed {seed}, shrunk to {} actions. Seen at {at:.3} s of simulated time.</p></header>",
        escape(oracle),
        escape(&headline(what)),
        failure.plan.actions.len()
    );
    let _ = writeln!(
        out,
        "<details><summary>Everything that was seen</summary><pre>{}</pre></details>",
        escape(what)
    );
    end(out, &failure.plan, &failure.trace, most)
}

/// Returns the page of a plan without a violation.
#[must_use]
pub fn html_of(plan: &Plan, trace: &Trace, most: usize) -> String {
    let mut out = begin("a plan that holds");
    let _ = writeln!(
        out,
        "<header class=\"sound\"><p class=\"kind\">sound</p><h1>Nothing was found</h1><p>{} actions, seed {}.</p></header>",
        plan.actions.len(),
        plan.setting.seed
    );
    end(out, plan, trace, most)
}

fn begin(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>Twotide: {}</title>\n<style>{STYLE}</style>\n<main>\n",
        escape(title)
    )
}

fn end(mut out: String, of: &Plan, trace: &Trace, most: usize) -> String {
    differences(&mut out, trace);
    plan(&mut out, of);
    out.push_str("<section><h2>What happened</h2>\n");
    legend(&mut out);
    out.push_str("<div class=\"wide\">");
    svg(&mut out, trace, most);
    out.push_str("</div></section>\n</main>\n</html>\n");
    out
}

/// Returns the first sentence of a violation, without the states that are printed after it.
fn headline(what: &str) -> String {
    let end = what.find(": Some(").or_else(|| what.find(": None")).unwrap_or(what.len());
    cut(&what[..end], 160)
}

fn differences(out: &mut String, trace: &Trace) {
    if trace.differences.is_empty() {
        return;
    }
    out.push_str("<section><h2>Documents that are not the same everywhere</h2>\n");
    for difference in &trace.differences {
        let _ = write!(out, "<table><caption>{}</caption><tr>", escape(&difference.document));
        for (lane, _) in &difference.shown {
            let _ = write!(out, "<th>{}</th>", escape(lane));
        }
        out.push_str("</tr><tr>");
        let server = difference.shown.first().map(|(_, shown)| shown);
        for (_, shown) in &difference.shown {
            let class = if Some(shown) == server { "same" } else { "other" };
            let _ = write!(out, "<td class=\"{class}\">{}</td>", escape(shown));
        }
        out.push_str("</tr></table>\n");
    }
    out.push_str("</section>\n");
}

fn plan(out: &mut String, plan: &Plan) {
    let _ = writeln!(
        out,
        "<section><h2>The plan</h2><p>Keep it as a file, and replay it with <code>twotide simulate --replay plan.json</code>.</p><pre>{}</pre></section>",
        escape(plan.to_json().trim_end())
    );
}

fn legend(out: &mut String) {
    out.push_str("<p class=\"legend\">");
    let marks = [
        (Mark::Write, "the app writes"),
        (Mark::Message, "a message"),
        (Mark::Lost, "a message that is lost"),
        (Mark::Conflict, "a conflict"),
        (Mark::Stored, "the storage"),
        (Mark::Up, "begins"),
        (Mark::Down, "ends"),
        (Mark::Fault, "a fault"),
        (Mark::Violation, "what must not be"),
    ];
    for (mark, words) in marks {
        let _ = write!(out, "<span><i class=\"dot {}\"></i>{words}</span> ", class(mark));
    }
    out.push_str("</p>\n");
}

fn svg(out: &mut String, trace: &Trace, most: usize) {
    let mut moments: Vec<&TraceEvent> = trace.moments.iter().filter(|m| !is_heartbeat(m)).collect();
    moments.sort_by_key(|m| m.at);
    let left_out = moments.len().saturating_sub(most);
    let moments = &moments[left_out..];
    let places = places(moments);
    let bottom = places.values().next_back().copied().unwrap_or(TOP) + 60.0;
    let width = LEFT + LANE * trace.lanes.len() as f64 + 60.0;
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 {width:.0} {bottom:.0}\" width=\"{width:.0}\" role=\"img\" aria-label=\"Space-time diagram\">"
    );
    out.push_str("<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0 0 8 4 0 8z\"/></marker></defs>\n");
    for (lane, name) in trace.lanes.iter().enumerate() {
        let x = x_of(lane);
        let _ = writeln!(
            out,
            "<text class=\"lane\" x=\"{x:.0}\" y=\"22\">{}</text><line class=\"lane\" x1=\"{x:.0}\" y1=\"{TOP:.0}\" x2=\"{x:.0}\" y2=\"{:.0}\"/>",
            escape(name),
            bottom - 20.0
        );
    }
    if left_out > 0 {
        let _ = writeln!(
            out,
            "<text class=\"time\" x=\"8\" y=\"{:.0}\">{left_out} earlier</text>",
            TOP - 4.0
        );
    }
    let mut last_time = f64::MIN;
    let mut last_on: BTreeMap<usize, f64> = BTreeMap::new();
    for moment in moments {
        let place = places.get(&moment.at).copied().unwrap_or(TOP);
        let last = last_on.get(&moment.lane).copied().unwrap_or(f64::MIN);
        let y = place.max(last + LINE);
        last_on.insert(moment.lane, y);
        if place - last_time >= LINE {
            let seconds = moment.at as f64 / 1_000.0;
            let _ = writeln!(
                out,
                "<text class=\"time\" x=\"8\" y=\"{:.1}\">{seconds:.3} s</text>",
                place + 4.0
            );
            last_time = place;
        }
        draw(out, moment, y, &places);
    }
    out.push_str("</svg>\n");
}

fn draw(out: &mut String, moment: &TraceEvent, y: f64, places: &BTreeMap<u64, f64>) {
    let (x, class) = (x_of(moment.lane), class(moment.mark));
    let title = format!("{:.3} s: {}", moment.at as f64 / 1_000.0, moment.text);
    let _ = write!(out, "<g class=\"{class}\"><title>{}</title>", escape(&title));
    let label = escape(&cut(&moment.text, LABEL));
    match moment.to {
        Some((at, lane)) => {
            let there = places.get(&at).copied().unwrap_or(y).max(y + 4.0);
            let (end, y_end) = match moment.mark {
                // The arrow of a lost message ends in the middle.
                Mark::Lost => (x + (x_of(lane) - x) * 0.6, y + (there - y) * 0.6),
                _ => (x_of(lane), there),
            };
            let tip = if moment.mark == Mark::Lost { "" } else { " marker-end=\"url(#tip)\"" };
            let _ = write!(
                out,
                "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{end:.1}\" y2=\"{y_end:.1}\"{tip}/>"
            );
            if moment.mark == Mark::Lost {
                let _ = write!(
                    out,
                    "<text class=\"cross\" x=\"{end:.1}\" y=\"{:.1}\">×</text>",
                    y_end + 5.0
                );
            }
            // Labels are near the beginning of arrows, so that arrows which cross do not hide each
            // other's words.
            let right = x_of(lane) > x;
            let (text_x, anchor) = if right { (x + 8.0, "start") } else { (x - 8.0, "end") };
            let _ = write!(
                out,
                "<text class=\"label\" x=\"{text_x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>",
                y - 3.0
            );
        }
        None => {
            let _ = write!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/><text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                x + 10.0,
                y + 4.0
            );
        }
    }
    out.push_str("</g>\n");
}

/// Returns the place of each point in time: long waits are shortened, short ones stretched.
fn places(moments: &[&TraceEvent]) -> BTreeMap<u64, f64> {
    let mut counts: BTreeMap<u64, BTreeMap<usize, usize>> = BTreeMap::new();
    for moment in moments {
        *counts.entry(moment.at).or_default().entry(moment.lane).or_default() += 1;
        if let Some((at, _)) = moment.to {
            counts.entry(at).or_default();
        }
    }
    let mut places = BTreeMap::new();
    let (mut y, mut before) = (TOP + 10.0, None);
    for (at, lanes) in counts {
        if let Some((last, crowd)) = before {
            let gap = 6.0 + ((at - last) as f64).sqrt() * 2.5;
            y += gap.clamp(9.0, 70.0) + crowd;
        }
        places.insert(at, y);
        let most = lanes.values().copied().max().unwrap_or(1);
        before = Some((at, LINE * most.saturating_sub(1) as f64));
    }
    places
}

fn x_of(lane: usize) -> f64 {
    LEFT + LANE * lane as f64
}

fn is_heartbeat(moment: &TraceEvent) -> bool {
    matches!(moment.mark, Mark::Message | Mark::Lost)
        && matches!(moment.text.as_str(), "ping" | "pong" | "credit")
}

fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Write => "write",
        Mark::Message => "message",
        Mark::Lost => "lost",
        Mark::Stored => "stored",
        Mark::Conflict => "conflict",
        Mark::Down => "down",
        Mark::Up => "up",
        Mark::Fault => "fault",
        Mark::Violation => "violation",
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #68707a; --paper: #fff; --panel: #f5f6f8; --rule: #d5d9de;
  --write: #1a7f37; --message: #57606a; --lost: #cf222e; --stored: #8250df; --conflict: #bc4c00; --down: #cf222e;
  --up: #0969da; --fault: #9a6700; --violation: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa4af; --paper: #15181c; --panel: #1e2227;
  --rule: #353b43; --write: #4ac26b; --message: #9aa4af; --lost: #ff6b6b; --stored: #b48af5; --conflict: #f0883e;
  --down: #ff6b6b; --up: #58a6ff; --fault: #d4a72c; --violation: #ff6b6b; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px; }
header { border-left: 4px solid var(--violation); padding-left: 16px; }
h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 17px; margin: 28px 0 8px; }
.kind { margin: 0; color: var(--violation); font-weight: 600; }
header.sound { border-color: var(--write); } .sound .kind { color: var(--write); }
pre { background: var(--panel); padding: 12px; overflow: auto; white-space: pre-wrap; font-size: 12.5px; border-radius: 6px; max-height: 420px; }
details { margin: 12px 0; } summary { cursor: pointer; color: var(--soft); }
table { border-collapse: collapse; margin: 8px 0 16px; font-size: 13px; } caption { text-align: left; font-weight: 600; }
th, td { border: 1px solid var(--rule); padding: 5px 10px; text-align: left; overflow-wrap: anywhere; max-width: 220px; }
th { background: var(--panel); } td.other { color: var(--violation); font-weight: 600; }
.legend span { margin-right: 14px; color: var(--soft); white-space: nowrap; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 5px; }
.wide { overflow-x: auto; border: 1px solid var(--rule); border-radius: 6px; }
svg { display: block; font: 11px system-ui, sans-serif; }
svg line.lane { stroke: var(--rule); stroke-width: 2; } svg text.lane { fill: var(--ink); font-weight: 600; font-size: 13px; text-anchor: middle; }
svg text.time { fill: var(--soft); font-variant-numeric: tabular-nums; } svg marker path { fill: var(--message); }
svg .label { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 3px; } svg g line { stroke-width: 1.3; }
svg .message line { stroke: var(--message); } svg .message .label { fill: var(--soft); }
svg .lost line { stroke: var(--lost); stroke-dasharray: 4 3; } svg .lost .label, svg .cross { fill: var(--lost); } svg .cross { font-size: 15px; text-anchor: middle; }
svg .write circle { fill: var(--write); } svg .stored circle { fill: var(--stored); } svg .conflict circle { fill: var(--conflict); }
svg .down circle { fill: var(--down); } svg .up circle { fill: var(--up); } svg .fault circle { fill: var(--fault); }
svg .violation circle { fill: var(--violation); r: 8; } svg .violation .label { fill: var(--violation); font-weight: 700; }
.dot.write { background: var(--write); } .dot.message { background: var(--message); } .dot.lost { background: var(--lost); }
.dot.stored { background: var(--stored); } .dot.conflict { background: var(--conflict); } .dot.down { background: var(--down); }
.dot.up { background: var(--up); } .dot.fault { background: var(--fault); } .dot.violation { background: var(--violation); }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Difference, Simulation, Violation};

    #[test]
    fn a_page_is_self_contained_and_escapes_its_text() {
        let plan = Simulation::builder().clients(2).seconds(5).build().plan(1);
        let violation = Violation { oracle: "mine", at: 1_500, what: "<b> & \"c\"".into() };
        let moment =
            |mark, to| TraceEvent { at: 1_500, lane: 1, mark, text: "push <1>".into(), to };
        let trace = Trace {
            lanes: vec!["server".into(), "client 0".into()],
            moments: vec![
                moment(Mark::Write, None),
                moment(Mark::Message, Some((1_520, 0))),
                moment(Mark::Lost, Some((1_530, 0))),
            ],
            differences: vec![Difference {
                document: "notes/1".into(),
                shown: vec![("server".into(), "a".into()), ("client 0".into(), "b".into())],
            }],
        };
        let shrunk = violation.clone();
        let page = html(&Failure { seed: 7, violation, plan, shrunk, trace }, 100);
        assert!(page.contains("&lt;b&gt; &amp; &quot;c&quot;") && !page.contains("<b>"));
        assert!(page.contains("push &lt;1&gt;") && page.contains("marker-end"));
        assert!(page.contains("<td class=\"other\">b</td>"));
        for outside in ["http:", "https:", "<script", "src="] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
