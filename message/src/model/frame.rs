use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::model::buffer::Buffer;
use crate::model::column::Column;
use crate::model::frame_error::FrameError;
use crate::model::name::{NameError, check_names};
use crate::model::packed::Packed;
use crate::model::schema::SchemaText;
use crate::model::unique::twice;

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
///
/// A received frame makes its columns when somebody looks at the first of them, or sends it on; to receive it costs little,
/// however many it has. Clones share them.
#[derive(Clone)]
pub struct Frame<'a> {
    columns: Columns<'a>,
    /// The schema as the wire has it, once the frame was sent.
    text: OnceLock<Arc<SchemaText>>,
    copied_bytes: u64,
}

#[derive(Clone)]
enum Columns<'a> {
    /// As somebody made them.
    Made {
        rows: usize,
        columns: Vec<Column<'a>>,
        metadata: BTreeMap<String, String>,
    },
    /// As they came.
    Packed(Arc<Packed>),
}

impl<'a> Columns<'a> {
    /// Rows, columns and metadata.
    fn into_made(self) -> (usize, Vec<Column<'a>>, BTreeMap<String, String>) {
        let packed = match self {
            Self::Made {
                rows,
                columns,
                metadata,
            } => return (rows, columns, metadata),
            Self::Packed(packed) => packed,
        };
        let (rows, metadata) = (packed.rows(), packed.schema().metadata.clone());
        let columns = match Arc::try_unwrap(packed) {
            Ok(packed) => packed.into_columns(),
            Err(shared) => shared.columns().into(),
        };
        (rows, columns, metadata)
    }
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
        if let Some(other) = columns.iter().find(|column| column.data().len() != rows) {
            return Err(FrameError::Rows {
                column: other.name().to_owned(),
                found: other.data().len(),
                expected: rows,
            });
        }
        Ok(Self::made(rows, columns, BTreeMap::new()))
    }

    fn made(rows: usize, columns: Vec<Column<'a>>, metadata: BTreeMap<String, String>) -> Self {
        Self {
            columns: Columns::Made {
                rows,
                columns,
                metadata,
            },
            text: OnceLock::new(),
            copied_bytes: 0,
        }
    }

    /// A frame as it came.
    pub(crate) fn from_packed(packed: Packed) -> Self {
        Self {
            columns: Columns::Packed(Arc::new(packed)),
            text: OnceLock::new(),
            copied_bytes: 0,
        }
    }

    /// Sets the schema's metadata. Default: none.
    ///
    /// # Errors
    /// [`NameError`] if not every reader takes one of the keys.
    pub fn with_metadata(self, metadata: BTreeMap<String, String>) -> Result<Self, NameError> {
        check_names(metadata.keys())?;
        let Self {
            columns,
            copied_bytes,
            ..
        } = self;
        let (rows, columns, _) = columns.into_made();
        Ok(Self {
            copied_bytes,
            ..Self::made(rows, columns, metadata)
        })
    }

    /// The same frame, each column with buffers of its own: see [`Message::unpacked`](crate::model::Message::unpacked).
    pub(crate) fn unpacked(self) -> Self {
        let (rows, columns, metadata) = self.columns.into_made();
        Self {
            text: self.text,
            copied_bytes: self.copied_bytes,
            ..Self::made(rows, columns, metadata)
        }
    }

    /// Number of rows; every column has as many values.
    pub fn rows(&self) -> usize {
        match &self.columns {
            Columns::Made { rows, .. } => *rows,
            Columns::Packed(packed) => packed.rows(),
        }
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column<'a>] {
        match &self.columns {
            Columns::Made { columns, .. } => columns,
            Columns::Packed(packed) => packed.columns(),
        }
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column<'a>> {
        self.columns().iter().find(|column| column.name() == name)
    }

    /// The schema's metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        match &self.columns {
            Columns::Made { metadata, .. } => metadata,
            Columns::Packed(packed) => &packed.schema().metadata,
        }
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
        let columns = match &self.columns {
            Columns::Made { columns, .. } => columns,
            Columns::Packed(packed) => return packed.validate(),
        };
        columns.iter().try_for_each(|column| {
            let checked = column.data().check_contents();
            checked.map_err(|fault| FrameError::Column {
                column: column.name().to_owned(),
                fault,
            })
        })
    }

    /// Every buffer, as a list: with many columns it is faster than an iterator.
    pub(crate) fn buffer_list(&self) -> Vec<&Buffer<'a>> {
        let mut buffers = Vec::with_capacity(3 * self.columns().len());
        for column in self.columns() {
            for level in column.data().levels() {
                buffers.extend(level.buffers());
            }
        }
        buffers
    }

    /// The columns as they came, if they did, and nobody has changed them.
    pub(crate) fn packed(&self) -> Option<&Packed> {
        match &self.columns {
            Columns::Made { .. } => None,
            Columns::Packed(packed) => Some(packed),
        }
    }

    /// The schema as the wire has it, if it is known.
    pub(crate) fn text(&self) -> Option<&SchemaText> {
        match &self.columns {
            Columns::Made { .. } => self.text.get().map(|text| &**text),
            Columns::Packed(packed) => Some(&packed.schema().text),
        }
    }

    /// Remembers the schema as the wire has it.
    pub(crate) fn text_or(&self, make: impl FnOnce() -> SchemaText) -> &SchemaText {
        match self.text() {
            Some(text) => text,
            None => self.text.get_or_init(|| Arc::new(make())),
        }
    }

    /// Sets how many bytes were copied to build the frame.
    #[cfg(feature = "arrow")]
    pub(crate) fn with_copied_bytes(mut self, copied_bytes: u64) -> Self {
        self.copied_bytes = copied_bytes;
        self
    }

    pub(crate) fn into_owned_or_copy(self) -> Frame<'static> {
        let columns = match self.columns {
            Columns::Made {
                rows,
                columns,
                metadata,
            } => Columns::Made {
                rows,
                columns: columns
                    .into_iter()
                    .map(Column::into_owned_or_copy)
                    .collect(),
                metadata,
            },
            Columns::Packed(packed) => Columns::Packed(packed),
        };
        Frame {
            columns,
            text: self.text,
            copied_bytes: self.copied_bytes,
        }
    }
}

/// Frames are equal if their rows, columns and metadata are, whatever it took to build them.
impl PartialEq for Frame<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.rows(), self.columns(), self.metadata())
            == (other.rows(), other.columns(), other.metadata())
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("rows", &self.rows())
            .field("columns", &self.columns())
            .field("metadata", self.metadata())
            .field("copied_bytes", &self.copied_bytes)
            .finish()
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
    match twice(names) {
        Some(name) => Err(FrameError::Twice {
            name: name.to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
