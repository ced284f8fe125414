//! The head of a recorded request, as it is sent to the target.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use percent_encoding::percent_decode;

use super::head::RequestHead;
use super::{cookies, wishes};
use crate::Login;

/// Writes `raw` to the target's name, with its cookies and the user's fields; gives how many cookies are
/// others now. Credentials that were `blanked` are filled in where they are known.
pub fn head(
    raw: &[u8],
    head: &RequestHead,
    blanked: bool,
    login: &Login,
    out: &mut Vec<u8>,
) -> u64 {
    let mut writer = Writer {
        login,
        host: head.head.value("host").unwrap_or_default(),
        blanked,
        mapped: 0,
        set: BTreeSet::new(),
        echoes: echoes(head, login),
    };
    let mut copied = 0;
    let mut replace = |range: Range<usize>, new: &[u8]| {
        out.extend_from_slice(raw.get(copied..range.start).unwrap_or_default());
        out.extend_from_slice(new);
        copied = range.end;
    };
    if let Some(new) = writer.target(head.target()) {
        replace(head.target.clone(), &new);
    }
    let end = raw.strip_suffix(b"\r\n").or(raw.strip_suffix(b"\n"));
    let end = end.unwrap_or(raw).len();
    let mut places = head.head.places().iter().peekable();
    for (name, value) in head.head.fields() {
        let Some(place) = places.next() else { break };
        let start = place.value.start;
        let line_end = places.peek().map_or(end, |next| next.name.start);
        match writer.field(name, value) {
            Fate::Kept => {}
            Fate::Other(new) => replace(start..start + value.len(), &new),
            Fate::Dropped => replace(place.name.start..line_end, b""),
        }
    }
    replace(end..end, b"");
    let options = &login.options;
    for (name, value) in wishes::set_headers(options) {
        if writer.set.insert(name.as_bytes().to_ascii_lowercase()) {
            replace(end..end, format!("{name}: {value}\r\n").as_bytes());
        }
    }
    replace(raw.len()..raw.len(), b"");
    writer.mapped
}

/// What becomes of a field.
enum Fate<'a> {
    Kept,
    Other(Cow<'a, [u8]>),
    Dropped,
}

struct Writer<'a> {
    login: &'a Login,
    /// As recorded.
    host: &'a [u8],
    blanked: bool,
    mapped: u64,
    /// Lower-case names of fields that have the user's value already.
    set: BTreeSet<Vec<u8>>,
    /// Values of cookies as recorded, and as the target set them.
    echoes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A page's script may send a cookie's value in a header too, for the server to compare (a double-submit
/// token): as it stands or decoded. Shorter ones may be equal by chance, and in a header that is named after
/// such tokens only the shortest.
const MIN_ECHO: usize = 16;
const MIN_TOKEN: usize = 6;

fn echoes(head: &RequestHead, login: &Login) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut echoes = Vec::new();
    for (recorded, target) in head
        .head
        .values("cookie")
        .flat_map(|field| cookies::mapped(field, &login.learnt))
    {
        let decoded = [recorded, &*target].map(|value| percent_decode(value).collect());
        let [recorded_decoded, target_decoded]: [Vec<u8>; 2] = decoded;
        echoes.push((recorded_decoded, target_decoded));
        echoes.push((recorded.to_vec(), target.to_vec()));
    }
    echoes.retain(|(recorded, _)| recorded.len() >= MIN_TOKEN);
    echoes
}

/// Is it named after tokens against forged requests?
fn is_of_tokens(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    [&b"csrf"[..], b"xsrf"]
        .iter()
        .any(|word| memmem::find(&name, word).is_some())
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
            Some(new) => Some(new),
            None => url,
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Fate<'a> {
        let options = &self.login.options;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let authority = self.authority();
        let new = if wishes::drops_header(options, name) {
            return Fate::Dropped;
        } else if let Some(new) = wishes::set_header(options, name) {
            if !self.set.insert(name.to_ascii_lowercase()) {
                return Fate::Dropped;
            }
            Some(Cow::Borrowed(new.as_bytes()))
        } else if is(b"host") {
            authority.map(Cow::Borrowed)
        } else if is(b"origin") || is(b"referer") {
            let new = authority.and_then(|new| authority_of(value, Some(self.host), new));
            new.map(Cow::Owned)
        } else if is(b"cookie") {
            let wanted = |name: &[u8]| !wishes::drops_cookie(options, name);
            let (new, mapped) = cookies::rewrite(value, &self.login.learnt, wanted);
            self.mapped += mapped;
            if new.is_empty() && !value.is_empty() {
                return Fate::Dropped;
            }
            Some(Cow::Owned(new))
        } else if self.blanked && is(b"authorization") {
            self.credentials(value).map(Cow::Owned)
        } else {
            let fits = value.len() >= MIN_ECHO || is_of_tokens(name);
            let mut echoes = self.echoes.iter().filter(|_| fits);
            let echo = echoes.find(|(recorded, _)| recorded == value);
            echo.map(|(_, target)| Cow::Owned(target.clone()))
        };
        new.map_or(Fate::Kept, Fate::Other)
    }

    /// For a blanked `Basic` field, where the user told whom to be.
    fn credentials(&self, value: &[u8]) -> Option<Vec<u8>> {
        let basic = value.get(..6)?.eq_ignore_ascii_case(b"basic ");
        let user = self.login.user.as_deref().filter(|_| basic)?;
        // A URL does not tell an empty password from none.
        let password = self.login.password.as_deref().unwrap_or_default();
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Some(format!("Basic {encoded}").into_bytes())
    }
}

/// A URL with another authority: where it is absolute, and has the one that is `only` to be replaced.
fn authority_of(url: &[u8], only: Option<&[u8]>, new: &[u8]) -> Option<Vec<u8>> {
    if url.starts_with(b"/") {
        return None;
    }
    let start = memmem::find(url, b"://")? + 3;
    let (scheme, rest) = url.split_at_checked(start)?;
    let authority = rest.split(|byte| b"/?#".contains(byte)).next()?;
    if only.is_some_and(|only| only != authority) {
        return None;
    }
    Some([scheme, new, rest.get(authority.len()..)?].concat())
}
