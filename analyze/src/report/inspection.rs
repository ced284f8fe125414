use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::columns::Columns;
use super::page::Page;
use super::text::{duration, line, plural, thousands};
use crate::inspect::{Fingerprint, Inspection, Session};

/// Lines of each list.
const SHOWN: usize = 10;

/// What a recording or run holds, for a terminal of so many columns.
pub fn inspection(inspection: &Inspection, columns: usize) -> String {
    let mut out = Page::new(columns);
    // Writing to a string does not fail.
    let _ = write_inspection(&mut out, inspection);
    out.into_text()
}

fn write_inspection(out: &mut Page, i: &Inspection) -> std::fmt::Result {
    if i.tool.is_empty() {
        writeln!(out, "{}, its manifest missing or damaged", i.kind)?;
    } else {
        writeln!(out, "{} {} by {}, {}", i.kind, i.id, i.tool, i.created_at)?;
        out.paragraph("  ", &i.source)?;
    }
    if i.being_written {
        writeln!(out, "  still being written: what follows is so far")?;
    } else if !i.complete {
        writeln!(
            out,
            "  cut off before its end: what follows is what was written"
        )?;
    }
    for left_out in &i.left_out {
        out.paragraph("  left out: ", left_out)?;
    }
    writeln!(out)?;
    let mut facts: Vec<(&str, String)> = Vec::new();
    let mut fact = |name, value| facts.push((name, value));
    fact("span", span(i));
    fact("sessions", sessions(i));
    fact(
        "requests",
        format!(
            "{}, {}, {}",
            thousands(i.totals.requests),
            plural(i.totals.statements, "statement"),
            plural(i.totals.rows, "row")
        ),
    );
    if i.rates.peak > 0 {
        let (most, at) = (thousands(i.rates.peak), &i.rates.peak_at);
        let most = format!("at most {most} in a second ({at})");
        // A second of the clock may have less than all of a shorter time.
        let rate = match i.span.seconds {
            1.0.. => format!("{:.1} requests/s, {most}", i.rates.mean),
            _ => most,
        };
        fact("rate", rate);
    }
    for (name, times) in [("first byte", &i.first_byte), ("last byte", &i.latency)] {
        if times.count == 0 {
            continue;
        }
        fact(
            name,
            format!(
                "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
                duration(times.p50_ns),
                duration(times.p90_ns),
                duration(times.p99_ns),
                duration(times.p999_ns),
                duration(times.max_ns)
            ),
        );
    }
    fact("errors", counts(&i.totals.errors));
    if !i.totals.incomplete.is_empty() {
        fact("unanswered", counts(&i.totals.incomplete));
    }
    if i.protocol_violations > 0 {
        fact("violations", plural(i.protocol_violations, "session"));
    }
    if !i.oddities.is_empty() {
        fact("odd", counts(&i.oddities));
    }
    if !i.notes.is_empty() {
        fact("marked", counts(&i.notes));
    }
    let widest = facts.iter().map(|(name, _)| name.len()).max();
    let widest = widest.unwrap_or_default();
    for (name, value) in facts {
        out.paragraph(&format!("  {name:<widest$}  "), &value)?;
    }
    ledger(out, i)?;
    fingerprints(out, "Statements by calls", &i.top_by_calls, i)?;
    fingerprints(out, "Statements by time", &i.top_by_time, i)?;
    by_session(out, i)
}

fn span(i: &Inspection) -> String {
    if i.span.start.is_empty() {
        return "nothing recorded".to_owned();
    }
    let seconds = duration((i.span.seconds * 1e9) as u64);
    format!("{} to {}, {seconds}", i.span.start, i.span.end)
}

fn sessions(i: &Inspection) -> String {
    let mut text = thousands(i.sessions);
    if i.encrypted_sessions > 0 {
        text += &format!(", {} of them encrypted", thousands(i.encrypted_sessions));
    }
    if i.cancels > 0 {
        text += &format!("; {} to cancel", plural(i.cancels, "connection"));
    }
    text
}

