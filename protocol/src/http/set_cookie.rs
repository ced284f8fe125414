//! What a `Set-Cookie` field says (RFC 6265, section 5; of one without a name, RFC 6265bis, section 5.6).

use std::collections::BTreeMap;

use memchr::memchr;
use recording::Timestamp;

use super::head::ResponseHead;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCookie<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// By lower-case name; of several of one name the last.
    pub attributes: BTreeMap<Vec<u8>, &'a [u8]>,
    /// The client is to forget it.
    pub deleted: bool,
}

/// Cookies that a response sets and deletes. It came at `at`; the server's own clock, where it tells that,
/// may be another one. A client keeps what was said last of one name, domain and path.
pub fn all(head: &ResponseHead, at: Timestamp) -> Vec<SetCookie<'_>> {
    let date = head.head.value("date").and_then(time);
    let now = date.unwrap_or(at.0.div_euclid(SECOND));
    let mut cookies: Vec<SetCookie<'_>> = Vec::new();
    for field in head.head.values("set-cookie") {
        if let Some(cookie) = SetCookie::parse(field, now) {
            cookies.retain(|before| before.place() != cookie.place());
            cookies.push(cookie);
        }
    }
    cookies
}

impl<'a> SetCookie<'a> {
    fn parse(field: &'a [u8], now: i64) -> Option<SetCookie<'a>> {
        let mut parts = field.split(|byte| *byte == b';');
        let (name, value) = split(parts.next()?).unwrap_or_else(|value| (b"", value));
        if name.is_empty() && value.is_empty() {
            return None;
        }
        let mut attributes = BTreeMap::new();
        for part in parts {
            let (name, value) = split(part).unwrap_or_else(|name| (name, b""));
            if !name.is_empty() {
                attributes.insert(name.to_ascii_lowercase(), value);
            }
        }
        let get = |name: &[u8]| attributes.get(name).copied();
        let deleted = match get(b"max-age").and_then(lives_on) {
            Some(lives_on) => !lives_on,
            None => get(b"expires").and_then(time).is_some_and(|it| it <= now),
        };
        Some(SetCookie {
            name,
            value,
            attributes,
            deleted,
        })
    }

    /// What only one cookie has.
    fn place(&self) -> (&[u8], Vec<u8>, &[u8]) {
        let get = |name: &[u8]| self.attributes.get(name).copied().unwrap_or_default();
        let domain = get(b"domain").to_ascii_lowercase();
        let domain = domain.strip_prefix(b".").unwrap_or(&domain).to_vec();
        (self.name, domain, get(b"path"))
    }
}

/// Name and value; the only word where there is no `=`.
fn split(part: &[u8]) -> Result<(&[u8], &[u8]), &[u8]> {
    let equals = memchr(b'=', part).ok_or(part.trim_ascii())?;
    let (name, value) = part.split_at_checked(equals).ok_or(part)?;
    let value = value.get(1..).unwrap_or_default();
    Ok((name.trim_ascii(), value.trim_ascii()))
}

/// Does `Max-Age` leave it any time? `None` where it is no number, and says nothing (section 5.2.2).
fn lives_on(age: &[u8]) -> Option<bool> {
    let (negative, digits) = match age.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, age),
    };
    let is_number = !age.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| !negative && digits.iter().any(|digit| *digit != b'0'))
}

/// Seconds since the Unix epoch, of a date however it is written (section 5.1.1).
fn time(text: &[u8]) -> Option<i64> {
    let (mut clock, mut day, mut month, mut year) = (None, None, None, None);
    let is_delimiter =
        |byte: &u8| matches!(byte, b'\t' | b' '..=b'/' | b';'..=b'@' | b'['..=b'`' | b'{'..=b'~');
    for word in text.split(is_delimiter).filter(|word| !word.is_empty()) {
        let (number, digits) = number(word);
        let rest = word.get(digits..).unwrap_or_default();
        if clock.is_none() && rest.starts_with(b":") {
            clock = clock_of(word);
        } else if day.is_none() && (1..=2).contains(&digits) {
            day = Some(number).filter(|day| (1..=31).contains(day));
        } else if month.is_none() && digits == 0 {
            month = month_of(word);
        } else if year.is_none() && (2..=4).contains(&digits) {
            year = Some(match number {
                0..=69 => number + 2000,
                70..=99 => number + 1900,
                _ => number,
            });
        }
    }
    let year = year.filter(|year| *year >= 1601)?;
    Some(days(year, month?, day?) * DAY + clock?)
}

