mod statements;
mod unordered;

use recording::{Request, Response, Statement, Timestamp};

use super::*;
use crate::postgres::driver::test_exchange;
use crate::postgres::messages::{Encode, Framer};
use crate::postgres::response::{Assembler, Shapes};

/// A server's answer, built message by message.
#[derive(Default)]
struct Server(Vec<u8>);

impl Server {
    fn columns(mut self, columns: &[(&str, u32, u16)]) -> Server {
        self.0.message(b'T', |out| {
            out.extend((columns.len() as u16).to_be_bytes());
            for (name, type_oid, format) in columns {
                out.string(name.as_bytes());
                out.extend([0; 6]);
                out.extend(type_oid.to_be_bytes());
                out.extend([0; 6]);
                out.extend(format.to_be_bytes());
            }
        });
        self
    }

    fn raw_row(mut self, values: &[Option<&[u8]>]) -> Server {
        self.0.message(b'D', |out| {
            out.extend((values.len() as u16).to_be_bytes());
            for value in values {
                match value {
                    None => out.extend((-1i32).to_be_bytes()),
                    Some(value) => {
                        out.extend((value.len() as u32).to_be_bytes());
                        out.extend_from_slice(value);
                    }
                }
            }
        });
        self
    }

    fn row(self, values: &[&str]) -> Server {
        let values: Vec<_> = values.iter().map(|value| Some(value.as_bytes())).collect();
        self.raw_row(&values)
    }

    fn rows(self, values: &[&str]) -> Server {
        values
            .iter()
            .fold(self, |server, value| server.row(&[value]))
    }

    fn fields(mut self, tag: u8, severity: &str, code: &str, message: &str) -> Server {
        let fields = format!("V{severity}\0C{code}\0M{message}\0\0");
        self.0.message(tag, |out| out.extend(fields.into_bytes()));
        self
    }

    fn error(self, code: &str, message: &str) -> Server {
        self.fields(b'E', "ERROR", code, message)
    }

    fn copied(mut self, line: &str) -> Server {
        self.0
            .message(b'd', |out| out.extend_from_slice(line.as_bytes()));
        self
    }

    fn complete(mut self, tag: &str) -> Server {
        self.0.message(b'C', |out| out.string(tag.as_bytes()));
        self
    }

    fn answer(mut self, statement: &str, cap: usize) -> Exchange {
        self.0.message(b'Z', |out| out.push(b'I'));
        let mut assembler = Assembler::new(cap);
        let mut framer = Framer::new(1 << 20);
        let mut input = self.0.as_slice();
        while let Some(frame) = framer.next(&mut input).unwrap() {
            let message = Message::of(&frame).unwrap();
            let shapes = &mut Shapes::default();
            assembler
                .take(&frame, message.as_ref(), Timestamp(0), Timestamp(0), shapes)
                .unwrap();
        }
        Exchange {
            request: Request {
                statement: Some(Statement {
                    text: statement.into(),
                    fingerprint: 1,
                }),
                ..Request::default()
            },
            response: Some(assembler.finish()),
            ..test_exchange(Kind::Request, b"")
        }
    }
}

fn server() -> Server {
    Server::default()
}

/// Rows of one integer column.
fn numbers(values: &[&str]) -> Server {
    server()
        .columns(&[("n", 23, 0)])
        .rows(values)
        .complete("SELECT")
}

/// One line a difference.
fn differences(statement: &str, old: Server, new: Server) -> Vec<String> {
    capped(statement, old, new, 1 << 20)
}

fn capped(statement: &str, old: Server, new: Server, cap: usize) -> Vec<String> {
    let (old, new) = (old.answer(statement, cap), new.answer(statement, cap));
    assert!(compare(&old, &old).is_empty());
    let differences = compare(&old, &new).into_iter();
    let lines = differences.map(|difference| {
        let Difference {
            kind,
            place,
            expected,
            observed,
        } = difference;
        format!("{} [{place}] {expected} -> {observed}", kind.name())
    });
    lines.collect()
}

#[test]
fn errors_differ_by_code_alone() {
    let ok = || numbers(&["1"]);
    let zero = |message| server().error("22012", message);
    assert!(differences("select ?", zero("division by zero"), zero("durch null")).is_empty());
    assert_eq!(
        differences("select ?", ok(), zero("division by zero")),
        ["new error [] no error -> 22012: division by zero"]
    );
    assert_eq!(
        differences("select ?", zero("division by zero"), ok()),
        ["vanished error [] 22012: division by zero -> no error"]
    );
    assert_eq!(
        differences("select ?", zero("a"), server().error("42601", "b")),
        ["different error [] 22012: a -> 42601: b"]
    );
}

