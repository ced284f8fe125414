//! Requests that end or cancel another session by the number that it had on the recorded server. On a target that may
//! be anybody's: <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL>

use recording::Request;

use super::messages::Messages;
use super::messages::frontend::Message;
use crate::sql::{Token, tokens};

const FUNCTIONS: [&str; 2] = ["pg_cancel_backend", "pg_terminate_backend"];

/// Of the same functions, for calls without SQL.
const OIDS: [u32; 2] = [2171, 2096];

/// Words between which comparisons stand.
const PARTING: [&[u8]; 10] = [
    b"and", b"else", b"from", b"group", b"limit", b"on", b"or", b"order", b"then", b"where",
];

/// Does the request signal a session, and not one that the target itself tells of (`pg_stat_activity`)? What stands in
/// the body of a function or of a DO is not seen.
pub(super) fn signals_by_number(request: &Request) -> bool {
    match &request.statement {
        Some(statement) => is_in(&statement.text),
        None => Messages::new(&request.bytes).any(|(_, message)| {
            let message = Message::parse(message);
            matches!(message, Ok(Message::FunctionCall { oid, .. }) if OIDS.contains(&oid))
        }),
    }
}

/// The same of a text, as normalised. Also where it only prepares: EXECUTE does not tell what it runs.
fn is_in(text: &str) -> bool {
    // Most texts have it nowhere.
    if !FUNCTIONS.iter().any(|name| text.contains(name)) {
        return false;
    }
    let tokens = tokens(text);
    let calls = (0..tokens.len()).filter_map(|at| argument(&tokens, at));
    let arguments: Vec<_> = calls.collect();
    !arguments.is_empty()
        && (!tokens.iter().any(tells_pids)
            || arguments.into_iter().any(is_value)
            || compares_pids(&tokens))
}

