//! Statements without their literals, and what their text alone tells.

mod lexer;
mod order;
mod patterns;
mod statements;

use std::ops::Range;

use recording::Statement;
use xxhash_rust::xxh3::xxh3_64;

use lexer::Lexer;
pub(crate) use lexer::Token;
pub use order::ordered;
pub use patterns::Patterns;
pub(crate) use statements::{begins_statement, statements};

/// Longest normalised text, in bytes. What is longer ends in [`CUT`].
const MAX_TEXT: usize = 64 << 10;

/// Stands at the end of a text that was cut.
const CUT: &str = " ...";

/// The statement without its literals: numbers and strings become `?`, comments go, white space is
/// folded, names and keywords outside double quotes are lower case, `IN` lists, arrays and `VALUES`
/// rows of the same shape become one, and a `;` at the end goes. Parameters (`$1`) stay.
///
/// The fingerprint is XXH3-64 with seed 0 of the text, so that it is the same in every recording.
/// Normalising a normalised text changes nothing. No literal survives, an unterminated one neither.
pub fn normalise(text: &str) -> Statement {
    normalise_and_tell(text, |_| {})
}

/// Tells where the literals stand, too.
fn normalise_and_tell(text: &str, mut tell: impl FnMut(Range<usize>)) -> Statement {
    let mut writer = Writer::new(text.len());
    let mut lexer = Lexer::new(text.as_bytes());
    let mut start = 0;
    while let Some(token) = lexer.next(|| writer.after_operand()) {
        if token == Token::Literal {
            tell(start..lexer.at);
        }
        start = lexer.at;
        if writer.out.len() > MAX_TEXT {
            writer.out.extend_from_slice(CUT.as_bytes());
            return writer.statement();
        }
        writer.push(token);
    }
    let end = writer
        .out
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b';'));
    writer.out.truncate(end.map_or(0, |last| last + 1));
    writer.statement()
}

/// As they stand in the text: with their quotes.
pub(crate) fn literals(text: &str) -> Vec<&str> {
    let mut literals = Vec::new();
    normalise_and_tell(text, |place| literals.extend(text.get(place)));
    literals
}

/// What a normalised text is made of, without its spaces.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer::new(text.as_bytes());
    let all = std::iter::from_fn(|| lexer.next(|| false));
    all.filter(|token| *token != Token::Space).collect()
}

/// What stands before the token to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Operand,
    Operator,
    /// A word that begins there in the output; keyword or name is only asked where it matters.
    Word(usize),
}

/// A list whose elements are folded into the first where they look the same.
#[derive(Clone, Copy, Debug)]
struct List {
    /// Number of brackets open around an element.
    depth: usize,
    /// `VALUES`: each element is a row in brackets of its own.
    rows: bool,
    first_start: usize,
    first_end: Option<usize>,
}

struct Writer {
    out: Vec<u8>,
    space: bool,
    before: Before,
    /// Where the signs before the token to come begin.
    signs: Option<usize>,
    depth: usize,
    lists: Vec<List>,
}

impl Writer {
    fn new(len: usize) -> Writer {
        Writer {
            out: Vec::with_capacity(len.min(MAX_TEXT) + CUT.len()),
            space: false,
            before: Before::Operator,
            signs: None,
            depth: 0,
            lists: Vec::new(),
        }
    }

    fn statement(self) -> Statement {
        // Cut only at ASCII, what was UTF-8 still is.
        let text = String::from_utf8(self.out).unwrap_or_default();
        Statement {
            fingerprint: xxh3_64(text.as_bytes()),
            text: text.into(),
        }
    }

    fn word_before(&self) -> Option<&[u8]> {
        match self.before {
            Before::Word(start) => self.out.get(start..),
            _ => None,
        }
    }

    fn after_operand(&self) -> bool {
        match self.before {
            Before::Operand => true,
            Before::Operator => false,
            Before::Word(_) => !self.word_before().is_some_and(is_before_operand),
        }
    }

    fn push(&mut self, token: Token<'_>) {
        match token {
            Token::Space => {
                self.space = true;
                return;
            }
            Token::Symbol(b'(' | b'[' | b',') => {}
            _ => self.end_rows(),
        }
        match token {
            Token::Symbol(symbol) => self.symbol(symbol),
            Token::Literal => {
                match self.signs.take() {
                    Some(start) => self.out.truncate(start),
                    None => self.put_space(),
                }
                self.space = false;
                self.put(b"?", Before::Operand);
            }
            Token::Word(word) => {
                self.put_space();
                let start = self.out.len();
                self.put(word, Before::Word(start));
                if let Some(written) = self.out.get_mut(start..) {
                    written.make_ascii_lowercase();
                }
            }
            Token::Name(name) | Token::Parameter(name) => {
                self.put_space();
                self.put(name, Before::Operand);
            }
            Token::Space => {}
        }
    }

