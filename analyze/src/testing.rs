//! A protocol for tests: an answer's body is text, a row a line, a cell a tab; `columns` has the
//! names with commas.

pub(crate) mod sample;

use std::sync::Arc;

use protocol::{
    Answer, Decoder, Difference, DifferenceKind, Driver, Limits, Login, Opening, Probe, Protocol,
    Shown, Terms,
};
use recording::{
    Exchange, Kind, Pacing, Request, Response, SessionInfo, Statement, Status, Timestamp,
};

const SECOND: i64 = 1_000_000_000;
/// 2026-03-02T08:00:00Z.
const START: i64 = 1_772_438_400 * SECOND;

/// A statement that has a user's name in it, another one for each below 400.
pub(crate) fn user_page(n: u32) -> String {
    let letter = |at: u32| char::from(b'g' + (at % 20) as u8);
    format!("GET /users/{}{}", letter(n / 20), letter(n))
}

#[derive(Debug)]
pub(crate) struct Fake;

pub(crate) fn protocols(name: &str) -> Option<&'static dyn Protocol> {
    match name {
        "fake" => Some(&Fake),
        name => protocol::by_name(name),
    }
}

fn cells(row: &Exchange) -> Vec<Vec<String>> {
    let body = row
        .response
        .as_ref()
        .map(|response| response.body.as_slice());
    String::from_utf8_lossy(body.unwrap_or_default())
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn columns(row: &Exchange) -> Vec<String> {
    let columns = row.response.as_ref().and_then(|r| r.columns.clone());
    columns
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn code(row: &Exchange) -> Option<Arc<str>> {
    row.response.as_ref().and_then(|r| r.error_code.clone())
}

impl Protocol for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn default_port(&self) -> u16 {
        1
    }

    fn url_schemes(&self) -> &'static [&'static str] {
        &["fake"]
    }

    fn probe(&self, _: &[u8]) -> Probe {
        Probe::No
    }

    fn decoder(&self, _: Opening, _: Limits) -> Box<dyn Decoder> {
        unreachable!("analysis decodes and drives nothing")
    }

    fn driver(&self, _: Login, _: Limits) -> Box<dyn Driver> {
        unreachable!("analysis decodes and drives nothing")
    }

    fn password_from_file(&self, _: &str, _: &str, _: u16, _: &Login) -> Option<String> {
        None
    }

    fn password_sources(&self) -> Option<(&'static str, &'static str, &'static str)> {
        None
    }

    fn is_called_off(&self, error_code: &str) -> bool {
        error_code == "called off"
    }

    fn compare(&self, expected: &Exchange, observed: &Exchange, _: &Terms) -> Vec<Difference> {
        let difference = |kind, place: String, expected: &str, observed: &str| Difference {
            kind,
            place,
            expected: expected.to_owned(),
            observed: observed.to_owned(),
        };
        let none = String::new;
        match (code(expected), code(observed)) {
            (None, Some(code)) => {
                return vec![difference(DifferenceKind::NewError, none(), "ok", &code)];
            }
            (Some(code), None) => {
                return vec![difference(
                    DifferenceKind::VanishedError,
                    none(),
                    &code,
                    "ok",
                )];
            }
            (Some(a), Some(b)) if a != b => {
                return vec![difference(DifferenceKind::DifferentError, none(), &a, &b)];
            }
            _ => {}
        }
        let over_cap = |row: &Exchange| {
            let response = row.response.as_ref();
            response.is_some_and(|response| response.body.starts_with(b"over the cap"))
        };
        let body = |row: &Exchange| row.response.as_ref().map(|response| response.body.clone());
        if over_cap(expected) && body(expected) != body(observed) {
            let place = Difference::OVER_CAP.to_owned();
            return vec![difference(DifferenceKind::Values, place, "a", "b")];
        }
        let (old, new) = (cells(expected), cells(observed));
        if old.len() != new.len() {
            let (old, new) = (old.len().to_string(), new.len().to_string());
            return vec![difference(DifferenceKind::RowCount, none(), &old, &new)];
        }
        let names = columns(expected);
        let mut out = Vec::new();
        for (row, (old, new)) in old.iter().zip(&new).enumerate() {
            for (column, (old, new)) in old.iter().zip(new).enumerate() {
                if old != new {
                    let name = names.get(column).map_or("?", String::as_str);
                    let place = format!("row {}, column {name}", row + 1);
                    out.push(difference(DifferenceKind::Values, place, old, new));
                }
            }
        }
        out
    }

    fn own_numbers(&self, row: &Exchange, differences: &[Difference]) -> Option<&'static str> {
        let asks = row.request.bytes.ends_with(b"by oid");
        let of_number = |it: &Difference| match it.kind {
            DifferenceKind::NewError => it.observed.contains("42704"),
            kind => matches!(kind, DifferenceKind::RowCount | DifferenceKind::Values),
        };
        (asks && differences.iter().all(of_number))
            .then_some("asks by numbers of the recorded server")
    }

    fn show_request(&self, row: &Exchange) -> Shown {
        Shown {
            statement: Some(String::from_utf8_lossy(&row.request.bytes).into_owned()),
            parameters: vec!["7".to_owned()],
        }
    }

    fn show_response(&self, row: &Exchange, max_rows: usize) -> Answer {
        let mut rows = cells(row);
        let more_rows = rows.len().saturating_sub(max_rows) as u64;
        rows.truncate(max_rows);
        Answer {
            columns: columns(row),
            rows,
            more_rows,
            messages: vec![code(row).map_or("OK".to_owned(), |code| format!("ERROR {code}"))],
            cut: false,
        }
    }
}

