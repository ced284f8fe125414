//! Cookies that the server made up: what the target set is sent where the recorded client sent what
//! the recorded server had set. Paths and domains are not looked at: a recorded client has done so.

use std::sync::Arc;

use memchr::{memchr, memchr2_iter};
use recording::{Response, Timestamp};

use super::head::{HeadBuffer, RequestHead, ResponseHead};
use super::message::{begins_with_interim, heads};
use super::set_cookie;
use crate::{Learnt, Recorded};

const SHORT: usize = 1 << 10;

/// A cookie's name and value.
pub type Cookie = (Vec<u8>, Vec<u8>);

/// Cookies that a response sets, without those it deletes. It came at `at`.
pub fn set_by(head: &ResponseHead, at: Timestamp) -> Vec<Cookie> {
    let cookies = set_cookie::all(head, at).into_iter();
    cookies
        .filter(|cookie| !cookie.deleted && !cookie.value.is_empty())
        .map(|cookie| (cookie.name.to_vec(), cookie.value.to_vec()))
        .collect()
}

/// What the recorded server set, the target set too: under the same name, in the same order.
pub fn learn(recorded: &[Cookie], target: &[Cookie], learnt: &mut Learnt) {
    let mut target: Vec<Option<&Cookie>> = target.iter().map(Some).collect();
    for (name, value) in recorded {
        let same = target
            .iter_mut()
            .find(|cookie| cookie.is_some_and(|(known, _)| known == name));
        if let Some((_, new)) = same.and_then(Option::take) {
            learnt.teach(&key(name), value, new);
        }
    }
}

/// The value of a `Cookie` field as the target set it, without the cookies that are not `wanted`; and
/// how many are others now.
pub fn rewrite(field: &[u8], learnt: &Learnt, wanted: impl Fn(&[u8]) -> bool) -> (Vec<u8>, u64) {
    let mut text = Vec::with_capacity(field.len());
    let mut mapped = 0;
    for piece in field.split(|byte| *byte == b';') {
        let (name, value) = split(piece);
        if !wanted(name) {
            continue;
        }
        let piece = if text.is_empty() {
            piece.trim_ascii_start()
        } else {
            text.push(b';');
            piece
        };
        let new = learnt.target(&key(name), value);
        match new.filter(|new| **new != *value) {
            Some(new) => {
                mapped += 1;
                let bare = piece.trim_ascii_end();
                let before = bare.get(..bare.len() - value.len());
                text.extend_from_slice(before.unwrap_or_default());
                text.extend_from_slice(&new);
            }
            None => text.extend_from_slice(piece),
        }
    }
    (text, mapped)
}

/// Values of a `Cookie` field, and what the target set instead where that is another one.
pub fn mapped<'f>(field: &'f [u8], learnt: &Learnt) -> impl Iterator<Item = (&'f [u8], Arc<[u8]>)> {
    field
        .split(|byte| *byte == b';')
        .map(split)
        .filter_map(|(name, value)| Some((value, learnt.target(&key(name), value)?)))
        .filter(|(value, target)| **target != **value)
}

/// Name and value of a cookie; without `=` it has no name.
fn split(piece: &[u8]) -> (&[u8], &[u8]) {
    let equals = memchr(b'=', piece);
    let (name, value) = match equals.and_then(|equals| piece.split_at_checked(equals)) {
        Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
        None => (&b""[..], piece.trim_ascii_start()),
    };
    (name.trim_ascii(), value.trim_ascii_end())
}

/// What a response sets, as the run knows it.
pub fn made_up(response: &Response) -> Vec<Recorded> {
    if !may_be_set_by(&response.body) {
        return Vec::new();
    }
    let head = heads(&response.body).map(|(_, head, _)| head);
    let cookies = head.iter();
    let cookies = cookies.flat_map(|head| set_by(head, response.first_byte_at));
    cookies
        .map(|(name, value)| (key(&name).into(), value.into()))
        .collect()
}

/// `false` where a response sets none for certain: it is one head, without such a field.
pub fn may_be_set_by(response: &[u8]) -> bool {
    begins_with_interim(response) || has_field(response, b"set-cookie")
}

