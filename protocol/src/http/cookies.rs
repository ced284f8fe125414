//! Cookies that the server made up: what the target set is sent where the recorded client sent what
//! the recorded server had set. Paths and domains are not looked at: a recorded client has done so.

use std::ops::Range;

use super::head::ResponseHead;
use crate::Learnt;

/// A cookie's name and value.
pub type Cookie = (Vec<u8>, Vec<u8>);

/// Cookies that a response sets, without those it deletes.
pub fn set_by(head: &ResponseHead) -> Vec<Cookie> {
    head.head
        .values("set-cookie")
        .filter_map(|value| {
            let pair = value.split(|byte| *byte == b';').next()?;
            let equals = memchr::memchr(b'=', pair)?;
            let name = pair.get(..equals)?.trim_ascii();
            let value = pair.get(equals + 1..)?.trim_ascii();
            (!value.is_empty()).then(|| (name.to_vec(), value.to_vec()))
        })
        .collect()
}

/// What the recorded server set, the target set too: under the same name, in the same order.
pub fn learn(recorded: &[Cookie], target: &[Cookie], learnt: &Learnt) {
    let mut target: Vec<Option<&Cookie>> = target.iter().map(Some).collect();
    for (name, value) in recorded {
        let same = target
            .iter_mut()
            .find(|cookie| cookie.is_some_and(|(known, _)| known == name));
        if let Some((_, new)) = same.and_then(Option::take)
            && new != value
        {
            learnt.teach(&key(name), value, new);
        }
    }
}

/// What to write where in the value of a `Cookie` field.
pub fn edits(field: &[u8], learnt: &Learnt) -> Vec<(Range<usize>, Vec<u8>)> {
    let mut edits = Vec::new();
    let mut start = 0;
    for pair in field.split(|byte| *byte == b';') {
        let place = start;
        start += pair.len() + 1;
        let Some(equals) = memchr::memchr(b'=', pair) else {
            continue;
        };
        let (Some(name), Some(value)) = (pair.get(..equals), pair.get(equals + 1..)) else {
            continue;
        };
        let value = value.trim_ascii_end();
        if let Some(new) = learnt.target(&key(name.trim_ascii()), value) {
            let from = place + equals + 1;
            edits.push((from..from + value.len(), new.to_vec()));
        }
    }
    edits
}

fn key(name: &[u8]) -> Vec<u8> {
    [b"cookie ", name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(fields: &str) -> Vec<Cookie> {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        set_by(&ResponseHead::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_the_target_set_is_written_instead() {
        let learnt = Learnt::default();
        let recorded = cookies(
            "Set-Cookie: sid=old; Path=/\r\nSet-Cookie: theme=dark\r\nSet-Cookie: gone=; Max-Age=0\r\n",
        );
        let target = cookies("Set-Cookie: theme=dark\r\nset-cookie: sid=brand-new; HttpOnly\r\n");
        assert_eq!(recorded.len(), 2);
        learn(&recorded, &target, &learnt);
        let field = b"theme=dark; sid=old ; sid=other; lone";
        assert_eq!(edits(field, &learnt), [(16..19, b"brand-new".to_vec())]);
    }
}
