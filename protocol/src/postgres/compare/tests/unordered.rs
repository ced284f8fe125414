//! Rows without an order: which of them are taken for the same.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

type Table = Vec<Vec<String>>;

fn table(rows: &[&[&str]]) -> Table {
    let row = |row: &&[&str]| row.iter().map(|value| (*value).to_owned()).collect();
    rows.iter().map(row).collect()
}

fn answer(rows: &Table) -> Server {
    let names: Vec<String> = (0..rows[0].len())
        .map(|column| format!("c{column}"))
        .collect();
    let columns: Vec<_> = names.iter().map(|name| (name.as_str(), 25, 0)).collect();
    let rows = rows.iter().fold(server().columns(&columns), |server, row| {
        let values: Vec<&str> = row.iter().map(String::as_str).collect();
        server.row(&values)
    });
    rows.complete("SELECT")
}

/// The columns in which a value differs.
fn columns_that_differ(old: &Table, new: &Table) -> BTreeSet<String> {
    let [old, new] = [old, new].map(|rows| answer(rows).answer("select from t", 1 << 20));
    let places = compare(&old, &new).into_iter();
    places
        .map(|difference| difference.general_place())
        .collect()
}

fn with_column(rows: &Table, at: usize, value: impl Fn(usize) -> String) -> Table {
    let mut rows = rows.clone();
    for (number, row) in rows.iter_mut().enumerate() {
        row.insert(at, value(number));
    }
    rows
}

fn set<const N: usize>(columns: [&str; N]) -> BTreeSet<String> {
    columns.map(|column| format!("column {column}")).into()
}

/// Numbers that are the same in each run of the tests, and look like chance.
fn chance(seed: usize, number: usize) -> usize {
    let bytes = [seed, number].map(usize::to_be_bytes).concat();
    (xxhash_rust::xxh3::xxh3_64(&bytes) >> 8) as usize
}

#[test]
fn a_column_of_chance_hides_no_other() {
    let old = [
        ["u1", "ann", "10"],
        ["u2", "bob", "20"],
        ["u3", "cyd", "30"],
    ];
    let new = [
        ["x9", "bob", "20"],
        ["x3", "cyd", "31"],
        ["x7", "ann", "10"],
    ];
    let [old, new] = [old, new].map(|rows| table(&rows.each_ref().map(<[&str; 3]>::as_slice)));
    assert_eq!(
        differences("select u, name, total from t", answer(&old), answer(&new)),
        [
            "values [row 1, column c0] u1 -> x7",
            "values [row 2, column c0] u2 -> x9",
            "values [row 3, column c0] u3 -> x3",
            "values [row 3, column c2] 30 -> 31",
        ]
    );
}

#[test]
fn chance_of_few_values_hides_no_other() {
    let chances = |rows: &Table, seed: usize, values: usize| {
        let first = with_column(rows, 0, |row| (chance(seed, row) % values).to_string());
        with_column(&first, 4, |row| {
            (chance(seed + 1, row) % values).to_string()
        })
    };
    let by_id = |row: usize| [format!("{row}"), format!("{}", row % 3), "same".to_owned()];
    let by_two = |row: usize| {
        let [tens, ones] = [row / 10, row % 10].map(|digit| digit.to_string());
        [tens, ones, "same".to_owned()]
    };
    for seed in (0..200).step_by(4) {
        for (len, values) in [(30, 2), (30, 10), (100, 2), (100, 30)] {
            for rows in [
                (0..len).map(by_id).collect::<Vec<_>>(),
                (0..len).map(by_two).collect(),
            ] {
                let rows: Table = rows.into_iter().map(Vec::from).collect();
                for (column, name) in ["c1", "c2", "c3"].into_iter().enumerate() {
                    let mut new = rows.clone();
                    new[seed % len][column].push_str("changed");
                    new[(seed + 1) % len][column].push_str("changed");
                    let mut new = chances(&new, seed + 2, values);
                    new.rotate_left(seed % len);
                    let mut found = columns_that_differ(&chances(&rows, seed, values), &new);
                    found.remove("column c0");
                    found.remove("column c4");
                    assert_eq!(found, set([name]), "{seed}: {len} rows, {values} values");
                }
            }
        }
    }
}

