//! What the user asks of a replay: which requests are sent, and what is changed in them.

use std::sync::Arc;

use recording::Exchange;

use super::head::{HeadBuffer, RequestHead};

/// Options by their names on the command line.
pub type Options = [(Arc<str>, Arc<str>)];

const FRAMES: &str = "it says where the body ends, and the body is sent as recorded";

/// Those that change nothing (RFC 9110, section 9.2.1), and CONNECT, which the driver refuses.
const SAFE: [&str; 5] = ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"];

pub fn values<'a>(options: &'a Options, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
    options
        .iter()
        .filter(move |(known, _)| &**known == name)
        .map(|(_, value)| &**value)
}

/// Is it an option, and can it have the value?
pub fn check(name: &str, value: &str) -> Result<(), &'static str> {
    let (fits, expected) = match name {
        "allow-writes" | "keep-host" => (true, ""),
        "method" => (is_token(value), "say a method, such as GET"),
        "path" => (value.starts_with('/'), "a path begins with /"),
        "header" => {
            let (name, value) = value.split_once(':').unwrap_or((value, ""));
            (is_field(name, value), "say NAME or 'NAME: VALUE'")
        }
        "set-header" => {
            let field = value.split_once(':');
            let fits = field.is_some_and(|(name, value)| is_field(name, value));
            if fits && frames(value.split(':').next().unwrap_or_default()) {
                return Err(FRAMES);
            }
            (fits, "say 'NAME: VALUE'")
        }
        "drop-header" if frames(value) => return Err(FRAMES),
        "drop-header" | "drop-cookie" => (is_token(value), "say a NAME"),
        "rewrite-url" => {
            let paths = value.split_once('=');
            let fits = paths.is_some_and(|(from, to)| {
                from.starts_with('/') && to.starts_with('/') && to.bytes().all(|b| b > b' ')
            });
            (fits, "say /FROM=/TO")
        }
        _ => return Err("there is no such option for HTTP"),
    };
    if fits { Ok(()) } else { Err(expected) }
}

/// Does the header say where the body ends?
fn frames(name: &str) -> bool {
    let name = name.trim();
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
}

/// May what is sent have other fields than what was recorded, but for its name and cookies?
pub fn changes_fields(options: &Options) -> bool {
    let mut names = options.iter().map(|(name, _)| &**name);
    names.any(|name| name == "set-header" || name == "drop-header")
}

pub fn drops_header(options: &Options, name: &[u8]) -> bool {
    values(options, "drop-header").any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

pub fn drops_cookie(options: &Options, name: &[u8]) -> bool {
    values(options, "drop-cookie").any(|known| known.as_bytes() == name)
}

/// Names and values of the fields to set. Of several of one name the last counts.
pub fn set_headers(options: &Options) -> impl Iterator<Item = (&str, &str)> {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    for field in values(options, "set-header") {
        if let Some((name, value)) = field.split_once(':') {
            let (name, value) = (name.trim(), value.trim());
            fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            fields.push((name, value));
        }
    }
    fields.into_iter()
}

pub fn set_header<'a>(options: &'a Options, name: &[u8]) -> Option<&'a str> {
    let mut fields = values(options, "set-header")
        .rev()
        .filter_map(|field| field.split_once(':'));
    let found = fields.find(|(known, _)| known.trim().as_bytes().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// Is it an option of a comparison, and can it have the value?
pub fn check_term(name: &str, value: &str) -> Result<(), &'static str> {
    match name {
        "compare-header" | "ignore-header" if is_token(value) => Ok(()),
        "compare-header" | "ignore-header" => Err("say a header's name"),
        _ => Err("there is no such option for HTTP"),
    }
}

/// Does the method change nothing?
pub fn is_safe(method: &str) -> bool {
    SAFE.contains(&method)
}

