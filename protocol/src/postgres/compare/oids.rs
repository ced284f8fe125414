//! OIDs of what users made, of types inside binary values and as values: each server gives out its own.

use std::borrow::Cow;

use crate::postgres::values::{FIRST_OF_USERS, known_type};
use crate::reader::Reader;

/// Dimensions of an array, and columns of a row, at the most.
const MAX_DIMENSIONS: u32 = 6;
const MAX_FIELDS: u32 = 1664;

const OID_LEN: usize = 4;

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

/// The value of a column that holds OIDs, with the same one for all that users made.
pub(super) fn known_oids(format: u16, value: &[u8]) -> Cow<'_, [u8]> {
    if format == 0 {
        let runs = runs(value).map(|run| match oid(run) {
            Some(FIRST_OF_USERS..) => b"16384",
            _ => run,
        });
        return Cow::Owned(runs.collect::<Vec<_>>().concat());
    }
    let mut value = Cow::Borrowed(value);
    for at in places(&value).unwrap_or_default() {
        let Some(bytes) = value
            .to_mut()
            .get_mut(at..)
            .and_then(<[u8]>::first_chunk_mut)
        else {
            continue;
        };
        *bytes = known_type(u32::from_be_bytes(*bytes)).to_be_bytes();
    }
    value
}

/// Is there a number in the value that may be the OID of what a user made?
pub(super) fn has_oid(format: u16, value: &[u8]) -> bool {
    let of_users = |oid| (FIRST_OF_USERS..).contains(&oid);
    if format == 0 {
        return runs(value).filter_map(oid).any(of_users);
    }
    // As a smallint and a bigint.
    let value = match value {
        [high, low] => return of_users(u32::from_be_bytes([0, 0, *high, *low])) && *high < 0x80,
        [0, 0, 0, 0, low @ ..] if low.len() == OID_LEN => low,
        _ => value,
    };
    let places = places(value).unwrap_or_default().into_iter();
    let oids = places.filter_map(|at| value.get(at..)?.first_chunk());
    oids.map(|oid| u32::from_be_bytes(*oid)).any(of_users)
}

/// Digits, and what stands between them.
fn runs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
}

fn oid(digits: &[u8]) -> Option<u32> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Where the numbers of four bytes stand in a binary value that is one, or an array of them.
fn places(value: &[u8]) -> Option<Vec<usize>> {
    if value.len() == OID_LEN {
        return Some(vec![0]);
    }
    let mut reader = Reader::new(value);
    let dimensions = reader.u32_be("array.dimensions").ok()?;
    reader.bytes(8, "array.head").ok()?;
    if dimensions > MAX_DIMENSIONS {
        return None;
    }
    for _ in 0..dimensions {
        reader.bytes(8, "array.dimension").ok()?;
    }
    let mut places = Vec::new();
    while !reader.is_empty() {
        match reader.i32_be("value.length").ok()? {
            -1 => {}
            4 => {
                places.push(reader.offset());
                reader.bytes(OID_LEN, "value").ok()?;
            }
            _ => return None,
        }
    }
    Some(places)
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

    #[test]
    fn what_users_made_has_one_oid_whatever_holds_it() {
        let known = |format, value: &[u8]| known_oids(format, value).into_owned();
        assert_eq!(known(0, b"16385"), b"16384");
        assert_eq!(known(0, b"16383"), b"16383");
        assert_eq!(
            known(0, b"{23,16400,99999999999}"),
            b"{23,16384,99999999999}"
        );
        assert_eq!(known(0, b"25 17000"), b"25 16384");
        assert_eq!(
            known(1, &17_000_u32.to_be_bytes()),
            16_384_u32.to_be_bytes()
        );
        let array = |oids: [u32; 2]| {
            let [a, b] = oids.map(u32::to_be_bytes);
            array_of(26, &[&a, &b])
        };
        assert_eq!(known(1, &array([23, 17_000])), array([23, 16_384]));
        for (format, value, expected) in [
            (0, b"oid = '16384'".as_slice(), true),
            (0, b"16383 99999999999", false),
            (1, &17_000_u32.to_be_bytes(), true),
            (1, &17_000_i64.to_be_bytes(), true),
            (1, &17_000_i16.to_be_bytes(), true),
            (1, &(-5_i16).to_be_bytes(), false),
            (1, &array([23, 17_000]), true),
            (1, &array([23, 25]), false),
            (1, b"", false),
        ] {
            assert_eq!(has_oid(format, value), expected, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(value: Vec<u8>, format in 0..2_u16) {
            let known = known_oids(format, &value).into_owned();
            prop_assert_eq!(&known_oids(format, &known), &known);
            has_oid(format, &value);
        }
    }
}
