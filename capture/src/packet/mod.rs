//! A frame of a link to a TCP segment.

mod cursor;
mod fragments;
mod layers;
pub mod link;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use recording::Timestamp;

use fragments::Fragments;
use layers::Step;

/// The frame ends inside a header that is needed.
pub const TRUNCATED: &str = "truncated header";
/// A length or version in a header can't be true.
pub const DAMAGED: &str = "damaged header";
pub const NOT_IP: &str = "not IP";
pub const NOT_TCP: &str = "not TCP";
pub const TOO_DEEP: &str = "tunnels nested too deep";
pub const FRAGMENT_INCOMPLETE: &str = "fragment incomplete";
pub const UNSUPPORTED_TUNNEL: &str = "unsupported tunnel";

/// One end of a connection. IPv4 addresses are mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub address: [u8; 16],
    pub port: u16,
}

impl Endpoint {
    pub fn socket(self) -> SocketAddr {
        let address = IpAddr::V6(Ipv6Addr::from(self.address)).to_canonical();
        SocketAddr::new(address, self.port)
    }
}

/// What a TCP segment says, without its payload's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub source: Endpoint,
    pub destination: Endpoint,
    /// Of the VLAN tags and tunnel numbers around it: equal addresses in different networks are
    /// different flows.
    pub network: u64,
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
    /// Length of the payload on the wire: more than the captured bytes where the frame was cut.
    pub payload_len: u32,
    /// Frames that it came in: more than one where IP fragments were put together.
    pub packets: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;

    pub fn fin(self) -> bool {
        self.0 & Flags::FIN != 0
    }

    pub fn syn(self) -> bool {
        self.0 & Flags::SYN != 0
    }

    pub fn rst(self) -> bool {
        self.0 & Flags::RST != 0
    }

    pub fn ack(self) -> bool {
        self.0 & Flags::ACK != 0
    }
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Dissected<'a> {
    Segment(Segment, &'a [u8]),
    /// A fragment, kept until the others come.
    Waiting,
    /// Not a TCP segment, or not one that can be read.
    Lost {
        reason: &'static str,
        packets: u32,
    },
}

/// Finds the TCP segment in a frame. Holds the IP fragments that wait for others.
#[derive(Debug, Default)]
pub struct Dissector {
    fragments: Fragments,
    whole: Vec<u8>,
}

impl Dissector {
    pub fn new() -> Dissector {
        Dissector::default()
    }

    pub fn dissect<'a>(
        &'a mut self,
        link_type: u32,
        frame: &'a [u8],
        wire_len: u32,
        at: Timestamp,
    ) -> Dissected<'a> {
        let mut packets = 1;
        let mut reassembled = false;
        let mut step = layers::frame(link_type, frame, wire_len as usize);
        loop {
            match step {
                Ok(Step::Segment(mut segment, start)) => {
                    segment.packets = packets;
                    let bytes = if reassembled { &self.whole } else { frame };
                    let captured = bytes.get(start..).unwrap_or_default();
                    let len = captured.len().min(segment.payload_len as usize);
                    let payload = captured.get(..len).unwrap_or_default();
                    return Dissected::Segment(segment, payload);
                }
                Ok(Step::Fragment(fragment)) => {
                    let bytes = if reassembled { &self.whole } else { frame };
                    let payload = bytes
                        .get(fragment.start..fragment.start + fragment.len)
                        .unwrap_or_default();
                    let Some((whole, count)) =
                        self.fragments.insert(&fragment.head, payload, packets, at)
                    else {
                        return Dissected::Waiting;
                    };
                    self.whole = whole;
                    packets = count;
                    reassembled = true;
                    step = layers::datagram(&fragment.head, &self.whole);
                }
                Err(reason) => return Dissected::Lost { reason, packets },
            }
        }
    }

    /// Frames whose fragments were given up since the last call.
    pub fn take_incomplete(&mut self) -> u64 {
        self.fragments.take_incomplete()
    }

    /// Gives up what still waits.
    pub fn finish(&mut self) -> u64 {
        self.fragments.finish()
    }
}
