//! Results of one or several statements, each by itself.

use super::*;
use crate::postgres::testing::client;

#[test]
fn a_result_without_rows_is_one_all_the_same() {
    let described = || server().columns(&[("n", 23, 0)]);
    let empty = || described().complete("SELECT 0");
    let undescribed = || server().complete("SELECT 0");
    let text = "select n from t";
    assert_eq!(
        differences(text, empty(), undescribed()),
        ["column names [] n -> none"]
    );
    assert_eq!(
        differences(text, undescribed(), empty()),
        ["column names [] none -> n"]
    );
    assert_eq!(
        differences(text, described(), server()),
        ["column names [] n -> none"]
    );
    let rows = || server().rows(&["1"]).complete("SELECT 1");
    assert_eq!(
        differences(text, rows().complete("SELECT 0"), rows()),
        ["row count [results] SELECT 1; SELECT 0 -> SELECT 1"]
    );
    assert_eq!(
        differences(
            text,
            undescribed().rows(&["1"]).complete("SELECT 1"),
            rows()
        ),
        ["row count [results] SELECT 0; SELECT 1 -> SELECT 1"]
    );
    assert_eq!(
        differences(text, empty().rows(&["1"]).complete("SELECT 1"), rows()),
        [
            "column names [] n -> none",
            "row count [results] SELECT 0; SELECT 1 -> SELECT 1"
        ]
    );
    // Which columns an error came before says nothing that the error does not.
    let zero = |server: Server| server.error("22012", "division by zero");
    assert!(differences(text, zero(described()), zero(server())).is_empty());
}

#[test]
fn columns_told_before_are_not_told_again() {
    let answer = |rows: &[&str]| server().rows(rows).complete("SELECT 1");
    let mut recorded = answer(&["1"]).answer("select n from t", 1 << 20);
    recorded.response.as_mut().unwrap().columns = Some("n:23:0".into());
    let [same, other] = ["1", "2"].map(|n| answer(&[n]).answer("select n from t", 1 << 20));
    assert!(compare(&recorded, &same).is_empty());
    assert_eq!(compare(&recorded, &other).len(), 1);
}

#[test]
fn each_statement_counts_its_rows() {
    let both = |first: &str, second: &str| server().complete(first).complete(second);
    let text = "update t; update u";
    assert_eq!(
        differences(
            text,
            both("UPDATE 1", "UPDATE 2"),
            both("UPDATE 2", "UPDATE 1")
        ),
        [
            "affected rows [result 1] 1 -> 2",
            "affected rows [result 2] 2 -> 1"
        ]
    );
    assert_eq!(
        capped(
            text,
            both("UPDATE 1", "UPDATE 2"),
            both("UPDATE 3", "UPDATE 1"),
            0
        ),
        ["affected rows [] 3 -> 4"]
    );
}

#[test]
fn completions_differ_by_command_and_count() {
    let complete = |tag| server().complete(tag);
    assert!(differences("", complete("INSERT 16444 1"), complete("INSERT 0 1")).is_empty());
    assert_eq!(
        differences("commit", complete("COMMIT"), complete("ROLLBACK")),
        ["affected rows [] COMMIT -> ROLLBACK"]
    );
    assert_eq!(
        differences(
            "create table as",
            complete("SELECT 3"),
            complete("SELECT 4")
        ),
        ["affected rows [] 3 -> 4"]
    );
    // What the rows tell is not told twice.
    let rows = |values: &[&str], tag| server().rows(values).complete(tag);
    assert_eq!(
        differences("", rows(&["1", "2"], "SELECT 2"), rows(&["1"], "SELECT 1")),
        ["row count [] 2 -> 1"]
    );
}

#[test]
fn each_result_is_held_to_the_order_of_its_own_statement() {
    let answers = |by_order: &[&str], any: &[&str]| {
        let [first, second] = [by_order, any].map(numbers);
        let both = Server([first.0, second.0].concat());
        both.error("22012", "division by zero")
    };
    let parse = |text| {
        let bind = client::bind("", "", &[], &[], &[]);
        [client::parse("", text, &[]), bind, client::execute("", 0)].concat()
    };
    let (by_order, any) = ("select n from t order by n", "select n from u");
    let pipeline = [by_order, any, "select 1/0"].map(parse).concat();
    let query = client::query(&format!("{by_order}; {any}; select 1/0; select 2"));
    for request in [pipeline, query] {
        let asked = |server: Server| {
            let mut exchange = server.answer("", 1 << 20);
            exchange.request.bytes = request.clone();
            exchange
        };
        let old = asked(answers(&["1", "2"], &["1", "2"]));
        let other = asked(answers(&["1", "2"], &["2", "1"]));
        assert!(compare(&old, &other).is_empty());
        let wrong = compare(&old, &asked(answers(&["2", "1"], &["1", "2"])));
        let [wrong] = wrong.as_slice() else {
            panic!("{wrong:?}");
        };
        assert_eq!(wrong.kind, DifferenceKind::OrderOnly);
        assert_eq!(wrong.place, "result 1, row 1");
    }
}

#[test]
fn results_of_several_statements_stay_apart() {
    let both = |first: &[&str], second: &[&str]| {
        let first = numbers(first);
        first
            .columns(&[("m", 25, 0)])
            .rows(second)
            .complete("SELECT")
    };
    let text = "select n from t; select m from u order by m";
    assert_eq!(
        differences(
            text,
            both(&["1", "2"], &["a", "b"]),
            both(&["2", "1"], &["b", "a"])
        ),
        ["order only [result 2, row 1] a -> b"]
    );
    assert_eq!(
        differences(text, both(&["1"], &["a", "b"]), both(&["1"], &["a", "c"])),
        ["values [result 2, row 2, column m] b -> c"]
    );
    assert_eq!(
        differences(text, both(&["1"], &["a", "b"]), both(&["1", "2"], &["a"])),
        ["row count [result 1] 1 -> 2", "row count [result 2] 2 -> 1"]
    );
}
