use std::collections::HashMap;

use recording::{Exchange, Kind, Notes, Statement};

use super::messages::Messages;
use super::messages::frontend::{Message, Target};
use crate::sql;

pub(super) fn mend(row: &mut Exchange, learnt: &mut HashMap<Box<[u8]>, Statement>) {
    if row.kind == Kind::Prepare {
        let first = Messages::new(&row.request.bytes).next();
        if let Some((_, message)) = first
            && let Ok(Message::Parse { name, .. }) = Message::parse(message)
            && let Some(statement) = &row.request.statement
        {
            learnt.insert(name.into(), statement.clone());
        }
    } else if let Some(statement) = executed(&row.request.bytes, learnt) {
        row.request.statement = Some(statement);
        row.notes.remove(Notes::UNKNOWN_STATEMENT);
    }
}

/// What a request executes, where it is all of what was learnt.
fn executed(request: &[u8], learnt: &HashMap<Box<[u8]>, Statement>) -> Option<Statement> {
    let mut bound = None;
    let mut texts: Vec<&Statement> = Vec::new();
    for (_, message) in Messages::new(request) {
        match Message::parse(message).ok()? {
            Message::Bind {
                portal: b"",
                statement,
                ..
            } => bound = Some(learnt.get(statement)?),
            Message::Execute { portal: b"", .. } => {
                let statement = bound?;
                if texts.last() != Some(&statement) {
                    texts.push(statement);
                }
            }
            Message::Describe {
                target: Target::Statement,
                name,
            } => {
                learnt.get(name)?;
            }
            Message::Describe { .. } | Message::Flush | Message::Sync => {}
            _ => return None,
        }
    }
    match texts.as_slice() {
        [] => None,
        [one] => Some((*one).clone()),
        several => {
            let texts: Vec<&str> = several.iter().map(|it| &*it.text).collect();
            Some(sql::normalise(&texts.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::driver::test_exchange;
    use crate::postgres::testing::client;

    fn marked(messages: &[Vec<u8>]) -> Exchange {
        let mut row = test_exchange(Kind::Request, &messages.concat());
        row.notes.add(Notes::UNKNOWN_STATEMENT);
        row
    }

    fn execute(name: &str) -> Vec<u8> {
        let bind = client::bind("", name, &[], &[], &[]);
        [bind, client::execute("", 0)].concat()
    }

    #[test]
    fn what_was_learnt_holds_for_rows_before() {
        let mut learnt = HashMap::new();
        for (name, text) in [("s1", "select $1"), ("s2", "commit")] {
            let bytes = [client::parse(name, text, &[]), client::sync()].concat();
            let mut row = test_exchange(Kind::Prepare, &bytes);
            row.request.statement = Some(sql::normalise(text));
            mend(&mut row, &mut learnt);
        }
        for (messages, expected) in [
            (vec![execute("s1"), client::sync()], Some("select $1")),
            (
                vec![execute("s1"), execute("s1"), execute("s2"), client::sync()],
                Some("select $1; commit"),
            ),
            (vec![execute("s1"), execute("s3"), client::sync()], None),
            (vec![client::execute("", 0), client::sync()], None),
            (
                vec![
                    client::parse("", "select 2", &[]),
                    execute("s1"),
                    client::sync(),
                ],
                None,
            ),
        ] {
            let mut row = marked(&messages);
            mend(&mut row, &mut learnt);
            let text = row.request.statement.as_ref().map(|it| &*it.text);
            assert_eq!(text, expected);
            let is_marked = row.notes.contains(Notes::UNKNOWN_STATEMENT);
            assert_eq!(is_marked, expected.is_none());
        }
    }
}
