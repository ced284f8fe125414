use std::mem;
use std::sync::{Arc, OnceLock};

use ahash::HashMap;
use recording::Statement;
use xxhash_rust::xxh3::xxh3_64;

use super::unit::Runs;
use crate::postgres::messages::{Formats, Oids};
use crate::postgres::secrets;
use crate::sql;

/// Of one session. What is prepared beyond them is unknown when it is executed.
const MAX_NAMES: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;
/// Texts whose normal form is kept, for clients that prepare the same again and again.
const MAX_TEXTS: usize = 128;

/// A statement that the session prepared, with what the server told of it.
#[derive(Debug, Default)]
pub(in crate::postgres) struct Prepared {
    pub(super) statement: Option<Statement>,
    pub(super) parameter_types: OnceLock<Arc<str>>,
    /// As described: in text format.
    pub(super) columns: OnceLock<Arc<str>>,
    binary_columns: OnceLock<Arc<str>>,
    /// Of the text as the client sent it, where every encoding has the same bytes for it.
    text_hash: Option<u64>,
}

/// A statement with a result format, to be executed.
#[derive(Clone, Debug)]
pub(in crate::postgres) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    format: ResultFormat,
}

#[derive(Clone, Debug)]
enum ResultFormat {
    Text,
    Binary,
    EachItsOwn(Box<[u16]>),
}

/// The prepared statements and portals of a session, as far as they are known.
#[derive(Debug, Default)]
pub(in crate::postgres) struct Statements {
    named: HashMap<Box<[u8]>, Arc<Prepared>>,
    unnamed: Option<Arc<Prepared>>,
    portals: HashMap<Box<[u8]>, Portal>,
    unnamed_portal: Option<Portal>,
    texts: HashMap<u64, Statement>,
    held: usize,
    /// The client may have prepared others too: unseen, or beyond the cap.
    more: bool,
}

impl Prepared {
    pub(super) fn new(statement: Statement, text: &[u8]) -> Prepared {
        Prepared {
            statement: Some(statement),
            text_hash: text.is_ascii().then(|| xxh3_64(text)),
            ..Prepared::default()
        }
    }

    /// Of a text of which only the beginning is known.
    pub(super) fn begun(statement: Statement) -> Prepared {
        Prepared {
            statement: Some(statement),
            ..Prepared::default()
        }
    }

    pub(super) fn runs(&self) -> Runs {
        self.text_hash.map_or(Runs::Anything, Runs::Text)
    }

    /// Remembers the types when none of them is left to the server.
    pub(super) fn set_parameter_types(&self, types: Oids<'_>) {
        if types.is_empty() || types.iter().any(|oid| oid == 0) {
            return;
        }
        let text: Vec<String> = types.iter().map(|oid| oid.to_string()).collect();
        let _ = self.parameter_types.set(text.join(",").into());
    }
}

impl Portal {
    pub(in crate::postgres) fn new(prepared: Arc<Prepared>, formats: Formats<'_>) -> Portal {
        let mut rest = formats.iter();
        let format = match (rest.next(), rest.next()) {
            (None | Some(0), None) => ResultFormat::Text,
            (Some(_), None) => ResultFormat::Binary,
            _ => ResultFormat::EachItsOwn(formats.iter().collect()),
        };
        Portal { prepared, format }
    }

    /// The statement's columns in the portal's formats.
    pub(super) fn columns(&self) -> Option<Arc<str>> {
        let described = self.prepared.columns.get()?;
        match &self.format {
            ResultFormat::Text => Some(described.clone()),
            ResultFormat::Binary => {
                let columns = &self.prepared.binary_columns;
                Some(
                    columns
                        .get_or_init(|| with_formats(described, |_| 1))
                        .clone(),
                )
            }
            ResultFormat::EachItsOwn(formats) => Some(with_formats(described, |index| {
                formats.get(index).copied().unwrap_or(0)
            })),
        }
    }
}

fn with_formats(described: &str, format: impl Fn(usize) -> u16) -> Arc<str> {
    let columns: Vec<String> = described
        .split(',')
        .enumerate()
        .map(|(index, column)| {
            let (column, _) = column.rsplit_once(':').unwrap_or((column, ""));
            format!("{column}:{}", format(index))
        })
        .collect();
    columns.join(",").into()
}

