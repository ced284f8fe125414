//! Values for people: <https://www.postgresql.org/docs/current/datatype.html>
//!
//! What the server sends as text is shown as it is. Binary values of the common types are shown as
//! the server would print them, times in UTC; others as hexadecimal digits.

use std::fmt::Write;

use recording::civil;

use crate::reader::{ReadError, Reader};

const BINARY: u16 = 1;

/// OIDs from here on are given out by the server itself, and differ from one to the next.
pub(super) const FIRST_OF_USERS: u32 = 16_384;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 2000-01-01 in days since 1970-01-01.
const EPOCH_DAYS: i64 = 10_957;

mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const BYTEA: u32 = 17;
    pub(super) const CHAR: u32 = 18;
    pub(super) const NAME: u32 = 19;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const OID: u32 = 26;
    pub(super) const OIDVECTOR: u32 = 30;
    pub(super) const JSON: u32 = 114;
    pub(super) const XML: u32 = 142;
    pub(super) const FLOAT4: u32 = 700;
    pub(super) const FLOAT8: u32 = 701;
    pub(super) const UNKNOWN: u32 = 705;
    pub(super) const BPCHAR: u32 = 1042;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const OIDS: u32 = 1028;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIME: u32 = 1083;
    pub(super) const TIMESTAMP: u32 = 1114;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const INTERVAL: u32 = 1186;
    pub(super) const NUMERIC: u32 = 1700;
    pub(super) const UUID: u32 = 2950;
    pub(super) const JSONB: u32 = 3802;
}

/// Arrays of the types above.
const ARRAYS: [u32; 22] = [
    1000, 1001, 1002, 1003, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1028, 1115, 1182, 1183,
    1185, 1187, 1231, 199, 2951, 3807,
];

/// `regproc`, `regprocedure` to `regtype`, `regconfig`, `regdictionary`, `regnamespace`, `regrole`, `regcollation`.
const REGISTERED: [u32; 11] = [
    24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191,
];

/// The OID by which a type is the same on every server: those of users are all one.
pub(super) fn known_type(type_oid: u32) -> u32 {
    type_oid.min(FIRST_OF_USERS)
}

/// Are the column's values, in that format, OIDs? What names a table or a type is one in binary alone.
pub(super) fn holds_oids(type_oid: u32, format: u16) -> bool {
    match type_oid {
        oid::OID | oid::OIDVECTOR | oid::OIDS => true,
        _ => format == BINARY && REGISTERED.contains(&type_oid),
    }
}

/// The type's name in SQL. Those of users are all one, since their OIDs tell nothing.
pub(super) fn type_name(type_oid: u32) -> String {
    let name = match type_oid {
        oid::BOOL => "boolean",
        oid::BYTEA => "bytea",
        oid::CHAR => "\"char\"",
        oid::NAME => "name",
        oid::INT8 => "bigint",
        oid::INT2 => "smallint",
        oid::INT4 => "integer",
        oid::TEXT => "text",
        oid::OID => "oid",
        oid::JSON => "json",
        oid::XML => "xml",
        oid::FLOAT4 => "real",
        oid::FLOAT8 => "double precision",
        oid::UNKNOWN => "unknown",
        oid::BPCHAR => "character",
        oid::VARCHAR => "character varying",
        oid::DATE => "date",
        oid::TIME => "time",
        oid::TIMESTAMP => "timestamp",
        oid::TIMESTAMPTZ => "timestamp with time zone",
        oid::INTERVAL => "interval",
        oid::NUMERIC => "numeric",
        oid::UUID => "uuid",
        oid::JSONB => "jsonb",
        2205 => "regclass",
        2206 => "regtype",
        2249 => "record",
        2277 => "anyarray",
        2278 => "void",
        5077 => "anycompatiblearray",
        FIRST_OF_USERS.. => "user-defined",
        _ => return format!("type {type_oid}"),
    };
    name.to_owned()
}

/// `NULL`, the text, or the binary value as text.
pub(super) fn show(type_oid: u32, format: u16, value: Option<&[u8]>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(value) if format == BINARY => {
            binary(type_oid, value).unwrap_or_else(|_| hex("\\x", value))
        }
        Some(value) => String::from_utf8_lossy(value).into_owned(),
    }
}

/// Where nothing tells the format, what can be read is taken for text.
pub(super) fn readable(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value);
    text.is_ok_and(|text| !text.contains(|letter: char| letter.is_control() && letter != '\t'))
}

