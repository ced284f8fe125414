use insta::assert_snapshot;
use recording::Status;

use super::*;

fn shown(steps: &[Step]) -> String {
    show(&rows(steps))
}

fn scram() -> Vec<Step> {
    vec![
        S(server::authentication(10, b"SCRAM-SHA-256\0\0")),
        C(client::password(b"SCRAM-SHA-256\0\0\0\0\x08n,,hush")),
        S(server::authentication(11, b"r=hush,s=salt")),
        C(client::password(b"c=biws,p=hush")),
        S(server::authentication(12, b"v=hush")),
    ]
}

#[test]
fn nothing_of_an_authentication_is_kept() {
    let steps = [
        vec![
            C(client::gss_request()),
            S(b"N".to_vec()),
            C(client::ssl_request()),
            S(b"N".to_vec()),
            C(client::startup(
                2,
                &[("user", "ann"), ("application_name", "till")],
            )),
            S(server::negotiate(3 << 16)),
        ],
        scram(),
        vec![S([
            server::authentication(0, b""),
            server::parameter("server_version", "18.1"),
            server::key(77, b"hush-hush-hush-key"),
            server::ready(b'I'),
        ]
        .concat())],
    ]
    .concat();
    assert_snapshot!(shown(&steps), @"
    startup ok idle
    close ok (fin)
    ");
    let rows = rows(&steps);
    assert!(!format!("{rows:?}").contains(&format!("{:?}", b"hush").replace(['[', ']'], "")));
    let info = rows[0].info.as_ref().unwrap();
    assert_eq!(info.user.as_deref(), Some("ann"));
    assert_eq!(info.database.as_deref(), Some("ann"));
    assert_eq!(info.application.as_deref(), Some("till"));
    assert_eq!(info.backend, Some(77));
    assert_eq!(rows[0].request.bytes[..6], [0, 0, 0, 40, 0, 3]);
    let body = &rows[0].response.as_ref().unwrap().body;
    assert!(body.windows(14).any(|window| window == b"server_version"));
}

#[test]
fn a_login_that_is_refused_or_left() {
    let startup = C(client::startup(0, &[("user", "ann")]));
    let refusal = S(server::error("FATAL", "28P01", "no"));
    assert_snapshot!(shown(&[startup.clone(), refusal]), @"
    startup error error=28P01 unknown
    close ok (login failed)
    ");
    let left = [vec![startup.clone()], scram()].concat();
    assert_snapshot!(shown(&left), @"
    startup unanswered (login not completed)
    close ok (fin)
    ");
    let busy = S(b"EFATAL:  could not fork\n\0".to_vec());
    assert_snapshot!(shown(&[startup, busy.clone()]), @"
    startup error
    close ok (login failed)
    ");
    assert_snapshot!(shown(&[C(client::ssl_request()), busy]), @"
    startup error
    close ok (login failed)
    ");
}

#[test]
fn encrypted_sessions_are_opaque() {
    let hello = C(vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 9]);
    for (steps, reason) in [
        (
            vec![C(client::ssl_request()), S(b"S".to_vec()), hello.clone()],
            "encrypted (TLS)",
        ),
        (
            vec![C(client::ssl_request()), hello.clone()],
            "encrypted (TLS)",
        ),
        (vec![hello], "encrypted (TLS)"),
        (
            vec![C(client::gss_request()), S(b"G".to_vec())],
            "encrypted (GSSAPI)",
        ),
    ] {
        let (rows, decoder) = rows_of(false, &steps);
        assert_eq!(decoder.opaque(), Some(reason));
        assert_eq!(decoder.rejected(), None);
        assert_eq!(
            show(&rows),
            format!("startup unanswered ({reason}) [encrypted]\nclose ok (fin)\n")
        );
    }
}

#[test]
fn what_follows_a_request_to_encrypt_unasked_is_not_believed() {
    let eager = [
        client::ssl_request(),
        client::startup(0, &[("user", "mallory")]),
        client::query("select 1"),
    ]
    .concat();
    let (rows, decoder) = rows_of(false, &[C(eager), S(b"S".to_vec())]);
    assert_eq!(decoder.opaque(), Some("encrypted (TLS)"));
    assert_eq!(rows[0].status, Status::Unanswered);
}

#[test]
fn a_cancel_request_is_a_row_without_its_key() {
    for secret in [&b"hush"[..], &[b'k'; 32]] {
        let rows = rows(&[C(client::cancel(77, secret))]);
        assert_eq!(rows[0].info.as_ref().unwrap().backend, Some(77));
        assert!(rows[0].request.bytes.is_empty());
        assert_eq!(
            rows[1].request.bytes,
            client::cancel(77, &vec![0; secret.len()])
        );
        assert_eq!(
            show(&rows),
            "startup ok\ncancel ok [secret-blanked]\nclose ok (fin)\n"
        );
    }
}

#[test]
fn other_protocols_are_rejected() {
    let ancient = [&[0, 0, 1, 0x28, 0, 2, 0, 0][..], &[0; 288]].concat();
    for (steps, reason) in [
        (
            vec![C(b"GET / HTTP/1.1\r\n\r\n".to_vec())],
            "no PostgreSQL start-up message",
        ),
        (
            vec![S(b"\x4a\0\0\0\x0a8.0.33\0".to_vec())],
            "the server speaks first",
        ),
        (
            vec![C(client::ssl_request()), S(b"HTTP/1.1 400\r\n".to_vec())],
            "no PostgreSQL server",
        ),
        (vec![C(ancient)], "PostgreSQL protocol 2.0 is not supported"),
        (
            vec![C(b"\0\0\0\x0c\0\x03\0\0user".to_vec())],
            "no PostgreSQL start-up message",
        ),
        (vec![], "no PostgreSQL start-up message"),
    ] {
        let (rows, decoder) = rows_of(false, &steps);
        assert_eq!(decoder.rejected(), Some(reason));
        assert_eq!(rows, []);
    }
}

#[test]
fn requests_sent_before_the_login_is_complete() {
    let steps = [
        C([
            client::startup(0, &[("user", "ann")]),
            client::query("select 1"),
        ]
        .concat()),
        S([
            server::authentication(0, b""),
            server::ready(b'I'),
            one_row(),
        ]
        .concat()),
    ];
    assert_snapshot!(shown(&steps), @"
    startup ok idle
    query ok x1 `select ?` rows=1 columns=n:23:0 idle
    close ok (fin)
    ");
}
