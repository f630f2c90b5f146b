use crate::model::column_error::ColumnError;
use crate::model::name::NameError;

/// Why columns do not make a frame.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More columns than [`Frame::MAX_COLUMNS`](crate::model::Frame::MAX_COLUMNS).
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
