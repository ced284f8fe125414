//! Statements and messages that carry a password in their text.

use std::ops::Range;

const WORD: &[u8] = b"password";

/// Overwrites the literals that follow the word PASSWORD, and what follows `password=` within a
/// literal, in place and without changing the length. True where there was one.
///
/// A literal that does not end is blanked to the end of the text, or to a zero byte.
pub(crate) fn blank(text: &mut [u8]) -> bool {
    if find_word(text, 0).is_none() {
        return false;
    }
    let mut secrets = Vec::new();
    scan(text, 0..text.len(), &mut secrets);
    for secret in &secrets {
        if let Some(bytes) = text.get_mut(secret.clone()) {
            bytes.fill(b'*');
        }
    }
    !secrets.is_empty()
}

/// Where the word begins next. Looks for its rarest letter first, since most text has none of it.
fn find_word(text: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let w = from + memchr::memchr2(b'w', b'W', text.get(from..)?)?;
        let start = w.checked_sub(4);
        if let Some(start) = start
            && is_word(text, start)
        {
            return Some(start);
        }
        from = w + 1;
    }
}

fn is_word(text: &[u8], start: usize) -> bool {
    text.get(start..start + WORD.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(WORD))
}

/// A literal: from its first quote to behind its last one, with what stands between.
struct Literal {
    content: Range<usize>,
    end: usize,
}

/// Walks over `range` as over a statement.
fn scan(text: &[u8], range: Range<usize>, secrets: &mut Vec<Range<usize>>) {
    let mut at = range.start;
    let mut after_password = false;
    while at < range.end {
        if let Some(literal) = literal(text, at, range.end) {
            if after_password {
                secrets.push(literal.content);
            } else {
                nested(text, literal.content, secrets);
            }
            after_password = false;
            at = literal.end;
            continue;
        }
        let rest = text.get(at..range.end).unwrap_or_default();
        match rest {
            [b'-', b'-', ..] => at += until(rest, b"\n"),
            [b'/', b'*', ..] => at += until(rest, b"*/"),
            [b'"', name @ ..] => at += 1 + until(name, b"\""),
            [byte, ..] if byte.is_ascii_whitespace() => at += 1,
            [byte, ..] if is_name(*byte) => {
                let len = rest.iter().take_while(|byte| is_name(**byte)).count();
                let word = rest.get(..len).unwrap_or_default();
                after_password = word.eq_ignore_ascii_case(WORD);
                at += len;
            }
            _ => {
                after_password = false;
                at += 1;
            }
        }
    }
}

/// Text within a literal: a connection string, or a statement for a procedure to run.
fn nested(text: &[u8], content: Range<usize>, secrets: &mut Vec<Range<usize>>) {
    let mut from = content.start;
    while let Some(word) = find_word(text.get(..content.end).unwrap_or_default(), from) {
        let after = skip(
            text,
            word + WORD.len(),
            content.end,
            u8::is_ascii_whitespace,
        );
        let rest = text.get(after..content.end).unwrap_or_default();
        let secret = match rest {
            [b'=', ..] => {
                let start = skip(text, after + 1, content.end, |byte| {
                    byte.is_ascii_whitespace() || *byte == b'\''
                });
                let ends = |byte: &u8| !(byte.is_ascii_whitespace() || *byte == b'\'');
                start..skip(text, start, content.end, ends)
            }
            // Quotes are doubled within a literal.
            [b'\'', b'\'', ..] => {
                let start = after + 2;
                let rest = text.get(start..content.end).unwrap_or_default();
                start..start + position(rest, b"''").unwrap_or(rest.len())
            }
            _ => match literal(text, after, content.end) {
                Some(literal) => literal.content,
                None => after..after,
            },
        };
        from = secret.end.max(word + WORD.len());
        if !secret.is_empty() {
            secrets.push(secret);
        }
    }
}

/// The literal that begins at `at`: `'...'`, `E'...'`, `U&'...'`, `$tag$...$tag$`.
fn literal(text: &[u8], at: usize, end: usize) -> Option<Literal> {
    let rest = text.get(at..end)?;
    let (quote, escapes) = match rest {
        [b'\'', ..] => (1, false),
        [b'e' | b'E', b'\'', ..] => (2, true),
        [b'u' | b'U', b'&', b'\'', ..] => (3, false),
        [b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'', ..] => (2, false),
        [b'$', ..] => return dollar_quoted(rest, at),
        _ => return None,
    };
    let mut len = quote;
    loop {
        match rest.get(len..)? {
            [] | [0, ..] => break,
            [b'\\', _, ..] if escapes => len += 2,
            [b'\'', b'\'', ..] => len += 2,
            [b'\'', ..] => break,
            _ => len += 1,
        }
    }
    let content = at + quote..at + len;
    let end = (content.end + 1).min(end);
    Some(Literal { content, end })
}

