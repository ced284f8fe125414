use super::lexer::{Lexer, Token};

/// The statements of a text, as sent or normalised, without those that are empty.
pub(crate) fn statements(text: &str) -> Vec<&str> {
    let mut lexer = Lexer::new(text.as_bytes());
    let mut statements = Vec::new();
    let mut start = 0;
    let mut empty = true;
    while let Some(token) = lexer.next(|| false) {
        match token {
            Token::Space => {}
            Token::Symbol(b';') => {
                if !empty {
                    statements.extend(text.get(start..lexer.at));
                }
                start = lexer.at;
                empty = true;
            }
            _ => empty = false,
        }
    }
    if !empty {
        statements.extend(text.get(start..));
    }
    statements
}

/// Is the word the first of one of the text's statements, and `not` not the second? They have no other letters
/// than ASCII's.
pub(crate) fn begins_statement(text: &[u8], word: &[u8], not: &[u8]) -> bool {
    let Some(first) = word.first() else {
        return false;
    };
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    let is_there = memchr::memchr2_iter(lower, upper, text).any(|at| {
        let found = text.get(at..at + word.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(word))
    });
    // Most texts have it nowhere.
    if !is_there {
        return false;
    }
    let mut lexer = Lexer::new(text);
    let (mut begins, mut found_one) = (true, false);
    while let Some(token) = lexer.next(|| false) {
        match token {
            Token::Space => {}
            Token::Word(found) if found_one && found.eq_ignore_ascii_case(not) => found_one = false,
            _ if found_one => return true,
            Token::Word(found) if begins => {
                found_one = found.eq_ignore_ascii_case(word);
                begins = false;
            }
            _ => begins = token == Token::Symbol(b';'),
        }
    }
    found_one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_begins_a_statement_wherever_that_stands() {
        for (text, expected) in [
            ("Prepare a as select 1", true),
            ("begin; PREPARE a AS select 1; execute a", true),
            ("/* app */ prepare a as select 1", true),
            ("select 1;\n-- now\n;prepare a as select 1", true),
            ("select 'x;prepare'; select 1", false),
            ("select prepare; explain prepare", false),
            ("prepared; preparation()", false),
            ("select $$; prepare a$$", false),
            ("prepare", true),
            ("prepare; select 1", true),
            ("Prepare /* two */ Transaction 'x'", false),
            ("prepare transaction 'x'; prepare a as select 1", true),
            ("", false),
        ] {
            assert_eq!(
                begins_statement(text.as_bytes(), b"prepare", b"transaction"),
                expected,
                "{text}"
            );
        }
    }
}
