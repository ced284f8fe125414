use std::fmt::Write;

use super::html::Escaped;
use super::text::brief;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 28.0;

/// A line of a chart; `class` gives it its colour.
pub(super) struct Series {
    pub class: &'static str,
    pub label: &'static str,
    /// `x` from 0 to 1, and nanoseconds.
    pub points: Vec<(f64, u64)>,
}

/// Lines over a logarithmic axis of time. `ticks` are places on the other axis, from 0 to 1.
pub(super) fn chart(title: &str, series: &[Series], ticks: &[(f64, String)]) -> String {
    let values = || {
        let points = series.iter().flat_map(|one| &one.points);
        points.map(|(_, ns)| (*ns).max(1) as f64)
    };
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(1.0, f64::max);
    if !low.is_finite() {
        return String::new();
    }
    // Whole steps of 1, 2, 5, so that the lines do not touch the frame.
    let (low, high) = (low.log10() - 0.05, high.log10() + 0.05);
    let span = (high - low).max(0.5);
    let x = |x: f64| LEFT + x * (WIDTH - LEFT - RIGHT);
    let y = |ns: f64| TOP + (1.0 - (ns.max(1.0).log10() - low) / span) * (HEIGHT - TOP - BOTTOM);
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        Escaped(title)
    );
    for ns in steps(low, low + span) {
        let at = y(ns);
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/>\
             <text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            brief(ns as u64)
        );
    }
    for (at, label) in ticks {
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{:.1} {TOP}V{:.1}\"/>\
             <text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x(*at),
            HEIGHT - BOTTOM,
            x(*at),
            HEIGHT - BOTTOM + 18.0,
            Escaped(label)
        );
    }
    for one in series {
        let mut path = String::new();
        for (index, (at, ns)) in one.points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(*at), y(*ns as f64));
        }
        let _ = write!(
            out,
            "<path class=\"line {}\" d=\"{path}\"><title>{}</title></path>",
            one.class, one.label
        );
    }
    out.push_str("</svg>");
    out
}

pub(super) fn legend<'a>(series: impl Iterator<Item = &'a Series>) -> String {
    let mut out = String::from("<p class=\"legend\">");
    for one in series {
        let _ = write!(
            out,
            "<span><svg viewBox=\"0 0 24 8\"><path class=\"line {}\" d=\"M0 4H24\"/></svg>{}</span>",
            one.class, one.label
        );
    }
    out.push_str("</p>");
    out
}

/// Round numbers of nanoseconds between two powers of ten: decades, or also their halves and fifths
/// where that gives few.
fn steps(low: f64, high: f64) -> Vec<f64> {
    let within = |parts: &[f64]| -> Vec<f64> {
        (low.floor() as i32..=high.ceil() as i32)
            .flat_map(|decade| parts.iter().map(move |part| part * 10f64.powi(decade)))
            .filter(|ns| (low..=high).contains(&ns.log10()))
            .collect()
    };
    let decades = within(&[1.0]);
    if decades.len() > 3 {
        decades
    } else {
        within(&[1.0, 2.0, 5.0])
    }
}
