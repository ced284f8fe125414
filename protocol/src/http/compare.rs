//! How two responses to the same request differ.

mod json;
mod lines;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem;
use recording::Exchange;

use self::names::Names;
use super::head::{Head, readable};
use super::location;
use super::message::Message;
use super::set_cookie::{self, SetCookie};
use super::wishes;
use crate::{Difference, DifferenceKind, Terms};

/// Differences of one response's content whose places are told, and those with their values. A place that
/// is left out may be the one that is no noise.
const MAX_PLACES: usize = 10_000;
const MAX_TOLD: usize = 100;
/// Bytes of a value that are told; of those, before the first that differs.
const MAX_VALUE: usize = 200;
const BEFORE: usize = 20;

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

/// Fields that list what is of no order (RFC 9110, sections 10.2.1 and 12.5.5; RFC 9111, section 5.2; Fetch).
const SETS: [&str; 6] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "vary",
];

const TRAILER: &str = "trailer ";
const CONTENT_TYPE: &str = "content-type";
const SET_COOKIE: &str = "set-cookie";
const COOKIE_ATTRIBUTES: &str = "set-cookie ";
const MULTIPART: &str = "multipart/";
const BOUNDARY: &str = "boundary";
const INTERIMS: &str = "interim responses";
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
            let names = Names::new(expected, observed, terms);
            compare_interims([&old, &new], &mut differences);
            compare_fields([&old, &new], &terms.options, &names, &mut differences);
            if digest(expected) != digest(observed) {
                let sides = [expected, observed];
                compare_contents(sides, [&old, &new], &names, &mut differences);
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
    let same = expected.chars().zip(observed.chars());
    let same = same.take_while(|(old, new)| old == new);
    let same = same.map(|(old, _)| old.len_utf8()).sum();
    Difference {
        kind,
        place: place.to_owned(),
        expected: around(expected, same),
        observed: around(observed, same),
    }
}

/// A long value's part that begins shortly before `at`, where it differs from the other side's.
fn around(value: &str, at: usize) -> String {
    if value.len() <= MAX_VALUE {
        return value.to_owned();
    }
    let from = match at + BEFORE {
        ..MAX_VALUE => 0,
        _ => value.floor_char_boundary(at - BEFORE),
    };
    let to = value.floor_char_boundary(from + MAX_VALUE);
    let start = if from > 0 { "…" } else { "" };
    let end = if to < value.len() { "…" } else { "" };
    format!("{start}{}{end}", value.get(from..to).unwrap_or_default())
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

/// What is there on one side only has a place of its own: what differs by nature would hide it otherwise.
fn one_sided(is_old: bool) -> &'static str {
    match is_old {
        true => ", removed",
        false => ", added",
    }
}

fn by_digest(place: &str, expected: &Exchange, observed: &Exchange) -> Difference {
    let name = |exchange: &Exchange| format!("digest {:016x}", digest(exchange));
    let (old, new) = (name(expected), name(observed));
    difference(DifferenceKind::Values, place, &old, &new)
}

/// Interim responses by their statuses, each once. Whether a `100 Continue` or `102 Processing` comes is a matter of
/// time.
fn compare_interims(messages: [&Message; 2], differences: &mut Vec<Difference>) {
    let [old, new] = messages.map(|message| {
        let mut told = message.interims.clone();
        told.retain(|status| ![100, 102].contains(status));
        told.dedup();
        let told: Vec<String> = told.iter().map(u16::to_string).collect();
        told.join(", ")
    });
    if old != new {
        let mut place = INTERIMS.to_owned();
        if old.is_empty() != new.is_empty() {
            place += one_sided(new.is_empty());
        }
        let [old, new] = [&old, &new].map(|told| match told.as_str() {
            "" => ABSENT,
            told => told,
        });
        differences.push(difference(DifferenceKind::Headers, &place, old, new));
    }
}

