//! How two responses to the same request differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use recording::Exchange;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::location::{self, Own};
use super::message::Message;
use super::wishes;
use crate::{Difference, DifferenceKind, Terms};

/// Differences of one response's content whose places are told, and those with their values. A place that
/// is left out may be the one that is no noise.
const MAX_PLACES: usize = 10_000;
const MAX_TOLD: usize = 100;
/// Bytes of a value that are told.
const MAX_VALUE: usize = 200;
/// Values within values of JSON that are compared as such.
const MAX_DEPTH: usize = 128;
/// Lines of both sides among which those that stand for each other are looked for: it takes time by
/// the square of them.
const MAX_ALIGNED: usize = 2000;

/// Fields that say nothing of the answer: times, names of servers and of requests, and how the
/// message was carried. Compared where the user wants them to be.
const IGNORED: [&str; 38] = [
    "age",
    "alt-svc",
    "cf-cache-status",
    "cf-ray",
    "connection",
    "content-length",
    "date",
    "etag",
    "expires",
    "keep-alive",
    "last-modified",
    "nel",
    "proxy-connection",
    "report-to",
    "request-id",
    "server",
    "server-timing",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "via",
    "x-amz-cf-id",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-cache",
    "x-cache-hits",
    "x-correlation-id",
    "x-request-id",
    "x-response-time",
    "x-runtime",
    "x-served-by",
    "x-timer",
    "x-trace-id",
];

/// Fields that may name the server itself.
const REFERENCES: [&str; 3] = [
    "access-control-allow-origin",
    "content-location",
    "location",
];

const CONTENT_TYPE: &str = "content-type";
const SET_COOKIE: &str = "set-cookie";
const COOKIE_ATTRIBUTES: &str = "set-cookie ";
const BODY: &str = "body";
const ABSENT: &str = "absent";

pub fn compare(expected: &Exchange, observed: &Exchange, terms: &Terms) -> Vec<Difference> {
    let (old, new) = (columns(expected), columns(observed));
    if old.0 != new.0 {
        let kind = match (is_error(old.0), is_error(new.0)) {
            (false, true) => DifferenceKind::NewError,
            (true, false) => DifferenceKind::VanishedError,
            (true, true) => DifferenceKind::DifferentError,
            (false, false) => DifferenceKind::Status,
        };
        return vec![difference(kind, "status", old.0, new.0)];
    }
    let mut differences = Vec::new();
    match (Message::of(expected), Message::of(observed)) {
        (Some(old), Some(new)) => {
            let owns = || {
                let old = Own::new(expected, terms.expected_target.as_deref());
                [old, Own::new(observed, terms.observed_target.as_deref())]
            };
            compare_fields([&old, &new], &terms.options, owns, &mut differences);
            if digest(expected) != digest(observed) {
                compare_contents(expected, observed, &old, &new, &mut differences);
            }
        }
        _ => {
            if content_type(old.1) != content_type(new.1) {
                let place = "header content-type";
                differences.push(difference(DifferenceKind::Headers, place, old.1, new.1));
            }
            if digest(expected) != digest(observed) {
                differences.push(by_digest(Difference::OVER_CAP, expected, observed));
            }
        }
    }
    differences
}

/// The status and the content type.
fn columns(exchange: &Exchange) -> (&str, &str) {
    let response = exchange.response.as_ref();
    let columns = response.and_then(|response| response.columns.as_deref());
    let columns = columns.unwrap_or_default();
    columns.split_once(' ').unwrap_or((columns, ""))
}

fn is_error(status: &str) -> bool {
    status.starts_with(['4', '5'])
}

fn digest(exchange: &Exchange) -> u64 {
    let response = exchange.response.as_ref();
    response.map_or(0, |response| response.rows_digest)
}

fn difference(kind: DifferenceKind, place: &str, expected: &str, observed: &str) -> Difference {
    Difference {
        kind,
        place: place.to_owned(),
        expected: told(expected),
        observed: told(observed),
    }
}

fn told(value: &str) -> String {
    if value.len() <= MAX_VALUE {
        return value.to_owned();
    }
    let end = value.floor_char_boundary(MAX_VALUE);
    format!("{}...", value.get(..end).unwrap_or_default())
}

