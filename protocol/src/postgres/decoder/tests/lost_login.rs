use insta::assert_snapshot;

use super::*;

fn rest_of_login_lost() -> Step {
    ServerGap(admission()[1..].concat().len() as u64)
}

fn shown(steps: &[Step]) -> String {
    show(&rows_of(false, steps).0)
}

#[test]
fn the_end_of_a_login_takes_no_request_with_it() {
    let steps = [
        startup(),
        S(admission()[0].clone()),
        rest_of_login_lost(),
        query("select a"),
        answer(),
        query("select b"),
        answer(),
    ];
    let expected = "\
        startup ok [response-gap]\n\
        query ok x1 `select a` rows=1 columns=n:23:0 idle\n\
        query ok x1 `select b` rows=1 columns=n:23:0 idle\n\
        close ok (fin)\n";
    assert_eq!(shown(&steps), expected);
    // All that the server said, and the client's password.
    let steps = [
        &[startup(), S(server::authentication(3, b"")), ClientGap(10)],
        &steps[2..],
    ]
    .concat();
    assert_eq!(shown(&steps), expected);
    let steps = [&[startup(), ServerGap(0)], &steps[4..]].concat();
    assert_eq!(shown(&steps), expected);
}

#[test]
fn a_setting_after_a_lost_login_is_not_taken_for_the_login() {
    let set = |reply: &[Vec<u8>]| {
        shown(&[
            startup(),
            ServerGap(9),
            query("set a = 1"),
            S(reply.concat()),
            query("select b"),
            answer(),
        ])
    };
    // Servers before 14 tell the parameter first.
    let parameter = server::parameter("a", "1");
    let [complete, ready] = [server::complete("SET"), server::ready(b'I')];
    for reply in [
        &[parameter.clone(), complete.clone(), ready.clone()],
        &[complete, parameter, ready],
    ] {
        assert_eq!(
            set(reply),
            "startup ok [response-gap]\n\
             query ok x1 `set a = ?` idle\n\
             query ok x1 `select b` rows=1 columns=n:23:0 idle\n\
             close ok (fin)\n"
        );
    }
}

#[test]
fn a_first_request_that_fails_after_a_lost_login() {
    let error = server::error("ERROR", "42601", "no");
    assert_snapshot!(shown(&[
        startup(),
        ServerGap(9),
        query("select a"),
        S([error, server::ready(b'I')].concat()),
        query("select b"),
        answer(),
    ]), @"
    startup ok [response-gap]
    query error x1 `select a` error=42601 idle
    query ok x1 `select b` rows=1 columns=n:23:0 idle
    close ok (fin)
    ");
}

#[test]
fn what_was_sent_without_waiting_for_a_lost_login_is_not_paired_by_guess() {
    let [_, parameter, key, ready] = admission();
    // The login goes on after the gap.
    assert_snapshot!(shown(&[
        startup(),
        ServerGap(9),
        query("select a"),
        S([parameter, key, ready.clone()].concat()),
        answer(),
        query("select b"),
        answer(),
    ]), @"
    startup ok [response-gap]
    query unanswered (gap) x1 `select a` [response-gap]
    query ok x1 `select b` rows=1 columns=n:23:0 idle
    close ok (fin)
    ");
    // Only its end is left.
    assert_snapshot!(shown(&[
        startup(),
        ServerGap(9),
        query("select a"),
        S(ready),
        answer(),
        query("select b"),
        answer(),
    ]), @"
    startup ok [response-gap]
    query unanswered (gap) x1 `select a` [response-gap]
    query ok x1 `select b` rows=1 columns=n:23:0 idle
    close ok (fin)
    ");
    // All of it is lost, and the answer too or not.
    assert_snapshot!(shown(&[
        startup(),
        query("select a"),
        ServerGap(9),
        query("select b"),
        answer(),
        query("select c"),
        answer(),
    ]), @"
    startup unanswered (login not completed) [response-gap]
    query unanswered (gap) x1 `select a` [response-gap]
    query unanswered (gap) x1 `select b` [response-gap]
    query ok x1 `select c` rows=1 columns=n:23:0 idle
    close ok (fin)
    ");
}

#[test]
fn requests_keep_their_order_where_an_answer_was_lost_before_the_next() {
    assert_snapshot!(lossy(&[
        C([client::query("select a"), client::query("select b")].concat()),
        S([one_row(), one_row()].concat()),
        query("select c"),
        ServerGap(0),
        query("select d"),
        answer(),
        query("select e"),
        answer(),
    ]), @"
    query ok x1 `select a` rows=1 columns=n:23:0 idle
    query ok x1 `select b` pipelined rows=1 columns=n:23:0 idle
    query unanswered (gap) x1 `select c` [response-gap]
    query unanswered (gap) x1 `select d` [response-gap]
    query ok x1 `select e` rows=1 columns=n:23:0 idle
    close ok (fin)
    ");
}

#[test]
fn a_mere_sync_after_a_lost_login_is_not_taken_for_its_end() {
    assert_snapshot!(shown(&[
        startup(),
        ServerGap(9),
        C(client::sync()),
        S(server::ready(b'I')),
        query("select b"),
        answer(),
    ]), @"
    startup ok [response-gap]
    extended unanswered (gap) x0 [response-gap]
    query ok x1 `select b` rows=1 columns=n:23:0 idle
    close ok (fin)
    ");
}

#[test]
fn a_login_of_which_nothing_followed_is_not_completed() {
    assert_snapshot!(shown(&[startup(), ServerGap(90)]), @"
    startup unanswered (login not completed) [response-gap]
    close ok (fin)
    ");
}

#[test]
fn a_hole_in_the_last_message_of_a_login() {
    let holed = |last: Vec<u8>, then: &[Step]| {
        let (head, tail) = (S(last[..5].to_vec()), S(vec![0; last.len() - 6]));
        shown(&[&[startup(), head, ServerGap(1), tail], then].concat())
    };
    let requests = [query("select a"), answer()];
    assert_snapshot!(holed(server::ready(b'I'), &requests), @"
    startup ok unknown [response-gap]
    query ok x1 `select a` rows=1 columns=n:23:0 idle
    close ok (fin)
    ");
    assert_snapshot!(holed(server::error("FATAL", "28P01", "no"), &[]), @"
    startup error error= unknown [response-gap]
    close ok (login failed)
    ");
}

#[test]
fn a_lost_answer_to_a_wish_to_encrypt() {
    let asked = [C(client::ssl_request()), ServerGap(1)];
    let declined = [&asked[..], &login(), &[query("select a"), answer()]].concat();
    assert_eq!(
        shown(&declined),
        "startup ok idle\n\
         query ok x1 `select a` rows=1 columns=n:23:0 idle\n\
         close ok (fin)\n"
    );
    let hello = C(vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 9]);
    let (_, decoder) = rows_of(false, &[&asked[..], &[hello]].concat());
    assert_eq!(decoder.opaque(), Some("encrypted (TLS)"));
}
