use super::*;

#[test]
fn a_lost_response_leaves_the_others_paired() {
    let no = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    let lost = [
        client(GET),
        server(OK),
        client(GET),
        Gap(Server, 42),
        client(GET),
        server(no),
        client(GET),
        server(OK),
    ];
    let (_, rows) = decode(&lost);
    assert_eq!(
        told(&rows),
        [
            "GET ok 200 -",
            "GET unanswered - response lost in a gap",
            "GET error 404 -",
            "GET ok 200 -",
        ]
    );
    assert!(rows.get(2).unwrap().notes.contains(Notes::RESPONSE_GAP));
}

#[test]
fn what_comes_in_two_packets_after_a_gap_has_the_time_of_the_first() {
    let cut = |text: &'static str| text.split_at(9);
    let [(request, rest), (response, more)] = [cut(GET), cut(OK)];
    let pieces = [
        client(GET),
        server(OK),
        Gap(Client, 0),
        client(request),
        client(rest),
        server(OK),
        Gap(Server, 0),
        client(GET),
        server(response),
        server(more),
    ];
    let (_, rows) = decode(&pieces);
    let request = &rows.get(2).unwrap();
    assert_eq!(request.started_at, Timestamp(3));
    assert_eq!(request.request.last_byte_at, Timestamp(4));
    let mut responses = rows.iter().rev().filter_map(|row| row.response.as_ref());
    let response = responses.next().unwrap();
    assert_eq!(response.first_byte_at, Timestamp(8));
    assert_eq!(response.last_byte_at, Timestamp(9));
}

#[test]
fn a_gap_in_a_body_of_known_length_is_bridged() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let pieces = [
        client(GET),
        server(head),
        server("begin"),
        Gap(Server, 92),
        server("end"),
        client(GET),
        server(OK),
    ];
    let (_, rows) = decode(&pieces);
    assert_eq!(told(&rows), ["GET ok 200 -", "GET ok 200 -"]);
    let row = rows.get(1).unwrap();
    assert!(row.notes.contains(Notes::RESPONSE_GAP));
    let response = row.response.as_ref().unwrap();
    assert_eq!(response.wire_len, head.len() as u64 + 100);
    assert_eq!(response.body, format!("{head}begin").as_bytes());
    assert_eq!(response.rows_digest, 0);

    let exact = [
        client(GET),
        server(head),
        Gap(Server, 100),
        client(GET),
        server(OK),
    ];
    assert_eq!(told(&decode(&exact).1), ["GET ok 200 -", "GET ok 200 -"]);
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe";
    let within = [
        client(GET),
        server(chunks),
        Gap(Server, 2),
        server("o\r\n0\r\n\r\n"),
        client(GET),
        server(OK),
    ];
    assert_eq!(told(&decode(&within).1), ["GET ok 200 -", "GET ok 200 -"]);
    let beyond = [
        client(GET),
        server(chunks),
        Gap(Server, 3),
        server("\r\n0\r\n\r\n"),
        client(GET),
        server(OK),
    ];
    assert_eq!(
        told(&decode(&beyond).1),
        ["GET unanswered 200 response lost in a gap", "GET ok 200 -"]
    );
}

/// The end of a response is missed when the client goes on, which may be long after.
#[test]
fn what_was_lost_of_a_response_takes_no_time() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let (_, rows) = decode(&[
        client(GET),
        server(head),
        Silence(1000),
        Gap(Server, 100),
        client(GET),
        server(OK),
    ]);
    assert_eq!(told(&rows), ["GET ok 200 -", "GET ok 200 -"]);
    let response = rows.get(1).unwrap().response.as_ref().unwrap();
    assert_eq!(response.last_byte_at, Timestamp(1));
}

#[test]
fn a_gap_in_requests_is_marked() {
    let put = "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
    let (_, rows) = decode(&[
        client(put),
        Gap(Client, 4),
        client("hi"),
        server(OK),
        client(GET),
        server(OK),
    ]);
    assert_eq!(told(&rows), ["PUT ok 200 -", "GET ok 200 -"]);
    let row = rows.get(1).unwrap();
    assert!(row.notes.contains(Notes::REQUEST_GAP));
    assert_eq!(
        (row.request.wire_len, row.request.bytes.len()),
        (46, put.len())
    );

    let (_, rows) = decode(&[
        client(GET),
        server(OK),
        Gap(Client, 50),
        server(OK),
        client(GET),
        server(OK),
    ]);
    assert_eq!(
        told(&rows),
        [
            "GET ok 200 -",
            " ok 200 request lost in a gap",
            "GET ok 200 -"
        ]
    );
    let (_, rows) = decode(&[
        client(GET),
        server(OK),
        client("GET /a"),
        Gap(Client, 50),
        server(OK),
        client(GET),
        server(OK),
    ]);
    assert_eq!(
        told(&rows),
        ["GET ok 200 -", " ok 200 request incomplete", "GET ok 200 -"]
    );
}

