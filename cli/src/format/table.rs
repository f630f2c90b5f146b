//! Dataframe files, by the readers and writers of arrow-rs.

use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, FieldRef, Schema, SchemaRef};
use base64::Engine;
use numpush::Frame;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::FileMetaData;
use parquet::file::reader::ChunkReader;

use crate::failure::Failure;
use crate::format::input::Input;
use crate::format::kind::Format;

/// How a csv file is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CsvOptions {
    /// Between two values.
    pub(crate) separator: u8,
    /// The first line has the names of the columns.
    pub(crate) header: bool,
    /// Every column is read as text.
    pub(crate) text: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            separator: b',',
            header: true,
            text: false,
        }
    }
}

/// The rows of a file in one batch. The readers return batches; putting them together copies each column once.
pub(super) fn read(
    path: &Path,
    format: Format,
    input: Input,
    options: CsvOptions,
) -> Result<RecordBatch, Failure> {
    let file = input.into_file(path)?;
    let batch = match format {
        Format::Parquet => parquet(file),
        Format::Arrow => arrow(file),
        _ => csv(file, options),
    };
    batch.map_err(Failure::file(path, "cannot read its rows"))
}

/// Reads the schema, and checks that its types can be sent.
pub(super) fn check(path: &Path, format: Format, input: Input) -> Result<(), Failure> {
    let file = input.into_file(path)?;
    let schema = match format {
        Format::Parquet => ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map(|metadata| Arc::clone(metadata.schema()))
            .map_err(ArrowError::from),
        _ => arrow_ipc::reader::FileReader::try_new(file, None).map(|reader| reader.schema()),
    };
    let schema = schema.map_err(Failure::file(path, "cannot read its rows"))?;
    Frame::from_batch(&RecordBatch::new_empty(schema))
        .map(drop)
        .map_err(Failure::file(path, "cannot be sent"))
}

fn parquet<T: ChunkReader + 'static>(from: T) -> Result<RecordBatch, ArrowError> {
    let metadata = ArrowReaderMetadata::load(&from, ArrowReaderOptions::new())?;
    let schema = Arc::new(with_zones(
        metadata.schema(),
        metadata.metadata().file_metadata(),
    ));
    let options = ArrowReaderOptions::new().with_schema(Arc::clone(&schema));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
    // One batch of all rows: the reader then fills each column in place.
    let rows = usize::try_from(metadata.metadata().file_metadata().num_rows())
        .unwrap_or(1 << 20)
        .max(1);
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(from, metadata);
    together(
        schema,
        builder
            .with_batch_size(rows)
            .build()?
            .collect::<Result<_, _>>()?,
    )
}

/// The schema with the time zones that its writer had.
///
/// Parquet itself knows only UTC. The zone stands in the writer's Arrow schema, which the reader follows only where
/// the resolution was kept; a writer that had seconds stored milliseconds.
fn with_zones(schema: &Schema, file: &FileMetaData) -> Schema {
    let Some(written) = written_schema(file) else {
        return schema.clone();
    };
    let zone = |field: &FieldRef| {
        let there = written
            .field_with_name(field.name())
            .ok()?
            .data_type()
            .clone();
        match (field.data_type(), there) {
            (DataType::Timestamp(unit, Some(_)), DataType::Timestamp(_, zone @ Some(_))) => Some(
                field
                    .as_ref()
                    .clone()
                    .with_data_type(DataType::Timestamp(*unit, zone)),
            ),
            _ => None,
        }
    };
    let fields = schema
        .fields()
        .iter()
        .map(|field| zone(field).map_or_else(|| Arc::clone(field), Arc::new));
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

fn written_schema(file: &FileMetaData) -> Option<Schema> {
    let entries = file.key_value_metadata()?;
    let encoded = entries
        .iter()
        .find(|entry| entry.key == "ARROW:schema")?
        .value
        .as_ref()?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()?;
    arrow_ipc::convert::try_schema_from_ipc_buffer(&bytes).ok()
}

fn arrow(from: impl Read + Seek) -> Result<RecordBatch, ArrowError> {
    let reader = arrow_ipc::reader::FileReader::try_new(from, None)?;
    let schema = reader.schema();
    together(schema, reader.collect::<Result<_, _>>()?)
}

fn csv(mut from: impl Read + Seek, options: CsvOptions) -> Result<RecordBatch, ArrowError> {
    let format = arrow_csv::reader::Format::default()
        .with_header(options.header)
        .with_delimiter(options.separator);
    let (mut schema, _) = format.infer_schema(&mut from, None)?;
    from.rewind()?;
    if options.text {
        let text = |field: &FieldRef| field.as_ref().clone().with_data_type(DataType::Utf8);
        schema = Schema::new(schema.fields().iter().map(text).collect::<Vec<_>>());
    }
    let schema = Arc::new(schema);
    let reader = arrow_csv::ReaderBuilder::new(Arc::clone(&schema))
        .with_format(format)
        .build(from)?;
    together(schema, reader.collect::<Result<_, _>>()?)
}

fn together(schema: SchemaRef, mut batches: Vec<RecordBatch>) -> Result<RecordBatch, ArrowError> {
    let batch = if batches.len() == 1 {
        batches.remove(0)
    } else {
        arrow_select::concat::concat_batches(&schema, &batches)?
    };
    batch.with_schema(schema)
}

pub(super) fn write(
    path: &Path,
    format: Format,
    options: CsvOptions,
    batch: &RecordBatch,
    out: &mut (impl Write + Send),
) -> Result<(), Failure> {
    let result = match format {
        Format::Parquet => write_parquet(batch, out),
        Format::Arrow => write_arrow(batch, out),
        _ => arrow_csv::WriterBuilder::new()
            .with_header(options.header)
            .with_delimiter(options.separator)
            .build(out)
            .write(batch),
    };
    result.map_err(Failure::file(path, "cannot write its rows"))
}

fn write_parquet(batch: &RecordBatch, out: &mut (impl Write + Send)) -> Result<(), ArrowError> {
    let mut writer = ArrowWriter::try_new(out, batch.schema(), None)?;
    writer.write(batch)?;
    writer.close()?;
    Ok(())
}

fn write_arrow(batch: &RecordBatch, out: &mut impl Write) -> Result<(), ArrowError> {
    let mut writer = arrow_ipc::writer::FileWriter::try_new(out, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()
}
