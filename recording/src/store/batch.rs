use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Int64Builder, TimestampNanosecondBuilder, UInt32Builder,
    UInt64Builder,
};
use arrow_array::types::{Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType};

use super::decode::{Decoder, Wanted};
use super::error::StoreError;
use super::schema::{SCHEMA, UTC, time};
use super::steady::Steady;
use super::words::Words;
use super::writer::WriterOptions;
use crate::{Exchange, Pacing, Response, SessionInfo, Timestamp};

/// Bytes that one row may have.
const MAX_ROW: usize = 256 << 20;

/// Rows on their way into a recording, column by column. They may come in any order, best in about
/// that of time.
#[derive(Debug)]
pub struct Batch {
    most_rows: usize,
    most_bytes: usize,
    rows: usize,
    bytes: usize,
    latest: Timestamp,
    session: UInt64Builder,
    seq: UInt32Builder,
    kind: Words,
    command: Words,
    started_at: TimestampNanosecondBuilder,
    request_ns: Steady<Int64Type>,
    statement: Words,
    fingerprint: Steady<UInt64Type>,
    request: BinaryBuilder,
    request_bytes: UInt64Builder,
    statements: Steady<UInt32Type>,
    parameter_types: Words,
    pipelined: BooleanBuilder,
    status: Words,
    reason: Words,
    response: ResponseColumns,
    notes: Words,
    info: InfoColumns,
    pacing: PacingColumns,
}

#[derive(Debug, Default)]
struct ResponseColumns {
    first_byte_ns: Int64Builder,
    last_byte_ns: Int64Builder,
    error_code: Words,
    rows: Steady<UInt64Type>,
    affected: Steady<UInt64Type>,
    response_bytes: UInt64Builder,
    columns: Words,
    rows_digest: Steady<UInt64Type>,
    rows_digest_unordered: Steady<UInt64Type>,
    transaction: Words,
    response: BinaryBuilder,
}

/// Filled up with nulls only when there is a value, or at the end: most rows have none.
#[derive(Debug, Default)]
struct InfoColumns {
    protocol: Words,
    client: Words,
    server: Words,
    user: Words,
    database: Words,
    application: Words,
    backend: Steady<UInt64Type>,
}

#[derive(Debug)]
struct PacingColumns {
    intended_at: Steady<TimestampNanosecondType>,
    ready_at: Steady<TimestampNanosecondType>,
    sent_at: Steady<TimestampNanosecondType>,
}

/// What a row takes beside its bytes, about.
const ROW_BYTES: usize = 160;

impl Batch {
    /// For a [`super::Writer`] of these options.
    pub fn new(options: &WriterOptions) -> Batch {
        Batch::with_room(options.flush_rows, options.batch_bytes(), 0, (0, 0))
    }

    /// Room for so many rows, with so many bytes of requests and of responses.
    fn with_room(
        most_rows: usize,
        most_bytes: usize,
        rows: usize,
        (requests, responses): (usize, usize),
    ) -> Batch {
        Batch {
            most_rows,
            most_bytes,
            rows: 0,
            bytes: 0,
            latest: Timestamp(i64::MIN),
            session: UInt64Builder::with_capacity(rows),
            seq: UInt32Builder::with_capacity(rows),
            kind: Words::with_capacity(rows),
            command: Words::with_capacity(rows),
            started_at: TimestampNanosecondBuilder::with_capacity(rows),
            request_ns: Steady::with_capacity(rows),
            statement: Words::with_capacity(rows),
            fingerprint: Steady::with_capacity(rows),
            request: BinaryBuilder::with_capacity(rows, requests),
            request_bytes: UInt64Builder::with_capacity(rows),
            statements: Steady::with_capacity(rows),
            parameter_types: Words::with_capacity(rows),
            pipelined: BooleanBuilder::with_capacity(rows),
            status: Words::with_capacity(rows),
            reason: Words::with_capacity(rows),
            response: ResponseColumns::with_capacity(rows, responses),
            notes: Words::with_capacity(rows),
            info: InfoColumns::default(),
            pacing: PacingColumns::with_capacity(rows),
        }
    }

