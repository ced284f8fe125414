//! The name that each side's server was asked under, wherever it writes that.
//!
//! Two targets are called by two names, and a server writes its own into links, texts and headers: that is
//! no difference. A name without a port may be a word of any text; it counts in URLs only.

use std::borrow::Cow;
use std::cell::OnceCell;

use memchr::memmem;
use recording::Exchange;

use crate::Terms;
use crate::http::location::Own;

/// Of the server of OLD and of NEW; looked up where something differs.
#[derive(Debug)]
pub(super) struct Names<'a> {
    sides: [(&'a Exchange, Option<&'a str>); 2],
    known: OnceCell<Option<[Name; 2]>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    scheme: String,
    host: String,
    /// Empty where it is not said.
    port: String,
}

impl<'a> Names<'a> {
    pub(super) fn new(expected: &'a Exchange, observed: &'a Exchange, terms: &'a Terms) -> Self {
        let targets = [&terms.expected_target, &terms.observed_target];
        let [old, new] = targets.map(Option::as_deref);
        Names {
            sides: [(expected, old), (observed, new)],
            known: OnceCell::new(),
        }
    }

    /// Where they are two.
    fn known(&self) -> Option<&[Name; 2]> {
        let known = self.known.get_or_init(|| {
            let [old, new] = self.sides.map(|(exchange, target)| {
                let own = Own::new(exchange, target);
                let (scheme, authority) = own.name()?;
                Name::of(scheme, authority)
            });
            Some([old?, new?]).filter(|[old, new]| old != new)
        });
        known.as_ref()
    }

    pub(super) fn owns(&self) -> [Own; 2] {
        self.sides
            .map(|(exchange, target)| Own::new(exchange, target))
    }

    /// Are they the same, but that each names its own server?
    pub(super) fn is_same(&self, old: &str, new: &str) -> bool {
        old == new
            || self.known().is_some_and(|[old_name, new_name]| {
                let old = old_name.read(old);
                matches!(old, Cow::Owned(_)) && old == new_name.read(new)
            })
    }

    /// Is each the port of its own server?
    pub(super) fn are_ports(&self, old: &str, new: &str) -> bool {
        self.known().is_some_and(|[old_name, new_name]| {
            !old_name.port.is_empty() && [old, new] == [&old_name.port, &new_name.port]
        })
    }

    /// Both with another word for the own name, the same one, where none has the other's name in it too.
    pub(super) fn read<'t>(&self, old: &'t str, new: &'t str) -> [Cow<'t, str>; 2] {
        if let Some([old_name, new_name]) = self.known()
            && matches!(old_name.read(new), Cow::Borrowed(_))
            && matches!(new_name.read(old), Cow::Borrowed(_))
        {
            return [old_name.read(old), new_name.read(new)];
        }
        [old.into(), new.into()]
    }
}

