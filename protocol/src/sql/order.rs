use sqlparser::ast::{CopySource, Query, SetExpr, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::lexer::{Lexer, Token};
use super::statements;

/// For each statement of a text, as sent or normalised: does an `ORDER BY` of its own promise the
/// order of its rows? One inside a subquery, an aggregate or a window does not.
///
/// Costs some microseconds a statement that says `ORDER BY` anywhere; callers that see a text often
/// keep the answer.
pub fn ordered(text: &str) -> Vec<bool> {
    statements(text).into_iter().map(is_ordered).collect()
}

fn is_ordered(statement: &str) -> bool {
    if !scan(statement, |_| true) {
        return false;
    }
    // A `?` is no literal for the parser. Inside a string two quotes are one, and change nothing.
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &statement.replace('?', "''"));
    match parsed.as_deref() {
        Ok([Statement::Query(query)]) => query_is_ordered(query),
        Ok(
            [
                Statement::Copy {
                    source: CopySource::Query(query),
                    ..
                },
            ],
        ) => query_is_ordered(query),
        Ok(_) => false,
        Err(_) => scan(statement, |depth| depth == 0),
    }
}

fn query_is_ordered(query: &Query) -> bool {
    if query.order_by.is_some() {
        return true;
    }
    match query.body.as_ref() {
        SetExpr::Query(inner) => query_is_ordered(inner),
        _ => false,
    }
}

/// Is there an `ORDER BY` at a depth of brackets that `wanted` accepts?
fn scan(statement: &str, wanted: impl Fn(usize) -> bool) -> bool {
    let mut lexer = Lexer::new(statement.as_bytes());
    let mut depth = 0usize;
    let mut after_order = false;
    while let Some(token) = lexer.next(|| false) {
        match token {
            Token::Space => continue,
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => depth = depth.saturating_sub(1),
            Token::Word(word)
                if after_order && word.eq_ignore_ascii_case(b"by") && wanted(depth) =>
            {
                return true;
            }
            _ => {}
        }
        after_order = matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(b"order"));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::normalise;

    #[test]
    fn order_is_promised_by_the_outermost_query_alone() {
        for (sql, expected) in [
            ("select a from t ORDER BY a", true),
            (
                "select a from t where b = 'x?' and c in (1, 2) order by a limit 5 offset 2",
                true,
            ),
            ("(select a from t order by a)", true),
            ("with x as (select 1) select * from x order by 1", true),
            ("select a from t union select b from u order by 1", true),
            ("copy (select a from t order by a) to stdout", true),
            (
                "select a from t where d < interval '1 day' order by a for update",
                true,
            ),
            ("select a from t order by date '2020-01-01' <-> b", true),
            ("select a from t", false),
            ("select * from (select a from t order by a) s", false),
            ("select array_agg(a order by a) from t", false),
            (
                "select row_number() over (partition by b order by a) from t",
                false,
            ),
            (
                "with x as (select a from t order by a) select * from x",
                false,
            ),
            (
                "(select a from t order by a limit 1) union all (select 2)",
                false,
            ),
            ("declare c cursor for select a from t order by a", false),
            ("create table u as select a from t order by a", false),
            ("select 'order by a' from t", false),
            ("copy t to stdout", false),
        ] {
            assert_eq!(ordered(sql), [expected], "{sql}");
            assert_eq!(
                ordered(&normalise(sql).text),
                [expected],
                "normalised {sql}"
            );
        }
    }

    #[test]
    fn what_the_parser_does_not_know_is_scanned() {
        for (sql, expected) in [
            ("select a ?| b frobnicate from t order by a", true),
            (
                "select frobnicate frobnicate f((select 1 order by 1))",
                false,
            ),
        ] {
            assert_eq!(ordered(sql), [expected], "{sql}");
        }
    }

    #[test]
    fn each_statement_has_its_own() {
        assert_eq!(
            ordered("select 1; ; select 2 as ';' order by 1; select 3;"),
            [false, true, false]
        );
        assert_eq!(ordered(" ; "), Vec::<bool>::new());
    }
}
