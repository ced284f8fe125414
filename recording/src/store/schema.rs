use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::sort::CHUNK_ROWS;

pub const UTC: &str = "UTC";

/// The columns of format 1, as they stand in memory and in the open segment. FORMAT.md has their
/// meaning. Names that a row must have are not nullable.
pub static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let required = |name, data_type| Field::new(name, data_type, false);
    let optional = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        required("session", DataType::UInt64),
        required("seq", DataType::UInt32),
        required("kind", word()),
        required("command", word()),
        required("started_at", time()),
        required("request_ns", DataType::Int64),
        optional("first_byte_ns", DataType::Int64),
        optional("last_byte_ns", DataType::Int64),
        optional("statement", word()),
        optional("fingerprint", DataType::UInt64),
        required("request", DataType::Binary),
        required("request_bytes", DataType::UInt64),
        required("statements", DataType::UInt32),
        optional("parameter_types", word()),
        required("pipelined", DataType::Boolean),
        required("status", word()),
        optional("reason", word()),
        optional("error_code", word()),
        optional("rows", DataType::UInt64),
        optional("affected", DataType::UInt64),
        optional("response_bytes", DataType::UInt64),
        optional("columns", word()),
        optional("rows_digest", DataType::UInt64),
        optional("rows_digest_unordered", DataType::UInt64),
        optional("transaction", word()),
        optional("response", DataType::Binary),
        optional("notes", word()),
        optional("protocol", word()),
        optional("client", word()),
        optional("server", word()),
        optional("user", word()),
        optional("database", word()),
        optional("application", word()),
        optional("backend", DataType::UInt64),
        optional("intended_at", time()),
        optional("ready_at", time()),
        optional("sent_at", time()),
    ]))
});

/// Text that repeats itself.
pub fn word() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

pub fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()))
}

/// Rows up to which columns that hold nothing, or the same all the way, share their memory: a batch has
/// some more than are asked for.
pub const SHARED_ROWS: usize = 2 * CHUNK_ROWS;

/// A column of nulls.
pub fn absent(data_type: &DataType, rows: usize) -> ArrayRef {
    static SHARED: LazyLock<HashMap<DataType, ArrayRef>> = LazyLock::new(|| {
        let types = SCHEMA.fields().iter().map(|field| field.data_type());
        types
            .map(|it| (it.clone(), new_null_array(it, SHARED_ROWS)))
            .collect()
    });
    match SHARED.get(data_type) {
        Some(column) if rows <= column.len() => column.slice(0, rows),
        _ => new_null_array(data_type, rows),
    }
}

/// How each column is encoded on disk, as measured for size and speed. Those that are `absent` hold
/// nothing to compress.
pub fn properties(absent: &[bool]) -> WriterProperties {
    let path = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("rehearsal ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(None)
        .set_write_batch_size(CHUNK_ROWS)
        .set_data_page_size_limit(128 << 10)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true);
    // Numbers that differ from row to row, or hardly ever.
    for name in [
        "seq",
        "started_at",
        "request_ns",
        "first_byte_ns",
        "last_byte_ns",
        "request_bytes",
        "statements",
        "rows",
        "affected",
        "response_bytes",
        "intended_at",
        "ready_at",
        "sent_at",
    ] {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    // Bytes that share a beginning with those of the row before.
    for name in ["request", "response"] {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    // Packed to their last bit: nothing is left to compress.
    for name in ["seq", "first_byte_ns", "last_byte_ns"] {
        properties = properties.set_column_compression(path(name), Compression::UNCOMPRESSED);
    }
    for name in ["started_at", "session", "fingerprint"] {
        properties = properties.set_column_statistics_enabled(path(name), EnabledStatistics::Chunk);
    }
    for (field, _) in SCHEMA.fields().iter().zip(absent).filter(|(_, it)| **it) {
        properties = properties
            .set_column_compression(path(field.name()), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(path(field.name()), false);
    }
    properties.build()
}