impl Name {
    fn of(scheme: &str, authority: &str) -> Option<Name> {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
            _ => (authority, ""),
        };
        (!host.is_empty()).then(|| Name {
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            port: port.to_owned(),
        })
    }

    /// The text with NUL and a letter for the name, by how it is written.
    fn read<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = String::new();
        let mut copied = 0;
        for at in memmem::find_iter(text.as_bytes(), &self.host) {
            let [before, after] = [text.get(copied..at), text.get(at + self.host.len()..)];
            let (Some(before), Some(after)) = (before, after) else {
                continue;
            };
            let Some((how, len)) = self.written(before, after) else {
                continue;
            };
            let scheme = format!("{}://", self.scheme);
            let (before, how) = match before.strip_suffix(&scheme) {
                Some(bare) => (bare, format!("u{how}")),
                None => (before, how.to_owned()),
            };
            out.push_str(before);
            out.push('\0');
            out.push_str(&how);
            copied = at + self.host.len() + len;
        }
        if copied == 0 {
            return text.into();
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        out.into()
    }

    /// How it is written between what stands `before` and `after` the host, and what of `after` belongs to it.
    fn written(&self, before: &str, after: &str) -> Option<(&'static str, usize)> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        let ends = |text: &str, more: &[u8]| {
            let next = text.as_bytes().first();
            next.is_none_or(|next| !is_word(next) && !more.contains(next))
        };
        let escaped = ["%2F", "%2f"].iter().any(|it| before.ends_with(it));
        let begins = escaped
            || before
                .as_bytes()
                .last()
                .is_none_or(|last| !is_word(last) && *last != b'.');
        let in_url = ["//", r"\/\/", "%2F%2F", "%2f%2f"]
            .iter()
            .any(|it| before.ends_with(it));
        if !begins {
            return None;
        }
        for (how, colon) in [("a", ":"), ("e", "%3A"), ("e", "%3a")] {
            let rest = after.strip_prefix(colon);
            let rest = rest.and_then(|rest| rest.strip_prefix(&self.port));
            if let Some(rest) = rest.filter(|rest| !self.port.is_empty() && ends(rest, b"")) {
                return Some((how, after.len() - rest.len()));
            }
        }
        (in_url && ends(after, b".:@%")).then_some(("h", 0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    fn names(old: &str, new: &str) -> Names<'static> {
        let name = |url: &str| {
            let (scheme, authority) = url.split_once("://").unwrap();
            Name::of(scheme, authority).unwrap()
        };
        let exchange: &'static Exchange = Box::leak(Box::new(Exchange::new(
            recording::Kind::Request,
            recording::Timestamp(0),
        )));
        Names {
            sides: [(exchange, None); 2],
            known: OnceCell::from(Some([name(old), name(new)])),
        }
    }

    #[test]
    fn each_sides_own_name_is_the_same() {
        let here = names("http://127.0.0.1:5001", "https://127.0.0.1:5002");
        for (old, new, same) in [
            ("127.0.0.1:5001", "127.0.0.1:5002", true),
            ("at 127.0.0.1:5001.", "at 127.0.0.1:5002.", true),
            ("http://127.0.0.1:5001/a", "https://127.0.0.1:5002/a", true),
            ("ws://127.0.0.1:5001/a", "ws://127.0.0.1:5002/a", true),
            (
                "?u=%2F%2F127.0.0.1%3A5001",
                "?u=%2F%2F127.0.0.1%3A5002",
                true,
            ),
            (r"\/\/127.0.0.1:5001\/", r"\/\/127.0.0.1:5002\/", true),
            // Of another path, scheme, port, host, or of the other side.
            ("http://127.0.0.1:5001/a", "https://127.0.0.1:5002/b", false),
            ("http://127.0.0.1:5001/a", "ws://127.0.0.1:5002/a", false),
            ("127.0.0.1:5001", "127.0.0.1%3A5002", false),
            ("127.0.0.1:50011", "127.0.0.1:50021", false),
            ("1127.0.0.1:5001", "1127.0.0.1:5002", false),
            ("x.127.0.0.1:5001", "x.127.0.0.1:5002", false),
            ("http://127.0.0.1:5001/", "http://127.0.0.1:5001/", true),
            ("127.0.0.1:5001 a", "127.0.0.1:5001 b", false),
            ("127.0.0.1:5002", "127.0.0.1:5001", false),
            ("port 5001", "port 5002", false),
        ] {
            assert_eq!(here.is_same(old, new), same, "{old} {new}");
        }
        let bare = names("http://old", "http://new");
        for (old, new, same) in [
            ("old", "new", false),
            ("http://old/a?b=//old", "http://new/a?b=//new", true),
            ("http://old:81/", "http://new:81/", false),
            ("http://old.test/", "http://new.test/", false),
            ("//older/", "//newer/", false),
            ("a//old b", "a//new b", true),
        ] {
            assert_eq!(bare.is_same(old, new), same, "{old} {new}");
        }
        // Behind a proxy that leaves out the port.
        let named = names("http://old:81", "http://new:82");
        assert!(named.is_same("http://old/", "http://new/"));
        assert!(!named.is_same("http://old/", "http://new:82/"));
    }

    #[test]
    fn a_port_alone_is_each_sides_own() {
        let names_of = |old, new| names(&format!("http://{old}"), &format!("http://{new}"));
        assert!(names_of("a:8080", "a:8081").are_ports("8080", "8081"));
        assert!(!names_of("a:8080", "a:8081").are_ports("8080", "8080"));
        assert!(!names_of("a:8080", "a:8081").are_ports("8081", "8080"));
        assert!(!names_of("a", "b").are_ports("", ""));
        let names = names_of("a:8080", "a:8081");
        for (old, new, same) in [
            (r#"{"port":8080}"#, r#"{"port":8081}"#, true),
            (
                r#"{"a":{"listenPort":"8080"}}"#,
                r#"{"a":{"listenPort":"8081"}}"#,
                true,
            ),
            (r#"{"port":8080}"#, r#"{"port":"8081"}"#, false),
            (r#"{"port":8080}"#, r#"{"port":8082}"#, false),
            (r#"{"port":{"n":8080}}"#, r#"{"port":{"n":8081}}"#, false),
        ] {
            let found = json::differences(old, new, &names).unwrap();
            assert_eq!(found.is_empty(), same, "{old} {new}");
        }
    }

    #[test]
    fn a_text_with_both_names_is_left_as_it_is() {
        let names = names("http://a:1", "http://b:2");
        assert_eq!(names.read("x a:1", "x b:2"), ["x \0a", "x \0a"]);
        assert_eq!(names.read("x a:1", "x a:1"), ["x a:1", "x a:1"]);
        assert_eq!(names.read("a:1 b:2", "b:2 b:2"), ["a:1 b:2", "b:2 b:2"]);
    }
}
