use std::fmt::{Result, Write};

use super::columns::Columns;
use super::inspection::counts;
use super::page::Page;
use super::text::{beside, duration, line, plural, signed_duration, thousands, three_digits};
use crate::compare::{Comparison, Side};
use crate::differences::Group;
use crate::times::FingerprintTimes;
use crate::trust::Weight;
use crate::verdict::Outcome;

/// Lines of each list.
const SHOWN: usize = 10;
const PLACE: usize = 40;
const ARROW: &str = " -> ";

/// The verdict and what it rests on, for a terminal of so many columns.
pub fn terminal(comparison: &Comparison, columns: usize) -> String {
    let mut out = Page::new(columns);
    // Writing to a string does not fail.
    let _ = write_all(&mut out, comparison);
    out.into_text()
}

fn write_all(out: &mut Page, c: &Comparison) -> Result {
    verdict(out, c)?;
    sides(out, c)?;
    ledger(out, c)?;
    differences(out, c)?;
    noise(out, c)?;
    times(out, c)?;
    statements(out, c)?;
    trust(out, c)?;
    next(out, c)
}

pub(super) fn headline(c: &Comparison) -> &'static str {
    match c.verdict.outcome {
        Outcome::Pass if c.differences() > 0 => "what differs is within what the gate allows",
        Outcome::Pass => "NEW does what OLD did",
        Outcome::Fail => "NEW does not do what OLD did",
        Outcome::Inconclusive => "it cannot be known from this comparison",
    }
}

fn verdict(out: &mut Page, c: &Comparison) -> Result {
    let name = c.verdict.outcome.name().to_uppercase();
    writeln!(out, "{name}: {}", headline(c))?;
    for reason in &c.verdict.reasons {
        out.paragraph("  - ", reason)?;
    }
    writeln!(out)
}

fn sides(out: &mut Page, c: &Comparison) -> Result {
    let noise = c.noise_run.as_ref();
    for (name, side) in [
        ("OLD", Some(&c.old)),
        ("NEW", Some(&c.new)),
        ("noise", noise),
    ] {
        if let Some(side) = side {
            out.paragraph(&format!("  {name:<6} "), &describe(side))?;
        }
    }
    writeln!(out)
}

fn describe(side: &Side) -> String {
    let about = &side.about;
    let what = match &about.pacing {
        Some(pacing) => format!("{}, {pacing}", about.source),
        None => format!("recorded on {}", about.source),
    };
    let errors = plural(side.errors.values().sum(), "error");
    let mut text = format!("{}, {errors}", plural(side.requests, "request"));
    if let Some(lateness) = side.lateness {
        text += &format!(", lateness p99 {}", duration(lateness.p99_ns));
    }
    format!("{text}; {what}")
}

fn ledger(out: &mut Page, c: &Comparison) -> Result {
    let r = &c.requests;
    let share = |count: u64| {
        let share = 100.0 * count as f64 / (r.total() as f64).max(1.0);
        format!("{:>5.1} %", (share * 10.0).floor() / 10.0)
    };
    let mut table = Columns::new("<>><", &[]);
    let mut row = |name: &str, count: u64, why: String| {
        table.row([name.to_owned(), thousands(count), share(count), why]);
    };
    let none = String::new;
    row("requests", r.total(), none());
    row("compared", r.compared, none());
    row("  the same", r.equal, none());
    row("  different", r.compared - r.equal, none());
    row("missing in NEW", r.missing, none());
    for (reason, &count) in &r.consequences {
        row("not sent to NEW", count, reason.clone());
    }
    for (reason, &count) in &r.not_comparable {
        row("not comparable", count, reason.clone());
    }
    if r.only_old > 0 {
        row("only in OLD", r.only_old, none());
    }
    if r.only_new > 0 {
        row("only in NEW", r.only_new, none());
    }
    table.print(out)
}

fn differences(out: &mut Page, c: &Comparison) -> Result {
    if c.differences() == 0 {
        return writeln!(out, "\nNo differences");
    }
    writeln!(out, "\nDifferences: {}", counts(&c.differences))?;
    for group in c.groups.iter().take(SHOWN) {
        group_lines(out, group)?;
    }
    if c.groups.len() > SHOWN {
        let more = plural((c.groups.len() - SHOWN) as u64, "further group");
        writeln!(out, "  {more} in the other forms of this report")?;
    }
    if !c.not_listed.is_empty() {
        let more = counts(&c.not_listed);
        writeln!(out, "  in statements over the cap on groups: {more}")?;
    }
    Ok(())
}

fn group_lines(out: &mut Page, group: &Group) -> Result {
    let places: Vec<&str> = group
        .places
        .keys()
        .map(String::as_str)
        .filter(|place| !place.is_empty())
        .collect();
    let place = match places.len() {
        0 => String::new(),
        _ => format!(" in {}", places.join(", ")),
    };
    let head = format!(
        "{} of {} differ: {}{place}",
        thousands(group.count),
        plural(group.compared, "request"),
        group.kind
    );
    writeln!(out)?;
    out.paragraph("  ", &head)?;
    let statement = line(&group.named.statement, out.width - 4);
    writeln!(out, "    {statement}")?;
    let Some(example) = group.examples.first() else {
        return Ok(());
    };
    let at = format!(
        "session {}, request {}, {}",
        example.session, example.seq, example.at
    );
    writeln!(out, "      {at}")?;
    if let Some(cell) = example.differences.first() {
        let place = match cell.place.as_str() {
            "" => String::new(),
            place => format!("{}: ", line(place, PLACE)),
        };
        let width = out.width - 6 - place.chars().count() - ARROW.len();
        let [old, new] = beside(&cell.expected, &cell.observed, width);
        writeln!(out, "      {place}{old}{ARROW}{new}")?;
    }
    Ok(())
}

