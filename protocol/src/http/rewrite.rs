//! The head of a recorded request, as it is sent to the target.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::head::RequestHead;
use super::{cookies, wishes};
use crate::Login;

type Edit = (Range<usize>, Vec<u8>);

/// `raw` to the target's name, with its cookies and the user's fields; and how many cookies are others
/// now. Credentials that were `blanked` are filled in where they are known.
pub fn head(raw: &[u8], head: &RequestHead, blanked: bool, login: &Login) -> (Vec<u8>, u64) {
    let mut writer = Writer {
        login,
        host: head.head.value("host").unwrap_or_default(),
        blanked,
        mapped: 0,
    };
    let mut edits: Vec<Edit> = Vec::new();
    edits.extend(
        writer
            .target(head.target())
            .map(|new| (head.target.clone(), new)),
    );
    let end = raw.strip_suffix(b"\r\n").or(raw.strip_suffix(b"\n"));
    let end = end.unwrap_or(raw).len();
    let mut places = head.head.places().iter().peekable();
    for (name, value) in head.head.fields() {
        let Some(place) = places.next() else { break };
        let start = place.value.start;
        let line_end = places.peek().map_or(end, |next| next.name.start);
        match writer.field(name, value) {
            Some(Cow::Borrowed(_)) => {}
            Some(Cow::Owned(new)) => edits.push((start..start + value.len(), new)),
            None => edits.push((place.name.start..line_end, Vec::new())),
        }
    }
    let mut added = Vec::new();
    let options = &login.options;
    for (name, value) in wishes::set_headers(options) {
        let dropped = wishes::drops_header(options, name.as_bytes());
        if dropped || head.head.value(name).is_none() {
            added.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    edits.push((end..end, added));
    (apply(raw, edits), writer.mapped)
}

struct Writer<'a> {
    login: &'a Login,
    /// As recorded.
    host: &'a [u8],
    blanked: bool,
    mapped: u64,
}

impl<'a> Writer<'a> {
    /// The name of the target, where requests are addressed to it.
    fn authority(&self) -> Option<&'a [u8]> {
        let keeps_host = wishes::values(&self.login.options, "keep-host").next();
        let authority = self.login.authority.as_deref();
        authority
            .filter(|_| keeps_host.is_none())
            .map(str::as_bytes)
    }

    /// The request's target as it is to be sent, where it is another one.
    fn target(&self, recorded: &[u8]) -> Option<Vec<u8>> {
        let url = wishes::rewrite(recorded, &self.login.options);
        let known = url.as_deref().unwrap_or(recorded);
        let authority = self.authority();
        match authority.and_then(|name| authority_of(known, None, name)) {
            Some(edit) => Some(apply(known, vec![edit])),
            None => url,
        }
    }

    /// The field's value as it is to be sent. `None` leaves the field out.
    fn field<'b>(&mut self, name: &[u8], value: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        let options = &self.login.options;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let authority = self.authority();
        let new = if wishes::drops_header(options, name) {
            return None;
        } else if let Some(new) = wishes::set_header(options, name) {
            Some(new.as_bytes().to_vec())
        } else if is(b"host") {
            authority.map(<[u8]>::to_vec)
        } else if is(b"origin") || is(b"referer") {
            let edit = authority.and_then(|new| authority_of(value, Some(self.host), new));
            edit.map(|edit| apply(value, vec![edit]))
        } else if is(b"cookie") {
            let wanted = |name: &[u8]| !wishes::drops_cookie(options, name);
            let (new, mapped) = cookies::rewrite(value, &self.login.learnt, wanted);
            self.mapped += mapped;
            if new.is_empty() && !value.is_empty() {
                return None;
            }
            Some(new)
        } else if self.blanked && is(b"authorization") {
            self.credentials(value)
        } else {
            None
        };
        Some(new.map_or(Cow::Borrowed(value), Cow::Owned))
    }

    /// For a blanked `Basic` field, where the user told whom to be.
    fn credentials(&self, value: &[u8]) -> Option<Vec<u8>> {
        let basic = value.get(..6)?.eq_ignore_ascii_case(b"basic ");
        let user = self.login.user.as_deref().filter(|_| basic)?;
        let password = self.login.password.as_deref()?;
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Some(format!("Basic {encoded}").into_bytes())
    }
}

/// Another authority for a URL: where it is absolute, and has the authority that is `only` to be
/// replaced.
fn authority_of(url: &[u8], only: Option<&[u8]>, new: &[u8]) -> Option<Edit> {
    let scheme = memmem::find(url, b"://")? + 3;
    if url.starts_with(b"/") {
        return None;
    }
    let rest = url.get(scheme..)?;
    let authority = rest.split(|byte| b"/?#".contains(byte)).next()?;
    if only.is_some_and(|only| only != authority) {
        return None;
    }
    Some((scheme..scheme + authority.len(), new.to_vec()))
}

fn apply(raw: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| range.start);
    let mut text = Vec::with_capacity(raw.len() + 64);
    let mut copied = 0;
    for (range, new) in edits {
        text.extend_from_slice(raw.get(copied..range.start).unwrap_or_default());
        text.extend_from_slice(&new);
        copied = range.end;
    }
    text.extend_from_slice(raw.get(copied..).unwrap_or_default());
    text
}