    fn put(&mut self, bytes: &[u8], before: Before) {
        self.out.extend_from_slice(bytes);
        self.before = before;
        self.signs = None;
    }

    /// The space that stood before the token to come, if any.
    fn put_space(&mut self) {
        if self.space && !matches!(self.out.last(), None | Some(b'(' | b'[')) {
            self.out.push(b' ');
        }
        self.space = false;
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            b'(' | b'[' => self.open(symbol),
            b')' | b']' => self.close(symbol),
            b',' => {
                self.end_element(false);
                self.space = false;
                self.put(b",", Before::Operator);
                self.space = true;
            }
            b';' => {
                self.space = false;
                self.put(b";", Before::Operator);
            }
            b'-' | b'+' if !self.after_operand() && !self.inside_operator() => {
                let signs = self.signs;
                self.put_space();
                let start = signs.unwrap_or(self.out.len());
                self.put(&[symbol], Before::Operator);
                self.signs = Some(start);
            }
            _ => {
                self.put_space();
                self.put(&[symbol], Before::Operator);
            }
        }
    }

    /// `#-` is an operator, not a sign after one.
    fn inside_operator(&self) -> bool {
        !self.space
            && matches!(
                self.out.last(),
                Some(b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|')
            )
    }

    fn open(&mut self, symbol: u8) {
        let word = self.word_before().unwrap_or_default();
        let rows = symbol == b'(' && matches!(word, b"values");
        let elements = match symbol {
            b'(' => word == b"in",
            _ => word == b"array",
        };
        self.put_space();
        if rows {
            self.lists.push(List {
                depth: self.depth,
                rows,
                first_start: self.out.len(),
                first_end: None,
            });
        }
        self.put(&[symbol], Before::Operator);
        self.depth += 1;
        if elements {
            self.lists.push(List {
                depth: self.depth,
                rows,
                first_start: self.out.len(),
                first_end: None,
            });
        }
    }

    fn close(&mut self, symbol: u8) {
        self.end_element(false);
        while self
            .lists
            .last()
            .is_some_and(|list| list.depth >= self.depth)
        {
            self.lists.pop();
        }
        self.space = false;
        self.put(&[symbol], Before::Operand);
        self.depth = self.depth.saturating_sub(1);
        self.end_element(true);
    }

    /// Folds the element that ends here into the first of its list, where the two are the same.
    fn end_element(&mut self, row: bool) {
        let Some(list) = self.lists.last_mut() else {
            return;
        };
        if list.depth != self.depth || list.rows != row {
            return;
        }
        let Some(first_end) = list.first_end else {
            list.first_end = Some(self.out.len());
            return;
        };
        let first = self.out.get(list.first_start..first_end);
        let this = self
            .out
            .get(first_end..)
            .and_then(|rest| rest.strip_prefix(b", "));
        if first.is_some() && first == this {
            self.out.truncate(first_end);
        }
    }

    /// A token that can't stand between two rows of `VALUES` ends their list.
    fn end_rows(&mut self) {
        if self
            .lists
            .last()
            .is_some_and(|list| list.rows && list.depth == self.depth)
        {
            self.lists.pop();
        }
    }
}

/// After these words a `-` is a sign, and `.5` a number.
fn is_before_operand(word: &[u8]) -> bool {
    matches!(
        word,
        b"all"
            | b"and"
            | b"any"
            | b"as"
            | b"between"
            | b"by"
            | b"case"
            | b"default"
            | b"distinct"
            | b"else"
            | b"from"
            | b"having"
            | b"ilike"
            | b"in"
            | b"is"
            | b"like"
            | b"limit"
            | b"not"
            | b"offset"
            | b"on"
            | b"or"
            | b"return"
            | b"returning"
            | b"select"
            | b"set"
            | b"then"
            | b"to"
            | b"using"
            | b"values"
            | b"when"
            | b"where"
    )
}

#[cfg(test)]
mod tests {
    use super::lexer::MAX_NAME;
    use super::*;
    use proptest::prelude::*;

    fn text(sql: &str) -> String {
        normalise(sql).text.to_string()
    }

