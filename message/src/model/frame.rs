use std::collections::BTreeMap;

use crate::model::column::Column;
use crate::model::validate;
use crate::wire::error::DecodeError;

/// A dataframe: columns of one length, and metadata (a pandas index survives in it).
#[derive(Clone, Debug, PartialEq)]
pub struct Frame<'a> {
    /// Number of rows; every column has as many values.
    pub rows: usize,
    /// The columns, in order.
    pub columns: Vec<Column<'a>>,
    /// The schema's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Bytes that were copied to build the frame, because a sliced bitmap or offset buffer had to be rebased.
    pub rebased: u64,
}

impl Frame<'_> {
    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column<'_>> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Checks every buffer against its type: lengths, bitmaps, offsets, UTF-8, dictionary codes.
    ///
    /// A received frame has passed this already.
    ///
    /// # Errors
    /// [`DecodeError`] names the column and what is wrong with it.
    pub fn validate(&self) -> Result<(), DecodeError> {
        validate::frame(self)
    }

    pub(crate) fn into_owned_or_copy(self) -> Frame<'static> {
        let own = |column: Column<'_>| Column {
            name: column.name,
            nullable: column.nullable,
            metadata: column.metadata,
            data: column.data.into_owned_or_copy(),
        };
        Frame {
            rows: self.rows,
            columns: self.columns.into_iter().map(own).collect(),
            metadata: self.metadata,
            rebased: self.rebased,
        }
    }
}