/// A difference of the content; the values of the first ones only.
fn tell(differences: &mut Vec<Difference>, place: &str, values: impl FnOnce() -> [String; 2]) {
    let [old, new] = match differences.len() {
        ..MAX_TOLD => values(),
        _ => Default::default(),
    };
    let more = format!("more than {MAX_PLACES} differences");
    let place = match differences.len() {
        ..MAX_PLACES => place,
        MAX_PLACES => &more,
        _ => return,
    };
    differences.push(difference(DifferenceKind::Values, place, &old, &new));
}

fn by_digest(place: &str, expected: &Exchange, observed: &Exchange) -> Difference {
    let name = |exchange: &Exchange| format!("digest {:016x}", digest(exchange));
    let (old, new) = (name(expected), name(observed));
    difference(DifferenceKind::Values, place, &old, &new)
}

fn compare_fields(
    messages: [&Message; 2],
    options: &wishes::Options,
    owns: impl Fn() -> [Own; 2],
    differences: &mut Vec<Difference>,
) {
    let [old, new] = messages.map(|message| fields(message, options));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let same = match (old.get(name), new.get(name)) {
            // The cookie's name is not on both sides, and that is told.
            (None, _) | (_, None) if name.starts_with(COOKIE_ATTRIBUTES) => true,
            (Some(old), Some(new)) if REFERENCES.contains(&name.as_str()) => {
                old == new || location::is_same([old, new], owns().each_ref())
            }
            (Some(old), Some(new)) if name == CONTENT_TYPE => {
                content_type(old) == content_type(new)
            }
            (old, new) => old == new,
        };
        if !same {
            let value = |known: Option<&String>| known.map_or(ABSENT.to_owned(), String::clone);
            let (old, new) = (value(old.get(name)), value(new.get(name)));
            let place = format!("header {name}");
            differences.push(difference(DifferenceKind::Headers, &place, &old, &new));
        }
    }
}

/// However it is written: the case of names and of a `charset`, quotes and white space mean nothing.
fn content_type(value: &str) -> Vec<(String, String)> {
    let parts = value.split(';').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = name.trim().to_ascii_lowercase();
            let value = value.trim();
            let bare = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
            let value = bare.unwrap_or(value);
            match &*name {
                "charset" => (name, value.to_ascii_lowercase()),
                _ => (name, value.to_owned()),
            }
        })
        .collect()
}

fn is_ignored(name: &str, options: &wishes::Options) -> bool {
    let told = |option| wishes::values(options, option).any(|it| it.eq_ignore_ascii_case(name));
    told("ignore-header") || IGNORED.contains(&name) && !told("compare-header")
}

/// By lower-case name, several of a name joined; of cookies that are set, the names, and by each of them
/// the attributes.
fn fields(message: &Message, options: &wishes::Options) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut cookies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, value) in message.head.head.fields() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if is_ignored(&name, options) {
            continue;
        }
        let value = String::from_utf8_lossy(value);
        if name == SET_COOKIE {
            if let Some((name, attributes)) = cookie(&value) {
                cookies.entry(name).or_default().insert(attributes);
            }
            continue;
        }
        let known = fields.entry(name).or_default();
        if !known.is_empty() {
            known.push_str(", ");
        }
        known.push_str(&value);
    }
    let join = |texts: Vec<String>| texts.join(", ");
    if !cookies.is_empty() {
        let names = join(cookies.keys().cloned().collect());
        fields.insert(SET_COOKIE.to_owned(), names);
    }
    for (name, attributes) in cookies {
        let attributes = join(attributes.into_iter().collect());
        fields.insert(format!("{COOKIE_ATTRIBUTES}{name}"), attributes);
    }
    fields
}

