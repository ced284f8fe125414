use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn half(step: &Step, first: bool) -> Step {
    let cut = |bytes: &[u8]| {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        if first { head.to_vec() } else { tail.to_vec() }
    };
    match step {
        C(bytes) => C(cut(bytes)),
        S(bytes) => S(cut(bytes)),
        gap => gap.clone(),
    }
}

#[test]
fn a_lost_request_takes_no_other_with_it() {
    assert_snapshot!(lossy(&[
        query("select 'a'"),
        answer(),
        ClientGap(16),
        answer(),
        query("select b"),
        answer(),
    ]));
}

#[test]
fn a_request_that_is_lost_to_its_end_began_with_its_first_byte() {
    let lossy = [
        half(&query("select 'a'"), true),
        ClientGap(40),
        answer(),
        query("select b"),
        answer(),
    ];
    let (rows, _) = rows_of(false, &[login(), lossy.to_vec()].concat());
    assert_eq!((rows[1].started_at.0, rows[2].started_at.0), (30, 60));
}

#[test]
fn a_loss_that_is_told_late_takes_no_other_with_it() {
    assert_snapshot!(lossy(&[
        query("select 'a'"),
        answer(),
        answer(),
        ClientGap(16),
        query("select b"),
        answer(),
    ]));
}

#[test]
fn a_request_with_a_hole_keeps_its_response() {
    let long = query("select a from t where b = 'long enough to be cut'");
    assert_snapshot!(lossy(&[
        half(&long, true),
        ClientGap(5),
        C(vec![b'x'; 23]),
        answer(),
        query("select b"),
        answer(),
    ]));
}

#[test]
fn a_request_of_which_the_end_is_lost_keeps_its_response() {
    let long = query("select a from t where b = 'long enough to be cut'");
    assert_snapshot!(lossy(&[
        half(&long, true),
        ClientGap(0),
        answer(),
        query("select b"),
        answer(),
    ]));
}

#[test]
fn a_lost_response_takes_no_other_with_it() {
    assert_snapshot!(lossy(&[
        query("select a"),
        ServerGap(one_row().len() as u64),
        query("select b"),
        answer(),
        query("select c"),
        answer(),
    ]));
}

#[test]
fn a_response_with_a_hole_is_marked() {
    let wide = [
        server::columns(&[("n", 23, 0)]),
        server::row(&[Some(&[7; 100])]),
        server::row(&[Some(b"1")]),
        server::complete("SELECT 2"),
        server::ready(b'I'),
    ]
    .concat();
    assert_snapshot!(lossy(&[
        query("select a"),
        S(wide[..60].to_vec()),
        ServerGap(20),
        S(wide[80..].to_vec()),
        query("select b"),
        S(wide[..60].to_vec()),
        ServerGap(90),
        S(wide[150..].to_vec()),
        query("select c"),
        answer(),
    ]));
}

#[test]
fn pipelined_requests_are_not_paired_by_guess() {
    assert_snapshot!(lossy(&[
        C([client::query("select a"), client::query("select b")].concat()),
        ServerGap(0),
        answer(),
        query("select c"),
        answer(),
    ]));
}

#[test]
fn joining_in_the_middle() {
    let (rows, _) = rows_of(
        true,
        &[
            query("select 1"),
            answer(),
            C([
                client::bind("", "before", &[], &[], &[]),
                client::execute("", 0),
                client::sync(),
            ]
            .concat()),
            S([
                server::plain(b'2'),
                server::complete("SELECT 0"),
                server::ready(b'T'),
            ]
            .concat()),
        ],
    );
    assert_snapshot!(show(&rows));
}

/// A request by the name of a statement, and its answer.
fn by_name(name: &str) -> [Step; 2] {
    let bind = client::bind("", name, &[], &[Some(b"7")], &[]);
    let asked = [bind, client::execute("", 0), client::sync()];
    let answered = [
        server::plain(b'2'),
        server::row(&[Some(b"7")]),
        server::complete("SELECT 1"),
        server::ready(b'I'),
    ];
    [C(asked.concat()), S(answered.concat())]
}

#[test]
fn what_was_prepared_before_is_learnt_from_the_server() {
    let (mut decoder, mut out) = (decoder(true), Vec::new());
    decoder.learn(&Known::default());
    let steps = [by_name("a"), by_name("b"), by_name("a"), by_name("b")].concat();
    for (n, step) in (1..).zip(&steps) {
        // The second request, which began at 30 and was answered at 40.
        if n == 5 {
            decoder.learn(&executed("select 'x', $1::int", 35, 36));
        }
        take(&mut decoder, step, Timestamp(10 * n), &mut out);
    }
    decoder.close("fin", Timestamp(100), &mut out);
    let learnt = out.iter().find(|row| row.kind == Kind::Prepare).unwrap();
    let sent = [
        client::parse("b", "select 'x', $1::int", &[]),
        client::sync(),
    ];
    assert_eq!(learnt.request.bytes, sent.concat());
    assert_eq!(learnt.started_at, Timestamp(29));
    let strangers = decoder.strangers();
    assert_eq!((strangers.learnt, strangers.lacking), (1, 1));
    assert_snapshot!(show(&out));
}

