//! OIDs of users' types inside binary values: each server gives out its own.

use std::borrow::Cow;

use crate::postgres::values::known_type;
use crate::reader::Reader;

/// Dimensions of an array, and columns of a row, at the most.
const MAX_DIMENSIONS: u32 = 6;
const MAX_FIELDS: u32 = 1664;

/// Rows within arrays within rows.
const MAX_DEPTH: usize = 8;

/// The value with the same OID for all of users' types, where it is an array or a row from its first byte to
/// its last. Anything else stays as it is.
pub(super) fn without_oids(value: &[u8]) -> Cow<'_, [u8]> {
    let mut oids = Vec::new();
    find(value, 0, MAX_DEPTH, &mut oids);
    let mut value = Cow::Borrowed(value);
    for (at, type_oid) in oids {
        let known = known_type(type_oid);
        if known != type_oid
            && let Some(bytes) = value.to_mut().get_mut(at..at + 4)
        {
            bytes.copy_from_slice(&known.to_be_bytes());
        }
    }
    value
}

/// Adds the places of the OIDs in a value that itself stands at `base`.
fn find(value: &[u8], base: usize, depth: usize, oids: &mut Vec<(usize, u32)>) {
    let before = oids.len();
    if depth == 0 || array(value, base, depth, oids).is_some() {
        return;
    }
    oids.truncate(before);
    if row(value, base, depth, oids).is_none() {
        oids.truncate(before);
    }
}

/// As of `array_send`.
fn array(value: &[u8], base: usize, depth: usize, oids: &mut Vec<(usize, u32)>) -> Option<()> {
    let mut reader = Reader::new(value);
    let dimensions = reader.u32_be("array.dimensions").ok()?;
    let has_nulls = reader.u32_be("array.has_nulls").ok()?;
    if dimensions > MAX_DIMENSIONS || has_nulls > 1 {
        return None;
    }
    oids.push((base + reader.offset(), reader.u32_be("array.type").ok()?));
    for _ in 0..dimensions {
        reader.bytes(8, "array.dimension").ok()?;
    }
    while !reader.is_empty() {
        inner(&mut reader, base, depth, oids)?;
    }
    Some(())
}

/// As of `record_send`.
fn row(value: &[u8], base: usize, depth: usize, oids: &mut Vec<(usize, u32)>) -> Option<()> {
    let mut reader = Reader::new(value);
    let fields = reader.u32_be("row.fields").ok()?;
    if fields > MAX_FIELDS {
        return None;
    }
    for _ in 0..fields {
        oids.push((base + reader.offset(), reader.u32_be("row.type").ok()?));
        inner(&mut reader, base, depth, oids)?;
    }
    reader.is_empty().then_some(())
}

fn inner(
    reader: &mut Reader<'_>,
    base: usize,
    depth: usize,
    oids: &mut Vec<(usize, u32)>,
) -> Option<()> {
    let len = reader.i32_be("value.length").ok()?;
    if len == -1 {
        return Some(());
    }
    let at = base + reader.offset();
    let value = reader.bytes(usize::try_from(len).ok()?, "value").ok()?;
    find(value, at, depth - 1, oids);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    fn array_of(type_oid: u32, elements: &[&[u8]]) -> Vec<u8> {
        let head = [1, 0, type_oid, elements.len() as u32, 1].map(u32::to_be_bytes);
        let elements = elements.iter().flat_map(|element| value(element));
        head.concat().into_iter().chain(elements).collect()
    }

    fn row_of(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let fields_of = fields
            .iter()
            .flat_map(|(type_oid, bytes)| [type_oid.to_be_bytes().to_vec(), value(bytes)].concat());
        let count = (fields.len() as u32).to_be_bytes();
        count.into_iter().chain(fields_of).collect()
    }

    #[test]
    fn oids_of_users_are_all_one() {
        let nested = |oids: [u32; 4], text: &[u8]| {
            let inner = row_of(&[(25, text), (oids[0], b"x")]);
            let array = array_of(oids[1], &[&inner, &inner]);
            row_of(&[(23, &[0, 0, 0, 7]), (oids[2], &array), (oids[3], b"y")])
        };
        let [a, b] = [
            nested([20_000, 20_001, 20_002, 20_003], b"t"),
            nested([30_003, 30_000, 30_001, 30_002], b"t"),
        ];
        assert_ne!(a, b);
        assert_eq!(without_oids(&a), without_oids(&b));
        for other in [
            nested([25, 20_001, 20_002, 20_003], b"t"),
            nested([20_000, 25, 20_002, 20_003], b"t"),
            nested([20_000, 20_001, 25, 20_003], b"t"),
            nested([20_000, 20_001, 20_002, 20_003], b"u"),
        ] {
            assert_ne!(without_oids(&a), without_oids(&other));
        }
        let empty = |type_oid: u32| [0, 0, type_oid].map(u32::to_be_bytes).concat();
        assert_eq!(without_oids(&empty(20_000)), without_oids(&empty(30_000)));
    }

    #[test]
    fn other_values_stay() {
        let longer = [array_of(20_000, &[b"a"]), vec![0]].concat();
        let shorter = row_of(&[(20_000, b"abc")]);
        let shorter = &shorter[..shorter.len() - 1];
        for value in [&b""[..], b"text", &[0; 8], &longer, shorter] {
            assert_eq!(without_oids(value), value);
        }
        let mut deep = vec![1];
        for _ in 0..100 {
            deep = row_of(&[(20_000, &deep)]);
        }
        assert_eq!(without_oids(&deep).len(), deep.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes: Vec<u8>, small in proptest::collection::vec(0u8..3, 0..60)) {
            for bytes in [&bytes, &small] {
                let once = without_oids(bytes).into_owned();
                prop_assert_eq!(once.len(), bytes.len());
                prop_assert_eq!(without_oids(&once), once.as_slice());
            }
        }
    }
}
