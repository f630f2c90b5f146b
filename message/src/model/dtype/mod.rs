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
/// ```
/// use numpush_message::{Dtype, Element, Field, RecordType, Scalar};
///
/// let time: Scalar = "<M8[ns]".parse()?;
/// let point = RecordType::new(
///     vec![Field::new("time", time, 0), Field::new("height", f32::SCALAR, 8)],
///     12,
/// )?;
/// let dtype = Dtype::from(point);
/// assert_eq!(dtype.size(), 12);
/// assert_eq!(dtype.to_string(), "{time: <M8[ns] at 0, height: <f4 at 8} of 12 bytes");
/// # Ok::<_, numpush_message::DtypeError>(())
/// ```
///
/// Source: [NumPy, the array interface protocol](https://numpy.org/doc/stable/reference/arrays.interface.html).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// Each element is one value.
    Scalar(Scalar),
    /// Each element has named fields.
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
