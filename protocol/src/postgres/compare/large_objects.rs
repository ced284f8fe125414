//! Requests about large objects, whose OIDs each server gives out itself: in SQL, or as libpq and JDBC ask, by calling
//! a function without it. <https://www.postgresql.org/docs/current/largeobjects.html>

use recording::Request;

use crate::postgres::messages::Messages;
use crate::postgres::messages::frontend::Message;
use crate::sql::{Token, tokens};
use crate::{Difference, DifferenceKind};

const NAMES: [&[u8]; 20] = [
    b"lo_close",
    b"lo_creat",
    b"lo_create",
    b"lo_export",
    b"lo_from_bytea",
    b"lo_get",
    b"lo_import",
    b"lo_lseek",
    b"lo_lseek64",
    b"lo_open",
    b"lo_put",
    b"lo_tell",
    b"lo_tell64",
    b"lo_truncate",
    b"lo_truncate64",
    b"lo_unlink",
    b"loread",
    b"lowrite",
    b"pg_largeobject",
    b"pg_largeobject_metadata",
];

/// Of those functions that clients' libraries call.
const OIDS: [u32; 14] = [
    715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172, 3457,
];

/// There is none of that number, or there is one already.
const CODES: [&str; 2] = ["42704", "23505"];

/// Does the request name what handles large objects?
pub(super) fn handles_large_objects(request: &Request) -> bool {
    match &request.statement {
        Some(statement) => {
            let mut tokens = tokens(&statement.text).into_iter();
            tokens.any(|token| matches!(token, Token::Word(word) if NAMES.contains(&word)))
        }
        None => Messages::new(&request.bytes).any(|(_, message)| {
            let message = Message::parse(message);
            matches!(message, Ok(Message::FunctionCall { oid, .. }) if OIDS.contains(&oid))
        }),
    }
}

/// Is it one that another number brings about?
pub(super) fn is_of_number(difference: &Difference) -> bool {
    let failed = |answer: &str| CODES.iter().any(|code| answer.starts_with(code));
    match difference.kind {
        DifferenceKind::NewError => failed(&difference.observed),
        DifferenceKind::VanishedError => failed(&difference.expected),
        _ => super::in_rows(difference),
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
    fn who_handles_large_objects_is_known() {
        for (text, bytes, expected) in [
            (
                Some("SELECT pg_catalog.LO_OPEN(16400, 131072)"),
                Vec::new(),
                true,
            ),
            (Some("select loread($1, 100)"), Vec::new(), true),
            (
                Some("select 'lo_open(1)', my_lo_open(2)"),
                Vec::new(),
                false,
            ),
            (None, client::function_call(952), true),
            (None, client::function_call(2096), false),
        ] {
            let mut request = test_exchange(Kind::Request, &bytes).request;
            request.statement = text.map(normalise);
            assert_eq!(handles_large_objects(&request), expected, "{text:?}");
        }
    }

    #[test]
    fn errors_of_other_kinds_are_differences() {
        use DifferenceKind::{DifferentError, NewError, Values, VanishedError};
        for (kind, expected, observed, is) in [
            (
                NewError,
                "no error",
                "42704: large object 16400 does not exist",
                true,
            ),
            (
                NewError,
                "no error",
                "42883: function lo_creat(integer) does not exist",
                false,
            ),
            (VanishedError, "42704: no", "no error", true),
            (VanishedError, "42501: no", "no error", false),
            (DifferentError, "42704: no", "42501: no", false),
            (Values, "16400", "16401", true),
        ] {
            let difference = Difference {
                kind,
                place: String::new(),
                expected: expected.to_owned(),
                observed: observed.to_owned(),
            };
            assert_eq!(is_of_number(&difference), is, "{difference:?}");
        }
    }
}
