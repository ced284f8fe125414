use recording::{Kind, Request, Response, Transaction};

use super::*;
use crate::postgres::messages::Messages;
use crate::postgres::testing::{client, server};

pub(in crate::postgres) fn exchange(kind: Kind, bytes: &[u8]) -> Exchange {
    Exchange {
        session: 1,
        request: Request {
            bytes: bytes.to_vec(),
            wire_len: bytes.len() as u64,
            ..Request::default()
        },
        ..Exchange::new(kind, Timestamp(0))
    }
}

pub(super) fn opening(bytes: &[u8]) -> Exchange {
    exchange(Kind::Open, bytes)
}

fn startup() -> Exchange {
    let mut bytes = Vec::new();
    bytes.packet(3 << 16, |out| out.extend_from_slice(b"user\0alice\0\0"));
    opening(&bytes)
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.message(tag, |out| out.extend_from_slice(body));
    bytes
}

fn authentication(method: u32, body: &[u8]) -> Vec<u8> {
    message(b'R', &[&method.to_be_bytes(), body].concat())
}

fn welcome() -> Vec<u8> {
    [
        authentication(0, b""),
        message(b'S', b"server_version\x0018.0\0"),
        message(b'K', b"\0\0\0\x07\x01\x02\x03\x04"),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn error(severity: &str, code: &str) -> Vec<u8> {
    message(
        b'E',
        format!("S{severity}\0V{severity}\0C{code}\0Mno\0\0").as_bytes(),
    )
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

fn with_password(password: Option<&str>) -> PostgresDriver {
    let login = Login {
        password: password.map(Arc::from),
        ..Login::default()
    };
    PostgresDriver::new(login, Limits::default())
}

fn receive(
    driver: &mut PostgresDriver,
    bytes: &[u8],
) -> Result<(Vec<u8>, Vec<DriverEvent>), DriverError> {
    let (mut out, mut events) = (Vec::new(), Vec::new());
    driver.receive(bytes, Timestamp(1), &mut out, &mut events)?;
    Ok((out, events))
}

fn ready() -> PostgresDriver {
    let mut driver = with_password(None);
    driver
        .open(&startup(), &mut Vec::new(), &mut Vec::new())
        .unwrap();
    receive(&mut driver, &welcome()).unwrap();
    driver
}

#[test]
fn a_transaction_is_rolled_back_in_the_place_of_a_commit() {
    let mut driver = ready();
    let mut out = Vec::new();
    let commit = exchange(Kind::Request, &query("commit"));
    driver.roll_back(&commit, &mut out).unwrap();
    assert_eq!(out, query("ROLLBACK"));
}

/// What the driver answered to a password challenge.
fn challenged(password: Option<&str>, challenge: &[u8]) -> Result<Vec<u8>, DriverError> {
    let mut driver = with_password(password);
    driver
        .open(&startup(), &mut Vec::new(), &mut Vec::new())
        .unwrap();
    receive(&mut driver, challenge).map(|(out, _)| out)
}

fn answer(events: &[DriverEvent]) -> &Response {
    match events {
        [DriverEvent::Answered(response)] => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn logs_in() {
    let mut driver = with_password(None);
    let mut out = Vec::new();
    assert_eq!(driver.cancel(), None);
    driver.open(&startup(), &mut out, &mut Vec::new()).unwrap();
    assert_eq!(out, b"\0\0\0\x23\0\x03\0\0database\0alice\0user\0alice\0\0");
    let (out, events) = receive(&mut driver, &welcome()).unwrap();
    assert!(out.is_empty());
    let [DriverEvent::Opened(response)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(response.transaction, Transaction::Idle);
    assert_eq!(response.wire_len, welcome().len() as u64);
    assert_eq!(
        driver.cancel().unwrap(),
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\x01\x02\x03\x04"
    );
    let mut out = Vec::new();
    driver.goodbye(&mut out);
    assert_eq!(out, b"X\0\0\0\x04");
    assert_eq!(driver.cancel(), None);
}

#[test]
fn answers_challenges() {
    assert_eq!(
        challenged(Some("secret"), &authentication(3, b"")).unwrap(),
        message(b'p', b"secret\0")
    );
    assert_eq!(
        challenged(Some("secret"), &authentication(5, b"salt")).unwrap(),
        message(
            b'p',
            format!("{}\0", md5_response("alice", "secret", *b"salt")).as_bytes()
        )
    );
    let both = authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    let out = challenged(Some("secret"), &both).unwrap();
    let (_, first) = Messages::new(&out).next().unwrap();
    assert!(first[5..].starts_with(b"SCRAM-SHA-256\0\0\0\0\x28n,,n=,r="));
}

#[test]
fn says_what_it_can_not_answer() {
    for (challenge, error) in [
        (authentication(7, b""), "GSSAPI"),
        (authentication(99, b""), "authentication method 99"),
        (authentication(10, b"A\0B\0\0"), "A or B"),
    ] {
        assert_eq!(
            challenged(Some("secret"), &challenge),
            Err(DriverError::Authentication(error.to_owned()))
        );
    }
    assert_eq!(
        challenged(None, &authentication(3, b"")),
        Err(DriverError::NoPassword {
            user: "alice".to_owned(),
            variable: "PGPASSWORD",
            file: ".pgpass"
        })
    );
}

#[test]
fn a_server_must_prove_that_it_knows_the_password() {
    let mut driver = with_password(Some("secret"));
    driver
        .open(&startup(), &mut Vec::new(), &mut Vec::new())
        .unwrap();
    let sasl = authentication(10, b"SCRAM-SHA-256\0\0");
    let (out, _) = receive(&mut driver, &sasl).unwrap();
    let first = String::from_utf8(out).unwrap();
    let nonce = first.rsplit_once("r=").unwrap().1;
    let challenge = format!("r={nonce}xyz,s=AAAA,i=2");
    let (out, _) = receive(&mut driver, &authentication(11, challenge.as_bytes())).unwrap();
    assert!(out.starts_with(b"p"));
    let error = receive(&mut driver, &authentication(12, b"v=AAAA")).unwrap_err();
    assert!(error.to_string().contains("signature"), "{error}");
    let error = receive(&mut driver, &authentication(0, b"")).unwrap_err();
    assert!(error.to_string().contains("without"), "{error}");
}

#[test]
fn asks_for_tls_first() {
    let tls = || {
        let login = Login {
            tls: true,
            ..Login::default()
        };
        let mut driver = PostgresDriver::new(login, Limits::default());
        let mut out = Vec::new();
        driver.open(&startup(), &mut out, &mut Vec::new()).unwrap();
        assert_eq!(out, b"\0\0\0\x08\x04\xd2\x16\x2f");
        driver
    };
    let mut driver = tls();
    let (_, events) = receive(&mut driver, b"S").unwrap();
    assert_eq!(events, [DriverEvent::StartTls]);
    let mut out = Vec::new();
    driver.tls_ready(&mut out, &mut Vec::new()).unwrap();
    assert!(out.ends_with(b"user\0alice\0\0"));
    receive(&mut driver, &welcome()).unwrap();
    assert!(driver.cancel().is_some());

    assert_eq!(receive(&mut tls(), b"N"), Err(DriverError::TlsRefused));
    assert!(receive(&mut tls(), b"SR\0").is_err());
}

#[test]
fn a_refusal_has_its_code() {
    let mut driver = with_password(None);
    driver
        .open(&startup(), &mut Vec::new(), &mut Vec::new())
        .unwrap();
    let (_, events) = receive(&mut driver, &error("FATAL", "3D000")).unwrap();
    let [DriverEvent::Refused { code, message, .. }] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!((&**code, message.as_str()), ("3D000", "no"));
}

/// Two requests, one of them a COPY, asynchronous messages and an error between.
#[test]
fn split_at_every_offset_is_the_same() {
    let copy = [
        query("copy t from stdin"),
        message(b'd', b"1\n"),
        message(b'c', b""),
    ]
    .concat();
    let script = [
        welcome(),
        message(b'A', b"\0\0\0\x01channel\0payload\0"),
        message(b'D', b"\0\x01\0\0\0\x011"),
        message(b'C', b"SELECT 1\0"),
        message(b'N', b"SWARNING\0C01000\0\0"),
        message(b'Z', b"I"),
        message(b'G', b"\0\0\0"),
        message(b'S', b"TimeZone\0UTC\0"),
        error("ERROR", "23505"),
        message(b'Z', b"E"),
        message(b'A', b"\0\0\0\x01channel\0payload\0"),
    ]
    .concat();
    let play = |at: usize| {
        let mut driver = with_password(None);
        let (mut out, mut events) = (Vec::new(), Vec::new());
        driver.open(&startup(), &mut out, &mut Vec::new()).unwrap();
        let (start, script) = script.split_at(welcome().len());
        let mut feed = |driver: &mut PostgresDriver, bytes: &[u8]| {
            driver
                .receive(bytes, Timestamp(1), &mut out, &mut events)
                .unwrap();
        };
        feed(&mut driver, &start[..at.min(start.len())]);
        feed(&mut driver, &start[at.min(start.len())..]);
        let mut sent = Vec::new();
        for bytes in [&query("select 1"), &copy] {
            driver
                .send(&exchange(Kind::Request, bytes), &mut sent)
                .unwrap();
        }
        let at = at.saturating_sub(start.len());
        feed(&mut driver, &script[..at]);
        feed(&mut driver, &script[at..]);
        (sent, out, events)
    };
    let whole = play(0);
    let (sent, out, events) = &whole;
    assert_eq!(Messages::new(sent).count(), 2);
    assert!(out.ends_with(b"d\0\0\0\x061\nc\0\0\0\x04"));
    let [
        DriverEvent::Opened(_),
        DriverEvent::Answered(first),
        DriverEvent::Answered(second),
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!((first.rows, &first.error_code), (1, &None));
    assert_eq!(second.error_code.as_deref(), Some("23505"));
    assert_eq!(second.transaction, Transaction::Failed);
    for at in 1..script.len() {
        assert_eq!(play(at), whole, "split at {at}");
    }
}

#[test]
fn a_response_has_the_times_of_its_own_bytes() {
    let mut driver = ready();
    driver
        .send(&exchange(Kind::Request, &query("")), &mut Vec::new())
        .unwrap();
    let answer_bytes = [message(b'I', b""), message(b'Z', b"I")].concat();
    let mut events = Vec::new();
    for (at, byte) in answer_bytes.iter().enumerate() {
        let at = Timestamp(at as i64);
        driver
            .receive(&[*byte], at, &mut Vec::new(), &mut events)
            .unwrap();
    }
    let response = answer(&events);
    assert_eq!(
        (response.first_byte_at, response.last_byte_at),
        (Timestamp(0), Timestamp(10))
    );
}

#[test]
fn what_can_not_be_said_is_not_begun() {
    let mut driver = ready();
    for note in [
        Notes::REQUEST_CUT,
        Notes::REQUEST_GAP,
        Notes::SECRET_BLANKED,
    ] {
        let mut request = exchange(Kind::Request, &query("select 1"));
        request.notes.add(note);
        let mut out = Vec::new();
        assert!(driver.send(&request, &mut out).is_err());
        assert!(out.is_empty());
    }
    let mut replication = exchange(
        Kind::Request,
        &query("START_REPLICATION SLOT s LOGICAL 0/0"),
    );
    replication.request.command = "replication".into();
    assert!(driver.send(&replication, &mut Vec::new()).is_err());
    let (_, events) = receive(&mut driver, &message(b'N', b"SWARNING\0\0")).unwrap();
    assert!(events.is_empty());
}

#[test]
fn a_statement_of_before_is_prepared_first_or_not_asked_for() {
    let bytes = [
        client::bind("", "s1", &[], &[], &[]),
        client::execute("", 0),
        client::sync(),
    ];
    let mut request = exchange(Kind::Request, &bytes.concat());
    request.notes.add(Notes::UNKNOWN_STATEMENT);
    let mut driver = ready();
    let mut out = Vec::new();
    assert_eq!(
        driver.send(&request, &mut out),
        Err(DriverError::Unsupported(
            "statement prepared before the capture"
        ))
    );
    assert!(out.is_empty());
    let prepare = [client::parse("s1", "select 1", &[]), client::sync()].concat();
    let prepare = exchange(Kind::Prepare, &prepare);
    driver.send(&prepare, &mut out).unwrap();
    driver.send(&request, &mut out).unwrap();
    assert_eq!(Messages::new(&out).count(), 5);
}

/// As of a request over the cap: the name stands at its beginning.
#[test]
fn a_statement_whose_preparation_was_not_sent_is_not_asked_for() {
    let request = |messages: &[Vec<u8>]| {
        let bytes = [messages.concat(), client::sync()].concat();
        exchange(Kind::Request, &bytes)
    };
    let run = request(&[client::bind("", "a", &[], &[], &[]), client::execute("", 0)]);
    let prepare = request(&[client::parse("a", "select 1", &[])]);
    let missing = Err(DriverError::Unsupported(
        "statement whose preparation was not sent",
    ));
    let passed_over = || {
        let mut driver = ready();
        let mut cut = prepare.clone();
        cut.request.bytes.truncate(10);
        driver.pass_over(&cut);
        driver
    };
    let mut driver = passed_over();
    let mut out = Vec::new();
    assert_eq!(driver.send(&run, &mut out), missing);
    // That it may be another one which is not known says nothing better.
    let mut unknown = run.clone();
    unknown.notes.add(Notes::UNKNOWN_STATEMENT);
    assert_eq!(driver.send(&unknown, &mut out), missing);
    assert!(out.is_empty());
    driver.send(&prepare, &mut out).unwrap();
    driver.send(&run, &mut out).unwrap();

    for (command, known) in [("DISCARD ALL", true), ("DISCARD TEMP", false)] {
        let mut driver = passed_over();
        let discard = exchange(Kind::Request, &query(command));
        driver.send(&discard, &mut out).unwrap();
        receive(
            &mut driver,
            &[server::complete(command), server::ready(b'I')].concat(),
        )
        .unwrap();
        assert_eq!(driver.send(&run, &mut out).is_ok(), known);
    }
}

/// As of a transaction that failed on the target alone. The recorded client has its answers alone.
#[test]
fn a_statement_whose_preparation_was_passed_over_is_prepared_when_it_is_run() {
    let prepare = [client::parse("a", "select $1", &[16_385]), client::sync()].concat();
    let run = [client::bind("", "a", &[], &[], &[]), client::execute("", 0)];
    let run = [run.concat(), client::sync()].concat();
    let mut driver = ready();
    let mut out = Vec::new();
    let rolled_back = exchange(Kind::Request, &prepare);
    driver.roll_back(&rolled_back, &mut out).unwrap();
    driver
        .send(&exchange(Kind::Request, &run), &mut out)
        .unwrap();
    driver
        .send(&exchange(Kind::Request, &run), &mut out)
        .unwrap();
    let made_up = [
        client::close(b'S', "a"),
        client::parse("a", "select $1", &[0]),
        client::describe(b'S', "a"),
        client::sync(),
    ];
    let said = [query("ROLLBACK"), made_up.concat(), run.clone(), run].concat();
    assert_eq!(out, said);

    let idle = server::ready(b'I');
    let answers = [
        [server::complete("ROLLBACK"), idle.clone()].concat(),
        [
            server::plain(b'3'),
            server::plain(b'1'),
            server::types(&[16_385]),
            server::columns(&[("n", 23, 0)]),
            idle.clone(),
        ]
        .concat(),
        [
            server::plain(b'2'),
            server::row(&[Some(b"1")]),
            server::complete("SELECT 1"),
            idle,
        ]
        .concat(),
    ];
    let (_, events) = receive(&mut driver, &answers.concat()).unwrap();
    let [DriverEvent::Answered(first), DriverEvent::Answered(second)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!((first.rows, second.rows), (0, 1));
    assert_eq!(second.columns.as_deref(), Some("n:23:0"));
    assert_eq!(driver.counts(), [(INFERRED, 1), (MADE_UP, 1)]);
}

#[test]
fn types_of_users_are_left_to_the_target() {
    let parse = |types| [client::parse("a", "select $1, $2", types), client::sync()].concat();
    let mut driver = ready();
    let mut out = Vec::new();
    let request = exchange(Kind::Request, &parse(&[23, 16_385]));
    driver.send(&request, &mut out).unwrap();
    assert_eq!(out, parse(&[23, 0]));
    assert_eq!(driver.counts(), [(INFERRED, 1), (MADE_UP, 0)]);
}

#[test]
fn a_fatal_error_is_the_last_answer() {
    let mut driver = ready();
    let request = exchange(Kind::Request, &query("select pg_terminate_backend(7)"));
    for _ in 0..2 {
        driver.send(&request, &mut Vec::new()).unwrap();
    }
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let last = error("FATAL", "57P01");
    let result = driver.receive(&last, Timestamp(1), &mut out, &mut events);
    assert_eq!(result, Err(DriverError::Ended("no".to_owned())));
    assert_eq!(answer(&events).error_code.as_deref(), Some("57P01"));
    assert!(driver.send(&request, &mut Vec::new()).is_err());

    let mut driver = ready();
    let told = receive(&mut driver, &error("FATAL", "57P01")).unwrap_err();
    assert_eq!(told, DriverError::Ended("no".to_owned()));
    assert!(driver.send(&request, &mut Vec::new()).is_err());
}

#[test]
fn violations_tell_their_place() {
    let place = welcome().len() as u64;
    for (bytes, what) in [
        (
            message(b'Z', b"I"),
            "a message 'Z' that no request asked for",
        ),
        (b"D\0\0\0\x01".to_vec(), "a message 'D' of length 1"),
    ] {
        assert_eq!(
            receive(&mut ready(), &bytes),
            Err(DriverError::Violation {
                what: what.to_owned(),
                offset: place
            })
        );
    }
    let mut driver = ready();
    driver
        .send(&exchange(Kind::Request, &query("")), &mut Vec::new())
        .unwrap();
    assert_eq!(
        receive(&mut driver, &message(b'W', b"\0\0\0")),
        Err(DriverError::Unsupported("replication"))
    );
}

/// As drivers do that keep statements: they ask for the columns once.
#[test]
fn columns_are_known_of_a_statement_that_an_earlier_request_described() {
    let execute = |name, portal, formats: &[u16]| {
        [
            client::bind(portal, name, &[], &[], formats),
            client::execute(portal, 0),
        ]
        .concat()
    };
    let prepare = |name| {
        [
            client::parse(name, "select", &[]),
            client::describe(b'S', name),
        ]
        .concat()
    };
    let done = [server::row(&[Some(b"1")]), server::complete("SELECT 1")].concat();
    let executed = [server::plain(b'2'), done].concat();
    let described = |name| {
        let columns = server::columns(&[(name, 23, 0)]);
        [server::plain(b'1'), server::types(&[]), columns].concat()
    };
    let failed = server::error("ERROR", "42601", "syntax");
    let mut driver = ready();
    for (request, answer, columns) in [
        (
            [prepare("a"), execute("a", "", &[1])],
            [described("n"), executed.clone()],
            Some("n:23:1"),
        ),
        (
            [execute("a", "", &[0]), execute("a", "p", &[1])],
            [executed.clone(), executed.clone()],
            Some("n:23:0;n:23:1"),
        ),
        // Skipped after the error: the name stands for what it did.
        (
            [client::parse("", "oh", &[]), client::close(b'S', "a")],
            [failed, Vec::new()],
            None,
        ),
        (
            [execute("a", "", &[]), Vec::new()],
            [executed.clone(), Vec::new()],
            Some("n:23:0"),
        ),
        (
            [client::close(b'S', "a"), execute("a", "", &[])],
            [server::plain(b'3'), executed],
            None,
        ),
    ] {
        let request = [request.concat(), client::sync()].concat();
        let request = exchange(Kind::Request, &request);
        driver.send(&request, &mut Vec::new()).unwrap();
        let answer = [answer.concat(), server::ready(b'I')].concat();
        let (_, events) = receive(&mut driver, &answer).unwrap();
        assert_eq!(self::answer(&events).columns.as_deref(), columns);
    }
}