pub(crate) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(17, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn row(session: u64, seq: u32, kind: Kind) -> Exchange {
    Exchange {
        session,
        seq,
        ..Exchange::new(
            kind,
            Timestamp(START + i64::from(seq) * SECOND / 10 + session as i64),
        )
    }
}

pub(crate) fn open(session: u64) -> Exchange {
    Exchange {
        info: Some(Box::new(SessionInfo {
            protocol: "fake".into(),
            client: "10.0.0.7:40000".parse().expect("an address"),
            server: "10.0.0.1:5432".parse().expect("an address"),
            user: Some("app".into()),
            database: Some("shop".into()),
            application: Some("checkout".into()),
            backend: Some(session),
        })),
        response: Some(Response::default()),
        ..row(session, 0, Kind::Open)
    }
}

pub(crate) fn close(session: u64, seq: u32) -> Exchange {
    Exchange {
        reason: Some("fin".into()),
        ..row(session, seq, Kind::Close)
    }
}

/// Answered after a millisecond with one row of `id` and `total`.
pub(crate) fn request(session: u64, seq: u32, text: &str) -> Exchange {
    let mut request = row(session, seq, Kind::Request);
    request.request = Request {
        command: "query".into(),
        bytes: text.as_bytes().to_vec(),
        wire_len: text.len() as u64,
        statement: Some(Statement {
            text: text.into(),
            fingerprint: fingerprint(text),
        }),
        statements: 1,
        ..Request::default()
    };
    request.response = Some(Response {
        rows: 1,
        columns: Some("id,total".into()),
        wire_len: 100,
        ..Response::default()
    });
    request.answered("1\t10.00").after_us(1_000)
}

pub(crate) trait Change: Sized {
    fn answered(self, body: &str) -> Self;
    fn after_us(self, micros: i64) -> Self;
    fn failed(self, code: &str) -> Self;
    fn lost(self, status: Status, reason: &str) -> Self;
    /// As a row of a run that sent it so much too late.
    fn replayed_us(self, late: i64) -> Self;
}

impl Change for Exchange {
    fn answered(mut self, body: &str) -> Exchange {
        if let Some(response) = &mut self.response {
            response.body = body.as_bytes().to_vec();
        }
        self
    }

    fn after_us(mut self, micros: i64) -> Exchange {
        let sent_at = self.pacing.map_or(self.started_at, |pacing| pacing.sent_at);
        if let Some(response) = &mut self.response {
            response.first_byte_at = Timestamp(sent_at.0 + micros * 900);
            response.last_byte_at = Timestamp(sent_at.0 + micros * 1_000);
        }
        self
    }

    fn failed(mut self, code: &str) -> Exchange {
        self.status = Status::Error;
        if let Some(response) = &mut self.response {
            response.error_code = Some(code.into());
            response.body.clear();
        }
        self
    }

    fn lost(mut self, status: Status, reason: &str) -> Exchange {
        self.status = status;
        self.reason = Some(reason.into());
        self.response = None;
        self
    }

    fn replayed_us(mut self, late: i64) -> Exchange {
        self.pacing = Some(Pacing {
            intended_at: self.started_at,
            ready_at: self.started_at,
            sent_at: Timestamp(self.started_at.0 + late * 1_000),
        });
        if let Some(response) = &mut self.response {
            response.first_byte_at.0 += late * 1_000;
            response.last_byte_at.0 += late * 1_000;
        }
        self
    }
}