    #[test]
    fn literals_become_question_marks() {
        for (sql, expected) in [
            ("SELECT 1", "select ?"),
            ("select 1.5e-3, .5, 0x1F, 1_000", "select ?, ?, ?, ?"),
            (
                "select 'it''s', E'a\\'b', B'01', X'ff', U&'\\0041', N'x'",
                "select ?, ?, ?, ?, ?, ?",
            ),
            ("select $$a'b$$, $tag$ $$ $tag$", "select ?, ?"),
            ("select $1, $22::int", "select $1, $22::int"),
            (
                "select -5, a-5, a - 5, (-5), a = -5, - - 5",
                "select ?, a-?, a - ?, (?), a = ?, ?",
            ),
            ("limit -1 offset +2", "limit ? offset ?"),
            (
                "select '5'::int, int '5', CAST(5 AS int)",
                "select ?::int, int ?, cast(? as int)",
            ),
            (
                "select a #- '{x}', a -> -1, a ? 'k'",
                "select a #- ?, a -> ?, a ? ?",
            ),
            (
                "select t1.c2, \"Mixed Case\"",
                "select t1.c2, \"Mixed Case\"",
            ),
            ("SELECT /* a /* nested */ b */ 1 -- the end", "select ?"),
            ("select\t1\n ;  ", "select ?"),
            ("f( 1 , x )", "f(?, x)"),
            ("select 'unterminated secret", "select ?"),
            ("select \"unterminated name", "select ?"),
            ("select $a$ unterminated", "select ?"),
            ("select 1 /* unterminated", "select ?"),
            ("alter role x password 'secret'", "alter role x password ?"),
            ("SELECT Größe FROM T", "select größe from t"),
            ("", ""),
        ] {
            assert_eq!(text(sql), expected, "{sql}");
        }
    }

    #[test]
    fn lists_of_one_shape_become_one() {
        for (sql, expected) in [
            ("where a in (1, 2,3)", "where a in (?)"),
            ("where a IN(1,-2)", "where a in(?)"),
            ("where a in ('x'::uuid, 'y'::uuid)", "where a in (?::uuid)"),
            ("where a in (1, b, 2)", "where a in (?, b, ?)"),
            (
                "where (a, b) in ((1, 2), (3, 4))",
                "where (a, b) in ((?, ?))",
            ),
            ("select array[1,2,3]", "select array[?]"),
            ("select f(1, 2)", "select f(?, ?)"),
            (
                "insert into t values (1, 'a'), (2, 'b') ,(3,'c') returning id",
                "insert into t values (?, ?) returning id",
            ),
            (
                "values (1, default), (2, now())",
                "values (?, default), (?, now())",
            ),
            ("values (1), (2); values (3)", "values (?); values (?)"),
        ] {
            assert_eq!(text(sql), expected, "{sql}");
        }
    }

    #[test]
    fn fingerprint_is_stable() {
        assert_eq!(normalise("SELECT 1").fingerprint, xxh3_64(b"select ?"));
        assert_eq!(normalise("select ?").fingerprint, 7034699833354152789);
    }

    #[test]
    fn long_texts_are_cut() {
        let long = format!("select {}", "column_name + ".repeat(10_000));
        let cut = text(&long);
        assert!(cut.ends_with(CUT));
        assert!(cut.len() < MAX_TEXT + MAX_NAME + CUT.len());
        assert_eq!(text(&cut), cut);
        let rows = format!("values {}", "(1, 2), ".repeat(100_000));
        assert_eq!(text(&rows), "values (?, ?),");
    }

    fn fragment() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "select", "in", "values", "array", "(", ")", "[", "]", ",", "-", "+", "'", "\"", "$",
            "$a$", "$1", "?", "1", "1.5", ".", "e", "E'", "u&'", "--", "/*", "*/", "\n", " ", ";",
            "a", "ü", "::", "\\", "#", "*", "/",
        ])
        .prop_map(String::from)
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(sql in ".{0,200}") {
            let once = text(&sql);
            prop_assert_eq!(text(&once), once);
        }

        #[test]
        fn normalising_fragments_twice_changes_nothing(
            parts in prop::collection::vec(fragment(), 0..40)
        ) {
            let once = text(&parts.concat());
            prop_assert_eq!(text(&once), once);
        }

        #[test]
        fn literals_leave_no_trace(number: i64, real in -1e9..1e9f64, words in ".{0,40}") {
            let quoted = words.replace('\'', "''");
            let sql = format!("update t set a = {number}, b={real}, c = '{quoted}' where d>{number}");
            prop_assert_eq!(text(&sql), "update t set a = ?, b=?, c = ? where d>?");
        }
    }
}