/// `42601: 3, 23505: 1`, the most frequent first.
pub(super) fn counts(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let mut all: Vec<_> = counts.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown: Vec<String> = all
        .iter()
        .take(6)
        .map(|(name, count)| format!("{name}: {}", thousands(**count)))
        .collect();
    let more = match all.len().saturating_sub(6) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

fn ledger(out: &mut Page, i: &Inspection) -> std::fmt::Result {
    let mut table = Columns::new("<>>><", &["ledger", "seen", "kept", "lost"]);
    for (name, account) in i.ledger.accounts() {
        let lost: u64 = account.lost.values().sum();
        let mut why = String::new();
        if lost > 0 {
            why = counts(&account.lost);
        }
        if !account.balanced() {
            why += " DOES NOT BALANCE";
        }
        table.row([
            name.to_owned(),
            thousands(account.seen),
            thousands(account.kept),
            thousands(lost),
            why,
        ]);
    }
    writeln!(out)?;
    table.print(out)?;
    if let Some(at) = i.ledger_at.as_ref().filter(|_| !i.complete) {
        writeln!(out, "  as of {at}, its last packet")?;
    }
    let lost = i.ledger.accounts().flat_map(|(_, account)| &account.lost);
    let reasons: BTreeSet<&String> = lost
        .filter(|(_, count)| **count > 0)
        .map(|(reason, _)| reason)
        .collect();
    for reason in reasons {
        if let Some(remedy) = recording::remedy(reason) {
            out.paragraph("  ", &format!("{reason}: {remedy}"))?;
        }
    }
    Ok(())
}

fn fingerprints(
    out: &mut Page,
    title: &str,
    top: &[Fingerprint],
    i: &Inspection,
) -> std::fmt::Result {
    if top.is_empty() {
        return Ok(());
    }
    let kept = i.fingerprints.told_apart;
    writeln!(
        out,
        "\n{title} ({} of {})",
        top.len().min(SHOWN),
        thousands(kept)
    )?;
    let mut table = Columns::new(
        ">>>>>><",
        &["calls", "total", "p50", "p99", "max", "errors"],
    );
    for one in top.iter().take(SHOWN) {
        let time = |ns| match one.time.count {
            0 => "–".to_owned(),
            _ => duration(ns),
        };
        table.row([
            thousands(one.calls),
            time(one.time.total_ns),
            time(one.time.p50_ns),
            time(one.time.p99_ns),
            time(one.time.max_ns),
            thousands(one.errors),
            one.named.statement.clone(),
        ]);
    }
    table.print(out)?;
    if i.fingerprints.folded > 0 {
        writeln!(
            out,
            "  {} of rare statements are only in the sums",
            plural(i.fingerprints.folded_calls, "call")
        )?;
    }
    Ok(())
}

fn by_session(out: &mut Page, i: &Inspection) -> std::fmt::Result {
    if i.by_session.is_empty() {
        return Ok(());
    }
    let mut busiest: Vec<&Session> = i.by_session.iter().collect();
    busiest.sort_by_key(|session| std::cmp::Reverse(session.totals.requests));
    let all = i.by_session.len() as u64 + i.sessions_not_listed;
    let shown = busiest.len().min(SHOWN);
    writeln!(
        out,
        "\nSessions by requests ({shown} of {})",
        thousands(all)
    )?;
    let head = [
        "client", "who", "ended by", "session", "requests", "rows", "errors", "seconds",
    ];
    let mut table = Columns::new("<<<>>>>>", &head);
    for session in busiest.into_iter().take(SHOWN) {
        let who = match (&session.user, &session.database) {
            (Some(user), Some(database)) => format!("{user}@{database}"),
            (Some(user), None) => user.clone(),
            _ if session.encrypted => "(encrypted)".to_owned(),
            _ => "(unknown)".to_owned(),
        };
        table.row([
            session.client.clone(),
            line(&who, 24),
            line(session.ended_by.as_deref().unwrap_or("(not seen)"), 14),
            session.session.to_string(),
            thousands(session.totals.requests),
            thousands(session.totals.rows),
            thousands(session.totals.errors.values().sum()),
            format!("{:.1}", session.seconds),
        ]);
    }
    table.print(out)
}