/// Why a request is not to be sent.
pub fn withheld(request: &Exchange, options: &Options) -> Option<&'static str> {
    if !is_wanted(request, options) {
        return Some("filtered");
    }
    let safe = is_safe(&request.request.command);
    let allowed = safe || values(options, "allow-writes").next().is_some();
    (!allowed).then_some("writes not allowed")
}

/// Filters of one kind are alternatives; one of each kind must match.
fn is_wanted(request: &Exchange, options: &Options) -> bool {
    let any = |name| values(options, name).next().is_some();
    let method = &*request.request.command;
    if any("method") && !values(options, "method").any(|wanted| wanted == method) {
        return false;
    }
    if !any("path") && !any("header") {
        return true;
    }
    let mut buffer = HeadBuffer::default();
    let Ok((_, true)) = buffer.fill(&request.request.bytes) else {
        return false;
    };
    let Ok(head) = RequestHead::parse(buffer.bytes()) else {
        return false;
    };
    let path = path(head.target());
    let path_fits = values(options, "path").any(|wanted| below(path, wanted).is_some());
    let header_fits = values(options, "header").any(|wanted| match wanted.split_once(':') {
        Some((name, value)) => {
            let mut values = head.head.values(name.trim());
            values.any(|known| known == value.trim().as_bytes())
        }
        None => head.head.value(wanted.trim()).is_some(),
    });
    (path_fits || !any("path")) && (header_fits || !any("header"))
}

/// The target with another path in place of the first of `--rewrite-url` that it is below.
pub fn rewrite(target: &[u8], options: &Options) -> Option<Vec<u8>> {
    let path = path(target);
    let before = target.strip_suffix(path)?;
    values(options, "rewrite-url").find_map(|pair| {
        let (from, to) = pair.split_once('=')?;
        let rest = below(path, from)?;
        // Where one of them has the slash between what is replaced and what follows, so has the result.
        let (to, slash) = match (to.strip_suffix('/'), rest.first()) {
            (Some(bare), Some(b'/')) => (bare, ""),
            (None, Some(next)) if !b"/?#".contains(next) => (to, "/"),
            _ => (to, ""),
        };
        Some([before, to.as_bytes(), slash.as_bytes(), rest].concat())
    })
}

/// From the path on: without the scheme and the authority of an absolute target.
fn path(target: &[u8]) -> &[u8] {
    if target.starts_with(b"/") {
        return target;
    }
    let authority = memchr::memmem::find(target, b"://").map_or(0, |at| at + 3);
    let rest = target.get(authority..).unwrap_or_default();
    let slash = memchr::memchr(b'/', rest).unwrap_or(rest.len());
    rest.get(slash..).unwrap_or_default()
}

/// What follows `prefix`, where it ends with a segment of the path.
fn below<'a>(path: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(prefix.as_bytes())?;
    let ends = prefix.ends_with('/') || rest.first().is_none_or(|next| b"/?#".contains(next));
    ends.then_some(rest)
}

