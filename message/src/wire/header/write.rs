//! The writer of headers.

use std::collections::BTreeMap;

use crate::model::{
    Attributes, Body, ColumnData, ColumnType, Dictionary, Dtype, Message, RecordType,
};
use crate::wire::header::keys;
use crate::wire::header::parts::Part;
use crate::wire::layout::Align;
use crate::wire::msgpack::Writer;

/// Appends the header of `message` to `out`.
pub(crate) fn write_message(message: &Message<'_>, align: Align, out: Vec<u8>) -> Vec<u8> {
    let mut header = HeaderWriter {
        out: Writer::after(out),
        align,
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

/// Appends the header of a part with `len` bytes to `out`.
pub(crate) fn write_part(part: Part, len: usize, out: Vec<u8>) -> Vec<u8> {
    let mut out = Writer::after(out);
    out.map(3 + usize::from(part.total != 0));
    out.text(keys::BUFFERS);
    out.array(1);
    out.len(len);
    out.text(keys::OFFSET);
    out.uint(part.offset);
    if part.total != 0 {
        out.text(keys::TOTAL);
        out.uint(part.total);
    }
    out.text(keys::TRANSFER);
    out.uint(part.transfer);
    out.finish()
}

struct HeaderWriter<'m> {
    out: Writer,
    align: Align,
    attributes: &'m Attributes,
}

impl HeaderWriter<'_> {
    /// The map's length and the keys every kind has; `entries` counts `bufs` and what follows.
    fn begin(&mut self, entries: usize, buffers: usize, lens: impl Iterator<Item = u64>) {
        let has_attributes = !self.attributes.is_empty();
        let has_align = self.align != Align::DEFAULT;
        self.out
            .map(entries + usize::from(has_attributes) + usize::from(has_align));
        if has_align {
            self.out.text(keys::ALIGN);
            self.out.len(self.align.bytes());
        }
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
        values: &ColumnData<'_>,
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
            Some(dictionary) => self.dictionary(dictionary),
            None if extras == 2 => self.out.nil(),
            None => {}
        }
        if extras == 2 {
            self.out.text_map(metadata);
        }
    }

    /// `[ordered, length, type, nulls]`, then its own dictionary if its values have one.
    fn dictionary(&mut self, dictionary: &Dictionary<'_>) {
        let values = dictionary.values();
        let inner = values.dictionary();
        self.out.array(4 + usize::from(inner.is_some()));
        self.out.uint(dictionary.is_ordered().into());
        self.out.len(values.len());
        self.column_type(values.column_type());
        self.out.len(values.null_count());
        if let Some(inner) = inner {
            self.dictionary(inner);
        }
    }

    fn column_type(&mut self, column_type: &ColumnType) {
        match column_type.fixed_name() {
            Some(name) => self.out.text(name),
            None => self.out.text(&column_type.to_string()),
        }
    }
}
