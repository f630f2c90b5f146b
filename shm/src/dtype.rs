//! Element types as text that crosses processes.

use numpush_message::{Dtype, Field, RecordType};
use serde::{Deserialize, Serialize};

/// An element type by NumPy's type strings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum DtypeText {
    Scalar(String),
    Record {
        fields: Vec<(String, String, usize)>,
        size: usize,
    },
}

impl From<&Dtype> for DtypeText {
    fn from(dtype: &Dtype) -> Self {
        match dtype {
            Dtype::Record(record) => {
                let field =
                    |field: &Field| (field.name.clone(), field.scalar.to_string(), field.offset);
                Self::Record {
                    fields: record.fields().iter().map(field).collect(),
                    size: record.size(),
                }
            }
            plain => Self::Scalar(plain.to_string()),
        }
    }
}

impl DtypeText {
    /// The element type, if the text is one.
    pub(crate) fn parse(&self) -> Option<Dtype> {
        match self {
            Self::Scalar(text) => text.parse().ok().map(Dtype::Scalar),
            Self::Record { fields, size } => {
                let field = |(name, typestr, offset): &(String, String, usize)| {
                    Some(Field::new(name, typestr.parse().ok()?, *offset))
                };
                let fields = fields.iter().map(field).collect::<Option<Vec<_>>>()?;
                RecordType::new(fields, *size).ok().map(Dtype::Record)
            }
        }
    }
}
