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

/// Captures a trace, where it is there, and checks [`totals`].
#[track_caller]
fn expect(name: &str, port: u16, expected: (u64, u64, u64)) -> Option<Captured> {
    let captured = capture_file(&trace(name)?, &[port]);
    assert_eq!(totals(&captured), expected, "{name}");
    Some(captured)
}

#[test]
fn vlan_tags() {
    for name in ["http-vlan-0", "http-qinq-0", "vlan-qinqinq"] {
        expect(&format!("link/{name}.pcap"), 80, (1, 136, 5007));
    }
    expect("link/vlan-collisions.pcap", 80, (3, 408, 15_021));
}

#[test]
fn vn_tags_are_passed_over() {
    if let Some(captured) = expect("link/vntag.pcap", 80, (0, 0, 0)) {
        assert_eq!(captured.lost("packets", "not TCP"), 3);
    }
}

#[test]
fn vxlan() {
    expect("link/vxlan-encapsulated-http.pcap", 80, (1, 87, 9212));
    expect("link/vxlan-overlapping-http-get.pcap", 80, (3, 408, 15_021));
}

#[test]
fn gre_within_gre_is_walked_down_to_icmp() {
    if let Some(captured) = expect("link/gre-within-gre.pcap", 80, (0, 0, 0)) {
        assert_eq!(captured.lost("packets", "not TCP"), 628);
    }
}

#[test]
fn an_unsupported_link_type_is_named() {
    if let Some(captured) = expect("link/nflog-http.pcap", 80, (0, 0, 0)) {
        assert_eq!(captured.lost("packets", "unsupported link type NFLOG"), 13);
    }
}

#[test]
fn several_interfaces_in_a_file() {
    if let Some(captured) = expect("link/pcapng-multi-interface.pcapng", 53, (0, 0, 0)) {
        assert_eq!(captured.lost("packets", "not TCP"), 6);
    }
}

#[test]
fn ip_fragments() {
    for (name, reason, packets) in [
        ("fragmented-1", "not TCP", 3),
        ("fragmented-2", "fragment incomplete", 3),
        // Its last fragment is missing.
        ("fragmented-3", "fragment incomplete", 5),
    ] {
        if let Some(captured) = expect(&format!("link/{name}.pcap"), 80, (0, 0, 0)) {
            assert_eq!(captured.lost("packets", reason), packets, "{name}");
        }
    }
    expect("link/fragmented-4.pcap", 80, (1, 69, 0));
    if let Some(captured) = expect("link/fragmented-syn.pcap", 80, (0, 0, 0)) {
        assert_eq!(captured.lost("sessions", "no data"), 1);
    }
    expect("link/ipv6-http-atomic-frag.pcap", 80, (4, 60, 352));
}

#[test]
fn checksums_are_not_believed() {
    expect("link/localhost-bad-chksum.pcap", 80, (1, 74, 432));
}

#[test]
fn retransmissions() {
    if let Some(captured) = expect("tcp/ssh-dups.pcap", 22, (1, 3705, 4273)) {
        assert_eq!(captured.lost("bytes", "retransmission"), 23_934);
    }
    expect("tcp/fin_retransmission.pcap", 443, (0, 0, 0));
}

#[test]
fn a_handshake_out_of_order_and_a_missing_one() {
    if let Some(captured) = expect("tcp/handshake-reorder.pcap", 80, (1, 136, 5007)) {
        assert!(!captured.sessions()[0].starts_with('~'));
    }
    expect("tcp/missing-syn.pcap", 80, (1, 98, 9417));
}

#[test]
fn data_missing_at_the_end() {
    if let Some(captured) = expect("tcp/miss_end_data.pcap", 80, (1, 538, 0)) {
        assert_eq!(captured.lost("stream", "not captured"), 2902);
        assert!(captured.sessions()[0].ends_with("S gap 2902 fin"));
    }
}

#[test]
fn frames_cut_after_their_headers() {
    if let Some(captured) = expect("tcp/truncated-header.pcap", 25, (1, 0, 0)) {
        assert_eq!(captured.lost("stream", "snap length"), 605);
        assert!(captured.progress.warnings[0].contains("snap length of 68"));
    }
}

#[test]
fn forged_segments_come_first_and_are_flagged() {
    let name = "tcp/qi_internet_SYNACK_curl_jsonip.pcap";
    if let Some(captured) = expect(name, 80, (1, 153, 348)) {
        assert_eq!(captured.lost("bytes", "overlap"), 43);
        let last = captured.rows.last().unwrap();
        assert!(last.notes.contains(recording::Notes::OVERLAP));
    }
}
