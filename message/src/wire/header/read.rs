//! The reader of headers: keys come in order, and every count is checked before it is used.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::str::FromStr;

use crate::model::frame::check_column_names;
use crate::model::{Array, Attributes, ColumnType, Dictionary, Field, Frame, RecordType, Scalar};
use crate::wire::error::DecodeError;
use crate::wire::header::keys;
use crate::wire::header::parts::{
    ColumnHeader, DictionaryHeader, Header, HeaderBody, ValuesHeader,
};
use crate::wire::kind::RecordKind;
use crate::wire::msgpack::{Keys, Reader};

/// Reads the header of a record of kind `kind`, without the checks that need the preamble.
pub(super) fn read(kind: RecordKind, header: &[u8]) -> Result<Header, DecodeError> {
    let mut input = Reader::new(header);
    let keys = Keys::begin(&mut input, "header")?;
    let next = None;
    HeaderReader { input, keys, next }.read(kind)
}

struct HeaderReader<'h> {
    input: Reader<'h>,
    keys: Keys<'h>,
    /// A key that was read and whose value was not.
    next: Option<&'h str>,
}

impl<'h> HeaderReader<'h> {
    fn read(mut self, kind: RecordKind) -> Result<Header, DecodeError> {
        let mut attributes = Attributes::new();
        if self.optional(keys::ATTRIBUTES)? {
            attributes = self.texts(keys::ATTRIBUTES)?;
        }
        self.require(keys::BUFFERS)?;
        let count = self.input.array(keys::BUFFERS)?;
        let mut buffer_lens = Vec::with_capacity(count);
        for _ in 0..count {
            buffer_lens.push(self.input.len("buffer length")? as u64);
        }
        let body = match kind {
            RecordKind::Array => self.array()?,
            RecordKind::Frame => self.frame()?,
            _ => HeaderBody::Bytes,
        };
        if self.peek()?.is_some() || !self.input.is_at_end() {
            return Err(DecodeError::NotCanonical);
        }
        Ok(Header {
            body,
            buffer_lens,
            attributes,
        })
    }

