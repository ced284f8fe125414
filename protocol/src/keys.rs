use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Of one run: a user of a server has one. Beyond them all are derived anew.
const MAX_KEYS: usize = 1_000;

/// What is derived from passwords at a cost, so that a run pays it once a user and not once a session.
#[derive(Clone, Default)]
pub struct Keys(Arc<Mutex<HashMap<Origin, [u8; 32]>>>);

/// The password, the salt and the number of iterations.
type Origin = (Box<[u8]>, Box<[u8]>, u32);

impl Keys {
    pub(crate) fn get(
        &self,
        password: &[u8],
        salt: &[u8],
        iterations: u32,
        derive: impl Fn(&[u8], &[u8], u32) -> [u8; 32],
    ) -> [u8; 32] {
        let origin = (password.into(), salt.into(), iterations);
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known().get(&origin) {
            return *key;
        }
        // Others go on meanwhile.
        let key = derive(password, salt, iterations);
        let mut known = known();
        if known.len() >= MAX_KEYS {
            known.clear();
        }
        known.insert(origin, key);
        key
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_is_derived_once() {
        let derived = Cell::new(0);
        let keys = Keys::default();
        let get = |keys: &Keys, password: &str, salt: &str, iterations| {
            let key = keys.get(
                password.as_bytes(),
                salt.as_bytes(),
                iterations,
                |_, _, _| {
                    derived.set(derived.get() + 1);
                    [derived.get(); 32]
                },
            );
            key[0]
        };
        for _ in 0..2 {
            assert_eq!(get(&keys, "a", "b", 1), 1);
            assert_eq!(get(&keys, "ab", "", 1), 2);
            assert_eq!(get(&keys, "a", "b", 2), 3);
            assert_eq!(get(&keys.clone(), "a", "c", 1), 4);
        }
    }

    #[test]
    fn there_are_not_more_than_so_many() {
        let keys = Keys::default();
        for iterations in 0..3 * MAX_KEYS as u32 {
            keys.get(b"", b"", iterations, |_, _, _| [0; 32]);
            assert!(keys.0.lock().unwrap().len() <= MAX_KEYS);
        }
    }
}