    /// Takes the rows; one with about as much room is left.
    pub fn take(&mut self) -> Batch {
        let grown = |bytes: usize| (bytes + bytes / 8).min(self.most_bytes);
        let bytes = (
            grown(self.request.values_slice().len()),
            grown(self.response.response.values_slice().len()),
        );
        let rows = (self.rows + self.rows / 8).min(self.most_rows);
        let next = Batch::with_room(self.most_rows, self.most_bytes, rows, bytes);
        std::mem::replace(self, next)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// About what the rows take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Are these as many as should be written at once?
    pub fn is_full(&self) -> bool {
        self.rows >= self.most_rows || self.bytes >= self.most_bytes
    }

    /// The latest `started_at`.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Fails where the row is too large; it is not taken then.
    pub fn push(&mut self, row: &Exchange) -> Result<(), StoreError> {
        let bytes = size(row);
        if bytes > MAX_ROW {
            return Err(StoreError::RowTooLarge {
                session: row.session,
                seq: row.seq,
                bytes,
                limit: MAX_ROW,
            });
        }
        let request = &row.request;
        // The clock that the row's durations count from.
        let base = row.pacing.map_or(row.started_at, |pacing| pacing.sent_at);
        self.session.append_value(row.session);
        self.seq.append_value(row.seq);
        self.kind.push_name(row.kind.name());
        self.command.push(&request.command);
        self.started_at.append_value(row.started_at.0);
        self.request_ns.push(between(base, request.last_byte_at));
        let statement = request.statement.as_ref();
        self.statement
            .push_option(statement.map(|statement| &statement.text));
        self.fingerprint
            .push_option(statement.map(|statement| statement.fingerprint));
        self.request.append_value(&request.bytes);
        self.request_bytes.append_value(request.wire_len);
        self.statements.push(request.statements);
        self.parameter_types
            .push_option(request.parameter_types.as_ref());
        self.pipelined.append_value(request.pipelined);
        self.status.push_name(row.status.name());
        self.reason.push_option(row.reason.as_ref());
        match &row.response {
            Some(response) => self.response.push(response, base),
            None => self.response.push_null(),
        }
        if row.notes.is_empty() {
            self.notes.push_nulls(1);
        } else {
            self.notes.push_str(&row.notes.to_string());
        }
        if let Some(info) = &row.info {
            self.info.fill(self.rows);
            self.info.push(info);
        }
        if let Some(pacing) = &row.pacing {
            self.pacing.fill(self.rows);
            self.pacing.push(pacing);
        }
        self.rows += 1;
        self.bytes += bytes;
        self.latest = self.latest.max(row.started_at);
        Ok(())
    }

    /// The rows as a reader will get them.
    pub fn into_rows(self) -> Result<Vec<Exchange>, ArrowError> {
        let rows = Decoder::new(&self.finish()?).map_err(ArrowError::ParseError)?;
        Ok((0..rows.rows())
            .filter_map(|at| rows.row(at, Wanted::All))
            .collect())
    }

    /// The rows in the columns of [`SCHEMA`].
    pub(super) fn finish(self) -> Result<RecordBatch, ArrowError> {
        let mut this = self;
        this.info.fill(this.rows);
        this.pacing.fill(this.rows);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(this.session.finish()),
            Arc::new(this.seq.finish()),
            this.kind.finish()?,
            this.command.finish()?,
            Arc::new(this.started_at.finish().with_timezone(UTC)),
            this.request_ns.finish(&DataType::Int64),
            Arc::new(this.response.first_byte_ns.finish()),
            Arc::new(this.response.last_byte_ns.finish()),
            this.statement.finish()?,
            this.fingerprint.finish(&DataType::UInt64),
            Arc::new(this.request.finish()),
            Arc::new(this.request_bytes.finish()),
            this.statements.finish(&DataType::UInt32),
            this.parameter_types.finish()?,
            Arc::new(this.pipelined.finish()),
            this.status.finish()?,
            this.reason.finish()?,
            this.response.error_code.finish()?,
            this.response.rows.finish(&DataType::UInt64),
            this.response.affected.finish(&DataType::UInt64),
            Arc::new(this.response.response_bytes.finish()),
            this.response.columns.finish()?,
            this.response.rows_digest.finish(&DataType::UInt64),
            this.response
                .rows_digest_unordered
                .finish(&DataType::UInt64),
            this.response.transaction.finish()?,
            Arc::new(this.response.response.finish()),
            this.notes.finish()?,
            this.info.protocol.finish()?,
            this.info.client.finish()?,
            this.info.server.finish()?,
            this.info.user.finish()?,
            this.info.database.finish()?,
            this.info.application.finish()?,
            this.info.backend.finish(&DataType::UInt64),
            this.pacing.intended_at.finish(&time()),
            this.pacing.ready_at.finish(&time()),
            this.pacing.sent_at.finish(&time()),
        ];
        RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
    }
}

