use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, StringArray};
use arrow_schema::ArrowError;
use xxhash_rust::xxh3::xxh3_64;

use super::schema::{absent, word};
use super::steady::Steady;

/// Distinct texts, numbered in the order of their coming.
#[derive(Debug, Default)]
pub struct Dictionary {
    values: Vec<Arc<str>>,
    by_hash: HashMap<u64, i32, BuildHasherDefault<Prehashed>>,
}

impl Dictionary {
    /// Two texts of one hash are told apart; the later is then entered each time it comes, which a
    /// dictionary allows.
    pub fn key(&mut self, text: &str) -> i32 {
        let hash = xxh3_64(text.as_bytes());
        if let Some(&key) = self.by_hash.get(&hash)
            && self.get(key) == Some(text)
        {
            return key;
        }
        let key = i32::try_from(self.values.len()).unwrap_or(i32::MAX);
        self.values.push(text.into());
        self.by_hash.entry(hash).or_insert(key);
        key
    }

    fn get(&self, key: i32) -> Option<&str> {
        let key = usize::try_from(key).ok()?;
        self.values.get(key).map(|text| &**text)
    }

    pub fn values(&self) -> StringArray {
        self.values.iter().map(|text| Some(&**text)).collect()
    }
}

/// A hash that is its own hash.
#[derive(Debug, Default)]
pub struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Builds a column of texts that repeat themselves.
#[derive(Debug, Default)]
pub struct Words {
    keys: Steady<Int32Type>,
    dictionary: Dictionary,
    /// Texts met lately, by address; kept alive here, so that an address means one text.
    recent: [Option<(Arc<str>, i32)>; RECENT],
    recent_name: Option<(&'static str, i32)>,
}

const RECENT: usize = 16;

impl Words {
    pub fn with_capacity(rows: usize) -> Words {
        Words {
            keys: Steady::with_capacity(rows),
            ..Words::default()
        }
    }

    pub fn push(&mut self, text: &Arc<str>) {
        let slot = (text.as_ptr().addr() >> 4) % RECENT;
        if let Some(Some((known, key))) = self.recent.get(slot)
            && Arc::ptr_eq(known, text)
        {
            let key = *key;
            self.keys.push(key);
            return;
        }
        let key = self.dictionary.key(text);
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = Some((Arc::clone(text), key));
        }
        self.keys.push(key);
    }

    pub fn push_name(&mut self, name: &'static str) {
        let key = match self.recent_name {
            Some((known, key)) if std::ptr::eq(known, name) => key,
            _ => self.dictionary.key(name),
        };
        self.recent_name = Some((name, key));
        self.keys.push(key);
    }

    pub fn push_str(&mut self, text: &str) {
        let key = self.dictionary.key(text);
        self.keys.push(key);
    }

    pub fn push_option(&mut self, text: Option<&Arc<str>>) {
        match text {
            Some(text) => self.push(text),
            None => self.push_nulls(1),
        }
    }

    pub fn push_nulls(&mut self, count: usize) {
        self.keys.push_nulls(count);
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let Some(keys) = self.keys.finish_numbers() else {
            return Ok(absent(&word(), self.keys.len()));
        };
        let values = Arc::new(self.dictionary.values());
        Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
    }
}
