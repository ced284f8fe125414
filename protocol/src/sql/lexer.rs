/// A word or name longer than this is data that looks like one, and shown as a literal.
pub const MAX_NAME: usize = 1 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// White space or a comment.
    Space,
    Literal,
    Word(&'a [u8]),
    /// In double quotes.
    Name(&'a [u8]),
    Parameter(&'a [u8]),
    Symbol(u8),
}

/// Cuts a statement into tokens by PostgreSQL's rules (manual, section "Lexical Structure"), with
/// `standard_conforming_strings` on. An unterminated quote or comment runs to the end.
pub struct Lexer<'a> {
    text: &'a [u8],
    pub at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8]) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// `after_operand` tells `t.5` from `= .5`.
    pub fn next(&mut self, after_operand: impl FnOnce() -> bool) -> Option<Token<'a>> {
        let start = self.at;
        let first = self.peek(0)?;
        Some(match class(first) {
            Class::Space => {
                self.skip(|byte| class(byte) == Class::Space);
                Token::Space
            }
            Class::Letter => self.word(start),
            Class::Digit => self.number(),
            Class::Other => match (first, self.peek(1)) {
                (b'\'', _) => self.string(0, false),
                (b'"', _) => self.name(start),
                (b'-', Some(b'-')) => {
                    self.skip(|byte| byte != b'\n');
                    Token::Space
                }
                (b'/', Some(b'*')) => self.comment(),
                (b'.', Some(b'0'..=b'9')) if !after_operand() => self.number(),
                (b'$', Some(b'0'..=b'9')) => {
                    self.at += 1;
                    self.skip(|byte| byte.is_ascii_digit());
                    self.named(start, Token::Parameter)
                }
                (b'$', _) => self.dollar(),
                (b'?', _) => {
                    self.at += 1;
                    Token::Literal
                }
                _ => {
                    self.at += 1;
                    Token::Symbol(first)
                }
            },
        })
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = self.rest();
        self.at += rest
            .iter()
            .position(|byte| !wanted(*byte))
            .unwrap_or(rest.len());
    }

    fn named(&self, start: usize, token: fn(&'a [u8]) -> Token<'a>) -> Token<'a> {
        match self.text.get(start..self.at) {
            Some(name) if name.len() <= MAX_NAME => token(name),
            _ => Token::Literal,
        }
    }

    fn word(&mut self, start: usize) -> Token<'a> {
        self.skip(|byte| matches!(class(byte), Class::Letter | Class::Digit) || byte == b'$');
        if self.at == start + 1 {
            let first = self.text.get(start).copied().unwrap_or_default() | 0x20;
            match (first, self.peek(0), self.peek(1)) {
                (b'e', Some(b'\''), _) => return self.string(0, true),
                (b'b' | b'x' | b'n', Some(b'\''), _) => return self.string(0, false),
                (b'u', Some(b'&'), Some(b'\'')) => return self.string(1, false),
                _ => {}
            }
        }
        self.named(start, Token::Word)
    }

    fn number(&mut self) -> Token<'a> {
        if self.peek(0) == Some(b'0')
            && matches!(self.peek(1), Some(b'x' | b'X' | b'o' | b'O' | b'b' | b'B'))
            && self.peek(2).is_some_and(|byte| byte.is_ascii_hexdigit())
        {
            self.at += 2;
            self.skip(|byte| byte.is_ascii_hexdigit() || byte == b'_');
            return Token::Literal;
        }
        let digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
        self.skip(digit);
        if self.peek(0) == Some(b'.') {
            self.at += 1;
            self.skip(digit);
        }
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self
                .peek(1 + sign)
                .is_some_and(|byte| byte.is_ascii_digit())
            {
                self.at += 1 + sign;
                self.skip(digit);
            }
        }
        Token::Literal
    }

    /// From `prefix` bytes before the opening quote.
    fn string(&mut self, prefix: usize, escapes: bool) -> Token<'a> {
        self.at += prefix + 1;
        loop {
            self.skip(|byte| byte != b'\'' && !(escapes && byte == b'\\'));
            match (self.peek(0), self.peek(1)) {
                (None, _) => break,
                (Some(b'\\'), _) | (Some(b'\''), Some(b'\'')) => {
                    self.at = (self.at + 2).min(self.text.len());
                }
                _ => {
                    self.at += 1;
                    break;
                }
            }
        }
        Token::Literal
    }

    fn name(&mut self, start: usize) -> Token<'a> {
        self.at += 1;
        loop {
            self.skip(|byte| byte != b'"');
            match (self.peek(0), self.peek(1)) {
                (None, _) => return Token::Literal,
                (_, Some(b'"')) => self.at += 2,
                _ => {
                    self.at += 1;
                    return self.named(start, Token::Name);
                }
            }
        }
    }

    fn comment(&mut self) -> Token<'a> {
        let mut depth = 0u32;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Token::Space;
                    }
                }
                (Some(_), _) => {
                    self.at += 1;
                    self.skip(|byte| !matches!(byte, b'/' | b'*'));
                }
                (None, _) => return Token::Space,
            }
        }
    }

    /// `$tag$...$tag$`, or a lone `$`.
    fn dollar(&mut self) -> Token<'a> {
        let rest = self.rest();
        let tag_end = rest
            .iter()
            .skip(1)
            .position(|byte| !matches!(class(*byte), Class::Letter | Class::Digit))
            .map(|at| at + 1);
        let tag = match tag_end.and_then(|end| Some((end, *rest.get(end)?))) {
            Some((end, b'$')) => rest.get(..=end).unwrap_or_default(),
            _ => {
                self.at += 1;
                return Token::Symbol(b'$');
            }
        };
        let body = rest.get(tag.len()..).unwrap_or_default();
        let mut from = 0;
        while let Some(found) = body
            .get(from..)
            .and_then(|b| b.iter().position(|c| *c == b'$'))
        {
            from += found;
            if body.get(from..).is_some_and(|b| b.starts_with(tag)) {
                self.at += tag.len() + from + tag.len();
                return Token::Literal;
            }
            from += 1;
        }
        self.at = self.text.len();
        Token::Literal
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Digit,
    Other,
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

#[expect(
    clippy::indexing_slicing,
    reason = "the table has a place for every byte"
)]
fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}