#[test]
fn a_request_that_the_server_may_have_meant_too_is_not_believed() {
    for (earliest, latest) in [(5, 15), (25, 35), (15, 16), (45, 46)] {
        let (mut decoder, mut out) = (decoder(true), Vec::new());
        let steps = [by_name("a"), by_name("b"), by_name("a")].concat();
        for (n, step) in (1..).zip(&steps) {
            decoder.learn(&executed("select 1", earliest, latest));
            take(&mut decoder, step, Timestamp(10 * n), &mut out);
        }
        assert_eq!(decoder.strangers().learnt, 0, "{earliest} to {latest}");
    }
}

#[test]
fn whose_a_session_is_is_learnt_only_where_it_was_not_seen() {
    let known = executed("select 1", 0, 0);
    let mut decoder = decoder(true);
    decoder.learn(&known);
    let mut out = Vec::new();
    take(&mut decoder, &query("select 1"), Timestamp(10), &mut out);
    take(&mut decoder, &answer(), Timestamp(20), &mut out);
    let user = |row: &Exchange| row.info.as_ref().unwrap().user.clone();
    assert_eq!(user(&out[0]).as_deref(), Some("ann"));

    let other = Known {
        user: Some("eve".into()),
        ..known
    };
    let (mut decoder, mut out) = (super::decoder(false), Vec::new());
    for step in login() {
        decoder.learn(&other);
        take(&mut decoder, &step, Timestamp(10), &mut out);
    }
    assert_eq!(user(&out[0]).as_deref(), Some("ann"));
}

#[test]
fn joining_within_a_response_waits_for_its_end() {
    let long = query("select a from t where b = 'long enough to be cut'");
    let (rows, _) = rows_of(
        true,
        &[
            half(&long, false),
            half(&answer(), false),
            query("select b"),
            answer(),
        ],
    );
    assert_snapshot!(show(&rows));
}

#[test]
fn joining_at_the_very_beginning_is_no_joining() {
    let steps = [login(), vec![query("select 1"), answer()]].concat();
    let (expected, _) = rows_of(false, &steps);
    assert_eq!(rows_of(true, &steps).0, expected);
}

#[test]
fn the_client_alone_is_heard() {
    let mut steps = vec![login()[0].clone(), C(client::password(b"hush"))];
    for _ in 0..100 {
        steps.push(query("select 1"));
    }
    let (rows, decoder) = rows_of(false, &steps);
    assert_eq!(rows.len(), 102);
    assert_eq!(
        show(&rows[..2]),
        "startup unanswered (login not completed)\n\
         query unanswered (no response seen) x1 `select ?`\n"
    );
    assert!(decoder.held() < 64 << 10);
}

#[test]
fn the_server_alone_gives_nothing() {
    let (rows, decoder) = rows_of(true, &[answer(), answer()]);
    assert_eq!(rows, []);
    assert_eq!(decoder.rejected(), Some("no PostgreSQL message"));
}

#[test]
fn what_is_kept_for_the_next_request_is_counted() {
    let (_, silent) = rows_of(true, &[]);
    let (_, spoken) = rows_of(true, &[query("select 1"), answer()]);
    assert!(spoken.held() >= silent.held() + size_of::<Unit>());
}

/// What a client asks, and the answer, which is of no other request.
fn marked(n: usize) -> [Step; 2] {
    let value = format!("<{n}>");
    let answered = [
        server::columns(&[("n", 25, 0)]),
        server::row(&[Some(value.as_bytes())]),
        server::complete("SELECT 1"),
        server::ready(b'I'),
    ];
    [query(&format!("select '{value}'")), S(answered.concat())]
}

