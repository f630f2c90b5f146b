use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{BooleanBuffer, Buffer as ArrowBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Metadata, Schema, TimeUnit};
use bytes::Bytes;

use crate::model::column_type::Storage;
use crate::model::{
    ArrowTimeUnit, Buffer, Column, ColumnData, ColumnError, ColumnType, Dictionary, Frame,
    FrameError, Message, NameError,
};

/// Why a record batch is not a frame, or the other way round.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ArrowError {
    /// A column type that is not shipped (yet).
    #[error("column {column:?} has type {data_type}, which is not supported")]
    Unsupported {
        /// Name of the column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// The columns do not make a frame that every reader takes.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Arrow refused the values of a column.
    #[error("arrow refuses column {column:?}")]
    Array {
        /// Name of the column.
        column: String,
        /// Arrow's reason.
        source: arrow_schema::ArrowError,
    },
    /// Arrow refused the columns together.
    #[error("arrow refuses the record batch")]
    Batch(#[from] arrow_schema::ArrowError),
}

impl From<NameError> for ArrowError {
    fn from(error: NameError) -> Self {
        Self::Frame(error.into())
    }
}

impl Frame<'static> {
    /// Takes the columns of a record batch, without copying what is not forced by a slice.
    ///
    /// `Frame::try_from(&batch)` and `Message::try_from(&batch)` do the same.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    /// use numpush_message::Frame;
    ///
    /// let carrier: ArrayRef = Arc::new(StringArray::from(vec!["UA", "DL", "AA"]));
    /// let delay: ArrayRef = Arc::new(Int32Array::from(vec![Some(2), None, Some(-6)]));
    /// let batch = RecordBatch::try_from_iter([("carrier", carrier), ("delay", delay)])?;
    ///
    /// let frame = Frame::from_batch(&batch)?;
    /// assert_eq!((frame.rows(), frame.copied_bytes()), (3, 0));
    /// assert_eq!(frame.column("delay").map(|column| column.data().null_count()), Some(1));
    /// assert_eq!(frame.to_batch()?, batch);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A sliced batch ships only its rows (dictionaries stay whole). Two things cannot be cut in place and are copied:
    /// a bitmap whose slice begins or ends inside a byte, and offsets that do not begin at zero;
    /// [`Frame::copied_bytes`] counts the bytes.
    ///
    /// # Errors
    /// [`ArrowError::Unsupported`] names the column and its type; [`ArrowError::Frame`] if two columns have one name, or a
    /// name is too long.
    pub fn from_batch(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let schema = batch.schema_ref();
        let mut copied_bytes = 0;
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let data = import(&array.to_data(), field, &mut copied_bytes)?;
            let column = Column::new(field.name(), data)?
                .with_nullable(field.is_nullable())
                .with_metadata(sorted(field.metadata()))?;
            columns.push(column);
        }
        let frame = Self::with_rows(batch.num_rows(), columns)?;
        let frame = frame.with_copied_bytes(copied_bytes);
        Ok(frame.with_metadata(sorted(schema.metadata()))?)
    }

    /// The frame as a record batch over the same buffers; nothing is copied.
    ///
    /// Arrow's own checks run once more: its unchecked constructors would need `unsafe`.
    ///
    /// # Errors
    /// [`ArrowError`] if Arrow refuses a buffer (for example one that is not aligned).
    pub fn to_batch(&self) -> Result<RecordBatch, ArrowError> {
        let mut fields = Vec::with_capacity(self.columns().len());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns().len());
        for column in self.columns() {
            let data = export(column.data()).map_err(|source| ArrowError::Array {
                column: column.name().to_owned(),
                source,
            })?;
            let dictionary = column.data().dictionary();
            let nullable = column.is_nullable();
            let field = Field::new(column.name(), data.data_type().clone(), nullable)
                .with_dict_is_ordered(dictionary.is_some_and(Dictionary::is_ordered))
                .with_metadata(column.metadata().clone());
            fields.push(field);
            arrays.push(make_array(data));
        }
        let schema = Schema::new_with_metadata(fields, self.metadata().clone());
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::new(schema),
            arrays,
            &options,
        )?)
    }
}

impl TryFrom<&RecordBatch> for Frame<'static> {
    type Error = ArrowError;

    fn try_from(batch: &RecordBatch) -> Result<Self, ArrowError> {
        Self::from_batch(batch)
    }
}

impl TryFrom<&RecordBatch> for Message<'static> {
    type Error = ArrowError;

    fn try_from(batch: &RecordBatch) -> Result<Self, ArrowError> {
        Frame::from_batch(batch).map(Self::from)
    }
}

