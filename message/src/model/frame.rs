use std::collections::{BTreeMap, HashSet};

use crate::model::column::Column;
use crate::model::column_error::ColumnError;
use crate::model::name::{NameError, check_names};
use crate::model::validate;

/// A dataframe: columns of one length, and metadata (a pandas index survives in it).
///
/// ```
/// use numpush_message::{Buffer, Column, ColumnData, ColumnType, Frame};
///
/// // Three rows; the second is null: bit 1 of the validity bitmap is zero.
/// let validity = Buffer::from(vec![0b101]);
/// let values = Buffer::from(vec![7_u8, 0, 9]);
/// let data = ColumnData::new(ColumnType::Uint8, 3, vec![validity, values])?;
/// let frame = Frame::new(vec![Column::new("stops", data)?])?;
/// frame.validate()?;
/// assert_eq!((frame.rows(), frame.columns().len()), (3, 1));
/// assert_eq!(frame.columns()[0].data().null_count(), 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// With the feature `arrow`, `Frame::from_batch` makes one of a record batch, and `to_batch` the other way round.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    rows: usize,
    columns: Vec<Column<'a>>,
    metadata: BTreeMap<String, String>,
    copied_bytes: u64,
}

/// Why columns do not make a frame.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More columns than [`Frame::MAX_COLUMNS`].
    #[error("{count} columns are more than the limit of {max}")]
    ColumnCount {
        /// Columns of the frame.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A name that not every reader takes.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Two columns of one name.
    #[error("column name {name:?} stands twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A column with another number of rows.
    #[error("column {column:?} has {found} rows in a frame of {expected}")]
    Rows {
        /// Name of the column.
        column: String,
        /// Values of the column.
        found: usize,
        /// Rows of the frame.
        expected: usize,
    },
    /// A column whose values contradict its type.
    #[error("column {column:?}: {fault}")]
    Column {
        /// Name of the column.
        column: String,
        /// What is wrong with it.
        fault: ColumnError,
    },
}

impl<'a> Frame<'a> {
    /// Most columns of a frame.
    pub const MAX_COLUMNS: usize = 65_536;

    /// A frame of `columns`, with as many rows as the first of them.
    ///
    /// # Errors
    /// As [`Self::with_rows`].
    pub fn new(columns: Vec<Column<'a>>) -> Result<Self, FrameError> {
        let rows = columns.first().map_or(0, |column| column.data().len());
        Self::with_rows(rows, columns)
    }

    /// A frame of `rows` rows; without columns it has rows all the same, as in pandas.
    ///
    /// # Errors
    /// [`FrameError`] if there are too many columns, if two have one name, or if one has another number of rows.
    pub fn with_rows(rows: usize, columns: Vec<Column<'a>>) -> Result<Self, FrameError> {
        check_column_names(columns.iter().map(Column::name))?;
        Self::from_named(rows, columns, BTreeMap::new())
    }

    /// A frame whose names have been checked.
    pub(crate) fn from_named(
        rows: usize,
        columns: Vec<Column<'a>>,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, FrameError> {
        if let Some(other) = columns.iter().find(|column| column.data().len() != rows) {
            return Err(FrameError::Rows {
                column: other.name().to_owned(),
                found: other.data().len(),
                expected: rows,
            });
        }
        Ok(Self {
            rows,
            columns,
            metadata,
            copied_bytes: 0,
        })
    }

    /// Sets the schema's metadata. Default: none.
    ///
    /// # Errors
    /// [`NameError`] if not every reader takes one of the keys.
    pub fn with_metadata(mut self, metadata: BTreeMap<String, String>) -> Result<Self, NameError> {
        check_names(metadata.keys())?;
        self.metadata = metadata;
        Ok(self)
    }

    /// Number of rows; every column has as many values.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column<'a>] {
        &self.columns
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column<'a>> {
        self.columns.iter().find(|column| column.name() == name)
    }

    /// The schema's metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Bytes that were copied to build the frame: bitmaps and offsets of a sliced record batch.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Checks what lies in every buffer: bitmaps, offsets, UTF-8, dictionary codes. Reads all bitmaps, offsets, texts
    /// and codes.
    ///
    /// A received frame has passed this already.
    ///
    /// # Errors
    /// [`FrameError::Column`] names the column and what is wrong with it.
    pub fn validate(&self) -> Result<(), FrameError> {
        self.columns.iter().try_for_each(|column| {
            validate::contents(column.data()).map_err(|fault| FrameError::Column {
                column: column.name().to_owned(),
                fault,
            })
        })
    }

    /// Sets how many bytes were copied to build the frame.
    #[cfg(feature = "arrow")]
    pub(crate) fn with_copied_bytes(mut self, copied_bytes: u64) -> Self {
        self.copied_bytes = copied_bytes;
        self
    }

    pub(crate) fn into_owned_or_copy(self) -> Frame<'static> {
        let columns = self.columns.into_iter();
        Frame {
            rows: self.rows,
            columns: columns.map(Column::into_owned_or_copy).collect(),
            metadata: self.metadata,
            copied_bytes: self.copied_bytes,
        }
    }
}

/// Frames are equal if their rows, columns and metadata are, whatever it took to build them.
impl PartialEq for Frame<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.rows, &self.columns, &self.metadata) == (other.rows, &other.columns, &other.metadata)
    }
}

/// Checks that there are not too many columns, and that no name stands twice.
pub(crate) fn check_column_names<'n>(
    names: impl ExactSizeIterator<Item = &'n str>,
) -> Result<(), FrameError> {
    let (count, max) = (names.len(), Frame::MAX_COLUMNS);
    if count > max {
        return Err(FrameError::ColumnCount { count, max });
    }
    let mut seen = HashSet::with_capacity(count);
    for name in names {
        if !seen.insert(name) {
            return Err(FrameError::Twice {
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::buffer::Buffer;
    use crate::model::column::ColumnData;
    use crate::model::column_type::ColumnType;

    fn column(name: &str, rows: usize) -> Column<'static> {
        let buffers = vec![Buffer::default(), vec![0; rows].into()];
        Column::new(
            name,
            ColumnData::new(ColumnType::Int8, rows, buffers).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn columns_must_agree() {
        assert_eq!(
            Frame::new(vec![column("a", 2), column("b", 2)])
                .unwrap()
                .rows(),
            2
        );
        assert_eq!(Frame::with_rows(7, vec![]).unwrap().rows(), 7);
        assert!(matches!(
            Frame::new(vec![column("a", 2), column("a", 2)]),
            Err(FrameError::Twice { .. })
        ));
        assert!(matches!(
            Frame::new(vec![column("a", 2), column("b", 3)]),
            Err(FrameError::Rows {
                found: 3,
                expected: 2,
                ..
            })
        ));
    }

    #[test]
    fn names_and_keys_that_no_reader_takes_are_refused() {
        let data = || column("x", 1).data().clone();
        for bad in ["x".repeat(1025), "a\0b".into()] {
            assert!(Column::new(bad.clone(), data()).is_err());
            let metadata = BTreeMap::from([(bad, String::new())]);
            assert!(column("x", 1).with_metadata(metadata.clone()).is_err());
            assert!(Frame::new(vec![]).unwrap().with_metadata(metadata).is_err());
        }
    }
}