fn mark(bytes: &[u8]) -> Option<&[u8]> {
    let from = bytes.iter().position(|byte| *byte == b'<')?;
    let len = bytes.get(from..)?.iter().position(|byte| *byte == b'>')?;
    bytes.get(from..from + len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Packets are lost in the login and after it, of a client that waits for each answer and,
    /// or not, for the login.
    #[test]
    fn no_answer_is_given_to_another_request(
        password: bool,
        waits in prop::bool::weighted(0.8),
        in_one in 1usize..5,
        lost in prop::collection::vec(prop::bool::weighted(0.2), 24),
    ) {
        let mut steps = vec![startup()];
        if password {
            steps.push(S(server::authentication(3, b"")));
            steps.push(C(client::password(b"hush")));
        }
        let first = if waits { steps.len() } else { 1 };
        steps.extend(admission().chunks(in_one).map(|part| S(part.concat())));
        let [asked, answered] = marked(0);
        steps.insert(if waits { steps.len() } else { first }, asked);
        steps.push(answered);
        steps.extend((1..5).flat_map(marked));
        let after_login = steps.len() - 9;
        let lost: Vec<_> = (0..steps.len()).map(|n| n > 0 && lost[n]).collect();
        for (step, lost) in steps.iter_mut().zip(&lost) {
            match step {
                C(bytes) if *lost => *step = ClientGap(bytes.len() as u64),
                S(bytes) if *lost => *step = ServerGap(bytes.len() as u64),
                _ => {}
            }
        }
        let (rows, _) = rows_of(false, &steps);
        let mut kept = 0;
        for row in &rows[1..] {
            let answer = row.response.as_ref().and_then(|response| mark(&response.body));
            if answer.is_some() {
                prop_assert_eq!(mark(&row.request.bytes), answer);
                kept += 1;
            }
        }
        let later = lost.iter().skip(after_login).any(|lost| *lost);
        if waits && !later {
            prop_assert!(kept >= 4);
            prop_assert_eq!(rows[0].status, recording::Status::Ok);
        }
    }
}

/// What a row is, beside the parameters of its own statement.
fn became(steps: &[Step]) -> Vec<(String, Option<u64>, bool)> {
    let (rows, _) = rows_of(false, &[login(), steps.to_vec()].concat());
    let requests = rows.iter().filter(|row| row.kind == Kind::Request);
    requests
        .map(|row| {
            let text = row.request.statement.as_ref().map(|it| it.text.to_string());
            let affected = row.response.as_ref().map(|response| response.affected);
            let gap = row.notes.contains(Notes::REQUEST_GAP);
            (text.unwrap_or_default(), affected, gap)
        })
        .collect()
}

#[test]
fn a_request_that_ends_with_a_gap_is_answered_next() {
    let lost = query("select 'long enough to be cut'");
    let C(bytes) = &lost else { unreachable!() };
    let tail = bytes.len() - bytes.len() / 2;
    let answered = |rows: u64| {
        let complete = server::complete(&format!("UPDATE {rows}"));
        S([complete, server::ready(b'I')].concat())
    };
    let steps = [
        half(&lost, true),
        ClientGap(tail as u64),
        answered(1),
        query("update b set c = d"),
        answered(2),
        query("update e set f = g"),
        answered(3),
    ];
    assert_eq!(
        became(&steps),
        [
            (String::new(), Some(1), true),
            ("update b set c = d".to_owned(), Some(2), false),
            ("update e set f = g".to_owned(), Some(3), false),
        ]
    );
}

#[test]
fn lost_data_of_a_copy_is_told() {
    for all in [false, true] {
        let mut steps = vec![query("copy t from stdin"), S(server::copy(b'G'))];
        if !all {
            steps.push(C(client::copy_data(b"1\n")));
        }
        steps.push(ClientGap(7));
        steps.push(C(client::copy_done()));
        steps.push(S([server::complete("COPY 2"), server::ready(b'I')].concat()));
        let copied = ("copy t from stdin".to_owned(), Some(2), true);
        assert_eq!(became(&steps), [copied], "all: {all}");
    }
}

#[test]
fn what_an_error_undoes_leaves_what_was_prepared_after_it() {
    let prepare = |text: &str| client::parse("", text, &[]);
    let run = || {
        [
            client::bind("", "", &[], &[], &[]),
            client::execute("", 0),
            client::sync(),
        ]
        .concat()
    };
    let failed = [server::error("ERROR", "42601", "no"), server::ready(b'I')].concat();
    let prepared = [server::plain(b'1'), server::ready(b'I')].concat();
    let done = [
        server::plain(b'2'),
        server::complete("SELECT 0"),
        server::ready(b'I'),
    ]
    .concat();
    let steps = [
        C([prepare("select a as old"), run()].concat()),
        S([server::plain(b'1'), done.clone()].concat()),
        C([prepare("selec bad"), run()].concat()),
        C([prepare("select b as new"), client::sync()].concat()),
        S(failed),
        S(prepared),
        C(run()),
        S(done),
    ];
    let last = became(&steps).pop().map(|(text, ..)| text);
    assert_eq!(last.as_deref(), Some("select b as new"));
}

/// A name that the client has not prepared is its error, unless it may have done so unseen.
#[test]
fn a_name_is_unknown_only_where_something_was_not_seen() {
    let failed = server::error("ERROR", "26000", "no such statement");
    let failed = S([failed, server::ready(b'I')].concat());
    let execute = [
        client::bind("", "s1", &[], &[], &[]),
        client::describe(b'S', "s2"),
        client::execute("", 0),
        client::sync(),
    ];
    for (before, unknown) in [
        (vec![], false),
        (vec![query("select 1"), answer()], false),
        (vec![ClientGap(40)], true),
    ] {
        let steps = [login(), before, vec![C(execute.concat()), failed.clone()]];
        let (rows, decoder) = rows_of(false, &steps.concat());
        let mut requests = rows.iter().filter(|row| row.kind == Kind::Request);
        let last = requests.next_back().unwrap();
        assert_eq!(last.notes.contains(Notes::UNKNOWN_STATEMENT), unknown);
        assert_eq!(decoder.strangers().lacking, u64::from(unknown));
    }
}
