//! Which of a request's results are held to the order of their rows: each by its own statement.

use std::collections::HashMap;

use recording::Request;

use crate::postgres::messages::Messages;
use crate::postgres::messages::frontend::Message;
use crate::sql::{normalise, ordered};

/// What is executed, as far as the request says.
#[derive(Clone, Copy, Debug)]
enum Executed<'a> {
    Text(&'a [u8]),
    /// Prepared before, under that name.
    Named(&'a [u8]),
}

/// For each statement that is executed, in their order: does it promise an order?
///
/// The text of one that was prepared before is known by [`Request::statement`] alone, where the same one in
/// succession is there once, and the end of long ones is cut: an `ORDER BY` in it is not seen. Where it
/// can't be told which of its texts is which, all must promise one.
pub(super) fn promises(request: &Request) -> Vec<bool> {
    let known = request.statement.as_ref();
    let known = known.map_or_else(Vec::new, |statement| ordered(&statement.text));
    let mut executed = Vec::new();
    let mut texts: HashMap<&[u8], &[u8]> = HashMap::new();
    let mut portals: HashMap<&[u8], Executed<'_>> = HashMap::new();
    for (_, message) in Messages::new(&request.bytes) {
        match Message::parse(message) {
            Ok(Message::Query { text }) => return ordered(&String::from_utf8_lossy(text)),
            Ok(Message::Parse { name, text, .. }) => {
                texts.insert(name, text);
            }
            Ok(Message::Bind {
                portal, statement, ..
            }) => {
                let text = texts.get(statement);
                let bound = text.map_or(Executed::Named(statement), |text| Executed::Text(text));
                portals.insert(portal, bound);
            }
            Ok(Message::Execute { portal, .. }) => {
                let bound = portals.get(portal).copied();
                executed.push(bound.unwrap_or(Executed::Named(portal)));
            }
            _ => {}
        }
    }
    if executed.is_empty() {
        return known;
    }
    let each_known = executed.chunk_by(Executed::same).count() == known.len();
    let all = !known.is_empty() && known.iter().all(|promised| *promised);
    let mut promises = Vec::with_capacity(executed.len());
    for (index, run) in executed.chunk_by(Executed::same).enumerate() {
        let promised = match run.first() {
            Some(Executed::Text(text)) => ordered(&String::from_utf8_lossy(text)).contains(&true),
            _ if each_known => known.get(index) == Some(&true),
            _ => all,
        };
        promises.resize(promises.len() + run.len(), promised);
    }
    promises
}

impl Executed<'_> {
    /// But for literals.
    fn same(&self, other: &Self) -> bool {
        let normal = |text: &[u8]| normalise(&String::from_utf8_lossy(text)).fingerprint;
        match (self, other) {
            (Executed::Text(a), Executed::Text(b)) => a == b || normal(a) == normal(b),
            (Executed::Named(a), Executed::Named(b)) => a == b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::driver::test_exchange;
    use crate::postgres::testing::client;
    use recording::Kind;

    const BY_A: &str = "select a from t order by a";
    const ANY: &str = "select a from t";

    fn promised(messages: &[Vec<u8>], statement: &str) -> Vec<bool> {
        let mut request = test_exchange(Kind::Request, &messages.concat()).request;
        request.statement = Some(normalise(statement));
        promises(&request)
    }

    fn execute(portal: &str, statement: &str) -> Vec<u8> {
        let bind = client::bind(portal, statement, &[], &[], &[]);
        [bind, client::execute(portal, 0)].concat()
    }

    fn parse(text: &str) -> Vec<u8> {
        [client::parse("", text, &[]), execute("", "")].concat()
    }

    #[test]
    fn statements_of_a_text_are_told_apart() {
        let text = [BY_A, ANY, "select 1/0"].join("; ");
        assert_eq!(
            promised(&[client::query(&text)], &text),
            [true, false, false]
        );
        // However long it is.
        let long = format!("select '{}' order by 1", "x".repeat(100 << 10));
        assert_eq!(promised(&[client::query(&long)], "select ..."), [true]);
        let columns = (0..20_000).map(|n| format!("c{n}")).collect::<Vec<_>>();
        let long = format!("select {} from t order by 1", columns.join(", "));
        assert_eq!(promised(&[client::query(&long)], &long), [true]);
        assert_eq!(promised(&[client::sync()], &text), [true, false, false]);
    }

    #[test]
    fn statements_of_a_pipeline_are_told_apart() {
        let sync = client::sync;
        for (messages, statement, expected) in [
            (vec![parse(BY_A), sync()], BY_A, vec![true]),
            (
                vec![parse(BY_A), parse(ANY), parse(BY_A), sync()],
                "",
                vec![true, false, true],
            ),
            // Prepared before; the same one in succession has its text once.
            (
                vec![
                    execute("", "s1"),
                    execute("", "s2"),
                    execute("", "s2"),
                    sync(),
                ],
                "begin; select a from t order by a",
                vec![false, true, true],
            ),
            (
                vec![parse("begin"), execute("", "s2"), sync()],
                "begin; select a from t order by a",
                vec![false, true],
            ),
            (
                vec![
                    parse("select 1 order by 1"),
                    parse("select 2 order by 1"),
                    execute("", "s1"),
                    sync(),
                ],
                "select ? order by ?; select a from t",
                vec![true, true, false],
            ),
            (
                vec![
                    client::parse("s", BY_A, &[]),
                    client::bind("p", "s", &[], &[], &[]),
                    parse(ANY),
                    client::execute("p", 5),
                    client::execute("p", 5),
                    sync(),
                ],
                "",
                vec![false, true, true],
            ),
            // A text is lacking, or one is there for two names.
            (
                vec![execute("", "s1"), execute("", "s2"), sync()],
                ANY,
                vec![false, false],
            ),
            (
                vec![execute("", "s1"), execute("", "s2"), sync()],
                BY_A,
                vec![true, true],
            ),
        ] {
            assert_eq!(promised(&messages, statement), expected, "{statement}");
        }
    }
}
