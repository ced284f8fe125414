//! Which rows of two results without an order belong together.
//!
//! A column that differs by nature (a random number, the time) must not decide it: the rows would be
//! paired at random, and all other columns differ. So rows are paired by the columns whose values stand
//! together on both sides: those of a row that is there on both do, those that are made up do not.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::mem;

use xxhash_rust::xxh3::xxh3_64;

use crate::postgres::response::mix;

/// A value to compare; `None` is NULL.
pub(super) type Cell<'a> = Option<Cow<'a, [u8]>>;

/// Columns that all others are judged beside, so that the time does not grow with their square.
const WITNESSES: usize = 16;

/// Paired rows by which columns are judged, beside those that are left.
const EVIDENCE: usize = 1000;

/// Columns that a row may differ in though rows are known by them.
const ROUNDS: usize = 4;

struct Row {
    place: usize,
    /// Its number among those of its side that the other has not, in the order of their values.
    rank: usize,
    /// Hashes of its values.
    cells: Vec<u64>,
    /// The hash of some of them.
    key: u64,
}

#[derive(Default)]
struct Side {
    /// Without a partner yet.
    left: Vec<Row>,
    /// Some of the others.
    paired: Vec<Row>,
}

#[derive(Default)]
struct Pairing {
    old: Side,
    new: Side,
    pairs: Vec<(usize, usize)>,
}

/// Pairs rows, of which there are as many on both sides; gives their places. Those that are equal go to
/// each other.
pub(super) fn pair(old: &[Vec<Cell<'_>>], new: &[Vec<Cell<'_>>]) -> Vec<(usize, usize)> {
    let mut pairing = Pairing::default();
    pairing.old.left = rows(old);
    pairing.new.left = rows(new);
    let width = old.iter().chain(new).map(Vec::len).max().unwrap_or(0);
    let mut columns: Vec<usize> = (0..width).collect();
    pairing.pair_equal(&columns);
    pairing.old.number(old);
    pairing.new.number(new);
    columns.retain(|column| pairing.meets(*column));
    pairing.pair_equal(&columns);
    if pairing.old.left.len() > 1 {
        pairing.rank(&mut columns);
    }
    // A row in which the first columns differ is found by those that follow.
    for first in 0..columns.len().min(ROUNDS) {
        for end in (first + 1..=columns.len()).rev() {
            pairing.pair_equal(columns.get(first..end).unwrap_or_default());
        }
    }
    pairing.pair_rest();
    pairing.pairs
}

fn rows(cells: &[Vec<Cell<'_>>]) -> Vec<Row> {
    let hash = |cell: &Cell<'_>| cell.as_ref().map_or(0, |value| xxh3_64(value));
    let rows = cells.iter().zip(0..).map(|(cells, place)| Row {
        place,
        rank: place,
        cells: cells.iter().map(hash).collect(),
        key: 0,
    });
    rows.collect()
}

impl Side {
    fn number(&mut self, cells: &[Vec<Cell<'_>>]) {
        let order = |row: &Row| (cells.get(row.place), row.place);
        self.left.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        for (row, rank) in self.left.iter_mut().zip(0..) {
            row.rank = rank;
        }
    }
}

impl Row {
    fn cell(&self, column: usize) -> u64 {
        self.cells.get(column).copied().unwrap_or(1)
    }

    fn key(&self, columns: &[usize]) -> u64 {
        let cells = columns.iter().map(|column| self.cell(*column));
        cells.fold(0, |key, cell| mix(key ^ cell).rotate_left(23))
    }
}

fn sorted(keys: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut keys: Vec<u64> = keys.collect();
    keys.sort_unstable();
    keys
}

/// How many of these are those, each counted once. Both are sorted.
fn common(these: &[u64], those: &[u64]) -> usize {
    let mut those = those.iter().peekable();
    let common = these.iter().filter(|this| {
        while those.next_if(|that| that < this).is_some() {}
        those.next_if_eq(this).is_some()
    });
    common.count()
}

impl Pairing {
    /// Is a value of this column left on both sides?
    fn meets(&self, column: usize) -> bool {
        let [old, new] =
            [&self.old, &self.new].map(|side| sorted(side.left.iter().map(|row| row.cell(column))));
        common(&old, &new) > 0
    }

    /// How many rows find one on the other side with the same values in these columns, weighed by what
    /// that says of a row: the logarithm of how many such values there are.
    fn agreement(&self, columns: &[usize]) -> f64 {
        let [mut old, new] = [&self.old, &self.new].map(|side| {
            let rows = side.left.iter().chain(&side.paired);
            sorted(rows.map(|row| row.key(columns)))
        });
        let common = common(&old, &new);
        old.dedup();
        common as f64 * (old.len() as f64).log2()
    }

    /// Puts first what rows are known by: columns that agree together with some other, which one that is
    /// made up does not, and of those the most telling.
    fn rank(&self, columns: &mut [usize]) {
        let alone = |column: &usize| (*column, self.agreement(&[*column]), 0.0);
        let mut ranked: Vec<(usize, f64, f64)> = columns.iter().map(alone).collect();
        ranked.sort_by(|(_, a, _), (_, b, _)| b.total_cmp(a));
        for at in 0..ranked.len().min(WITNESSES) {
            let (before, others) = ranked.split_at_mut(at + 1);
            let Some((witness, _, best)) = before.last_mut() else {
                continue;
            };
            // What is the same everywhere agrees with everything.
            for (column, _, others_best) in others.iter_mut().filter(|(_, alone, _)| *alone > 0.0) {
                let together = self.agreement(&[*witness, *column]);
                *best = best.max(together);
                *others_best = others_best.max(together);
            }
        }
        ranked.sort_by(|(_, _, a), (_, _, b)| b.total_cmp(a));
        for (column, (best, ..)) in columns.iter_mut().zip(ranked) {
            *column = best;
        }
    }

    /// Pairs the rows that have the same values in these columns. Of several that have, those with lower
    /// values in others go to each other.
    fn pair_equal(&mut self, columns: &[usize]) {
        let take = |side: &mut Side| {
            let mut rows = mem::take(&mut side.left);
            for row in &mut rows {
                row.key = row.key(columns);
            }
            rows.sort_unstable_by_key(|row| (row.key, row.rank));
            rows.into_iter().peekable()
        };
        if columns.is_empty() {
            return;
        }
        let (mut old, mut new) = (take(&mut self.old), take(&mut self.new));
        while let (Some(old_row), Some(new_row)) = (old.peek(), new.peek()) {
            match old_row.key.cmp(&new_row.key) {
                Ordering::Less => self.old.left.extend(old.next()),
                Ordering::Greater => self.new.left.extend(new.next()),
                Ordering::Equal => {
                    self.pairs.push((old_row.place, new_row.place));
                    let (old_row, new_row) = (old.next(), new.next());
                    if self.old.paired.len() < EVIDENCE {
                        self.old.paired.extend(old_row);
                        self.new.paired.extend(new_row);
                    }
                }
            }
        }
        self.old.left.extend(old);
        self.new.left.extend(new);
    }

    fn pair_rest(&mut self) {
        for side in [&mut self.old, &mut self.new] {
            side.left.sort_unstable_by_key(|row| row.rank);
        }
        let rest = self.old.left.iter().zip(&self.new.left);
        self.pairs
            .extend(rest.map(|(old, new)| (old.place, new.place)));
    }
}
