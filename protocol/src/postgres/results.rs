//! A recorded response, taken apart again.

use std::borrow::Cow;
use std::fmt::Write as _;

use recording::Response;

use super::messages::Messages;
use super::messages::backend::Message;
use super::messages::{Columns, Fields, Values};
use super::values::{known_type, readable, show};

/// What the kept bytes of a response hold.
#[derive(Debug, Default)]
pub(super) struct Results<'a> {
    /// One for each statement that was answered.
    pub(super) sets: Vec<ResultSet<'a>>,
    /// Completions, errors, warnings and notices in their order, a line each.
    pub(super) messages: Vec<String>,
    /// The bytes end before the response does.
    pub(super) cut: bool,
}

#[derive(Debug, Default)]
pub(super) struct ResultSet<'a> {
    /// Empty where nothing tells.
    pub(super) columns: Vec<Column<'a>>,
    pub(super) rows: Vec<Row<'a>>,
    pub(super) end: Option<End<'a>>,
    /// The answer itself tells the columns.
    pub(super) described: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column<'a> {
    pub(super) name: Cow<'a, str>,
    /// As of [`known_type`].
    pub(super) type_oid: u32,
    format: u16,
}

impl Column<'_> {
    fn is(&self, other: &Column<'_>) -> bool {
        self.name == other.name && self.type_oid == other.type_oid
    }
}

/// One row, or what COPY sends in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Row<'a> {
    Values(Values<'a>),
    Copied(&'a [u8]),
}

#[derive(Clone, Debug)]
pub(super) enum End<'a> {
    Complete(&'a [u8]),
    Empty,
    /// The row limit of an Execute was reached.
    Suspended,
    Error(Fields<'a>),
}

/// What a statement says that it did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Completion<'a> {
    pub(super) command: &'a str,
    /// That it concerned; those that are in the answer anyway are not counted.
    pub(super) rows: Option<u64>,
}

impl End<'_> {
    pub(super) fn text(&self) -> String {
        match self {
            End::Complete(tag) => String::from_utf8_lossy(tag).into_owned(),
            End::Empty => "empty".to_owned(),
            End::Suspended => "suspended".to_owned(),
            End::Error(_) => "error".to_owned(),
        }
    }
}

impl<'a> Results<'a> {
    pub(super) fn of(response: &'a Response) -> Results<'a> {
        let mut results = Results {
            cut: (response.body.len() as u64) < response.wire_len,
            ..Results::default()
        };
        let mut set = ResultSet::default();
        for (_, message) in Messages::new(&response.body) {
            let Ok(message) = Message::parse(message) else {
                continue;
            };
            match message {
                Message::RowDescription(columns) => set.describe(columns),
                Message::DataRow(values) => set.rows.push(Row::Values(values)),
                Message::CopyData { bytes } => set.rows.push(Row::Copied(bytes)),
                Message::Notice(fields) => results.messages.push(told(fields)),
                // Told when a session begins.
                Message::ParameterStatus {
                    name: b"server_version",
                    value,
                } => results
                    .messages
                    .push(format!("server_version {}", String::from_utf8_lossy(value))),
                Message::CommandComplete { tag } => results.end(&mut set, End::Complete(tag)),
                Message::EmptyQueryResponse => results.end(&mut set, End::Empty),
                Message::PortalSuspended => results.end(&mut set, End::Suspended),
                Message::Error(fields) => results.end(&mut set, End::Error(fields)),
                _ => {}
            }
        }
        if set.described || !set.rows.is_empty() {
            results.sets.push(set);
        }
        results.remember(response);
        results
    }

    fn end(&mut self, set: &mut ResultSet<'a>, end: End<'a>) {
        match &end {
            End::Complete(tag) => self
                .messages
                .push(String::from_utf8_lossy(tag).into_owned()),
            End::Error(fields) => self.messages.push(told(*fields)),
            End::Empty | End::Suspended => {}
        }
        set.end = Some(end);
        self.sets.push(std::mem::take(set));
    }

    /// Columns that were described before the request are known to the response alone, and so are the formats
    /// where a statement was described, and not its portal. Those of statements that gave no row stand among
    /// them, where they are known.
    fn remember(&mut self, response: &'a Response) {
        let mut shapes = shapes(response).collect::<Vec<_>>().into_iter();
        let tell = self.sets.iter().filter(|set| set.tells()).count();
        let silent = self.sets.len() - tell;
        let mut passed = shapes.len().saturating_sub(tell);
        let all_known = passed >= silent;
        for set in &mut self.sets {
            if set.described {
                let shape = shapes.next().unwrap_or_default();
                let same = |(a, b): (&Column<'_>, &Column<'_>)| a.is(b);
                if set.columns.len() == shape.len() && set.columns.iter().zip(&shape).all(same) {
                    set.columns = shape;
                }
            } else if set.tells() {
                set.columns = shapes.next().unwrap_or_default();
            } else if passed > 0 && (all_known || set.selects()) {
                shapes.next();
                passed -= 1;
            }
        }
    }
}

impl<'a> ResultSet<'a> {
    fn describe(&mut self, columns: Columns<'a>) {
        self.described = true;
        let columns = columns.iter().map(|column| Column {
            name: String::from_utf8_lossy(column.name),
            type_oid: known_type(column.type_oid),
            format: column.format,
        });
        self.columns = columns.collect();
    }

