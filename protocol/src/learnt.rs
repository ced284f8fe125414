use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use lru::LruCache;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// A value that the recorded server made up: its name, and the value.
pub type Recorded = (Box<[u8]>, Box<[u8]>);

/// Stands for a [`Recorded`] where many are kept.
pub type Mark = u128;

pub fn mark(name: &[u8], value: &[u8]) -> Mark {
    xxh3_128_with_seed(value, xxh3_64(name))
}

/// What a run's drivers learn for each other: what the target made up where the recorded server made up
/// which value. Where there is no room for more, what was not used for longest is forgotten: a client
/// that got a new value does not send the old one for long.
#[derive(Clone, Default)]
pub struct Learnt(Arc<Mutex<Known>>);

struct Known {
    targets: LruCache<Mark, Arc<[u8]>, RandomState>,
    bytes: usize,
    forgotten: u64,
}

impl Learnt {
    const MAX_BYTES: usize = 256 << 20;
    /// What a value takes beside its bytes, about.
    const ENTRY: usize = 128;

    /// The target may have made up the same.
    pub fn teach(&self, name: &[u8], recorded: &[u8], target: &[u8]) {
        self.lock().insert(mark(name, recorded), target);
    }

    pub fn target(&self, name: &[u8], recorded: &[u8]) -> Option<Arc<[u8]>> {
        self.lock().targets.get(&mark(name, recorded)).cloned()
    }

    /// How many values.
    pub fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Known {
    fn default() -> Known {
        Known {
            targets: LruCache::unbounded_with_hasher(RandomState::new()),
            bytes: 0,
            forgotten: 0,
        }
    }
}

impl Known {
    fn insert(&mut self, mark: Mark, target: &[u8]) {
        self.bytes += target.len() + Learnt::ENTRY;
        if let Some(before) = self.targets.put(mark, target.into()) {
            self.bytes -= before.len() + Learnt::ENTRY;
        }
        while self.bytes > Learnt::MAX_BYTES
            && let Some((_, oldest)) = self.targets.pop_lru()
        {
            self.bytes -= oldest.len() + Learnt::ENTRY;
            self.forgotten += 1;
        }
    }
}

impl fmt::Debug for Learnt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Learnt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_not_forgotten() {
        let learnt = Learnt::default();
        let large = vec![b'x'; Learnt::MAX_BYTES / 4];
        learnt.teach(b"a", b"1", b"one");
        learnt.teach(b"a", b"2", b"two");
        for n in 0..8 {
            learnt.teach(b"large", &[n], &large);
            assert_eq!(learnt.target(b"a", b"1").as_deref(), Some(&b"one"[..]));
        }
        assert_eq!(learnt.target(b"a", b"2"), None);
        assert!(learnt.target(b"large", &[7]).is_some());
        assert_eq!(learnt.forgotten(), 6);
    }

    #[test]
    fn a_value_is_that_of_its_name() {
        let learnt = Learnt::default();
        learnt.teach(b"a", b"1", b"one");
        learnt.teach(b"a", b"1", b"uno");
        assert_eq!(learnt.target(b"a", b"1").as_deref(), Some(&b"uno"[..]));
        assert_eq!(learnt.target(b"b", b"1"), None);
        assert_eq!(learnt.lock().bytes, Learnt::ENTRY + 3);
    }
}
