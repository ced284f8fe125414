//! Any bytes as a packet file, and each of its packets as a frame of a link.
#![no_main]

use std::io::Cursor;

use capture::{Dissector, PacketFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut dissector = Dissector::new();
    let input = Box::new(Cursor::new(data.to_vec()));
    if let Ok(mut file) = PacketFile::new("fuzz".to_owned(), input) {
        while let Ok(Some(packet)) = file.next_packet() {
            dissector.dissect(packet.link_type, packet.bytes, packet.wire_len, packet.at);
        }
    }
    for link_type in [0, 1, 101, 108, 113, 228, 229, 276] {
        dissector.dissect(link_type, data, data.len() as u32, recording::Timestamp(0));
    }
});
