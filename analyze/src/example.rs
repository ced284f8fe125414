//! One request that differs, for people.

use std::collections::BTreeSet;

use protocol::{Answer, Difference, DifferenceKind, Protocol};
use recording::{Exchange, Status};
use serde::{Deserialize, Serialize};

use crate::differences::Differing;
use crate::table::{cap, reason};

/// Of an example: differences, parameters, rows and columns, and bytes of each text.
const DIFFERENCES: usize = 8;
const PARAMETERS: usize = 32;
const ROWS: usize = 12;
const COLUMNS: usize = 24;
const STATEMENT: usize = 4 << 10;
const CELL: usize = 240;
/// Bytes of a value that differs: of all the letters that protocols tell of it, for the last may be what differs.
const VALUE: usize = 1 << 10;

/// One request that differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Example {
    pub session: u64,
    pub seq: u32,
    pub at: String,
    pub statement: String,
    pub parameters: Vec<String>,
    pub differences: Vec<Cell>,
    /// Further ones in the same answer.
    pub more_differences: u64,
    pub old: ShownAnswer,
    pub new: ShownAnswer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    pub place: String,
    pub expected: String,
    pub observed: String,
}

/// An answer for people, its length capped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownAnswer {
    /// `ok`, `error`, or why there is none.
    pub status: String,
    pub service_ns: Option<u64>,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    pub more_rows: u64,
    pub messages: Vec<String>,
    /// The recorded answer is only a beginning.
    pub cut: bool,
}

/// In general, its length capped.
pub(crate) fn place(difference: &Difference) -> String {
    cap(&difference.general_place(), CELL)
}

pub(crate) fn cell(difference: &Difference) -> Cell {
    Cell {
        place: cap(&difference.place, CELL),
        expected: cap(&difference.expected, VALUE),
        observed: cap(&difference.observed, VALUE),
    }
}

/// What differs in `left` comes first: the rest is noise.
pub(crate) fn example(
    kind: DifferenceKind,
    differing: &Differing<'_>,
    left: &BTreeSet<String>,
) -> Example {
    let old = differing.old;
    let shown = differing
        .protocol
        .map(|protocol| protocol.show_request(old));
    let shown = shown.unwrap_or_default();
    let normalised = old.request.statement.as_ref().map(|s| s.text.to_string());
    let mut parameters: Vec<String> = shown
        .parameters
        .iter()
        .take(PARAMETERS)
        .map(|parameter| cap(parameter, CELL))
        .collect();
    if shown.parameters.len() > PARAMETERS {
        let more = shown.parameters.len() - PARAMETERS;
        parameters.push(format!("and {more} more"));
    }
    let of_kind = differing.fresh.iter().filter(|one| one.kind == kind);
    let noisy = |one: &Difference| {
        let mut noise = differing.noise.iter();
        noise.any(|noise| (noise.kind, &noise.place) == (kind, &one.place))
    };
    let is_left = |one: &&Difference| left.contains(&place(one)) && !noisy(one);
    let (first, rest): (Vec<_>, Vec<_>) = of_kind.partition(is_left);
    let total = first.len() + rest.len();
    let told = first.into_iter().chain(rest);
    Example {
        session: old.session,
        seq: old.seq,
        at: old.started_at.to_string(),
        statement: cap(
            &shown.statement.or(normalised).unwrap_or_default(),
            STATEMENT,
        ),
        parameters,
        differences: told.take(DIFFERENCES).map(cell).collect(),
        more_differences: total.saturating_sub(DIFFERENCES) as u64,
        old: shown_answer(Some(old), differing.protocol),
        new: shown_answer(differing.new, differing.protocol),
    }
}

fn shown_answer(row: Option<&Exchange>, protocol: Option<&dyn Protocol>) -> ShownAnswer {
    let Some(row) = row else {
        return ShownAnswer {
            status: "not in the run".to_owned(),
            ..ShownAnswer::default()
        };
    };
    let answer = match protocol {
        Some(protocol) if row.response.is_some() => protocol.show_response(row, ROWS),
        _ => Answer::default(),
    };
    let capped = |cells: &[String]| -> Vec<String> {
        let mut capped: Vec<String> = cells.iter().take(COLUMNS).map(|c| cap(c, CELL)).collect();
        if cells.len() > COLUMNS {
            capped.push(format!("and {} more", cells.len() - COLUMNS));
        }
        capped
    };
    ShownAnswer {
        status: status(row),
        service_ns: row.service_ns(),
        columns: capped(&answer.columns),
        rows: answer
            .rows
            .iter()
            .take(ROWS)
            .map(|row| capped(row))
            .collect(),
        more_rows: answer.more_rows + answer.rows.len().saturating_sub(ROWS) as u64,
        messages: capped(&answer.messages),
        cut: answer.cut,
    }
}

/// `ok`, `error 42601`, `unanswered: session lost`.
pub(crate) fn status(row: &Exchange) -> String {
    let code = row.response.as_ref().and_then(|r| r.error_code.as_deref());
    match (row.status, code) {
        (Status::Ok, _) => "ok".to_owned(),
        (Status::Error, Some(code)) => format!("error {code}"),
        (Status::Error, None) => "error".to_owned(),
        (status, _) => format!("{}: {}", status.name(), reason(row)),
    }
}
