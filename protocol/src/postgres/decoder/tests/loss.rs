use insta::assert_snapshot;

use super::*;

fn query(text: &str) -> Step {
    C(client::query(text))
}

fn answer() -> Step {
    S(one_row())
}

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