fn compare_fields(
    messages: [&Message; 2],
    options: &wishes::Options,
    names: &Names<'_>,
    differences: &mut Vec<Difference>,
) {
    let [old, new] = messages.map(|message| fields(message, options));
    let known: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in known {
        let same = match (old.get(name), new.get(name)) {
            // The cookie's name is not on both sides, and that is told.
            (None, _) | (_, None) if name.starts_with(COOKIE_ATTRIBUTES) => true,
            (Some(old), Some(new)) if REFERENCES.contains(&name.as_str()) => {
                old == new || location::is_same([old, new], names.owns().each_ref())
            }
            (Some(old), Some(new)) if SETS.contains(&name.as_str()) => items(old) == items(new),
            (Some(old), Some(new)) if name == CONTENT_TYPE => {
                content_type(old) == content_type(new)
            }
            (Some(old), Some(new)) => names.is_same(old, new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            let (old, new) = (old.get(name), new.get(name));
            let mut place = match name.starts_with(TRAILER) {
                true => name.clone(),
                false => format!("header {name}"),
            };
            if old.is_none() != new.is_none() {
                place += one_sided(old.is_some());
            }
            let [old, new] = [old, new].map(|known| known.map_or(ABSENT, String::as_str));
            differences.push(difference(DifferenceKind::Headers, &place, old, new));
        }
    }
}

/// Of a list, in any order.
fn items(list: &str) -> BTreeSet<&str> {
    list.split(',').map(str::trim).collect()
}

/// However it is written: the case of names and of a `charset`, quotes and white space mean nothing; nor
/// does the boundary between parts, which each answer makes up.
fn content_type(value: &str) -> Vec<(String, String)> {
    let mut parts = parameters(value);
    let many = parts
        .first()
        .is_some_and(|(name, _)| name.starts_with(MULTIPART));
    parts.retain(|(name, _)| !(many && name == BOUNDARY));
    parts
}

/// The media type, and the parameters after it.
fn parameters(value: &str) -> Vec<(String, String)> {
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

/// By lower-case name, several of a name joined, trailers apart; of cookies that are set, the names, and by each of them
/// the attributes.
fn fields(message: &Message, options: &wishes::Options) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut cookies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let head = message.head.head.fields().map(|field| ("", field));
    let trailers = message.trailers.iter().flat_map(Head::fields);
    let trailers = trailers.map(|field| (TRAILER, field));
    for (part, (name, value)) in head.chain(trailers) {
        let name = readable(name).to_ascii_lowercase();
        if is_ignored(&name, options) || part.is_empty() && name == SET_COOKIE {
            continue;
        }
        let value = readable(value);
        let known = fields.entry(format!("{part}{name}")).or_default();
        if !known.is_empty() {
            known.push_str(", ");
        }
        known.push_str(&value);
    }
    if !is_ignored(SET_COOKIE, options) {
        for cookie in set_cookie::all(&message.head, message.at) {
            let name = match cookie.name {
                b"" => "(no name)".to_owned(),
                name => readable(name).into_owned(),
            };
            cookies.entry(name).or_default().insert(attributes(&cookie));
        }
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

/// The attributes in one order: without the times, though whether it is deleted.
fn attributes(cookie: &SetCookie<'_>) -> String {
    let mut told: Vec<String> = Vec::new();
    if cookie.deleted {
        told.push("deleted".to_owned());
    } else if cookie.value.is_empty() {
        told.push("empty".to_owned());
    }
    for (name, value) in &cookie.attributes {
        let [name, value] = [name, *value].map(readable);
        match &*name {
            "expires" | "max-age" if cookie.deleted => {}
            // A target sets the domain that it is asked under.
            "expires" | "max-age" | "domain" | "secure" | "httponly" => told.push(name.into()),
            "samesite" => told.push(format!("{name}={}", value.to_ascii_lowercase())),
            _ => told.push(format!("{name}={value}")),
        }
    }
    if told.is_empty() {
        told.push("no attributes".to_owned());
    }
    told.join("; ")
}

/// What stands between the boundaries of a content of several parts (RFC 2046, section 5.1).
fn parts(message: &Message) -> Option<Vec<&[u8]>> {
    let media = message.head.head.value(CONTENT_TYPE)?;
    let parameters = parameters(str::from_utf8(media).ok()?);
    let (_, boundary) = parameters.iter().find(|(name, _)| name == BOUNDARY)?;
    let boundary = format!("--{boundary}");
    let content = message.content.as_slice();
    let mut parts = Vec::new();
    let mut from = 0;
    for at in memmem::find_iter(content, &boundary) {
        parts.push(content.get(from..at)?);
        from = at + boundary.len();
    }
    parts.push(content.get(from..)?);
    Some(parts)
}

fn compare_contents(
    [expected, observed]: [&Exchange; 2],
    [old, new]: [&Message; 2],
    names: &Names<'_>,
    differences: &mut Vec<Difference>,
) {
    if old.cut || new.cut {
        differences.push(by_digest(Difference::OVER_CAP, expected, observed));
        return;
    }
    let media = old.media_type();
    // Parts of a content that was compressed can't be decoded, but are parts.
    if media.starts_with(MULTIPART)
        && let [Some(old), Some(new)] = [parts(old), parts(new)]
        && old == new
    {
        return;
    }
    if old.encoded || new.encoded {
        differences.push(by_digest(BODY, expected, observed));
        return;
    }
    let texts = [old, new].map(|message| std::str::from_utf8(&message.content).ok());
    if let [Some(old), Some(new)] = texts
        && names.is_same(old, new)
    {
        return;
    }
    let is_json = media == "application/json" || media.ends_with("+json");
    if is_json
        && let [Some(old), Some(new)] = texts
        && let Some(mut found) = json::differences(old, new, names)
    {
        differences.append(&mut found);
        return;
    }
    let text = media.starts_with("text/")
        || media.ends_with("json")
        || media.ends_with("xml")
        || media.ends_with("javascript")
        || media == "application/x-www-form-urlencoded";
    match texts {
        [Some(old), Some(new)] if text => lines::compare(old, new, names, differences),
        _ => {
            let empty = [old, new].map(|message| message.content.is_empty());
            let place = match empty {
                [old, new] if old != new => BODY.to_owned() + one_sided(new),
                _ => BODY.to_owned(),
            };
            differences.push(by_digest(&place, expected, observed));
        }
    }
}

#[cfg(test)]
mod tests;