    /// The next key of the header.
    fn peek(&mut self) -> Result<Option<&'h str>, DecodeError> {
        if self.next.is_none() {
            self.next = self.keys.next(&mut self.input)?;
        }
        Ok(self.next)
    }

    /// Takes the next key if it is `key`.
    fn optional(&mut self, key: &'static str) -> Result<bool, DecodeError> {
        let is_next = self.peek()? == Some(key);
        if is_next {
            self.next = None;
        }
        Ok(is_next)
    }

    /// Takes the next key, which is `wanted`. An unknown key is an error where another key is expected.
    fn require(&mut self, wanted: &'static str) -> Result<(), DecodeError> {
        if self.optional(wanted)? {
            return Ok(());
        }
        let (field, expected) = match self.peek()? {
            None => ("header", "more keys"),
            Some(key) => match keys::ALL.into_iter().find(|&name| name == key) {
                Some(known) => (known, wanted),
                None => ("header key", "a key of this version"),
            },
        };
        Err(DecodeError::Header { field, expected })
    }

    /// A map from text to text, which is left out if it is empty.
    fn texts(&mut self, field: &'static str) -> Result<BTreeMap<String, String>, DecodeError> {
        let map = self.input.text_map(field)?;
        if map.is_empty() {
            return Err(DecodeError::NotCanonical);
        }
        Ok(map)
    }

    /// A type in the text form that we write.
    fn typed<T>(&mut self, field: &'static str) -> Result<T, DecodeError>
    where
        T: FromStr + Display,
        DecodeError: From<T::Err>,
    {
        let text = self.input.text(field)?;
        let value: T = text.parse()?;
        if is_written_as(&value, text) {
            Ok(value)
        } else {
            Err(DecodeError::NotCanonical)
        }
    }

    fn array(&mut self) -> Result<HeaderBody, DecodeError> {
        self.require(keys::DTYPE)?;
        let dtype = if self.input.next_is_array() {
            self.record()?.into()
        } else {
            self.typed::<Scalar>(keys::DTYPE)?.into()
        };
        self.require(keys::SHAPE)?;
        let dimensions = self.dimensions(keys::SHAPE)?;
        let mut shape = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            shape.push(self.input.len("dimension")?);
        }
        let mut strides = None;
        if self.optional(keys::STRIDES)? {
            let mut steps = Vec::with_capacity(dimensions);
            for _ in 0..self.dimensions(keys::STRIDES)? {
                let step = self.input.int("stride")?;
                let fits = isize::try_from(step);
                steps.push(fits.map_err(|_| DecodeError::Header {
                    field: keys::STRIDES,
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
        let max = Array::MAX_DIMENSIONS as u64;
        let over = DecodeError::OverLimit {
            what: "number of dimensions",
            value: count as u64,
            max,
        };
        if count > Array::MAX_DIMENSIONS {
            Err(over)
        } else {
            Ok(count)
        }
    }

    fn record(&mut self) -> Result<RecordType, DecodeError> {
        self.tuple("record", 2)?;
        let size = self.input.len("record size")?;
        let count = self.input.array("record fields")?;
        if count > RecordType::MAX_FIELDS {
            let (value, max) = (count as u64, RecordType::MAX_FIELDS as u64);
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
            let scalar = self.typed::<Scalar>("field type")?;
            fields.push(Field::new(name, scalar, self.input.len("field offset")?));
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

    fn frame(&mut self) -> Result<HeaderBody, DecodeError> {
        self.require(keys::COLUMNS)?;
        let count = self.input.array(keys::COLUMNS)?;
        if count > Frame::MAX_COLUMNS {
            let (value, max) = (count as u64, Frame::MAX_COLUMNS as u64);
            return Err(DecodeError::OverLimit {
                what: "number of columns",
                value,
                max,
            });
        }
        // A column takes at least six bytes, so the room asked for is in proportion to the header's length.
        let mut columns = Vec::with_capacity(count.min(self.input.left() / 6));
        for _ in 0..count {
            columns.push(self.column()?);
        }
        let mut metadata = BTreeMap::new();
        if self.optional(keys::METADATA)? {
            metadata = self.texts(keys::METADATA)?;
        }
        self.require(keys::ROWS)?;
        let rows = self.input.len(keys::ROWS)?;
        columns
            .iter_mut()
            .for_each(|column: &mut ColumnHeader| column.values.len = rows);
        check_column_names(columns.iter().map(|column| column.name.as_str()))?;
        Ok(HeaderBody::Frame {
            rows,
            columns,
            metadata,
        })
    }

    fn column(&mut self) -> Result<ColumnHeader, DecodeError> {
        let items = self.input.array("column")?;
        if !(4..=6).contains(&items) {
            return Err(DecodeError::Header {
                field: "column",
                expected: "4 to 6 items",
            });
        }
        let name = self.input.name("column name")?.to_owned();
        let column_type = self.typed::<ColumnType>("column type")?;
        let nullable = self.flag("nullable")?;
        let null_count = self.input.len("null count")?;
        let dictionary = if items > 4 && !self.input.nil() {
            Some(self.dictionary(1)?)
        } else {
            None
        };
        // Items at the end that say nothing are left out.
        let metadata = match items {
            6 => self.texts("column metadata")?,
            5 if dictionary.is_none() => return Err(DecodeError::NotCanonical),
            _ => BTreeMap::new(),
        };
        Ok(ColumnHeader {
            name,
            nullable,
            metadata,
            values: ValuesHeader {
                column_type,
                len: 0,
                null_count,
                dictionary,
            },
        })
    }

    fn dictionary(&mut self, depth: usize) -> Result<Box<DictionaryHeader>, DecodeError> {
        if depth > Dictionary::MAX_DEPTH {
            let (value, max) = (depth as u64, Dictionary::MAX_DEPTH as u64);
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
        let column_type = self.typed::<ColumnType>("dictionary type")?;
        let null_count = self.input.len("null count")?;
        let inner = if items == 5 {
            Some(self.dictionary(depth + 1)?)
        } else {
            None
        };
        let values = ValuesHeader {
            column_type,
            len,
            null_count,
            dictionary: inner,
        };
        Ok(Box::new(DictionaryHeader { ordered, values }))
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

/// True if `value` is written as `text`, compared without a copy.
fn is_written_as(value: &impl Display, text: &str) -> bool {
    struct Rest<'t>(&'t str);
    impl Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> std::fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}
