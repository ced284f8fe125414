use std::fmt::{Result, Write};

use super::Escaped;
use crate::compare::Comparison;
use crate::report::svg::{Series, chart, legend};
use crate::report::text::{brief, duration, plural, signed_duration, thousands, three_digits};
use crate::times::{Bucket, FingerprintTimes, Slower};

/// Statements in the table of times; all are in the JSON.
const STATEMENTS: usize = 500;

pub(super) fn times(out: &mut String, c: &Comparison) -> Result {
    out.push_str("<section id=\"times\">\n<h2>Times</h2>\n");
    let l = &c.latency;
    if l.service.old.count == 0 {
        out.push_str("<p class=\"none\">No request succeeded on both sides.</p></section>\n");
        return Ok(());
    }
    write!(
        out,
        "<p class=\"note\">Of the {} that succeeded on both sides. Service time runs from the first \
         byte sent to the last received, response time from when the request was to be sent, first byte \
         from the first byte sent to the first received.</p>\n\
         <h3>Service time by percentile</h3>\n",
        plural(l.service.old.count, "request")
    )?;
    curve(out, c);
    // One point is no line.
    if l.over_time.buckets.len() > 1 {
        writeln!(
            out,
            "<h3>Service time over the recording, {} a point</h3>",
            brief(l.over_time.bucket_seconds * 1_000_000_000)
        )?;
        over_time(out, c);
    }
    out.push_str(
        "<div class=\"scroll\"><table class=\"numbers\"><thead><tr><th><th><th>mean<th>p50<th>p90\
         <th>p99<th>p99.9<th>max</tr></thead><tbody>",
    );
    for (name, sides) in [
        ("service", &l.service),
        ("response", &l.response),
        ("first byte", &l.first_byte),
    ] {
        let rows = [
            ("OLD", Some(sides.old)),
            ("NEW", Some(sides.new)),
            ("noise", sides.noise),
        ];
        for (index, (side, summary)) in rows.into_iter().enumerate() {
            let Some(s) = summary else { continue };
            let name = if index == 0 { name } else { "" };
            write!(out, "<tr><th>{name}<td>{side}")?;
            for ns in [s.mean_ns, s.p50_ns, s.p90_ns, s.p99_ns, s.p999_ns, s.max_ns] {
                write!(out, "<td>{}", duration(ns))?;
            }
            out.push_str("</tr>");
        }
    }
    out.push_str("</tbody></table></div>\n</section>\n");
    Ok(())
}

/// Each further nine of the percentile takes the same width.
fn curve(out: &mut String, c: &Comparison) {
    let points = &c.latency.curve;
    let nines = |percentile: f64| -(1.0 - percentile / 100.0).log10();
    let most = points
        .last()
        .map_or(1.0, |point| nines(point.percentile))
        .max(1.0);
    let series = |class, label, value: &dyn Fn(usize) -> Option<u64>| Series {
        class,
        label,
        points: points
            .iter()
            .enumerate()
            .filter_map(|(index, point)| Some((nines(point.percentile) / most, value(index)?)))
            .collect(),
    };
    let at = |index: usize| points.get(index);
    let all = [
        series("noise", "noise (OLD again)", &|i| at(i)?.noise_ns),
        series("old", "OLD", &|i| Some(at(i)?.old_ns)),
        series("new", "NEW", &|i| Some(at(i)?.new_ns)),
    ];
    let ticks: Vec<(f64, String)> = [
        0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999, 99.99999,
    ]
    .into_iter()
    .map(|percentile| (nines(percentile) / most, format!("{percentile} %")))
    .filter(|(at, _)| *at <= 1.0)
    .collect();
    out.push_str(&chart("Service time by percentile", &all, &ticks));
    out.push_str(&shown_legend(&all));
    out.push('\n');
}

