use std::net::SocketAddr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, PrimitiveArray, RecordBatch,
    StringArray,
};

use super::schema::{SCHEMA, absent};
use crate::{
    Exchange, Kind, Notes, Pacing, Request, Response, SessionInfo, Statement, Status, Timestamp,
    Transaction,
};

pub type Order = (Timestamp, u64, u32);

/// How many bytes of a response's body are wanted.
pub type Measure = fn(&[u8]) -> usize;

/// What is wanted of the responses.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    All,
    /// Neither columns nor digests, and of the bodies nothing or what is measured.
    ToAsk(Option<Measure>),
}

impl Wanted {
    pub fn has(self, column: &str) -> bool {
        match self {
            Wanted::All => true,
            Wanted::ToAsk(measure) => match column {
                "columns" | "rows_digest" | "rows_digest_unordered" => false,
                "response" => measure.is_some(),
                _ => true,
            },
        }
    }
}

/// A batch's columns, ready to be read row by row. Columns of a later version are passed over;
/// a nullable column that is not there reads as null.
#[derive(Debug)]
pub struct Decoder {
    rows: usize,
    session: PrimitiveArray<UInt64Type>,
    seq: PrimitiveArray<UInt32Type>,
    kind: Parsed<Kind>,
    command: Texts,
    started_at: PrimitiveArray<TimestampNanosecondType>,
    request_ns: PrimitiveArray<Int64Type>,
    first_byte_ns: PrimitiveArray<Int64Type>,
    last_byte_ns: PrimitiveArray<Int64Type>,
    statement: Texts,
    fingerprint: PrimitiveArray<UInt64Type>,
    request: BinaryArray,
    request_bytes: PrimitiveArray<UInt64Type>,
    statements: PrimitiveArray<UInt32Type>,
    parameter_types: Texts,
    pipelined: BooleanArray,
    status: Parsed<Status>,
    reason: Texts,
    error_code: Texts,
    response_rows: PrimitiveArray<UInt64Type>,
    affected: PrimitiveArray<UInt64Type>,
    response_bytes: PrimitiveArray<UInt64Type>,
    columns: Texts,
    rows_digest: PrimitiveArray<UInt64Type>,
    rows_digest_unordered: PrimitiveArray<UInt64Type>,
    transaction: Parsed<Transaction>,
    response: BinaryArray,
    notes: Parsed<Notes>,
    protocol: Texts,
    client: Parsed<SocketAddr>,
    server: Parsed<SocketAddr>,
    user: Texts,
    database: Texts,
    application: Texts,
    backend: PrimitiveArray<UInt64Type>,
    intended_at: PrimitiveArray<TimestampNanosecondType>,
    ready_at: PrimitiveArray<TimestampNanosecondType>,
    sent_at: PrimitiveArray<TimestampNanosecondType>,
}

