//! One self-contained page: bars for the figures, curves for their growth.

use std::fmt::Write;

use super::shown;
use crate::goal::Goal;
use crate::measure::{Bench, Better, Curve, Row};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2433; --dim: #667085; --line: #d6dbe4; --back: #fff; --ok: #17803d;
  --missed: #c0362c; --inconclusive: #b7791f; --track: #eef1f6; --a: #2563eb; --b: #d97706; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --dim: #98a2b3; --line: #39414f; --back: #14181f;
  --ok: #4cc274; --missed: #f0766c; --inconclusive: #e0ad4f; --track: #232935; --a: #7aa5ff; --b: #f0ad4e; } }
* { box-sizing: border-box } body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem } h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.05rem;
  margin: 2rem 0 .4rem } p { color: var(--dim); margin: .3rem 0 1rem } .row { display: grid; gap: .2rem 1rem;
  grid-template-columns: 21rem 1fr 8.5rem; align-items: center; padding: .45rem 0; border-top: 1px solid var(--line) }
.what small { color: var(--dim); display: block } .track { position: relative; height: 1.1rem; background: var(--track);
  border-radius: .25rem } .fill { position: absolute; inset: 0 auto 0 0; border-radius: .25rem } .ok { --c: var(--ok) }
.missed { --c: var(--missed) } .inconclusive { --c: var(--inconclusive) } .fill { background: var(--c); opacity: .8 }
.tick { position: absolute; top: -.2rem; bottom: -.2rem; width: 2px; background: var(--ink) } .tick.stretch { opacity: .35 }
.dot { position: absolute; top: .4rem; width: .3rem; height: .3rem; border-radius: 50%; background: var(--ink); opacity: .55;
  margin-left: -.15rem } .figure { text-align: right } .figure b { color: var(--c) } .figure small { display: block;
  color: var(--dim) } svg { width: 100%; height: auto } svg text { fill: var(--dim); font-size: 12px } .axis { stroke:
  var(--line) } .sum { display: flex; gap: 1.2rem; margin: .6rem 0 } .sum b { color: var(--c) }
@media (max-width: 45rem) { .row { grid-template-columns: 1fr } .figure { text-align: left } }
";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the page.
#[must_use]
pub fn page(bench: &Bench) -> String {
    let mut out = String::new();
    let kind = if bench.quick { "quick" } else { "full" };
    let count = |word: &str| bench.rows.iter().filter(|r| r.verdict().word() == word).count();
    let summary: String = ["ok", "inconclusive", "missed"]
        .map(|word| format!("<span class=\"{word}\"><b>{}</b> {word}</span>", count(word)))
        .concat();
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Twotide: performance</title><style>{STYLE}</style></head><body>\
         <h1>Twotide: performance</h1><p>Every figure compares Twotide with what is underneath it, run in turn in one \
         {kind} run. The bar is the median, the dots are the rounds; the dark line is what must be reached, the faint one \
         what would be better still.</p><div class=\"sum\">{summary}</div>"
    );
    for goal in Goal::ALL {
        let rows: Vec<_> = bench.rows.iter().filter(|r| r.aim.goal == goal).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(out, "<h2>{}. {}</h2>", goal.number(), escaped(goal.title()));
        rows.into_iter().for_each(|row| bar(&mut out, row));
    }
    for each in &bench.curves {
        let _ = write!(out, "<h2>{} ({})</h2>", escaped(&each.what), escaped(each.unit));
        curve(&mut out, each);
    }
    out.push_str("</body></html>\n");
    out
}

fn bar(out: &mut String, row: &Row) {
    let aim = &row.aim;
    let most = row.rounds.iter().copied().chain([aim.bar, aim.stretch, row.figure()]);
    let scale = most.filter(|n| n.is_finite()).fold(0.0_f64, f64::max).max(1e-9) * 1.08;
    let at = |n: f64| (n / scale * 100.0).clamp(0.0, 100.0);
    let better = match aim.better {
        Better::Higher => "at least",
        Better::Lower => "at most",
    };
    let dots: String = row
        .rounds
        .iter()
        .map(|r| format!("<i class=\"dot\" style=\"left:{:.2}%\"></i>", at(*r)))
        .collect();
    let _ = write!(
        out,
        "<div class=\"row {verdict}\"><div class=\"what\">{what}<small>{better} {bar}, better {stretch}</small></div>\
         <div class=\"track\"><i class=\"fill\" style=\"width:{width:.2}%\"></i>\
         <i class=\"tick\" style=\"left:{bar_at:.2}%\"></i><i class=\"tick stretch\" style=\"left:{stretch_at:.2}%\"></i>\
         {dots}</div><div class=\"figure\"><b>{figure}</b> {unit}<small>{verdict}</small></div></div>",
        verdict = row.verdict().word(),
        what = escaped(&aim.what),
        bar = shown(aim.bar),
        stretch = shown(aim.stretch),
        width = at(row.figure()),
        bar_at = at(aim.bar),
        stretch_at = at(aim.stretch),
        figure = shown(row.figure()),
        unit = escaped(aim.unit),
    );
}

/// Draws documents to the right, each step ten times the one before it, and the figure upwards,
/// from 0.
fn curve(out: &mut String, curve: &Curve) {
    const WIDTH: f64 = 760.0;
    const HEIGHT: f64 = 240.0;
    const LEFT: f64 = 48.0;
    const RIGHT: f64 = 130.0;
    let points = || curve.lines.iter().flat_map(|(_, points)| points);
    let least = points().map(|p| p.0.log10()).fold(f64::INFINITY, f64::min);
    let most = points().map(|p| p.0.log10()).fold(f64::NEG_INFINITY, f64::max);
    let top = points().map(|p| p.1).fold(0.0_f64, f64::max).max(1e-9) * 1.15;
    let x = |n: f64| LEFT + (n.log10() - least) / (most - least).max(1e-9) * (WIDTH - LEFT - RIGHT);
    let y = |n: f64| HEIGHT - 28.0 - n / top * (HEIGHT - 44.0);
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(value) + 4.0,
            shown(value),
            y = y(value),
        );
    }
    let mut sizes: Vec<f64> = points().map(|p| p.0).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    for size in sizes {
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(size),
            HEIGHT - 8.0,
            shown(size)
        );
    }
    for (at, (name, points)) in curve.lines.iter().enumerate() {
        let color = if at % 2 == 0 { "var(--b)" } else { "var(--a)" };
        let path: Vec<_> = points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2.5\"/>",
            path.join(" ")
        );
        for point in points {
            let (px, py) = (x(point.0), y(point.1));
            let _ = write!(out, "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"4\" fill=\"{color}\"/>");
        }
        if let Some(last) = points.last() {
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:{color}\">{} {}</text>",
                x(last.0) + 10.0,
                y(last.1) + 4.0,
                escaped(name),
                shown(last.1),
            );
        }
    }
    out.push_str("</svg>");
}
