//! When two answers are the same.
//!
//! Errors by SQLSTATE: their texts change with every release. Columns by name and type; types of
//! users are all one, and modifiers, tables and column numbers don't count. Rows value by value,
//! their order only where the statement's own `ORDER BY` promises one. Warnings and notices by
//! severity and SQLSTATE, warnings with the SQLSTATE of no special kind by their text too. Of an
//! opening only whether it succeeded.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use recording::{Exchange, Kind, Response};

use super::messages::Messages;
use super::messages::backend::Message;
use super::results::{Column, End, ResultSet, Results, Row, shapes, told};
use super::values::type_name;
use crate::sql::ordered;
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
    compare_columns(old, new, &mut differences);
    if old.affected != new.affected {
        let (old, new) = (old.affected, new.affected);
        differences.push(whole(
            DifferenceKind::AffectedRows,
            old.to_string(),
            new.to_string(),
        ));
    }
    let statement = expected.request.statement.as_ref();
    let text = statement.map_or("", |statement| &statement.text);
    compare_rows(text, old, new, &mut differences);
    if old.body.len() as u64 == old.wire_len && new.body.len() as u64 == new.wire_len {
        compare_notices(old, new, &mut differences);
    }
    differences
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

fn compare_columns(old: &Response, new: &Response, differences: &mut Vec<Difference>) {
    // One side may not have been told: a statement prepared before it was listened to.
    if old.columns == new.columns || old.columns.is_none() || new.columns.is_none() {
        return;
    }
    let (old, new): (Vec<_>, Vec<_>) = (shapes(old).collect(), shapes(new).collect());
    if old.len() != new.len() {
        let names = |shapes: &[Vec<Column<'_>>]| {
            let shapes: Vec<_> = shapes.iter().map(|shape| names(shape)).collect();
            shapes.join("; ")
        };
        let kind = DifferenceKind::ColumnNames;
        differences.push(whole(kind, names(&old), names(&new)));
        return;
    }
    let several = old.len() > 1;
    for (index, (old, new)) in old.iter().zip(&new).enumerate() {
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
        for (old, new) in old.iter().zip(new) {
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

/// `result 2, row 3, column total`.
fn place(result: Option<usize>, rest: &str) -> String {
    match result {
        Some(index) if rest.is_empty() => format!("result {}", index + 1),
        Some(index) => format!("result {}, {rest}", index + 1),
        None => rest.to_owned(),
    }
}

fn compare_rows(
    statement: &str,
    old: &Response,
    new: &Response,
    differences: &mut Vec<Difference>,
) {
    if old.rows != new.rows {
        let (old, new) = (old.rows, new.rows);
        let kind = DifferenceKind::RowCount;
        differences.push(whole(kind, old.to_string(), new.to_string()));
        return;
    }
    if old.rows_digest == new.rows_digest {
        return;
    }
    let promises = ordered(statement);
    let (mut expected, mut observed) = (Results::of(old), Results::of(new));
    for (old, new) in expected.sets.iter_mut().zip(&mut observed.sets) {
        old.share_columns(new);
    }
    if expected.cut || observed.cut || expected.sets.len() != observed.sets.len() {
        let same_rows = old.rows_digest_unordered == new.rows_digest_unordered;
        let kind = match same_rows {
            true if !promises.contains(&true) => return,
            true => DifferenceKind::OrderOnly,
            false => DifferenceKind::Values,
        };
        let digest = |response: &Response| match same_rows {
            true => format!("{:016x}", response.rows_digest),
            false => format!("{:016x}", response.rows_digest_unordered),
        };
        differences.push(Difference {
            kind,
            place: Difference::OVER_CAP.to_owned(),
            expected: digest(old),
            observed: digest(new),
        });
        return;
    }
    let several = expected.sets.len() > 1;
    let mut cells = Cells {
        several,
        told: 0,
        columns: HashSet::new(),
        more: 0,
        differences,
    };
    for (index, (old, new)) in expected.sets.iter().zip(&observed.sets).enumerate() {
        // A statement executed again and again has its text once.
        let promised = match promises.as_slice() {
            [one] => *one,
            each if each.len() == expected.sets.len() => each.get(index) == Some(&true),
            all => !all.is_empty() && all.iter().all(|promised| *promised),
        };
        cells.compare(index, old, new, promised);
    }
    if cells.more > 0 {
        let more = format!(", and {} more values", cells.more);
        let last = differences.last_mut();
        if let Some(last) = last.filter(|last| last.kind == DifferenceKind::Values) {
            last.place += &more;
        }
    }
}

/// Tells the values that differ.
struct Cells<'d> {
    several: bool,
    told: usize,
    /// Those of which a value is told: a result's number and a column's.
    columns: HashSet<(usize, usize)>,
    more: usize,
    differences: &'d mut Vec<Difference>,
}

impl Cells<'_> {
    fn compare(&mut self, index: usize, old: &ResultSet<'_>, new: &ResultSet<'_>, promised: bool) {
        let place = |rest: &str| place(self.several.then_some(index), rest);
        if old.rows.len() != new.rows.len() {
            // The whole has as many rows: one result gained what another lost.
            self.differences.push(Difference {
                kind: DifferenceKind::RowCount,
                place: place(""),
                expected: old.rows.len().to_string(),
                observed: new.rows.len().to_string(),
            });
            return;
        }
        if old.rows == new.rows {
            return;
        }
        let types = |set: &ResultSet<'_>| {
            let types = set.columns.iter().map(|column| column.type_oid);
            types.collect::<Vec<_>>()
        };
        // The same value has other bytes in another type.
        let (old_left, new_left) = if types(old) == types(new) {
            unmatched(&old.rows, &new.rows)
        } else {
            let shown = |set: &ResultSet<'_>| {
                let rows = set.rows.iter().map(|row| set.show(*row));
                rows.collect::<Vec<_>>()
            };
            let (old_shown, new_shown) = (shown(old), shown(new));
            if old_shown == new_shown {
                return;
            }
            unmatched(&old_shown, &new_shown)
        };
        if old_left.is_empty() {
            if promised {
                self.order(index, old, new);
            }
            return;
        }
        let mut pairs: Vec<(usize, usize)> = if promised {
            let all = 0..old.rows.len();
            all.map(|row| (row, row)).collect()
        } else {
            pair(old, &old_left, new, &new_left)
        };
        pairs.sort_unstable();
        for (old_row, new_row) in pairs {
            self.rows(index, old, old_row, new, new_row);
        }
    }

    /// Tells the first row that stands elsewhere.
    fn order(&mut self, index: usize, old: &ResultSet<'_>, new: &ResultSet<'_>) {
        let mut rows = old.rows.iter().zip(&new.rows).enumerate();
        let moved = rows.find_map(|(row, (old_row, new_row))| {
            let (old, new) = (old.show(*old_row), new.show(*new_row));
            (old != new).then(|| (row, old.join(", "), new.join(", ")))
        });
        if let Some((row, expected, observed)) = moved {
            self.differences.push(Difference {
                kind: DifferenceKind::OrderOnly,
                place: place(self.several.then_some(index), &format!("row {}", row + 1)),
                expected: around(&expected, &observed),
                observed: around(&observed, &expected),
            });
        }
    }

    fn rows(
        &mut self,
        index: usize,
        old: &ResultSet<'_>,
        old_row: usize,
        new: &ResultSet<'_>,
        new_row: usize,
    ) {
        let show = |set: &ResultSet<'_>, row: usize| {
            let row = set.rows.get(row);
            row.map_or_else(Vec::new, |row| set.show(*row))
        };
        let (mut expected, mut observed) = (show(old, old_row), show(new, new_row));
        for column in 0..expected.len().max(observed.len()) {
            let (Some(expected), Some(observed)) =
                (expected.get_mut(column), observed.get_mut(column))
            else {
                // The columns differ, which is told already.
                return;
            };
            if expected == observed {
                // In another type the same value has other bytes.
                if old.type_of(column) != new.type_of(column) {
                    continue;
                }
                let spell = |set: &ResultSet<'_>, row: usize| {
                    let row = set.rows.get(row);
                    row.map_or_else(String::new, |row| set.spell(*row, column))
                };
                (*expected, *observed) = (spell(old, old_row), spell(new, new_row));
                if expected == observed {
                    continue;
                }
            }
            // Each column that differs must show, for some may be noise.
            let first = self.columns.insert((index, column));
            if self.told >= MAX_VALUES && !first {
                self.more += 1;
                continue;
            }
            self.told += 1;
            let cell = match old.rows.get(old_row) {
                Some(Row::Copied(_)) => format!("row {}", old_row + 1),
                _ => format!("row {}, column {}", old_row + 1, old.column_name(column)),
            };
            self.differences.push(Difference {
                kind: DifferenceKind::Values,
                place: place(self.several.then_some(index), &cell),
                expected: around(expected, observed),
                observed: around(observed, expected),
            });
        }
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

/// Pairs rows without an order by what they look like, so that those with the same first values
/// stand opposite each other.
fn pair(
    old: &ResultSet<'_>,
    old_left: &[usize],
    new: &ResultSet<'_>,
    new_left: &[usize],
) -> Vec<(usize, usize)> {
    let sorted = |set: &ResultSet<'_>, left: &[usize]| {
        let mut rows: Vec<usize> = left.to_vec();
        rows.sort_by_cached_key(|row| set.rows.get(*row).map(|row| set.show(*row)));
        rows
    };
    let (old, new) = (sorted(old, old_left), sorted(new, new_left));
    old.into_iter().zip(new).collect()
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
