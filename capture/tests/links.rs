//! Link layers, tags, tunnels and fragments around the same conversation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use support::*;

const WHOLE: &str = "C:hello S:world fin";

type Wrapper = fn(&[u8]) -> Vec<u8>;

/// A conversation in bare IP packets.
fn conversation() -> Vec<Frame> {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    talk.say(SERVER, "world");
    talk.close();
    for frame in &mut talk.frames {
        frame.bytes.drain(..14);
        frame.wire_len -= 14;
    }
    talk.frames
}

fn wrap(frames: &[Frame], wrapper: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Frame> {
    let wrapped = frames.iter().map(|frame| {
        let bytes = wrapper(&frame.bytes);
        Frame {
            at: frame.at,
            wire_len: bytes.len(),
            bytes,
        }
    });
    wrapped.collect()
}

fn prefixed(prefix: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    move |packet| [prefix, packet].concat()
}

#[test]
fn link_types() {
    let sll2 = [&[8, 0][..], &[0; 18]].concat();
    let cases: [(u32, &[u8]); 9] = [
        (0, &[2, 0, 0, 0]),
        (0, &[0, 0, 0, 2]),
        (108, &[0, 0, 0, 2]),
        (101, b""),
        (12, b""),
        (228, b""),
        (113, &[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
        (276, &sll2),
        (1, &[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 0]),
    ];
    for (link_type, prefix) in cases {
        let frames = wrap(&conversation(), prefixed(prefix));
        assert_eq!(
            capture_link(link_type, &frames).sessions(),
            [WHOLE],
            "{link_type}"
        );
    }
}

#[test]
fn an_unsupported_link_type_is_named() {
    let captured = capture_link(239, &conversation());
    assert_eq!(captured.lost("packets", "unsupported link type NFLOG"), 8);
}

#[test]
fn tags_and_shims() {
    let cases: [&[(u16, u16)]; 5] = [
        &[(0x8100, 7)],
        &[(0x88a8, 7), (0x8100, 9)],
        &[(0x9100, 7), (0x8100, 9), (0x8100, 10)],
        // A VN-Tag is two words.
        &[(0x8926, 1)],
        &[],
    ];
    for tags in cases {
        let frames = wrap(&conversation(), |packet| match tags {
            [(0x8926, _)] => {
                let inner = [&[0, 1, 0, 2, 8, 0][..], packet].concat();
                ethernet(&[], 0x8926, &inner)
            }
            tags => ethernet(tags, 0x0800, packet),
        });
        assert_eq!(capture_link(1, &frames).sessions(), [WHOLE], "{tags:?}");
    }
    let mpls = wrap(&conversation(), |packet| {
        ethernet(
            &[],
            0x8847,
            &[&[0, 1, 0, 9, 0, 1, 1, 9][..], packet].concat(),
        )
    });
    assert_eq!(capture_link(1, &mpls).sessions(), [WHOLE]);
    let pppoe = wrap(&conversation(), |packet| {
        ethernet(
            &[],
            0x8864,
            &[&[0x11, 0, 0, 1, 0, 9, 0, 0x21][..], packet].concat(),
        )
    });
    assert_eq!(capture_link(1, &pppoe).sessions(), [WHOLE]);
}

#[test]
fn equal_addresses_in_different_networks_are_different_sessions() {
    let tagged = |tag| {
        wrap(&conversation(), move |packet| {
            ethernet(&[(0x8100, tag)], 0x0800, packet)
        })
    };
    let frames: Vec<Frame> = tagged(1)
        .into_iter()
        .zip(tagged(2))
        .flat_map(|(a, b)| [a, b])
        .collect();
    assert_eq!(capture_link(1, &frames).sessions(), [WHOLE, WHOLE]);
    // A priority is no network.
    let mut frames = tagged(0);
    frames.extend_from_slice(&wrap(&conversation(), |packet| ethernet(&[], 0x0800, packet))[8..]);
    assert_eq!(capture_link(1, &frames).sessions(), [WHOLE]);
}

fn vxlan(number: u8, packet: &[u8]) -> Vec<u8> {
    let inner = ethernet(&[], 0x0800, packet);
    udp(4789, &[&[8, 0, 0, 0, 0, 0, number, 0][..], &inner].concat())
}

fn outer(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4([192, 0, 2, 1], [192, 0, 2, 2], protocol, 0, payload)
}

#[test]
fn tunnels() {
    let cases: [Wrapper; 8] = [
        |packet| outer(17, &vxlan(5, packet)),
        |packet| {
            let head = [1, 0, 8, 0, 0, 0, 5, 0, 1, 2, 3, 4];
            outer(17, &udp(6081, &[&head[..], packet].concat()))
        },
        |packet| {
            let head = [0, 0, 0x65, 0x58, 0, 0, 5, 0];
            let inner = ethernet(&[], 0x0800, packet);
            outer(17, &udp(6081, &[&head[..], &inner].concat()))
        },
        |packet| outer(47, &[&[0, 0, 8, 0][..], packet].concat()),
        |packet| {
            outer(
                47,
                &[
                    &[0xb0, 0, 8, 0, 1, 1, 1, 1, 0, 0, 0, 9, 0, 0, 0, 1][..],
                    packet,
                ]
                .concat(),
            )
        },
        // ERSPAN II and III.
        |packet| {
            let head = [&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1][..], &[0; 8]].concat();
            outer(47, &[head, ethernet(&[], 0x0800, packet)].concat())
        },
        |packet| {
            let head = [&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1][..], &[0; 12]].concat();
            outer(47, &[head, ethernet(&[], 0x0800, packet)].concat())
        },
        |packet| outer(4, &outer(4, packet)),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let frames = wrap(&conversation(), case);
        assert_eq!(capture_link(101, &frames).sessions(), [WHOLE], "{number}");
    }
}

#[test]
fn nesting_is_capped() {
    let nested = |depth| {
        wrap(&conversation(), move |packet| {
            (0..depth).fold(packet.to_vec(), |inner, _| outer(4, &inner))
        })
    };
    assert_eq!(capture_link(101, &nested(4)).sessions(), [WHOLE]);
    let captured = capture_link(101, &nested(5));
    assert_eq!(captured.lost("packets", "tunnels nested too deep"), 8);
}

#[test]
fn equal_inner_addresses_under_different_tunnel_numbers() {
    let under = |number| {
        wrap(&conversation(), move |packet| {
            outer(17, &vxlan(number, packet))
        })
    };
    let frames: Vec<Frame> = under(1)
        .into_iter()
        .zip(under(2))
        .flat_map(|(a, b)| [a, b])
        .collect();
    assert_eq!(capture_link(101, &frames).sessions(), [WHOLE, WHOLE]);
}

/// The packet as fragments of 8 bytes each, the last one first.
fn fragments(id: u8, packet: &[u8]) -> Vec<Vec<u8>> {
    let (from, to) = (
        packet[12..16].try_into().unwrap(),
        packet[16..20].try_into().unwrap(),
    );
    let payload = &packet[20..];
    let pieces = payload.chunks(8).count();
    let mut all: Vec<Vec<u8>> = payload
        .chunks(8)
        .enumerate()
        .map(|(number, piece)| {
            let more = if number + 1 < pieces { 0x2000 } else { 0 };
            let mut bytes = ipv4(from, to, packet[9], more | number as u16, piece);
            bytes[5] = id;
            bytes
        })
        .collect();
    all.reverse();
    all
}

#[test]
fn ip_fragments_are_put_together_and_each_is_counted() {
    let talk = conversation();
    let mut wire = Vec::new();
    let mut count = 0;
    for (id, frame) in talk.iter().enumerate() {
        let pieces = fragments(id as u8, &frame.bytes);
        count += pieces.len() as u64;
        wire.extend(pieces.into_iter().map(|bytes| Frame {
            at: frame.at,
            wire_len: bytes.len(),
            bytes,
        }));
    }
    let captured = capture_link(101, &wire);
    assert_eq!(captured.sessions(), [WHOLE]);
    assert_eq!(
        captured.progress.ledger.account("packets").unwrap().kept,
        count
    );
    // One is missing.
    wire.remove(0);
    let captured = capture_link(101, &wire);
    assert!(captured.lost("packets", "fragment incomplete") > 0);
}

#[test]
fn ipv6_with_extension_headers() {
    let (client, server) = ([1; 16], [2; 16]);
    let frames = wrap(&conversation(), |packet| {
        let (from, to) = if packet[12..16] == [10, 0, 0, 1] {
            (client, server)
        } else {
            (server, client)
        };
        // Hop-by-hop options, routing, an atomic fragment, an authentication header.
        let headers = [
            &[43, 0, 1, 4, 0, 0, 0, 0][..],
            &[44, 0, 0, 0, 0, 0, 0, 0],
            &[51, 0, 0, 0, 0, 0, 0, 9],
            &[
                6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
            &packet[20..],
        ]
        .concat();
        ipv6(from, to, 0, &headers)
    });
    assert_eq!(capture_link(229, &frames).sessions(), [WHOLE]);
}

#[test]
fn garbage_is_counted_and_never_a_panic() {
    let mut frames = conversation();
    let valid = frames.len() as u64;
    for seed in 0_u32..2000 {
        let len = (seed % 90) as usize;
        let bytes: Vec<u8> = (0..len as u32)
            .map(|i| (seed.wrapping_mul(2_654_435_761).rotate_left(i % 31) >> 7) as u8)
            .collect();
        frames.push(Frame {
            at: 1,
            wire_len: bytes.len(),
            bytes,
        });
    }
    for link_type in [0, 1, 101, 108, 113, 228, 229, 276] {
        let captured = capture_link(link_type, &frames);
        assert_eq!(
            captured.progress.ledger.account("packets").unwrap().seen,
            2000 + valid
        );
    }
}
