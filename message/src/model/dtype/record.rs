use crate::model::dtype::error::DtypeError;
use crate::model::dtype::scalar::Scalar;
use crate::model::name::check_names;

/// Fields at fixed places of an element; padding between them is allowed, overlap is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordType {
    fields: Vec<Field>,
    size: usize,
}

/// A field of a record.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type: a value, never another record.
    pub scalar: Scalar,
    /// Byte offset in the element.
    pub offset: usize,
}

impl Field {
    /// A field of type `scalar`, `offset` bytes after the first byte of the element.
    pub fn new(name: impl Into<String>, scalar: Scalar, offset: usize) -> Self {
        Self {
            name: name.into(),
            scalar,
            offset,
        }
    }
}

impl RecordType {
    /// Most fields of a record.
    pub const MAX_FIELDS: usize = 256;

    /// A record of `fields` in `size` bytes.
    ///
    /// # Errors
    /// [`DtypeError`] if fields overlap, share a name or reach outside, if there are none or too many, or if a name is
    /// not one that every reader takes.
    pub fn new(fields: Vec<Field>, size: usize) -> Result<Self, DtypeError> {
        if fields.is_empty() || fields.len() > Self::MAX_FIELDS {
            return Err(DtypeError::FieldCount {
                count: fields.len(),
                max: Self::MAX_FIELDS,
            });
        }
        let fault = |field: &Field| {
            Err(DtypeError::Field {
                field: field.name.clone(),
                size,
            })
        };
        let mut order: Vec<&Field> = fields.iter().collect();
        order.sort_by_key(|field| field.offset);
        let mut end = 0;
        for field in order {
            let last = field.offset.checked_add(field.scalar.size());
            if field.offset < end || last.is_none_or(|last| last > size.min(Scalar::MAX_SIZE)) {
                return fault(field);
            }
            end = field.offset + field.scalar.size();
        }
        check_names(fields.iter().map(|field| &field.name))?;
        let mut names: Vec<&Field> = fields.iter().collect();
        names.sort_by_key(|field| &field.name);
        if let Some(twice) = names.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return fault(twice[0]);
        }
        Ok(Self { fields, size })
    }

    /// The fields, in the order they were named.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Bytes of one element.
    pub fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_must_not_overlap_or_leave_the_element() {
        let field =
            |name: &str, typestr: &str, offset| Field::new(name, typestr.parse().unwrap(), offset);
        assert!(RecordType::new(vec![field("y", "<f8", 8), field("x", "<i4", 0)], 16).is_ok());
        assert!(RecordType::new(vec![field("x", "<f8", 0), field("y", "<f8", 4)], 16).is_err());
        assert!(RecordType::new(vec![field("x", "<f8", 9)], 16).is_err());
        assert!(RecordType::new(vec![field("x", "<f8", usize::MAX)], 16).is_err());
        assert!(RecordType::new(vec![field("x", "<f4", 0), field("x", "<f4", 4)], 16).is_err());
        assert!(RecordType::new(vec![], 16).is_err());
    }

    #[test]
    fn a_field_name_that_no_reader_takes_is_refused() {
        let record = |name: String| {
            RecordType::new(vec![Field::new(name, "<f8".parse().unwrap(), 0)], 8).map(drop)
        };
        assert_eq!(record("x".repeat(1024)), Ok(()));
        for name in ["x".repeat(1025), "a\0b".into()] {
            assert!(matches!(record(name), Err(DtypeError::Name(_))));
        }
    }
}
