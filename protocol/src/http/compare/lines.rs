//! Text by lines.

use std::collections::BTreeSet;

use super::{ABSENT, difference, tell};
use crate::{Difference, DifferenceKind};

/// Lines of both sides among which those that stand for each other are looked for: it takes time by
/// the square of them.
pub(super) const MAX_ALIGNED: usize = 2000;

/// A changed line at its place, a line that is only on one side at a place of its own: what differs in
/// the noise run too would hide it otherwise.
pub(super) fn compare(old: &str, new: &str, differences: &mut Vec<Difference>) {
    compare_endings(old, new, differences);
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let before = old.iter().zip(&new).take_while(same).count();
    let (old, new) = (old.get(before..), new.get(before..));
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let after = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(same)
        .count();
    let old = old.get(..old.len() - after).unwrap_or_default();
    let new = new.get(..new.len() - after).unwrap_or_default();
    if old.len() + new.len() <= MAX_ALIGNED {
        for op in similar::capture_diff_slices(similar::Algorithm::Myers, old, new) {
            let (tag, olds, news) = op.as_tag_tuple();
            if tag != similar::DiffTag::Equal {
                let first = before + olds.start;
                let (olds, news) = (old.get(olds), new.get(news));
                let lines = [olds, news].map(Option::unwrap_or_default);
                compare_run(first, lines, differences);
            }
        }
    } else if old.len() == new.len() {
        compare_run(before, [old, new], differences);
    } else {
        let (first, last) = (before + 1, before + old.len());
        let place = format!("lines {first} to {last}, now {} lines", new.len());
        let (old, new) = (old.join("\n"), new.join("\n"));
        differences.push(difference(DifferenceKind::Values, &place, &old, &new));
    }
}

/// Lines that stand for each other; `before` are the recorded ones before them.
fn compare_run(before: usize, [old, new]: [&[&str]; 2], differences: &mut Vec<Difference>) {
    let mut tell = |place: &str, old: &str, new: &str| {
        tell(differences, place, || [old.to_owned(), new.to_owned()]);
    };
    for (at, (old, new)) in old.iter().zip(new).enumerate() {
        if old != new {
            tell(&format!("line {}", before + at + 1), old, new);
        }
    }
    for (at, old) in old.iter().enumerate().skip(new.len()) {
        tell(&format!("line {}, removed", before + at + 1), old, ABSENT);
    }
    let next = before + old.len() + 1;
    for (at, new) in new.iter().skip(old.len()).enumerate() {
        let place = match at {
            0 => format!("line {next}, added"),
            _ => format!("line {next}, added {}", at + 1),
        };
        tell(&place, ABSENT, new);
    }
}

/// How the lines end, and whether the last one does.
fn compare_endings(old: &str, new: &str, differences: &mut Vec<Difference>) {
    let mut tell = |place, old: &str, new: &str| {
        differences.push(difference(DifferenceKind::Values, place, old, new));
    };
    let (olds, news): (Vec<&str>, Vec<&str>) = (endings(old).collect(), endings(new).collect());
    let kinds = |endings: &[&'static str]| -> Vec<&str> {
        let kinds: BTreeSet<&str> = endings.iter().copied().collect();
        kinds.into_iter().collect()
    };
    let (old_kinds, new_kinds) = (kinds(&olds), kinds(&news));
    let place = "line endings";
    if !old_kinds.is_empty() && !new_kinds.is_empty() && old_kinds != new_kinds {
        tell(place, &old_kinds.join(" and "), &new_kinds.join(" and "));
    } else if olds.len() == news.len()
        && let Some(at) = olds.iter().zip(&news).position(|(old, new)| old != new)
    {
        let told =
            |endings: &[&str]| format!("{} at line {}", endings.get(at).unwrap_or(&""), at + 1);
        tell(place, &told(&olds), &told(&news));
    }
    let ends = |text: &str| {
        if text.ends_with('\n') {
            "present"
        } else {
            ABSENT
        }
    };
    if ends(old) != ends(new) {
        tell("newline at the end", ends(old), ends(new));
    }
}

fn endings(text: &str) -> impl Iterator<Item = &'static str> {
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    lines.map(|line| if line.ends_with("\r\n") { "CRLF" } else { "LF" })
}