fn binary(type_oid: u32, value: &[u8]) -> Result<String, ReadError> {
    let mut reader = Reader::new(value);
    let shown = match type_oid {
        oid::BOOL => if reader.u8("bool")? == 0 { "f" } else { "t" }.to_owned(),
        oid::INT2 => reader.u16_be("int2")?.cast_signed().to_string(),
        oid::INT4 => reader.i32_be("int4")?.to_string(),
        oid::INT8 => reader.i64_be("int8")?.to_string(),
        oid::OID => reader.u32_be("oid")?.to_string(),
        oid::FLOAT4 => f32::from_bits(reader.u32_be("float4")?).to_string(),
        oid::FLOAT8 => f64::from_bits(reader.i64_be("float8")?.cast_unsigned()).to_string(),
        oid::CHAR
        | oid::NAME
        | oid::TEXT
        | oid::JSON
        | oid::XML
        | oid::UNKNOWN
        | oid::BPCHAR
        | oid::VARCHAR => text(&mut reader),
        oid::JSONB => {
            reader.u8("jsonb.version")?;
            text(&mut reader)
        }
        oid::UUID => uuid(reader.bytes(16, "uuid")?),
        oid::NUMERIC => numeric(&mut reader)?,
        oid::DATE => date(reader.i32_be("date")?),
        oid::TIME => time(reader.i64_be("time")?),
        oid::TIMESTAMP => timestamp(reader.i64_be("timestamp")?, ""),
        oid::TIMESTAMPTZ => timestamp(reader.i64_be("timestamptz")?, "+00"),
        oid::INTERVAL => interval(&mut reader)?,
        array if ARRAYS.contains(&array) => elements(&mut reader)?,
        // Enums are texts.
        FIRST_OF_USERS.. if readable(value) => text(&mut reader),
        _ => hex("\\x", reader.rest()),
    };
    match reader.is_empty() {
        true => Ok(shown),
        false => Err(reader.bad("value", type_oid.into())),
    }
}

fn text(reader: &mut Reader<'_>) -> String {
    String::from_utf8_lossy(reader.rest()).into_owned()
}

fn hex(prefix: &str, bytes: &[u8]) -> String {
    let mut shown = prefix.to_owned();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(shown, "{byte:02x}");
    }
    shown
}

fn uuid(bytes: &[u8]) -> String {
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16];
    let groups = groups.map(|group| hex("", bytes.get(group).unwrap_or_default()));
    groups.join("-")
}

/// Digits to the base of 10,000, the first of which counts 10,000 to the power of `weight`.
fn numeric(reader: &mut Reader<'_>) -> Result<String, ReadError> {
    let count = reader.u16_be("numeric.count")?;
    let weight = i32::from(reader.u16_be("numeric.weight")?.cast_signed());
    let sign = reader.u16_be("numeric.sign")?;
    let scale = usize::from(reader.u16_be("numeric.scale")?);
    let mut shown = match sign {
        0x0000 => String::new(),
        0x4000 => "-".to_owned(),
        0xc000 => return Ok("NaN".to_owned()),
        0xd000 => return Ok("Infinity".to_owned()),
        0xf000 => return Ok("-Infinity".to_owned()),
        other => return Err(reader.bad("numeric.sign", other.into())),
    };
    let mut digits = Vec::new();
    for _ in 0..count {
        digits.push(reader.u16_be("numeric.digit")?);
    }
    let digit = |place: i32| {
        let index = usize::try_from(weight - place).ok();
        index
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or(0)
    };
    let _ = write!(shown, "{}", digit(weight.max(0)));
    for place in (0..weight.max(0)).rev() {
        let _ = write!(shown, "{:04}", digit(place));
    }
    if scale > 0 {
        shown.push('.');
        let end = shown.len() + scale;
        let mut place = -1;
        while shown.len() < end {
            let _ = write!(shown, "{:04}", digit(place));
            place -= 1;
        }
        shown.truncate(end);
    }
    Ok(shown)
}

fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => day(i64::from(days)),
    }
}

fn day(days: i64) -> String {
    let (year, month, day) = civil(days + EPOCH_DAYS);
    // There is no year 0: before the year 1 comes 1 BC.
    match year {
        1.. => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{:04}-{month:02}-{day:02} BC", 1 - year),
    }
}

fn time(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut shown = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
    if micros > 0 {
        let _ = write!(shown, ".{micros:06}");
        shown.truncate(shown.trim_end_matches('0').len());
    }
    shown
}

fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => format!(
            "{} {}{zone}",
            day(micros.div_euclid(MICROS_PER_DAY)),
            time(micros.rem_euclid(MICROS_PER_DAY))
        ),
    }
}

