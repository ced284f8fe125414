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
///
/// One recorded value may stand for several of the target's (a role, a variant of a test): each driver has a
/// clone of its own, which knows best what it learnt itself.
///
/// What drivers know best takes room too; only what there is room for is known so.
pub struct Learnt {
    own: LruCache<Mark, Arc<[u8]>, RandomState>,
    shared: Arc<Mutex<Known>>,
}

struct Known {
    targets: LruCache<Mark, Arc<[u8]>, RandomState>,
    bytes: usize,
    /// Of what drivers know best, for all of them.
    own_bytes: usize,
    forgotten: u64,
    ambiguous: u64,
}

impl Learnt {
    /// Values that a driver knows best.
    const MAX_OWN: usize = 64;
    const MAX_BYTES: usize = 256 << 20;
    /// What a value takes beside its bytes, about.
    const ENTRY: usize = 128;

    /// The target may have made up the same.
    pub fn teach(&mut self, name: &[u8], recorded: &[u8], target: &[u8]) {
        let (mark, target) = (mark(name, recorded), Arc::from(target));
        let mut out = self.own.pop(&mark).map(|it| Self::size(&it));
        if self.own.len() >= Self::MAX_OWN {
            out = self.own.pop_lru().map(|(_, it)| Self::size(&it));
        }
        let mut known = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        known.own_bytes -= out.unwrap_or_default();
        let fits = known.own_bytes + Self::size(&target) <= Self::MAX_BYTES / 2;
        if fits {
            known.own_bytes += Self::size(&target);
            self.own.put(mark, Arc::clone(&target));
        }
        known.insert(mark, target);
    }

    /// Of a value in memory, with what it takes beside its bytes.
    fn size(value: &[u8]) -> usize {
        value.len() + Self::ENTRY
    }

    pub fn target(&self, name: &[u8], recorded: &[u8]) -> Option<Arc<[u8]>> {
        let mark = mark(name, recorded);
        let own = self.own.peek(&mark).cloned();
        own.or_else(|| self.lock().targets.get(&mark).cloned())
    }

    /// How many times the target made up another value than before for a recorded one.
    pub fn ambiguous(&self) -> u64 {
        self.lock().ambiguous
    }

    /// How many values.
    pub fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knows what all know, and nothing best.
impl Clone for Learnt {
    fn clone(&self) -> Learnt {
        Learnt {
            own: LruCache::unbounded_with_hasher(RandomState::new()),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Learnt {
    fn drop(&mut self) {
        let own: usize = self.own.iter().map(|(_, it)| Self::size(it)).sum();
        if own > 0 {
            self.lock().own_bytes -= own;
        }
    }
}

impl Default for Learnt {
    fn default() -> Learnt {
        Learnt {
            own: LruCache::unbounded_with_hasher(RandomState::new()),
            shared: Arc::default(),
        }
    }
}

impl Default for Known {
    fn default() -> Known {
        Known {
            targets: LruCache::unbounded_with_hasher(RandomState::new()),
            bytes: 0,
            own_bytes: 0,
            forgotten: 0,
            ambiguous: 0,
        }
    }
}

impl Known {
    fn insert(&mut self, mark: Mark, target: Arc<[u8]>) {
        self.bytes += Learnt::size(&target);
        if let Some(before) = self.targets.put(mark, Arc::clone(&target)) {
            self.bytes -= Learnt::size(&before);
            self.ambiguous += u64::from(before != target);
        }
        while self.bytes + self.own_bytes > Learnt::MAX_BYTES
            && let Some((_, oldest)) = self.targets.pop_lru()
        {
            self.bytes -= Learnt::size(&oldest);
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
        let mut learnt = Learnt::default();
        let reader = learnt.clone();
        let large = vec![b'x'; Learnt::MAX_BYTES / 4];
        learnt.teach(b"a", b"1", b"one");
        learnt.teach(b"a", b"2", b"two");
        for n in 0..8 {
            learnt.teach(b"large", &[n], &large);
            assert_eq!(reader.target(b"a", b"1").as_deref(), Some(&b"one"[..]));
            let known = learnt.lock();
            assert!(known.bytes + known.own_bytes <= Learnt::MAX_BYTES);
        }
        assert_eq!(reader.target(b"a", b"2"), None);
        assert!(reader.target(b"large", &[7]).is_some());
        assert_eq!(learnt.forgotten(), 7);
        assert!(reader.lock().own_bytes > large.len());
        drop(learnt);
        assert_eq!(reader.lock().own_bytes, 0);
    }

    #[test]
    fn a_value_is_that_of_its_name() {
        let mut learnt = Learnt::default();
        learnt.teach(b"a", b"1", b"one");
        learnt.teach(b"a", b"1", b"uno");
        assert_eq!(learnt.target(b"a", b"1").as_deref(), Some(&b"uno"[..]));
        assert_eq!(learnt.target(b"b", b"1"), None);
        assert_eq!(learnt.lock().bytes, Learnt::ENTRY + 3);
    }

    #[test]
    fn who_learnt_it_knows_best() {
        let mut ann = Learnt::default();
        let (mut bob, eve) = (ann.clone(), ann.clone());
        ann.teach(b"role", b"admin", b"user");
        bob.teach(b"role", b"admin", b"admin");
        let target = |learnt: &Learnt| learnt.target(b"role", b"admin").unwrap();
        assert_eq!(&*target(&ann), b"user");
        assert_eq!(&*target(&bob), b"admin");
        assert_eq!(&*target(&eve), b"admin");
        assert_eq!(eve.ambiguous(), 1);
        for n in 0..100 {
            ann.teach(b"n", &[n], b"x");
        }
        assert_eq!(ann.own.len(), Learnt::MAX_OWN);
        let own = Learnt::MAX_OWN * (Learnt::ENTRY + 1);
        assert_eq!(ann.lock().own_bytes, own + Learnt::ENTRY + "admin".len());
        assert_eq!(&*target(&ann), b"admin");
    }
}