#[test]
fn a_column_that_differs_everywhere_is_paired_by_the_others() {
    let rows = |digits: &str, by: usize| {
        let row = |n| {
            vec![
                format!("{}", n % 4),
                format!("{n}{digits}"),
                format!("name {n}"),
            ]
        };
        let mut rows: Table = (0..12).map(row).collect();
        rows.rotate_left(by);
        rows
    };
    assert_eq!(
        columns_that_differ(&rows(".0", 0), &rows(".00", 5)),
        set(["c1"])
    );
}

#[test]
fn values_that_differ_everywhere_go_to_those_that_look_alike() {
    let rows = |digits: &str| -> Table {
        let row = |n| vec!["same".to_owned(), format!("{n}{digits}")];
        (0..5).map(row).collect()
    };
    let mut new = rows(".00");
    new.reverse();
    let told = differences("select", answer(&rows(".0")), answer(&new));
    assert_eq!(told[0], "values [row 1, column c1] 0.0 -> 0.00");
    assert_eq!(told.len(), 5);
}

#[test]
fn changes_in_every_column_are_each_told_once() {
    let rows: Table = (0..30)
        .map(|n| vec![format!("a{n}"), format!("b{n}"), format!("c{n}")])
        .collect();
    let mut new = rows.clone();
    for (row, column) in [(0, 0), (1, 1), (2, 2), (10, 0), (11, 1), (12, 2)] {
        new[row][column].push('x');
    }
    new.reverse();
    let told = differences("", answer(&rows), answer(&new));
    assert_eq!(told.len(), MAX_VALUES);
    assert_eq!(told[0], "values [row 1, column c0] a0 -> a0x");
    assert_eq!(
        told[4],
        "values [row 12, column c1, and 1 more values] b11 -> b11x"
    );
}

/// Rows of which the first column tells one from another, in some order, and where a change is to be.
fn some_rows() -> impl Strategy<Value = (Table, Vec<usize>, usize, usize)> {
    (1usize..30, 1usize..5).prop_flat_map(|(len, width)| {
        let row = proptest::collection::vec("[ab]{0,2}", width);
        let rows = proptest::collection::vec(row, len).prop_map(|mut rows| {
            for (number, row) in rows.iter_mut().enumerate() {
                row.insert(0, format!("id{number}"));
            }
            rows
        });
        let order = Just((0..len).collect()).prop_shuffle();
        (rows, order, 0..len, 0..=width)
    })
}

fn shuffled(rows: &Table, order: &[usize]) -> Table {
    order.iter().map(|row| rows[*row].clone()).collect()
}

proptest! {
    #[test]
    fn an_order_that_is_not_promised_makes_no_difference((rows, order, _, _) in some_rows()) {
        prop_assert!(columns_that_differ(&rows, &shuffled(&rows, &order)).is_empty());
    }

    #[test]
    fn one_value_that_changes_is_the_one_that_differs((rows, order, row, column) in some_rows()) {
        let mut new = rows.clone();
        new[row][column].push_str("changed");
        let told = differences("", answer(&rows), answer(&shuffled(&new, &order)));
        let old = &rows[row][column];
        prop_assert_eq!(
            told,
            [format!("values [row {}, column c{column}] {old} -> {old}changed", row + 1)]
        );
    }

    #[test]
    fn a_column_of_noise_changes_nothing_of_the_others(
        (rows, order, row, column) in some_rows(),
        at in 0usize..5,
        everywhere: bool,
    ) {
        let mut new = rows.clone();
        let last = if everywhere { rows.len() } else { row + 1 };
        for row in new.iter_mut().take(last).skip(if everywhere { 0 } else { row }) {
            row[column].push_str("changed");
        }
        let new = shuffled(&new, &order);
        let at = at.min(rows[0].len());
        let noisy = columns_that_differ(
            &with_column(&rows, at, |number| format!("old{number}")),
            &with_column(&new, at, |number| format!("new{number}")),
        );
        let changed = if column >= at { column + 1 } else { column };
        let expected: BTreeSet<_> = [at, changed].map(|column| format!("column c{column}")).into();
        prop_assert_eq!(noisy, expected);
    }
}
