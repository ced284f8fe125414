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
    /// Where a port has several protocols, the first bytes of each connection tell; where they don't
    /// (they are the server's, or the middle of something), it is the first of them.
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

    /// What a connection speaks whose first bytes these are.
    pub fn told_by(&self, from: Side, bytes: &[u8]) -> Option<&'static dyn Protocol> {
        let with = |wanted| {
            let mut protocols = self.0.iter().copied();
            protocols.find(|it| from == Side::Client && it.probe(bytes) == wanted)
        };
        let told = with(Probe::Yes).or_else(|| with(Probe::More));
        told.or(self.0.first().copied())
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
        let told = |from, bytes| spoken.told_by(from, bytes).unwrap().name();
        assert_eq!(
            told(Side::Client, b"GET / HTTP/1.1\r\n\r\n".as_slice()),
            "http"
        );
        assert_eq!(told(Side::Client, b"GET /a/long"), "http");
        let startup = b"\0\0\0\x08\x04\xd2\x16\x2f";
        assert_eq!(told(Side::Client, startup), "postgres");
        let first = protocol::registry()[0].name();
        assert_eq!(told(Side::Client, b"\x16\x03\x01"), first);
        assert_eq!(told(Side::Server, b"GET / HTTP/1.1\r\n\r\n"), first);
        assert!(spoken.probes(startup) && !spoken.probes(b"\x16\x03\x01"));
        assert!(ports.get(80).is_none());
    }
}
