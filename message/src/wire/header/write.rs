//! The writer of headers, from a message or from a header that was read.

use std::collections::BTreeMap;

use crate::model::{Attributes, Body, ColumnData, ColumnType, Dtype, Message, RecordType};
use crate::wire::header::keys;
use crate::wire::header::parts::{Header, HeaderBody, ValuesHeader};
use crate::wire::msgpack::Writer;

/// Appends the header of `message` to `out`.
pub(crate) fn write_message(message: &Message<'_>, out: Vec<u8>) -> Vec<u8> {
    let mut header = HeaderWriter {
        out: Writer::after(out),
        attributes: &message.attributes,
    };
    let lens = message.buffers().map(|buffer| buffer.len() as u64);
    match &message.body {
        Body::Bytes(_) => header.begin(1, 1, lens),
        Body::Array(array) => {
            let strides = array.strides();
            header.begin(3 + usize::from(strides.is_some()), 1, lens);
            header.array(array.dtype(), array.shape(), strides);
        }
        Body::Frame(frame) => {
            let entries = 3 + usize::from(!frame.metadata().is_empty());
            header.begin(entries, message.buffers().count(), lens);
            header.columns(frame.columns().len());
            for column in frame.columns() {
                let nullable = column.is_nullable();
                header.column(column.name(), nullable, column.metadata(), column.data());
            }
            header.rows(frame.metadata(), frame.rows());
        }
    }
    header.out.finish()
}

/// The bytes of `header` in canonical form. `len` is their number if `header` was read from that form.
pub(super) fn write_header(header: &Header, len: usize) -> Vec<u8> {
    let mut out = HeaderWriter {
        out: Writer::after(Vec::with_capacity(len)),
        attributes: &header.attributes,
    };
    let (count, lens) = (header.buffer_lens.len(), header.buffer_lens.iter().copied());
    match &header.body {
        HeaderBody::Bytes => out.begin(1, count, lens),
        HeaderBody::Array {
            dtype,
            shape,
            strides,
        } => {
            out.begin(3 + usize::from(strides.is_some()), count, lens);
            out.array(dtype, shape, strides.as_deref());
        }
        HeaderBody::Frame {
            rows,
            columns,
            metadata,
        } => {
            out.begin(3 + usize::from(!metadata.is_empty()), count, lens);
            out.columns(columns.len());
            for column in columns {
                out.column(
                    &column.name,
                    column.nullable,
                    &column.metadata,
                    &column.values,
                );
            }
            out.rows(metadata, *rows);
        }
    }
    out.out.finish()
}

/// What a header has about a column's values: both the values and a header that was read can answer.
trait Described {
    fn column_type(&self) -> &ColumnType;
    fn len(&self) -> usize;
    fn null_count(&self) -> usize;
    /// Whether the dictionary is ordered, and its values.
    fn dictionary(&self) -> Option<(bool, &Self)>;
}

impl Described for ColumnData<'_> {
    fn column_type(&self) -> &ColumnType {
        self.column_type()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn null_count(&self) -> usize {
        self.null_count()
    }

    fn dictionary(&self) -> Option<(bool, &Self)> {
        let dictionary = self.dictionary()?;
        Some((dictionary.is_ordered(), dictionary.values()))
    }
}

impl Described for ValuesHeader {
    fn column_type(&self) -> &ColumnType {
        &self.column_type
    }

    fn len(&self) -> usize {
        self.len
    }

    fn null_count(&self) -> usize {
        self.null_count
    }

    fn dictionary(&self) -> Option<(bool, &Self)> {
        let dictionary = self.dictionary.as_ref()?;
        Some((dictionary.ordered, &dictionary.values))
    }
}

struct HeaderWriter<'m> {
    out: Writer,
    attributes: &'m Attributes,
}

impl HeaderWriter<'_> {
    /// The map's length and the keys every kind has; `entries` counts `bufs` and what follows.
    fn begin(&mut self, entries: usize, buffers: usize, lens: impl Iterator<Item = u64>) {
        let has_attributes = !self.attributes.is_empty();
        self.out.map(entries + usize::from(has_attributes));
        if has_attributes {
            self.out.text(keys::ATTRIBUTES);
            self.out.text_map(self.attributes);
        }
        self.out.text(keys::BUFFERS);
        self.out.array(buffers);
        lens.for_each(|len| self.out.uint(len));
    }

    fn array(&mut self, dtype: &Dtype, shape: &[usize], strides: Option<&[isize]>) {
        self.out.text(keys::DTYPE);
        match dtype {
            Dtype::Scalar(scalar) => self.out.text(&scalar.to_string()),
            Dtype::Record(record) => self.record(record),
        }
        self.out.text(keys::SHAPE);
        self.out.array(shape.len());
        shape.iter().for_each(|&len| self.out.len(len));
        if let Some(strides) = strides {
            self.out.text(keys::STRIDES);
            self.out.array(strides.len());
            strides.iter().for_each(|&step| self.out.int(step as i64));
        }
    }

    fn record(&mut self, record: &RecordType) {
        self.out.array(2);
        self.out.len(record.size());
        self.out.array(record.fields().len());
        for field in record.fields() {
            self.out.array(3);
            self.out.text(&field.name);
            self.out.text(&field.scalar.to_string());
            self.out.len(field.offset);
        }
    }

    fn columns(&mut self, count: usize) {
        self.out.text(keys::COLUMNS);
        self.out.array(count);
    }

    fn rows(&mut self, metadata: &BTreeMap<String, String>, rows: usize) {
        if !metadata.is_empty() {
            self.out.text(keys::METADATA);
            self.out.text_map(metadata);
        }
        self.out.text(keys::ROWS);
        self.out.len(rows);
    }

    /// `[name, type, nullable, nulls]`, then the dictionary or nil, then the metadata, as far as there are any.
    fn column(
        &mut self,
        name: &str,
        nullable: bool,
        metadata: &BTreeMap<String, String>,
        values: &impl Described,
    ) {
        let dictionary = values.dictionary();
        let extras = if !metadata.is_empty() {
            2
        } else {
            usize::from(dictionary.is_some())
        };
        self.out.array(4 + extras);
        self.out.text(name);
        self.column_type(values.column_type());
        self.out.uint(nullable.into());
        self.out.len(values.null_count());
        match dictionary {
            Some((ordered, values)) => self.dictionary(ordered, values),
            None if extras == 2 => self.out.nil(),
            None => {}
        }
        if extras == 2 {
            self.out.text_map(metadata);
        }
    }

    /// `[ordered, length, type, nulls]`, then its own dictionary if its values have one.
    fn dictionary(&mut self, ordered: bool, values: &impl Described) {
        let inner = values.dictionary();
        self.out.array(4 + usize::from(inner.is_some()));
        self.out.uint(ordered.into());
        self.out.len(values.len());
        self.column_type(values.column_type());
        self.out.len(values.null_count());
        if let Some((ordered, values)) = inner {
            self.dictionary(ordered, values);
        }
    }

    fn column_type(&mut self, column_type: &ColumnType) {
        match column_type.fixed_name() {
            Some(name) => self.out.text(name),
            None => self.out.text(&column_type.to_string()),
        }
    }
}
