//! The reader of what a frame's header says: columns and metadata, or that they are those of the last frame.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::frame::check_column_names;
use crate::model::name::{check_name, check_name_len};
use crate::model::schema::{Schema, SchemaDictionary, SchemaField, SchemaText, SchemaValues};
use crate::model::{ColumnType, Dictionary, Frame};
use crate::wire::error::DecodeError;
use crate::wire::header::keys;
use crate::wire::header::parts::FrameHeader;
use crate::wire::header::read::{Codec, HeaderReader, texts_of};
use crate::wire::header::seen::Seen;

impl HeaderReader<'_> {
    pub(super) fn frame(
        &mut self,
        codec: Option<Codec<'_>>,
        seen: &mut Seen,
    ) -> Result<FrameHeader, DecodeError> {
        if matches!(self.peek()?, Some(keys::COUNTS | keys::RAW | keys::ROWS)) {
            // Its columns are those of a schema that was sent before.
            self.counts()?;
            self.raw(codec)?;
            self.require(keys::ROWS)?;
            self.input.len(keys::ROWS)?;
            self.require(keys::SCHEMA)?;
            return Err(self.schema());
        }
        self.require(keys::COLUMNS)?;
        let mut ahead = self.clone();
        let last = seen.schema().and_then(|schema| {
            let counts = ahead.follow(schema)?;
            Some((Arc::clone(schema), counts))
        });
        let (schema, counts) = match last {
            Some(known) => {
                *self = ahead;
                known
            }
            None => {
                let (schema, counts) = self.columns()?;
                (Arc::new(schema), counts)
            }
        };
        self.raw(codec)?;
        self.require(keys::ROWS)?;
        let rows = self.input.len(keys::ROWS)?;
        if self.optional(keys::SCHEMA)? {
            return Err(self.schema());
        }
        seen.keep(&schema);
        Ok(FrameHeader {
            rows,
            schema,
            counts,
        })
    }

    /// Reads columns and metadata if they are those of `schema`, and returns their counts: none if all are zero.
    fn follow(&mut self, schema: &Schema) -> Option<Vec<usize>> {
        let (text, mut counts) = (&schema.text, Vec::new());
        if !self.input.pass(&text.bytes) {
            let mut passed = 0;
            for &place in &text.counts {
                if !self.input.pass(text.bytes.get(passed..place)?) {
                    return None;
                }
                counts.push(self.input.len("count").ok()?);
                passed = place.saturating_add(1);
            }
            if !self.input.pass(text.bytes.get(passed..)?) {
                return None;
            }
        }
        if text.has_metadata {
            return self.keys.note(keys::METADATA).then_some(counts);
        }
        // More metadata than the schema has makes another schema.
        (self.peek().ok()? != Some(keys::METADATA)).then_some(counts)
    }

    /// Reads columns and metadata, and their counts: none if all are zero.
    fn columns(&mut self) -> Result<(Schema, Vec<usize>), DecodeError> {
        let mut found = Found::new(self.at());
        let count = self.input.array(keys::COLUMNS)?;
        DecodeError::within("number of columns", count, Frame::MAX_COLUMNS)?;
        // A column takes at least six bytes, so the room asked for is in proportion to the header's length.
        let room = count.min(self.input.left() / 6);
        let mut fields = Vec::with_capacity(room);
        found.counts.reserve(room);
        found.places.reserve(room);
        for _ in 0..count {
            fields.push(self.column(&mut found)?);
        }
        let (mut metadata, mut end) = (BTreeMap::new(), self.at());
        let has_metadata = self.optional(keys::METADATA)?;
        if has_metadata {
            metadata = texts_of(&mut self.input, keys::METADATA)?;
            end = self.at();
        }
        found.copy(self.header, end);
        let names = names_of(found.names, &fields)?;
        check_column_names(fields.iter().map(|field| &names[field.name.clone()]))?;
        let has_counts = found.counts.iter().any(|&count| count != 0);
        let text = Arc::new(SchemaText {
            bytes: found.text,
            counts: found.places,
            has_metadata,
        });
        let buffers = fields.iter().map(|field| field.values.count_buffers());
        let schema = Schema {
            buffers: buffers.sum(),
            fields,
            names,
            metadata,
            text,
        };
        let counts = if has_counts { found.counts } else { Vec::new() };
        Ok((schema, counts))
    }

    /// How many bytes of the header have been read.
    fn at(&self) -> usize {
        self.header.len() - self.input.left()
    }

    /// A count of the values of a column, which is no part of the schema.
    fn count(&mut self, field: &'static str, found: &mut Found) -> Result<(), DecodeError> {
        let at = self.at();
        let count = self.input.len(field)?;
        found.counts.push(count);
        found.places.push(found.text.len() + (at - found.copied));
        // A zero stands in the text as it came.
        if count != 0 {
            found.copy(self.header, at);
            found.text.push(0);
            found.copied = self.at();
        }
        Ok(())
    }

    /// The counts of columns that were sent before. They are left out if all are zero.
    fn counts(&mut self) -> Result<(), DecodeError> {
        if !self.optional(keys::COUNTS)? {
            return Ok(());
        }
        let mut all = 0;
        for _ in 0..self.input.array(keys::COUNTS)? {
            all |= self.input.len("count")?;
        }
        if all == 0 {
            return Err(DecodeError::NotCanonical);
        }
        Ok(())
    }

    /// The number of a schema, which nobody offers to keep.
    fn schema(&mut self) -> DecodeError {
        match self.input.uint(keys::SCHEMA) {
            Ok(0) => DecodeError::Header {
                field: keys::SCHEMA,
                expected: "a number from 1 on",
            },
            Ok(_) => DecodeError::NotOffered {
                what: "the number of a schema",
            },
            Err(error) => error,
        }
    }

    fn column(&mut self, found: &mut Found) -> Result<SchemaField, DecodeError> {
        let items = self.input.array("column")?;
        if !(4..=8).contains(&items) {
            return Err(DecodeError::Header {
                field: "column",
                expected: "4 to 8 items",
            });
        }
        // That they are names is found when all of them are there.
        let name = self.input.text_bytes(COLUMN_NAME)?;
        check_name_len(name.len())?;
        let column_type = self.column_type("column type")?;
        // Types that have children or views are refused by name above.
        if items > 6 {
            return Err(DecodeError::Header {
                field: "column",
                expected: "no children and no variadic buffers: its type has none",
            });
        }
        let nullable = self.flag("nullable")?;
        self.count("null count", found)?;
        let dictionary = if items > 4 && !self.input.nil() {
            Some(self.dictionary(1, found)?)
        } else {
            None
        };
        // Items at the end that say nothing are left out.
        let metadata = match items {
            6 => texts_of(&mut self.input, "column metadata")?,
            5 if dictionary.is_none() => return Err(DecodeError::NotCanonical),
            _ => BTreeMap::new(),
        };
        let start = found.names.len();
        found.names.extend_from_slice(name);
        Ok(SchemaField {
            name: start..found.names.len(),
            nullable,
            metadata,
            values: SchemaValues {
                column_type,
                dictionary,
            },
        })
    }

    fn dictionary(
        &mut self,
        depth: usize,
        found: &mut Found,
    ) -> Result<Box<SchemaDictionary>, DecodeError> {
        DecodeError::within("dictionary depth", depth, Dictionary::MAX_DEPTH)?;
        let items = self.input.array("dictionary")?;
        if !(4..=5).contains(&items) {
            return Err(DecodeError::Header {
                field: "dictionary",
                expected: "4 or 5 items",
            });
        }
        let ordered = self.flag("ordered")?;
        self.count("dictionary length", found)?;
        let column_type = self.column_type("dictionary type")?;
        self.count("null count", found)?;
        let inner = if items == 5 {
            Some(self.dictionary(depth + 1, found)?)
        } else {
            None
        };
        let values = SchemaValues {
            column_type,
            dictionary: inner,
        };
        Ok(Box::new(SchemaDictionary { ordered, values }))
    }

    /// The type of a column: mostly one of those that have one text, which is compared and not written again.
    fn column_type(&mut self, field: &'static str) -> Result<ColumnType, DecodeError> {
        let mut ahead = self.input.clone();
        if let Some(known) = ColumnType::plain(ahead.text_bytes(field)?) {
            self.input = ahead;
            return Ok(known);
        }
        self.typed::<ColumnType>(field)
    }
}

