//! Statements of requests: the method, the path with the ids taken out, and the query's keys.

use recording::Statement;
use xxhash_rust::xxh3::xxh3_64;

use super::head::readable;

/// Longer text is cut: its beginning tells enough.
const MAX_TEXT: usize = 1024;

pub fn statement(method: &str, target: &[u8]) -> Statement {
    let target = readable(target);
    named(match method {
        "CONNECT" => "CONNECT {authority}".to_owned(),
        _ => format!("{method} {}", template(origin_form(&target))),
    })
}

pub fn named(mut text: String) -> Statement {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
    Statement {
        fingerprint: xxh3_64(text.as_bytes()),
        text: text.into(),
    }
}

/// Without the scheme and the authority of an absolute target.
fn origin_form(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    match target.split_once("://") {
        Some((_, rest)) => rest
            .find(['/', '?'])
            .and_then(|at| rest.get(at..))
            .unwrap_or("/"),
        None => target,
    }
}

fn template(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut text = path.split('/').map(segment).collect::<Vec<_>>().join("/");
    let mut keys: Vec<String> = query
        .split('&')
        .filter_map(|pair| pair.split('=').next())
        .filter(|key| !key.is_empty())
        .map(segment)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    if !keys.is_empty() {
        text.push('?');
        text.push_str(&keys.join("&"));
    }
    text
}

/// What kind of id it is, if it is one.
pub fn id(text: &str) -> Option<&'static str> {
    if is_uuid(text) {
        Some("{uuid}")
    } else if is_token(text) {
        Some("{token}")
    } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Some("{n}")
    } else if is_hash(text) {
        Some("{hash}")
    } else {
        None
    }
}

fn segment(segment: &str) -> String {
    if let Some(id) = id(segment) {
        return id.to_owned();
    }
    let mut text = String::new();
    let parts = segment.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    for part in parts {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        text.push_str(id(word).unwrap_or(word));
        text.push_str(part.get(word.len()..).unwrap_or_default());
    }
    text
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Hexadecimal, with a digit and a letter, as long as a short commit or a cache key.
fn is_hash(word: &str) -> bool {
    word.len() >= 8
        && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && word.bytes().any(|byte| byte.is_ascii_digit())
}

/// Base64 of a length that no word has, with digits and both cases.
fn is_token(text: &str) -> bool {
    let has = |of: fn(&u8) -> bool| text.as_bytes().iter().any(of);
    text.len() >= 20
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_=.%~".contains(&byte))
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_out() {
        for (method, target, text) in [
            ("GET", "/", "GET /"),
            (
                "GET",
                "/users/42/orders/7?page=3&limit=10&page=4",
                "GET /users/{n}/orders/{n}?limit&page",
            ),
            ("GET", "/v1/order-17.json", "GET /v1/order-{n}.json"),
            ("GET", "/d/2024-01-15", "GET /d/{n}-{n}-{n}"),
            (
                "GET",
                "/c/123e4567-e89b-12d3-a456-426614174000",
                "GET /c/{uuid}",
            ),
            (
                "GET",
                "/static/app.3f2a9c1b.js",
                "GET /static/app.{hash}.js",
            ),
            ("GET", "/t/eyJhbGciOiJIUzI1NiIsInR5cCI6", "GET /t/{token}"),
            ("GET", "/acceptable/decade", "GET /acceptable/decade"),
            ("GET", "http://shop.example:8080/a/1?b", "GET /a/{n}?b"),
            ("GET", "http://shop.example", "GET /"),
            ("GET", "/go?to=http://x/", "GET /go?to"),
            ("OPTIONS", "*", "OPTIONS *"),
            ("CONNECT", "shop.example:443", "CONNECT {authority}"),
            ("GET", "/?", "GET /"),
            ("GET", "/a?filter[12]=x", "GET /a?filter[{n}]"),
        ] {
            assert_eq!(
                &*statement(method, target.as_bytes()).text,
                text,
                "{target}"
            );
        }
    }

    #[test]
    fn the_fingerprint_is_of_the_text_and_the_text_is_bounded() {
        assert_eq!(statement("GET", b"/a/1"), statement("GET", b"/a/2"));
        assert_ne!(statement("GET", b"/a/1"), statement("PUT", b"/a/1"));
        let long = "\u{e9}/".repeat(MAX_TEXT);
        assert!(statement("GET", long.as_bytes()).text.len() <= MAX_TEXT);
    }
}
