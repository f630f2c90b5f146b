//! The msgpack header: what a message is, apart from its buffers' bytes.

use std::collections::{BTreeMap, HashSet};

use crate::model::array::{self, Array};
use crate::model::buffer::Buffer;
use crate::model::column::{Column, ColumnData, Dictionary};
use crate::model::column_type::ColumnType;
use crate::model::dtype::{Dtype, Field, RecordType};
use crate::model::frame::Frame;
use crate::model::message::{Attributes, Body, Message};
use crate::model::validate;
use crate::wire::error::DecodeError;
use crate::wire::layout::align_up;
use crate::wire::limits::{Limits, check_name};
use crate::wire::msgpack::{Reader, Writer};
use crate::wire::preamble::{Preamble, RecordKind};

const ATTRIBUTES: &str = "attrs";
const BUFFERS: &str = "bufs";
const COLUMNS: &str = "cols";
const DTYPE: &str = "dtype";
const METADATA: &str = "meta";
const ROWS: &str = "rows";
const SHAPE: &str = "shape";
const STRIDES: &str = "strides";

/// Everything about a message but its payload, as [`Decoder`](crate::Decoder) learns it first.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// What the message is.
    pub skeleton: HeaderBody,
    /// Bytes of each buffer.
    pub buffers: Vec<u64>,
    /// The user's attributes.
    pub attributes: Attributes,
}

/// What a message is, without its payload.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderBody {
    /// Plain bytes.
    Bytes,
    /// An array.
    Array {
        /// Element type.
        dtype: Dtype,
        /// Elements along each axis.
        shape: Vec<usize>,
        /// Bytes from one element to the next along each axis; `None` for C order.
        strides: Option<Vec<isize>>,
    },
    /// A dataframe.
    Frame {
        /// Number of rows.
        rows: usize,
        /// The columns, without their buffers.
        columns: Vec<Column<'static>>,
        /// The schema's metadata.
        metadata: BTreeMap<String, String>,
    },
}

/// Appends the header of `message`, whose buffers have the lengths `buffers`, to `out`.
pub(crate) fn encode(message: &Message<'_>, buffers: &[u64], out: Vec<u8>) -> Vec<u8> {
    let mut header = HeaderWriter {
        out: Writer::after(out),
        attributes: &message.attributes,
        buffers,
    };
    match &message.body {
        Body::Bytes(_) => header.begin(1),
        Body::Array(array) => header.array(array.dtype(), array.shape(), array.strides()),
        Body::Frame(frame) => header.frame(frame.rows, &frame.columns, &frame.metadata),
    }
    header.out.finish()
}

/// Checks what every reader will check, so that a message is refused before its first byte is sent.
pub(crate) fn check(message: &Message<'_>) -> Result<(), DecodeError> {
    message
        .attributes
        .keys()
        .try_for_each(|name| check_name(name))?;
    let Body::Frame(frame) = &message.body else {
        return Ok(());
    };
    if frame.columns.len() > Limits::COLUMNS {
        let (value, max) = (frame.columns.len() as u64, Limits::COLUMNS as u64);
        return Err(DecodeError::OverLimit {
            what: "number of columns",
            value,
            max,
        });
    }
    frame
        .columns
        .iter()
        .try_for_each(|column| check_name(&column.name))?;
    check_names(&frame.columns)?;
    validate::lengths(frame)
}

struct HeaderWriter<'m> {
    out: Writer,
    attributes: &'m Attributes,
    buffers: &'m [u64],
}