const COLUMN_NAME: &str = "column name";

/// The names of columns that came one after another. They are checked together, which is faster than one by one.
fn names_of(bytes: Vec<u8>, fields: &[SchemaField]) -> Result<String, DecodeError> {
    let not_text = DecodeError::Header {
        field: COLUMN_NAME,
        expected: "UTF-8 text",
    };
    let Ok(names) = String::from_utf8(bytes) else {
        return Err(not_text);
    };
    // A character could lie in two of them.
    if !fields
        .iter()
        .all(|field| names.is_char_boundary(field.name.start))
    {
        return Err(not_text);
    }
    if names.as_bytes().contains(&0) {
        let mut each = fields.iter().map(|field| &names[field.name.clone()]);
        each.try_for_each(check_name)?;
    }
    Ok(names)
}

/// What is known of a schema while its columns are read.
struct Found {
    /// One after another.
    names: Vec<u8>,
    text: Vec<u8>,
    /// Where the counts are in the text.
    places: Vec<usize>,
    counts: Vec<usize>,
    /// The text has what comes before this byte of the header.
    copied: usize,
}

impl Found {
    /// Nothing; the columns begin at byte `start` of the header.
    fn new(start: usize) -> Self {
        Self {
            names: Vec::new(),
            text: Vec::new(),
            places: Vec::new(),
            counts: Vec::new(),
            copied: start,
        }
    }

    /// Appends what stands before byte `end` of the header to the text.
    fn copy(&mut self, header: &[u8], end: usize) {
        let new = header.get(self.copied..end);
        self.text.extend_from_slice(new.unwrap_or(&[]));
        self.copied = end;
    }
}