impl Statements {
    pub(super) fn normalise(&mut self, text: &[u8]) -> Statement {
        let hash = xxh3_64(text);
        if let Some(statement) = self.texts.get(&hash) {
            return statement.clone();
        }
        let mut text = text.to_vec();
        secrets::blank(&mut text);
        let statement = sql::normalise(&String::from_utf8_lossy(&text));
        if self.texts.len() >= MAX_TEXTS {
            self.texts.clear();
        }
        self.texts.insert(hash, statement.clone());
        statement
    }

    /// Gives what stood under the name before.
    pub(in crate::postgres) fn prepare(
        &mut self,
        name: &[u8],
        prepared: Arc<Prepared>,
    ) -> Option<Arc<Prepared>> {
        if name.is_empty() {
            return self.unnamed.replace(prepared);
        }
        let size = size(name, &prepared);
        if self.named.len() >= MAX_NAMES || self.held + size > MAX_BYTES {
            self.miss();
            return self.forget(name);
        }
        self.held += size;
        let before = self.named.insert(name.into(), prepared);
        self.release(name, before)
    }

    pub(in crate::postgres) fn forget(&mut self, name: &[u8]) -> Option<Arc<Prepared>> {
        if name.is_empty() {
            return self.unnamed.take();
        }
        let before = self.named.remove(name);
        self.release(name, before)
    }

    fn release(&mut self, name: &[u8], before: Option<Arc<Prepared>>) -> Option<Arc<Prepared>> {
        if let Some(before) = &before {
            self.held = self.held.saturating_sub(size(name, before));
        }
        before
    }

    /// Takes back what a request that failed had done.
    pub(super) fn restore(&mut self, name: &[u8], before: Option<Arc<Prepared>>) {
        match before {
            Some(before) => self.prepare(name, before),
            None => self.forget(name),
        };
    }

    pub(in crate::postgres) fn forget_all(&mut self) {
        self.named.clear();
        self.unnamed = None;
        self.held = 0;
    }

    /// The client may have prepared what was not seen.
    pub(super) fn miss(&mut self) {
        self.more = true;
    }

    /// May the client have prepared what is not known here?
    pub(super) fn may_be_more(&self) -> bool {
        self.more
    }

    pub(in crate::postgres) fn get(&self, name: &[u8]) -> Option<&Arc<Prepared>> {
        match name {
            [] => self.unnamed.as_ref(),
            name => self.named.get(name),
        }
    }

    pub(in crate::postgres) fn bind(&mut self, name: &[u8], portal: Option<Portal>) {
        if name.is_empty() {
            self.unnamed_portal = portal;
        } else if let Some(portal) = portal
            && self.portals.len() < MAX_NAMES
        {
            self.portals.insert(name.into(), portal);
        } else {
            self.portals.remove(name);
        }
    }

    pub(in crate::postgres) fn portal(&self, name: &[u8]) -> Option<&Portal> {
        match name {
            [] => self.unnamed_portal.as_ref(),
            name => self.portals.get(name),
        }
    }

    /// Portals do not outlive their transaction.
    pub(in crate::postgres) fn end_transaction(&mut self) {
        self.portals.clear();
    }

    pub(super) fn held(&self) -> usize {
        let texts = self.texts.capacity() * mem::size_of::<(u64, Statement)>();
        self.held + texts + self.portals.len() * mem::size_of::<(Box<[u8]>, Portal)>()
    }
}

/// Roughly what a name costs.
fn size(name: &[u8], prepared: &Prepared) -> usize {
    let text = prepared.statement.as_ref().map_or(0, |s| s.text.len());
    mem::size_of::<Prepared>() + 64 + name.len() + text
}

/// The name in `DEALLOCATE name`. Its spelling is taken as it stands, without quotes.
pub(in crate::postgres) fn deallocated(text: &str) -> Option<&str> {
    let mut words = text
        .split([' ', '\t', '\n', '\r', ';'])
        .filter(|word| !word.is_empty());
    if !words.next()?.eq_ignore_ascii_case("deallocate") {
        return None;
    }
    let word = words.next()?;
    let name = match word.eq_ignore_ascii_case("prepare") {
        true => words.next().unwrap_or(word),
        false => word,
    };
    Some(name.trim_matches('"'))
}
