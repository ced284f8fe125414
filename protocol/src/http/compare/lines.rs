//! Text by lines.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use super::names::Names;
use super::{ABSENT, difference, tell};
use crate::{Difference, DifferenceKind};

/// Lines of both sides among which those that stand for each other are looked for: it takes time by
/// the square of them.
pub(super) const MAX_ALIGNED: usize = 2000;

/// A changed line at its place, a line that is only on one side at a place of its own: what differs in
/// the noise run too would hide it otherwise.
pub(super) fn compare(old: &str, new: &str, names: &Names<'_>, differences: &mut Vec<Difference>) {
    compare_endings(old, new, differences);
    let read = names.read(old, new);
    let read = read.each_ref().map(|text| text.lines());
    let [old, new] = [old, new].map(str::lines);
    let [read_old, read_new] = read;
    let old: Vec<Line<'_>> = read_old.zip(old).map(Line::of).collect();
    let new: Vec<Line<'_>> = read_new.zip(new).map(Line::of).collect();
    let same = |pair: &(&Line<'_>, &Line<'_>)| pair.0 == pair.1;
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
        let told = |lines: &[Line<'_>]| {
            let lines: Vec<&str> = lines.iter().map(|line| line.told).collect();
            lines.join("\n")
        };
        let (old, new) = (told(old), told(new));
        differences.push(difference(DifferenceKind::Values, &place, &old, &new));
    }
}

/// A line as it is compared, which is what it is compared by, and as it was sent.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    read: &'a str,
    told: &'a str,
}

impl<'a> Line<'a> {
    fn of((read, told): (&'a str, &'a str)) -> Line<'a> {
        Line { read, told }
    }
}

impl PartialEq for Line<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.read == other.read
    }
}

impl Eq for Line<'_> {}

impl Hash for Line<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.read.hash(state);
    }
}

impl Ord for Line<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.read.cmp(other.read)
    }
}

impl PartialOrd for Line<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Lines that stand for each other; `before` are the recorded ones before them.
fn compare_run(before: usize, [old, new]: [&[Line<'_>]; 2], differences: &mut Vec<Difference>) {
    let mut tell = |place: &str, old: &str, new: &str| {
        tell(differences, place, || [old.to_owned(), new.to_owned()]);
    };
    for (at, (old, new)) in old.iter().zip(new).enumerate() {
        if old != new {
            tell(&format!("line {}", before + at + 1), old.told, new.told);
        }
    }
    for (at, old) in old.iter().enumerate().skip(new.len()) {
        let place = format!("line {}, removed", before + at + 1);
        tell(&place, old.told, ABSENT);
    }
    let next = before + old.len() + 1;
    for (at, new) in new.iter().skip(old.len()).enumerate() {
        let place = match at {
            0 => format!("line {next}, added"),
            _ => format!("line {next}, added {}", at + 1),
        };
        tell(&place, ABSENT, new.told);
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
