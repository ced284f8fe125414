use std::sync::Arc;

use proptest::prelude::*;
use recording::{Kind, Request};

use super::*;

fn recorded(request: &str, response: &str) -> Exchange {
    Exchange {
        session: 1,
        seq: 1,
        request: Request {
            bytes: request.as_bytes().to_vec(),
            wire_len: request.len() as u64,
            ..Request::default()
        },
        response: Some(Response {
            body: response.as_bytes().to_vec(),
            ..Response::default()
        }),
        ..Exchange::new(Kind::Request, Timestamp(0))
    }
}

fn driver(login: Login) -> HttpDriver {
    let mut driver = HttpDriver::new(login, Limits::default());
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let opening = recorded("", "");
    driver.open(&opening, &mut out, &mut events).unwrap();
    assert_eq!(events, [DriverEvent::Opened(Response::default())]);
    assert!(out.is_empty());
    driver
}

fn to_target() -> Login {
    Login {
        authority: Some("new:8080".into()),
        ..Login::default()
    }
}

fn sent(driver: &mut HttpDriver, request: &Exchange) -> String {
    let mut out = Vec::new();
    driver.send(request, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// What comes back, and what is sent in answer.
fn received(driver: &mut HttpDriver, text: &str) -> (Vec<String>, String) {
    let (mut out, mut events) = (Vec::new(), Vec::new());
    for byte in text.as_bytes().chunks(1) {
        driver
            .receive(byte, Timestamp(1), &mut out, &mut events)
            .unwrap();
    }
    (told(events), String::from_utf8(out).unwrap())
}

fn told(events: Vec<DriverEvent>) -> Vec<String> {
    let tell = |event| match event {
        DriverEvent::Answered(response) => response.columns.unwrap().to_string(),
        DriverEvent::Unanswered(reason) => reason.to_owned(),
        DriverEvent::Reconnect { again } => match again {
            Again::Always => "reconnect and repeat".to_owned(),
            Again::IfServed => "reconnect and perhaps repeat".to_owned(),
            Again::Never => "reconnect".to_owned(),
        },
        other => format!("{other:?}"),
    };
    events.into_iter().map(tell).collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_are_addressed_to_the_target() {
    let mut driver = driver(to_target());
    let text = "POST http://old/a?u=http://old/ HTTP/1.1\r\nHOST:  old \r\nOrigin: http://old\r\n\
        Referer: http://other/\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(
        sent(&mut driver, &recorded(text, "")),
        "POST http://new:8080/a?u=http://old/ HTTP/1.1\r\nHOST:  new:8080 \r\n\
         Origin: http://new:8080\r\nReferer: http://other/\r\nContent-Length: 3\r\n\r\nabc"
    );
    assert_eq!(
        received(&mut driver, OK),
        (vec!["200".to_owned()], String::new())
    );
}

#[test]
fn a_target_of_any_bytes_is_sent_as_it_is() {
    let mut request = recorded("", "");
    request.request.bytes = b"GET /caf\xe9 HTTP/1.1\r\nHost: old\r\n\r\n".to_vec();
    let mut driver = driver(to_target());
    for _ in 0..2 {
        let mut out = Vec::new();
        driver.send(&request, &mut out).unwrap();
        assert_eq!(out, b"GET /caf\xe9 HTTP/1.1\r\nHost: new:8080\r\n\r\n");
    }
}

proptest! {
    #[test]
    fn a_request_is_sent_the_same_whatever_was_sent_before(
        endings in prop::sample::subsequence(
            vec![
                " HTTP/1.1\r\nHost: old\r\nReferer: http://old/a\r\n\r\n",
                " HTTP/1.1\r\nHost: old\r\nX-B: c\r\nContent-Length: 2\r\n\r\nab",
                " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                " HTTP/1.1\nHost: old\r\n\r\n",
                " HTTP/1.1\r\nCookie: a=b\r\n\r\n",
                " HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
                " HTTP/1.1\r\nHost: old\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
                " HTTP/1.1\r\nHost: old\r\nContent-Length: 1\r\n\r\n",
                " HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
                " HTTP/1.1\r\nHost: old\r\n",
            ],
            2,
        ),
        requests in prop::collection::vec(
            (
                prop::sample::select(vec!["GET", "GET", "HEAD", "put", "CONNECT", "P\u{e4}", ""]),
                "(http://old)?/[ab \u{e4}]{0,2}|\\*|//a| /",
                0..2usize,
                0..8u8,
            ),
            2..12,
        ),
        options in prop::sample::subsequence(
            vec![("set-header", "X-B: d"), ("rewrite-url", "/a=/b"), ("drop-header", "connection"), ("keep-host", ""),
                 ("drop-header", "expect"), ("set-header", "Expect: 100-continue")],
            0..4,
        ),
        learnt_at in 0..12usize,
    ) {
        let option = |(name, value)| (Arc::from(name), Arc::from(value));
        let mut login = Login { options: options.into_iter().map(option).collect(), ..to_target() };
        let mut one = driver(login.clone());
        for (at, (method, target, ending, odd)) in requests.into_iter().enumerate() {
            if at == learnt_at {
                login.learnt.teach(b"cookie a", b"b", b"new");
            }
            let continued = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
            let text = format!("{method} {target}{}", endings[ending]);
            let mut request = recorded(&text, if odd > 4 { continued } else { "" });
            one.reset();
            if odd == 0 {
                request.notes.add(Notes::SECRET_BLANKED);
            }
            let mut fresh = driver(login.clone());
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            let sent = one.send(&request, &mut out);
            prop_assert_eq!(format!("{sent:?}"), format!("{:?}", fresh.send(&request, &mut expected)));
            prop_assert_eq!(out, expected);
            let (last, only) = (one.under_way.back(), fresh.under_way.back());
            if sent.is_ok() {
                prop_assert_eq!(format!("{last:?}"), format!("{only:?}"));
            }
        }
    }
}

#[test]
fn fields_are_set_and_credentials_filled_in() {
    let option = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
    let login = Login {
        user: Some("u".into()),
        password: Some("p".into()),
        options: vec![
            option("set-header", "Host: mine"),
            option("set-header", "X-A: b"),
            option("keep-host", ""),
        ],
        ..to_target()
    };
    let mut driver = driver(login);
    let mut request = recorded(
        "GET / HTTP/1.1\r\nHost: old\r\nAuthorization: Basic ****\r\n\r\n",
        "",
    );
    request.notes.add(Notes::SECRET_BLANKED);
    assert_eq!(
        sent(&mut driver, &request),
        "GET / HTTP/1.1\r\nHost: mine\r\nAuthorization: Basic dTpw\r\nX-A: b\r\n\r\n"
    );
}

#[test]
fn a_field_is_set_once() {
    let fields = ["X-A: 1", "Cookie: c=d", "x-a: 2", "X-B: 3", "X-B: 4"];
    let set = |field: &str| (Arc::from("set-header"), Arc::from(field));
    let login = Login {
        user: Some("u".into()),
        options: fields.map(set).to_vec(),
        ..to_target()
    };
    let text = "GET / HTTP/1.1\r\nX-A: old\r\nCookie: a=b\r\nx-a: older\r\nCookie: b=c\r\n\
        Authorization: Basic ****\r\n\r\n";
    let mut request = recorded(text, "");
    request.notes.add(Notes::SECRET_BLANKED);
    assert_eq!(
        sent(&mut driver(login), &request),
        "GET / HTTP/1.1\r\nX-A: 2\r\nCookie: c=d\r\nAuthorization: Basic dTo=\r\nX-B: 4\r\n\r\n"
    );
}

#[test]
fn fields_and_cookies_are_left_out() {
    let option = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
    let options = [
        ("drop-header", "x-api-key"),
        ("drop-header", "Expect"),
        ("drop-header", "X-B"),
        ("set-header", "x-b: new"),
        ("drop-cookie", "ad"),
    ];
    let login = Login {
        options: options.map(|(name, value)| option(name, value)).to_vec(),
        ..to_target()
    };
    let mut driver = driver(login);
    let text = "POST / HTTP/1.1\r\nX-Api-Key: ***,\r\n ***\r\nHost: old\r\nExpect: 100-continue\r\n\
        Cookie: ad=1; a=b\r\nCookie: ad=2\r\nContent-Length: 3\r\nX-B: old\r\n\r\nabc";
    let continued = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let mut request = recorded(text, continued);
    request.notes.add(Notes::SECRET_BLANKED);
    assert_eq!(
        sent(&mut driver, &request),
        "POST / HTTP/1.1\r\nHost: new:8080\r\nCookie: a=b\r\nContent-Length: 3\r\nx-b: new\r\n\r\nabc"
    );
}

#[test]
fn cookies_of_the_target_are_sent_by_every_session() {
    let login = to_target();
    let mut first = driver(login.clone());
    let set = "HTTP/1.1 200 OK\r\nSet-Cookie: sid=old\r\n\r\n";
    sent(&mut first, &recorded("GET /login HTTP/1.1\r\n\r\n", set));
    let head = "HTTP/1.1 200 OK\r\nSet-Cookie: sid=newer; Path=/\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(received(&mut first, head).0, ["Learnt"]);
    assert_eq!(received(&mut first, ".").0, ["200"]);
    let mut second = driver(login);
    let request = recorded("GET / HTTP/1.1\r\nCookie: a=b; sid=old\r\n\r\n", "");
    assert_eq!(
        sent(&mut second, &request),
        "GET / HTTP/1.1\r\nCookie: a=b; sid=newer\r\n\r\n"
    );
    assert!(second.counts().contains(&("cookies mapped", 1)));
}

#[test]
fn a_header_that_repeats_a_cookie_goes_with_it() {
    let mut login = to_target();
    let learnt = &mut login.learnt;
    learnt.teach(
        b"cookie csrf",
        b"0123456789abcdef%3D",
        b"fedcba9876543210%3D",
    );
    learnt.teach(b"cookie lang", b"en", b"de");
    learnt.teach(b"cookie short", b"a1b2c3", b"x9y8z7");
    let mut driver = driver(login.clone());
    let cookies = "Cookie: csrf=0123456789abcdef%3D; lang=en; short=a1b2c3\r\n";
    let text = format!(
        "POST / HTTP/1.1\r\nX-Csrf: 0123456789abcdef%3D\r\nX-Xsrf: 0123456789abcdef=\r\n\
         X-CSRF-Token: a1b2c3\r\nX-Other: a1b2c3\r\nX-XSRF-Lang: en\r\n\
         Accept-Language: en\r\n{cookies}X-Part: a 0123456789abcdef=\r\n\r\n"
    );
    assert_eq!(
        sent(&mut driver, &recorded(&text, "")),
        "POST / HTTP/1.1\r\nX-Csrf: fedcba9876543210%3D\r\nX-Xsrf: fedcba9876543210=\r\n\
         X-CSRF-Token: x9y8z7\r\nX-Other: a1b2c3\r\nX-XSRF-Lang: en\r\n\
         Accept-Language: en\r\nCookie: csrf=fedcba9876543210%3D; lang=de; short=x9y8z7\r\n\
         X-Part: a 0123456789abcdef=\r\n\r\n"
    );
}

#[test]
fn a_body_waits_to_be_asked_for_where_it_did() {
    let text = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
    let head = text.strip_suffix("abc").unwrap();
    let asked = recorded(text, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    let get = recorded("GET / HTTP/1.1\r\n\r\n", "");
    let mut waits = driver(to_target());
    assert_eq!(sent(&mut waits, &asked), head);
    assert_eq!(sent(&mut waits, &get), "");
    let (events, out) = received(&mut waits, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(
        (events.len(), out.as_str()),
        (0, "abcGET / HTTP/1.1\r\n\r\n")
    );
    assert_eq!(received(&mut waits, OK).0, ["200"]);
    assert_eq!(received(&mut waits, OK).0, ["200"]);

    let mut silent = driver(to_target());
    assert_eq!(sent(&mut silent, &asked), head);
    assert!(silent.holds());
    let mut out = Vec::new();
    silent.insist(&mut out);
    assert_eq!((out.as_slice(), silent.holds()), (&b"abc"[..], false));
    assert_eq!(received(&mut silent, OK).0, ["200"]);

    let mut unasked = driver(to_target());
    sent(&mut unasked, &asked);
    assert_eq!(
        received(&mut unasked, OK),
        (vec!["200".to_owned()], "abc".to_owned())
    );
    let mut refused = driver(to_target());
    sent(&mut refused, &asked);
    let no = "HTTP/1.1 417 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (events, out) = received(&mut refused, no);
    assert_eq!(
        (events, out.as_str()),
        (
            vec!["417".to_owned(), "reconnect and repeat".to_owned()],
            ""
        )
    );
    assert_eq!(sent(&mut driver(to_target()), &recorded(text, OK)), text);
}

const UNASKED: &str = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";

#[test]
fn a_body_that_was_not_asked_for_is_not_sent() {
    let no = "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n";
    let unasked = recorded(UNASKED, no);
    let get = recorded("GET / HTTP/1.1\r\n\r\n", "");
    let mut refused = driver(to_target());
    assert_eq!(sent(&mut refused, &unasked), UNASKED);
    assert!(!refused.holds() && !refused.rests());
    let mut out = Vec::new();
    refused.insist(&mut out);
    assert!(out.is_empty(), "there is nothing to insist with");
    let behind = Err(DriverError::Unsupported(
        "request where a body may be asked for",
    ));
    assert_eq!(refused.send(&get, &mut out), behind);
    assert!(out.is_empty());
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    assert_eq!(received(&mut refused, early), (vec![], String::new()));
    assert_eq!(
        received(&mut refused, no),
        (vec!["417".to_owned()], String::new())
    );
    // Nobody else may find out whether the target waits for the body.
    assert!(!refused.rests());
    assert_eq!(sent(&mut refused, &get), "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(received(&mut refused, OK).0, ["200"]);
    assert!(refused.rests());

    let mut closes = driver(to_target());
    sent(&mut closes, &unasked);
    let close = no.replace("Content", "Connection: close\r\nContent");
    assert_eq!(
        received(&mut closes, &close).0,
        ["417", "reconnect and repeat"]
    );
}

#[test]
fn a_target_that_asks_for_a_body_that_was_not_sent_gets_none() {
    let unasked = recorded(UNASKED, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    let mut driver = driver(to_target());
    sent(&mut driver, &unasked);
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let text = format!("HTTP/1.1 100 Continue\r\n\r\n{OK}");
    driver
        .receive(text.as_bytes(), Timestamp(1), &mut out, &mut events)
        .unwrap();
    assert_eq!(told(events), [ASKED_FOR, "reconnect and repeat"]);
    assert!(out.is_empty());
    assert!(driver.counts().contains(&("bytes nobody asked for", 0)));
    let get = recorded("GET / HTTP/1.1\r\n\r\n", "");
    assert_eq!(sent(&mut driver, &get), "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(received(&mut driver, OK).0, ["200"]);
}

#[test]
fn what_was_broken_off_is_sent_as_far_and_nothing_after_it() {
    let refused = "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let get = recorded("GET / HTTP/1.1\r\n\r\n", "");
    for (fields, body, response) in [
        ("Content-Length: 9", "abc", refused.to_owned()),
        ("Content-Length: 9", "", refused.to_owned()),
        ("Transfer-Encoding: chunked", "2\r\na", refused.to_owned()),
        (
            "Expect: 100-continue\r\nContent-Length: 9",
            "",
            format!("{go_on}{refused}"),
        ),
    ] {
        let text = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n{body}");
        let mut request = recorded(&text, &response);
        request.reason = Some(BROKEN_OFF.into());
        let mut driver = driver(to_target());
        assert_eq!(sent(&mut driver, &request), text);
        assert!(!driver.holds());
        assert_eq!(
            received(&mut driver, &response).0,
            ["413", "reconnect and repeat"]
        );
        assert_eq!(sent(&mut driver, &get), "GET / HTTP/1.1\r\n\r\n");
    }
}

#[test]
fn without_its_question_a_request_lacks_its_body() {
    let option = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
    for (name, value) in [("drop-header", "expect"), ("set-header", "Expect: x")] {
        let login = Login {
            options: vec![option(name, value)],
            ..to_target()
        };
        let mut driver = driver(login);
        for _ in 0..2 {
            let mut out = b"before".to_vec();
            assert_eq!(
                driver.send(&recorded(UNASKED, ""), &mut out),
                Err(DriverError::Unsupported(NO_BODY))
            );
            assert_eq!(out, b"before");
        }
        assert!(driver.rests());
    }
}

#[test]
fn a_used_up_connection_is_made_anew() {
    let get = recorded("GET / HTTP/1.1\r\n\r\n", "");
    let mut driver = driver(to_target());
    sent(&mut driver, &get);
    let close = OK.replace("Content", "Connection: close\r\nContent");
    assert_eq!(
        received(&mut driver, &close).0,
        ["200", "reconnect and repeat"]
    );
    sent(&mut driver, &get);
    assert_eq!(
        received(&mut driver, "HTTP/1.0 200 OK\r\n\r\nto the end").0,
        [""; 0]
    );
    let mut events = Vec::new();
    driver.end(true, Timestamp(2), &mut events).unwrap();
    assert_eq!(told(events), ["200", "reconnect and repeat"]);
    let mut events = Vec::new();
    sent(&mut driver, &get);
    driver.end(true, Timestamp(3), &mut events).unwrap();
    assert_eq!(told(events), ["reconnect"]);
    // What broke off is not whole.
    let mut events = Vec::new();
    sent(&mut driver, &get);
    received(&mut driver, "HTTP/1.0 200 OK\r\n\r\nto the");
    driver.end(false, Timestamp(4), &mut events).unwrap();
    assert_eq!(told(events), ["reconnect"]);
}

#[test]
fn what_changes_nothing_may_be_asked_again_of_who_said_nothing() {
    let request = |method: &str| {
        let mut request = recorded(&format!("{method} / HTTP/1.1\r\n\r\n"), "");
        request.request.command = method.into();
        request
    };
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let perhaps = "reconnect and perhaps repeat";
    for (methods, came, expected) in [
        (&["GET"][..], "", perhaps),
        (&["GET", "HEAD"], "", perhaps),
        (&["GET", "POST"], "", "reconnect"),
        (&["DELETE"], "", "reconnect"),
        (&["GET"], "H", "reconnect"),
        (&["GET"], early, "reconnect"),
    ] {
        for in_order in [false, true] {
            let mut driver = driver(to_target());
            for method in methods {
                sent(&mut driver, &request(method));
            }
            received(&mut driver, came);
            let mut events = Vec::new();
            driver.end(in_order, Timestamp(2), &mut events).unwrap();
            assert_eq!(told(events), [expected], "{methods:?} {came}");
        }
    }
}

#[test]
fn what_was_not_captured_whole_is_not_sent() {
    let mut driver = driver(to_target());
    let mut cut = recorded("GET / HTTP/1.1\r\n\r\n", "");
    cut.notes.add(Notes::REQUEST_CUT);
    let mut secret = recorded("GET / HTTP/1.1\r\nX-Api-Key: ***\r\n\r\n", "");
    secret.notes.add(Notes::SECRET_BLANKED);
    let mut farewell = recorded("", "HTTP/1.1 408 Request Timeout\r\n\r\n");
    farewell.reason = Some("response without request".into());
    for (request, what) in [
        (farewell, "response without request"),
        (secret, NO_CREDENTIALS),
        (cut, "request not captured whole"),
        (recorded("GET /", ""), "request not captured whole"),
        (recorded("GET\r\n\r\n", ""), "malformed request"),
        (
            recorded("GET / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n", ""),
            "ambiguous framing",
        ),
        (recorded("CONNECT x:1 HTTP/1.1\r\n\r\n", ""), "CONNECT"),
    ] {
        let mut out = Vec::new();
        assert_eq!(
            driver.send(&request, &mut out),
            Err(DriverError::Unsupported(what))
        );
        assert!(out.is_empty());
    }
}

#[test]
fn a_violation_names_its_place() {
    let mut driver = driver(to_target());
    sent(&mut driver, &recorded("GET / HTTP/1.1\r\n\r\n", ""));
    let mut events = Vec::new();
    let error = driver.receive(b"SSH-2.0", Timestamp(1), &mut Vec::new(), &mut events);
    let what = "no status line".to_owned();
    assert_eq!(error, Err(DriverError::Violation { what, offset: 0 }));
    // The session goes on over another connection.
    driver.end(false, Timestamp(2), &mut events).unwrap();
    assert_eq!(told(events), ["reconnect"]);
    sent(&mut driver, &recorded("GET / HTTP/1.1\r\n\r\n", ""));
    assert_eq!(received(&mut driver, OK).0, ["200"]);
}

#[test]
fn who_leaves_has_what_had_come() {
    let mut driver = driver(to_target());
    sent(&mut driver, &recorded("GET /events HTTP/1.1\r\n\r\n", ""));
    assert_eq!(driver.leave(), None);
    let begun = "HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n";
    received(&mut driver, begun);
    let came = driver.leave().unwrap();
    assert_eq!(
        (came.body, came.error_code),
        (begun.into(), Some("500".into()))
    );
}
