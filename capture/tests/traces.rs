//! Captures that others made. They are no part of the project: where the folder is absent
//! (`REHEARSAL_TRACES`, or `../shared/traces` beside the workspace) the tests skip, and say so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::path::PathBuf;

use support::*;

fn trace(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("REHEARSAL_TRACES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/traces")),
        PathBuf::from,
    );
    let path = folder.join(name);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// Sessions, and the bytes of both sides.
fn totals(captured: &Captured) -> (u64, u64, u64) {
    let sessions = captured.progress.ledger.account("sessions").unwrap();
    (sessions.kept, captured.bytes("C"), captured.bytes("S"))
}

#[track_caller]
fn expect(name: &str, port: u16, expected: (u64, u64, u64)) -> Option<Captured> {
    let captured = capture_file(&trace(name)?, &[port]);
    assert_eq!(totals(&captured), expected, "{name}");
    Some(captured)
}

#[test]
fn probe() {
    for (name, port) in [
        ("link/http-vlan-0.pcap", 80),
        ("link/http-qinq-0.pcap", 80),
        ("link/vlan-qinqinq.pcap", 80),
        ("link/vlan-collisions.pcap", 80),
        ("link/vntag.pcap", 80),
        ("link/vxlan-encapsulated-http.pcap", 80),
        ("link/vxlan-overlapping-http-get.pcap", 80),
        ("link/nflog-http.pcap", 80),
        ("link/pcapng-multi-interface.pcapng", 80),
        ("link/gre-within-gre.pcap", 80),
        ("link/fragmented-1.pcap", 80),
        ("link/fragmented-2.pcap", 80),
        ("link/fragmented-3.pcap", 80),
        ("link/fragmented-4.pcap", 80),
        ("link/fragmented-syn.pcap", 80),
        ("link/ipv6-http-atomic-frag.pcap", 80),
        ("link/localhost-bad-chksum.pcap", 80),
        ("tcp/ssh-dups.pcap", 22),
        ("tcp/fin_retransmission.pcap", 443),
        ("tcp/handshake-reorder.pcap", 80),
        ("tcp/missing-syn.pcap", 80),
        ("tcp/miss_end_data.pcap", 80),
        ("tcp/truncated-header.pcap", 25),
        ("tcp/qi_internet_SYNACK_curl_jsonip.pcap", 80),
    ] {
        let captured = capture_file(&trace(name).unwrap(), &[port]);
        println!(
            "{name} {:?} {:?}",
            totals(&captured),
            captured.progress.warnings
        );
        for (a, acc) in captured.progress.ledger.accounts() {
            println!("   {a} {} {} {:?}", acc.seen, acc.kept, acc.lost);
        }
    }
}
