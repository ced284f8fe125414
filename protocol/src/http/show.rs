//! Requests and responses for people.

use recording::Exchange;

use super::head::{Head, HeadBuffer, RequestHead, readable};
use super::message::Message;
use crate::{Answer, Shown};

/// Bytes of a body that are shown with a request.
const MAX_BODY: usize = 4096;

pub fn request(exchange: &Exchange) -> Shown {
    let bytes = &exchange.request.bytes;
    let mut buffer = HeadBuffer::default();
    let Ok((used, true)) = buffer.fill(bytes) else {
        return Shown::default();
    };
    let Ok(head) = RequestHead::parse(buffer.bytes()) else {
        return Shown::default();
    };
    let target = readable(head.target());
    let mut parameters: Vec<String> = head
        .head
        .fields()
        .map(|(name, value)| format!("{}: {}", readable(name), readable(value)))
        .collect();
    let body = bytes.get(used..).unwrap_or_default();
    match body.len() {
        0 => {}
        len if len > MAX_BODY || std::str::from_utf8(body).is_err() => {
            parameters.push(format!("{len} bytes"));
        }
        _ => parameters.push(String::from_utf8_lossy(body).into_owned()),
    }
    Shown {
        statement: Some(format!("{} {target}", head.method())),
        parameters,
    }
}

/// The rows are the lines of the body.
pub fn response(exchange: &Exchange, max_rows: usize) -> Answer {
    let mut answer = Answer::default();
    let Some(response) = &exchange.response else {
        return answer;
    };
    let Some(message) = Message::of(exchange) else {
        answer
            .messages
            .extend(response.columns.as_deref().map(str::to_owned));
        answer.cut = true;
        return answer;
    };
    let interims = message.interims.iter();
    answer.messages.extend(interims.map(u16::to_string));
    answer.messages.push(message.head.status.to_string());
    let trailers = message.trailers.iter().flat_map(Head::fields);
    for (name, value) in message.head.head.fields().chain(trailers) {
        let (name, value) = (readable(name), readable(value));
        answer.messages.push(format!("{name}: {value}"));
    }
    answer.cut = message.cut;
    // A cap may stand within a character.
    let text = match std::str::from_utf8(&message.content) {
        Ok(text) => Some(text),
        Err(error) if message.cut && error.error_len().is_none() => message
            .content
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok()),
        Err(_) => None,
    };
    match text.filter(|_| !message.encoded) {
        Some(text) => {
            if !text.is_empty() {
                answer.columns.push("body".to_owned());
            }
            let mut lines = text.lines();
            let shown = lines.by_ref().take(max_rows);
            answer.rows.extend(shown.map(|line| vec![line.to_owned()]));
            answer.more_rows = lines.count() as u64;
        }
        None => answer
            .messages
            .push(format!("{} bytes", message.content.len())),
    }
    answer
}

#[cfg(test)]
mod tests {
    use recording::{Kind, Request, Response, Timestamp};

    use super::*;

    fn exchange(request: &str, response: &[u8], wire_len: u64) -> Exchange {
        Exchange {
            seq: 1,
            request: Request {
                bytes: request.as_bytes().to_vec(),
                ..Request::default()
            },
            response: Some(Response {
                body: response.to_vec(),
                wire_len,
                columns: Some("200 text/plain".into()),
                ..Response::default()
            }),
            ..Exchange::new(Kind::Request, Timestamp(0))
        }
    }

    #[test]
    fn an_exchange_is_shown() {
        let text = "PUT /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        let body = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\none\ntwo\nthree\n";
        let exchange = exchange(text, body, body.len() as u64);
        let shown = request(&exchange);
        assert_eq!(shown.statement.as_deref(), Some("PUT /a?b"));
        assert_eq!(shown.parameters, ["Host: x", "Content-Length: 3", "abc"]);
        let answer = response(&exchange, 2);
        assert_eq!(answer.messages, ["200", "A: b"]);
        assert_eq!(answer.rows, [["one"], ["two"]]);
        assert_eq!((answer.more_rows, answer.cut), (1, false));
    }

    #[test]
    fn what_is_not_text_or_not_there_is_said() {
        let image = b"HTTP/1.1 200 OK\r\n\r\n\xff\xd8";
        let whole = exchange("", image, image.len() as u64);
        assert_eq!(response(&whole, 9).messages, ["200", "2 bytes"]);
        let cut = exchange("", b"HTTP/1.1 200", 99);
        assert_eq!(response(&cut, 9).messages, ["200 text/plain"]);
        assert!(response(&cut, 9).cut);
        let euro = exchange("", b"HTTP/1.1 200 OK\r\n\r\na\xe2\x82", 99);
        assert_eq!(response(&euro, 9).rows, [["a"]]);
        assert_eq!(request(&cut), Shown::default());
        let mut latin = exchange("", b"", 0);
        latin.request.bytes = b"GET /caf\xe9 HTTP/1.1\r\nA: \xe4\r\n\r\n".to_vec();
        assert_eq!(request(&latin).statement.as_deref(), Some(r"GET /caf\xe9"));
        assert_eq!(request(&latin).parameters, [r"A: \xe4"]);
    }
}
