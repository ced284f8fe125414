mod differences;
mod times;
mod trust;

use std::fmt::{self, Result, Write};

use super::inspection::counts;
use super::terminal::headline;
use super::text::{duration, is_unruly, thousands};
use crate::compare::{Comparison, Side};

const STYLE: &str = include_str!("html/report.css");
const SCRIPT: &str = include_str!("html/report.js");

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
                // HTML forbids other controls.
                '\n' | '\t' => f.write_char(c)?,
                _ if is_unruly(c) => f.write_char('\u{fffd}')?,
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
    differences::differences(out, c)?;
    times::times(out, c)?;
    times::statements(out, c)?;
    trust::trust(out, c)?;
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
    row("errors", &counts(&side.errors))?;
    row("unanswered", &counts(&side.unanswered))?;
    row("skipped", &counts(&side.skipped))?;
    if let Some(lateness) = &side.lateness {
        let (p50, p99) = (duration(lateness.p50_ns), duration(lateness.p99_ns));
        let max = duration(lateness.max_ns);
        row("lateness", &format!("p50 {p50}, p99 {p99}, max {max}"))?;
    }
    for (name, account) in about.ledger.accounts() {
        let lost = counts(&account.lost);
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
    fn a_second_is_marked_once_and_alone_is_no_line() {
        let mut comparison = sample::fail();
        let buckets = &mut comparison.latency.over_time.buckets;
        buckets.truncate(2);
        buckets[1].second = buckets[0].second + 1;
        assert_eq!(html(&comparison).matches(">start</text>").count(), 1);
        comparison.latency.over_time.buckets.truncate(1);
        assert!(!html(&comparison).contains("Service time over the recording"));
    }

    #[test]
    fn nothing_at_all_still_makes_a_page() {
        assert!(html(&sample::empty()).contains("inconclusive"));
    }
}
