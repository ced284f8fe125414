//! Requests that are answered before their end.

use super::*;

#[test]
fn an_expected_continue_is_one_exchange() {
    let head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let pieces = [
        client(head),
        server("HTTP/1.1 100 Continue\r\n\r\n"),
        client("abc"),
        server(OK),
    ];
    let (_, rows) = decode(&pieces);
    assert_eq!(told(&rows), ["POST ok 200 -"]);
    let response = rows.get(1).unwrap().response.clone().unwrap();
    assert_eq!(response.first_byte_at, Timestamp(3));
    // Answered before it was whole.
    let early = [
        client(head),
        server(OK),
        client("abc"),
        client(GET),
        server(OK),
    ];
    assert_eq!(told(&decode(&early).1), ["POST ok 200 -", "GET ok 200 -"]);
    // Asked again, without the question: RFC 9110, section 10.1.1.
    let no = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let again = "POST / HTTP/1.1\r\nAuthorization: Basic dTpw\r\nContent-Length: 3\r\n\r\nabc";
    let refused = [client(head), server(no), client(again), server(OK)];
    let (_, rows) = decode(&refused);
    assert_eq!(
        told(&rows),
        ["POST error 417 body not asked for", "POST ok 200 -"]
    );
    assert!(rows.get(1).unwrap().notes.is_empty());
    assert_eq!(rows.get(1).unwrap().request.bytes, head.as_bytes());
    let sent = &rows.get(2).unwrap().request.bytes;
    assert!(sent.ends_with(b"Basic ****\r\nContent-Length: 3\r\n\r\nabc"));
    // However it is split.
    for split in [1, 3, 7] {
        let (first, rest) = GET.split_at(split);
        let split = [
            client(head),
            server(no),
            client(first),
            client(rest),
            server(OK),
            client(GET),
            server(OK),
        ];
        let (_, rows) = decode(&split);
        assert_eq!(
            told(&rows),
            [
                "POST error 417 body not asked for",
                "GET ok 200 -",
                "GET ok 200 -"
            ]
        );
        assert_eq!(rows.get(2).unwrap().request.bytes, GET.as_bytes());
    }
    // A body that begins like a request, and is none.
    let body = [
        client(head),
        server(OK),
        client("GE"),
        client("T"),
        client(GET),
        server(OK),
    ];
    let (_, rows) = decode(&body);
    assert_eq!(told(&rows), ["POST ok 200 -", "GET ok 200 -"]);
    let cut = [client(head), server(OK), client("GE")];
    let (_, rows) = decode(&cut);
    assert_eq!(told(&rows), ["POST ok 200 request broken off"]);
    assert!(rows.get(1).unwrap().request.bytes.ends_with(b"\r\n\r\nGE"));
    assert!(rows.get(1).unwrap().notes.is_empty());
}

#[test]
fn a_request_that_is_answered_before_its_end_ends_where_its_client_stops() {
    let head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let odd = head.replacen("\r\n", "\n", 1);
    let plain = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n";
    let no = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let broken = "HTTP/1.1 417 No\r\nContent-Length: x\r\n\r\n";
    let begun = "HTTP/1.1 417 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno";
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let chunked = plain.replace("Content-Length: 3", "Transfer-Encoding: chunked");
    let incomplete = "POST error 417 request incomplete";
    let broken_off = "POST error 417 request broken off";
    for (pieces, close, expected, is_gap) in [
        (
            &[client(head), server(early), server(no)][..],
            "fin",
            "POST error 417 body not asked for",
            false,
        ),
        (
            &[client(head), server(OK)],
            "rst",
            "POST ok 200 body not asked for",
            false,
        ),
        (
            &[client(&odd), server(no)],
            "fin",
            "POST error 417 line without CR",
            false,
        ),
        // It was asked for, or not waited with: the client stopped sending it.
        (
            &[client(head), server(go_on), server(no)],
            "fin",
            broken_off,
            false,
        ),
        (
            &[client(head), client("a"), server(no)],
            "rst",
            broken_off,
            false,
        ),
        (
            &[client(plain), server(no), client("a")],
            "fin",
            broken_off,
            false,
        ),
        (
            &[client(&chunked), client("2\r\na"), server(no)],
            "fin",
            broken_off,
            false,
        ),
        // The answer is to what came after the end, or before it.
        (
            &[client(plain), End(Client), server(no)],
            "fin",
            incomplete,
            true,
        ),
        (
            &[
                client(plain),
                server(begun),
                End(Client),
                server("\r\n0\r\n\r\n"),
            ],
            "fin",
            broken_off,
            false,
        ),
        (
            &[client(plain), server(no), End(Client), End(Server)],
            "fin",
            broken_off,
            false,
        ),
        // The body may yet have come.
        (&[client(plain), server(no)], "idle", incomplete, true),
        (
            &[client(head), server(no)],
            "capture ended",
            incomplete,
            true,
        ),
        // Some of it is lost, or the answer.
        (
            &[client(head), Gap(Client, 1), server(no)],
            "fin",
            incomplete,
            true,
        ),
        (
            &[client(plain), server(no), Gap(Client, 1)],
            "fin",
            incomplete,
            true,
        ),
        (
            &[client(head), server(go_on)],
            "fin",
            "POST unanswered - fin",
            true,
        ),
        (
            &[client(head), client("a"), server(broken)],
            "fin",
            "POST unanswered - invalid content-length",
            true,
        ),
        (
            &[client(head), server(begun), Gap(Server, 99)],
            "fin",
            "POST unanswered 417 response lost in a gap",
            true,
        ),
        (
            &[client(head)],
            "fin",
            "POST unanswered - request incomplete",
            true,
        ),
    ] {
        let decoder = HttpDecoder::new(opening(false), Limits::default());
        let (_, rows) = decode_with(decoder, pieces, close);
        assert_eq!(told(&rows), [expected], "{pieces:?}");
        let noted = rows.get(1).unwrap().notes.contains(Notes::REQUEST_GAP);
        assert_eq!(noted, is_gap, "{pieces:?}");
    }
    // Another request in place of a body that was asked for.
    let pieces = [
        client(head),
        server(go_on),
        server(no),
        client(GET),
        server(OK),
    ];
    let (_, rows) = decode(&pieces);
    assert_eq!(told(&rows), [broken_off, "GET ok 200 -"]);
    assert!(rows.get(1).unwrap().notes.is_empty());
}

#[test]
fn what_is_odd_in_a_head_hides_no_missing_body() {
    let head = "POST / HTTP/1.1\nContent-Length: 3\r\n\r\na";
    let (_, rows) = decode(&[client(head), server(OK)]);
    assert_eq!(told(&rows), ["POST ok 200 request broken off"]);
    let decoder = HttpDecoder::new(opening(false), Limits::default());
    let (_, rows) = decode_with(decoder, &[client(head), server(OK)], "idle");
    assert_eq!(told(&rows), ["POST ok 200 line without CR"]);
    assert!(rows.get(1).unwrap().notes.contains(Notes::REQUEST_GAP));
}
