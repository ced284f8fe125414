use std::fmt::{Result, Write};

use super::Escaped;
use crate::compare::Comparison;
use crate::report::text::thousands;
use crate::trust::Weight;
use crate::verdict::State;

pub(super) fn trust(out: &mut String, c: &Comparison) -> Result {
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
        writeln!(
            out,
            "<div class=\"issue {class}\"><b>{}</b><p>{}</p></div>",
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