impl TryFrom<&Frame<'static>> for RecordBatch {
    type Error = ArrowError;

    fn try_from(frame: &Frame<'static>) -> Result<Self, ArrowError> {
        frame.to_batch()
    }
}

fn sorted(metadata: &Metadata) -> BTreeMap<String, String> {
    metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn import(
    array: &ArrayData,
    field: &Field,
    copied_bytes: &mut u64,
) -> Result<ColumnData<'static>, ArrowError> {
    let (codes, dictionary) = match array.data_type() {
        DataType::Dictionary(codes, _) => {
            let values = import(&array.child_data()[0], field, copied_bytes)?;
            let ordered = field.dict_is_ordered().unwrap_or(false);
            (
                &**codes,
                Some(Dictionary::new(values).with_ordered(ordered)),
            )
        }
        plain => (plain, None),
    };
    let column_type = column_type_of(codes).ok_or_else(|| ArrowError::Unsupported {
        column: field.name().clone(),
        data_type: array.data_type().clone(),
    })?;
    let (offset, len) = (array.offset(), array.len());
    let null_count = if column_type == ColumnType::Null {
        len
    } else {
        array.null_count()
    };
    let validity = match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => bits(nulls.inner(), copied_bytes),
        None => Buffer::default(),
    };
    let buffers = match column_type.storage() {
        Storage::Nothing => vec![],
        Storage::Bits => {
            let values = BooleanBuffer::new(array.buffers()[0].clone(), offset, len);
            vec![validity, bits(&values, copied_bytes)]
        }
        Storage::Fixed(size) => {
            vec![
                validity,
                share(array.buffers()[0].slice_with_length(offset * size, len * size)),
            ]
        }
        Storage::Variable { offset: 4, .. } => variable::<i32>(array, validity, copied_bytes),
        Storage::Variable { .. } => variable::<i64>(array, validity, copied_bytes),
    };
    let refused = |fault: ColumnError| FrameError::Column {
        column: field.name().clone(),
        fault,
    };
    let data = ColumnData::from_parts(column_type, len, null_count, buffers, None);
    match (data, dictionary) {
        (Ok(data), Some(dictionary)) => data.with_dictionary(dictionary),
        (data, _) => data,
    }
    .map_err(|fault| refused(fault).into())
}

/// The bits as whole bytes from the first one on, with zeros after the last.
fn bits(bits: &BooleanBuffer, copied_bytes: &mut u64) -> Buffer<'static> {
    let bytes = bits.len().div_ceil(8);
    if bits.offset().is_multiple_of(8) {
        let whole = bits.inner().slice_with_length(bits.offset() / 8, bytes);
        let used = bits.len() % 8;
        if used == 0 || whole.last().is_none_or(|last| last >> used == 0) {
            return share(whole);
        }
    }
    *copied_bytes += bytes as u64;
    let mut copy = vec![0_u8; bytes];
    for (at, byte) in copy.iter_mut().enumerate() {
        let rows = at * 8..bits.len().min(at * 8 + 8);
        *byte = rows.enumerate().fold(0, |byte, (bit, row)| {
            byte | u8::from(bits.value(row)) << bit
        });
    }
    copy.into()
}

trait Offset: arrow_buffer::ArrowNativeType {
    fn minus(self, base: Self) -> Self;
}

impl Offset for i32 {
    fn minus(self, base: Self) -> Self {
        self - base
    }
}

impl Offset for i64 {
    fn minus(self, base: Self) -> Self {
        self - base
    }
}

/// Validity, offsets that begin at zero, and the bytes between the first and the last of them.
fn variable<O: Offset>(
    array: &ArrayData,
    validity: Buffer<'static>,
    copied_bytes: &mut u64,
) -> Vec<Buffer<'static>> {
    let entries = array.len() + 1;
    let offsets = &array.buffers()[0];
    // Arrow lets an empty column go without its one offset.
    if offsets.is_empty() {
        return vec![validity, vec![0; size_of::<O>()].into(), Buffer::default()];
    }
    let typed = &offsets.typed_data::<O>()[array.offset()..array.offset() + entries];
    let (first, last) = (typed[0], typed[entries - 1]);
    let values =
        array.buffers()[1].slice_with_length(first.as_usize(), last.as_usize() - first.as_usize());
    let offsets = if first.as_usize() == 0 {
        share(offsets.slice_with_length(array.offset() * size_of::<O>(), size_of_val(typed)))
    } else {
        *copied_bytes += size_of_val(typed) as u64;
        let moved: Vec<O> = typed.iter().map(|offset| offset.minus(first)).collect();
        share(ArrowBuffer::from_vec(moved))
    };
    vec![validity, offsets, share(values)]
}