#[test]
fn what_follows_a_gap_at_once_is_not_pipelined() {
    let mut decoder = HttpDecoder::new(opening(false), Limits::default());
    let mut out = Vec::new();
    let post = "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na";
    decoder.data(Client, post.as_bytes(), Timestamp(0), &mut out);
    // The end of the body is found to be lost when the next request is there, and its answer too.
    decoder.gap(Client, 4, Timestamp(1), &mut out);
    decoder.gap(Server, 40, Timestamp(1), &mut out);
    decoder.data(Client, GET.as_bytes(), Timestamp(1), &mut out);
    decoder.data(Server, OK.as_bytes(), Timestamp(2), &mut out);
    decoder.close("fin", Timestamp(3), &mut out);
    let expected = ["POST unanswered - response lost in a gap", "GET ok 200 -"];
    assert_eq!(told(&out), expected);
}

const NO: &str = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_response_after_gaps_on_both_sides_is_nobodys() {
    // The response, and the request after it: what follows answers the second one.
    let lost = [Gap(Server, 42), Gap(Client, 30)];
    for gaps in [lost, [lost[1], lost[0]]] {
        let [first, second] = gaps;
        let (_, rows) = decode(&[
            client(GET),
            first,
            second,
            server(NO),
            client(GET),
            server(OK),
        ]);
        let rows = told(&rows);
        assert_eq!(rows.len(), 3);
        assert_eq!(
            (rows[0].as_str(), rows[2].as_str()),
            ("GET unanswered - response lost in a gap", "GET ok 200 -")
        );
        assert!(rows[1].starts_with(" error 404 "), "{rows:?}");
    }
}

#[test]
fn what_was_asked_before_a_lost_request_is_answered() {
    let two = format!("{GET}{GET}");
    let (decoder, rows) = decode(&[
        client(&two),
        Gap(Client, 30),
        client(GET),
        server(OK),
        server(NO),
        server(OK),
        server(OK),
    ]);
    let stray = " ok 200 request lost in a gap";
    let doomed = "GET unanswered - pairing lost in a gap";
    assert_eq!(
        told(&rows),
        ["GET ok 200 -", "GET error 404 -", doomed, stray, stray]
    );
    assert_eq!(decoder.opaque(), None);
}

#[test]
fn a_client_that_pipelines_is_read_on_after_a_silence() {
    let two = format!("{GET}{GET}");
    let doomed = "GET unanswered - pairing lost in a gap";
    let stray = " ok 200 pairing lost in a gap";
    for (silence, last) in [
        (5_000_000_000, &["GET ok 200 -", "GET error 404 -"][..]),
        (
            4_000_000_000,
            &[doomed, doomed, stray, " error 404 pairing lost in a gap"],
        ),
    ] {
        let (decoder, rows) = decode(&[
            client(&two),
            server(OK),
            Gap(Server, 40),
            client(&two),
            server(OK),
            server(OK),
            Silence(silence),
            client(&two),
            server(OK),
            server(NO),
        ]);
        let lost = "GET unanswered - response lost in a gap";
        let first = ["GET ok 200 -", lost, doomed, doomed, stray, stray];
        assert_eq!(told(&rows), [&first[..], last].concat());
        assert_eq!(decoder.opaque(), None);
    }
}

/// What waited behind a loss was seen before what the server said meanwhile.
#[test]
fn what_comes_late_makes_no_silence() {
    let (_, rows) = decode(&[
        client(&format!("{GET}{GET}")),
        server(OK),
        Gap(Server, 40),
        Silence(6_000_000_000),
        server(OK),
        Silence(-6_000_000_000),
        Gap(Client, 40),
        Silence(5_500_000_000),
        client(GET),
        server(OK),
    ]);
    let lost = "pairing lost in a gap";
    assert_eq!(
        told(&rows)[2..],
        [
            format!(" ok 200 {lost}"),
            format!("GET unanswered - {lost}"),
            format!(" ok 200 {lost}"),
        ]
    );
}

#[test]
fn a_client_that_is_found_to_pipeline_is_lost_again() {
    let doomed = "GET unanswered - pairing lost in a gap";
    let (_, rows) = decode(&[
        client(GET),
        Gap(Server, 40),
        client(GET),
        client(GET),
        server(OK),
        server(OK),
        client(GET),
        server(OK),
    ]);
    let stray = " ok 200 pairing lost in a gap";
    assert_eq!(
        told(&rows),
        [
            "GET unanswered - response lost in a gap",
            doomed,
            doomed,
            stray,
            stray,
            doomed,
            stray,
        ]
    );
}

#[test]
fn a_client_met_while_it_pipelines_is_not_paired_by_one_answer() {
    let met = |pieces: &[Piece<'_>]| {
        let decoder = HttpDecoder::new(opening(true), Limits::default());
        told(&decode_with(decoder, pieces, "fin").1)
    };
    let (ask, answer) = (client(GET), server(OK));
    let doomed = "GET unanswered - pairing lost in a gap";
    let stray = " ok 200 pairing lost in a gap";
    let pipelined = met(&[ask, ask, ask, answer, ask, answer]);
    assert_eq!(pipelined, [doomed, doomed, doomed, stray, doomed, stray]);
    // A client that waited, for an answer that is lost.
    let waited = met(&[ask, ask, Gap(Server, 40), ask, answer]);
    assert_eq!(waited, [doomed, doomed, "GET ok 200 -"]);
}

