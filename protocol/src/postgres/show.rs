//! Requests and responses for people.

use recording::{Exchange, Response};

use super::messages::Messages;
use super::messages::frontend::Message;
use super::results::Results;
use super::values::show;
use crate::{Answer, Shown};

/// Letters of one value.
const MAX_LETTERS: usize = 200;

pub(super) fn show_request(exchange: &Exchange) -> Shown {
    let mut statements: Vec<String> = Vec::new();
    let mut parameters = Vec::new();
    let remembered = exchange.request.parameter_types.as_deref().unwrap_or("");
    let remembered = remembered.split(',').map(|oid| oid.parse().unwrap_or(0));
    let remembered: Vec<u32> = remembered.collect();
    // What the Parse before a Bind says of its parameters.
    let mut said: Vec<u32> = Vec::new();
    for (_, message) in Messages::new(&exchange.request.bytes) {
        match Message::parse(message) {
            Ok(Message::Query { text }) => statements.push(lossy(text)),
            Ok(Message::Parse {
                text,
                parameter_types,
                ..
            }) => {
                statements.push(lossy(text));
                said = parameter_types.iter().collect();
            }
            Ok(Message::Bind {
                formats,
                parameters: values,
                ..
            }) => parameters.extend(values.iter().enumerate().map(|(index, value)| {
                let type_oid = match said.get(index) {
                    Some(oid) if *oid != 0 => *oid,
                    _ => remembered.get(index).copied().unwrap_or(0),
                };
                shorten(show(type_oid, formats.of(index), value))
            })),
            _ => {}
        }
    }
    Shown {
        statement: (!statements.is_empty()).then(|| statements.join(";\n")),
        parameters,
    }
}

pub(super) fn show_response(response: &Response, max_rows: usize) -> Answer {
    let results = Results::of(response);
    let mut answer = Answer {
        cut: results.cut,
        ..Answer::default()
    };
    for set in &results.sets {
        if answer.columns.is_empty() {
            let names = set.columns.iter().map(|column| column.name.to_string());
            answer.columns = names.collect();
        }
        let room = max_rows.saturating_sub(answer.rows.len());
        let rows = set.rows.iter().take(room);
        answer
            .rows
            .extend(rows.map(|row| set.show(*row).into_iter().map(shorten).collect()));
        answer.more_rows += set.rows.len().saturating_sub(room) as u64;
    }
    // What was over the cap is known by its number.
    let shown = answer.rows.len() as u64;
    answer.more_rows = answer.more_rows.max(response.rows.saturating_sub(shown));
    answer.messages = results.messages;
    answer
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_LETTERS) {
        let letters = text.chars().count();
        text.truncate(end);
        text.push_str(&format!("... ({letters} letters)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::driver::test_exchange;
    use crate::postgres::messages::Encode;
    use recording::Kind;

    fn bind(out: &mut Vec<u8>) {
        out.message(b'B', |body| {
            body.extend(b"\0\0");
            // The first is text, the second binary, the third NULL.
            body.extend(b"\0\x03\0\0\0\x01\0\x01");
            body.extend(b"\0\x03\0\0\0\x02hi\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0");
        });
    }

    #[test]
    fn requests_show_statement_and_parameters() {
        let mut bytes = Vec::new();
        bytes.message(b'P', |out| {
            out.extend(b"\0select $1, $2, $3\0\0\x02\0\0\0\0\0\0\0\x17");
        });
        bind(&mut bytes);
        let shown = show_request(&test_exchange(Kind::Request, &bytes));
        assert_eq!(shown.statement.as_deref(), Some("select $1, $2, $3"));
        assert_eq!(shown.parameters, ["hi", "7", "NULL"]);
    }

    #[test]
    fn types_are_remembered_from_the_prepared_statement() {
        let mut bytes = Vec::new();
        bind(&mut bytes);
        let mut exchange = test_exchange(Kind::Request, &bytes);
        let shown = show_request(&exchange);
        assert_eq!(shown.statement, None);
        assert_eq!(shown.parameters, ["hi", "\\x00000007", "NULL"]);
        exchange.request.parameter_types = Some("25,23,23".into());
        assert_eq!(show_request(&exchange).parameters, ["hi", "7", "NULL"]);
    }

    #[test]
    fn responses_show_some_rows() {
        let mut body = Vec::new();
        body.message(b'T', |out| {
            out.extend(b"\0\x01a\0");
            out.extend([0; 6]);
            out.extend(b"\0\0\0\x19\0\x04\0\0\0\0\0\0");
        });
        for row in [&b"\0\x01\0\0\0\x01x"[..], b"\0\x01\xff\xff\xff\xff"] {
            body.message(b'D', |out| out.extend_from_slice(row));
        }
        body.message(b'N', |out| out.extend(b"VWARNING\0C01000\0Mcare\0\0"));
        body.message(b'C', |out| out.string(b"SELECT 2"));
        let response = Response {
            rows: 2,
            wire_len: body.len() as u64,
            body,
            ..Response::default()
        };
        let mut expected = Answer {
            columns: vec!["a".to_owned()],
            rows: vec![vec!["x".to_owned()], vec!["NULL".to_owned()]],
            more_rows: 0,
            messages: vec!["WARNING 01000: care".to_owned(), "SELECT 2".to_owned()],
            cut: false,
        };
        assert_eq!(show_response(&response, 10), expected);
        expected.rows.pop();
        expected.more_rows = 1;
        assert_eq!(show_response(&response, 1), expected);
    }

    #[test]
    fn long_values_are_shortened() {
        let long = shorten("é".repeat(1000));
        assert!(long.ends_with("é... (1000 letters)"));
        assert_eq!(shorten("é".repeat(200)), "é".repeat(200));
    }
}