/// The name, and the attributes in one order: without the times, though whether it is deleted.
fn cookie(field: &str) -> Option<(String, String)> {
    let mut parts = field.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let mut attributes: BTreeMap<String, &str> = BTreeMap::new();
    for part in parts.filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        attributes.insert(name.trim().to_ascii_lowercase(), value.trim());
    }
    let deleted = match (attributes.get("max-age"), attributes.get("expires")) {
        (Some(age), _) => *age == "0" || age.starts_with('-'),
        (None, Some(time)) => is_long_past(time),
        (None, None) => false,
    };
    let mut told: Vec<String> = Vec::new();
    if deleted {
        attributes.retain(|name, _| name != "max-age" && name != "expires");
        told.push("deleted".to_owned());
    } else if value.trim().is_empty() {
        told.push("empty".to_owned());
    }
    told.extend(attributes.into_iter().map(|(name, value)| match &*name {
        // A target sets the domain that it is asked under.
        "expires" | "max-age" | "domain" | "secure" | "httponly" => name,
        "samesite" => format!("{name}={}", value.to_ascii_lowercase()),
        _ => format!("{name}={value}"),
    }));
    if told.is_empty() {
        told.push("no attributes".to_owned());
    }
    Some((name.trim().to_owned(), told.join("; ")))
}

/// `Thu, 01 Jan 1970 00:00:00 GMT`, `Thu, 01-Jan-70 00:00:00 GMT`
fn is_long_past(time: &str) -> bool {
    time.split([' ', '-', ','])
        .any(|part| matches!(part, "1970" | "70"))
}

fn compare_contents(
    expected: &Exchange,
    observed: &Exchange,
    old: &Message,
    new: &Message,
    differences: &mut Vec<Difference>,
) {
    if old.cut || new.cut {
        differences.push(by_digest(Difference::OVER_CAP, expected, observed));
        return;
    }
    if old.encoded || new.encoded {
        differences.push(by_digest(BODY, expected, observed));
        return;
    }
    let media = old.media_type();
    if media == "application/json" || media.ends_with("+json") {
        let texts = [old, new].map(|message| std::str::from_utf8(&message.content).ok());
        if let [Some(old), Some(new)] = texts
            && let Some(mut found) = json_differences(old, new)
        {
            differences.append(&mut found);
            return;
        }
    }
    let text = media.starts_with("text/")
        || media.ends_with("json")
        || media.ends_with("xml")
        || media.ends_with("javascript")
        || media == "application/x-www-form-urlencoded";
    match (
        std::str::from_utf8(&old.content),
        std::str::from_utf8(&new.content),
    ) {
        (Ok(old), Ok(new)) if text => compare_lines(old, new, differences),
        _ => differences.push(by_digest(BODY, expected, observed)),
    }
}

fn json_differences(old: &str, new: &str) -> Option<Vec<Difference>> {
    let [old, new]: [&RawValue; 2] = [json(old)?, json(new)?];
    let mut differences = Vec::new();
    let mut path = "$".to_owned();
    compare_json(old.get(), new.get(), MAX_DEPTH, &mut path, &mut differences)?;
    Some(differences)
}

/// Keys in any order, items in theirs. `None` where one of them cannot be read.
fn compare_json(
    old: &str,
    new: &str,
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
                compare_json(old.get(), new.get(), depth, path, differences)?;
            }
            _ => tell(differences, path, || [text(old), text(new)]),
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
                    (name, 0) => format!(".{name}"),
                    (name, again) => format!(".{name} ({})", again + 1),
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
        (b'"', b'"') if json::<String>(old)? == json::<String>(new)? => {}
        _ if number(old).is_some_and(|old| number(new) == Some(old)) => {}
        _ => tell(differences, path, || [old.to_owned(), new.to_owned()]),
    }
    Some(())
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

/// A changed line at its place, a line that is only on one side at a place of its own: what differs in
/// the noise run too would hide it otherwise.
fn compare_lines(old: &str, new: &str, differences: &mut Vec<Difference>) {
    compare_endings(old, new, differences);
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let before = old.iter().zip(&new).take_while(same).count();
    let (old, new) = (old.get(before..), new.get(before..));
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let after = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(same)
        .count();
    let old = old.get(..old.len() - after).unwrap_or_default();
    let new = new.get(..new.len() - after).unwrap_or_default();
    if old.len() + new.len() <= MAX_ALIGNED {
        for op in similar::capture_diff_slices(similar::Algorithm::Myers, old, new) {
            let (tag, olds, news) = op.as_tag_tuple();
            if tag != similar::DiffTag::Equal {
                let first = before + olds.start;
                let (olds, news) = (old.get(olds), new.get(news));
                let lines = [olds, news].map(Option::unwrap_or_default);
                compare_run(first, lines, differences);
            }
        }
    } else if old.len() == new.len() {
        compare_run(before, [old, new], differences);
    } else {
        let (first, last) = (before + 1, before + old.len());
        let place = format!("lines {first} to {last}, now {} lines", new.len());
        let (old, new) = (old.join("\n"), new.join("\n"));
        differences.push(difference(DifferenceKind::Values, &place, &old, &new));
    }
}

