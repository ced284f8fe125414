use std::fmt;

use protocol::Protocol;

/// The servers' ports and what is spoken there.
#[derive(Clone, Default)]
pub struct Ports(Vec<(u16, &'static dyn Protocol)>);

impl Ports {
    /// The first protocol of a port stands.
    pub fn new(ports: impl IntoIterator<Item = (u16, &'static dyn Protocol)>) -> Ports {
        let mut all: Vec<(u16, &'static dyn Protocol)> = Vec::new();
        for (port, protocol) in ports {
            if !all.iter().any(|(known, _)| *known == port) {
                all.push((port, protocol));
            }
        }
        Ports(all)
    }

    pub fn get(&self, port: u16) -> Option<&'static dyn Protocol> {
        self.0
            .iter()
            .find(|(known, _)| *known == port)
            .map(|(_, protocol)| *protocol)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u16, &'static dyn Protocol)> {
        self.0.iter().copied()
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(port, it)| (port, it.name()));
        f.debug_map().entries(names).finish()
    }
}
