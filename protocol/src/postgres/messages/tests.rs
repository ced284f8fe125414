use proptest::collection::vec;
use proptest::prelude::*;
use recording::Transaction;

use super::backend;
use super::frontend::{self, Target};
use super::startup::Secret;
use super::*;
use crate::postgres::testing::{client, server};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(message: &[u8]) -> String {
    match frontend::Message::parse(message) {
        Ok(message) => format!("{message:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn startup_packets_as_bytes() {
    assert_eq!(
        Startup::parse(b"\0\0\0\x08\x04\xd2\x16\x2f"),
        Ok(Startup::SslRequest)
    );
    assert_eq!(
        Startup::parse(b"\0\0\0\x08\x04\xd2\x16\x30"),
        Ok(Startup::GssEncRequest)
    );
    assert_eq!(
        Startup::parse(b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x01\x02\xaa\xbb\xcc\xdd"),
        Ok(Startup::Cancel {
            process: 258,
            secret: Secret(b"\xaa\xbb\xcc\xdd")
        })
    );
    assert_eq!(
        Startup::parse(b"\0\0\0\x08\0\x02\0\0"),
        Ok(Startup::Unsupported { major: 2, minor: 0 })
    );
    let packet = b"\0\0\0\x1b\0\x03\0\x02user\0ann\0x\0y\0\0";
    let Ok(Startup::Session { minor, parameters }) = Startup::parse(packet) else {
        panic!("no start-up message");
    };
    assert_eq!((minor, parameters.get(b"user")), (2, Some(&b"ann"[..])));
    assert!(parameters.well_formed());
    assert!(Startup::parse(b"\0\0\0\x06\0\x03").is_err());
}

#[test]
fn frontend_messages_as_bytes() {
    use frontend::Message::*;
    let cases: [(&[u8], frontend::Message<'_>); 11] = [
        (b"Q\0\0\0\x06a\0", Query { text: b"a" }),
        (
            b"D\0\0\0\x07Sn\0",
            Describe {
                target: Target::Statement,
                name: b"n",
            },
        ),
        (
            b"E\0\0\0\x0ap\0\0\0\0\x05",
            Execute {
                portal: b"p",
                max_rows: 5,
            },
        ),
        (
            b"C\0\0\0\x06P\0",
            Close {
                target: Target::Portal,
                name: b"",
            },
        ),
        (b"H\0\0\0\x04", Flush),
        (b"S\0\0\0\x04", Sync),
        (b"d\0\0\0\x06hi", CopyData { bytes: b"hi" }),
        (b"c\0\0\0\x04", CopyDone),
        (b"f\0\0\0\x06n\0", CopyFail { reason: b"n" }),
        (b"X\0\0\0\x04", Terminate),
        (
            b"!\0\0\0\x05.",
            Unknown {
                tag: b'!',
                bytes: b".",
            },
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(frontend::Message::parse(bytes), Ok(expected));
    }
    assert_eq!(
        shown(b"P\0\0\0\x13s\0a $1\0\0\x02\0\0\0\x17\0\0\0\0"),
        "Parse { name: [115], text: [97, 32, 36, 49], parameter_types: [23, 0] }"
    );
    assert_eq!(
        shown(b"B\0\0\0\x1ap\0s\0\0\x01\0\x01\0\x02\0\0\0\x01v\xff\xff\xff\xff\0\0"),
        "Bind { portal: [112], statement: [115], formats: [1], parameters: [Some([118]), None], \
         result_formats: [] }"
    );
    assert_eq!(
        shown(b"p\0\0\0\x08hush"),
        "Authentication((4 bytes))",
        "a password is not printed"
    );
    assert_eq!(
        shown(b"F\0\0\0\x0a\0\0\0\x07\0\0"),
        "FunctionCall { oid: 7, arguments: [0, 0] }"
    );
    assert_eq!(
        shown(b"B\0\0\0\x0c\0\0\0\0\0\x01\xff\xff"),
        "Bind.parameters ends early at byte 11 of the message"
    );
    assert_eq!(
        shown(b"D\0\0\0\x06?\0"),
        "Describe.target holds 63 at byte 6 of the message"
    );
}

#[test]
fn backend_messages_as_bytes() {
    use backend::Message::*;
    let cases: [(&[u8], backend::Message<'_>); 20] = [
        (
            b"R\0\0\0\x08\0\0\0\0",
            Authentication(backend::Authentication::Ok),
        ),
        (
            b"R\0\0\0\x0c\0\0\0\x05salt",
            Authentication(backend::Authentication::Md5Password { salt: *b"salt" }),
        ),
        (
            b"R\0\0\0\x0a\0\0\0\x0bxy",
            Authentication(backend::Authentication::SaslContinue(Secret(b"xy"))),
        ),
        (
            b"K\0\0\0\x0c\0\0\0\x09keys",
            BackendKeyData {
                process: 9,
                secret: Secret(b"keys"),
            },
        ),
        (
            b"S\0\0\0\x08a\0b\0",
            ParameterStatus {
                name: b"a",
                value: b"b",
            },
        ),
        (
            b"v\0\0\0\x0c\0\x03\0\0\0\0\0\x01",
            NegotiateProtocolVersion {
                newest: 3 << 16,
                unknown_options: 1,
            },
        ),
        (b"Z\0\0\0\x05T", ReadyForQuery(Transaction::Open)),
        (
            b"C\0\0\0\x0dUPDATE 2\0",
            CommandComplete { tag: b"UPDATE 2" },
        ),
        (b"I\0\0\0\x04", EmptyQueryResponse),
        (b"s\0\0\0\x04", PortalSuspended),
        (
            b"A\0\0\0\x0c\0\0\0\x07c\0p\0",
            Notification {
                process: 7,
                channel: b"c",
                payload: b"p",
            },
        ),
        (b"1\0\0\0\x04", ParseComplete),
        (b"2\0\0\0\x04", BindComplete),
        (b"3\0\0\0\x04", CloseComplete),
        (b"n\0\0\0\x04", NoData),
        (b"G\0\0\0\x07\0\0\0", CopyIn),
        (b"d\0\0\0\x05x", CopyData { bytes: b"x" }),
        (b"c\0\0\0\x04", CopyDone),
        (
            b"V\0\0\0\x0a\0\0\0\x02ok",
            FunctionCallResponse { value: Some(b"ok") },
        ),
        (
            b"~\0\0\0\x05?",
            Unknown {
                tag: b'~',
                bytes: b"?",
            },
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(backend::Message::parse(bytes), Ok(expected));
    }
    assert!(backend::Message::parse(b"Z\0\0\0\x05?").is_err());
    let error = b"E\0\0\0\x20SFEHLER\0VERROR\0C42P01\0Mno\0\0\0";
    let Ok(Error(fields)) = backend::Message::parse(error) else {
        panic!("no error");
    };
    assert_eq!(fields.get(b'C'), Some(&b"42P01"[..]));
    assert_eq!(text(fields.severity()), "ERROR");
    assert!(!fields.fatal());
}

#[test]
fn rows_and_their_columns_are_walked_over() {
    let columns = server::columns(&[("id", 23, 1), ("t", 25, 0)]);
    let Ok(backend::Message::RowDescription(columns)) = backend::Message::parse(&columns) else {
        panic!("no columns");
    };
    let columns: Vec<_> = columns
        .iter()
        .map(|column| (text(column.name), column.type_oid, column.format))
        .collect();
    assert_eq!(columns, [("id".into(), 23, 1), ("t".into(), 25, 0)]);
    let row = server::row(&[Some(b"1"), None]);
    let Ok(backend::Message::DataRow(values)) = backend::Message::parse(&row) else {
        panic!("no row");
    };
    assert_eq!(values.iter().collect::<Vec<_>>(), [Some(&b"1"[..]), None]);
}

#[test]
fn affected_rows_stand_in_the_tag() {
    for (tag, count) in [
        ("INSERT 0 5", 5),
        ("UPDATE 2", 2),
        ("DELETE 0", 0),
        ("MERGE 7", 7),
        ("COPY 9", 9),
        ("COPY", 0),
        ("SELECT 3", 0),
        ("FETCH 4", 0),
        ("INSERT 0 99999999999999999999", 0),
        ("", 0),
    ] {
        assert_eq!(backend::affected(tag.as_bytes()), count, "{tag}");
    }
}

/// What a framer gives, with parts put together: tag, length, damaged.
fn cut(framer: &mut Framer, mut chunk: &[u8], out: &mut Vec<(u8, Vec<u8>, bool)>) {
    while let Ok(Some(frame)) = framer.next(&mut chunk) {
        match frame {
            Frame::Whole { tag, bytes } => out.push((tag, bytes.to_vec(), false)),
            Frame::Part {
                tag,
                bytes,
                first: true,
                ..
            } => out.push((tag, bytes.to_vec(), false)),
            Frame::Part { bytes, .. } => {
                if let Some(last) = out.last_mut() {
                    last.1.extend(bytes);
                }
            }
            Frame::Damaged { tag, len } => out.push((tag, vec![0; len as usize], true)),
        }
    }
}

#[test]
fn cutting_does_not_depend_on_chunks() {
    let messages = [
        client::query("select 1"),
        client::copy_data(&[7; 300]),
        client::sync(),
        client::copy_data(&[8; 64]),
        client::sync(),
    ];
    let expected: Vec<_> = messages.iter().map(|m| (m[0], m.clone(), false)).collect();
    let stream = messages.concat();
    for at in 0..=stream.len() {
        let (mut framer, mut out) = (Framer::new(100), Vec::new());
        cut(&mut framer, &stream[..at], &mut out);
        cut(&mut framer, &stream[at..], &mut out);
        assert_eq!(out, expected, "split at {at}");
        assert!(framer.held() <= 256);
    }
    let (mut framer, mut out) = (Framer::new(100), Vec::new());
    for byte in &stream {
        cut(&mut framer, &[*byte], &mut out);
    }
    assert_eq!(out, expected);
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    for (bytes, tagged, len) in [
        (&b"Q\0\0\0\0"[..], true, 0),
        (b"Q\0\0\0\x03", true, 3),
        (b"Q\xff\xff\xff\xff", true, -1),
        (b"Q\x80\0\0\0", true, i32::MIN),
        (b"\0\0\0\x07", false, 7),
        (b"\0\0\x27\x11", false, 10_001),
    ] {
        let mut framer = Framer::new(1 << 20);
        framer.set_tagged(tagged);
        let error = framer.next(&mut &bytes[..]).err();
        assert_eq!(error.map(|error| (error.len, error.offset)), Some((len, 0)));
        assert_eq!(framer.held(), 0);
    }
}

#[test]
fn a_gap_within_a_message_loses_only_that_message() {
    let stream = [client::copy_data(&[1; 50]), client::sync()].concat();
    for (from, len) in [(5, 50), (6, 49), (20, 3), (54, 1)] {
        let (mut framer, mut out) = (Framer::new(100), Vec::new());
        cut(&mut framer, &stream[..from], &mut out);
        assert!(framer.gap(len as u64), "{from} {len}");
        cut(&mut framer, &stream[from + len..], &mut out);
        assert_eq!(
            out,
            [(b'd', vec![0; 55], true), (b'S', client::sync(), false)]
        );
    }
    for (from, len) in [(5, 51), (4, 3), (55, 1), (20, 0)] {
        let mut framer = Framer::new(100);
        cut(&mut framer, &stream[..from], &mut Vec::new());
        assert!(!framer.gap(len), "{from} {len}");
    }
}

proptest! {
    #[test]
    fn what_was_built_is_read_back(
        name in "[a-z]{0,8}",
        text in "[^\0]{0,40}",
        types in vec(any::<u32>(), 0..5),
        formats in vec(0u16..2, 0..4),
        parameters in vec(proptest::option::of(vec(any::<u8>(), 0..20)), 0..5),
        max_rows: u32,
    ) {
        let message = client::parse(&name, &text, &types);
        let Ok(frontend::Message::Parse { name: n, text: t, parameter_types }) =
            frontend::Message::parse(&message) else { panic!("no Parse") };
        prop_assert_eq!((n, t), (name.as_bytes(), text.as_bytes()));
        prop_assert_eq!(parameter_types.iter().collect::<Vec<_>>(), types);

        let values: Vec<_> = parameters.iter().map(Option::as_deref).collect();
        let message = client::bind(&name, "s", &formats, &values, &formats);
        let Ok(frontend::Message::Bind { portal, formats: f, parameters: p, result_formats, .. }) =
            frontend::Message::parse(&message) else { panic!("no Bind") };
        prop_assert_eq!(portal, name.as_bytes());
        prop_assert_eq!(f.iter().collect::<Vec<_>>(), formats);
        prop_assert_eq!(f, result_formats);
        prop_assert_eq!(p.iter().collect::<Vec<_>>(), values);

        let message = client::execute(&name, max_rows);
        prop_assert_eq!(
            frontend::Message::parse(&message),
            Ok(frontend::Message::Execute { portal: name.as_bytes(), max_rows })
        );
    }

    #[test]
    fn any_bytes_are_read_or_refused(tag: u8, body in vec(any::<u8>(), 0..60)) {
        let message = [&[tag, 0, 0, 0, 0][..], &body].concat();
        let _ = format!("{:?}", frontend::Message::parse(&message));
        let _ = format!("{:?}", backend::Message::parse(&message));
        let _ = format!("{:?}", Startup::parse(&message));
    }
}
