use std::fmt::{Result, Write};

use super::Escaped;
use crate::compare::Comparison;
use crate::differences::Group;
use crate::example::{Cell, Example, ShownAnswer};
use crate::report::text::{duration, plural, thousands};

/// Groups of differences that are unfolded at first.
const UNFOLDED: usize = 5;

pub(super) fn differences(out: &mut String, c: &Comparison) -> Result {
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
        writeln!(
            out,
            "<p class=\"note\">{} more {kind} in statements over the cap on groups.</p>",
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
    let cells = &example.differences;
    answer(out, "OLD", "old", &example.old, &example.new, cells)?;
    answer(out, "NEW", "new", &example.new, &example.old, cells)?;
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
    cells: &[Cell],
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
        let differs = !other.messages.contains(message) && is_compared(message, mine, cells);
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

/// Most headers differ by nature: one is marked only where it is told as a difference.
fn is_compared(message: &str, answer: &ShownAnswer, cells: &[Cell]) -> bool {
    let is_status = |text: &String| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    let Some((name, _)) = message.split_once(':') else {
        return true;
    };
    let mut headers = cells
        .iter()
        .filter_map(|cell| cell.place.strip_prefix("header "));
    !answer.messages.iter().any(is_status)
        || headers.any(|told| {
            let told = told.split([' ', ',']).next().unwrap_or_default();
            told.eq_ignore_ascii_case(name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_that_are_compared_are_marked() {
        let with = |messages: [&str; 3]| ShownAnswer {
            messages: messages.map(str::to_owned).to_vec(),
            ..ShownAnswer::default()
        };
        let old = with(["200", "Date: Mon", "X-A: 1"]);
        let new = with(["200", "Date: Tue", "X-A: 2"]);
        let cells = [Cell {
            place: "header x-a".to_owned(),
            ..Cell::default()
        }];
        let marked = |old: &ShownAnswer, new: &ShownAnswer| {
            let mut page = String::new();
            answer(&mut page, "NEW", "new", new, old, &cells).unwrap();
            page.matches("<code class=\"differs\">").count()
        };
        assert_eq!(marked(&old, &new), 1);
        let [old, new] = ["a", "b"].map(|end| with([&format!("NOTICE: {end}"), "x", "y"]));
        assert_eq!(marked(&old, &new), 1);
    }
}
