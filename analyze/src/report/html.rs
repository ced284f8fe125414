use std::fmt::{self, Result, Write};

use super::svg::{Series, chart, legend};
use super::terminal::headline;
use super::text::{brief, duration, plural, signed_duration, thousands, three_digits};
use crate::compare::{Comparison, Side};
use crate::differences::{Cell, Example, Group, ShownAnswer};
use crate::times::{FingerprintTimes, Slower};
use crate::trust::Weight;
use crate::verdict::State;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Statements in the table of times; all are in the JSON.
const STATEMENTS: usize = 500;
/// Groups of differences that are unfolded at first.
const UNFOLDED: usize = 5;

/// One file that needs nothing else: no other file, no network. Everything recorded is escaped, and
/// the page forbids itself to load anything.
pub fn html(comparison: &Comparison) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = page(&mut out, comparison);
    out
}

/// Text within an element or a quoted attribute.
pub(super) struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Controls that HTML forbids, and marks that turn the direction of what follows.
                '\n' | '\t' => f.write_char(c)?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_char('\u{fffd}')?,
                _ if c.is_control() => f.write_char('\u{fffd}')?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn page(out: &mut String, c: &Comparison) -> Result {
    let name = c.verdict.outcome.name();
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Rehearsal: {name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    )?;
    banner(out, c)?;
    out.push_str("<main>\n");
    differences(out, c)?;
    times(out, c)?;
    statements(out, c)?;
    trust(out, c)?;
    noise(out, c)?;
    environment(out, c)?;
    write!(
        out,
        "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

fn banner(out: &mut String, c: &Comparison) -> Result {
    let outcome = c.verdict.outcome.name();
    write!(
        out,
        "<header class=\"{outcome}\"><div>\n<p class=\"outcome\">{outcome}</p>\n<h1>{}</h1>\n<ul>",
        headline(c)
    )?;
    for reason in &c.verdict.reasons {
        write!(out, "<li>{}</li>", Escaped(reason))?;
    }
    let slower = c
        .latency
        .fingerprints
        .iter()
        .filter(|one| !one.slower.is_empty());
    write!(
        out,
        "</ul>\n<dl class=\"facts\">\
         <div><dt>requests compared</dt><dd>{}</dd></div>\
         <div><dt>differences</dt><dd>{}</dd></div>\
         <div><dt>missing</dt><dd>{}</dd></div>\
         <div><dt>slower statements</dt><dd>{}</dd></div>\
         <div><dt>p99, OLD to NEW</dt><dd>{} → {}</dd></div></dl>\n\
         <nav><a href=\"#differences\">Differences</a><a href=\"#times\">Times</a>\
         <a href=\"#statements\">Statements</a><a href=\"#trust\">Trust</a>\
         <a href=\"#noise\">Noise</a><a href=\"#environment\">Environment</a></nav>\n\
         </div></header>\n",
        thousands(c.requests.compared),
        thousands(c.differences()),
        thousands(c.requests.missing),
        slower.count(),
        duration(c.latency.service.old.p99_ns),
        duration(c.latency.service.new.p99_ns),
    )
}

fn differences(out: &mut String, c: &Comparison) -> Result {
    out.push_str("<section id=\"differences\">\n<h2>Differences</h2>\n");
    if c.groups.is_empty() {
        out.push_str("<p class=\"none\">No request is answered otherwise.</p>\n");
    } else {
        out.push_str(
            "<p class=\"note\">What OLD answers, NEW answers and the noise run does not explain; \
             by statement and kind. <input type=\"search\" data-filter=\"#differences .group\" \
             placeholder=\"filter\" aria-label=\"filter differences\"></p>\n",
        );
    }
    for (index, group) in c.groups.iter().enumerate() {
        self::group(out, group, index < UNFOLDED)?;
    }
    for (kind, count) in &c.not_listed {
        write!(
            out,
            "<p class=\"note\">{} more {kind} in statements over the cap on groups.</p>\n",
            thousands(*count)
        )?;
    }
    out.push_str("</section>\n");
    Ok(())
}

fn group(out: &mut String, group: &Group, open: bool) -> Result {
    let open = if open { " open" } else { "" };
    write!(
        out,
        "<details class=\"group\"{open}><summary><span class=\"kind\">{}</span>\
         <code>{}</code><span class=\"count\">{} of {}</span></summary>\n<p class=\"note\">",
        Escaped(&group.kind),
        Escaped(&group.named.statement),
        thousands(group.count),
        plural(group.compared, "request"),
    )?;
    for (place, count) in group.places.iter().filter(|(place, _)| !place.is_empty()) {
        write!(out, "<b>{}</b> ({}) ", Escaped(place), thousands(*count))?;
    }
    write!(out, "first {}, last {}", group.first_at, group.last_at)?;
    if let Some(fingerprint) = &group.named.fingerprint {
        write!(out, ", fingerprint {}", Escaped(fingerprint))?;
    }
    out.push_str("</p>\n");
    for (index, example) in group.examples.iter().enumerate() {
        self::example(out, example, index + 1, group)?;
    }
    out.push_str("</details>\n");
    Ok(())
}

fn example(out: &mut String, example: &Example, number: usize, group: &Group) -> Result {
    let open = if number == 1 { " open" } else { "" };
    write!(
        out,
        "<details class=\"example\"{open}><summary>Example {number} of {}: session {}, request {}, \
         {}</summary>\n<pre>{}</pre>\n",
        group.examples.len(),
        example.session,
        example.seq,
        example.at,
        Escaped(&example.statement),
    )?;
    if !example.parameters.is_empty() {
        out.push_str("<p class=\"parameters\">Parameters");
        for (index, parameter) in example.parameters.iter().enumerate() {
            write!(
                out,
                " <span>${} <code>{}</code></span>",
                index + 1,
                Escaped(parameter)
            )?;
        }
        out.push_str("</p>\n");
    }
    if !example.differences.is_empty() {
        out.push_str("<ul class=\"cells\">");
        for cell in &example.differences {
            change(out, cell)?;
        }
        if example.more_differences > 0 {
            write!(
                out,
                "<li>and {} more</li>",
                thousands(example.more_differences)
            )?;
        }
        out.push_str("</ul>\n");
    }
    out.push_str("<div class=\"answers\">");
    answer(out, "OLD", "old", &example.old, &example.new)?;
    answer(out, "NEW", "new", &example.new, &example.old)?;
    out.push_str("</div></details>\n");
    Ok(())
}

fn change(out: &mut String, cell: &Cell) -> Result {
    write!(
        out,
        "<li>{}<code class=\"old\">{}</code> → <code class=\"new\">{}</code></li>",
        match cell.place.as_str() {
            "" => String::new(),
            place => format!("{}: ", Escaped(place)),
        },
        Escaped(&cell.expected),
        Escaped(&cell.observed)
    )
}

/// One side's answer; what the other side has otherwise is marked.
fn answer(
    out: &mut String,
    name: &str,
    class: &str,
    mine: &ShownAnswer,
    other: &ShownAnswer,
) -> Result {
    // Where one side failed, that says it all.
    let alike = mine.status == other.status;
    let mark = |differs: bool| if differs { " class=\"differs\"" } else { "" };
    let took = mine.service_ns.map(duration).unwrap_or_default();
    write!(
        out,
        "<div class=\"answer {class}\"><h4>{name} <span{}>{}</span> <small>{took}</small></h4>",
        mark(!alike),
        Escaped(&mine.status),
    )?;
    if !mine.columns.is_empty() || !mine.rows.is_empty() {
        out.push_str("<div class=\"scroll\"><table><thead><tr>");
        for (index, column) in mine.columns.iter().enumerate() {
            let differs = alike && other.columns.get(index) != Some(column);
            write!(out, "<th{}>{}</th>", mark(differs), Escaped(column))?;
        }
        out.push_str("</tr></thead><tbody>");
        for (number, row) in mine.rows.iter().enumerate() {
            out.push_str("<tr>");
            let theirs = other.rows.get(number);
            for (index, cell) in row.iter().enumerate() {
                let differs = alike && theirs.and_then(|row| row.get(index)) != Some(cell);
                write!(out, "<td{}>{}</td>", mark(differs), Escaped(cell))?;
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
    }
    if mine.more_rows > 0 {
        write!(
            out,
            "<p class=\"note\">and {}</p>",
            plural(mine.more_rows, "more row")
        )?;
    }
    for message in &mine.messages {
        let differs = !other.messages.contains(message);
        write!(
            out,
            "<p class=\"message\"><code{}>{}</code></p>",
            mark(differs),
            Escaped(message)
        )?;
    }
    if mine.cut {
        out.push_str("<p class=\"note\">only the beginning of this answer was kept</p>");
    }
    out.push_str("</div>");
    Ok(())
}

fn times(out: &mut String, c: &Comparison) -> Result {
    out.push_str("<section id=\"times\">\n<h2>Times</h2>\n");
    let l = &c.latency;
    if l.service.old.count == 0 {
        out.push_str("<p class=\"none\">No request succeeded on both sides.</p></section>\n");
        return Ok(());
    }
    write!(
        out,
        "<p class=\"note\">Of the {} that succeeded on both sides. Service time runs from the first \
         byte sent to the last received, response time from when the request was to be sent.</p>\n\
         <h3>Service time by percentile</h3>\n",
        plural(l.service.old.count, "request")
    )?;
    curve(out, c);
    write!(
        out,
        "<h3>Service time over the recording, {} a point</h3>\n",
        brief(l.over_time.bucket_seconds * 1_000_000_000)
    )?;
    over_time(out, c);
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
    let series = |class, label, value: fn(&crate::times::Bucket) -> u64| Series {
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
    let ticks: Vec<(f64, String)> = (0..=4)
        .map(|quarter| f64::from(quarter) / 4.0)
        .map(|at| {
            let from_start = (at * end) as u64 * 1_000_000_000;
            (
                at,
                if from_start == 0 {
                    "start".to_owned()
                } else {
                    format!("+{}", brief(from_start))
                },
            )
        })
        .collect();
    out.push_str(&chart("Service time over the recording", &all, &ticks));
    out.push_str(&shown_legend(&all));
    out.push('\n');
}

fn shown_legend(all: &[Series]) -> String {
    legend(all.iter().filter(|series| !series.points.is_empty()))
}

fn statements(out: &mut String, c: &Comparison) -> Result {
    let all = &c.latency.fingerprints;
    if all.is_empty() {
        return Ok(());
    }
    write!(
        out,
        "<section id=\"statements\">\n<h2>Statements by the time that NEW adds</h2>\n\
         <p class=\"note\">At the rate of this recording ({} long), for a day. Marked: slower than the \
         gate allows, beyond noise and chance. <input type=\"search\" \
         data-filter=\"#statements tbody tr\" placeholder=\"filter\" aria-label=\"filter \
         statements\"></p>\n<div class=\"scroll\"><table class=\"numbers sortable\"><thead><tr>\
         <th>statement<th>calls<th>mean OLD<th>NEW<th>p50 OLD<th>NEW<th>p99 OLD<th>NEW<th>p99 ratio\
         <th>total OLD<th>added a day</tr></thead><tbody>\n",
        duration((c.span.seconds * 1e9) as u64)
    )?;
    for one in all.iter().take(STATEMENTS) {
        statement(out, one)?;
    }
    out.push_str("</tbody></table></div>\n");
    if all.len() > STATEMENTS {
        let more = plural((all.len() - STATEMENTS) as u64, "further statement");
        write!(
            out,
            "<p class=\"note\">{more} in the JSON form of this report.</p>\n"
        )?;
    }
    if c.latency.folded > 0 {
        write!(
            out,
            "<p class=\"note\">{} of rare statements are only in the sums.</p>\n",
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
    for (stat, old, new) in [
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
    write!(
        out,
        "<td data-v=\"{ratio}\">{}x<td data-v=\"{}\">{}<td data-v=\"{added}\">{}</tr>\n",
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

fn trust(out: &mut String, c: &Comparison) -> Result {
    out.push_str("<section id=\"trust\">\n<h2>How far to trust it</h2>\n");
    if c.trust.is_empty() {
        out.push_str("<p class=\"none\">Nothing speaks against it.</p>\n");
    }
    for issue in &c.trust {
        let class = if issue.weight == Weight::Caution {
            "caution"
        } else {
            "doubt"
        };
        write!(
            out,
            "<div class=\"issue {class}\"><b>{}</b><p>{}</p></div>\n",
            Escaped(&issue.reason),
            Escaped(&issue.remedy)
        )?;
    }
    conditions(out, c)?;
    ledger(out, c)?;
    out.push_str("</section>\n");
    Ok(())
}

fn conditions(out: &mut String, c: &Comparison) -> Result {
    out.push_str(
        "<h3>The gate</h3>\n<div class=\"scroll\"><table class=\"plain\"><thead><tr><th>fails when\
         <th><th>found</tr></thead><tbody>",
    );
    for one in &c.verdict.conditions {
        let (class, state) = match one.state {
            State::Holds => ("fail", "holds"),
            State::DoesNotHold => ("pass", "does not hold"),
            State::CannotTell => ("inconclusive", "cannot tell"),
        };
        write!(
            out,
            "<tr><td><code>{}</code><td><span class=\"state {class}\">{state}</span><td>{}</tr>",
            Escaped(&one.condition),
            Escaped(&one.detail)
        )?;
    }
    out.push_str("</tbody></table></div>\n");
    Ok(())
}

fn ledger(out: &mut String, c: &Comparison) -> Result {
    let r = &c.requests;
    let total = (r.total() as f64).max(1.0);
    let not_comparable = r.not_comparable.values().sum::<u64>() + r.only_old + r.only_new;
    let consequences = r.consequences.values().sum();
    out.push_str("<h3>What became of every request</h3>\n<div class=\"bar\">");
    for (class, name, count) in [
        ("same", "the same", r.equal),
        ("different", "different", r.compared - r.equal),
        ("missing", "missing", r.missing),
        ("consequence", "not sent to NEW", consequences),
        ("unknown", "not comparable", not_comparable),
    ] {
        if count > 0 {
            write!(
                out,
                "<span class=\"{class}\" style=\"flex-grow:{:.4}\" title=\"{name}: {}\"></span>",
                count as f64 / total,
                thousands(count)
            )?;
        }
    }
    out.push_str("</div>\n<div class=\"scroll\"><table class=\"numbers ledger\"><tbody>");
    let mut row = |class: &str, name: &str, why: &str, count: u64| {
        let share = (count as f64 * 1_000.0 / total).floor() / 10.0;
        write!(
            out,
            "<tr><th><i class=\"{class}\"></i>{name}<td>{}<td>{share:.1} %<td class=\"why\">{}</tr>",
            thousands(count),
            Escaped(why)
        )
    };
    row("", "requests", "", r.total())?;
    row("same", "the same", "", r.equal)?;
    row("different", "different", "", r.compared - r.equal)?;
    row("missing", "missing in NEW", "", r.missing)?;
    for (why, &count) in &r.consequences {
        row("consequence", "not sent to NEW", why, count)?;
    }
    for (why, &count) in &r.not_comparable {
        row("unknown", "not comparable", why, count)?;
    }
    if r.only_old > 0 {
        row("unknown", "only in OLD", "", r.only_old)?;
    }
    if r.only_new > 0 {
        row("unknown", "only in NEW", "", r.only_new)?;
    }
    out.push_str("</tbody></table></div>\n");
    Ok(())
}

fn noise(out: &mut String, c: &Comparison) -> Result {
    out.push_str("<section id=\"noise\">\n<h2>Noise</h2>\n");
    if c.noise_run.is_none() {
        out.push_str(
            "<p class=\"none\">No noise run was given, so that nothing could be set apart.</p>\n\
             </section>\n",
        );
        return Ok(());
    }
    if c.noise.is_empty() {
        out.push_str("<p class=\"none\">OLD does not differ from itself.</p></section>\n");
        return Ok(());
    }
    out.push_str(
        "<p class=\"note\">What differs when OLD is asked twice. It does not count where NEW differs \
         in the same way at the same request, or not notably more often.</p>\n\
         <div class=\"scroll\"><table class=\"numbers\"><thead><tr><th>statement<th>kind<th>where\
         <th>OLD to NEW<th>OLD to OLD<th>for example</tr></thead><tbody>",
    );
    for group in &c.noise {
        let places: Vec<&str> = group.places.keys().map(String::as_str).collect();
        write!(
            out,
            "<tr><td><code>{}</code><td class=\"why\">{}<td class=\"why\">{}<td>{}<td>{}\
             <td class=\"why\">",
            Escaped(&group.named.statement),
            Escaped(&group.kind),
            Escaped(&places.join(", ")),
            thousands(group.count),
            thousands(group.noise)
        )?;
        if let Some(cell) = &group.example {
            write!(
                out,
                "<code>{}</code> → <code>{}</code>",
                Escaped(&cell.expected),
                Escaped(&cell.observed)
            )?;
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n</section>\n");
    Ok(())
}

fn environment(out: &mut String, c: &Comparison) -> Result {
    out.push_str("<section id=\"environment\">\n<h2>Environment</h2>\n<div class=\"sides\">\n");
    let noise = c.noise_run.as_ref();
    for (name, side) in [
        ("OLD", Some(&c.old)),
        ("NEW", Some(&c.new)),
        ("Noise run", noise),
    ] {
        if let Some(side) = side {
            self::side(out, name, side)?;
        }
    }
    write!(
        out,
        "</div>\n<p class=\"note\">Recorded from {} to {}. Gate: <code>{}</code></p>\n</section>\n",
        c.span.start,
        c.span.end,
        Escaped(&c.verdict.gate)
    )
}

fn side(out: &mut String, name: &str, side: &Side) -> Result {
    let about = &side.about;
    write!(out, "<div class=\"side\"><h3>{name}</h3><dl>")?;
    let mut row = |name: &str, value: &str| {
        if value.is_empty() {
            return Ok(());
        }
        write!(out, "<dt>{name}</dt><dd>{}</dd>", Escaped(value))
    };
    row(
        if about.is_run { "target" } else { "captured" },
        &about.source,
    )?;
    row("pacing", about.pacing.as_deref().unwrap_or_default())?;
    row("directory", &about.path)?;
    row("written by", &about.tool)?;
    row("began", &about.began)?;
    row("ended", about.ended.as_deref().unwrap_or_default())?;
    row("requests", &thousands(side.requests))?;
    row("errors", &super::inspection::counts(&side.errors))?;
    row("unanswered", &super::inspection::counts(&side.unanswered))?;
    row("skipped", &super::inspection::counts(&side.skipped))?;
    if let Some(lateness) = &side.lateness {
        let (p50, p99) = (duration(lateness.p50_ns), duration(lateness.p99_ns));
        let max = duration(lateness.max_ns);
        row("lateness", &format!("p50 {p50}, p99 {p99}, max {max}"))?;
    }
    for (name, account) in about.ledger.accounts() {
        let lost = super::inspection::counts(&account.lost);
        let (seen, kept) = (thousands(account.seen), thousands(account.kept));
        row(
            "ledger",
            &format!("{name}: {seen} seen, {kept} kept, lost {lost}"),
        )?;
    }
    for note in about.notes.iter().chain(&about.left_out) {
        row("note", note)?;
    }
    for line in &side.greeting {
        row("server", line)?;
    }
    out.push_str("</dl></div>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn every_section_without_style_and_script() {
        let page = html(&sample::fail());
        let bare = page.replace(STYLE, "").replace(SCRIPT, "");
        insta::assert_snapshot!(bare.replace("><", ">\n<"));
    }

    #[test]
    fn nothing_recorded_becomes_markup() {
        let evil = "</code><script>alert('x')</script>\"\u{202e}&";
        let mut comparison = sample::fail();
        let text = serde_json::to_string(&comparison).expect("JSON");
        comparison = serde_json::from_str(&text).expect("JSON again");
        for group in &mut comparison.groups {
            group.named.statement = evil.to_owned();
            group.places.insert(evil.to_owned(), 1);
            for example in &mut group.examples {
                example.statement = evil.to_owned();
                example.parameters.push(evil.to_owned());
                example.new.columns.push(evil.to_owned());
                example.new.rows.push(vec![evil.to_owned()]);
                example.old.messages.push(evil.to_owned());
                for cell in &mut example.differences {
                    cell.observed = evil.to_owned();
                }
            }
        }
        for one in &mut comparison.latency.fingerprints {
            one.named.statement = evil.to_owned();
        }
        for group in &mut comparison.noise {
            group.named.statement = evil.to_owned();
        }
        comparison.new.errors.insert(evil.to_owned(), 1);
        comparison.new.about.source = evil.to_owned();
        comparison.new.greeting.push(evil.to_owned());
        comparison
            .requests
            .not_comparable
            .insert(evil.to_owned(), 1);
        comparison.verdict.reasons.push(evil.to_owned());
        let page = html(&comparison);
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!page.contains('\u{202e}') && !page.contains("alert('x')"));
        assert!(!page.contains("http://") && !page.contains("https://"));
    }

    #[test]
    fn nothing_at_all_still_makes_a_page() {
        assert!(html(&sample::empty()).contains("inconclusive"));
    }
}
