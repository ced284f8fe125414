//! When two answers are the same.
//!
//! Errors by SQLSTATE: their texts change with every release. Columns by name and type; types of
//! users are all one, and modifiers, tables and column numbers don't count. What each statement says
//! that it did: the command, and the rows concerned. Rows value by value, their order only where the
//! statement's own `ORDER BY` promises one; where none is, each row beside the one that it has most in
//! common with. Warnings and notices by severity and SQLSTATE, warnings with the SQLSTATE of no special
//! kind by their text too. Of an opening only whether it succeeded.
//!
//! Of an answer that was not kept whole less is known: the number of rows, their digests, the sum of the
//! rows concerned, and columns; nothing of its warnings and notices.

mod catalogs;
mod large_objects;
mod oids;
mod pairing;
mod promises;
mod rows;

use std::collections::HashMap;
use std::hash::Hash;

use recording::{Exchange, Kind, Request, Response};

use self::catalogs::asks_by_oid;
use self::large_objects::{handles_large_objects, is_of_number};
use self::rows::compare_rows;
use super::messages::Messages;
use super::messages::backend::Message;
use super::results::{Column, End, Results, shapes, told};
use super::values::type_name;
use crate::{Difference, DifferenceKind};

/// Values told of one answer, and one of each further column that differs. More are only counted.
const MAX_VALUES: usize = 5;

/// Letters told of one value.
const MAX_LETTERS: usize = 200;

pub(super) fn compare(expected: &Exchange, observed: &Exchange) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (Some(old), Some(new)) = (&expected.response, &observed.response) else {
        return differences;
    };
    if old.error_code != new.error_code {
        let kind = match (&old.error_code, &new.error_code) {
            (None, _) => DifferenceKind::NewError,
            (_, None) => DifferenceKind::VanishedError,
            _ => DifferenceKind::DifferentError,
        };
        differences.push(whole(kind, error(old), error(new)));
        return differences;
    }
    if expected.kind == Kind::Open {
        return differences;
    }
    let kept = |response: &Response| response.body.len() as u64 == response.wire_len;
    let both_kept = kept(old) && kept(new);
    if both_kept && old.body == new.body {
        return differences;
    }
    let request = &expected.request;
    if both_kept {
        compare_whole(request, old, new, &mut differences);
    } else {
        compare_cut(request, old, new, &mut differences);
    }
    differences
}

/// Why the differences are none: the request asks by a number that each server gives out itself.
pub(super) fn own_numbers(request: &Request, differences: &[Difference]) -> Option<&'static str> {
    if differences.iter().all(in_rows) && asks_by_oid(request) {
        return Some("asks catalogs by OIDs of the recorded server");
    }
    (differences.iter().all(is_of_number) && handles_large_objects(request))
        .then_some("handles large objects by OIDs of the recorded server")
}

/// Are the answers of the same kind?
fn in_rows(difference: &Difference) -> bool {
    use DifferenceKind::{OrderOnly, RowCount, Values};
    matches!(difference.kind, RowCount | Values | OrderOnly)
}

fn compare_whole(
    request: &Request,
    old: &Response,
    new: &Response,
    differences: &mut Vec<Difference>,
) {
    let (expected, observed) = (Results::of(old), Results::of(new));
    compare_columns(&described(&expected), &described(&observed), differences);
    if compare_ends(&expected, &observed, differences) {
        compare_rows(request, old, new, differences);
    }
    compare_notices(old, new, differences);
}

/// By what is known of an answer that was not kept whole.
fn compare_cut(
    request: &Request,
    old: &Response,
    new: &Response,
    differences: &mut Vec<Difference>,
) {
    // One side may not have been told: a statement prepared before it was listened to.
    if old.columns.is_some() && new.columns.is_some() {
        let [old, new] = [old, new].map(|response| shapes(response).collect::<Vec<_>>());
        let [old, new] =
            [&old, &new].map(|shapes| shapes.iter().map(Vec::as_slice).collect::<Vec<_>>());
        compare_columns(&old, &new, differences);
    }
    if old.affected != new.affected {
        let (old, new) = (old.affected, new.affected);
        let kind = DifferenceKind::AffectedRows;
        differences.push(whole(kind, old.to_string(), new.to_string()));
    }
    compare_rows(request, old, new, differences);
}

