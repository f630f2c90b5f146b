//! What the columns of a frame are, apart from their values. Frames that came with the same schema share it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::model::column_type::ColumnType;

/// Fields and metadata, and their form on the wire.
#[derive(Debug, PartialEq)]
pub(crate) struct Schema {
    pub(crate) fields: Vec<SchemaField>,
    /// The names of all columns, one after another.
    pub(crate) names: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Buffers of a frame.
    pub(crate) buffers: usize,
    pub(crate) text: Arc<SchemaText>,
}

/// A column without its values.
#[derive(Debug, PartialEq)]
pub(crate) struct SchemaField {
    /// Its name in the names of the schema.
    pub(crate) name: Range<usize>,
    pub(crate) nullable: bool,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) values: SchemaValues,
}

/// The type of values, and that of the values of their dictionary.
#[derive(Debug, PartialEq)]
pub(crate) struct SchemaValues {
    pub(crate) column_type: ColumnType,
    pub(crate) dictionary: Option<Box<SchemaDictionary>>,
}

/// A dictionary without its values.
#[derive(Debug, PartialEq)]
pub(crate) struct SchemaDictionary {
    pub(crate) ordered: bool,
    pub(crate) values: SchemaValues,
}

/// Columns and metadata as the header of a record has them, with a zero for each count.
///
/// Counts are what differs between frames of one schema: the nulls of a column, then the length and the nulls of its
/// dictionary, then those of the dictionary inside that.
#[derive(Debug, PartialEq)]
pub(crate) struct SchemaText {
    pub(crate) bytes: Vec<u8>,
    /// Where in the bytes the counts are, one byte each.
    pub(crate) counts: Vec<usize>,
    /// True if the schema's metadata is part of the bytes.
    pub(crate) has_metadata: bool,
}

impl Schema {
    /// The name of `field`.
    pub(crate) fn name(&self, field: &SchemaField) -> &str {
        &self.names[field.name.clone()]
    }
}

impl SchemaValues {
    /// Buffers of the values and of their dictionaries.
    pub(crate) fn count_buffers(&self) -> usize {
        let inner = self.dictionary.as_ref();
        self.column_type.storage().buffers()
            + inner.map_or(0, |dictionary| dictionary.values.count_buffers())
    }
}