impl Decoder {
    pub fn new(batch: &RecordBatch) -> Result<Decoder, String> {
        let named = |name: &str| column(batch, name);
        Ok(Decoder {
            rows: batch.num_rows(),
            session: primitive(named("session")?)?,
            seq: primitive(named("seq")?)?,
            kind: parsed(named("kind")?, |text| {
                Kind::ALL.into_iter().find(|kind| kind.name() == text)
            })?,
            command: texts(named("command")?)?,
            started_at: primitive(named("started_at")?)?,
            request_ns: primitive(named("request_ns")?)?,
            first_byte_ns: primitive(named("first_byte_ns")?)?,
            last_byte_ns: primitive(named("last_byte_ns")?)?,
            statement: texts(named("statement")?)?,
            fingerprint: primitive(named("fingerprint")?)?,
            request: binary(named("request")?)?,
            request_bytes: primitive(named("request_bytes")?)?,
            statements: primitive(named("statements")?)?,
            parameter_types: texts(named("parameter_types")?)?,
            pipelined: named("pipelined")?
                .as_boolean_opt()
                .ok_or("column pipelined is not boolean")?
                .clone(),
            status: parsed(named("status")?, |text| {
                Status::ALL.into_iter().find(|status| status.name() == text)
            })?,
            reason: texts(named("reason")?)?,
            error_code: texts(named("error_code")?)?,
            response_rows: primitive(named("rows")?)?,
            affected: primitive(named("affected")?)?,
            response_bytes: primitive(named("response_bytes")?)?,
            columns: texts(named("columns")?)?,
            rows_digest: primitive(named("rows_digest")?)?,
            rows_digest_unordered: primitive(named("rows_digest_unordered")?)?,
            transaction: parsed(named("transaction")?, |text| {
                Transaction::ALL
                    .into_iter()
                    .find(|transaction| transaction.name() == text)
            })?,
            response: binary(named("response")?)?,
            notes: parsed(named("notes")?, |text| Some(Notes::parse(text)))?,
            protocol: texts(named("protocol")?)?,
            client: parsed(named("client")?, |text| text.parse().ok())?,
            server: parsed(named("server")?, |text| text.parse().ok())?,
            user: texts(named("user")?)?,
            database: texts(named("database")?)?,
            application: texts(named("application")?)?,
            backend: primitive(named("backend")?)?,
            intended_at: primitive(named("intended_at")?)?,
            ready_at: primitive(named("ready_at")?)?,
            sent_at: primitive(named("sent_at")?)?,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// `None` past the last row.
    pub fn order(&self, row: usize) -> Option<Order> {
        let started_at = Timestamp(*self.started_at.values().get(row)?);
        let session = *self.session.values().get(row)?;
        Some((started_at, session, *self.seq.values().get(row)?))
    }

    /// `None` where a value is not one of this version's, or past the last row.
    pub fn row(&self, row: usize, wanted: Wanted) -> Option<Exchange> {
        let (started_at, session, seq) = self.order(row)?;
        let pacing = self.pacing(row);
        let base = pacing.map_or(started_at, |pacing| pacing.sent_at);
        Some(Exchange {
            session,
            seq,
            kind: self.kind.get(row)?,
            started_at,
            request: self.request(row, base)?,
            status: self.status.get(row)?,
            reason: self.reason.get(row),
            response: self.response(row, base, wanted),
            notes: self.notes.get(row).unwrap_or_default(),
            info: self.info(row),
            pacing,
        })
    }

    fn request(&self, row: usize, base: Timestamp) -> Option<Request> {
        Some(Request {
            command: self.command.get(row)?,
            bytes: value(&self.request, row).unwrap_or_default().to_vec(),
            wire_len: number(&self.request_bytes, row)?,
            last_byte_at: after(base, number(&self.request_ns, row)?),
            statement: self.statement.get(row).map(|text| Statement {
                text,
                fingerprint: number(&self.fingerprint, row).unwrap_or_default(),
            }),
            statements: number(&self.statements, row)?,
            parameter_types: self.parameter_types.get(row),
            pipelined: self.pipelined.value(row),
        })
    }

    fn response(&self, row: usize, base: Timestamp, wanted: Wanted) -> Option<Response> {
        let last_byte_ns = number(&self.last_byte_ns, row)?;
        let first_byte_ns = number(&self.first_byte_ns, row).unwrap_or(last_byte_ns);
        let body = value(&self.response, row).unwrap_or_default();
        let body = match wanted {
            Wanted::All => body,
            Wanted::ToAsk(measure) => {
                let kept = measure.map_or(0, |measure| measure(body));
                body.get(..kept).unwrap_or(body)
            }
        };
        let mut response = Response {
            error_code: self.error_code.get(row),
            rows: number(&self.response_rows, row).unwrap_or_default(),
            affected: number(&self.affected, row).unwrap_or_default(),
            wire_len: number(&self.response_bytes, row).unwrap_or_default(),
            first_byte_at: after(base, first_byte_ns),
            last_byte_at: after(base, last_byte_ns),
            body: body.to_vec(),
            transaction: self.transaction.get(row).unwrap_or_default(),
            ..Response::default()
        };
        if let Wanted::All = wanted {
            let digest = number(&self.rows_digest, row).unwrap_or_default();
            let unordered = number(&self.rows_digest_unordered, row);
            response.columns = self.columns.get(row);
            response.rows_digest = digest;
            response.rows_digest_unordered = unordered.unwrap_or(digest);
        }
        Some(response)
    }

    fn info(&self, row: usize) -> Option<Box<SessionInfo>> {
        Some(Box::new(SessionInfo {
            protocol: self.protocol.get(row)?,
            client: self.client.get(row)?,
            server: self.server.get(row)?,
            user: self.user.get(row),
            database: self.database.get(row),
            application: self.application.get(row),
            backend: number(&self.backend, row),
        }))
    }

    fn pacing(&self, row: usize) -> Option<Pacing> {
        let sent_at = number(&self.sent_at, row)?;
        Some(Pacing {
            intended_at: Timestamp(number(&self.intended_at, row)?),
            ready_at: Timestamp(number(&self.ready_at, row)?),
            sent_at: Timestamp(sent_at),
        })
    }
}

fn after(base: Timestamp, nanos: i64) -> Timestamp {
    Timestamp(base.0.wrapping_add(nanos))
}

fn number<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}

fn value(column: &BinaryArray, row: usize) -> Option<&[u8]> {
    column.is_valid(row).then(|| column.value(row))
}

pub fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef, String> {
    if let Some(column) = batch.column_by_name(name) {
        return Ok(Arc::clone(column));
    }
    match SCHEMA.field_with_name(name) {
        Ok(field) if field.is_nullable() => Ok(absent(field.data_type(), batch.num_rows())),
        _ => Err(format!("column {name} is missing")),
    }
}

fn primitive<T: ArrowPrimitiveType>(column: ArrayRef) -> Result<PrimitiveArray<T>, String> {
    column.as_primitive_opt::<T>().cloned().ok_or_else(|| {
        format!(
            "a column is {} and not {}",
            column.data_type(),
            T::DATA_TYPE
        )
    })
}

fn binary(column: ArrayRef) -> Result<BinaryArray, String> {
    column
        .as_binary_opt()
        .cloned()
        .ok_or_else(|| format!("a column is {} and not binary", column.data_type()))
}

fn words(column: &ArrayRef) -> Result<(Int32Array, StringArray), String> {
    let wrong = || format!("a column is {} and not text", column.data_type());
    let dictionary = column.as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?;
    let values = dictionary.values().as_string_opt().ok_or_else(wrong)?;
    Ok((dictionary.keys().clone(), values.clone()))
}

/// Each text of the dictionary is allocated once.
#[derive(Debug)]
struct Texts {
    keys: Int32Array,
    values: Vec<Option<Arc<str>>>,
}

fn texts(column: ArrayRef) -> Result<Texts, String> {
    let (keys, values) = words(&column)?;
    let values = values.iter().map(|text| text.map(Arc::from)).collect();
    Ok(Texts { keys, values })
}

impl Texts {
    fn get(&self, row: usize) -> Option<Arc<str>> {
        let key = usize::try_from(number(&self.keys, row)?).ok()?;
        self.values.get(key)?.clone()
    }
}

/// Each text of the dictionary is parsed once.
#[derive(Debug)]
struct Parsed<T> {
    keys: Int32Array,
    values: Vec<Option<T>>,
}

fn parsed<T>(column: ArrayRef, parse: impl Fn(&str) -> Option<T>) -> Result<Parsed<T>, String> {
    let (keys, values) = words(&column)?;
    let values = values.iter().map(|text| parse(text?)).collect();
    Ok(Parsed { keys, values })
}

impl<T: Copy> Parsed<T> {
    fn get(&self, row: usize) -> Option<T> {
        let key = usize::try_from(number(&self.keys, row)?).ok()?;
        *self.values.get(key)?
    }
}