/// The digits at the beginning, and how many there are.
fn number(word: &[u8]) -> (i64, usize) {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold((0, 0), |(value, count), digit| {
        let next = i64::from(digit - b'0');
        (
            i64::saturating_add(value.saturating_mul(10), next),
            count + 1,
        )
    })
}

/// `12:34:56`, in seconds.
fn clock_of(word: &[u8]) -> Option<i64> {
    let mut parts = word.split(|byte| *byte == b':').map(number);
    let mut next = |end| {
        let (value, digits) = parts.next()?;
        ((1..=2).contains(&digits) && value < end).then_some(value)
    };
    Some((next(24)? * 60 + next(60)?) * 60 + next(60)?)
}

/// From 0.
fn month_of(word: &[u8]) -> Option<i64> {
    const NAMES: &[u8] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let begin = word.get(..3)?.to_ascii_lowercase();
    let at = NAMES.chunks(3).position(|name| name == begin)?;
    i64::try_from(at).ok()
}

/// Since the Unix epoch, of the Gregorian calendar: whole years of 365 days, a leap day in each fourth but for
/// three in 400 years. Years begin in March here, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 2 { year - 1 } else { year };
    let month = (month + 10) % 12;
    let before = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + before - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUNDAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn told(fields: &str) -> Vec<String> {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let head = ResponseHead::parse(text.as_bytes()).unwrap();
        let at = Timestamp(784_111_777 * SECOND);
        let tell = |cookie: &SetCookie<'_>| {
            let [name, value] = [cookie.name, cookie.value].map(String::from_utf8_lossy);
            let deleted = if cookie.deleted { " deleted" } else { "" };
            format!("{name}={value}{deleted}")
        };
        all(&head, at).iter().map(tell).collect()
    }

    #[test]
    fn dates_are_read_however_they_are_written() {
        for (text, seconds) in [
            (SUNDAY, Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Thu, 01-Jan-1970 00:00:00 GMT", Some(0)),
            ("Thu, 1 Jan 1970 0:0:10", Some(10)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("Mon, 01 Jan 1601 00:00:00 GMT", Some(-11_644_473_600)),
            ("Mon, 01 Jan 1600 00:00:00 GMT", None),
            ("Sun, 06 Nov 1994", None),
            ("Sun, 06 Nov 1994 24:00:00", None),
            ("1:2:3 4 Foo 1994", None),
            ("99999999999999999999", None),
            ("", None),
            ("-1", None),
            ("0", None),
        ] {
            assert_eq!(time(text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn a_time_that_is_over_deletes() {
        for (attributes, deleted) in [
            ("Expires=Sun, 06 Nov 1994 08:49:36 GMT", true),
            ("expires=Sun, 06 Nov 1994 08:49:38 GMT", false),
            ("expires=Sun, 06-Nov-1994 08:49:37 GMT", true),
            ("Expires=Sat, 05 Mar 1988 08:49:38 GMT; Max-Age=10", false),
            ("Max-Age=0; Expires=Fri, 31 Dec 9999 23:59:59 GMT", true),
            ("Max-Age=-5", true),
            ("Max-Age=00", true),
            ("Max-Age=soon; Expires=Thu, 01 Jan 1970 00:00:00 GMT", true),
            ("Max-Age=soon", false),
            ("Expires=0", false),
            ("Path=/", false),
        ] {
            let expected = format!("a=b{}", if deleted { " deleted" } else { "" });
            let found = told(&format!("Set-Cookie: a=b; {attributes}\r\n"));
            assert_eq!(found, [expected], "{attributes}");
            // By the server's clock, where that is another one.
            let date = "Date: Sun, 06 Nov 2094 08:49:37 GMT\r\n";
            let found = told(&format!("{date}Set-Cookie: a=b; expires={SUNDAY}\r\n"));
            assert_eq!(found, ["a=b deleted"]);
        }
    }

    #[test]
    fn the_last_of_a_name_domain_and_path_counts() {
        let found = told(
            "Set-Cookie: a=1; Path=/\r\nSet-Cookie: a=2; path=/b\r\nSet-Cookie: b=1; Domain=.X.test\r\n\
             Set-Cookie: b=2; domain=x.test\r\nSet-Cookie: a=3; Max-Age=0; path=/\r\nSet-Cookie: a=4; PATH=/\r\n",
        );
        assert_eq!(found, ["a=2", "b=2", "a=4"]);
    }

    #[test]
    fn a_cookie_may_have_no_name() {
        let fields = [" token; Path=/", "=other", "name=", " ; Path=/", "="];
        let text = fields
            .map(|field| format!("Set-Cookie:{field}\r\n"))
            .concat();
        assert_eq!(told(&text), ["=token", "=other", "name="]);
    }
}
