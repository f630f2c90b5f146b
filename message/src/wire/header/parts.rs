use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::array_layout::ArrayLayout;
use crate::model::few::Few;
use crate::model::schema::{Schema, SchemaField, SchemaValues};
use crate::model::{Attributes, ColumnType, Dtype};
use crate::wire::layout::Align;

/// Everything about a message except its payload. [`Decoder`](crate::wire::Decoder) reads it first.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// What the message is.
    pub body: HeaderBody,
    /// The user's attributes.
    pub attributes: Attributes,
    /// Bytes of each buffer.
    pub(crate) lens: Few<u64>,
    /// Every buffer begins at a multiple of it.
    pub(crate) align: Align,
    /// Zero bytes before the first buffer in the payload.
    pub(crate) lead: usize,
}

impl Header {
    /// Bytes of each buffer.
    pub fn buffer_lens(&self) -> &[u64] {
        &self.lens
    }
}

/// What a message is, without its payload.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderBody {
    /// Plain bytes.
    Bytes,
    /// An array.
    Array(ArrayHeader),
    /// A piece of the record of a message.
    Part(Part),
    /// A dataframe.
    Frame(FrameHeader),
}

/// What an array is, without its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayHeader {
    pub(super) layout: Arc<ArrayLayout>,
}

impl ArrayHeader {
    /// Element type.
    pub fn dtype(&self) -> &Dtype {
        self.layout.dtype()
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// Bytes from one element to the next along each axis; `None` for C order.
    pub fn strides(&self) -> Option<&[isize]> {
        self.layout.strides()
    }
}

/// What a dataframe is, without its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameHeader {
    pub(super) rows: usize,
    pub(super) schema: Arc<Schema>,
    /// The counts that the text of the schema leaves out; none if all are zero.
    pub(super) counts: Vec<usize>,
}

impl FrameHeader {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in order.
    pub fn columns(&self) -> Vec<ColumnHeader> {
        let mut counts = self.counts.iter().copied();
        let column = |field: &SchemaField| ColumnHeader {
            name: self.schema.name(field).to_owned(),
            nullable: field.nullable,
            metadata: field.metadata.clone(),
            values: ValuesHeader::new(&field.values, self.rows, &mut counts),
        };
        self.schema.fields.iter().map(column).collect()
    }

    /// The schema's metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.schema.metadata
    }
}

/// Which piece of a record a part is.
#[expect(clippy::exhaustive_structs, reason = "a part has these three numbers")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where in the record it begins, from its first byte.
    pub offset: u64,
    /// Bytes of the record without its checksums; 0 if they are not known yet.
    pub total: u64,
    /// Number of the message.
    pub transfer: u64,
}

/// What a column is, without its buffers.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnHeader {
    /// Its name, unique in the frame.
    pub name: String,
    /// True if the schema allows nulls, even if the column has none.
    pub nullable: bool,
    /// The field's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its values.
    pub values: ValuesHeader,
}

/// What the values of a column or a dictionary are, without their buffers.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct ValuesHeader {
    /// The type of the values, or of the codes if there is a dictionary.
    pub column_type: ColumnType,
    /// Number of values.
    pub len: usize,
    /// How many of them are null.
    pub null_count: usize,
    /// The values that the codes stand for.
    pub dictionary: Option<Box<DictionaryHeader>>,
}

/// What a dictionary is, without its buffers.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct DictionaryHeader {
    /// True if the order of the values means something.
    pub ordered: bool,
    /// The values.
    pub values: ValuesHeader,
}

impl ValuesHeader {
    fn new(values: &SchemaValues, len: usize, counts: &mut impl Iterator<Item = usize>) -> Self {
        let null_count = counts.next().unwrap_or(0);
        let dictionary = values.dictionary.as_ref().map(|inner| {
            let len = counts.next().unwrap_or(0);
            Box::new(DictionaryHeader {
                ordered: inner.ordered,
                values: Self::new(&inner.values, len, counts),
            })
        });
        Self {
            column_type: values.column_type.clone(),
            len,
            null_count,
            dictionary,
        }
    }
}
