use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use recording::Timestamp;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::packet::{Endpoint, Segment};

/// The two ends of a connection in their network, whichever of them sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    low: Endpoint,
    high: Endpoint,
    network: u64,
    hash: u64,
}

impl FlowKey {
    /// `seed` keeps outsiders from choosing addresses that collide.
    pub fn new(segment: &Segment, seed: u64) -> FlowKey {
        let (low, high) = if segment.source <= segment.destination {
            (segment.source, segment.destination)
        } else {
            (segment.destination, segment.source)
        };
        let mut bytes = [0; 44];
        bytes[..36].copy_from_slice(&five_tuple(low, high));
        bytes[36..].copy_from_slice(&segment.network.to_ne_bytes());
        FlowKey {
            low,
            high,
            network: segment.network,
            hash: xxh3_64_with_seed(&bytes, seed),
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The same in every capture, whatever network the connection was met in.
    pub fn stable_hash(&self) -> u64 {
        xxh3_64(&five_tuple(self.low, self.high))
    }
}

/// Of TCP, which is the fifth.
fn five_tuple(low: Endpoint, high: Endpoint) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..16].copy_from_slice(&low.address);
    bytes[16..32].copy_from_slice(&high.address);
    bytes[32..34].copy_from_slice(&low.port.to_le_bytes());
    bytes[34..].copy_from_slice(&high.port.to_le_bytes());
    bytes
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes the key's own hash on.
#[derive(Debug, Default)]
struct Passing(u64);

impl Hasher for Passing {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// In the order in which they are given up when the table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Over; kept for what still comes of it.
    Closed,
    /// No data yet.
    Silent,
    Open,
}

const CLASSES: usize = 3;
const NONE: u32 = u32::MAX;

/// Where a flow is in its table.
#[derive(Clone, Copy, Debug)]
pub struct Handle(u32);

#[derive(Debug)]
struct Slot<T> {
    key: FlowKey,
    class: Class,
    at: Timestamp,
    older: u32,
    newer: u32,
    /// Empty when the slot is free.
    value: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
    len: usize,
}

/// Flows by key and, within a class, by the time of their last packet.
#[derive(Debug)]
pub struct Table<T> {
    places: HashMap<FlowKey, u32, BuildHasherDefault<Passing>>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    lists: [List; CLASSES],
}

impl<T> Table<T> {
    /// Bytes that an entry takes, at the most: what grows doubles.
    pub const SLOT_SIZE: usize = 2 * (size_of::<Slot<T>>() + size_of::<(FlowKey, u32)>());

    pub fn new() -> Table<T> {
        let empty = List {
            oldest: NONE,
            newest: NONE,
            len: 0,
        };
        Table {
            places: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            lists: [empty; CLASSES],
        }
    }

    pub fn len(&self, class: Class) -> usize {
        self.lists.get(class as usize).map_or(0, |list| list.len)
    }

    /// Where a flow is, until another call removes it.
    pub fn find(&self, key: &FlowKey) -> Option<Handle> {
        self.places.get(key).copied().map(Handle)
    }

    pub fn get_mut(&mut self, Handle(place): Handle) -> Option<&mut T> {
        self.slots.get_mut(place as usize)?.value.as_mut()
    }

    /// Sets the flow's class and the time of its last packet.
    pub fn touch(&mut self, Handle(place): Handle, class: Class, at: Timestamp) {
        let newest = self.lists.get(class as usize).map(|list| list.newest);
        if newest != Some(place) {
            self.unlink(place);
            self.link(place, class);
        }
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.at = at;
        }
    }

    pub fn insert(&mut self, key: FlowKey, class: Class, at: Timestamp, value: T) -> Handle {
        self.remove(&key);
        let slot = Slot {
            key,
            class,
            at,
            older: NONE,
            newer: NONE,
            value: Some(value),
        };
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(free) = self.slots.get_mut(place as usize) {
                    *free = slot;
                }
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.places.insert(key, place);
        self.link(place, class);
        Handle(place)
    }

