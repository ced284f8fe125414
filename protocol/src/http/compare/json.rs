//! JSON by what was sent: numbers exactly, and keys that come twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::names::Names;
use super::{ABSENT, MAX_PLACES, one_sided, tell};
use crate::Difference;

/// Values within values of JSON that are compared as such.
const MAX_DEPTH: usize = 128;

/// `None` where one of them cannot be read.
pub(super) fn differences(old: &str, new: &str, names: &Names<'_>) -> Option<Vec<Difference>> {
    let [old, new]: [&RawValue; 2] = [json(old)?, json(new)?];
    let mut differences = Vec::new();
    let mut path = "$".to_owned();
    let texts = [old.get(), new.get()];
    compare_json(texts, names, MAX_DEPTH, &mut path, &mut differences)?;
    Some(differences)
}

/// Keys in any order, items in theirs. `None` where one of them cannot be read.
fn compare_json(
    [old, new]: [&str; 2],
    names: &Names<'_>,
    depth: usize,
    path: &mut String,
    differences: &mut Vec<Difference>,
) -> Option<()> {
    if old == new || differences.len() > MAX_PLACES {
        return Some(());
    }
    let depth = depth.checked_sub(1)?;
    let here = path.len();
    let mut compare_parts = |old: Option<&&RawValue>, new: Option<&&RawValue>, part: String| {
        path.push_str(&part);
        let text = |value: Option<&&RawValue>| value.map_or(ABSENT, |it| it.get()).to_owned();
        match (old, new) {
            (Some(old), Some(new)) => {
                compare_json([old.get(), new.get()], names, depth, path, differences)?;
            }
            _ => {
                path.push_str(one_sided(old.is_some()));
                tell(differences, path, || [text(old), text(new)]);
            }
        }
        path.truncate(here);
        Some(())
    };
    match (old.as_bytes().first()?, new.as_bytes().first()?) {
        (b'{', b'{') => {
            let [old, new]: [Entries<'_>; 2] = [json(old)?, json(new)?];
            let keys: BTreeSet<&(String, usize)> = old.0.keys().chain(new.0.keys()).collect();
            for key in keys {
                let part = match key {
                    (name, 0) => member(name),
                    (name, again) => format!("{} ({})", member(name), again + 1),
                };
                compare_parts(old.0.get(key), new.0.get(key), part)?;
            }
        }
        (b'[', b'[') => {
            let [old, new]: [Vec<&RawValue>; 2] = [json(old)?, json(new)?];
            for at in 0..old.len().max(new.len()) {
                compare_parts(old.get(at), new.get(at), format!("[{at}]"))?;
            }
        }
        (b'"', b'"') if names.is_same(&json::<String>(old)?, &json::<String>(new)?) => {}
        _ if number(old).is_some_and(|old| number(new) == Some(old)) => {}
        (&old_type, &new_type) => {
            let same_type = class(old_type) == class(new_type);
            let [old_bare, new_bare] = [old, new].map(|value| value.trim_matches('"'));
            if same_type && is_port(path) && names.are_ports(old_bare, new_bare) {
                return Some(());
            }
            if !same_type {
                path.push_str(", type");
            }
            tell(differences, path, || [old.to_owned(), new.to_owned()]);
            path.truncate(here);
        }
    }
    Some(())
}

/// Is the last member of the path named after ports? Elsewhere such a number may be any.
fn is_port(path: &str) -> bool {
    let member = path.rsplit('.').next().unwrap_or_default();
    member.to_ascii_lowercase().contains("port")
}

/// A value's type by its first byte.
fn class(first: u8) -> u8 {
    match first {
        b't' | b'f' => b't',
        b'-' | b'0'..=b'9' => b'0',
        other => other,
    }
}

/// In quotes where it could be taken for several: `.total`, `["total.sum"]`.
fn member(name: &str) -> String {
    match name.contains(['.', '[', ']']) {
        true => format!("[{name:?}]"),
        false => format!(".{name}"),
    }
}

fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// Of an object: by key, and how often it was there before.
struct Entries<'a>(BTreeMap<(String, usize), &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Entries<'a>, D::Error> {
        from.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
        let mut entries = BTreeMap::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            let times = seen.entry(name.clone()).or_default();
            entries.insert((name, *times), value);
            *times += 1;
        }
        Ok(Entries(entries))
    }
}

/// A number with a point or an exponent, exactly: negative, digits, power of ten. Others are as they are
/// written: 1 and 1.0 differ, 1.0 and 1e0 do not.
fn number(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let exact =
        text.starts_with(|first: char| first.is_ascii_digit()) && text.contains(['.', 'e', 'E']);
    if !exact {
        return None;
    }
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let bare = digits.trim_end_matches('0');
    if bare.is_empty() {
        return Some((false, String::new(), 0));
    }
    let power: i64 = power.parse().ok()?;
    let power = power.checked_sub(fraction.len() as i64)?;
    let power = power.checked_add((digits.len() - bare.len()) as i64)?;
    Some((negative, bare.to_owned(), power))
}