/// Lines that stand for each other; `before` are the recorded ones before them.
fn compare_run(before: usize, [old, new]: [&[&str]; 2], differences: &mut Vec<Difference>) {
    let mut tell = |place: &str, old: &str, new: &str| {
        tell(differences, place, || [old.to_owned(), new.to_owned()]);
    };
    for (at, (old, new)) in old.iter().zip(new).enumerate() {
        if old != new {
            tell(&format!("line {}", before + at + 1), old, new);
        }
    }
    for (at, old) in old.iter().enumerate().skip(new.len()) {
        tell(&format!("line {}, removed", before + at + 1), old, ABSENT);
    }
    let next = before + old.len() + 1;
    for (at, new) in new.iter().skip(old.len()).enumerate() {
        let place = match at {
            0 => format!("line {next}, added"),
            _ => format!("line {next}, added {}", at + 1),
        };
        tell(&place, ABSENT, new);
    }
}

/// How the lines end, and whether the last one does.
fn compare_endings(old: &str, new: &str, differences: &mut Vec<Difference>) {
    let mut tell = |place, old: &str, new: &str| {
        differences.push(difference(DifferenceKind::Values, place, old, new));
    };
    let (olds, news): (Vec<&str>, Vec<&str>) = (endings(old).collect(), endings(new).collect());
    let kinds = |endings: &[&'static str]| -> Vec<&str> {
        let kinds: BTreeSet<&str> = endings.iter().copied().collect();
        kinds.into_iter().collect()
    };
    let (old_kinds, new_kinds) = (kinds(&olds), kinds(&news));
    let place = "line endings";
    if !old_kinds.is_empty() && !new_kinds.is_empty() && old_kinds != new_kinds {
        tell(place, &old_kinds.join(" and "), &new_kinds.join(" and "));
    } else if olds.len() == news.len()
        && let Some(at) = olds.iter().zip(&news).position(|(old, new)| old != new)
    {
        let told =
            |endings: &[&str]| format!("{} at line {}", endings.get(at).unwrap_or(&""), at + 1);
        tell(place, &told(&olds), &told(&news));
    }
    let ends = |text: &str| {
        if text.ends_with('\n') {
            "present"
        } else {
            ABSENT
        }
    };
    if ends(old) != ends(new) {
        tell("newline at the end", ends(old), ends(new));
    }
}