/// The first argument of the call that begins there, if one does.
fn argument<'a>(tokens: &'a [Token<'a>], at: usize) -> Option<&'a [Token<'a>]> {
    let (before, rest) = tokens.split_at_checked(at)?;
    let [name, Token::Symbol(b'('), arguments @ ..] = rest else {
        return None;
    };
    let before = match before {
        [before @ .., _, Token::Symbol(b'.')] => before,
        _ => before,
    };
    // GRANT EXECUTE ON FUNCTION pg_cancel_backend(int)
    let named_only = before.last().is_some_and(|word| is_word(word, "function"));
    if named_only || !FUNCTIONS.iter().any(|function| is_word(name, function)) {
        return None;
    }
    let mut depth = 0;
    let end = arguments.iter().position(|token| {
        match token {
            Token::Symbol(b'(' | b'[') => depth += 1,
            Token::Symbol(b')' | b']') => depth -= 1,
            _ => {}
        }
        depth < 0 || (depth == 0 && *token == Token::Symbol(b','))
    });
    arguments.get(..end.unwrap_or(arguments.len()))
}

/// Is it a value, or made of one, and not looked up?
fn is_value(argument: &[Token<'_>]) -> bool {
    argument.iter().any(value) && !argument.iter().any(|token| is_word(token, "select"))
}

/// Is a `pid` compared with a value? `pid = any(array[4711])`, `$1 = a.pid`
fn compares_pids(tokens: &[Token<'_>]) -> bool {
    let pids = (0..tokens.len()).filter(|at| tokens.get(*at).is_some_and(|it| is_word(it, "pid")));
    pids.filter_map(|at| tokens.split_at_checked(at))
        .any(|(before, after)| {
            let before = before.iter().rev().take_while(|token| !parts(token, b'('));
            let after = after.iter().take_while(|token| !parts(token, b')'));
            before.chain(after).any(value)
        })
}

/// Does the token end a comparison?
fn parts(token: &Token<'_>, bracket: u8) -> bool {
    match token {
        Token::Symbol(symbol) => matches!(symbol, b',' | b';') || *symbol == bracket,
        Token::Word(word) => PARTING.contains(&&**word),
        _ => false,
    }
}

fn value(token: &Token<'_>) -> bool {
    matches!(token, Token::Literal | Token::Parameter(_))
}

/// A view or function from which a session's number is the target's own.
fn tells_pids(token: &Token<'_>) -> bool {
    let Token::Word(word) = token else {
        return false;
    };
    word.starts_with(b"pg_stat_") || matches!(*word, b"pg_locks" | b"pg_backend_pid")
}

fn is_word(token: &Token<'_>, word: &str) -> bool {
    match token {
        Token::Word(found) => *found == word.as_bytes(),
        Token::Name(quoted) => {
            let name = quoted.strip_prefix(b"\"");
            name.and_then(|name| name.strip_suffix(b"\"")) == Some(word.as_bytes())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use recording::Kind;

    use super::*;
    use crate::postgres::driver::test_exchange;
    use crate::postgres::testing::client;
    use crate::sql::normalise;

    #[test]
    fn who_signals_a_session_by_a_recorded_number_is_known() {
        for text in [
            "SELECT pg_terminate_backend(4711)",
            "select PG_CANCEL_BACKEND ( '4711' )",
            "select * from pg_catalog.pg_terminate_backend($1::int, 5000)",
            "SELECT \"pg_catalog\".\"pg_terminate_backend\"(pid => 4711)",
            "begin; select 1; select /* now */ pg_terminate_backend(cast($1 as int)); commit",
            "PREPARE kill(int) AS SELECT pg_terminate_backend($1)",
            "select pg_cancel_backend((4711)), count(*) from pg_stat_activity",
            "select pg_cancel_backend(a.pid) from pg_stat_activity a where a.pid = 4711",
            "select pg_cancel_backend(pid) from pg_stat_activity where pid in ($1, $2)",
            "select pg_cancel_backend(pid) from pg_locks where \"pid\" = any(array[4711, 12])",
            "select pg_cancel_backend(pid) from pg_locks where pid = ANY ($1::int[])",
            "select pg_cancel_backend(pid) from pg_locks where cast($1 as int) = pid",
            "select pg_cancel_backend(l.pid) from pg_locks l where l.pid::text = '4711' and granted",
            // From what was recorded, or is in the snapshot.
            "select pg_terminate_backend(p) from unnest($1::int[]) p",
            "select pg_terminate_backend(worker_pid) from jobs where id = 7",
        ] {
            assert!(is_in(&normalise(text).text), "{text}");
        }
    }

    #[test]
    fn what_stands_for_itself_is_let_through() {
        for text in [
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop' AND pid <> pg_backend_pid()",
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where state = $1",
            "select pg_cancel_backend(a.pid), 1 from pg_catalog.pg_stat_activity a, pg_locks l where a.pid = l.pid",
            "select pg_cancel_backend((select pid from pg_stat_activity where usename = $1 limit 1))",
            "select pg_cancel_backend(pid) from pg_locks where pid in (select pid from pg_stat_activity where state = $1)",
            "select pg_terminate_backend(pg_backend_pid())",
            "grant execute on function pg_catalog.pg_terminate_backend(int, int8) to watch",
            "select 'pg_terminate_backend(4711)'",
            "select pg_terminate_backend from t where pid = 4711",
            "select pid from pg_stat_activity where pid = 4711",
            "select my_pg_terminate_backend_log(4711)",
        ] {
            assert!(!is_in(&normalise(text).text), "{text}");
        }
    }

    /// What was prepared long before is told by the row; a call without SQL by its function.
    #[test]
    fn how_it_is_asked_makes_no_difference() {
        let asks = |text: Option<&str>, bytes: Vec<u8>| {
            let mut request = test_exchange(Kind::Request, &bytes).request;
            request.statement = text.map(normalise);
            signals_by_number(&request)
        };
        let run = [
            client::bind("", "kill", &[1], &[Some(&4711_u32.to_be_bytes())], &[]),
            client::execute("", 0),
            client::sync(),
        ];
        assert!(asks(Some("select pg_terminate_backend($1)"), run.concat()));
        assert!(!asks(Some("select $1"), run.concat()));
        assert!(asks(None, client::function_call(2096)));
        assert!(!asks(None, client::function_call(952)));
    }
}
