//! A segment's batches as one sequence in order.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, DictionaryArray, Int32Array, RecordBatch};
use arrow_schema::{ArrowError, DataType};
use arrow_select::interleave::interleave;

use super::decode::Decoder;
use super::rows::Step;
use super::schema::{SCHEMA, absent};
use super::words::Dictionary;
use crate::Timestamp;

/// Rows that are gathered at a time.
pub const CHUNK_ROWS: usize = 8_192;
/// Bytes of their requests and responses.
pub const CHUNK_BYTES: u64 = 256 << 10;

/// Batches of [`SCHEMA`], sorted by `(started_at, session, seq)`.
#[derive(Debug)]
pub struct Sorted {
    columns: Vec<Column>,
    order: Vec<Place>,
    taken: usize,
}

impl Sorted {
    pub fn new(batches: &[RecordBatch]) -> Result<Sorted, ArrowError> {
        Ok(Sorted {
            columns: shared_dictionaries(batches)?,
            order: sorted(batches),
            taken: 0,
        })
    }

    /// Which columns of [`SCHEMA`] are null in every row.
    pub fn absent(&self) -> Vec<bool> {
        self.columns.iter().map(Column::is_absent).collect()
    }

    pub fn order(&self) -> &[Place] {
        &self.order
    }

    pub fn step(&mut self) -> Result<Step, String> {
        let rest = self.order.get(self.taken..).unwrap_or_default();
        let Some(rows) = cut(rest, CHUNK_ROWS, CHUNK_BYTES).next() else {
            return Ok(Step::End);
        };
        self.taken += rows.len();
        let batch = self.gather(rows).map_err(|error| error.to_string())?;
        Ok(Step::Batch(Box::new(Decoder::new(&batch)?)))
    }

    pub fn gather(&self, rows: &[Place]) -> Result<RecordBatch, ArrowError> {
        // Few batches, and next to each other: a null in any other one would cost each row a look.
        let batches = rows.iter().map(|place| place.batch as usize);
        let first = batches.clone().min().unwrap_or(0);
        let end = batches.max().map_or(0, |last| last + 1);
        let indices: Vec<(usize, usize)> = rows
            .iter()
            .map(|place| (place.batch as usize - first, place.row as usize))
            .collect();
        let gathered = self
            .columns
            .iter()
            .zip(SCHEMA.fields())
            .map(|(column, field)| {
                let parts = column.parts.get(first..end).unwrap_or_default();
                if parts.iter().all(Part::is_absent) {
                    return Ok(absent(field.data_type(), rows.len()));
                }
                let array = match steady(parts, rows.len()) {
                    Some(array) => array,
                    None => {
                        let parts: Vec<&dyn Array> = parts.iter().map(|it| &*it.array).collect();
                        interleave(&parts, &indices)?
                    }
                };
                let Some(dictionary) = &column.dictionary else {
                    return Ok(array);
                };
                let keys = array.as_primitive::<Int32Type>();
                let array = DictionaryArray::try_new(keys.clone(), Arc::clone(dictionary))?;
                Ok(Arc::new(array) as ArrayRef)
            });
        let gathered = gathered.collect::<Result<_, ArrowError>>()?;
        RecordBatch::try_new(Arc::clone(&SCHEMA), gathered)
    }
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub started_at: Timestamp,
    batch: u32,
    row: u32,
    /// Of its request and its response.
    bytes: u32,
}

/// Runs of at most so many rows, and of so many bytes or a single row.
pub fn cut(rows: &[Place], most_rows: usize, most_bytes: u64) -> impl Iterator<Item = &[Place]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(most_rows).take_while(|place| {
            bytes += u64::from(place.bytes);
            bytes <= most_bytes
        });
        let fitting = fitting.count().max(1);
        let (run, after) = rest.split_at_checked(fitting)?;
        rest = after;
        Some(run)
    })
}

