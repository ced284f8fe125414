use proptest::prelude::*;

use super::*;

fn request(text: &str) -> Result<RequestHead, Fault> {
    RequestHead::parse(text.as_bytes())
}

#[test]
fn a_head_ends_with_the_empty_line_wherever_it_is_split() {
    for text in [
        "GET / HTTP/1.1\r\nA: b\r\n\r\nrest",
        "GET / HTTP/1.1\nA: b\n\nrest",
    ] {
        let whole = text.len() - 4;
        for split in 0..=whole {
            let (first, second) = text.as_bytes().split_at(split);
            let mut buffer = HeadBuffer::default();
            let (used, done) = buffer.fill(first).unwrap();
            assert_eq!((used, done), (split, split == whole));
            if !done {
                assert_eq!(buffer.fill(second), Ok((whole - split, true)));
            }
            assert_eq!(buffer.bytes(), text.as_bytes().get(..whole).unwrap());
        }
    }
}

#[test]
fn a_head_is_bounded() {
    let mut buffer = HeadBuffer::default();
    assert_eq!(buffer.fill(&[b'a'; MAX_HEAD]), Ok((MAX_HEAD, false)));
    assert_eq!(buffer.fill(b"a"), Err("head too large"));
    let many = format!(
        "GET / HTTP/1.1\r\n{}\r\n",
        "a: b\r\n".repeat(MAX_FIELDS + 1)
    );
    assert_eq!(request(&many).unwrap_err(), "too many fields");
}

#[test]
fn a_request_is_read() {
    let read =
        request("PUT /a?b=c HTTP/1.0\r\nHost: x\r\nConnection: Keep-Alive, x\r\n\r\n").unwrap();
    assert_eq!(read.method(), "PUT");
    assert_eq!(read.target(), b"/a?b=c");
    assert_eq!(read.head.value("host"), Some(&b"x"[..]));
    assert_eq!(read.head.flaw, None);
    assert!(read.head.keeps_alive());
}

#[test]
fn a_target_may_be_of_any_bytes_and_the_rest_of_its_line_not() {
    let text = b"GET /caf\xe9?\xff\xc3\xa9 HTTP/1.1\r\nHost: \xe9\r\n\r\n";
    let read = RequestHead::parse(text).unwrap();
    assert_eq!(read.target(), b"/caf\xe9?\xff\xc3\xa9");
    assert_eq!(read.head.unchanged(), Some(&text[..]));
    assert_eq!(read.head.value("host"), Some(&b"\xe9"[..]));
    for odd in [
        &b"G\xe9T / HTTP/1.1\r\n\r\n"[..],
        b"GET / HTTP/1.\xe9\r\n\r\n",
        b"GET /\xe9\r\n\r\n",
        b"GET /\xe9 a HTTP/1.1\r\n\r\n",
    ] {
        RequestHead::parse(odd).unwrap_err();
    }
}

#[test]
fn lengths_are_certain_or_a_fault() {
    for (fields, length) in [
        ("", Ok((None, None))),
        ("Content-Length: 5\r\n", Ok((Some(5), None))),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Ok((Some(5), Some("repeated content-length"))),
        ),
        (
            "Content-Length: 5, 5\r\n",
            Ok((Some(5), Some("repeated content-length"))),
        ),
        (
            "Content-Length: 005\r\n",
            Ok((Some(5), Some("content-length with leading zeros"))),
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            Err("differing content-lengths"),
        ),
        ("Content-Length: 5, 6\r\n", Err("differing content-lengths")),
        ("Content-Length: -1\r\n", Err("invalid content-length")),
        ("Content-Length: +5\r\n", Err("invalid content-length")),
        ("Content-Length: 0x5\r\n", Err("invalid content-length")),
        ("Content-Length:\r\n", Err("invalid content-length")),
        (
            "Content-Length: 9223372036854775807\r\n",
            Ok((Some(i64::MAX as u64), None)),
        ),
        (
            "Content-Length: 9223372036854775808\r\n",
            Err("content-length overflow"),
        ),
        (
            "Content-Length: 18446744073709551615\r\n",
            Err("content-length overflow"),
        ),
    ] {
        let mut read = request(&format!("GET / HTTP/1.1\r\n{fields}\r\n")).unwrap();
        let found = read
            .head
            .content_length()
            .map(|length| (length, read.head.flaw));
        assert_eq!(found, length, "{fields}");
    }
}

