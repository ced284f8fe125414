//! Statements that differ from one before in their literals alone, as those of a session mostly do.

use std::mem;
use std::ops::Range;

use recording::Statement;

use super::lexer::{Lexer, Token};
use super::{normalise, normalise_and_tell};

/// Texts that are remembered, and the longest of them: a usual session takes some hundred bytes, one with
/// the most 40 KB. Longer ones are not looked for either, so that a large literal is read once.
const MAX_PATTERNS: usize = 8;
const MAX_LEN: usize = 512;

/// The texts normalised lately. Gives what [`super::normalise`] does, and where one of them comes
/// again with other literals, in a fraction of the time and without memory of its own.
#[derive(Debug, Default)]
pub struct Patterns {
    known: Vec<Pattern>,
    /// The one that is forgotten next.
    oldest: usize,
}

#[derive(Debug)]
struct Pattern {
    text: Box<[u8]>,
    literals: Box<[Range<usize>]>,
    statement: Statement,
}

impl Patterns {
    pub fn normalise(&mut self, text: &str) -> Statement {
        if text.len() > MAX_LEN {
            return normalise(text);
        }
        let bytes = text.as_bytes();
        if let Some(pattern) = self.known.iter().find(|it| it.matches(bytes)) {
            return pattern.statement.clone();
        }
        let mut literals = Vec::new();
        let statement = normalise_and_tell(text, |literal| literals.push(literal));
        self.remember(Pattern {
            text: bytes.into(),
            literals: literals.into(),
            statement: statement.clone(),
        });
        statement
    }

    fn remember(&mut self, pattern: Pattern) {
        match self.known.get_mut(self.oldest) {
            Some(place) => *place = pattern,
            None => {
                // Most sessions have few, and there may be many sessions.
                self.known.reserve_exact(1);
                self.known.push(pattern);
            }
        }
        self.oldest = (self.oldest + 1) % MAX_PATTERNS;
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.known.iter().map(Pattern::held).sum()
    }
}

impl Pattern {
    /// Is `text` this one, with literals in the same places? What is no literal must be the same to the
    /// byte, and a literal must begin as the one before, so that it can't be a part of the word before
    /// it.
    fn matches(&self, text: &[u8]) -> bool {
        let mut lexer = Lexer::new(text);
        let mut from = 0;
        for literal in &self.literals {
            let between = self.text.get(from..literal.start).unwrap_or_default();
            let Some(rest) = lexer.rest().strip_prefix(between) else {
                return false;
            };
            let begins = |text: &[u8]| text.first().map(kind);
            let known = self.text.get(literal.clone()).unwrap_or_default();
            if begins(rest) != begins(known) {
                return false;
            }
            lexer.at += between.len();
            // A point that began a literal stood after no operand.
            if lexer.next(|| false) != Some(Token::Literal) {
                return false;
            }
            from = literal.end;
        }
        Some(lexer.rest()) == self.text.get(from..)
    }

    fn held(&self) -> usize {
        mem::size_of::<Pattern>()
            + self.text.len()
            + self.literals.len() * mem::size_of::<Range<usize>>()
            + self.statement.text.len()
    }
}

/// All digits are of one.
fn kind(first: &u8) -> u8 {
    match first {
        b'0'..=b'9' => b'0',
        other => *other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// Of the second text: was it recognised?
    fn recognised(first: &str, second: &str) -> bool {
        let mut patterns = Patterns::default();
        let one = patterns.normalise(first);
        let two = patterns.normalise(second);
        assert_eq!(one, normalise(first));
        assert_eq!(two, normalise(second), "{second} after {first}");
        Arc::ptr_eq(&one.text, &two.text)
    }

    #[test]
    fn other_literals_are_recognised() {
        for (first, second) in [
            (
                "SELECT a FROM t WHERE b = 1;",
                "SELECT a FROM t WHERE b = 27;",
            ),
            ("a = -1.5e3 and b = 'x'", "a = -0x1F and b = 'it''s'"),
            ("in (1, 2)", "in (3, 4)"),
            ("select $$a$$, E'b', .5", "select $tag$b$tag$, E'\\'', .25"),
            ("commit", "commit"),
        ] {
            assert!(recognised(first, second), "{second} after {first}");
        }
    }

    #[test]
    fn what_only_looks_alike_is_not() {
        for (first, second) in [
            ("select abc'x'", "select abc5"),
            ("select abc'x'", "select abc$$x$$"),
            ("select 1", "select a"),
            ("select 1", "select 1, 2"),
            ("select 5x1", "select 0x1"),
            ("select 1 from t", "select 1 from T"),
            ("in (1, 2)", "in (1, 2, 3)"),
            ("a - 1", "a --1"),
            ("t.5", "t.x"),
            ("select e'x'", "select e5"),
        ] {
            assert!(!recognised(first, second), "{second} after {first}");
        }
    }

    #[test]
    fn few_and_short_ones_are_remembered() {
        let mut patterns = Patterns::default();
        for number in 0..100 {
            patterns.normalise(&format!(
                "select c{number} from t{}",
                " ".repeat(number * 10)
            ));
            assert!(patterns.known.len() <= MAX_PATTERNS);
        }
        assert!(patterns.known.iter().all(|it| it.text.len() <= MAX_LEN));
        assert!(patterns.held() < 16 << 10);
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "select", "in", "values", "(", ")", "[", ",", "-", "+", "'", "\"", "$", "$a$", "$1",
            "?", "1", "0x1", "1.5", ".", "e", "E'", "u&'", "--", "/*", "*/", "\n", " ", ";", "a",
            "::", "\\", "'x'", "27", "x1", "_",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Whatever came before, and however much of it is the same.
        #[test]
        fn the_result_is_that_of_normalising(
            first in prop::collection::vec(token(), 0..20),
            changes in prop::collection::vec((0..20usize, token()), 0..3),
        ) {
            let mut second = first.clone();
            for (at, token) in changes {
                if let Some(place) = second.get_mut(at) {
                    *place = token;
                }
            }
            recognised(&first.concat(), &second.concat());
        }
    }
}
