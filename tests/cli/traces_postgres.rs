//! Captures of public test suites decode to what is known of them.

use serde_json::Value;

use crate::harness::{record, traces};

struct Truth {
    trace: &'static str,
    port: u16,
    sessions: u64,
    statements: u64,
    rows: u64,
    errors: &'static [&'static str],
    encrypted: u64,
    violations: u64,
}

const NOTHING: Truth = Truth {
    trace: "",
    port: 5432,
    sessions: 0,
    statements: 0,
    rows: 0,
    errors: &[],
    encrypted: 0,
    violations: 0,
};

const fn plain(trace: &'static str, sessions: u64, statements: u64, rows: u64) -> Truth {
    Truth {
        trace,
        sessions,
        statements,
        rows,
        ..NOTHING
    }
}

const fn failing(truth: Truth, errors: &'static [&'static str]) -> Truth {
    Truth { errors, ..truth }
}

const fn encrypted(trace: &'static str, port: u16) -> Truth {
    Truth {
        trace,
        port,
        sessions: 1,
        encrypted: 1,
        ..NOTHING
    }
}

const TRUTHS: &[Truth] = &[
    plain("psql-select-now", 1, 1, 1),
    plain("psql-aws-ssl-disable", 1, 1, 1),
    Truth {
        port: 15432,
        ..plain("psql-aws-ssl-disable-15432", 1, 1, 1)
    },
    plain("psql-create-insert-select-delete-drop", 1, 7, 2),
    failing(
        plain("psql-insert-fail-drop-fail", 1, 5, 0),
        &["42804", "42P01"],
    ),
    plain("greenhouse-app", 2, 84, 22),
    plain("psql-login", 1, 0, 0),
    failing(plain("psql-login-fail", 1, 0, 0), &["28P01"]),
    failing(plain("psql-login-wrong", 1, 0, 0), &["28P01"]),
    failing(plain("psql-login-no-role", 1, 0, 0), &["28000"]),
    plain("psql-login-no-sslrequest", 2, 0, 0),
    encrypted("psql-aws-ssl-require", 5432),
    encrypted("psql-aws-ssl-require-15432", 15432),
    encrypted("psql-aws-ssl-preferred", 5432),
    plain("bad-startup-message-1", 0, 0, 0),
    plain("http-on-port-5432", 0, 0, 0),
    plain("mysql-on-port-5432", 0, 0, 0),
];

#[test]
fn traces_decode_to_what_is_known_of_them() {
    let Some(traces) = traces() else {
        println!("skipped: no traces beside the project");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for truth in TRUTHS {
        let pcap = traces.join(format!("postgresql/{}.pcap", truth.trace));
        let found = record(&pcap, &[truth.port], &dir.path().join(truth.trace));
        let errors: Vec<&str> = found["errors"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(code, count)| (0..count.as_u64().unwrap()).map(|_| code.as_str()))
            .collect();
        let counted = |name: &str| found[name].as_u64().unwrap();
        assert_eq!(
            (
                counted("sessions"),
                counted("statements"),
                counted("rows"),
                errors.as_slice(),
                counted("encrypted_sessions"),
                counted("protocol_violations"),
            ),
            (
                truth.sessions,
                truth.statements,
                truth.rows,
                truth.errors,
                truth.encrypted,
                truth.violations,
            ),
            "{}: {found:#}",
            truth.trace
        );
        assert_balanced(&found, truth.trace);
    }
}

#[test]
fn a_message_of_an_impossible_length_is_a_violation() {
    let Some(traces) = traces() else {
        println!("skipped: no traces beside the project");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let pcap = traces.join("postgresql/bad-backend-message-1.pcap");
    let found = record(&pcap, &[5432], &dir.path().join("rec"));
    assert_eq!(found["protocol_violations"], 1, "{found:#}");
    assert_balanced(&found, "bad-backend-message-1");
}

fn assert_balanced(found: &Value, trace: &str) {
    for (name, account) in found["ledger"].as_object().unwrap() {
        let lost: u64 = account["lost"]
            .as_object()
            .unwrap()
            .values()
            .map(|count| count.as_u64().unwrap())
            .sum();
        assert_eq!(
            account["seen"].as_u64().unwrap(),
            account["kept"].as_u64().unwrap() + lost,
            "{trace}: {name}"
        );
    }
}