fn over_time(out: &mut String, c: &Comparison) {
    let over_time = &c.latency.over_time;
    let last = over_time.buckets.last().map_or(0, |bucket| bucket.second);
    let end = last.max(1) as f64;
    let series = |class, label, value: fn(&Bucket) -> u64| Series {
        class,
        label,
        points: over_time
            .buckets
            .iter()
            .map(|bucket| (bucket.second as f64 / end, value(bucket)))
            .collect(),
    };
    let all = [
        series("old faint", "OLD p50", |bucket| bucket.old_p50_ns),
        series("new faint", "NEW p50", |bucket| bucket.new_p50_ns),
        series("old", "OLD p99", |bucket| bucket.old_p99_ns),
        series("new", "NEW p99", |bucket| bucket.new_p99_ns),
    ];
    // Whole seconds, each once.
    let mut seconds: Vec<u64> = (0..=4).map(|quarter| quarter * last.max(1) / 4).collect();
    seconds.dedup();
    let ticks: Vec<(f64, String)> = seconds
        .into_iter()
        .map(|second| {
            let label = match second {
                0 => "start".to_owned(),
                _ => format!("+{}", brief(second * 1_000_000_000)),
            };
            (second as f64 / end, label)
        })
        .collect();
    out.push_str(&chart("Service time over the recording", &all, &ticks));
    out.push_str(&shown_legend(&all));
    out.push('\n');
}

fn shown_legend(all: &[Series]) -> String {
    legend(all.iter().filter(|series| !series.points.is_empty()))
}

pub(super) fn statements(out: &mut String, c: &Comparison) -> Result {
    let all = &c.latency.fingerprints;
    if all.is_empty() {
        return Ok(());
    }
    write!(
        out,
        "<section id=\"statements\">\n<h2>Statements by the time that NEW adds</h2>\n\
         <p class=\"note\">At the rate of this recording ({} long), for a day. First byte: the mean time \
         to it. Marked: slower than the \
         gate allows, beyond noise and chance. <input type=\"search\" \
         data-filter=\"#statements tbody tr\" placeholder=\"filter\" aria-label=\"filter \
         statements\"></p>\n<div class=\"scroll\"><table class=\"numbers sortable\"><thead><tr>\
         <th>statement<th>calls<th>first byte OLD<th>NEW<th>mean OLD<th>NEW<th>p50 OLD<th>NEW<th>p99 OLD<th>NEW<th>p99 ratio\
         <th>total OLD<th>added a day</tr></thead><tbody>\n",
        duration((c.span.seconds * 1e9) as u64)
    )?;
    for one in all.iter().take(STATEMENTS) {
        statement(out, one)?;
    }
    out.push_str("</tbody></table></div>\n");
    if all.len() > STATEMENTS {
        let more = plural((all.len() - STATEMENTS) as u64, "further statement");
        writeln!(
            out,
            "<p class=\"note\">{more} in the JSON form of this report.</p>"
        )?;
    }
    if c.latency.folded > 0 {
        writeln!(
            out,
            "<p class=\"note\">{} of rare statements are only in the sums.</p>",
            plural(c.latency.folded_times.old.count, "request")
        )?;
    }
    out.push_str("</section>\n");
    Ok(())
}

fn statement(out: &mut String, one: &FingerprintTimes) -> Result {
    let slower = |stat: &str| one.slower.iter().find(|slower| slower.stat == stat);
    let class = if one.slower.is_empty() {
        ""
    } else {
        " class=\"slower\""
    };
    let (old, new) = (&one.times.old, &one.times.new);
    write!(
        out,
        "<tr{class}><td><code>{}</code><td data-v=\"{}\">{}",
        Escaped(&one.named.statement),
        old.count,
        thousands(old.count)
    )?;
    let first = &one.first_byte;
    let first = [first.old_ns, first.new_ns].map(Option::unwrap_or_default);
    for (stat, old, new) in [
        ("first byte", first[0], first[1]),
        ("mean", old.mean_ns, new.mean_ns),
        ("p50", old.p50_ns, new.p50_ns),
        ("p99", old.p99_ns, new.p99_ns),
    ] {
        let marked = slower(stat).map(why).unwrap_or_default();
        write!(
            out,
            "<td data-v=\"{old}\">{}<td data-v=\"{new}\"{marked}>{}",
            duration(old),
            duration(new)
        )?;
    }
    let ratio = one.p99_ratio.unwrap_or_default();
    let added = one.added_ns_a_day.unwrap_or(one.added_ns);
    writeln!(
        out,
        "<td data-v=\"{ratio}\">{}x<td data-v=\"{}\">{}<td data-v=\"{added}\">{}</tr>",
        three_digits(ratio),
        old.total_ns,
        duration(old.total_ns),
        match one.added_ns_a_day {
            Some(added) => signed_duration(added),
            None => "–".to_owned(),
        },
    )
}

/// The attributes of a marked cell.
fn why(slower: &Slower) -> String {
    format!(
        " class=\"differs\" title=\"allowed {}; chance {:.1e}\"",
        duration(slower.limit_ns),
        slower.chance
    )
}
