use super::*;

#[test]
fn ambiguous_framing_is_named_and_ends_the_session() {
    for (fields, name) in [
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "differing content-lengths",
        ),
        ("Content-Length: -1\r\n", "invalid content-length"),
        (
            "Content-Length: 18446744073709551615\r\n",
            "content-length overflow",
        ),
        (
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "content-length with transfer-encoding",
        ),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            "chunked is not the last transfer coding",
        ),
        (
            "Transfer-Encoding:\r\n chunked\r\n",
            "folded content-length or transfer-encoding",
        ),
        (
            "Content-Length:\r\n 5\r\n",
            "folded content-length or transfer-encoding",
        ),
        ("Content-Length : 5\r\n", "white space before a colon"),
    ] {
        let text = format!("POST / HTTP/1.1\r\n{fields}\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n");
        let (decoder, rows) = decode(&[client(&text), server(OK), client(GET), server(OK)]);
        assert_eq!(told(&rows).len(), 1, "{fields}");
        assert!(
            told(&rows)
                .first()
                .unwrap()
                .ends_with(&format!("ok 200 {name}")),
            "{rows:?}"
        );
        assert!(rows.get(1).unwrap().notes.contains(Notes::VIOLATION));
        assert_eq!(decoder.opaque(), Some(name));
    }
    let chunk = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\nGET";
    let (decoder, rows) = decode(&[client(chunk)]);
    assert_eq!(told(&rows), ["POST unanswered - chunk size overflow"]);
    assert_eq!(decoder.opaque(), None);
}

#[test]
fn what_is_odd_but_certain_is_flagged_and_read_on() {
    let odd = "POST / HTTP/1.1\r\nContent-Length: 003\r\n\r\nabcGET / HTTP/1.1\nA: b\n\n";
    let (_, rows) = decode(&[client(odd), server(OK), server(OK)]);
    assert_eq!(
        told(&rows),
        [
            "POST ok 200 content-length with leading zeros",
            "GET ok 200 line without CR"
        ]
    );
    let violations = rows.iter().map(|row| row.notes.contains(Notes::VIOLATION));
    let violations: Vec<bool> = violations.collect();
    assert_eq!(violations, [false, true, false, false]);
}

#[test]
fn what_is_no_response_has_no_times() {
    let (decoder, rows) = decode(&[client(GET), server(OK), client(GET), server("\r\n")]);
    assert_eq!(
        told(&rows),
        ["GET ok 200 -", "GET unanswered - no status line"]
    );
    assert_eq!(rows.get(2).unwrap().response, None);
    assert_eq!(decoder.opaque(), Some("no status line"));
}

#[test]
fn a_bad_response_ends_the_session() {
    let bad = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let (decoder, rows) = decode(&[
        client(GET),
        server(OK),
        client(GET),
        server(bad),
        client(GET),
    ]);
    assert_eq!(
        told(&rows),
        ["GET ok 200 -", "GET unanswered - differing content-lengths"]
    );
    assert!(rows.get(2).unwrap().notes.contains(Notes::VIOLATION));
    assert_eq!(decoder.opaque(), Some("differing content-lengths"));
}
