use crate::model::column_type::{ColumnType, ColumnTypeError};

/// What is wrong with the values of a column.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// A type that cannot be written, such as a decimal of 60 digits.
    #[error(transparent)]
    Type(#[from] ColumnTypeError),
    /// More or fewer buffers than the type has.
    #[error("{found} buffers, where type {column_type} has {expected}")]
    BufferCount {
        /// The type of the values.
        column_type: ColumnType,
        /// Buffers of the column.
        found: usize,
        /// Buffers of the type, validity included.
        expected: usize,
    },
    /// A buffer whose length does not follow from type and number of rows.
    #[error("buffer {buffer} has {found} bytes, where {rows} rows have {expected}")]
    BufferLength {
        /// Number of the buffer in the column.
        buffer: usize,
        /// Number of values.
        rows: usize,
        /// Bytes of the buffer.
        found: u64,
        /// Bytes it should have; `u64::MAX` if that is more than can be counted.
        expected: u64,
    },
    /// A dictionary whose codes are no integers.
    #[error("dictionary codes of type {codes}, which is no integer")]
    Codes {
        /// The type of the codes.
        codes: ColumnType,
    },
    /// More dictionaries inside one another than any reader takes.
    #[error("dictionary depth of {depth} is over the limit of {max}")]
    DictionaryDepth {
        /// Dictionaries inside one another.
        depth: usize,
        /// The limit.
        max: usize,
    },
    /// The validity bitmap and the null count disagree.
    #[error("null count of {claimed}, where the bitmap marks {marked} nulls")]
    NullCount {
        /// The null count of the header.
        claimed: usize,
        /// Rows that the bitmap marks as null.
        marked: usize,
    },
    /// Bits after the last row are set.
    #[error("bits after the last row are not zero")]
    BitPadding,
    /// Offsets do not rise from zero to the length of the data.
    #[error("offset {index} does not rise from 0 to the data length {data}")]
    Offsets {
        /// Number of the first wrong offset.
        index: usize,
        /// Bytes of the data.
        data: u64,
    },
    /// Text that is not UTF-8, or that is cut inside a character.
    #[error("text is not valid UTF-8")]
    Utf8,
    /// A dictionary code without a dictionary value.
    #[error("code {code} of row {row} has no entry among {entries}")]
    Code {
        /// The row.
        row: usize,
        /// Its code.
        code: i128,
        /// Values of the dictionary.
        entries: u64,
    },
}
