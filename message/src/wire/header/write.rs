//! The writer of headers.

use crate::model::name::check_names;
use crate::model::schema::SchemaText;
use crate::model::{
    Attributes, Body, Column, ColumnData, ColumnType, Dictionary, Dtype, Frame, Message, RecordType,
};
use crate::wire::error::EncodeError;
use crate::wire::header::keys;
use crate::wire::header::parts::Part;
use crate::wire::layout::Align;
use crate::wire::limits::Limits;
use crate::wire::msgpack::Writer;

/// Checks what every reader checks, and what the constructors of the model do not.
pub(crate) fn check_message(message: &Message<'_>) -> Result<(), EncodeError> {
    check_names(message.attributes.keys()).map_err(EncodeError::Attribute)?;
    let few = |what, count| {
        let max = Limits::ENTRIES;
        if count > max {
            return Err(EncodeError::TooManyEntries { what, count, max });
        }
        Ok(())
    };
    few("attributes", message.attributes.len())?;
    let Some(frame) = message.as_frame() else {
        return Ok(());
    };
    if frame.text().is_some() {
        // It was read, or written before.
        return Ok(());
    }
    few("entries of a schema's metadata", frame.metadata().len())?;
    let mut columns = frame.columns().iter();
    columns.try_for_each(|column| few("entries of a column's metadata", column.metadata().len()))
}

/// Appends the header of `message`, whose `count` buffers have these lengths, to `out`.
pub(crate) fn write_message(
    message: &Message<'_>,
    count: usize,
    lens: impl Iterator<Item = usize>,
    align: Align,
    out: Vec<u8>,
) -> Vec<u8> {
    let mut header = HeaderWriter {
        out: Writer::after(out),
        align,
        attributes: &message.attributes,
    };
    match &message.body {
        Body::Bytes(_) => header.begin(1, count, lens),
        Body::Array(array) => {
            let strides = array.strides();
            header.begin(3 + usize::from(strides.is_some()), count, lens);
            header.array(array.dtype(), array.shape(), strides);
        }
        Body::Frame(frame) => {
            let entries = 3 + usize::from(!frame.metadata().is_empty());
            header.begin(entries, count, lens);
            header.columns(frame);
            header.rows(frame.rows());
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
    fn begin(&mut self, entries: usize, count: usize, lens: impl Iterator<Item = usize>) {
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
        self.out.array(count);
        lens.for_each(|len| self.out.len(len));
    }

    fn array(&mut self, dtype: &Dtype, shape: &[usize], strides: Option<&[isize]>) {
        self.out.text(keys::DTYPE);
        match dtype {
            Dtype::Scalar(scalar) => self.out.text(scalar.text().as_str()),
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
            self.out.text(field.scalar.text().as_str());
            self.out.len(field.offset);
        }
    }

    /// The columns and the metadata: the text of the schema, with the counts of this frame.
    fn columns(&mut self, frame: &Frame<'_>) {
        self.out.text(keys::COLUMNS);
        let text = frame.text_or(|| text_of(frame));
        let (mut places, mut written) = (text.counts.iter(), 0);
        let mut fill = |count: usize| {
            let place = places.next();
            if let (Some(&place), 1..) = (place, count) {
                self.out.raw(&text.bytes[written..place]);
                self.out.len(count);
                written = place + 1;
            }
        };
        match frame.packed() {
            Some(packed) => packed.counts().iter().copied().for_each(fill),
            None => frame
                .columns()
                .iter()
                .for_each(|column| counts(column.data(), &mut fill)),
        }
        self.out.raw(&text.bytes[written..]);
    }

    fn rows(&mut self, rows: usize) {
        self.out.text(keys::ROWS);
        self.out.len(rows);
    }
}

/// The counts of a column, in the order of the wire.
fn counts(values: &ColumnData<'_>, each: &mut impl FnMut(usize)) {
    each(values.null_count());
    if let Some(dictionary) = values.dictionary() {
        each(dictionary.values().len());
        counts(dictionary.values(), each);
    }
}

/// The columns and the metadata of `frame` as a header has them, but for the counts.
fn text_of(frame: &Frame<'_>) -> SchemaText {
    let (columns, metadata) = (frame.columns(), frame.metadata());
    let mut text = TextWriter {
        out: Writer::after(Vec::with_capacity(24 * columns.len())),
        counts: Vec::with_capacity(columns.len()),
    };
    text.out.array(columns.len());
    for column in columns {
        text.column(column);
    }
    if !metadata.is_empty() {
        text.out.text(keys::METADATA);
        text.out.text_map(metadata);
    }
    SchemaText {
        bytes: text.out.finish(),
        counts: text.counts,
        has_metadata: !metadata.is_empty(),
    }
}

struct TextWriter {
    out: Writer,
    counts: Vec<usize>,
}

impl TextWriter {
    /// `[name, type, nullable, nulls]`, then the dictionary or nil, then the metadata, as far as there are any.
    fn column(&mut self, column: &Column<'_>) {
        let (values, metadata) = (column.data(), column.metadata());
        let dictionary = values.dictionary();
        let extras = if !metadata.is_empty() {
            2
        } else {
            usize::from(dictionary.is_some())
        };
        self.out.array(4 + extras);
        self.out.text(column.name());
        self.column_type(values.column_type());
        self.out.uint(column.is_nullable().into());
        self.count();
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
        self.count();
        self.column_type(values.column_type());
        self.count();
        if let Some(inner) = inner {
            self.dictionary(inner);
        }
    }

    /// The place of a count.
    fn count(&mut self) {
        self.counts.push(self.out.written());
        self.out.uint(0);
    }

    fn column_type(&mut self, column_type: &ColumnType) {
        match column_type.fixed_name() {
            Some(name) => self.out.text(name),
            None => self.out.text(&column_type.to_string()),
        }
    }
}