struct ArrowOwner(ArrowBuffer);

impl AsRef<[u8]> for ArrowOwner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

fn share(buffer: ArrowBuffer) -> Buffer<'static> {
    if buffer.is_empty() {
        Buffer::default()
    } else {
        Buffer::from_owner(ArrowOwner(buffer))
    }
}

fn export(data: &ColumnData<'static>) -> Result<ArrayData, arrow_schema::ArrowError> {
    let mut buffers = data.buffers().iter().map(lend);
    let validity = buffers.next().filter(|bits| !bits.is_empty());
    let codes = data_type_of(data.column_type());
    let builder = match data.dictionary() {
        None => ArrayData::builder(codes),
        Some(dictionary) => {
            let values = export(dictionary.values())?;
            let data_type =
                DataType::Dictionary(Box::new(codes), Box::new(values.data_type().clone()));
            ArrayData::builder(data_type).add_child_data(values)
        }
    };
    builder
        .len(data.len())
        .null_bit_buffer(validity)
        .buffers(buffers.collect())
        .build()
}

fn lend(buffer: &Buffer<'static>) -> ArrowBuffer {
    if buffer.is_empty() {
        // Arrow wants even no bytes to be aligned.
        return arrow_buffer::MutableBuffer::new(0).into();
    }
    match (buffer.owner::<ArrowOwner>(), buffer.owner_range()) {
        // What came from Arrow goes back as it was.
        (Some(owner), Some(range)) => owner.0.slice_with_length(range.start, range.len()),
        _ => ArrowBuffer::from(Bytes::from(buffer.clone())),
    }
}

fn column_type_of(data_type: &DataType) -> Option<ColumnType> {
    Some(match data_type {
        DataType::Null => ColumnType::Null,
        DataType::Boolean => ColumnType::Bool,
        DataType::Int8 => ColumnType::Int8,
        DataType::UInt8 => ColumnType::Uint8,
        DataType::Int16 => ColumnType::Int16,
        DataType::UInt16 => ColumnType::Uint16,
        DataType::Int32 => ColumnType::Int32,
        DataType::UInt32 => ColumnType::Uint32,
        DataType::Int64 => ColumnType::Int64,
        DataType::UInt64 => ColumnType::Uint64,
        DataType::Float16 => ColumnType::Float16,
        DataType::Float32 => ColumnType::Float32,
        DataType::Float64 => ColumnType::Float64,
        DataType::Utf8 => ColumnType::Utf8,
        DataType::LargeUtf8 => ColumnType::LargeUtf8,
        DataType::Binary => ColumnType::Binary,
        DataType::LargeBinary => ColumnType::LargeBinary,
        DataType::Decimal128(precision, scale) => ColumnType::Decimal128(*precision, *scale),
        DataType::Date32 => ColumnType::Date32,
        DataType::Date64 => ColumnType::Date64,
        DataType::Time32(unit) | DataType::Time64(unit) => ColumnType::Time(time_unit(*unit)),
        DataType::Timestamp(unit, zone) => {
            // Arrow writes no zone and an empty one alike.
            let zone = zone.clone().filter(|zone| !zone.is_empty());
            ColumnType::Timestamp(time_unit(*unit), zone)
        }
        DataType::Duration(unit) => ColumnType::Duration(time_unit(*unit)),
        _ => return None,
    })
}

fn data_type_of(column_type: &ColumnType) -> DataType {
    match column_type {
        ColumnType::Null => DataType::Null,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Int8 => DataType::Int8,
        ColumnType::Uint8 => DataType::UInt8,
        ColumnType::Int16 => DataType::Int16,
        ColumnType::Uint16 => DataType::UInt16,
        ColumnType::Int32 => DataType::Int32,
        ColumnType::Uint32 => DataType::UInt32,
        ColumnType::Int64 => DataType::Int64,
        ColumnType::Uint64 => DataType::UInt64,
        ColumnType::Float16 => DataType::Float16,
        ColumnType::Float32 => DataType::Float32,
        ColumnType::Float64 => DataType::Float64,
        ColumnType::Utf8 => DataType::Utf8,
        ColumnType::LargeUtf8 => DataType::LargeUtf8,
        ColumnType::Binary => DataType::Binary,
        ColumnType::LargeBinary => DataType::LargeBinary,
        ColumnType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        ColumnType::Date32 => DataType::Date32,
        ColumnType::Date64 => DataType::Date64,
        ColumnType::Time(unit @ (ArrowTimeUnit::Second | ArrowTimeUnit::Milli)) => {
            DataType::Time32(arrow_unit(*unit))
        }
        ColumnType::Time(unit) => DataType::Time64(arrow_unit(*unit)),
        ColumnType::Timestamp(unit, zone) => DataType::Timestamp(arrow_unit(*unit), zone.clone()),
        ColumnType::Duration(unit) => DataType::Duration(arrow_unit(*unit)),
    }
}

