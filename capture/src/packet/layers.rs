//! Link, network and tunnel headers down to TCP.

use std::net::Ipv4Addr;

use etherparse::{Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice};

use super::cursor::Cursor;
use super::fragments::FragmentHead;
use super::link;
use super::{
    DAMAGED, Endpoint, Flags, NOT_IP, NOT_TCP, Segment, TOO_DEEP, TRUNCATED, UNSUPPORTED_TUNNEL,
};

const MAX_TAGS: usize = 8;
const MAX_TUNNELS: u8 = 4;
const MAX_EXTENSIONS: usize = 8;

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;

const PROTOCOL_TCP: u8 = 6;

#[derive(Debug)]
pub enum Step {
    /// With the offset of its payload.
    Segment(Segment, usize),
    Fragment(Fragment),
}

#[derive(Debug)]
pub struct Fragment {
    pub head: FragmentHead,
    pub start: usize,
    pub len: usize,
}

type Walked = Result<Step, &'static str>;

/// Walks a frame as it came from the link.
pub fn frame(link_type: u32, frame: &[u8], wire_len: usize) -> Walked {
    let mut walk = Walk {
        cursor: Cursor::new(frame, wire_len.max(frame.len())),
        network: 0,
        tunnels: 0,
    };
    match link_type {
        link::ETHERNET => walk.ethernet(),
        // An address family in the byte order of the machine that captured: not worth reading,
        // since the version of IP is in the next byte too.
        link::NULL | link::LOOP => {
            walk.cursor.skip(4)?;
            walk.ip()
        }
        link::RAW | link::RAW_BSD | link::RAW_OPENBSD | link::IPV4 | link::IPV6 => walk.ip(),
        link::SLL => {
            walk.cursor.skip(14)?;
            walk.ether_type()
        }
        link::SLL2 => {
            let ether_type = walk.cursor.u16()?;
            walk.cursor.skip(18)?;
            walk.payload_of(ether_type)
        }
        other => Err(link::unsupported(other)),
    }
}

/// Walks a datagram that was put together from fragments.
pub fn datagram(head: &FragmentHead, payload: &[u8]) -> Walked {
    Walk {
        cursor: Cursor::new(payload, payload.len()),
        network: head.network,
        tunnels: head.tunnels,
    }
    .transport(head.protocol, head.source, head.destination)
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    network: u64,
    tunnels: u8,
}