fn noise(out: &mut Page, c: &Comparison) -> Result {
    if c.noise.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nNoise: what differs from run to run, and does not count"
    )?;
    let mut table = Columns::new(">><<", &["OLD to NEW", "OLD to OLD"]);
    for group in c.noise.iter().take(SHOWN) {
        let places: Vec<&str> = group.places.keys().map(String::as_str).collect();
        let what = format!("{} {}", group.kind, places.join(", "));
        table.row([
            thousands(group.count),
            thousands(group.noise),
            line(&what, 30),
            group.named.statement.clone(),
        ]);
    }
    table.print(out)
}

fn times(out: &mut Page, c: &Comparison) -> Result {
    if c.latency.service.old.count == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "\nTimes of the {} that succeeded on both sides",
        plural(c.latency.service.old.count, "request")
    )?;
    let mut table = Columns::new(
        "<<>>>>>>",
        &["", "", "mean", "p50", "p90", "p99", "p99.9", "max"],
    );
    for (name, sides) in [
        ("service", &c.latency.service),
        ("response", &c.latency.response),
        ("first byte", &c.latency.first_byte),
    ] {
        let rows = [
            ("OLD", Some(sides.old)),
            ("NEW", Some(sides.new)),
            ("noise", sides.noise),
        ];
        for (index, (side, summary)) in rows.into_iter().enumerate() {
            let Some(s) = summary else { continue };
            let name = if index == 0 { name } else { "" };
            let numbers = [s.mean_ns, s.p50_ns, s.p90_ns, s.p99_ns, s.p999_ns, s.max_ns];
            table.row(
                [name.to_owned(), side.to_owned()]
                    .into_iter()
                    .chain(numbers.map(duration)),
            );
        }
    }
    table.print(out)
}

fn statements(out: &mut Page, c: &Comparison) -> Result {
    let slower: Vec<&FingerprintTimes> = c
        .latency
        .fingerprints
        .iter()
        .filter(|one| !one.slower.is_empty())
        .collect();
    let (title, list) = if slower.is_empty() {
        (
            "Statements by the time that NEW adds",
            c.latency.fingerprints.iter().collect(),
        )
    } else {
        ("Slower statements, beyond noise and chance", slower)
    };
    if list.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{title} ({} of {})",
        list.len().min(SHOWN),
        list.len()
    )?;
    let head = ["calls", "mean OLD", "NEW", "p99 OLD", "NEW", "", "a day"];
    let mut table = Columns::new(">>>>>>><", &head);
    for one in list.into_iter().take(SHOWN) {
        let (old, new) = (&one.times.old, &one.times.new);
        table.row([
            thousands(old.count),
            duration(old.mean_ns),
            duration(new.mean_ns),
            duration(old.p99_ns),
            duration(new.p99_ns),
            one.p99_ratio.map_or("–".to_owned(), |ratio| {
                format!("{}x", three_digits(ratio))
            }),
            one.added_ns_a_day.map_or("–".to_owned(), signed_duration),
            one.named.statement.clone(),
        ]);
    }
    table.print(out)
}

fn trust(out: &mut Page, c: &Comparison) -> Result {
    if c.trust.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nHow far to trust it")?;
    for issue in &c.trust {
        let mark = if issue.weight == Weight::Caution {
            "  - "
        } else {
            "  ! "
        };
        out.paragraph(mark, &issue.reason)?;
        out.paragraph("      ", &issue.remedy)?;
    }
    Ok(())
}

fn next(out: &mut Page, c: &Comparison) -> Result {
    let mut steps = Vec::new();
    if c.differences() > 0 {
        steps.push("look at the HTML report (--html): it has both answers of each difference, side by side");
    }
    if c.latency
        .fingerprints
        .iter()
        .any(|one| !one.slower.is_empty())
    {
        steps.push("EXPLAIN the slower statements on both versions");
    }
    if c.verdict.outcome == Outcome::Inconclusive {
        steps.push("do what helps against the reasons marked with `!`, and compare again");
    }
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nNext")?;
    for step in steps {
        out.paragraph("  - ", step)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn every_outcome() {
        for (name, comparison) in [
            ("fail", sample::fail()),
            ("pass", sample::pass()),
            ("inconclusive", sample::inconclusive()),
        ] {
            for (columns, name) in [(100, name.to_owned()), (80, format!("{name}_narrow"))] {
                let text = terminal(&comparison, columns);
                for line in text.lines() {
                    assert!(line.chars().count() <= columns, "too wide: {line}");
                }
                insta::assert_snapshot!(name, text);
            }
        }
    }
}