impl HeaderWriter<'_> {
    /// The map's length and the keys every kind has; `entries` counts `bufs` and what follows.
    fn begin(&mut self, entries: usize) {
        self.out
            .map(entries + usize::from(!self.attributes.is_empty()));
        if !self.attributes.is_empty() {
            self.out.text(ATTRIBUTES);
            self.out.text_map(self.attributes);
        }
        self.out.text(BUFFERS);
        self.out.array(self.buffers.len());
        for &len in self.buffers {
            self.out.uint(usize::try_from(len).unwrap_or(usize::MAX));
        }
    }

    fn array(&mut self, dtype: &Dtype, shape: &[usize], strides: Option<&[isize]>) {
        self.begin(3 + usize::from(strides.is_some()));
        self.out.text(DTYPE);
        match dtype {
            Dtype::Scalar(scalar) => self.out.text(&scalar.to_string()),
            Dtype::Record(record) => self.record(record),
        }
        self.out.text(SHAPE);
        self.out.array(shape.len());
        shape.iter().for_each(|&len| self.out.uint(len));
        if let Some(strides) = strides {
            self.out.text(STRIDES);
            self.out.array(strides.len());
            strides.iter().for_each(|&step| self.out.int(step as i64));
        }
    }

    fn record(&mut self, record: &RecordType) {
        self.out.array(2);
        self.out.uint(record.size());
        self.out.array(record.fields().len());
        for field in record.fields() {
            self.out.array(3);
            self.out.text(&field.name);
            self.out.text(&field.scalar.to_string());
            self.out.uint(field.offset);
        }
    }

    fn frame(&mut self, rows: usize, columns: &[Column<'_>], metadata: &BTreeMap<String, String>) {
        self.begin(3 + usize::from(!metadata.is_empty()));
        self.out.text(COLUMNS);
        self.out.array(columns.len());
        columns.iter().for_each(|column| self.column(column));
        if !metadata.is_empty() {
            self.out.text(METADATA);
            self.out.text_map(metadata);
        }
        self.out.text(ROWS);
        self.out.uint(rows);
    }

    /// `[name, format, nullable, nulls]`, then the dictionary or nil, then the metadata, as far as there are any.
    fn column(&mut self, column: &Column<'_>) {
        let (dictionary, metadata) = (&column.data.dictionary, &column.metadata);
        let extras = if !metadata.is_empty() {
            2
        } else {
            usize::from(dictionary.is_some())
        };
        self.out.array(4 + extras);
        self.out.text(&column.name);
        self.format(&column.data.format);
        self.out.uint(column.nullable.into());
        self.out.uint(column.data.null_count);
        match dictionary {
            Some(dictionary) => self.dictionary(dictionary),
            None if extras == 2 => self.out.nil(),
            None => {}
        }
        if extras == 2 {
            self.out.text_map(metadata);
        }
    }

    /// `[ordered, length, format, nulls]`, then its own dictionary if its values have one.
    fn dictionary(&mut self, dictionary: &Dictionary<'_>) {
        let values = &dictionary.values;
        self.out.array(4 + usize::from(values.dictionary.is_some()));
        self.out.uint(dictionary.ordered.into());
        self.out.uint(values.len);
        self.format(&values.format);
        self.out.uint(values.null_count);
        if let Some(inner) = &values.dictionary {
            self.dictionary(inner);
        }
    }

    fn format(&mut self, format: &ColumnType) {
        match format.fixed_name() {
            Some(name) => self.out.text(name),
            None => self.out.text(&format.to_string()),
        }
    }
}

impl Header {
    /// Reads a header and checks all of it that can be checked without the payload.
    pub(crate) fn decode(preamble: &Preamble, header: &[u8]) -> Result<Self, DecodeError> {
        let summary = HeaderReader {
            input: Reader::new(header),
        }
        .read(preamble.kind)?;
        summary.check_lengths(preamble)?;
        // One value has one encoding: whatever the reader let pass (long integers, other key orders), writing finds.
        if summary.encode(header.len()) != header {
            return Err(DecodeError::NotCanonical);
        }
        Ok(summary)
    }