/// About what the row takes in memory.
pub(super) fn size(row: &Exchange) -> usize {
    let body = row
        .response
        .as_ref()
        .map_or(0, |response| response.body.len());
    ROW_BYTES + row.request.bytes.len() + body
}

/// Nanoseconds, negative where the clock stepped back. Wraps, so that any two can be kept.
fn between(from: Timestamp, to: Timestamp) -> i64 {
    to.0.wrapping_sub(from.0)
}

impl ResponseColumns {
    fn with_capacity(rows: usize, bytes: usize) -> ResponseColumns {
        ResponseColumns {
            first_byte_ns: Int64Builder::with_capacity(rows),
            last_byte_ns: Int64Builder::with_capacity(rows),
            error_code: Words::with_capacity(rows),
            rows: Steady::with_capacity(rows),
            affected: Steady::with_capacity(rows),
            response_bytes: UInt64Builder::with_capacity(rows),
            columns: Words::with_capacity(rows),
            rows_digest: Steady::with_capacity(rows),
            rows_digest_unordered: Steady::default(),
            transaction: Words::with_capacity(rows),
            response: BinaryBuilder::with_capacity(rows, bytes),
        }
    }

    fn push(&mut self, response: &Response, base: Timestamp) {
        self.first_byte_ns
            .append_value(between(base, response.first_byte_at));
        self.last_byte_ns
            .append_value(between(base, response.last_byte_at));
        self.error_code.push_option(response.error_code.as_ref());
        self.rows.push(response.rows);
        self.affected.push(response.affected);
        self.response_bytes.append_value(response.wire_len);
        self.columns.push_option(response.columns.as_ref());
        self.rows_digest.push(response.rows_digest);
        let differs = response.rows_digest_unordered != response.rows_digest;
        self.rows_digest_unordered
            .push_option(differs.then_some(response.rows_digest_unordered));
        self.transaction.push_name(response.transaction.name());
        if response.body.is_empty() {
            self.response.append_null();
        } else {
            self.response.append_value(&response.body);
        }
    }

    fn push_null(&mut self) {
        self.first_byte_ns.append_null();
        self.last_byte_ns.append_null();
        self.error_code.push_nulls(1);
        self.rows.push_nulls(1);
        self.affected.push_nulls(1);
        self.response_bytes.append_null();
        self.columns.push_nulls(1);
        self.rows_digest.push_nulls(1);
        self.rows_digest_unordered.push_nulls(1);
        self.transaction.push_nulls(1);
        self.response.append_null();
    }
}

impl InfoColumns {
    fn fill(&mut self, rows: usize) {
        let missing = rows - self.protocol.len();
        for words in [
            &mut self.protocol,
            &mut self.client,
            &mut self.server,
            &mut self.user,
            &mut self.database,
            &mut self.application,
        ] {
            words.push_nulls(missing);
        }
        self.backend.push_nulls(missing);
    }

    fn push(&mut self, info: &SessionInfo) {
        self.protocol.push(&info.protocol);
        self.client.push_str(&info.client.to_string());
        self.server.push_str(&info.server.to_string());
        self.user.push_option(info.user.as_ref());
        self.database.push_option(info.database.as_ref());
        self.application.push_option(info.application.as_ref());
        self.backend.push_option(info.backend);
    }
}

impl PacingColumns {
    fn with_capacity(rows: usize) -> PacingColumns {
        PacingColumns {
            intended_at: Steady::with_capacity(rows),
            ready_at: Steady::with_capacity(rows),
            sent_at: Steady::with_capacity(rows),
        }
    }

    fn fill(&mut self, rows: usize) {
        let missing = rows - self.sent_at.len();
        self.intended_at.push_nulls(missing);
        self.ready_at.push_nulls(missing);
        self.sent_at.push_nulls(missing);
    }

    fn push(&mut self, pacing: &Pacing) {
        self.intended_at.push(pacing.intended_at.0);
        self.ready_at.push(pacing.ready_at.0);
        self.sent_at.push(pacing.sent_at.0);
    }
}