#[test]
fn words_of_a_body_that_look_like_requests_are_no_client_that_asks_twice() {
    // Packets of a body whose head is lost, each with a request line and what is no request behind it.
    let words = "GET /fake HTTP/1.1\r\n\r\n  more words\r\n\r\n";
    let (ask, answer, other) = (client(GET), server(OK), server(NO));
    let (_, rows) = decode(&[
        ask,
        answer,
        Gap(Client, 1000),
        client(words),
        client(words),
        client(words),
        answer,
        ask,
        other,
        ask,
        answer,
    ]);
    let told = told(&rows);
    let last = told.len() - 2..;
    assert_eq!(
        told.get(last),
        Some(&["GET error 404 -".to_owned(), "GET ok 200 -".to_owned()][..]),
        "{told:?}"
    );
}

#[test]
fn a_request_is_found_only_when_the_server_was_heard_after_the_gap() {
    let upgrade = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    for request in [GET, upgrade] {
        // A lost request may still be under way.
        let (_, rows) = decode(&[
            client(GET),
            server(OK),
            Gap(Client, 40),
            client(request),
            server(OK),
            client(GET),
            server(NO),
        ]);
        assert_eq!(
            told(&rows),
            [
                "GET ok 200 -",
                "GET unanswered - pairing lost in a gap",
                " ok 200 request lost in a gap",
                "GET error 404 -"
            ]
        );
    }
}

#[test]
fn a_found_request_is_lost_again_with_the_next_one() {
    // Its response may have been in the first gap, and what comes may answer the lost request.
    let (_, rows) = decode(&[
        client(GET),
        Gap(Server, 80),
        client(GET),
        Gap(Client, 40),
        server(OK),
    ]);
    assert_eq!(
        told(&rows),
        [
            "GET unanswered - response lost in a gap",
            "GET unanswered - pairing lost in a gap",
            " ok 200 request lost in a gap",
        ]
    );
}

#[test]
fn an_answer_too_many_shows_that_the_client_pipelines() {
    let (_, rows) = decode(&[
        client(GET),
        Gap(Server, 40),
        client(GET),
        server(OK),
        server(OK),
        client(GET),
        server(OK),
    ]);
    let stray = " ok 200 pairing lost in a gap";
    assert_eq!(
        told(&rows),
        [
            "GET unanswered - response lost in a gap",
            "GET ok 200 -",
            stray,
            "GET unanswered - pairing lost in a gap",
            stray
        ]
    );
}

#[test]
fn what_is_no_message_after_a_gap_is_passed_over() {
    let (decoder, rows) = decode(&[
        client(GET),
        Gap(Server, 40),
        client(GET),
        server("the end of something"),
        client("GET / HTTP/1.1\r\nno header\r\n\r\n"),
        server(OK),
        client(GET),
        server(NO),
    ]);
    assert_eq!(
        told(&rows),
        [
            "GET unanswered - response lost in a gap",
            "GET unanswered - pairing lost in a gap",
            " unanswered - invalid field",
            " ok 200 request lost in a gap",
            "GET error 404 -",
        ]
    );
    assert_eq!(decoder.opaque(), None);
}

#[test]
fn a_lost_answer_to_an_upgrade_is_taken_for_a_no() {
    let upgrade = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let (decoder, rows) = decode(&[
        client(upgrade),
        Gap(Server, 40),
        client(GET),
        server(OK),
        Gap(Client, 40),
        server(OK),
        client(upgrade),
        server(NO),
    ]);
    assert_eq!(
        told(&rows),
        [
            "GET unanswered - response lost in a gap",
            "GET ok 200 -",
            " ok 200 request lost in a gap",
            "GET error 404 -",
        ]
    );
    assert_eq!(decoder.opaque(), None);
}

#[test]
fn a_lost_end_of_a_head_leaves_its_method_known() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    let (_, rows) = decode(&[
        client("HEAD /a"),
        Gap(Client, 50),
        server(head),
        client(GET),
        server(OK),
    ]);
    assert_eq!(told(&rows), [" ok 200 request incomplete", "GET ok 200 -"]);
    let (_, rows) = decode(&[
        client("HE"),
        Gap(Client, 50),
        server(head),
        client(GET),
        server(OK),
    ]);
    assert_eq!(
        told(&rows),
        [
            " unanswered - request incomplete",
            " ok 200 request lost in a gap",
            "GET ok 200 -"
        ]
    );
}

#[test]
fn a_session_is_met_in_its_middle() {
    let decoder = HttpDecoder::new(opening(true), Limits::default());
    let pieces = [
        client("=rest"),
        server("rest"),
        server(OK),
        client(GET),
        server(OK),
    ];
    let (_, rows) = decode_with(decoder, &pieces, "capture ended");
    assert!(rows.first().unwrap().notes.contains(Notes::MID_STREAM));
    assert_eq!(
        told(&rows),
        [" ok 200 request before capture", "GET ok 200 -"]
    );
}