    fn encode(&self, len: usize) -> Vec<u8> {
        let mut header = HeaderWriter {
            out: Writer::after(Vec::with_capacity(len)),
            attributes: &self.attributes,
            buffers: &self.buffers,
        };
        match &self.skeleton {
            HeaderBody::Bytes => header.begin(1),
            HeaderBody::Array {
                dtype,
                shape,
                strides,
            } => header.array(dtype, shape, strides.as_deref()),
            HeaderBody::Frame {
                rows,
                columns,
                metadata,
            } => header.frame(*rows, columns, metadata),
        }
        header.out.finish()
    }

    /// Buffers with their padding fill the payload exactly, and are as many as the body needs.
    fn check_lengths(&self, preamble: &Preamble) -> Result<(), DecodeError> {
        let claimed = preamble.payload_len;
        let sum = self
            .buffers
            .iter()
            .try_fold(0_u64, |sum, &len| sum.checked_add(align_up(len)?));
        match sum {
            Some(sum) if sum == claimed => {}
            sum => {
                return Err(DecodeError::PayloadLength {
                    sum: sum.unwrap_or(u64::MAX),
                    claimed,
                });
            }
        }
        let expected = match &self.skeleton {
            HeaderBody::Bytes | HeaderBody::Array { .. } => 1,
            HeaderBody::Frame { columns, .. } => columns
                .iter()
                .map(|column| count_buffers(&column.data))
                .sum(),
        };
        if self.buffers.len() != expected || preamble.buffers as usize != expected {
            return Err(DecodeError::BufferCount {
                found: self.buffers.len(),
                expected,
            });
        }
        if let HeaderBody::Array {
            dtype,
            shape,
            strides,
        } = &self.skeleton
        {
            let expected = array::byte_len(shape, dtype.size())? as u64;
            let found = self.buffers[0];
            if found != expected {
                return Err(DecodeError::BufferLength {
                    index: 0,
                    found,
                    expected,
                });
            }
            let canonical = strides
                .clone()
                .map(|given| array::canonical_strides(shape, given, dtype.size()));
            if canonical.transpose()?.flatten() != *strides {
                return Err(DecodeError::NotCanonical);
            }
        }
        Ok(())
    }

    /// The message over `buffers`, which the caller cut to [`Self::buffers`]. Checks what lies in them.
    pub(crate) fn into_message(
        self,
        mut buffers: impl Iterator<Item = Buffer<'static>>,
    ) -> Result<Message<'static>, DecodeError> {
        let body = match self.skeleton {
            HeaderBody::Bytes => Body::Bytes(buffers.next().unwrap_or_default()),
            HeaderBody::Array {
                dtype,
                shape,
                strides,
            } => Body::Array(Array::build(
                dtype,
                shape,
                strides,
                buffers.next().unwrap_or_default(),
            )?),
            HeaderBody::Frame {
                rows,
                mut columns,
                metadata,
            } => {
                for column in &mut columns {
                    fill(&mut column.data, &mut buffers);
                }
                let frame = Frame {
                    rows,
                    columns,
                    metadata,
                    rebased: 0,
                };
                frame.validate()?;
                Body::Frame(frame)
            }
        };
        Ok(Message {
            body,
            attributes: self.attributes,
        })
    }
}

fn count_buffers(data: &ColumnData<'_>) -> usize {
    let own = data.format.storage().buffers();
    own + data
        .dictionary
        .as_ref()
        .map_or(0, |dictionary| count_buffers(&dictionary.values))
}

fn fill(data: &mut ColumnData<'static>, buffers: &mut impl Iterator<Item = Buffer<'static>>) {
    let own = data.format.storage().buffers();
    data.buffers = buffers.take(own).collect();
    if let Some(dictionary) = &mut data.dictionary {
        fill(&mut dictionary.values, buffers);
    }
}

struct HeaderReader<'h> {
    input: Reader<'h>,
}