#[test]
fn counts() {
    assert_eq!(
        differences("select n from t", numbers(&["1", "2"]), numbers(&["1"])),
        ["row count [] 2 -> 1"]
    );
    assert_eq!(
        differences(
            "update t",
            server().complete("UPDATE 2"),
            server().complete("UPDATE 3")
        ),
        ["affected rows [] 2 -> 3"]
    );
}

#[test]
fn columns() {
    let shape = |name, type_oid| server().columns(&[("a", 25, 0), (name, type_oid, 0)]);
    assert_eq!(
        differences("select", shape("b", 25), shape("c", 25)),
        ["column names [] a, b -> a, c"]
    );
    assert_eq!(
        differences("select", shape("b", 701), shape("b", 1700)),
        ["column types [column b] double precision -> numeric"]
    );
    assert!(differences("select", shape("b", 20_000), shape("b", 30_000)).is_empty());
    assert_eq!(
        differences("select", shape("b", 20_000), shape("b", 25)),
        ["column types [column b] user-defined -> text"]
    );
}

#[test]
fn values_are_told_by_their_cell() {
    let rows = |total: Option<&[u8]>| {
        let total = &[Some(&b"7"[..]), total];
        server()
            .columns(&[("id", 23, 0), ("total", 1700, 0)])
            .row(&["6", "1"])
            .raw_row(total)
            .complete("SELECT 2")
    };
    assert_eq!(
        differences("select", rows(Some(b"1.50")), rows(Some(b"1.5"))),
        ["values [row 2, column total] 1.50 -> 1.5"]
    );
    assert_eq!(
        differences("select", rows(Some(b"")), rows(None)),
        ["values [row 2, column total, NULL]  -> NULL"]
    );
}

#[test]
fn the_same_value_in_another_type_is_the_same() {
    let float = |value: f64| {
        server()
            .columns(&[("e", 701, 1)])
            .raw_row(&[Some(&value.to_be_bytes())])
            .complete("SELECT 1")
    };
    let numeric = |digits: &[u8]| {
        let value = [&b"\0\x01\0\0\0\0\0\0"[..], digits].concat();
        server()
            .columns(&[("e", 1700, 1)])
            .raw_row(&[Some(&value)])
            .complete("SELECT 1")
    };
    let types = "column types [column e] double precision -> numeric";
    assert_eq!(
        differences("select", float(5.0), numeric(b"\0\x05")),
        [types]
    );
    assert_eq!(
        differences("select", float(5.0), numeric(b"\0\x06")),
        [types, "values [row 1, column e] 5 -> 6"]
    );
}

#[test]
fn types_of_users_are_all_one() {
    // A row of two, of a type of its own, with a value of a user's type in it.
    let row = |type_oid: u32, text: &[u8]| {
        let oids = [25, type_oid].map(u32::to_be_bytes);
        let value = [&[0, 0, 0, 1], text].concat();
        [&[0, 0, 0, 2], &oids[0][..], &value, &oids[1], &value].concat()
    };
    let rows = |type_oid, texts: [&[u8]; 2], last: Option<&[u8]>| {
        let server = server().columns(&[("v", type_oid, 1), ("last", type_oid + 1, 0)]);
        let rows = texts.map(|text| row(type_oid + 1, text));
        let server = rows
            .iter()
            .fold(server, |server, row| server.raw_row(&[Some(row), last]));
        server.complete("SELECT 2")
    };
    let null = Some(&b"NULL"[..]);
    for text in ["select v from t", "select v from t order by v"] {
        let (old, new) = (
            rows(20_000, [b"a", b"b"], null),
            rows(30_000, [b"a", b"b"], null),
        );
        assert!(differences(text, old, new).is_empty());
    }
    let told = |new| differences("select v from t", rows(20_000, [b"a", b"b"], null), new);
    assert_eq!(
        told(rows(30_000, [b"a", b"b"], None)),
        [
            "values [row 1, column last, NULL] 'NULL' -> NULL",
            "values [row 2, column last, NULL] 'NULL' -> NULL"
        ]
    );
    assert!(told(rows(30_000, [b"b", b"a"], null)).is_empty());
    let told = told(rows(30_000, [b"a", b"c"], null));
    assert!(told[0].starts_with("values [row 2, column v] "), "{told:?}");
    assert_eq!(told.len(), 1);
}

