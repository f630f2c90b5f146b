//! Element types of arrays, by NumPy's names.

mod error;
mod record;
mod scalar;

use std::fmt;

pub use error::DtypeError;
pub use record::{Field, RecordType};
pub use scalar::{ByteOrder, Scalar, ScalarKind, TimeUnit};

/// The type of an array's elements: NumPy's, written as NumPy writes it (`<f8`, `|S5`, `<M8[ns]`, flat records).
///
/// Source: [NumPy, the array interface protocol](https://numpy.org/doc/stable/reference/arrays.interface.html).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// One value an element.
    Scalar(Scalar),
    /// Named fields an element.
    Record(RecordType),
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(&self) -> usize {
        match self {
            Self::Scalar(scalar) => scalar.size(),
            Self::Record(record) => record.size(),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = match self {
            Self::Scalar(scalar) => return scalar.fmt(f),
            Self::Record(record) => record,
        };
        f.write_str("{")?;
        for (index, field) in record.fields().iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(
                f,
                "{comma}{}: {} at {}",
                field.name, field.scalar, field.offset
            )?;
        }
        write!(f, "}} of {} bytes", record.size())
    }
}

impl From<Scalar> for Dtype {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

impl From<RecordType> for Dtype {
    fn from(record: RecordType) -> Self {
        Self::Record(record)
    }
}
