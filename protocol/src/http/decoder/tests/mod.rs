mod early;
mod framing;
mod gaps;

use std::net::SocketAddr;

use proptest::prelude::*;
use recording::{Exchange, Kind, Notes, SessionInfo, Status, Timestamp};

use super::HttpDecoder;
use crate::Side::{Client, Server};
use crate::http::body::Body;
use crate::http::head::{EmptyLine, RequestHead};
use crate::{BROKEN_OFF, Decoder, Limits, Opening, Side};

fn opening(mid_stream: bool) -> Opening {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    Opening {
        at: Timestamp(-1),
        mid_stream,
        info: SessionInfo {
            protocol: "http".into(),
            client: address,
            server: address,
            user: None,
            database: None,
            application: None,
            backend: None,
        },
    }
}

#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    Data(Side, &'a [u8]),
    Gap(Side, u64),
    End(Side),
    /// Nanoseconds.
    Silence(i64),
}
use Piece::{Data, End, Gap, Silence};

fn client(text: &str) -> Piece<'_> {
    Data(Client, text.as_bytes())
}

fn server(text: &str) -> Piece<'_> {
    Data(Server, text.as_bytes())
}

/// A piece a nanosecond.
fn decode_with(
    mut decoder: HttpDecoder,
    pieces: &[Piece<'_>],
    close: &'static str,
) -> (HttpDecoder, Vec<Exchange>) {
    let mut out = Vec::new();
    let mut at = Timestamp(0);
    for piece in pieces {
        match piece {
            Data(side, bytes) => decoder.data(*side, bytes, at, &mut out),
            Gap(side, len) => decoder.gap(*side, *len, at, &mut out),
            End(side) => decoder.end(*side, at, &mut out),
            Silence(ns) => at.0 += ns,
        }
        at.0 += 1;
    }
    decoder.close(close, at, &mut out);
    (decoder, out)
}

fn decode(pieces: &[Piece<'_>]) -> (HttpDecoder, Vec<Exchange>) {
    decode_with(
        HttpDecoder::new(opening(false), Limits::default()),
        pieces,
        "fin",
    )
}

/// `command status code reason`, for the rows between the opening and the end.
fn told(rows: &[Exchange]) -> Vec<String> {
    assert_eq!(rows.first().map(|row| row.kind), Some(Kind::Open));
    assert_eq!(rows.last().map(|row| row.kind), Some(Kind::Close));
    rows.get(1..rows.len() - 1)
        .unwrap()
        .iter()
        .map(|row| {
            assert_eq!(row.kind, Kind::Request);
            let columns = row
                .response
                .as_ref()
                .and_then(|response| response.columns.clone());
            let code = columns
                .as_deref()
                .and_then(|columns| columns.split(' ').next());
            format!(
                "{} {} {} {}",
                row.request.command,
                row.status.name(),
                code.unwrap_or("-"),
                row.reason.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

const GET: &str = "GET /a/1 HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_conversation_becomes_rows() {
    let post = "POST /b HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nContent-Length: 3\r\n\r\nabc";
    let missing =
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ngone";
    let (decoder, rows) = decode(&[client(GET), server(OK), client(post), server(missing)]);
    assert_eq!(told(&rows), ["GET ok 200 -", "POST error 404 -"]);
    let [open, get, post_row, close] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!(open.started_at, Timestamp(-1));
    let info = open.info.as_ref().unwrap();
    assert_eq!(info.database.as_deref(), Some("x"));
    assert_eq!(
        get.request.statement.as_ref().unwrap().text.as_ref(),
        "GET /a/{n}"
    );
    assert_eq!(get.request.bytes, GET.as_bytes());
    assert_eq!(get.started_at, Timestamp(0));
    let response = get.response.as_ref().unwrap();
    assert_eq!(response.body, OK.as_bytes());
    assert_eq!(response.last_byte_at, Timestamp(1));
    assert_eq!(post_row.request.bytes, post.as_bytes());
    assert_eq!(
        post_row.response.as_ref().unwrap().error_code.as_deref(),
        Some("404")
    );
    assert_eq!(close.reason.as_deref(), Some("fin"));
    assert_eq!(
        rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert_eq!(decoder.opaque(), None);
    assert!((size_of::<HttpDecoder>()..4096).contains(&decoder.held()));
}

#[test]
fn a_conversation_is_the_same_wherever_it_is_split() {
    let asked = format!(
        "\r\n{GET}HEAD /h HTTP/1.0\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
         2;x\r\nab\r\n0\r\nT: u\r\n\r\n{GET}"
    );
    let answered = format!(
        "{OK}HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         HTTP/1.0 204 No Content\r\n\r\n"
    );
    let at = Timestamp(7);
    let run = |asked: &[&[u8]], answered: &[&[u8]]| {
        let mut decoder = HttpDecoder::new(opening(false), Limits::default());
        let mut out = Vec::new();
        for piece in asked {
            decoder.data(Client, piece, at, &mut out);
        }
        for piece in answered {
            decoder.data(Server, piece, at, &mut out);
        }
        decoder.close("fin", at, &mut out);
        out
    };
    let whole = run(&[asked.as_bytes()], &[answered.as_bytes()]);
    assert_eq!(
        told(&whole),
        [
            "GET ok 200 -",
            "HEAD ok 200 -",
            "POST ok 200 -",
            "GET ok 204 -"
        ]
    );
    let pipelined: Vec<bool> = whole.iter().map(|row| row.request.pipelined).collect();
    assert_eq!(pipelined, [false, false, true, true, true, false]);
    for split in 0..asked.len() {
        let (first, second) = asked.as_bytes().split_at(split);
        assert_eq!(
            run(&[first, second], &[answered.as_bytes()]),
            whole,
            "asked at {split}"
        );
    }
    for split in 0..answered.len() {
        let (first, second) = answered.as_bytes().split_at(split);
        assert_eq!(
            run(&[asked.as_bytes()], &[first, second]),
            whole,
            "answered at {split}"
        );
    }
}

#[test]
fn a_tunnel_is_handed_over() {
    let upgrade = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\u{1}\u{2}";
    let (decoder, rows) = decode(&[
        client(upgrade),
        server(switched),
        client("\u{81}"),
        server("x"),
    ]);
    assert_eq!(told(&rows), ["GET ok 101 -"]);
    assert_eq!(decoder.opaque(), Some("WebSocket"));

    let connect = "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n\u{16}\u{3}early";
    let yes = "HTTP/1.0 200 Connection Established\r\n\r\n";
    let (decoder, rows) = decode(&[client(connect), server(yes), server("\u{16}")]);
    assert_eq!(told(&rows), ["CONNECT ok 200 -"]);
    assert_eq!(decoder.opaque(), Some("CONNECT"));

    let refused = format!("CONNECT x:443 HTTP/1.1\r\n\r\n{GET}");
    let no = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let (decoder, rows) = decode(&[client(&refused), server(no), server(OK)]);
    assert_eq!(told(&rows), ["CONNECT error 403 -", "GET ok 200 -"]);
    assert_eq!(decoder.opaque(), None);
}

#[test]
fn what_follows_an_offer_to_upgrade_is_read_when_that_is_refused() {
    let offer = "POST / HTTP/1.1\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\n";
    let early = [
        client(offer),
        server(OK),
        client("abc"),
        client(GET),
        server(OK),
    ];
    assert_eq!(told(&decode(&early).1), ["POST ok 200 -", "GET ok 200 -"]);
    let offer = "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n";
    let pieces = [client(offer), client(GET), server(OK), server(OK)];
    let (_, rows) = decode(&pieces);
    assert_eq!(told(&rows), ["GET ok 200 -", "GET ok 200 -"]);
    let behind = rows.get(2).unwrap();
    assert!(behind.request.pipelined);
    assert_eq!(behind.started_at, Timestamp(1));
    let (_, rows) = decode(&[client(offer), client(GET)]);
    assert_eq!(told(&rows), ["GET unanswered - fin"; 2]);
}

#[test]
fn a_close_ends_only_what_it_may_end() {
    let open_end = "HTTP/1.1 200 OK\r\n\r\nto the end";
    let pieces = [client(GET), server(open_end)];
    assert_eq!(told(&decode(&pieces).1), ["GET ok 200 -"]);
    let reset = HttpDecoder::new(opening(false), Limits::default());
    let (_, rows) = decode_with(reset, &pieces, "rst");
    assert_eq!(told(&rows), ["GET unanswered 200 rst"]);
    for (side, how) in [(Client, "GET unanswered 200 rst"), (Server, "GET ok 200 -")] {
        let decoder = HttpDecoder::new(opening(false), Limits::default());
        let ended = [client(GET), server(open_end), End(side)];
        assert_eq!(told(&decode_with(decoder, &ended, "rst").1), [how]);
    }
    let cut = OK.get(..OK.len() - 1).unwrap();
    assert_eq!(
        told(&decode(&[client(GET), server(cut), End(Server)]).1),
        ["GET unanswered 200 fin"]
    );
    assert_eq!(
        told(&decode(&[client(GET), server(cut)]).1),
        ["GET unanswered 200 fin"]
    );
    assert_eq!(told(&decode(&[client(GET)]).1), ["GET unanswered - fin"]);
    assert_eq!(told(&decode(&[]).1), [""; 0]);
}

#[test]
fn responses_that_nobody_asked_for_are_told() {
    let three = format!("{OK}{OK}{OK}");
    let (_, rows) = decode(&[client(GET), server(&three), client(GET), server(OK)]);
    let stray = " ok 200 response without request";
    assert_eq!(told(&rows), ["GET ok 200 -", stray, stray, "GET ok 200 -"]);
    assert!(rows.get(2).unwrap().notes.is_empty(), "nothing is lost");
}

#[test]
fn other_protocols_are_rejected() {
    for (pieces, name) in [
        (
            &[client("*1\r\n$4\r\nPING\r\n"), server("+PONG\r\n")][..],
            "not HTTP",
        ),
        (&[server("SSH-2.0-x\r\n")], "not HTTP"),
        (&[client("hello\r\n\r\n")], "not HTTP"),
        (&[client("\u{16}\u{3}\u{1}")], "encrypted"),
        (&[client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")], "HTTP/2"),
    ] {
        let (decoder, rows) = decode(pieces);
        assert_eq!(decoder.rejected(), Some(name));
        assert_eq!(rows, []);
    }
    let decoder = HttpDecoder::new(opening(true), Limits::default());
    let sealed = client("\u{17}\u{3}\u{3}\0\u{20}");
    let (decoder, _) = decode_with(decoder, &[server("..."), sealed], "fin");
    assert_eq!(decoder.rejected(), Some("encrypted"));
    // What the server takes for HTTP is a bad request.
    let pieces = [client("\0\0 GET / HTTP/1.1\r\n\r\n"), server(OK)];
    assert_eq!(told(&decode(&pieces).1), [" ok 200 invalid start line"]);
}

#[test]
fn caps_cut_and_secrets_are_blanked() {
    let limits = Limits {
        request: 60,
        body: 0,
    };
    let text = "POST / HTTP/1.1\r\nAuthorization: Basic dTpw\r\nContent-Length: 50\r\n\r\n";
    let body = "x".repeat(50);
    let decoder = HttpDecoder::new(opening(false), limits);
    let (_, rows) = decode_with(decoder, &[client(text), client(&body), server(OK)], "fin");
    let row = rows.get(1).unwrap();
    assert!(row.notes.contains(Notes::REQUEST_CUT) && row.notes.contains(Notes::SECRET_BLANKED));
    assert_eq!(row.request.wire_len, text.len() as u64 + 50);
    assert!(
        row.request
            .bytes
            .starts_with(b"POST / HTTP/1.1\r\nAuthorization: Basic ****\r\n")
    );
    assert_eq!(row.request.bytes.len(), 60);
    let head = OK.strip_suffix("ok").unwrap();
    assert_eq!(row.response.as_ref().unwrap().body, head.as_bytes());
    assert_eq!(row.status, Status::Ok);
}

#[test]
fn requests_without_answers_are_bounded() {
    let many = GET.repeat(2000);
    let (decoder, rows) = decode(&[client(&many)]);
    assert_eq!(rows.len(), 1025 + 2);
    assert_eq!(decoder.opaque(), Some("too many requests under way"));
}

fn pieces() -> impl Strategy<Value = Vec<(u8, u8, Vec<u8>)>> {
    let texts = prop_oneof![
        Just(GET.as_bytes().to_vec()),
        Just(OK.as_bytes().to_vec()),
        Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n".to_vec()),
        Just(b"CONNECT x HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"HEAD / HTTP/1.1\r\nUpgrade: x\r\n\r\n".to_vec()),
        Just(b"Content-Length: 4\r\n\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec((any::<u8>(), any::<u8>(), texts), 0..40)
}

/// May a request end there? Of a response without one, there is nothing.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = EmptyLine::default().find(bytes) else {
        return bytes.is_empty();
    };
    let (head, mut rest) = bytes.split_at(end);
    let mut head = RequestHead::parse(head).unwrap();
    let mut body = Body::of_request(&mut head).unwrap();
    while !body.is_done() && !rest.is_empty() {
        let step = body.step(rest).unwrap();
        rest = rest.get(step.used..).unwrap();
    }
    body.is_done()
}

proptest! {
    #[test]
    fn anything_is_decoded_to_rows_in_order(pieces in pieces(), mid_stream: bool) {
        let limits = Limits { request: 100, body: 50 };
        let mut decoder = HttpDecoder::new(opening(mid_stream), limits);
        let mut out = Vec::new();
        let mut at = Timestamp(1);
        for (how, cut, bytes) in &pieces {
            let side = if how & 1 == 0 { Client } else { Server };
            let bytes = bytes.get(..bytes.len().min(usize::from(*cut))).unwrap();
            match how % 8 {
                5 if *cut == 0 => decoder.end(side, at, &mut out),
                6 | 7 => decoder.gap(side, u64::from(*cut) % 60, at, &mut out),
                _ => decoder.data(side, bytes, at, &mut out),
            }
            prop_assert!(decoder.held() <= 64 << 10);
            at.0 += i64::from(how % 3);
        }
        decoder.close("fin", at, &mut out);
        if decoder.rejected().is_some() {
            prop_assert!(out.is_empty());
            return Ok(());
        }
        for (seq, row) in out.iter().enumerate() {
            prop_assert_eq!(row.seq as usize, seq);
            let kind = match seq {
                0 => Kind::Open,
                _ if seq == out.len() - 1 => Kind::Close,
                _ => Kind::Request,
            };
            prop_assert_eq!(row.kind, kind);
            if row.status == Status::Unanswered {
                prop_assert!(row.reason.is_some());
            }
            let noted = [Notes::REQUEST_GAP, Notes::REQUEST_CUT, Notes::VIOLATION];
            if !noted.iter().any(|note| row.notes.contains(*note)) && !is_whole(&row.request.bytes) {
                let said = row.reason.as_deref().unwrap_or_default();
                prop_assert!(["body not asked for", BROKEN_OFF].contains(&said), "{:?}", row);
            }
            if row.reason.as_deref() == Some("body not asked for") {
                prop_assert!(row.request.bytes.ends_with(b"\n\r\n"), "{:?}", row);
                prop_assert!(!row.notes.contains(Notes::REQUEST_GAP), "{:?}", row);
            }
            if let Some(response) = &row.response {
                prop_assert!(response.first_byte_at.0 > 0, "{:?}", row);
                prop_assert!(response.last_byte_at >= response.first_byte_at, "{:?}", row);
            }
        }
    }
}