impl HeaderReader<'_> {
    fn read(mut self, kind: RecordKind) -> Result<Header, DecodeError> {
        let mut entries = self.input.map("header")?;
        let mut key = self.key(&mut entries)?;
        let mut attributes = Attributes::new();
        if key == ATTRIBUTES {
            attributes = self.input.text_map(ATTRIBUTES)?;
            key = self.key(&mut entries)?;
        }
        self.expect(key, BUFFERS)?;
        let count = self.input.array(BUFFERS)?;
        let mut buffers = Vec::with_capacity(count);
        for _ in 0..count {
            buffers.push(self.input.len("buffer length")? as u64);
        }
        let skeleton = match kind {
            RecordKind::Array => self.array(&mut entries)?,
            RecordKind::Frame => self.frame(&mut entries)?,
            _ => HeaderBody::Bytes,
        };
        if entries != 0 || !self.input.is_at_end() {
            return Err(DecodeError::NotCanonical);
        }
        Ok(Header {
            skeleton,
            buffers,
            attributes,
        })
    }

    /// The next key of the header; unknown ones fail where another is expected.
    fn key(&mut self, entries: &mut usize) -> Result<&'static str, DecodeError> {
        *entries = entries.checked_sub(1).ok_or(DecodeError::Header {
            field: "header",
            expected: "more keys",
        })?;
        let key = self.input.text("header key")?;
        let known = [
            ATTRIBUTES, BUFFERS, COLUMNS, DTYPE, METADATA, ROWS, SHAPE, STRIDES,
        ];
        let unknown = DecodeError::Header {
            field: "header key",
            expected: "a key of this version",
        };
        known.into_iter().find(|&name| name == key).ok_or(unknown)
    }

    fn expect(&self, key: &'static str, wanted: &'static str) -> Result<(), DecodeError> {
        if key == wanted {
            Ok(())
        } else {
            Err(DecodeError::Header {
                field: key,
                expected: wanted,
            })
        }
    }

    fn array(&mut self, entries: &mut usize) -> Result<HeaderBody, DecodeError> {
        let key = self.key(entries)?;
        self.expect(key, DTYPE)?;
        let dtype = if self.input.next_is_array() {
            self.record()?.into()
        } else {
            self.input
                .text(DTYPE)?
                .parse::<crate::model::dtype::Scalar>()?
                .into()
        };
        let key = self.key(entries)?;
        self.expect(key, SHAPE)?;
        let dimensions = self.dimensions(SHAPE)?;
        let mut shape = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            shape.push(self.input.len("dimension")?);
        }
        let mut strides = None;
        if *entries > 0 {
            let key = self.key(entries)?;
            self.expect(key, STRIDES)?;
            let mut steps = Vec::with_capacity(dimensions);
            for _ in 0..self.dimensions(STRIDES)? {
                let step = self.input.int("stride")?;
                let fits = isize::try_from(step);
                steps.push(fits.map_err(|_| DecodeError::Header {
                    field: STRIDES,
                    expected: "addressable strides",
                })?);
            }
            strides = Some(steps);
        }
        Ok(HeaderBody::Array {
            dtype,
            shape,
            strides,
        })
    }

    fn dimensions(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = self.input.array(field)?;
        let max = Limits::DIMENSIONS as u64;
        let over = DecodeError::OverLimit {
            what: "number of dimensions",
            value: count as u64,
            max,
        };
        if count > Limits::DIMENSIONS {
            Err(over)
        } else {
            Ok(count)
        }
    }

    fn record(&mut self) -> Result<RecordType, DecodeError> {
        self.tuple("record", 2)?;
        let size = self.input.len("record size")?;
        let count = self.input.array("record fields")?;
        if count > Limits::FIELDS {
            let (value, max) = (count as u64, Limits::FIELDS as u64);
            return Err(DecodeError::OverLimit {
                what: "number of fields",
                value,
                max,
            });
        }
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            self.tuple("record field", 3)?;
            let name = self.input.name("field name")?.to_owned();
            let scalar = self.input.text("field type")?.parse()?;
            fields.push(Field {
                name,
                scalar,
                offset: self.input.len("field offset")?,
            });
        }
        Ok(RecordType::new(fields, size)?)
    }

    fn tuple(&mut self, field: &'static str, len: usize) -> Result<(), DecodeError> {
        let expected = DecodeError::Header {
            field,
            expected: "another number of items",
        };
        if self.input.array(field)? == len {
            Ok(())
        } else {
            Err(expected)
        }
    }

    fn frame(&mut self, entries: &mut usize) -> Result<HeaderBody, DecodeError> {
        let key = self.key(entries)?;
        self.expect(key, COLUMNS)?;
        let count = self.input.array(COLUMNS)?;
        if count > Limits::COLUMNS {
            let (value, max) = (count as u64, Limits::COLUMNS as u64);
            return Err(DecodeError::OverLimit {
                what: "number of columns",
                value,
                max,
            });
        }
        // A column takes six bytes at least, so the room asked for is in proportion to what has come.
        let mut columns = Vec::with_capacity(count.min(self.input.left() / 6));
        for _ in 0..count {
            columns.push(self.column()?);
        }
        let mut key = self.key(entries)?;
        let mut metadata = BTreeMap::new();
        if key == METADATA {
            metadata = self.input.text_map(METADATA)?;
            key = self.key(entries)?;
        }
        self.expect(key, ROWS)?;
        let rows = self.input.len(ROWS)?;
        columns.iter_mut().for_each(|column| column.data.len = rows);
        check_names(&columns)?;
        Ok(HeaderBody::Frame {
            rows,
            columns,
            metadata,
        })
    }

    fn column(&mut self) -> Result<Column<'static>, DecodeError> {
        let items = self.input.array("column")?;
        if !(4..=6).contains(&items) {
            return Err(DecodeError::Header {
                field: "column",
                expected: "4 to 6 items",
            });
        }
        let name = self.input.name("column name")?.to_owned();
        let format = self.input.text("column type")?.parse()?;
        let nullable = self.flag("nullable")?;
        let null_count = self.input.len("null count")?;
        let dictionary = if items > 4 && !self.input.nil() {
            Some(self.dictionary(1)?)
        } else {
            None
        };
        let metadata = if items > 5 {
            self.input.text_map("column metadata")?
        } else {
            BTreeMap::new()
        };
        let data = ColumnData {
            format,
            len: 0,
            null_count,
            buffers: Vec::new(),
            dictionary,
        };
        Ok(Column {
            name,
            nullable,
            metadata,
            data,
        })
    }

    fn dictionary(&mut self, depth: usize) -> Result<Box<Dictionary<'static>>, DecodeError> {
        if depth > Limits::DICTIONARY_DEPTH {
            let (value, max) = (depth as u64, Limits::DICTIONARY_DEPTH as u64);
            return Err(DecodeError::OverLimit {
                what: "dictionary depth",
                value,
                max,
            });
        }
        let items = self.input.array("dictionary")?;
        if !(4..=5).contains(&items) {
            return Err(DecodeError::Header {
                field: "dictionary",
                expected: "4 or 5 items",
            });
        }
        let ordered = self.flag("ordered")?;
        let len = self.input.len("dictionary length")?;
        let format = self.input.text("dictionary type")?.parse()?;
        let null_count = self.input.len("null count")?;
        let inner = if items == 5 {
            Some(self.dictionary(depth + 1)?)
        } else {
            None
        };
        let values = ColumnData {
            format,
            len,
            null_count,
            buffers: Vec::new(),
            dictionary: inner,
        };
        Ok(Box::new(Dictionary { ordered, values }))
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.input.uint(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Header {
                field,
                expected: "0 or 1",
            }),
        }
    }
}

fn check_names(columns: &[Column<'_>]) -> Result<(), DecodeError> {
    let mut seen = HashSet::with_capacity(columns.len());
    match columns
        .iter()
        .find(|column| !seen.insert(column.name.as_str()))
    {
        Some(twice) => Err(DecodeError::Name {
            name: twice.name.clone(),
        }),
        None => Ok(()),
    }
}