/// Every part that is not zero, in the server's style `postgres`.
fn interval(reader: &mut Reader<'_>) -> Result<String, ReadError> {
    let micros = reader.i64_be("interval.time")?;
    let days = reader.i32_be("interval.days")?;
    let months = reader.i32_be("interval.months")?;
    let mut parts = Vec::new();
    for (count, one, many) in [
        (months / 12, "year", "years"),
        (months % 12, "mon", "mons"),
        (days, "day", "days"),
    ] {
        if count != 0 {
            parts.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    }
    if micros != 0 || parts.is_empty() {
        parts.push(time(micros));
    }
    Ok(parts.join(" "))
}

/// Of an array. Those of several dimensions are shown in one.
fn elements(reader: &mut Reader<'_>) -> Result<String, ReadError> {
    let dimensions = reader.u32_be("array.dimensions")?;
    reader.u32_be("array.has_nulls")?;
    let type_oid = reader.u32_be("array.type")?;
    for _ in 0..dimensions {
        reader.bytes(8, "array.dimension")?;
    }
    let mut shown = Vec::new();
    while !reader.is_empty() {
        let value = match usize::try_from(reader.i32_be("array.length")?) {
            Ok(len) => Some(reader.bytes(len, "array.value")?),
            Err(_) => None,
        };
        shown.push(match ARRAYS.contains(&type_oid) {
            true => return Err(reader.bad("array.type", type_oid.into())),
            false => show(type_oid, BINARY, value),
        });
    }
    Ok(format!("{{{}}}", shown.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn binary_values_read_like_text() {
        let numeric = |count: u16, weight: u16, sign: u16, scale: u16, digits: &[u16]| {
            [&[count, weight, sign, scale], digits]
                .concat()
                .iter()
                .flat_map(|n| n.to_be_bytes())
                .collect::<Vec<u8>>()
        };
        let interval = |micros: i64, days: i32, months: i32| {
            [
                &micros.to_be_bytes()[..],
                &days.to_be_bytes(),
                &months.to_be_bytes(),
            ]
            .concat()
        };
        for (type_oid, bytes, expected) in [
            (oid::BOOL, vec![1], "t"),
            (oid::INT2, vec![0xff, 0xfe], "-2"),
            (oid::INT4, 7i32.to_be_bytes().to_vec(), "7"),
            (oid::INT8, i64::MIN.to_be_bytes().to_vec(), "-9223372036854775808"),
            (oid::FLOAT8, 2.5f64.to_be_bytes().to_vec(), "2.5"),
            (oid::FLOAT4, f32::NAN.to_be_bytes().to_vec(), "NaN"),
            (oid::TEXT, b"text".to_vec(), "text"),
            (oid::JSONB, b"\x01{}".to_vec(), "{}"),
            (oid::BYTEA, vec![0, 255], "\\x00ff"),
            (oid::UUID, (0..16).collect(), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
            (oid::NUMERIC, numeric(0, 0, 0, 0, &[]), "0"),
            (oid::NUMERIC, numeric(3, 1, 0x4000, 2, &[1, 2345, 6700]), "-12345.67"),
            (oid::NUMERIC, numeric(1, 2, 0, 0, &[5]), "500000000"),
            (oid::NUMERIC, numeric(1, 0xfffe, 0, 8, &[12]), "0.00000012"),
            (oid::NUMERIC, numeric(1, 0, 0, 3, &[5]), "5.000"),
            (oid::NUMERIC, numeric(0, 0, 0xc000, 0, &[]), "NaN"),
            (oid::DATE, 0i32.to_be_bytes().to_vec(), "2000-01-01"),
            (oid::DATE, (-730_119i32).to_be_bytes().to_vec(), "0001-01-01"),
            (oid::DATE, (-730_120i32).to_be_bytes().to_vec(), "0001-12-31 BC"),
            (oid::DATE, i32::MAX.to_be_bytes().to_vec(), "infinity"),
            (oid::TIMESTAMP, (-1i64).to_be_bytes().to_vec(), "1999-12-31 23:59:59.999999"),
            (oid::TIMESTAMPTZ, 1_500_000i64.to_be_bytes().to_vec(), "2000-01-01 00:00:01.5+00"),
            (oid::INTERVAL, interval(3_600_000_000, 1, 14), "1 year 2 mons 1 day 01:00:00"),
            (oid::INTERVAL, interval(0, 0, 0), "00:00:00"),
            (
                1007,
                b"\0\0\0\x01\0\0\0\x01\0\0\0\x17\0\0\0\x02\0\0\0\x01\0\0\0\x04\0\0\0\x05\xff\xff\xff\xff".to_vec(),
                "{5,NULL}",
            ),
            (1007, [0; 8].to_vec(), "\\x0000000000000000"),
            (600, vec![1, 2], "\\x0102"),
            (oid::INT4, vec![1, 2], "\\x0102"),
            (FIRST_OF_USERS, b"sad".to_vec(), "sad"),
            (FIRST_OF_USERS, vec![0, 1], "\\x0001"),
            (oid::INT2, vec![1, 2, 3], "\\x010203"),
        ] {
            assert_eq!(show(type_oid, BINARY, Some(&bytes)), expected, "{type_oid}");
        }
        assert_eq!(show(oid::INT4, 0, Some(b"12")), "12");
        assert_eq!(show(oid::INT4, 1, None), "NULL");
    }

    proptest! {
        #[test]
        fn odd_values_are_shown_somehow(bytes: Vec<u8>, index in 0usize..46) {
            let oids = [16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 142, 700, 701, 705, 1042, 1043,
                1082, 1083, 1114, 1184, 1186, 1700, 2950, 3802];
            let type_oid = oids.iter().chain(&ARRAYS).nth(index).unwrap();
            show(*type_oid, BINARY, Some(&bytes));
        }
    }
}
