use std::fmt;
use std::sync::Arc;

use protocol::{Probe, Protocol, Side};

/// The servers' ports and what is spoken there.
#[derive(Clone, Default)]
pub struct Ports(Vec<(u16, Spoken)>);

/// What may be spoken on a port: at least one protocol.
#[derive(Clone)]
pub struct Spoken(Arc<[&'static dyn Protocol]>);

impl Ports {
    /// Where a port has several protocols, the first bytes of each connection tell.
    pub fn new(ports: impl IntoIterator<Item = (u16, &'static dyn Protocol)>) -> Ports {
        let mut all: Vec<(u16, Vec<&'static dyn Protocol>)> = Vec::new();
        for (port, protocol) in ports {
            match all.iter_mut().find(|(known, _)| *known == port) {
                Some((_, spoken)) => spoken.push(protocol),
                None => all.push((port, vec![protocol])),
            }
        }
        let spoken = |(port, spoken): (u16, Vec<_>)| (port, Spoken(spoken.into()));
        Ports(all.into_iter().map(spoken).collect())
    }

    pub fn get(&self, port: u16) -> Option<&Spoken> {
        self.0
            .iter()
            .find(|(known, _)| *known == port)
            .map(|(_, spoken)| spoken)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn numbers(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|(port, _)| *port)
    }

    /// Each name once.
    pub fn protocols(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for protocol in self.0.iter().flat_map(|(_, spoken)| spoken.0.iter()) {
            if !names.contains(&protocol.name()) {
                names.push(protocol.name());
            }
        }
        names
    }
}

impl Spoken {
    /// Are these first bytes a client's?
    pub fn probes(&self, payload: &[u8]) -> bool {
        self.0.iter().any(|it| it.probe(payload) == Probe::Yes)
    }

    /// What a connection speaks, where these bytes tell it. Where nothing else can, it is the only
    /// protocol, or the first one, which then says what is wrong with a connection's `first` bytes.
    pub fn told_by(&self, side: Side, bytes: &[u8], first: bool) -> Option<&'static dyn Protocol> {
        let asks = side == Side::Client && !bytes.is_empty();
        let with = |wanted| {
            let mut protocols = self.0.iter().copied();
            protocols.find(|it| asks && it.probe(bytes) == wanted)
        };
        let more = || with(Probe::More).filter(|_| first);
        let any = || self.0.first().copied();
        let otherwise = || any().filter(|_| self.0.len() == 1 || (asks && first));
        with(Probe::Yes).or_else(more).or_else(otherwise)
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(port, spoken)| (port, spoken));
        f.debug_map().entries(names).finish()
    }
}

impl fmt::Debug for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|it| it.name()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        let both = protocol::registry().iter().map(|it| (8080, *it));
        let ports = Ports::new(both);
        let spoken = ports.get(8080).unwrap();
        let name = |from, bytes, first| spoken.told_by(from, bytes, first).map(|it| it.name());
        let told = |from, bytes| name(from, bytes, true).unwrap();
        assert_eq!(
            told(Side::Client, b"GET / HTTP/1.1\r\n\r\n".as_slice()),
            "http"
        );
        assert_eq!(told(Side::Client, b"GET /a/long"), "http");
        let startup = b"\0\0\0\x08\x04\xd2\x16\x2f";
        assert_eq!(told(Side::Client, startup), "postgres");
        let first = protocol::registry()[0].name();
        assert_eq!(told(Side::Client, b"\x16\x03\x01"), first);
        assert_eq!(name(Side::Server, b"GET / HTTP/1.1\r\n\r\n", true), None);
        assert_eq!(name(Side::Client, b"", true), None);
        // In the middle, only a whole request tells.
        let get = b"GET / HTTP/1.1\r\n\r\n".as_slice();
        assert_eq!(name(Side::Client, get, false), Some("http"));
        let query = b"Q\0\0\0\x0dselect 1\0".as_slice();
        assert_eq!(name(Side::Client, query, false), Some("postgres"));
        for bytes in [b"{\"a\": 1}".as_slice(), b"PART", b"\x16\x03\x01", b""] {
            assert_eq!(name(Side::Client, bytes, false), None);
        }
        let one = Ports::new([(80, protocol::by_name("http").unwrap())]);
        let one = one.get(80).unwrap().told_by(Side::Server, b"", false);
        assert_eq!(one.map(|it| it.name()), Some("http"));
        assert!(spoken.probes(startup) && !spoken.probes(b"\x16\x03\x01"));
        assert!(ports.get(80).is_none());
    }
}
