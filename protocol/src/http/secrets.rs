//! Credentials that must not be written down.

use std::ops::Range;

use memchr::memmem;

/// Fields whose values are credentials. Cookies stay: replay maps sessions by them.
const NAMES: [&[u8]; 10] = [
    b"api-key",
    b"authorization",
    b"private-token",
    b"proxy-authorization",
    b"x-access-token",
    b"x-amz-security-token",
    b"x-api-key",
    b"x-auth-key",
    b"x-auth-token",
    b"x-vault-token",
];

/// Blanks the credentials of a request's head, also where it can't be parsed. The length stays, and
/// the scheme (`Basic`). Was there anything?
pub fn blank(head: &mut [u8]) -> bool {
    let mut blanked = false;
    for byte in find(head).into_iter().flatten() {
        if let Some(byte) = head.get_mut(byte)
            && !byte.is_ascii_whitespace()
        {
            *byte = b'*';
            blanked = true;
        }
    }
    blanked
}

/// Are there credentials in the head that were blanked, and not filled in since?
pub fn lacks(head: &[u8]) -> bool {
    find(head).into_iter().any(|place| {
        let secret = head.get(place).unwrap_or_default().trim_ascii();
        !secret.is_empty() && secret.iter().all(|byte| *byte == b'*')
    })
}

fn find(head: &[u8]) -> Vec<Range<usize>> {
    let mut secrets: Vec<Range<usize>> = user_info(head).into_iter().collect();
    let mut start = 0;
    let mut in_secret = false;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.trim_ascii_end().len();
        let folded = line.starts_with(b" ") || line.starts_with(b"\t");
        if folded && in_secret {
            secrets.push(start..end);
        } else if let Some(value) = credentials(line) {
            secrets.push((start + value).min(end)..end);
            in_secret = true;
        } else {
            in_secret = false;
        }
        start += line.len();
    }
    secrets
}

/// Where in a field's line the credentials begin.
fn credentials(line: &[u8]) -> Option<usize> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii();
    NAMES
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
        .then_some(())?;
    let value = line.get(colon + 1..)?;
    let scheme = value.len() - value.trim_ascii_start().len();
    let value = value.trim_ascii();
    let scheme = match memchr::memchr(b' ', value) {
        Some(len) => scheme + len,
        None => scheme,
    };
    Some(colon + 1 + scheme)
}

/// `user:password` of an absolute target.
fn user_info(head: &[u8]) -> Option<Range<usize>> {
    let line = head.split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
    let start = memmem::find(line, b"://")? + 3;
    let authority = line.get(start..)?;
    let authority = authority
        .split(|byte| b"/? ".contains(byte))
        .next()
        .unwrap_or(authority);
    let at = memchr::memrchr(b'@', authority)?;
    Some(start..start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_blanked_in_place() {
        for (text, blanked) in [
            (
                "GET / HTTP/1.1\r\nAuthorization: Basic dTpw\r\nA: b\r\n\r\n",
                "GET / HTTP/1.1\r\nAuthorization: Basic ****\r\nA: b\r\n\r\n",
            ),
            (
                "GET / HTTP/1.1\nx-api-KEY:abc\n\n",
                "GET / HTTP/1.1\nx-api-KEY:***\n\n",
            ),
            (
                "GET / HTTP/1.1\r\nProxy-Authorization: Digest a=b,\r\n c=d\r\nE: f",
                "GET / HTTP/1.1\r\nProxy-Authorization: Digest ****\r\n ***\r\nE: f",
            ),
            (
                "GET http://u:p@h/a@b HTTP/1.1\r\n\r\n",
                "GET http://***@h/a@b HTTP/1.1\r\n\r\n",
            ),
        ] {
            let mut head = text.as_bytes().to_vec();
            assert!(blank(&mut head));
            assert_eq!(String::from_utf8_lossy(&head), blanked);
            assert!(lacks(&head) && !lacks(text.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let text = "GET /?to=http://a/b@c HTTP/1.1\r\nCookie: a=b\r\nX-Authorization: c\r\n\r\n";
        let mut head = text.as_bytes().to_vec();
        assert!(!blank(&mut head));
        assert_eq!(head, text.as_bytes());
    }
}
