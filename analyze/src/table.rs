use std::collections::HashMap;
use std::sync::Arc;

use recording::{Exchange, Kind, Statement};
use serde::{Deserialize, Serialize};

use crate::learnt::Learnt;

/// What a request is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    Login,
    /// No statement, or one that is not known.
    Nameless,
    Fingerprint(u64),
}

/// A fingerprint for readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Hexadecimal; absent for logins and requests without a known statement.
    pub fingerprint: Option<String>,
    pub statement: String,
}

/// Longest text of a statement that is kept for each fingerprint.
const TEXT: usize = 4 << 10;

impl Subject {
    pub fn of(row: &Exchange) -> Subject {
        match (row.kind, &row.request.statement) {
            (Kind::Open, _) => Subject::Login,
            (_, Some(statement)) => Subject::Fingerprint(statement.fingerprint),
            (_, None) => Subject::Nameless,
        }
    }

    pub fn of_statement(statement: &Statement) -> (Subject, Named) {
        let named = Named {
            fingerprint: Some(format!("{:016x}", statement.fingerprint)),
            statement: cap(&statement.text, TEXT),
        };
        (Subject::Fingerprint(statement.fingerprint), named)
    }

    pub fn named(self, row: &Exchange) -> Named {
        let without = |statement: &str| Named {
            fingerprint: None,
            statement: statement.to_owned(),
        };
        match (self, &row.request.statement) {
            (Subject::Login, _) => without("(login)"),
            (_, Some(statement)) => Subject::of_statement(statement).1,
            (_, None) => without("(no known statement)"),
        }
    }
}

/// At most `max` bytes of the text; an ellipsis tells of the rest.
pub(crate) fn cap(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// What can be counted for a fingerprint and for all the rest together.
pub(crate) trait Tally: Default {
    fn calls(&self) -> u64;
    fn absorb(&mut self, other: Self);
}

/// Tallies by subject in bounded memory: when there are twice `keep` of them, the less called half
/// is folded into `rest`. What is called often stays, also if it comes late.
#[derive(Debug)]
pub(crate) struct Table<T> {
    keep: usize,
    entries: HashMap<Subject, (Named, T)>,
    pub rest: T,
    /// How often an entry was folded; one that came back counts again.
    pub folded: u64,
}

impl<T: Tally> Table<T> {
    pub fn new(keep: usize) -> Table<T> {
        Table {
            keep,
            entries: HashMap::new(),
            rest: T::default(),
            folded: 0,
        }
    }

    pub fn entry(&mut self, row: &Exchange) -> &mut T {
        let subject = Subject::of(row);
        if self.entries.len() >= 2 * self.keep && !self.entries.contains_key(&subject) {
            self.fold();
        }
        let (_, tally) = self
            .entries
            .entry(subject)
            .or_insert_with(|| (subject.named(row), T::default()));
        tally
    }

    /// Takes together what has the same name by now.
    pub fn rename(&mut self, learnt: &Learnt) {
        let mut all: Vec<_> = self.entries.drain().collect();
        // For the sums of fractions hang on their order.
        all.sort_by_key(|(subject, _)| *subject);
        for (subject, (named, tally)) in all {
            let renamed = learnt.renamed(subject, &named);
            let (subject, named) = renamed.unwrap_or((subject, named));
            let entry = self.entries.entry(subject);
            let (_, known) = entry.or_insert_with(|| (named, T::default()));
            known.absorb(tally);
        }
    }

    fn fold(&mut self) {
        let mut all: Vec<_> = self.entries.drain().collect();
        all.sort_by_key(|(subject, (_, tally))| (std::cmp::Reverse(tally.calls()), *subject));
        for (_, (_, tally)) in all.drain(self.keep.min(all.len())..) {
            self.rest.absorb(tally);
            self.folded += 1;
        }
        self.entries.extend(all);
    }

    /// At most `keep` entries, in no order that means anything but always the same.
    pub fn finish(mut self) -> (Vec<(Subject, Named, T)>, T, u64) {
        if self.entries.len() > self.keep {
            self.fold();
        }
        let mut all: Vec<_> = self
            .entries
            .into_iter()
            .map(|(subject, (named, tally))| (subject, named, tally))
            .collect();
        all.sort_by_key(|(subject, ..)| *subject);
        (all, self.rest, self.folded)
    }
}

impl Tally for u64 {
    fn calls(&self) -> u64 {
        *self
    }

    fn absorb(&mut self, other: u64) {
        *self += other;
    }
}

/// Adds to a count by name.
pub(crate) fn count(counts: &mut std::collections::BTreeMap<String, u64>, name: &str, by: u64) {
    match counts.get_mut(name) {
        Some(count) => *count += by,
        None => {
            counts.insert(name.to_owned(), by);
        }
    }
}

/// The reason of a row, also where none was given.
pub(crate) fn reason(row: &Exchange) -> Arc<str> {
    row.reason
        .clone()
        .unwrap_or_else(|| "no reason given".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_million_fingerprints_leave_the_busy_ones() {
        let mut table = Table::<u64>::new(10);
        for n in 0..10_000u32 {
            *table.entry(&testing::request(1, n, &format!("once {n}"))) += 1;
            if n > 5_000 {
                *table.entry(&testing::request(1, n, "late but often")) += 1;
            }
        }
        let (kept, rest, folded) = table.finish();
        assert_eq!(kept.len(), 10);
        let busy = kept
            .iter()
            .find(|(_, named, _)| named.statement == "late but often")
            .expect("kept");
        assert_eq!(busy.2, 4_999);
        let sum: u64 = kept.iter().map(|(_, _, calls)| calls).sum();
        assert_eq!(sum + rest, 14_999);
        assert_eq!(folded, 9_991);
    }

    #[test]
    fn caps_at_a_character() {
        assert_eq!(cap("añb", 2), "a…");
        assert_eq!(cap("añb", 9), "añb");
    }
}
