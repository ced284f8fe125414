//! Captures of public test suites decode to what is known of them.

use serde_json::{Value, json};

use crate::harness::{record, traces};

struct Truth {
    file: &'static str,
    port: u16,
    sessions: u64,
    requests: u64,
    /// Why requests were not answered, each.
    lost: &'static [&'static str],
    /// Why bytes were passed over.
    passed: &'static [&'static str],
}

const fn whole(file: &'static str, requests: u64) -> Truth {
    Truth {
        file,
        port: 80,
        sessions: 1,
        requests,
        lost: &[],
        passed: &[],
    }
}

const fn lost(file: &'static str, requests: u64, lost: &'static [&'static str]) -> Truth {
    Truth {
        lost,
        ..whole(file, requests)
    }
}

const fn passed(file: &'static str, passed: &'static [&'static str]) -> Truth {
    Truth {
        passed,
        ..whole(file, 1)
    }
}

const TRUTHS: &[Truth] = &[
    whole("get.pcap", 1),
    whole("get_nosyn.pcap", 1),
    whole("get-gzip.pcap", 1),
    whole("post.pcap", 1),
    whole("http-large-gap.pcap", 1),
    whole("pipelined-requests.pcap", 5),
    whole("no_crlf.pcap", 5),
    whole("100-continue.pcap", 1),
    Truth {
        sessions: 49,
        ..whole("methods.pcap", 49)
    },
    Truth {
        passed: &["not captured"],
        ..lost(
            "1000-requests-one-dropped-response.pcap.gz",
            1000,
            &["response lost in a gap"],
        )
    },
    passed("content-range-gap.pcap", &["not captured"]),
    // Reset only when the server had ended its response.
    passed("content-range-gap-skip.pcap", &["not captured"]),
    passed("connect-with-header.pcap", &["CONNECT"]),
    Truth {
        port: 2375,
        sessions: 3,
        requests: 6,
        ..passed("docker-http-upgrade.pcap", &["upgrade"])
    },
    Truth {
        port: 27599,
        ..passed("broker-websocket.pcap", &["WebSocket"])
    },
    // One response, and the client's bytes that are no request.
    whole("http-bad-request-with-version.pcap", 1),
    // Five requests and two responses that nobody asked for; of two more streams, nothing came.
    Truth {
        port: 8080,
        ..whole("http-desync-request-response-5.pcap", 7)
    },
    Truth {
        port: 8080,
        ..whole("smuggle-http-request.pcap", 2)
    },
    Truth {
        port: 8080,
        sessions: 2,
        ..whole("putty-upload.pcap", 2)
    },
    lost(
        "261-variant-01-chunk_2pow64_overflow.pcap",
        1,
        &["chunk size overflow"],
    ),
    lost(
        "261-variant-02-cl_uint64max.pcap",
        1,
        &["content-length overflow"],
    ),
    lost(
        "261-variant-03-cl_negative.pcap",
        1,
        &["invalid content-length"],
    ),
    lost(
        "261-variant-04-te_cl_desync.pcap",
        1,
        &["content-length with transfer-encoding"],
    ),
    lost("261-variant-07-expect_100_cl0.pcap", 2, &["fin", "fin"]),
    lost(
        "261-variant-08-leading_zeros.pcap",
        2,
        &["content-length with leading zeros", "fin"],
    ),
    lost(
        "261-variant-09-te_obs_fold.pcap",
        1,
        &["folded content-length or transfer-encoding"],
    ),
    lost(
        "261-variant-10-multi_value_te.pcap",
        1,
        &["chunked is not the last transfer coding"],
    ),
];

/// What is odd about requests that were answered.
fn odd(file: &str) -> Value {
    match file {
        // Forty of its request lines are broken; the other nine end as they may.
        "methods.pcap" => json!({
            "invalid start line": 32,
            "invalid version": 8,
            "line without CR": 9,
        }),
        "http-bad-request-with-version.pcap" => json!({ "invalid start line": 1 }),
        "http-desync-request-response-5.pcap" => json!({ "response without request": 2 }),
        // Answered to the end before all of it was sent.
        "putty-upload.pcap" => json!({ "request broken off": 1 }),
        _ => json!({}),
    }
}

#[test]
fn http_traces_decode_to_what_is_known_of_them() {
    let Some(traces) = traces() else {
        println!("skipped: no traces beside the project");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for truth in TRUTHS {
        let pcap = traces.join("http").join(truth.file);
        let found = record(&pcap, &[truth.port], &dir.path().join(truth.file));
        let lost: Vec<&str> = found["incomplete"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(name, count)| (0..count.as_u64().unwrap()).map(|_| name.as_str()))
            .collect();
        let passed = found["ledger"]["stream"]["lost"].as_object();
        let passed: Vec<&str> = passed.unwrap().keys().map(String::as_str).collect();
        assert_eq!(found["oddities"], odd(truth.file), "{}", truth.file);
        assert_eq!(
            (
                found["sessions"].as_u64().unwrap(),
                found["requests"].as_u64().unwrap(),
                lost.as_slice(),
                passed.as_slice(),
            ),
            (truth.sessions, truth.requests, truth.lost, truth.passed),
            "{}: {found:#}",
            truth.file
        );
    }
}