impl Walk<'_> {
    fn ethernet(&mut self) -> Walked {
        self.cursor.skip(12)?;
        self.ether_type()
    }

    fn ether_type(&mut self) -> Walked {
        let ether_type = self.cursor.u16()?;
        self.payload_of(ether_type)
    }

    fn payload_of(&mut self, mut ether_type: u16) -> Walked {
        for _ in 0..MAX_TAGS {
            match ether_type {
                ETHER_IPV4 | ETHER_IPV6 => return self.ip(),
                // 802.1Q, 802.1ad and their older numbers.
                0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                    // Tag 0 carries a priority and no network.
                    match self.cursor.u16()? & 0x0fff {
                        0 => {}
                        vlan => self.enter(1, vlan.into()),
                    }
                    ether_type = self.cursor.u16()?;
                }
                // VN-Tag: its ports differ with the direction, so they tell no network.
                0x8926 => {
                    self.cursor.skip(4)?;
                    ether_type = self.cursor.u16()?;
                }
                // MPLS: labels to the bottom of the stack.
                0x8847 | 0x8848 => {
                    let mut labels = 0;
                    while self.cursor.u32()? & 0x100 == 0 {
                        labels += 1;
                        if labels == MAX_TAGS {
                            return Err(TOO_DEEP);
                        }
                    }
                    return self.ip();
                }
                // A PPPoE session.
                0x8864 => {
                    self.cursor.skip(6)?;
                    ether_type = match self.cursor.u16()? {
                        0x0021 => ETHER_IPV4,
                        0x0057 => ETHER_IPV6,
                        _ => return Err(NOT_IP),
                    };
                }
                _ => return Err(NOT_IP),
            }
        }
        Err(TOO_DEEP)
    }

    /// Notes a network in the network. `kind` keeps a VLAN apart from a VXLAN of the same number.
    fn enter(&mut self, kind: u64, number: u32) {
        let inner = self.network.rotate_left(23) ^ (kind << 32 | u64::from(number));
        self.network = inner.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    fn tunnel(&mut self) -> Result<(), &'static str> {
        self.tunnels += 1;
        if self.tunnels > MAX_TUNNELS {
            return Err(TOO_DEEP);
        }
        Ok(())
    }

    fn ip(&mut self) -> Walked {
        match self.cursor.rest().first().map(|byte| byte >> 4) {
            Some(4) => self.ipv4(),
            Some(6) => self.ipv6(),
            Some(_) => Err(NOT_IP),
            None => Err(TRUNCATED),
        }
    }

    fn ipv4(&mut self) -> Walked {
        let rest = self.cursor.rest();
        let header = Ipv4HeaderSlice::from_slice(rest).map_err(|_| header_error(rest.len(), 60))?;
        let header_len = header.slice().len();
        match usize::from(header.total_len()) {
            // Segmentation was left to the network card: the frame's length is all there is.
            0 => {}
            total if total < header_len => return Err(DAMAGED),
            total => self.cursor.limit(total),
        }
        self.cursor.skip(header_len)?;
        let source = map(header.source_addr());
        let destination = map(header.destination_addr());
        let protocol = header.protocol().0;
        if header.is_fragmenting_payload() {
            let offset = header.fragments_offset().byte_offset();
            let id = u32::from(header.identification());
            let more = header.more_fragments();
            return self.fragment(protocol, source, destination, id, offset, more);
        }
        self.transport(protocol, source, destination)
    }

    fn ipv6(&mut self) -> Walked {
        let rest = self.cursor.rest();
        let header = Ipv6HeaderSlice::from_slice(rest).map_err(|_| header_error(rest.len(), 40))?;
        self.cursor.skip(header.slice().len())?;
        match usize::from(header.payload_length()) {
            // A jumbogram, or segmentation that was left to the network card.
            0 => {}
            len => self.cursor.limit(len),
        }
        let (source, destination) = (header.source(), header.destination());
        let mut protocol = header.next_header().0;
        for _ in 0..MAX_EXTENSIONS {
            match protocol {
                // Hop-by-hop and destination options, routing, mobility, HIP, shim6.
                0 | 43 | 60 | 135 | 139 | 140 => {
                    let [next, len] = self.cursor.take()?;
                    self.cursor.skip(usize::from(len) * 8 + 6)?;
                    protocol = next;
                }
                // Authentication counts in other units.
                51 => {
                    let [next, len] = self.cursor.take()?;
                    self.cursor.skip(usize::from(len) * 4 + 6)?;
                    protocol = next;
                }
                44 => {
                    let header = Ipv6FragmentHeaderSlice::from_slice(self.cursor.rest())
                        .map_err(|_| TRUNCATED)?;
                    self.cursor.skip(header.slice().len())?;
                    protocol = header.next_header().0;
                    if header.is_fragmenting_payload() {
                        let offset = header.fragment_offset().byte_offset();
                        let (id, more) = (header.identification(), header.more_fragments());
                        return self.fragment(protocol, source, destination, id, offset, more);
                    }
                }
                _ => return self.transport(protocol, source, destination),
            }
        }
        Err(TOO_DEEP)
    }

    fn fragment(
        &mut self,
        protocol: u8,
        source: [u8; 16],
        destination: [u8; 16],
        id: u32,
        offset: u16,
        more: bool,
    ) -> Walked {
        let captured = self.cursor.rest().len();
        if captured < self.cursor.wire_left() {
            return Err(TRUNCATED);
        }
        Ok(Step::Fragment(Fragment {
            head: FragmentHead {
                source,
                destination,
                protocol,
                id,
                network: self.network,
                tunnels: self.tunnels,
                offset,
                more,
            },
            start: self.cursor.at(),
            len: captured,
        }))
    }

    fn transport(&mut self, protocol: u8, source: [u8; 16], destination: [u8; 16]) -> Walked {
        match protocol {
            PROTOCOL_TCP => self.tcp(source, destination),
            4 | 41 => {
                self.tunnel()?;
                self.ip()
            }
            17 => self.udp(),
            47 => self.gre(),
            _ => Err(NOT_TCP),
        }
    }

    /// VXLAN (RFC 7348) and Geneve (RFC 8926) by their ports.
    fn udp(&mut self) -> Walked {
        self.cursor.skip(2)?;
        let port = self.cursor.u16()?;
        self.cursor.skip(4)?;
        match port {
            4789 | 8472 => {
                let flags = self.cursor.u32()?;
                let number = self.cursor.u32()? >> 8;
                // A bit that says that the number is there.
                if flags & 0x0800_0000 == 0 {
                    return Err(NOT_TCP);
                }
                self.tunnel()?;
                self.enter(2, number);
                self.ethernet()
            }
            6081 => {
                let [first, _, kind @ ..]: [u8; 4] = self.cursor.take()?;
                let number = self.cursor.u32()? >> 8;
                if first >> 6 != 0 {
                    return Err(UNSUPPORTED_TUNNEL);
                }
                self.cursor.skip(usize::from(first & 0x3f) * 4)?;
                self.tunnel()?;
                self.enter(3, number);
                self.tunnelled(u16::from_be_bytes(kind))
            }
            _ => Err(NOT_TCP),
        }
    }

    /// GRE (RFC 2784, RFC 2890) and the mirrors that use it (ERSPAN).
    fn gre(&mut self) -> Walked {
        let flags = self.cursor.u16()?;
        let kind = self.cursor.u16()?;
        let (checksum, routing, key, sequence) = (
            flags & 0x8000 != 0,
            flags & 0x4000 != 0,
            flags & 0x2000 != 0,
            flags & 0x1000 != 0,
        );
        if flags & 0x7 != 0 || routing {
            return Err(UNSUPPORTED_TUNNEL);
        }
        self.tunnel()?;
        if checksum {
            self.cursor.skip(4)?;
        }
        if key {
            let key = self.cursor.u32()?;
            self.enter(4, key);
        }
        if sequence {
            self.cursor.skip(4)?;
        }
        match kind {
            // ERSPAN type I has no header of its own and no sequence number; type II has both.
            0x88be => {
                self.cursor.skip(if sequence { 8 } else { 0 })?;
                self.ethernet()
            }
            0x22eb => {
                let head: [u8; 12] = self.cursor.take()?;
                // A platform's own header may follow.
                let extended = head.last().is_some_and(|byte| byte & 1 != 0);
                self.cursor.skip(if extended { 8 } else { 0 })?;
                self.ethernet()
            }
            kind => self.tunnelled(kind),
        }
    }

    fn tunnelled(&mut self, kind: u16) -> Walked {
        match kind {
            0x6558 => self.ethernet(),
            kind => self.payload_of(kind),
        }
    }

    /// TCP (RFC 9293, 3.1). Its options need not have been captured, nor its checksum be right.
    fn tcp(&mut self, source: [u8; 16], destination: [u8; 16]) -> Walked {
        let wire_len = self.cursor.wire_left();
        let (source_port, destination_port) = (self.cursor.u16()?, self.cursor.u16()?);
        let (seq, ack) = (self.cursor.u32()?, self.cursor.u32()?);
        let [offset, flags] = self.cursor.take()?;
        let header_len = usize::from(offset >> 4) * 4;
        if header_len < 20 || header_len > wire_len {
            return Err(DAMAGED);
        }
        self.cursor.skip(header_len - 14)?;
        let segment = Segment {
            source: Endpoint {
                address: source,
                port: source_port,
            },
            destination: Endpoint {
                address: destination,
                port: destination_port,
            },
            network: self.network,
            seq,
            ack,
            flags: Flags(flags),
            payload_len: u32::try_from(wire_len - header_len).map_err(|_| DAMAGED)?,
            packets: 1,
        };
        Ok(Step::Segment(segment, self.cursor.at()))
    }
}

fn header_error(captured: usize, longest: usize) -> &'static str {
    if captured < longest {
        TRUNCATED
    } else {
        DAMAGED
    }
}

fn map(address: Ipv4Addr) -> [u8; 16] {
    address.to_ipv6_mapped().octets()
}