fn whole(kind: DifferenceKind, expected: String, observed: String) -> Difference {
    Difference {
        kind,
        place: String::new(),
        expected,
        observed,
    }
}

/// The first error's code and message, or that there is none.
fn error(response: &Response) -> String {
    let Some(code) = &response.error_code else {
        return "no error".to_owned();
    };
    let results = Results::of(response);
    let message = results.sets.iter().find_map(|set| match &set.end {
        Some(End::Error(fields)) => fields.get(b'M'),
        _ => None,
    });
    match message {
        Some(message) => format!("{code}: {}", String::from_utf8_lossy(message)),
        None => code.to_string(),
    }
}

/// The columns that the answer itself tells of its results. Of one that is but an error it does not matter
/// whether they were told before.
fn described<'r>(results: &'r Results<'_>) -> Vec<&'r [Column<'r>]> {
    let told = results.sets.iter().filter(|set| {
        let error = matches!(set.end, Some(End::Error(_))) && set.rows.is_empty();
        set.described && !error
    });
    told.map(|set| set.columns.as_slice()).collect()
}

fn compare_columns(
    old: &[&[Column<'_>]],
    new: &[&[Column<'_>]],
    differences: &mut Vec<Difference>,
) {
    if old.len() != new.len() {
        let names = |shapes: &[&[Column<'_>]]| {
            let names: Vec<_> = shapes.iter().map(|shape| names(shape)).collect();
            match names.is_empty() {
                true => "none".to_owned(),
                false => names.join("; "),
            }
        };
        let kind = DifferenceKind::ColumnNames;
        differences.push(whole(kind, names(old), names(new)));
        return;
    }
    let several = old.len() > 1;
    for (index, (old, new)) in old.iter().zip(new).enumerate() {
        let place = |rest: &str| place(several.then_some(index), rest);
        if names(old) != names(new) {
            differences.push(Difference {
                kind: DifferenceKind::ColumnNames,
                place: place(""),
                expected: names(old),
                observed: names(new),
            });
        }
        if old.len() != new.len() {
            continue;
        }
        for (old, new) in old.iter().zip(*new) {
            let (expected, observed) = (type_name(old.type_oid), type_name(new.type_oid));
            if expected != observed {
                differences.push(Difference {
                    kind: DifferenceKind::ColumnTypes,
                    place: place(&format!("column {}", old.name)),
                    expected,
                    observed,
                });
            }
        }
    }
}

fn names(columns: &[Column<'_>]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    names.join(", ")
}

/// Compares how the statements ended, one by one. Were there as many?
fn compare_ends(old: &Results<'_>, new: &Results<'_>, differences: &mut Vec<Difference>) -> bool {
    let ends = |results: &Results<'_>| {
        let ends = results.sets.iter().filter_map(|set| set.end.as_ref());
        ends.map(End::text).collect::<Vec<_>>()
    };
    let (old_ends, new_ends) = (ends(old), ends(new));
    if old_ends.len() != new_ends.len() {
        differences.push(Difference {
            kind: DifferenceKind::RowCount,
            place: "results".to_owned(),
            expected: around(&old_ends.join("; "), ""),
            observed: around(&new_ends.join("; "), ""),
        });
        return false;
    }
    let several = old_ends.len() > 1;
    let sets = old.sets.iter().zip(&new.sets);
    for (index, ((old, new), ends)) in sets.zip(old_ends.into_iter().zip(new_ends)).enumerate() {
        let (Some(old), Some(new)) = (old.completion(), new.completion()) else {
            continue;
        };
        if old == new {
            continue;
        }
        let (expected, observed) = match (old.rows, new.rows) {
            (Some(rows), Some(other)) if old.command == new.command => {
                (rows.to_string(), other.to_string())
            }
            _ => ends,
        };
        differences.push(Difference {
            kind: DifferenceKind::AffectedRows,
            place: place(several.then_some(index), ""),
            expected,
            observed,
        });
    }
    true
}

/// `result 2, row 3, column total`.
fn place(result: Option<usize>, rest: &str) -> String {
    match result {
        Some(index) if rest.is_empty() => format!("result {}", index + 1),
        Some(index) => format!("result {}, {rest}", index + 1),
        None => rest.to_owned(),
    }
}

/// The places of those elements of each side that the other side has not, or not as often.
fn unmatched<T: Hash + Eq>(old: &[T], new: &[T]) -> (Vec<usize>, Vec<usize>) {
    let mut places: HashMap<&T, Vec<usize>> = HashMap::new();
    for (place, row) in new.iter().enumerate().rev() {
        places.entry(row).or_default().push(place);
    }
    let mut old_left = Vec::new();
    for (place, row) in old.iter().enumerate() {
        if places.get_mut(row).and_then(Vec::pop).is_none() {
            old_left.push(place);
        }
    }
    let mut new_left: Vec<usize> = places.into_values().flatten().collect();
    new_left.sort_unstable();
    (old_left, new_left)
}

/// A long text's part that begins shortly before where it differs from the other.
fn around(text: &str, other: &str) -> String {
    const BEFORE: usize = 20;
    if text.chars().count() <= MAX_LETTERS {
        return text.to_owned();
    }
    let same = text.chars().zip(other.chars());
    let same = same.take_while(|(a, b)| a == b).count();
    let from = if same + BEFORE < MAX_LETTERS {
        0
    } else {
        same - BEFORE
    };
    let part: String = text.chars().skip(from).take(MAX_LETTERS).collect();
    let start = if from > 0 { "..." } else { "" };
    let end = if text.chars().nth(from + MAX_LETTERS).is_some() {
        "..."
    } else {
        ""
    };
    format!("{start}{part}{end}")
}

fn compare_notices(old: &Response, new: &Response, differences: &mut Vec<Difference>) {
    let (old, new) = (notices(old), notices(new));
    let keys = |notices: &[Notice]| {
        let keys = notices.iter().map(|notice| notice.key.clone());
        keys.collect::<Vec<_>>()
    };
    let (old_left, new_left) = unmatched(&keys(&old), &keys(&new));
    if old_left.is_empty() && new_left.is_empty() {
        return;
    }
    let tell = |notices: &[Notice], left: &[usize]| {
        let left = left.iter().filter_map(|place| notices.get(*place));
        let texts: Vec<&str> = left.map(|notice| notice.text.as_str()).collect();
        if texts.is_empty() {
            "none".to_owned()
        } else {
            around(&texts.join("; "), "")
        }
    };
    differences.push(whole(
        DifferenceKind::Warnings,
        tell(&old, &old_left),
        tell(&new, &new_left),
    ));
}

/// `warning`: said where a warning has no SQLSTATE of its own.
const GENERIC_WARNING: &[u8] = b"01000";

struct Notice {
    /// Severity, SQLSTATE, and the text where these do not tell one warning from another.
    key: [Vec<u8>; 3],
    text: String,
}

/// Of the severities that tell of the statement; what is sent for information or debugging may
/// change.
fn notices(response: &Response) -> Vec<Notice> {
    let notices = Messages::new(&response.body).filter(|(tag, _)| *tag == b'N');
    let notices = notices.filter_map(|(_, message)| {
        let Ok(Message::Notice(fields)) = Message::parse(message) else {
            return None;
        };
        let severity = fields.severity();
        let code = fields.get(b'C').unwrap_or_default();
        let text = match (severity, code) {
            (b"WARNING", GENERIC_WARNING) => fields.get(b'M').unwrap_or_default(),
            _ => b"",
        };
        matches!(severity, b"WARNING" | b"NOTICE").then(|| Notice {
            key: [severity, code, text].map(<[u8]>::to_vec),
            text: told(fields),
        })
    });
    notices.collect()
}

#[cfg(test)]
mod tests;