fn sorted(batches: &[RecordBatch]) -> Vec<Place> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut order = Vec::with_capacity(rows);
    let mut keys = Vec::with_capacity(batches.len());
    for (batch, columns) in (0..).zip(batches) {
        let started_at = columns["started_at"].as_primitive::<TimestampNanosecondType>();
        let [requests, responses] = ["request", "response"].map(|it| columns[it].as_binary());
        let bodies = lengths(requests).zip(lengths(responses));
        let places = (0..).zip(started_at.values()).zip(bodies);
        order.extend(
            places.map(|((row, &started_at), (request, response))| Place {
                started_at: Timestamp(started_at),
                batch,
                row,
                bytes: request + response,
            }),
        );
        let session = columns["session"].as_primitive::<UInt64Type>().values();
        keys.push((
            session,
            columns["seq"].as_primitive::<UInt32Type>().values(),
        ));
    }
    sort_by_time(&mut order);
    let key = |place: &Place| {
        let (session, seq) = keys.get(place.batch as usize)?;
        let row = place.row as usize;
        Some((*session.get(row)?, *seq.get(row)?))
    };
    for same in order.chunk_by_mut(|a, b| a.started_at == b.started_at) {
        if same.len() > 1 {
            same.sort_by_key(key);
        }
    }
    order
}

/// Rows come when they are answered, so that each stands near its place already: it is moved there step
/// by step, until that turns out to be far for many.
fn sort_by_time(order: &mut [Place]) {
    const STEPS: usize = 16;
    let mut steps_left = STEPS * order.len();
    for next in 1..order.len() {
        let (before, rest) = order.split_at(next);
        let Some(place) = rest.first().copied() else {
            return;
        };
        let later = before.iter().rev();
        let later = later.take_while(|it| it.started_at > place.started_at);
        let steps = later.take(steps_left + 1).count();
        if steps > steps_left {
            order.sort_by_key(|place| place.started_at);
            return;
        }
        steps_left -= steps;
        if steps > 0
            && let Some(moved) = order.get_mut(next - steps..=next)
        {
            moved.rotate_right(1);
        }
    }
}

/// 0 where there is none.
fn lengths(column: &BinaryArray) -> impl Iterator<Item = u32> {
    column.offsets().lengths().map(|len| len as u32)
}

/// A column of the segment: one array a batch.
#[derive(Debug)]
struct Column {
    parts: Vec<Part>,
    dictionary: Option<ArrayRef>,
}

impl Column {
    fn is_absent(&self) -> bool {
        self.parts.iter().all(Part::is_absent)
    }
}

#[derive(Debug)]
struct Part {
    /// Keys, where there is a dictionary.
    array: ArrayRef,
    /// The bits of the number that it has in every row.
    same: Option<u64>,
}

impl Part {
    fn new(array: ArrayRef) -> Part {
        let same = same(&array);
        Part { array, same }
    }

    fn is_absent(&self) -> bool {
        self.array.null_count() == self.array.len()
    }
}

/// `None` where there is none, or the column is not of numbers.
fn same(array: &ArrayRef) -> Option<u64> {
    if array.null_count() > 0 {
        return None;
    }
    if let Some(bits) = array.as_boolean_opt() {
        let set = bits.true_count();
        return (set == 0 || set == bits.len()).then_some(u64::from(set > 0));
    }
    let width = array.data_type().primitive_width()?;
    let data = array.to_data();
    let numbers = data.buffers().first()?.get(data.offset() * width..)?;
    let numbers = numbers.get(..data.len() * width)?;
    let after = numbers.get(width..)?;
    if !numbers.starts_with(after) {
        return None;
    }
    let mut number = [0; 8];
    number
        .get_mut(..width)?
        .copy_from_slice(numbers.get(..width)?);
    Some(u64::from_ne_bytes(number))
}

/// So many rows, where all that the parts have are the same.
fn steady(parts: &[Part], rows: usize) -> Option<ArrayRef> {
    let same = parts.first()?.same?;
    if parts.iter().any(|part| part.same != Some(same)) {
        return None;
    }
    let long = parts.iter().find(|part| part.array.len() >= rows)?;
    Some(long.array.slice(0, rows))
}