#[test]
fn columns_told_on_one_side_serve_both() {
    let values = |bytes: [i32; 2]| {
        let [a, b] = bytes.map(i32::to_be_bytes);
        server()
            .raw_row(&[Some(&a)])
            .raw_row(&[Some(&b)])
            .complete("SELECT 2")
    };
    let mut old = values([1, 2]).answer("select n from t", 1 << 20);
    old.response.as_mut().unwrap().columns = Some("n:23:1".into());
    let new = |bytes| values(bytes).answer("select n from t", 1 << 20);
    assert!(compare(&old, &new([2, 1])).is_empty());
    let differences = compare(&old, &new([3, 1]));
    let [difference] = differences.as_slice() else {
        panic!("{differences:?}");
    };
    assert_eq!(
        (
            &*difference.place,
            &*difference.expected,
            &*difference.observed
        ),
        ("row 2, column n", "2", "3")
    );
}

#[test]
fn order_matters_where_it_is_promised() {
    let (up, down) = (|| numbers(&["1", "2", "3"]), || numbers(&["3", "2", "1"]));
    assert!(differences("select n from t", up(), down()).is_empty());
    assert!(differences("", up(), down()).is_empty());
    assert_eq!(
        differences("select n from t order by n", up(), down()),
        ["order only [row 1] 1 -> 3"]
    );
    // Without a body only the digest tells.
    assert!(capped("select n from t", up(), down(), 0).is_empty());
    let told = capped("select n from t order by n", up(), down(), 0);
    assert!(told[0].starts_with("order only [digest; the answer was over the cap]"));
}

#[test]
fn rows_without_an_order_are_paired() {
    assert_eq!(
        differences(
            "select n from t",
            numbers(&["1", "1", "2", "30"]),
            numbers(&["31", "2", "1", "1"])
        ),
        ["values [row 4, column n] 30 -> 31"]
    );
    assert_eq!(
        differences(
            "select n from t",
            numbers(&["1", "1", "2"]),
            numbers(&["1", "2", "2"])
        ),
        ["values [row 2, column n] 1 -> 2"]
    );
}

#[test]
fn a_column_shows_however_many_values_of_others_differ() {
    let rows = |noise: &str, total: &str| {
        let table = server().columns(&[("id", 23, 0), ("now", 25, 0), ("total", 25, 0)]);
        let rows = (0..10).fold(table, |table, n| {
            let total = if n == 7 { total } else { "10" };
            table.row(&[&n.to_string(), &format!("{noise}{n}"), total])
        });
        rows.complete("SELECT 10")
    };
    let statement = "select id, now, total from t order by id";
    let told = differences(statement, rows("a", "80"), rows("b", "99"));
    assert_eq!(told.len(), MAX_VALUES + 1);
    assert_eq!(
        told.last().map(String::as_str),
        Some("values [row 8, column total, and 5 more values] 80 -> 99")
    );
}

#[test]
fn many_values_are_counted() {
    let old: Vec<String> = (0..20).map(|n| format!("a{n:02}")).collect();
    let new: Vec<String> = (0..20).map(|n| format!("b{n:02}")).collect();
    let rows = |values: &[String]| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        numbers(&values)
    };
    let told = differences("select n from t", rows(&old), rows(&new));
    assert_eq!(told.len(), MAX_VALUES);
    assert_eq!(told[0], "values [row 1, column n] a00 -> b00");
    assert_eq!(
        told[MAX_VALUES - 1],
        "values [row 5, column n, and 15 more values] a04 -> b04"
    );
    let told = capped("select n from t", rows(&old), rows(&new), 100);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("values [digest; the answer was over the cap]"));
}

#[test]
fn copied_rows_are_compared_too() {
    let copy = |lines: &[&str]| {
        let copied = lines
            .iter()
            .fold(server(), |server, line| server.copied(line));
        copied.complete("COPY 2")
    };
    let text = "copy t to stdout";
    assert!(differences(text, copy(&["1\n", "2\n"]), copy(&["2\n", "1\n"])).is_empty());
    assert_eq!(
        differences(
            text,
            copy(&["1\ta\n", "2\tb\n"]),
            copy(&["1\ta\n", "2\tc\n"])
        ),
        ["values [row 2] 2\tb -> 2\tc"]
    );
}

#[test]
fn warnings_differ_by_severity_and_code() {
    let warning = |severity, code| {
        let server = server().fields(b'N', severity, code, "text");
        server.complete("BEGIN")
    };
    let none = || server().complete("BEGIN");
    assert_eq!(
        differences("begin", warning("WARNING", "25001"), none()),
        ["warnings [] WARNING 25001: text -> none"]
    );
    assert_eq!(
        differences("begin", none(), warning("NOTICE", "42P07")),
        ["warnings [] none -> NOTICE 42P07: text"]
    );
    assert!(differences("begin", none(), warning("INFO", "00000")).is_empty());
    assert!(differences("begin", none(), warning("LOG", "00000")).is_empty());
}