fn is_field(name: &str, value: &str) -> bool {
    is_token(name.trim())
        && !value
            .bytes()
            .any(|byte| byte.is_ascii_control() && byte != b'\t')
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::request;

    fn options(told: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
        for (name, value) in told {
            assert_eq!(check(name, value), Ok(()), "{name} {value}");
        }
        let told = told.iter();
        told.map(|(name, value)| (Arc::from(*name), Arc::from(*value)))
            .collect()
    }

    #[test]
    fn writes_must_be_allowed() {
        let post = request("POST /a HTTP/1.1\r\n\r\n");
        assert_eq!(withheld(&post, &[]), Some("writes not allowed"));
        assert_eq!(withheld(&post, &options(&[("allow-writes", "")])), None);
        assert_eq!(
            withheld(&request("get /a HTTP/1.1\r\n\r\n"), &[]),
            Some("writes not allowed")
        );
        assert_eq!(withheld(&request("HEAD /a HTTP/1.1\r\n\r\n"), &[]), None);
    }

    #[test]
    fn one_filter_of_each_kind_must_match() {
        let get = request("GET http://h/api/v1?x HTTP/1.1\r\nX-Team:  blue \r\n\r\n");
        for (told, wanted) in [
            (&[("method", "HEAD"), ("method", "GET")][..], true),
            (&[("method", "HEAD")], false),
            (&[("path", "/api")], true),
            (&[("path", "/api/v1")], true),
            (&[("path", "/api/v")], false),
            (&[("path", "/")], true),
            (&[("path", "/other"), ("path", "/api/")], true),
            (&[("header", "x-team")], true),
            (&[("header", "x-team: blue")], true),
            (&[("header", "X-Team: red")], false),
            (&[("header", "X-Crew")], false),
            (&[("path", "/api"), ("header", "X-Crew")], false),
        ] {
            let found = withheld(&get, &options(told));
            assert_eq!(found, (!wanted).then_some("filtered"), "{told:?}");
        }
        let broken = request("GET /api");
        assert_eq!(
            withheld(&broken, &options(&[("path", "/api")])),
            Some("filtered")
        );
    }

    #[test]
    fn the_first_path_that_matches_is_rewritten() {
        let options = options(&[
            ("rewrite-url", "/api/v1=/api/v2"),
            ("rewrite-url", "/api=/never"),
            ("rewrite-url", "/=/root/"),
        ]);
        for (target, rewritten) in [
            ("/api/v1/a?b=/api/v1", Some("/api/v2/a?b=/api/v1")),
            ("/api/v1", Some("/api/v2")),
            ("http://h:1/api/v1?a", Some("http://h:1/api/v2?a")),
            ("/api/v10", Some("/never/v10")),
            ("/index.html", Some("/root/index.html")),
            ("*", None),
        ] {
            let found = rewrite(target.as_bytes(), &options);
            let found = found.map(|target| String::from_utf8(target).unwrap());
            assert_eq!(found.as_deref(), rewritten, "{target}");
        }
        for (pair, target, rewritten) in [
            ("/=/app", "/index.html", "/app/index.html"),
            ("/=/app", "/", "/app"),
            ("/api/=/v2", "/api/v1/x", "/v2/v1/x"),
            ("/api=/v3/", "/api/x", "/v3/x"),
            ("/api=/v3", "/api?a", "/v3?a"),
        ] {
            let options = super::tests::options(&[("rewrite-url", pair)]);
            let found = rewrite(target.as_bytes(), &options).unwrap();
            assert_eq!(
                String::from_utf8(found).unwrap(),
                rewritten,
                "{pair} {target}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value, why) in [
            ("set-header", "X-A b", "say 'NAME: VALUE'"),
            ("set-header", "X A: b", "say 'NAME: VALUE'"),
            ("set-header", "X-A: b\r\nX-B: c", "say 'NAME: VALUE'"),
            ("set-header", "content-length : 1", FRAMES),
            ("drop-header", "Transfer-Encoding", FRAMES),
            ("drop-header", "X-A: b", "say a NAME"),
            ("drop-cookie", "a=b", "say a NAME"),
            ("header", "", "say NAME or 'NAME: VALUE'"),
            ("rewrite-url", "/a", "say /FROM=/TO"),
            ("rewrite-url", "a=/b", "say /FROM=/TO"),
            ("rewrite-url", "/a=/b c", "say /FROM=/TO"),
            ("path", "a", "a path begins with /"),
            ("method", "GET,POST", "say a method, such as GET"),
            ("read-only", "", "there is no such option for HTTP"),
        ] {
            assert_eq!(check(name, value), Err(why), "{name} {value}");
        }
        assert_eq!(check_term("ignore-header", "X-A"), Ok(()));
        assert_eq!(
            check_term("compare-header", "ETag: a"),
            Err("say a header's name")
        );
        assert_eq!(
            check_term("header", "X-A"),
            Err("there is no such option for HTTP")
        );
    }
}
