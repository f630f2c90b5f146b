//! The reader of headers: keys come in order, and every count is checked before it is used.

use std::collections::BTreeMap;

use crate::model::frame::check_column_names;
use crate::model::{Array, Attributes, Dictionary, Field, Frame, RecordType, Scalar};
use crate::wire::error::DecodeError;
use crate::wire::header::keys;
use crate::wire::header::parts::{
    ColumnHeader, DictionaryHeader, Header, HeaderBody, ValuesHeader,
};
use crate::wire::msgpack::Reader;
use crate::wire::preamble::RecordKind;

/// Reads the header of a record of kind `kind`, without the checks that need the preamble.
pub(super) fn read(kind: RecordKind, header: &[u8]) -> Result<Header, DecodeError> {
    let input = Reader::new(header);
    HeaderReader { input }.read(kind)
}

struct HeaderReader<'h> {
    input: Reader<'h>,
}

impl HeaderReader<'_> {
    fn read(mut self, kind: RecordKind) -> Result<Header, DecodeError> {
        let mut entries = self.input.map("header")?;
        let mut key = self.key(&mut entries)?;
        let mut attributes = Attributes::new();
        if key == keys::ATTRIBUTES {
            attributes = self.input.text_map(keys::ATTRIBUTES)?;
            key = self.key(&mut entries)?;
        }
        self.expect(key, keys::BUFFERS)?;
        let count = self.input.array(keys::BUFFERS)?;
        let mut buffer_lens = Vec::with_capacity(count);
        for _ in 0..count {
            buffer_lens.push(self.input.len("buffer length")? as u64);
        }
        let body = match kind {
            RecordKind::Array => self.array(&mut entries)?,
            RecordKind::Frame => self.frame(&mut entries)?,
            _ => HeaderBody::Bytes,
        };
        if entries != 0 || !self.input.is_at_end() {
            return Err(DecodeError::NotCanonical);
        }
        Ok(Header {
            body,
            buffer_lens,
            attributes,
        })
    }

    /// The next key of the header. An unknown key is an error where another key is expected.
    fn key(&mut self, entries: &mut usize) -> Result<&'static str, DecodeError> {
        *entries = entries.checked_sub(1).ok_or(DecodeError::Header {
            field: "header",
            expected: "more keys",
        })?;
        let key = self.input.text("header key")?;
        let unknown = DecodeError::Header {
            field: "header key",
            expected: "a key of this version",
        };
        keys::ALL
            .into_iter()
            .find(|&name| name == key)
            .ok_or(unknown)
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
        self.expect(key, keys::DTYPE)?;
        let dtype = if self.input.next_is_array() {
            self.record()?.into()
        } else {
            self.input.text(keys::DTYPE)?.parse::<Scalar>()?.into()
        };
        let key = self.key(entries)?;
        self.expect(key, keys::SHAPE)?;
        let dimensions = self.dimensions(keys::SHAPE)?;
        let mut shape = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            shape.push(self.input.len("dimension")?);
        }
        let mut strides = None;
        if *entries > 0 {
            let key = self.key(entries)?;
            self.expect(key, keys::STRIDES)?;
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
            let scalar = self.input.text("field type")?.parse()?;
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

    fn frame(&mut self, entries: &mut usize) -> Result<HeaderBody, DecodeError> {
        let key = self.key(entries)?;
        self.expect(key, keys::COLUMNS)?;
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
        let mut key = self.key(entries)?;
        let mut metadata = BTreeMap::new();
        if key == keys::METADATA {
            metadata = self.input.text_map(keys::METADATA)?;
            key = self.key(entries)?;
        }
        self.expect(key, keys::ROWS)?;
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
        let column_type = self.input.text("column type")?.parse()?;
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
        let column_type = self.input.text("dictionary type")?.parse()?;
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