#[test]
fn transfer_codings_are_certain_or_a_fault() {
    for (fields, transfer) in [
        ("", Ok(None)),
        (
            "Transfer-Encoding: Chunked\r\n",
            Ok(Some(Transfer::Chunked)),
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Ok(Some(Transfer::Chunked)),
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            Ok(Some(Transfer::Chunked)),
        ),
        ("Transfer-Encoding: identity\r\n", Ok(Some(Transfer::Other))),
        ("Transfer-Encoding: xchunked\r\n", Ok(Some(Transfer::Other))),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            Err("chunked is not the last transfer coding"),
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Err("chunked is not the last transfer coding"),
        ),
        ("Transfer-Encoding:\r\n chunked\r\n", Err(FOLDED)),
    ] {
        let read = request(&format!("GET / HTTP/1.1\r\n{fields}\r\n")).unwrap();
        assert_eq!(read.head.transfer(), transfer, "{fields}");
    }
}

#[test]
fn flaws_are_named() {
    let folded = request("GET / HTTP/1.1\r\nA: b\r\n\tc\r\nD: e\r\n\r\n").unwrap();
    assert_eq!(folded.head.flaw, Some("obsolete line folding"));
    assert_eq!(folded.head.value("a"), Some(&b"b  \tc"[..]));
    assert_eq!(folded.head.value("d"), Some(&b"e"[..]));
    let bare = request("GET / HTTP/1.1\nA: b\n\n").unwrap();
    assert_eq!(bare.head.flaw, Some("line without CR"));
    assert!(folded.head.is_violation() && !bare.head.is_violation());
    let text = "GET / HTTP/1.1\nContent-Length: 05\n\n";
    let mut both = request(text).unwrap();
    assert_eq!(both.head.content_length(), Ok(Some(5)));
    assert!(both.head.is_violation());
    let space = "HTTP/1.1 200 OK\r\nA : b\r\n\r\n";
    let space = ResponseHead::parse(space.as_bytes()).unwrap();
    assert_eq!(space.head.flaw, Some("white space before a colon"));
    assert_eq!(space.head.value("a"), Some(&b"b"[..]));
}

#[test]
fn faults_are_named() {
    for (text, name) in [
        (
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "white space before a colon",
        ),
        ("GET / HTTP/1.\r\nA: b\r\n\r\n", "invalid version"),
        ("PRI * HTTP/2.0\r\n\r\n", "invalid version"),
        ("GET\r\n\r\n", "invalid start line"),
        ("\u{c3} / HTTP/1.1\r\n\r\n", "invalid start line"),
        ("GET / HTTP/1.1\r\nA\r\n\r\n", "invalid field"),
        ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", "invalid field"),
    ] {
        assert_eq!(request(text).unwrap_err(), name, "{text:?}");
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "GET / HTTP/1.1",
        "HTTP/1.1 200 OK",
        "HTTP/1.0 404",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "Host: a",
        "A : b",
        " folded",
        "\tfolded",
        "Content-Length: 5",
        "Transfer-Encoding:",
        "chunked",
        "b",
        "\u{e9}",
        "\0",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Lines need be looked at one by one only where a head can't be parsed without.
    #[test]
    fn a_plain_head_is_read_as_line_by_line(pieces in prop::collection::vec(piece(), 0..16)) {
        let text = pieces.concat() + "\r\n\r\n";
        let end = EmptyLine::default().find(text.as_bytes()).unwrap_or_default();
        let bytes = &text.as_bytes()[..end];
        if let Ok(plain) = RequestHead::of(Lines::plain(bytes))
            && plain.head.is_plain()
        {
            let read = RequestHead::of(Lines::read(bytes));
            prop_assert_eq!(format!("{:?}", Ok::<_, Fault>(plain)), format!("{read:?}"));
        }
        if let Ok(plain) = ResponseHead::of(Lines::plain(bytes))
            && plain.head.is_plain()
        {
            let read = ResponseHead::of(Lines::read(bytes));
            prop_assert_eq!(format!("{:?}", Ok::<_, Fault>(plain)), format!("{read:?}"));
        }
    }
}
