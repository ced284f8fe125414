//! Rows value by value: in their order where one is promised, and else as the same rows in any order.

use std::borrow::Cow;
use std::collections::HashSet;

use recording::{Request, Response};

use super::oids::{known_oids, without_oids};
use super::pairing::{Cell, pair};
use super::promises::promises;
use super::{MAX_VALUES, around, place, unmatched, whole};
use crate::postgres::results::{ResultSet, Results, Row};
use crate::postgres::values::holds_oids;
use crate::{Difference, DifferenceKind};

pub(super) fn compare_rows(
    request: &Request,
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
    let promises = promises(request);
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
        let promised = promises.get(index) == Some(&true);
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

/// A result's number and a column's, and whether one of the values is NULL: what differs by nature would
/// hide that otherwise.
type Kind = (usize, usize, bool);

/// Tells the values that differ.
struct Cells<'d> {
    several: bool,
    told: usize,
    /// Those of which a value is told.
    columns: HashSet<Kind>,
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
        let (old_rows, new_rows) = (cells(old, new), cells(new, old));
        let mut pairs: Vec<(usize, usize)> = match promised {
            true if unmatched(&old_rows, &new_rows).0.is_empty() => {
                let mut rows = old_rows.iter().zip(&new_rows);
                if let Some(row) = rows.position(|(old, new)| old != new) {
                    self.order(index, row, old, new);
                }
                return;
            }
            true => (0..old_rows.len()).map(|row| (row, row)).collect(),
            false => pair(&old_rows, &new_rows),
        };
        pairs.sort_unstable();
        for (old_row, new_row) in pairs {
            let (Some(old_cells), Some(new_cells)) = (old_rows.get(old_row), new_rows.get(new_row))
            else {
                continue;
            };
            // Where the columns differ, that is told already.
            for (column, (old_cell, new_cell)) in old_cells.iter().zip(new_cells).enumerate() {
                if old_cell != new_cell {
                    let null = old_cell.is_none() != new_cell.is_none();
                    self.cell((index, column, null), (old, old_row), (new, new_row));
                }
            }
        }
    }

    /// Tells the first row that stands elsewhere.
    fn order(&mut self, index: usize, row: usize, old: &ResultSet<'_>, new: &ResultSet<'_>) {
        let [expected, observed] = [old, new].map(|set| {
            let row = set.rows.get(row);
            row.map_or_else(String::new, |row| set.show(*row).join(", "))
        });
        self.differences.push(Difference {
            kind: DifferenceKind::OrderOnly,
            place: place(self.several.then_some(index), &format!("row {}", row + 1)),
            expected: around(&expected, &observed),
            observed: around(&observed, &expected),
        });
    }

    /// Tells a value that differs.
    fn cell(
        &mut self,
        kind @ (index, column, null): Kind,
        (old, old_row): (&ResultSet<'_>, usize),
        (new, new_row): (&ResultSet<'_>, usize),
    ) {
        let (Some(old_cells), Some(new_cells)) = (old.rows.get(old_row), new.rows.get(new_row))
        else {
            return;
        };
        // Each column that differs must show, for some may be noise.
        let first = self.columns.insert(kind);
        if self.told >= MAX_VALUES && !first {
            self.more += 1;
            return;
        }
        self.told += 1;
        let mut expected = old.show_cell(*old_cells, column);
        let mut observed = new.show_cell(*new_cells, column);
        if expected == observed {
            expected = old.spell(*old_cells, column);
            observed = new.spell(*new_cells, column);
        }
        let cell = match old_cells {
            Row::Copied(_) => format!("row {}", old_row + 1),
            Row::Values(_) => {
                let null = if null { ", NULL" } else { "" };
                format!(
                    "row {}, column {}{null}",
                    old_row + 1,
                    old.column_name(column)
                )
            }
        };
        self.differences.push(Difference {
            kind: DifferenceKind::Values,
            place: place(self.several.then_some(index), &cell),
            expected: around(&expected, &observed),
            observed: around(&observed, &expected),
        });
    }
}

/// The values of a result's rows: bytes, or what they read like in a column that has another type on the
/// other side, where the same value has other bytes.
fn cells<'a>(set: &'a ResultSet<'_>, other: &ResultSet<'_>) -> Vec<Vec<Cell<'a>>> {
    let rows = set.rows.iter().map(|row| {
        let cell = |(column, value): (usize, Option<&'a [u8]>)| {
            let value = value?;
            let own = set.type_of(column);
            Some(match own == other.type_of(column) {
                true => match own {
                    Some((type_oid, format)) if holds_oids(type_oid, format) => {
                        known_oids(format, value)
                    }
                    _ => without_oids(value),
                },
                false => Cow::Owned(set.show_value(column, Some(value)).into_bytes()),
            })
        };
        match *row {
            Row::Values(values) => values.iter().enumerate().map(cell).collect(),
            Row::Copied(bytes) => vec![Some(Cow::Borrowed(bytes))],
        }
    });
    rows.collect()
}