fn dollar_quoted(rest: &[u8], at: usize) -> Option<Literal> {
    let tag_len = 2 + rest.iter().skip(1).position(|byte| *byte == b'$')?;
    let tag = rest.get(..tag_len)?;
    let name = tag.get(1..tag_len - 1)?;
    if !name.iter().all(|byte| is_name(*byte)) || name.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let body = rest.get(tag_len..)?;
    let len = position(body, tag).unwrap_or(body.len());
    let content = at + tag_len..at + tag_len + len;
    let end = (content.end + tag_len).min(at + rest.len());
    Some(Literal { content, end })
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn skip(text: &[u8], from: usize, end: usize, wanted: impl Fn(&u8) -> bool) -> usize {
    let rest = text.get(from..end).unwrap_or_default();
    from + rest.iter().take_while(|byte| wanted(byte)).count()
}

/// Bytes up to and including `mark`, or all.
fn until(text: &[u8], mark: &[u8]) -> usize {
    position(text, mark).map_or(text.len(), |at| at + mark.len())
}

fn position(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        let found = blank(&mut bytes);
        assert_eq!(found, bytes != text.as_bytes());
        assert_eq!(bytes.len(), text.len());
        String::from_utf8(bytes).unwrap_or_default()
    }

    #[test]
    fn literals_after_password_are_blanked() {
        for (text, expected) in [
            (
                "alter role ann password 'o''pen' valid until 'soon'",
                "alter role ann password '******' valid until 'soon'",
            ),
            (
                "CREATE USER ann WITH ENCRYPTED PassWord\n  E'a\\'b' LOGIN; SELECT 'x'",
                "CREATE USER ann WITH ENCRYPTED PassWord\n  E'****' LOGIN; SELECT 'x'",
            ),
            (
                "ALTER USER ann PASSWORD U&'d\\0061t'",
                "ALTER USER ann PASSWORD U&'*******'",
            ),
            (
                "SELECT 1; ALTER ROLE ann PASSWORD /* it's */ $x$se$cret$x$",
                "SELECT 1; ALTER ROLE ann PASSWORD /* it's */ $x$*******$x$",
            ),
            (
                "DO $$ BEGIN EXECUTE 'ALTER ROLE ann PASSWORD ''hush'''; END $$",
                "DO $$ BEGIN EXECUTE 'ALTER ROLE ann PASSWORD ''****'''; END $$",
            ),
            (
                "DO $$BEGIN ALTER ROLE ann PASSWORD 'hush'; END$$",
                "DO $$BEGIN ALTER ROLE ann PASSWORD '****'; END$$",
            ),
            (
                "CREATE SUBSCRIPTION s CONNECTION 'host=db password=hush user=ann' PUBLICATION p",
                "CREATE SUBSCRIPTION s CONNECTION 'host=db password=**** user=ann' PUBLICATION p",
            ),
            (
                "CREATE USER MAPPING FOR ann SERVER s OPTIONS (user 'a', password 'b')",
                "CREATE USER MAPPING FOR ann SERVER s OPTIONS (user 'a', password '*')",
            ),
            (
                "ALTER ROLE ann PASSWORD 'never ends",
                "ALTER ROLE ann PASSWORD '**********",
            ),
        ] {
            assert_eq!(blanked(text), expected);
        }
    }

    #[test]
    fn other_literals_stay() {
        for text in [
            "SELECT * FROM users WHERE password = 'digest'",
            "SELECT 'password', 'w'",
            "ALTER ROLE ann PASSWORD NULL",
            "INSERT INTO words VALUES ('the password is long')",
            "SELECT \"password\" FROM t WHERE x = 'y'",
            "SELECT \"it's\" AS password FROM \"that's\"",
            "-- password\nSELECT 'a'",
            "W",
        ] {
            assert_eq!(blanked(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[-pPassword '$/*E&U=\\\\\\n;]{0,60}") {
            blanked(&text);
        }
    }
}
