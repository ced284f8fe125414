//! Requests that ask the catalogs for what they know by its OID, as drivers do for types of users and `psql` for
//! what it describes.

use recording::Request;

use super::oids::has_oid;
use crate::postgres::messages::Messages;
use crate::postgres::messages::frontend::Message;
use crate::sql::literals;

/// In which there is what users made, and functions that describe it.
const CATALOGS: [&str; 40] = [
    "col_description",
    "format_type",
    "obj_description",
    "pg_attrdef",
    "pg_attribute",
    "pg_authid",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_database",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_extension",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_viewdef",
    "pg_index",
    "pg_inherits",
    "pg_namespace",
    "pg_operator",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_rel",
    "pg_range",
    "pg_relation_size",
    "pg_rewrite",
    "pg_roles",
    "pg_sequence",
    "pg_statistic_ext",
    "pg_total_relation_size",
    "pg_trigger",
    "pg_type",
];

/// Does the request name a catalog, and a number that may be the recorded server's OID for what a user made?
pub(super) fn asks_by_oid(request: &Request) -> bool {
    let Some(statement) = &request.statement else {
        return false;
    };
    let mut words = statement
        .text
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.any(|word| CATALOGS.binary_search(&word).is_ok())
        && Messages::new(&request.bytes).any(|(_, message)| match Message::parse(message) {
            Ok(Message::Query { text } | Message::Parse { text, .. }) => {
                let text = String::from_utf8_lossy(text);
                literals(&text)
                    .iter()
                    .any(|literal| has_oid(0, literal.as_bytes()))
            }
            Ok(Message::Bind {
                formats,
                parameters,
                ..
            }) => {
                let mut values = parameters.iter().enumerate();
                values.any(|(index, value)| {
                    value.is_some_and(|value| has_oid(formats.of(index), value))
                })
            }
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::driver::test_exchange;
    use crate::postgres::testing::client;
    use crate::sql::normalise;
    use recording::Kind;

    fn asks(text: &str, messages: &[Vec<u8>]) -> bool {
        let mut request = test_exchange(Kind::Request, &messages.concat()).request;
        request.statement = Some(normalise(text));
        asks_by_oid(&request)
    }

    #[test]
    fn catalogs_are_in_order() {
        assert!(CATALOGS.is_sorted());
    }

    #[test]
    fn who_asks_a_catalog_for_an_oid_of_users_is_known() {
        for (text, expected) in [
            (
                "SELECT relname FROM pg_catalog.pg_class c WHERE c.oid = '16385'",
                true,
            ),
            ("select format_type(16385, -1)", true),
            (
                "SELECT typname FROM \"pg_type\" WHERE oid = ANY('{23,20001}')",
                true,
            ),
            // Of the server's own, which are the same everywhere.
            ("SELECT relname FROM pg_class WHERE oid = 1259", false),
            (
                "SELECT relname FROM pg_class WHERE relname = 'orders'",
                false,
            ),
            ("SELECT * FROM orders WHERE oid = 16385", false),
            ("SELECT pg_advisory_lock(16385)", false),
            ("SELECT 'pg_class', 16385", false),
        ] {
            assert_eq!(asks(text, &[client::query(text)]), expected, "{text}");
        }
    }

    #[test]
    fn parameters_are_looked_at_also_of_what_was_prepared_before() {
        let text = "SELECT typname FROM pg_type WHERE oid = $1";
        let [user, system] = [16_385_u32, 23].map(u32::to_be_bytes);
        for (text, format, value, expected) in [
            (text, 0, b"16385".as_slice(), true),
            (text, 1, &user, true),
            (text, 1, &system, false),
            ("SELECT $1", 0, b"16385", false),
        ] {
            let bind = client::bind("", "a", &[format], &[Some(value)], &[]);
            assert_eq!(asks(text, &[bind]), expected, "{text} {value:?}");
        }
    }
}
