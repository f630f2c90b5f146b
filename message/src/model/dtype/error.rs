use crate::model::name::NameError;

/// Why an element type is not one of ours.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtypeError {
    /// Object arrays hold pointers; their elements cannot be shipped.
    #[error(
        "element type {typestr:?} holds objects, which are never shipped: convert to a fixed-size type"
    )]
    Object {
        /// The type string.
        typestr: String,
    },
    /// Not a NumPy type string of a supported type.
    #[error("element type {typestr:?} is not supported")]
    Unsupported {
        /// The type string.
        typestr: String,
    },
    /// A record field that overlaps another, reaches outside the record or shares a name.
    #[error("record field {field:?} overlaps, reaches outside {size} bytes or stands twice")]
    Field {
        /// Name of the field.
        field: String,
        /// Bytes of the record.
        size: usize,
    },
    /// A record without fields or with too many.
    #[error("record of {count} fields, where 1 to {max} are allowed")]
    FieldCount {
        /// Fields of the record.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A field name that not every reader takes.
    #[error(transparent)]
    Name(#[from] NameError),
}
