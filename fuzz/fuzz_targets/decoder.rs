//! Any bytes as the traffic of a connection, with gaps: rows come in their order and what is held
//! stays bounded. The first byte says whether capture began in the middle; then each chunk has a
//! byte of what it is and two of its length.

use protocol::{Executed, Known, Limits, Opening, Side};
use recording::{SessionInfo, Timestamp};

const LIMITS: Limits = Limits {
    request: 4096,
    body: 4096,
};
const MAX_HELD: usize = 1 << 20;

pub fn decode(protocol: &str, data: &[u8]) {
    let Some((first, mut data)) = data.split_first() else {
        return;
    };
    let protocol = protocol::by_name(protocol).expect("in the registry");
    let opening = Opening {
        at: Timestamp(0),
        mid_stream: first & 1 == 1,
        info: SessionInfo {
            protocol: protocol.name().into(),
            client: ([127, 0, 0, 1], 40_000).into(),
            server: ([127, 0, 0, 1], protocol.default_port()).into(),
            user: None,
            database: None,
            application: None,
            backend: None,
        },
    };
    let mut decoder = protocol.decoder(opening, LIMITS);
    let mut rows = Vec::new();
    let mut at = Timestamp(0);
    while let Some(([kind, high, low], rest)) = data.split_first_chunk() {
        at.0 += 1;
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let from = if kind & 1 == 0 {
            Side::Client
        } else {
            Side::Server
        };
        data = rest;
        if kind & 2 == 2 {
            decoder.learn(&Known {
                executed: Some(Executed {
                    text: "select $1".into(),
                    earliest: Timestamp(at.0 - 3),
                    latest: Timestamp(at.0 - 1),
                }),
                ..Known::default()
            });
        }
        if kind & 0xf0 == 0xf0 {
            decoder.gap(from, len as u64, at, &mut rows);
        } else {
            let (chunk, rest) = data.split_at(len.min(data.len()));
            data = rest;
            decoder.data(from, chunk, at, &mut rows);
        }
        assert!(decoder.held() < MAX_HELD);
    }
    decoder.close("fin", at, &mut rows);
    for (seq, row) in rows.iter().enumerate() {
        assert_eq!(row.seq as usize, seq);
        assert!(row.request.bytes.len() <= LIMITS.request);
    }
}