    pub fn remove(&mut self, key: &FlowKey) -> Option<T> {
        let place = self.places.remove(key)?;
        self.unlink(place);
        self.free.push(place);
        self.slots.get_mut(place as usize)?.value.take()
    }

    /// The flow of a class that has been quiet for longest, and since when.
    pub fn oldest(&self, class: Class) -> Option<(FlowKey, Timestamp)> {
        let place = self.lists.get(class as usize)?.oldest;
        let slot = self.slots.get(place as usize)?;
        Some((slot.key, slot.at))
    }

    fn link(&mut self, place: u32, class: Class) {
        let Some(list) = self.lists.get_mut(class as usize) else {
            return;
        };
        let older = std::mem::replace(&mut list.newest, place);
        if older == NONE {
            list.oldest = place;
        }
        list.len += 1;
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.class = class;
            slot.older = older;
            slot.newer = NONE;
        }
        if let Some(slot) = self.slots.get_mut(older as usize) {
            slot.newer = place;
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(slot) = self.slots.get(place as usize) else {
            return;
        };
        let (older, newer, class) = (slot.older, slot.newer, slot.class);
        if let Some(slot) = self.slots.get_mut(older as usize) {
            slot.newer = newer;
        }
        if let Some(slot) = self.slots.get_mut(newer as usize) {
            slot.older = older;
        }
        if let Some(list) = self.lists.get_mut(class as usize) {
            list.len -= 1;
            if list.oldest == place {
                list.oldest = newer;
            }
            if list.newest == place {
                list.newest = older;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Flags;

    fn key(port: u16) -> FlowKey {
        let end = |port| Endpoint {
            address: [0; 16],
            port,
        };
        let segment = Segment {
            source: end(port),
            destination: end(5432),
            network: 0,
            seq: 0,
            ack: 0,
            flags: Flags(0),
            payload_len: 0,
            packets: 1,
        };
        FlowKey::new(&segment, 7)
    }

    #[test]
    fn both_directions_have_one_key() {
        let mut segment = Segment {
            source: Endpoint {
                address: [1; 16],
                port: 9,
            },
            destination: Endpoint {
                address: [2; 16],
                port: 5432,
            },
            network: 3,
            seq: 0,
            ack: 0,
            flags: Flags(0),
            payload_len: 0,
            packets: 1,
        };
        let there = FlowKey::new(&segment, 1);
        std::mem::swap(&mut segment.source, &mut segment.destination);
        assert_eq!(FlowKey::new(&segment, 1), there);
        segment.network = 4;
        assert_ne!(FlowKey::new(&segment, 1), there);
    }

    proptest! {
        /// Against a list that is searched.
        #[test]
        fn keeps_the_order_of_last_packets(steps in prop::collection::vec((0..4_u8, 0..12_u16), 0..200)) {
            let classes = [Class::Closed, Class::Silent, Class::Open];
            let mut table = Table::new();
            let mut oracle: Vec<(u16, Class, Timestamp)> = Vec::new();
            for (time, (step, port)) in steps.into_iter().enumerate() {
                let at = Timestamp(time as i64);
                let known = oracle.iter().position(|(p, ..)| *p == port);
                match step {
                    3 => {
                        prop_assert_eq!(table.remove(&key(port)), known.map(|i| oracle.remove(i).0));
                    }
                    class => {
                        let class = classes[usize::from(class)];
                        match known {
                            Some(place) => {
                                oracle.remove(place);
                                let known = table.find(&key(port)).unwrap();
                                table.touch(known, class, at);
                            }
                            None => {
                                table.insert(key(port), class, at, port);
                            }
                        }
                        oracle.push((port, class, at));
                    }
                }
                for class in classes {
                    let mut of_class = oracle.iter().filter(|(_, c, _)| *c == class);
                    prop_assert_eq!(table.len(class), of_class.clone().count());
                    let oldest = of_class.next().map(|(port, _, at)| (key(*port), *at));
                    prop_assert_eq!(table.oldest(class), oldest);
                }
            }
        }
    }
}