fn endings(text: &str) -> impl Iterator<Item = &'static str> {
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    lines.map(|line| if line.ends_with("\r\n") { "CRLF" } else { "LF" })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use recording::Timestamp;

    use super::super::body::Asked;
    use super::super::reply::Reply;
    use super::*;

    fn answered(text: &str, cap: usize) -> Exchange {
        let mut reply = Reply::new(Asked::Other, cap, None);
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (used, _) = reply.feed(rest, Timestamp(0)).unwrap();
            rest = rest.get(used..).unwrap();
        }
        let (status, response, _) = reply.finish();
        Exchange {
            seq: 1,
            status,
            response: Some(response),
            ..Exchange::new(recording::Kind::Request, Timestamp(0))
        }
    }

    fn message(status: &str, fields: &str, content: &str) -> String {
        let len = content.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n{fields}\r\n{content}")
    }

    fn between(old: &str, new: &str) -> Vec<String> {
        between_on(&Terms::default(), old, new)
    }

    fn between_on(terms: &Terms, old: &str, new: &str) -> Vec<String> {
        compare(&answered(old, 1000), &answered(new, 1000), terms)
            .into_iter()
            .map(|difference| {
                let Difference {
                    kind,
                    place,
                    expected,
                    observed,
                } = difference;
                format!("{}, {place}: {expected} / {observed}", kind.name())
            })
            .collect()
    }

    #[test]
    fn statuses_differ_by_what_they_are() {
        for (old, new, name) in [
            ("200 OK", "500 No", "new error, status: 200 / 500"),
            ("404 No", "200 OK", "vanished error, status: 404 / 200"),
            ("404 No", "403 No", "different error, status: 404 / 403"),
            ("200 OK", "302 Found", "status, status: 200 / 302"),
        ] {
            let (old, new) = (message(old, "A: b\r\n", "x"), message(new, "", "y"));
            assert_eq!(between(&old, &new), [name]);
        }
    }

    #[test]
    fn fields_that_matter_are_compared() {
        let old = message(
            "200 OK",
            "Date: a\r\nX-A: 1\r\nVary: a\r\nVary: b\r\nSet-Cookie: s=1\r\nLocation: /a\r\n",
            "",
        );
        let same = message(
            "200 Fine",
            "ETag: b\r\nx-a: 1\r\nvary: a, b\r\nSet-Cookie: s=2\r\nLocation: http://new:1/a\r\n",
            "",
        );
        let terms = Terms {
            observed_target: Some("http://new:1".into()),
            ..Terms::default()
        };
        assert_eq!(between_on(&terms, &old, &same), [""; 0]);
        assert_eq!(
            between(&old, &same),
            ["headers, header location: /a / http://new:1/a"]
        );
        let new = message(
            "200 OK",
            "X-A: 2\r\nVary: a, b\r\nSet-Cookie: t=1\r\nLocation: /b\r\n",
            "",
        );
        assert_eq!(
            between(&old, &new),
            [
                "headers, header location: /a / /b",
                "headers, header set-cookie: s / t",
                "headers, header x-a: 1 / 2"
            ]
        );
    }

    #[test]
    fn a_content_type_is_the_same_however_it_is_written() {
        let message = |value: &str| message("200 OK", &format!("Content-Type: {value}\r\n"), "");
        let old = message("application/json;charset=utf-8");
        let differing = |new: &str| between(&old, &message(new)).len();
        assert_eq!(differing("Application/JSON; Charset=\"UTF-8\""), 0);
        assert_eq!(differing("application/json; charset=latin1"), 1);
        assert_eq!(differing("application/json"), 1);
        let old = message("text/plain; boundary=a");
        assert_eq!(between(&old, &message("text/plain; boundary=A")).len(), 1);
    }

    #[test]
    fn what_is_said_of_a_cookie_is_compared() {
        let differing = |old: &str, new: &str| {
            let [old, new] =
                [old, new].map(|it| message("200 OK", &format!("Set-Cookie: sid={it}\r\n"), ""));
            between(&old, &new)
        };
        let old =
            "a; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60; Expires=Fri, 1 May 2026";
        let same = "b;max-age=9;expires=Sat, 2 May 2026;httponly; secure; SAMESITE=strict; path=/";
        assert_eq!(differing(old, same), [""; 0]);
        assert_eq!(
            differing("a; Path=/; Secure; HttpOnly; SameSite=Strict", "b; Path=/"),
            ["headers, header set-cookie sid: httponly; path=/; samesite=strict; secure / path=/"]
        );
        let deletions = [
            "; Max-Age=0",
            "x; Max-Age=-1; Expires=Fri, 1 May 2026",
            "; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "; expires=Thu, 01-Jan-70 00:00:01 GMT",
        ];
        for deletion in deletions {
            assert_eq!(differing("; Max-Age=0", deletion), [""; 0]);
            assert_eq!(
                differing("a; Max-Age=60", deletion),
                ["headers, header set-cookie sid: max-age / deleted"]
            );
        }
        assert_eq!(
            differing("a", ""),
            ["headers, header set-cookie sid: no attributes / empty"]
        );
    }

    #[test]
    fn which_fields_matter_is_the_users_choice() {
        let message = |fields| message("200 OK", fields, "");
        let old = message("ETag: a\r\nX-A: 1\r\nSet-Cookie: s=1\r\n");
        let new = message("ETag: b\r\nX-A: 2\r\n");
        let on = |options: &[(&str, &str)]| {
            let options = options.iter();
            let options = options.map(|(name, value)| (Arc::from(*name), Arc::from(*value)));
            let terms = Terms {
                options: options.collect(),
                ..Terms::default()
            };
            between_on(&terms, &old, &new)
        };
        let etag = "headers, header etag: a / b";
        let cookie = "headers, header set-cookie: s / absent";
        let field = "headers, header x-a: 1 / 2";
        assert_eq!(on(&[]), [cookie, field]);
        assert_eq!(on(&[("compare-header", "ETag")]), [etag, cookie, field]);
        assert_eq!(on(&[("ignore-header", "X-a")]), [cookie]);
        let ignored = [("ignore-header", "set-cookie"), ("ignore-header", "x-a")];
        assert_eq!(on(&ignored), [""; 0]);
    }

    #[test]
    fn json_is_compared_by_its_parts() {
        let json = |text| message("200 OK", "Content-Type: application/json\r\n", text);
        let old = json(r#"{"a":1,"b":{"c":[1,2,3]},"d":null}"#);
        assert_eq!(
            between(&old, &json(r#"{ "d":null, "b":{"c":[1,2,3]}, "a":1 }"#)),
            [""; 0]
        );
        assert_eq!(
            between(&old, &json(r#"{"a":"1","b":{"c":[1,5]},"e":0}"#)),
            [
                "values, $.a: 1 / \"1\"",
                "values, $.b.c[1]: 2 / 5",
                "values, $.b.c[2]: 3 / absent",
                "values, $.d: null / absent",
                "values, $.e: absent / 0"
            ]
        );
        assert_eq!(
            between(&old, &json("oops")),
            [r#"values, line 1: {"a":1,"b":{"c":[1,2,3]},"d":null} / oops"#]
        );
    }

    #[test]
    fn numbers_of_json_are_exact_and_told_as_sent() {
        let differing = |old: &str, new: &str| -> Vec<String> {
            let found = json_differences(old, new).unwrap().into_iter();
            found
                .map(|it| format!("{}: {} / {}", it.place, it.expected, it.observed))
                .collect()
        };
        for (old, new) in [
            ("123456789012345678901", "123456789012345678902"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("1", "1.0"),
            ("1.5", "-1.5"),
            ("1e999999999999999999999", "2e999999999999999999999"),
        ] {
            assert_eq!(differing(old, new), [format!("$: {old} / {new}")]);
        }
        for (old, new) in [("1.0", "1e0"), ("10.50", "105E-1"), ("-0.0", "0e7")] {
            assert_eq!(differing(old, new), [""; 0]);
        }
        assert_eq!(differing(r#""\u0061\/""#, r#""a/""#), [""; 0]);
    }

    #[test]
    fn keys_that_come_twice_are_compared_both() {
        let found = json_differences(r#"{"a":1,"a":2}"#, r#"{"a":3,"a":2}"#).unwrap();
        let places: Vec<&str> = found.iter().map(|it| &*it.place).collect();
        assert_eq!(places, ["$.a"]);
        let found = json_differences(r#"{"a":1}"#, r#"{"a":1,"a":1}"#).unwrap();
        let places: Vec<&str> = found.iter().map(|it| &*it.place).collect();
        assert_eq!(places, ["$.a (2)"]);
        let deep = |value: &str| format!("{}{value}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(json_differences(&deep("1"), &deep("2")), None);
    }

    #[test]
    fn many_differences_hide_none_behind_them() {
        let list = |first: usize, count: usize| -> String {
            let items: Vec<String> = (first..first + count).map(|it| it.to_string()).collect();
            format!("[{}]", items.join(","))
        };
        let differences = |old: &str, new: &str| json_differences(old, new).unwrap();
        let found = differences(&list(0, 300), &list(1, 301));
        assert_eq!(found.len(), 301);
        let (told, last) = (found.get(MAX_TOLD - 1).unwrap(), found.last().unwrap());
        assert_eq!((&*told.expected, &*told.observed), ("99", "100"));
        assert_eq!((&*last.place, &*last.observed), ("$[300]", ""));

        let found = differences(&list(0, MAX_PLACES + 5), &list(1, MAX_PLACES + 5));
        assert_eq!(found.len(), MAX_PLACES + 1);
        assert_eq!(found.last().unwrap().place, "more than 10000 differences");

        let lines = |first, count| list(first, count).replace(',', "\n");
        let mut found = Vec::new();
        compare_lines(&lines(0, 300), &lines(500, 300), &mut found);
        assert_eq!(found.len(), 300);
    }

    #[test]
    fn text_is_compared_by_lines() {
        let html = |text| message("200 OK", "Content-Type: text/html; charset=utf-8\r\n", text);
        let old = html("a\nb\nc\nd\n");
        assert_eq!(
            between(&old, &html("a\nB\nc\nD\n")),
            ["values, line 2: b / B", "values, line 4: d / D"]
        );
        assert_eq!(
            between(&old, &html("a\nb\nd\n")),
            ["values, line 3, removed: c / absent"]
        );
        assert_eq!(
            between(&old, &html("a\nb\nc\nd")),
            ["values, newline at the end: present / absent"]
        );
        assert_eq!(
            between(&old, &html("a\r\nb\r\nC\r\nd\r\n")),
            ["values, line endings: LF / CRLF", "values, line 3: c / C"]
        );
        assert_eq!(
            between(&html("a\r\nb\n"), &html("a\nb\r\n")),
            ["values, line endings: CRLF at line 1 / LF at line 1"]
        );
        assert_eq!(
            between(&html(""), &html("a")),
            ["values, line 1, added: absent / a"]
        );
    }

    #[test]
    fn a_line_that_comes_or_goes_has_a_place_of_its_own() {
        let text = |text: &str| message("200 OK", "Content-Type: text/plain\r\n", text);
        let old = text("a\nb\nnoise 1\nc\nd\n");
        let noise = "values, line 3: noise 1 / noise 2";
        for (new, told) in [
            ("a\nb\nnoise 2\nc\nd\n", vec![]),
            (
                "a\nb\nnoise 2\nnew\nnewer\nc\nd\n",
                vec![
                    "values, line 4, added: absent / new",
                    "values, line 4, added 2: absent / newer",
                ],
            ),
            (
                "a\nb\nnoise 2\nd\n",
                vec!["values, line 4, removed: c / absent"],
            ),
            (
                "a\nb\nnoise 2\nc\nd\ne\n",
                vec!["values, line 6, added: absent / e"],
            ),
        ] {
            let told = [vec![noise], told].concat();
            assert_eq!(between(&old, &text(new)), told);
        }
    }

    #[test]
    fn many_lines_are_not_aligned() {
        let lines = |from: usize, count: usize| -> String {
            let lines = (from..from + count).map(|line| format!("{line}\n"));
            lines.collect()
        };
        let places = |old: &str, new: &str| -> Vec<String> {
            let mut differences = Vec::new();
            compare_lines(old, new, &mut differences);
            differences.into_iter().map(|one| one.place).collect()
        };
        let old = format!("same\n{}", lines(0, MAX_ALIGNED));
        let new = |count| format!("same\n{}", lines(MAX_ALIGNED, count));
        assert_eq!(
            places(&old, &new(MAX_ALIGNED + 1)),
            ["lines 2 to 2001, now 2001 lines"]
        );
        let by_line = places(&old, &new(MAX_ALIGNED));
        assert_eq!(by_line.first().unwrap(), "line 2");
    }

    #[test]
    fn what_cannot_be_read_is_compared_by_its_digest() {
        let image = |text| message("200 OK", "Content-Type: image/png\r\n", text);
        let found = between(&image("abc"), &image("abd"));
        assert!(found.first().unwrap().starts_with("values, body: digest "));
        assert_eq!(between(&image("abc"), &image("abc")), [""; 0]);
        for cap in [0, 60] {
            let (old, new) = (answered(&image("abc"), cap), answered(&image("abd"), cap));
            let found = compare(&old, &new, &Terms::default());
            assert_eq!(found.len(), 1);
            assert_eq!(found.first().unwrap().kind, DifferenceKind::Values);
        }
    }

    #[test]
    fn how_it_was_carried_is_no_difference() {
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
        assert_eq!(between(&message("200 OK", "", "abc"), chunked), [""; 0]);
    }
}
