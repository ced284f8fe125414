//! References to the server itself, and to others.
//!
//! A server writes the name that it is called by into `Location` and the like, and two targets are
//! called by two names: what means the server itself is the same on both, whatever it is written as.

use recording::Exchange;

use super::head::{HeadBuffer, RequestHead};

/// What one side's server is called.
#[derive(Debug)]
pub struct Own {
    scheme: String,
    /// Hosts, with the port where it was written.
    names: Vec<String>,
}

impl Own {
    /// By the target's URL, where there is one, and by what the recorded client called the server.
    pub fn new(request: &Exchange, target: Option<&str>) -> Own {
        let mut own = Own {
            scheme: "http".to_owned(),
            names: Vec::new(),
        };
        if let Some(Reference {
            scheme: Some(scheme),
            authority: Some(authority),
            ..
        }) = target.map(Reference::of)
        {
            own.scheme = scheme.to_owned();
            let host = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
            own.names.push(host.to_owned());
        }
        let mut buffer = HeadBuffer::default();
        if let Ok((_, true)) = buffer.fill(&request.request.bytes)
            && let Ok(head) = RequestHead::parse(buffer.bytes())
        {
            own.names.extend(head.head.text_value("host"));
            let target = String::from_utf8_lossy(head.target());
            let absolute = target.contains("://").then(|| Reference::of(&target));
            let authority = absolute.and_then(|absolute| absolute.authority);
            own.names.extend(authority.map(str::to_owned));
        }
        own
    }

    /// The scheme, and the host with the port where it was written: of the target, or of the server that was
    /// recorded.
    pub fn name(&self) -> Option<(&str, &str)> {
        Some((&self.scheme, self.names.first()?))
    }

    fn is_host(&self, authority: &str) -> bool {
        let mut names = self.names.iter();
        names.any(|name| host(name).eq_ignore_ascii_case(host(authority)))
    }

    /// Is it the server as it is called?
    fn is(&self, reference: &Reference<'_>) -> bool {
        let Some(authority) = reference.authority else {
            return true;
        };
        self.names.iter().any(|name| {
            host(name).eq_ignore_ascii_case(host(authority))
                && (port(name, &self.scheme) == port(authority, reference.scheme(self))
                    || port(name, "") == port(authority, ""))
        })
    }
}

/// Do two references lead to the same place, each from its own server?
pub fn is_same([old, new]: [&str; 2], [old_own, new_own]: [&Own; 2]) -> bool {
    let (old, new) = (Reference::of(old), Reference::of(new));
    old.path == new.path
        && same_scheme([&old, &new], [old_own, new_own])
        && same_authority([&old, &new], [old_own, new_own])
}

fn same_scheme([old, new]: [&Reference<'_>; 2], [old_own, new_own]: [&Own; 2]) -> bool {
    let (a, b) = (old.scheme(old_own), new.scheme(new_own));
    let both_own = a == old_own.scheme && b == new_own.scheme;
    a == b || both_own
}

fn same_authority([old, new]: [&Reference<'_>; 2], [old_own, new_own]: [&Own; 2]) -> bool {
    if old_own.is(old) && new_own.is(new) {
        return true;
    }
    let (Some(a), Some(b)) = (old.authority, new.authority) else {
        return false;
    };
    let hosts = host(a).eq_ignore_ascii_case(host(b)) || old_own.is_host(a) && new_own.is_host(b);
    hosts && port(a, old.scheme(old_own)) == port(b, new.scheme(new_own))
}

/// A URI reference in its parts (RFC 3986, section 4.1).
#[derive(Debug)]
struct Reference<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    /// And all that follows.
    path: &'a str,
}

impl<'a> Reference<'a> {
    fn of(text: &'a str) -> Reference<'a> {
        let is_scheme = |scheme: &str| !scheme.contains(['/', '?', '#']);
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, _)) if is_scheme(scheme) => {
                let rest = text.get(scheme.len() + 1..).unwrap_or_default();
                (Some(scheme), rest)
            }
            _ => (None, text),
        };
        let Some(rest) = rest.strip_prefix("//") else {
            return Reference {
                scheme: None,
                authority: None,
                path: text,
            };
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        Reference {
            scheme,
            authority: Some(authority),
            path: if path.is_empty() { "/" } else { path },
        }
    }

    fn scheme<'b>(&'b self, own: &'b Own) -> &'b str {
        self.scheme.unwrap_or(&own.scheme)
    }
}

fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn port<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let written = authority.get(host(authority).len()..).unwrap_or_default();
    match (written.trim_start_matches(':'), scheme) {
        ("", "http") => "80",
        ("", "https") => "443",
        (port, _) => port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::request;

    #[test]
    fn the_server_itself_is_the_same_by_any_name() {
        let asked = request("GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        let production = Own::new(&asked, None);
        let copy = Own::new(&asked, Some("http://127.0.0.1:8080"));
        let secure = Own::new(&asked, Some("https://ann@copy.test:443"));
        for (old, new, own, same) in [
            ("/b", "/b", &copy, true),
            ("/b", "/c", &copy, false),
            ("/b", "http://127.0.0.1:8080/b", &copy, true),
            ("http://shop.example/b", "/b", &copy, true),
            (
                "http://Shop.example:80/b",
                "http://127.0.0.1:8080/b",
                &copy,
                true,
            ),
            ("http://shop.example", "//127.0.0.1:8080/", &copy, true),
            // What the recorded client called it is its name in a replay too, as a server may know.
            (
                "http://shop.example/b",
                "http://shop.example/b",
                &copy,
                true,
            ),
            (
                "http://shop.example/b",
                "https://copy.test/b",
                &secure,
                true,
            ),
            // Another server, port or scheme is another place.
            (
                "http://shop.example/b",
                "http://pay.example/b",
                &copy,
                false,
            ),
            ("http://pay.example/b", "/b", &copy, false),
            ("http://pay.example/b", "http://pay.example/b", &copy, true),
            (
                "http://pay.example/b",
                "http://bank.example/b",
                &copy,
                false,
            ),
            (
                "http://pay.example/b",
                "https://pay.example/b",
                &copy,
                false,
            ),
            (
                "http://shop.example/b",
                "http://127.0.0.1:9090/b",
                &copy,
                false,
            ),
            (
                "http://shop.example:9090/b",
                "http://127.0.0.1:9090/b",
                &copy,
                true,
            ),
            (
                "http://shop.example/b",
                "https://127.0.0.1:8080/b",
                &copy,
                false,
            ),
            ("https://shop.example/b", "https://127.0.0.1/b", &copy, true),
            (
                "https://shop.example/b",
                "https://127.0.0.1:8080/b",
                &copy,
                true,
            ),
            ("/go?to=http://a/", "/go?to=http://b/", &copy, false),
        ] {
            assert_eq!(is_same([old, new], [&production, own]), same, "{old} {new}");
        }
    }

    #[test]
    fn an_absolute_target_names_the_server() {
        let asked = request("GET http://shop.example:81/a HTTP/1.1\r\nHost: other\r\n\r\n");
        let own = Own::new(&asked, None);
        assert!(is_same(["http://shop.example:81/", "/"], [&own, &own]));
        assert!(is_same(["http://other/", "/"], [&own, &own]));
        let unknown = Own::new(&request("cut"), None);
        assert!(!is_same(["http://other/", "/"], [&unknown, &unknown]));
    }
}