#[test]
fn warnings_of_no_special_kind_differ_by_text() {
    let warning = |code, text| {
        let server = server().fields(b'N', "WARNING", code, text);
        server.complete("ANALYZE")
    };
    assert_eq!(
        differences("analyze", warning("01000", "a"), warning("01000", "b")),
        ["warnings [] WARNING 01000: a -> WARNING 01000: b"]
    );
    assert!(differences("analyze", warning("25001", "a"), warning("25001", "b")).is_empty());
}

#[test]
fn an_opening_only_succeeds_or_fails() {
    let open = |server: Server| Exchange {
        kind: Kind::Open,
        ..server.answer("", 1 << 20)
    };
    let welcome = |notice| open(server().fields(b'N', "WARNING", notice, "text"));
    assert!(compare(&welcome("1"), &welcome("2")).is_empty());
    let refused = open(server().error("28P01", "no"));
    let kinds: Vec<_> = compare(&welcome("1"), &refused)
        .iter()
        .map(|difference| difference.kind)
        .collect();
    assert_eq!(kinds, [DifferenceKind::NewError]);
}

#[test]
fn long_values_are_shown_where_they_differ() {
    let old = format!("{}x{}", "é".repeat(500), "z".repeat(500));
    let new = format!("{}y{}", "é".repeat(500), "z".repeat(500));
    let shown = around(&old, &new);
    assert!(shown.starts_with("...éé") && shown.ends_with("zz..."));
    assert!(shown.contains("éxz"));
    assert_eq!(shown.chars().count(), MAX_LETTERS + 6);
    assert_eq!(around("short", "other"), "short");
}

#[test]
fn rows_survive_any_bytes() {
    let response = |body: &[u8]| Response {
        body: body.to_vec(),
        wire_len: body.len() as u64,
        rows_digest: xxhash_rust::xxh3::xxh3_64(body),
        ..Response::default()
    };
    let exchange = |body: &[u8]| Exchange {
        response: Some(response(body)),
        ..test_exchange(Kind::Request, b"")
    };
    let runner = &mut proptest::test_runner::TestRunner::default();
    let bytes = || proptest::collection::vec(proptest::num::u8::ANY, 0..60);
    let tags = proptest::sample::select(b"TDCEdNI".to_vec());
    let message = (tags, bytes());
    runner
        .run(
            &(proptest::collection::vec(message, 0..6), bytes()),
            |(messages, tail)| {
                let mut body = Vec::new();
                for (tag, rest) in messages {
                    body.message(tag, |out| out.extend(rest));
                }
                body.extend(tail);
                compare(&exchange(&body), &exchange(b"D\0\0\0\x06\0\0"));
                compare(&exchange(b"D\0\0\0\x06\0\0"), &exchange(&body));
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn values_that_read_the_same_differ_all_the_same() {
    let one = |oid: u32, format: u16, value: Option<&[u8]>| {
        let columns = server().columns(&[("v", oid, format)]);
        columns.raw_row(&[value]).complete("SELECT 1")
    };
    let text = |value| one(25, 0, value);
    for (old, new, told) in [
        (text(None), text(Some(b"NULL")), ", NULL] NULL -> 'NULL'"),
        (
            text(Some(b"caf\xe9")),
            text(Some(b"caf\xe8")),
            r"] 'caf\xe9' -> 'caf\xe8'",
        ),
    ] {
        let told = format!("values [row 1, column v{told}");
        assert_eq!(differences("select v from t", old, new), [told]);
    }
    // A text array of one element, and of two: `{a,b}`.
    let array = |elements: &[&str]| {
        let mut bytes = [1i32, 0, 25, elements.len() as i32, 1]
            .map(i32::to_be_bytes)
            .concat();
        for element in elements {
            bytes.extend((element.len() as i32).to_be_bytes());
            bytes.extend(element.as_bytes());
        }
        bytes
    };
    let (one_element, two) = (array(&["a,b"]), array(&["a", "b"]));
    let arrays = [&one_element, &two].map(|bytes| one(1009, 1, Some(bytes)));
    let [old, new] = arrays;
    assert_eq!(differences("select v from t", old, new).len(), 1);
    // The same number in another type.
    let number = |oid, bytes: &[u8]| {
        let columns = server().columns(&[("n", oid, 1), ("v", 25, 0)]);
        columns
            .raw_row(&[Some(bytes), Some(&[b'a' + bytes.len() as u8])])
            .complete("SELECT 1")
    };
    let (int4, int8) = (
        number(23, &[0, 0, 0, 7]),
        number(20, &[0, 0, 0, 0, 0, 0, 0, 7]),
    );
    let found = differences("select n, v from t", int4, int8);
    assert_eq!(found.last().unwrap(), "values [row 1, column v] e -> i");
    assert_eq!(found.len(), 2, "{found:?}");
}