    /// Is there something in it that has columns?
    fn tells(&self) -> bool {
        self.described || !self.rows.is_empty()
    }

    /// Is it the answer to a statement that always has columns?
    fn selects(&self) -> bool {
        matches!(self.end, Some(End::Complete(b"SELECT 0" | b"FETCH 0")))
    }

    pub(super) fn completion(&self) -> Option<Completion<'a>> {
        let Some(End::Complete(tag)) = self.end else {
            return None;
        };
        let tag = str::from_utf8(tag).ok()?;
        let counted = tag.rsplit_once(' ');
        let counted =
            counted.and_then(|(command, rows)| Some((command, rows.parse::<u64>().ok()?)));
        Some(match counted {
            None => Completion {
                command: tag,
                rows: None,
            },
            Some((command, rows)) => Completion {
                // `INSERT 0 5`: the first number was an OID.
                command: command.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' '),
                rows: Some(match command {
                    "SELECT" | "FETCH" => rows.abs_diff(self.rows.len() as u64),
                    _ => rows,
                }),
            },
        })
    }

    /// Where only one side was told its columns, the other's are taken to be the same: the statement
    /// was described elsewhere, and is compared there.
    pub(super) fn share_columns(&mut self, other: &mut ResultSet<'a>) {
        if self.columns.is_empty() {
            self.columns.clone_from(&other.columns);
        } else if other.columns.is_empty() {
            other.columns.clone_from(&self.columns);
        }
    }

    pub(super) fn column_name(&self, index: usize) -> Cow<'_, str> {
        match self.columns.get(index) {
            Some(column) => Cow::Borrowed(&column.name),
            None => Cow::Owned((index + 1).to_string()),
        }
    }

    /// With the format.
    pub(super) fn type_of(&self, index: usize) -> Option<(u32, u16)> {
        let column = self.columns.get(index)?;
        Some((column.type_oid, column.format))
    }

    /// A value as it is told from one that reads the same: `NULL`, in quotes what is text, `'NULL'`, or the
    /// bytes.
    pub(super) fn spell(&self, row: Row<'_>, column: usize) -> String {
        let value = match row {
            Row::Values(values) => values.iter().nth(column).flatten(),
            Row::Copied(bytes) => Some(bytes),
        };
        let format = self.columns.get(column).map_or(0, |column| column.format);
        match value {
            None => "NULL".to_owned(),
            Some(bytes) if format == 0 => format!("'{}'", bytes.escape_ascii()),
            Some(bytes) => bytes.iter().fold("\\x".to_owned(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
        }
    }

    /// A row's values as text.
    pub(super) fn show(&self, row: Row<'_>) -> Vec<String> {
        match row {
            Row::Values(values) => {
                let values = values.iter().enumerate();
                let shown = values.map(|(column, value)| self.show_value(column, value));
                shown.collect()
            }
            Row::Copied(_) => vec![self.show_cell(row, 0)],
        }
    }

    /// One of a row's values as text.
    pub(super) fn show_cell(&self, row: Row<'_>, column: usize) -> String {
        match row {
            Row::Values(values) => self.show_value(column, values.iter().nth(column).flatten()),
            Row::Copied(bytes) => {
                let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                show(0, u16::from(!readable(line)), Some(line))
            }
        }
    }

    pub(super) fn show_value(&self, column: usize, value: Option<&[u8]>) -> String {
        match self.columns.get(column) {
            Some(column) => show(column.type_oid, column.format, value),
            None => show(0, u16::from(!value.is_none_or(readable)), value),
        }
    }
}

/// `ERROR 22012: division by zero`.
pub(super) fn told(fields: Fields<'_>) -> String {
    let text = |field| String::from_utf8_lossy(field);
    format!(
        "{} {}: {}",
        text(fields.severity()),
        text(fields.get(b'C').unwrap_or_default()),
        text(fields.get(b'M').unwrap_or_default())
    )
}

/// The columns of each result that has some, from a response's own notation.
pub(super) fn shapes(response: &Response) -> impl Iterator<Item = Vec<Column<'_>>> {
    let shapes = response.columns.as_deref().map(|shapes| shapes.split(';'));
    shapes.into_iter().flatten().map(|shape| {
        let columns = shape.split(',').filter_map(|column| {
            let mut parts = column.split(':');
            Some(Column {
                name: unescape(parts.next()?),
                type_oid: known_type(parts.next()?.parse().ok()?),
                format: parts
                    .next()
                    .and_then(|format| format.parse().ok())
                    .unwrap_or(0),
            })
        });
        columns.collect()
    })
}

fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    let mut parts = name.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (code, part.get(2..)) {
            (Some(code), Some(rest)) => {
                text.push(char::from(code));
                text.push_str(rest);
            }
            _ => text.push_str(part),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::messages::Encode;

    #[test]
    fn columns_remembered_go_to_the_rows_that_lack_them() {
        let mut body = Vec::new();
        body.message(b'C', |out| out.string(b"BEGIN"));
        body.message(b'D', |out| out.extend(b"\0\x01\0\0\0\x04\0\0\0\x2a"));
        body.message(b'C', |out| out.string(b"SELECT 1"));
        body.message(b'Z', |out| out.push(b'T'));
        let response = Response {
            columns: Some("a%3Ab:23:1".into()),
            wire_len: body.len() as u64,
            body,
            ..Response::default()
        };
        let results = Results::of(&response);
        assert!(!results.cut);
        assert_eq!(results.sets.len(), 2);
        let set = &results.sets[1];
        assert_eq!(set.column_name(0), "a:b");
        assert_eq!(set.column_name(1), "2");
        assert_eq!(set.show(set.rows[0]), ["42"]);
    }

    #[test]
    fn columns_of_what_gave_no_row_are_not_those_of_the_next() {
        let shown = |tags: &[&[u8]], columns: &str| {
            let mut body = Vec::new();
            for tag in tags {
                body.message(b'C', |out| out.string(tag));
            }
            body.message(b'D', |out| out.extend(b"\0\x01\0\0\0\x02\x34\x32"));
            body.message(b'C', |out| out.string(b"SELECT 1"));
            let response = Response {
                columns: Some(columns.into()),
                wire_len: body.len() as u64,
                body,
                ..Response::default()
            };
            Results::of(&response).sets[tags.len()]
                .column_name(0)
                .into_owned()
        };
        for (tags, columns, name) in [
            (&[b"SELECT 0".as_slice()][..], "a:23:0;b:23:0", "b"),
            (&[b"SELECT 0"], "b:23:0", "b"),
            (&[b"UPDATE 0", b"SELECT 0"], "a:23:0;b:23:0", "b"),
            (&[b"SELECT 0", b"UPDATE 0"], "a:23:0;b:23:0", "b"),
            // The UPDATE has a RETURNING.
            (&[b"SELECT 0", b"UPDATE 0"], "a:23:0;c:23:0;b:23:0", "b"),
            (&[b"UPDATE 0"], "c:23:0;b:23:0", "b"),
            (&[b"BEGIN"], "b:23:0", "b"),
        ] {
            assert_eq!(shown(tags, columns), name, "{tags:?} {columns}");
        }
    }

    /// As asyncpg first executes what it has just prepared.
    #[test]
    fn a_described_statement_has_the_formats_that_its_portal_asked_for() {
        let mut body = Vec::new();
        body.message(b'T', |out| {
            out.extend(b"\0\x01n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
        });
        body.message(b'D', |out| out.extend(b"\0\x01\0\0\0\x04\0\0\0\x2a"));
        body.message(b'C', |out| out.string(b"SELECT 1"));
        let shown = |columns: &str| {
            let response = Response {
                columns: Some(columns.into()),
                wire_len: body.len() as u64,
                body: body.clone(),
                ..Response::default()
            };
            let set = &Results::of(&response).sets[0];
            (set.columns[0].name.to_string(), set.show(set.rows[0]))
        };
        assert_eq!(shown("n:23:1"), ("n".to_owned(), vec!["42".to_owned()]));
        // Another statement's.
        for other in ["m:23:1", "n:25:1", "n:23:1,n:23:1"] {
            assert_eq!(shown(other), ("n".to_owned(), vec!["\0\0\0*".to_owned()]));
        }
    }

    #[test]
    fn names_are_unescaped() {
        for (name, expected) in [
            ("plain", "plain"),
            ("a%2Cb%25", "a,b%"),
            ("%", ""),
            ("%zz", "zz"),
            ("%é", "é"),
        ] {
            assert_eq!(unescape(name), expected);
        }
    }
}