/// What a request sends and is `wanted`, as the run knows it.
pub fn sent_back(request: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<Recorded> {
    let mut buffer = HeadBuffer::default();
    if !has_field(request, b"cookie") || !matches!(buffer.fill(request), Ok((_, true))) {
        return Vec::new();
    }
    let head = RequestHead::parse(buffer.bytes());
    let fields = head.iter().flat_map(|head| head.head.values("cookie"));
    fields
        .flat_map(|field| field.split(|byte| *byte == b';'))
        .map(split)
        .filter(|(name, value)| wanted(name) && !value.is_empty())
        .map(|(name, value)| (key(name).into(), value.into()))
        .collect()
}

/// Is there a line in the first head that begins like the field, one of cookies? Saves parsing what has
/// none.
fn has_field(bytes: &[u8], name: &[u8]) -> bool {
    if is_silent(bytes) {
        return false;
    }
    let mut rest = bytes;
    while let Some(end) = memchr(b'\n', rest) {
        rest = rest.get(end + 1..).unwrap_or_default();
        match rest {
            [b'\n', ..] | [b'\r', b'\n', ..] => return false,
            _ => {}
        }
        let begin = rest.get(..name.len());
        if begin.is_some_and(|begin| begin.eq_ignore_ascii_case(name)) {
            return true;
        }
    }
    false
}

/// Is there no word of cookies in it? For short messages: others are mostly a body.
fn is_silent(bytes: &[u8]) -> bool {
    const WORD: &[u8] = b"cookie";
    let has_word = |k: usize| {
        let begin = k.checked_sub(3)?;
        let word = bytes.get(begin..begin + WORD.len())?;
        Some(word.eq_ignore_ascii_case(WORD))
    };
    bytes.len() <= SHORT && !memchr2_iter(b'k', b'K', bytes).any(|k| has_word(k) == Some(true))
}

fn key(name: &[u8]) -> Vec<u8> {
    [b"cookie ", name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000_000_000);

    fn made_up(text: &[u8]) -> Vec<Recorded> {
        super::made_up(&Response {
            body: text.to_vec(),
            first_byte_at: NOW,
            ..Response::default()
        })
    }

    fn cookies(fields: &str) -> Vec<Cookie> {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        set_by(&ResponseHead::parse(text.as_bytes()).unwrap(), NOW)
    }

    #[test]
    fn a_field_is_found_in_messages_of_any_length() {
        for name in ["Set-Cookie", "set-cookie", "SET-COOKIE", "sEt-cOOkIe"] {
            for (before, body, found) in [
                ("A: b\r\n", "", true),
                ("Link: cook\r\n", "cookie", true),
                ("A: b\r\n\r\n", "", false),
                ("Not-", "", false),
                ("A: ", "", false),
            ] {
                for length in [0, SHORT, 2 * SHORT] {
                    let body = body.to_owned() + &"k".repeat(length);
                    let text = format!("HTTP/1.1 200 OK\r\n{before}{name}: a=b\r\n\r\n{body}");
                    assert_eq!(may_be_set_by(text.as_bytes()), found, "{text}");
                }
            }
        }
        assert!(!may_be_set_by(b"K"));
    }

    #[test]
    fn what_the_target_set_is_written_instead() {
        let mut learnt = Learnt::default();
        let recorded = cookies(
            "Set-Cookie: sid=before; Path=/\r\nSet-Cookie: sid=old; Path=/\r\nSet-Cookie: theme=dark\r\n\
             Set-Cookie: gone=; Max-Age=0\r\nSet-Cookie: left=x; Expires=Sat, 08 Sep 2001 00:00:00 GMT\r\n",
        );
        let target = cookies("Set-Cookie: theme=dark\r\nset-cookie: sid=brand-new; HttpOnly\r\n");
        assert_eq!(recorded.len(), 2);
        assert_eq!(
            made_up(b"HTTP/1.1 200 OK\r\nSET-COOKIE : sid=old\r\n\r\n"),
            sent_back(b"GET / HTTP/1.1\r\ncookie: sid=old\r\n\r\n", |_| true)
        );
        assert!(made_up(b"HTTP/1.1 200 OK\r\n\r\nSet-Cookie: a=b\r\n").is_empty());
        assert_eq!(
            made_up(
                b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\nset-cookie: sid=old\r\n\r\n"
            )
            .len(),
            1
        );
        learn(&recorded, &target, &mut learnt);
        let [nameless, other] = [
            cookies("Set-Cookie: token\r\n"),
            cookies("Set-Cookie: new\r\n"),
        ];
        learn(&nameless, &other, &mut learnt);
        for (field, written, mapped) in [
            (
                "theme=dark; sid=old ; sid=other;lone",
                "theme=dark; sid=brand-new; sid=other;lone",
                1,
            ),
            ("ad=1; a=b;c=d", "a=b;c=d", 0),
            ("a=b; ad=1; sid=old; ad=2", "a=b; sid=brand-new", 1),
            ("ad=1", "", 0),
            ("token", "new", 1),
            ("a=b; =token ;c=d", "a=b; =new;c=d", 1),
            ("a; ;b=", "a; ;b=", 0),
        ] {
            let (found, count) = rewrite(field.as_bytes(), &learnt, |name| name != b"ad");
            assert_eq!(String::from_utf8(found).unwrap(), written);
            assert_eq!(count, mapped);
        }
    }
}
