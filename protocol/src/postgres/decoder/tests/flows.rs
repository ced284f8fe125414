use insta::assert_snapshot;
use recording::Status;

use super::*;

fn all(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn a_simple_query_with_several_statements() {
    assert_snapshot!(session(&[
        C(client::query("select 1; update t set a = 'x'; ;")),
        S(all(&[
            server::columns(&[("odd,na:me", 23, 0)]),
            server::row(&[Some(b"1")]),
            server::complete("SELECT 1"),
            server::notice("slow"),
            server::complete("UPDATE 3"),
            server::ready(b'I'),
        ])),
        C(client::query("")),
        S(all(&[server::plain(b'I'), server::ready(b'I')])),
        C(client::query("begin; select nonsense; select 2")),
        S(all(&[
            server::complete("BEGIN"),
            server::error("ERROR", "42703", "no column nonsense"),
            server::ready(b'E'),
        ])),
        C(client::terminate()),
    ]));
}

#[test]
fn times_and_bytes_are_those_of_the_wire() {
    let query = client::query("select 1");
    let answer = one_row();
    let (head, tail) = answer.split_at(7);
    let (start, end) = query.split_at(3);
    let steps = [
        login(),
        vec![
            C(start.to_vec()),
            C(end.to_vec()),
            S(head.to_vec()),
            S(tail.to_vec()),
        ],
    ]
    .concat();
    let (rows, _) = rows_of(false, &steps);
    let row = &rows[1];
    assert_eq!(row.request.bytes, query);
    assert_eq!(row.request.wire_len, query.len() as u64);
    assert_eq!((row.started_at.0, row.request.last_byte_at.0), (30, 40));
    let response = row.response.as_ref().unwrap();
    assert_eq!(
        (response.first_byte_at.0, response.last_byte_at.0),
        (50, 60)
    );
    assert_eq!(response.body, answer);
}

#[test]
fn prepared_once_and_executed_by_name() {
    let prepare = all(&[
        client::parse("s1", "select a, b from t where id = $1 and x = 5", &[]),
        client::describe(b'S', "s1"),
        client::sync(),
    ]);
    let execute = |formats: &[u16]| {
        all(&[
            client::bind("", "s1", &[1], &[Some(&[0, 0, 0, 1])], formats),
            client::execute("", 0),
            client::sync(),
        ])
    };
    let answer = all(&[
        server::plain(b'2'),
        server::row(&[Some(b"1"), None]),
        server::complete("SELECT 1"),
        server::ready(b'I'),
    ]);
    assert_snapshot!(session(&[
        C(prepare),
        S(all(&[
            server::plain(b'1'),
            server::types(&[23]),
            server::columns(&[("a", 23, 0), ("b", 25, 0)]),
            server::ready(b'I'),
        ])),
        C(execute(&[1])),
        S(answer.clone()),
        C(execute(&[0, 1])),
        S(answer),
        C(all(&[client::close(b'S', "s1"), client::sync()])),
        S(all(&[server::plain(b'3'), server::ready(b'I')])),
        C(execute(&[])),
        S(all(&[
            server::error("ERROR", "26000", "no such statement"),
            server::ready(b'I'),
        ])),
    ]));
}

#[test]
fn unnamed_statements_flush_and_row_limits() {
    assert_snapshot!(session(&[
        C(all(&[
            client::parse("", "select $1", &[25]),
            client::describe(b'S', ""),
            client::flush(),
        ])),
        S(all(&[
            server::plain(b'1'),
            server::types(&[25]),
            server::columns(&[("c", 25, 0)]),
        ])),
        C(all(&[
            client::bind("p", "", &[], &[Some(b"x")], &[1]),
            client::execute("p", 1),
            client::execute("p", 1),
            client::close(b'P', "p"),
            client::sync(),
        ])),
        S(all(&[
            server::plain(b'2'),
            server::row(&[Some(b"x")]),
            server::plain(b's'),
            server::complete("SELECT 0"),
            server::plain(b'3'),
            server::ready(b'I'),
        ])),
    ]));
}

/// As psycopg ends a pipeline.
#[test]
fn a_flush_alone_is_no_request() {
    let pipeline = all(&[
        client::parse("", "select 1", &[]),
        client::bind("", "", &[], &[], &[]),
        client::execute("", 0),
        client::sync(),
    ]);
    let answer = all(&[
        server::plain(b'1'),
        server::plain(b'2'),
        server::row(&[Some(b"1")]),
        server::complete("SELECT 1"),
        server::ready(b'I'),
    ]);
    let steps = [
        C(pipeline),
        C(client::flush()),
        S(answer),
        C(client::flush()),
        C(client::query("select 2")),
        S(one_row()),
        C(client::flush()),
        C(client::terminate()),
    ];
    assert_eq!(
        session(&steps),
        "extended ok x1 `select ?` rows=1 idle\n\
         query ok x1 `select ?` rows=1 columns=n:23:0 idle\n\
         close ok (terminate)\n"
    );
    let (rows, _) = rows_of(false, &[login(), steps.to_vec()].concat());
    assert_eq!(rows[2].started_at, Timestamp(70));
    assert_eq!(rows[2].request.bytes, client::query("select 2"));
}

/// As asyncpg's `prepare()` does, with the client's own time after it.
#[test]
fn what_follows_an_answered_prepare_is_timed_by_itself() {
    let prepare = all(&[
        client::parse("s", "select k from kv", &[]),
        client::describe(b'S', "s"),
        client::flush(),
    ]);
    let prepared = all(&[
        server::plain(b'1'),
        server::types(&[]),
        server::columns(&[("k", 23, 0)]),
    ]);
    let execute = all(&[
        client::bind("", "s", &[], &[], &[1]),
        client::execute("", 0),
        client::sync(),
    ]);
    let done = all(&[
        server::plain(b'2'),
        server::complete("SELECT 0"),
        server::ready(b'I'),
    ]);
    let times = |steps: &[Step]| {
        let (rows, _) = rows_of(false, &[login(), steps.to_vec()].concat());
        let response = rows[1].response.as_ref().unwrap();
        let times = [rows[1].started_at, response.first_byte_at];
        (times.map(|at| at.0), rows[1].request.bytes.clone())
    };
    let bytes = all(&[prepare.clone(), execute.clone()]);
    let waits = [
        C(prepare.clone()),
        S(prepared.clone()),
        C(execute.clone()),
        S(done.clone()),
    ];
    assert_eq!(times(&waits), ([50, 60], bytes.clone()));
    let [one, two, three, four] = waits;
    assert_eq!(times(&[one, three, two, four]), ([30, 50], bytes));
}

/// As asyncpg's `prepare()` and then `close()`.
#[test]
fn what_was_prepared_and_never_run_has_its_answer() {
    let prepare = all(&[
        client::parse("s", "select k from kv", &[]),
        client::describe(b'S', "s"),
        client::flush(),
    ]);
    let half = all(&[server::plain(b'1'), server::types(&[])]);
    let rest = server::columns(&[("k", 23, 0)]);
    let became = |steps: &[Step]| {
        let (rows, _) = rows_of(false, &[login(), steps.to_vec()].concat());
        let columns = rows[1].response.as_ref().map(|it| it.columns.clone());
        (rows[1].status, rows[1].reason.clone(), columns)
    };
    let left = [C(prepare), S(half), S(rest), C(client::terminate())];
    let columns = Some(Some("k:23:0".into()));
    assert_eq!(became(&left), (Status::Ok, None, columns));
    let [prepare, half, _, end] = left;
    let unanswered = (Status::Unanswered, Some("terminate".into()), None);
    assert_eq!(became(&[prepare, half, end]), unanswered);
}

#[test]
fn a_copy_after_a_prepare_is_a_simple_query() {
    assert_eq!(
        session(&[
            C(all(&[client::parse("s", "select 1", &[]), client::flush()])),
            S(server::plain(b'1')),
            C(client::query("copy t from stdin")),
            S(server::copy(b'G')),
            C(all(&[client::copy_data(b"1\n"), client::copy_done()])),
            S(all(&[server::complete("COPY 1"), server::ready(b'I')])),
        ]),
        "query ok x1 `copy t from stdin` affected=1 idle\nclose ok (fin)\n"
    );
}

/// A driver has nothing but what the response says.
#[test]
fn columns_described_in_the_same_request_are_told_once() {
    let answer = |rows: Vec<u8>| {
        session(&[
            C(all(&[
                client::parse("", "select k from kv", &[]),
                client::describe(b'S', ""),
                client::bind("", "", &[], &[], &[]),
                client::execute("", 0),
                client::sync(),
            ])),
            S(all(&[
                server::plain(b'1'),
                server::types(&[]),
                server::columns(&[("k", 23, 0)]),
                server::plain(b'2'),
                rows,
                server::complete("SELECT 0"),
                server::ready(b'I'),
            ])),
        ])
    };
    for rows in [Vec::new(), server::row(&[Some(b"1")])] {
        let shown = answer(rows);
        assert!(shown.contains(" columns=k:23:0 idle"), "{shown}");
    }
}

#[test]
fn an_error_skips_to_the_sync_and_takes_back_what_was_not_done() {
    let bind = |name| {
        all(&[
            client::bind("", name, &[], &[], &[]),
            client::execute("", 0),
        ])
    };
    let done = all(&[
        server::plain(b'2'),
        server::complete("SELECT 0"),
        server::ready(b'I'),
    ]);
    assert_snapshot!(session(&[
        C(all(&[
            client::parse("a", "select 'first'", &[]),
            client::sync()
        ])),
        S(all(&[server::plain(b'1'), server::ready(b'I')])),
        C(all(&[
            client::parse("a", "select second", &[]),
            bind("a"),
            client::sync(),
        ])),
        S(all(&[
            server::error("ERROR", "42P05", "a exists"),
            server::ready(b'I'),
        ])),
        C(all(&[bind("a"), client::sync()])),
        S(done),
    ]));
}

#[test]
fn pipelined_requests_pair_in_order() {
    let unit = |text| {
        all(&[
            client::parse("", text, &[]),
            client::bind("", "", &[], &[], &[]),
            client::describe(b'P', ""),
            client::execute("", 0),
            client::sync(),
        ])
    };
    let answer = |value: &[u8]| {
        all(&[
            server::plain(b'1'),
            server::plain(b'2'),
            server::columns(&[("n", 23, 0)]),
            server::row(&[Some(value)]),
            server::complete("SELECT 1"),
            server::ready(b'I'),
        ])
    };
    assert_snapshot!(session(&[
        C(all(&[
            unit("select 1"),
            unit("select nonsense"),
            unit("select a")
        ])),
        S(answer(b"1")),
        C(client::query("select b")),
        S(all(&[
            server::error("ERROR", "42703", "nonsense"),
            server::ready(b'I'),
            answer(b"2"),
            one_row(),
        ])),
    ]));
}

#[test]
fn several_executions_in_one_unit() {
    assert_snapshot!(session(&[
        C(all(&[
            client::parse("i", "insert into t values ($1)", &[23]),
            client::bind("", "i", &[], &[Some(b"1")], &[]),
            client::execute("", 0),
            client::bind("", "i", &[], &[Some(b"2")], &[]),
            client::execute("", 0),
            client::parse("", "select 1", &[]),
            client::bind("", "", &[], &[], &[]),
            client::execute("", 0),
            client::sync(),
        ])),
        S(all(&[
            server::plain(b'1'),
            server::plain(b'2'),
            server::complete("INSERT 0 1"),
            server::plain(b'2'),
            server::complete("INSERT 0 1"),
            server::plain(b'1'),
            server::plain(b'2'),
            server::row(&[Some(b"1")]),
            server::complete("SELECT 1"),
            server::ready(b'T'),
        ])),
    ]));
}

#[test]
fn function_calls() {
    assert_snapshot!(session(&[
        C(client::function_call(42)),
        S(all(&[server::function_result(b"7"), server::ready(b'I')])),
    ]));
}

#[test]
fn copy_in_and_out_by_simple_query() {
    assert_snapshot!(session(&[
        C(client::query("copy t from stdin")),
        S(server::copy(b'G')),
        C(all(&[
            client::copy_data(b"1\n"),
            client::copy_data(b"2\n"),
            client::copy_done(),
        ])),
        S(all(&[server::complete("COPY 2"), server::ready(b'I')])),
        C(client::query("copy t to stdout")),
        S(all(&[
            server::copy(b'H'),
            server::copy_data(b"1\n"),
            server::copy_data(b"2\n"),
            server::plain(b'c'),
            server::complete("COPY 2"),
            server::ready(b'I'),
        ])),
        C(client::query("copy t from stdin")),
        S(server::copy(b'G')),
        C(client::copy_fail("changed my mind")),
        S(all(&[
            server::error("ERROR", "57014", "COPY from stdin failed"),
            server::ready(b'I'),
        ])),
    ]));
}

#[test]
fn copy_in_by_extended_query_goes_on_to_the_second_sync() {
    let open = all(&[
        client::parse("", "copy t from stdin", &[]),
        client::bind("", "", &[], &[], &[]),
        client::describe(b'P', ""),
        client::execute("", 0),
        client::sync(),
    ]);
    let data = all(&[
        client::copy_data(b"1\n"),
        client::copy_done(),
        client::sync(),
    ]);
    let steps = [
        C(open.clone()),
        S(all(&[
            server::plain(b'1'),
            server::plain(b'2'),
            server::plain(b'n'),
            server::copy(b'G'),
        ])),
        C(data.clone()),
        S(all(&[server::complete("COPY 1"), server::ready(b'I')])),
        C(client::query("select 1")),
        S(one_row()),
    ];
    assert_snapshot!(session(&steps));
    let (rows, _) = rows_of(false, &[login(), steps.to_vec()].concat());
    assert_eq!(rows[1].request.bytes, all(&[open, data]));
}

#[test]
fn data_for_a_broken_copy_is_no_request() {
    assert_snapshot!(session(&[
        C(client::query("copy t from stdin")),
        S(server::copy(b'G')),
        C(client::copy_data(b"junk\n")),
        S(all(&[
            server::error("ERROR", "22P02", "junk"),
            server::ready(b'I'),
        ])),
        C(all(&[client::copy_data(b"1\n"), client::copy_done()])),
        C(client::query("select 1")),
        S(one_row()),
    ]));
}

#[test]
fn replication_is_passed_over() {
    assert_snapshot!(session(&[
        C(client::query("START_REPLICATION SLOT s LOGICAL 0/0")),
        S(server::copy(b'W')),
        S(server::copy_data(&[b'w'; 40])),
        C(client::copy_data(&[b'r'; 34])),
        S(server::copy_data(&[b'k'; 18])),
        C(client::copy_done()),
        S(all(&[
            server::plain(b'c'),
            server::complete("COPY 0"),
            server::ready(b'I'),
        ])),
    ]));
}

#[test]
fn what_nobody_asked_for_stands_at_the_close() {
    let notification = server::notification("jobs");
    let steps = [
        S(server::parameter("TimeZone", "UTC")),
        C(client::query("select 1")),
        S(all(&[notification.clone(), one_row()])),
        S(notification),
        S(server::error("FATAL", "57P01", "administrator command")),
    ];
    assert_snapshot!(session(&steps));
}

#[test]
fn a_fatal_error_ends_the_session() {
    assert_snapshot!(session(&[
        C(all(&[client::query("select 1"), client::query("select 2")])),
        S(server::error("FATAL", "57P01", "administrator command")),
    ]));
}

#[test]
fn deallocated_names_are_forgotten() {
    let prepare = |name| all(&[client::parse(name, "select 1", &[]), client::sync()]);
    let execute = |name| {
        all(&[
            client::bind("", name, &[], &[], &[]),
            client::execute("", 0),
            client::sync(),
        ])
    };
    let prepared = all(&[server::plain(b'1'), server::ready(b'I')]);
    let unknown = all(&[
        server::error("ERROR", "26000", "no such statement"),
        server::ready(b'I'),
    ]);
    let done = |tag| all(&[server::complete(tag), server::ready(b'I')]);
    assert_snapshot!(session(&[
        C(prepare("a")),
        S(prepared.clone()),
        C(prepare("b")),
        S(prepared),
        C(client::query("DEALLOCATE \"a\"")),
        S(done("DEALLOCATE")),
        C(execute("a")),
        S(unknown.clone()),
        C(client::query("DISCARD ALL")),
        S(done("DISCARD ALL")),
        C(execute("b")),
        S(unknown),
    ]));
}

#[test]
fn names_are_forgotten_by_any_statement_of_a_text_that_was_executed() {
    let prepare = |name| all(&[client::parse(name, "select 1", &[]), client::sync()]);
    let execute = |name| {
        all(&[
            client::bind("", name, &[], &[], &[]),
            client::execute("", 0),
            client::sync(),
        ])
    };
    let prepared = || S(all(&[server::plain(b'1'), server::ready(b'I')]));
    let failed = server::error("ERROR", "22012", "division by zero");
    let unknown = server::error("ERROR", "26000", "no such statement");
    assert_snapshot!(session(&[
        C(prepare("a")),
        prepared(),
        C(prepare("b")),
        prepared(),
        C(client::query(
            "set x = 1; deallocate a; select 1/0; deallocate b"
        )),
        S(all(&[
            server::complete("SET"),
            server::complete("DEALLOCATE"),
            failed,
            server::ready(b'I'),
        ])),
        C(execute("b")),
        S(all(&[server::plain(b'2'), one_row()])),
        C(execute("a")),
        S(all(&[unknown, server::ready(b'I')])),
    ]));
}

#[test]
fn passwords_in_statements_are_blanked() {
    let text = "ALTER ROLE ann PASSWORD 'hush-hush'; SELECT 'loud'";
    let steps = [
        C(client::query(text)),
        S(all(&[server::complete("ALTER ROLE"), one_row()])),
        C(all(&[client::parse("", text, &[]), client::sync()])),
        S(all(&[server::plain(b'1'), server::ready(b'I')])),
    ];
    assert_snapshot!(session(&steps));
    let (rows, _) = rows_of(false, &[login(), steps.to_vec()].concat());
    let kept = text.replace("hush-hush", "*********");
    assert_eq!(rows[1].request.bytes, client::query(&kept));
    assert!(!format!("{rows:?}").contains("hush"));
}

#[test]
fn rows_are_digested_in_order_and_in_any() {
    let answer = |values: [&[u8]; 2]| {
        let mut out = Vec::new();
        values
            .iter()
            .for_each(|value| out.extend(server::row(&[Some(value)])));
        all(&[out, server::complete("SELECT 2"), server::ready(b'I')])
    };
    let long = [b'x'; 100_000];
    let digests = |values| {
        let steps = [
            login(),
            vec![C(client::query("select a")), S(answer(values))],
        ]
        .concat();
        let (whole, _) = rows_of(false, &steps);
        let parts = in_chunks(&steps, |_| 7_001);
        let response = whole[1].response.clone().unwrap();
        assert_eq!(Some(&response), parts[1].response.as_ref());
        (response.rows_digest, response.rows_digest_unordered)
    };
    let there = digests([b"1", &long]);
    let back = digests([&long, b"1"]);
    let other = digests([b"1", b"1"]);
    assert_ne!(there.0, back.0);
    assert_eq!(there.1, back.1);
    assert_ne!(there.1, other.1);
}

/// The name and the first of the text stand at the beginning of a Parse.
#[test]
fn a_statement_over_the_cap_is_known_by_its_name() {
    let text = format!("select '{}'", "x".repeat(10_000));
    let run = [
        client::bind("", "long", &[], &[], &[]),
        client::execute("", 0),
    ]
    .concat();
    let done = [server::plain(b'2'), server::complete("SELECT 1")].concat();
    let steps = [
        login(),
        vec![
            C(all(&[client::parse("long", &text, &[]), client::sync()])),
            S(all(&[server::plain(b'1'), server::ready(b'I')])),
            C(all(&[run, client::sync()])),
            S(all(&[done, server::ready(b'I')])),
        ],
    ]
    .concat();
    let rows = in_chunks(&steps, |_| 1_000);
    assert_eq!(
        show(&rows[1..3]),
        "extended ok x0 `select ?` idle [request-cut]\n\
         extended ok x1 `select ?` idle\n"
    );
}

#[test]
fn secrets_in_a_text_over_the_cap_are_blanked_whatever_comes_of_it() {
    let text = format!("alter role a password 'oh no' /* {}", "x".repeat(10_000));
    let cut = |message: Vec<u8>| C(message[..9_000].to_vec());
    for steps in [
        vec![C(all(&[client::parse("", &text, &[]), client::sync()]))],
        vec![C(client::query(&text))],
        vec![cut(client::parse("", &text, &[]))],
        vec![cut(client::query(&text))],
        vec![cut(client::query(&text)), ClientGap(5_000)],
    ] {
        let rows = in_chunks(&[login(), steps].concat(), |_| 1_000);
        let row = &rows[1];
        assert!(row.notes.contains(Notes::SECRET_BLANKED), "{}", row.notes);
        let text = String::from_utf8_lossy(&row.request.bytes);
        assert!(text.contains("password '*****'"));
    }
}

#[test]
fn long_requests_and_responses_are_cut() {
    let text = format!("select '{}'", "x".repeat(10_000));
    let steps = [
        login(),
        vec![
            C(client::query(&text)),
            S(all(&[
                server::row(&[Some(&[1; 10_000])]),
                server::complete("SELECT 1"),
                server::ready(b'I'),
            ])),
        ],
    ]
    .concat();
    for rows in [rows_of(false, &steps).0, in_chunks(&steps, |_| 1_000)] {
        let row = &rows[1];
        assert_eq!(row.request.bytes.len(), LIMITS.request);
        assert_eq!(row.request.wire_len, 10_015);
        assert_eq!(row.notes.to_string(), "request-cut");
        assert_eq!(
            row.request.statement.as_ref().unwrap().text.as_ref(),
            "select ?"
        );
        let response = row.response.as_ref().unwrap();
        assert_eq!((response.rows, response.body.len()), (1, LIMITS.body));
        assert_eq!(response.wire_len, 10_011 + 14 + 6);
    }
}