/// Gives the batches' dictionaries, each its own, one numbering.
fn shared_dictionaries(batches: &[RecordBatch]) -> Result<Vec<Column>, ArrowError> {
    let columns = SCHEMA.fields().iter().enumerate().map(|(index, field)| {
        let parts = batches.iter().map(|batch| Arc::clone(batch.column(index)));
        if !matches!(field.data_type(), DataType::Dictionary(_, _)) {
            return Ok(Column {
                parts: parts.map(Part::new).collect(),
                dictionary: None,
            });
        }
        let mut shared = Dictionary::default();
        let parts = parts.map(|part| {
            let part = part.as_dictionary::<Int32Type>();
            let renumbered: Vec<i32> = part
                .values()
                .as_string::<i32>()
                .iter()
                .map(|text| shared.key(text.unwrap_or_default()))
                .collect();
            let keys = part.keys();
            if (0..).zip(&renumbered).all(|(old, new)| old == *new) {
                return Ok(Part::new(Arc::new(keys.clone())));
            }
            let key = |&old: &i32| {
                let old = usize::try_from(old).ok()?;
                renumbered.get(old).copied()
            };
            let values = keys.values().iter().map(|old| key(old).unwrap_or_default());
            Int32Array::try_new(values.collect(), keys.nulls().cloned())
                .map(|keys| Part::new(Arc::new(keys)))
        });
        Ok(Column {
            parts: parts.collect::<Result<_, ArrowError>>()?,
            dictionary: Some(Arc::new(shared.values())),
        })
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::batch::Batch;
    use crate::store::decode::Wanted;
    use crate::store::testing::plain;
    use crate::store::writer::WriterOptions;

    fn places(times: impl IntoIterator<Item = i64>) -> Vec<Place> {
        let place = |(row, at)| Place {
            started_at: Timestamp(at),
            batch: 0,
            row,
            bytes: 0,
        };
        (0..).zip(times).map(place).collect()
    }

    proptest! {
        #[test]
        fn rows_are_sorted_as_by_the_library(
            steps in prop::collection::vec(-40..50i64, 0..400),
            late in prop::collection::vec((0..400usize, 0..1_000i64), 0..3),
            backwards: bool,
        ) {
            let mut times: Vec<i64> = steps.iter().scan(0, |at, step| {
                *at += step;
                Some(*at)
            }).collect();
            for (at, time) in late {
                if let Some(place) = times.get_mut(at) {
                    *place = -time;
                }
            }
            if backwards {
                times.sort_by_key(|time| -time);
            }
            let mut order = places(times);
            let mut oracle = order.clone();
            oracle.sort_by_key(|place| place.started_at);
            sort_by_time(&mut order);
            prop_assert_eq!(order, oracle);
        }

        #[test]
        fn rows_are_gathered_as_they_came(
            batches in prop::collection::vec((1..12_u32, 0..3_u32, 0..2_u32), 1..6),
            at_a_time in 1..12_usize,
        ) {
            let mut rows = Vec::new();
            let batches = batches.into_iter().map(|(count, number, step)| {
                let mut batch = Batch::new(&WriterOptions::default());
                for at in 0..count {
                    let seq = rows.len() as u32;
                    let number = number + at * step;
                    let mut row = plain(1, seq, seq.into());
                    row.request.statements = number;
                    row.request.pipelined = number == 1;
                    row.request.command = number.to_string().into();
                    batch.push(&row).unwrap();
                    rows.push(row);
                }
                batch.finish().unwrap()
            });
            let batches: Vec<RecordBatch> = batches.collect();
            let sorted = Sorted::new(&batches).unwrap();
            let mut gathered = Vec::new();
            for places in sorted.order().chunks(at_a_time) {
                let some = Decoder::new(&sorted.gather(places).unwrap()).unwrap();
                gathered.extend((0..places.len()).filter_map(|at| some.row(at, Wanted::All)));
            }
            prop_assert_eq!(gathered, rows);
        }
    }
}