fn time_unit(unit: TimeUnit) -> ArrowTimeUnit {
    match unit {
        TimeUnit::Second => ArrowTimeUnit::Second,
        TimeUnit::Millisecond => ArrowTimeUnit::Milli,
        TimeUnit::Microsecond => ArrowTimeUnit::Micro,
        TimeUnit::Nanosecond => ArrowTimeUnit::Nano,
    }
}

fn arrow_unit(unit: ArrowTimeUnit) -> TimeUnit {
    match unit {
        ArrowTimeUnit::Second => TimeUnit::Second,
        ArrowTimeUnit::Milli => TimeUnit::Millisecond,
        ArrowTimeUnit::Micro => TimeUnit::Microsecond,
        ArrowTimeUnit::Nano => TimeUnit::Nanosecond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Int8Type;
    use arrow_array::{
        BooleanArray, DictionaryArray, Float64Array, Int32Array, NullArray, StringArray,
    };

    fn batch() -> RecordBatch {
        let rows = 40_usize;
        let text: StringArray = (0..rows)
            .map(|i| (i % 7 != 3).then(|| format!("é{i}")))
            .collect();
        let flags: BooleanArray = (0..rows)
            .map(|i| (i % 5 != 0).then_some(i % 2 == 0))
            .collect();
        let codes: DictionaryArray<Int8Type> = (0..rows)
            .map(|i| (i != 9).then_some(["a", "b"][i % 2]))
            .collect();
        let arrays: Vec<(&str, ArrayRef)> = vec![
            ("i", Arc::new((0..40).map(Some).collect::<Int32Array>())),
            (
                "g",
                Arc::new(
                    (0..rows)
                        .map(|i| (i % 3 > 0).then_some(i as f64))
                        .collect::<Float64Array>(),
                ),
            ),
            ("u", Arc::new(text)),
            ("b", Arc::new(flags)),
            ("d", Arc::new(codes)),
            ("n", Arc::new(NullArray::new(rows))),
        ];
        RecordBatch::try_from_iter(arrays).unwrap()
    }

    #[test]
    fn a_whole_batch_is_shared() {
        let batch = batch();
        let frame = Frame::from_batch(&batch).unwrap();
        assert_eq!(frame.copied_bytes(), 0);
        frame.validate().unwrap();
        let back = RecordBatch::try_from(&frame).unwrap();
        assert_eq!(back, batch);
        let (there, here) = (back.column(0).to_data(), batch.column(0).to_data());
        assert_eq!(there.buffers()[0].as_ptr(), here.buffers()[0].as_ptr());
    }

    #[test]
    fn every_slice_ships_its_rows_and_no_more() {
        let batch = batch();
        for (start, len) in [(0, 40), (8, 16), (3, 11), (39, 1), (17, 0), (0, 5)] {
            let slice = batch.slice(start, len);
            let frame = Frame::from_batch(&slice).unwrap();
            frame.validate().unwrap();
            assert_eq!(frame.to_batch().unwrap(), slice, "{start}+{len}");
            assert_eq!(frame.columns()[1].data().buffers()[1].len(), len * 8);
        }
        let aligned = Frame::from_batch(&batch.slice(8, 16)).unwrap();
        assert_eq!(
            aligned.copied_bytes(),
            17 * 4,
            "only the offsets of the text column"
        );
    }

    #[test]
    fn nested_types_are_refused_by_name() {
        let list =
            arrow_array::ListArray::new_null(Arc::new(Field::new("item", DataType::Int8, true)), 2);
        let batch = RecordBatch::try_from_iter([("deep", Arc::new(list) as ArrayRef)]).unwrap();
        let error = Frame::from_batch(&batch).unwrap_err().to_string();
        assert!(error.contains("deep") && error.contains("List"), "{error}");
    }
}
