use std::collections::BTreeMap;

use crate::model::buffer::Buffer;
use crate::model::column_error::ColumnError;
use crate::model::column_type::ColumnType;
use crate::model::name::{NameError, check_name, check_names};
use crate::model::validate::{Level, check_length, count_ones};

/// A column of a frame: a name and its values in Arrow's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Column<'a> {
    name: String,
    nullable: bool,
    metadata: BTreeMap<String, String>,
    data: ColumnData<'a>,
}

/// Values of one type in Arrow's layout.
///
/// The buffers are those the [Arrow columnar format](https://arrow.apache.org/docs/format/Columnar.html) lists for the
/// type, validity bitmap first; a column without nulls has an empty bitmap. Offsets begin at zero.
///
/// ```
/// use numpush_message::{Buffer, ColumnData, ColumnType};
///
/// // "ab", "" and "c": offsets of 32 bits, one more than there are values, and the text.
/// let offsets: Vec<u8> = [0_i32, 2, 2, 3].iter().flat_map(|at| at.to_le_bytes()).collect();
/// let buffers = vec![Buffer::default(), offsets.into(), Buffer::copy_of(b"abc")];
/// let text = ColumnData::new(ColumnType::Utf8, 3, buffers)?;
/// assert_eq!((text.len(), text.null_count()), (3, 0));
/// # Ok::<_, numpush_message::ColumnError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnData<'a> {
    column_type: ColumnType,
    len: usize,
    null_count: usize,
    buffers: Vec<Buffer<'a>>,
    dictionary: Option<Box<Dictionary<'a>>>,
}

/// Values that the codes of a column stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary<'a> {
    ordered: bool,
    values: ColumnData<'a>,
}

impl<'a> Column<'a> {
    /// A column that may have nulls, without metadata.
    ///
    /// # Errors
    /// [`NameError`] if not every reader takes `name`.
    pub fn new(name: impl Into<String>, data: ColumnData<'a>) -> Result<Self, NameError> {
        let name = name.into();
        check_name(&name)?;
        Ok(Self::from_checked(name, true, BTreeMap::new(), data))
    }

    /// A column whose names have been checked.
    pub(crate) fn from_checked(
        name: String,
        nullable: bool,
        metadata: BTreeMap<String, String>,
        data: ColumnData<'a>,
    ) -> Self {
        Self {
            name,
            nullable,
            metadata,
            data,
        }
    }

    /// Sets whether the schema allows nulls, even if the column has none. Default: true.
    #[must_use]
    pub fn with_nullable(mut self, nullable: bool) -> Self {
        self.nullable = nullable;
        self
    }

    /// Sets the field's metadata. Default: none.
    ///
    /// # Errors
    /// [`NameError`] if not every reader takes one of the keys.
    pub fn with_metadata(mut self, metadata: BTreeMap<String, String>) -> Result<Self, NameError> {
        check_names(metadata.keys())?;
        self.metadata = metadata;
        Ok(self)
    }

    /// Its name, unique in a frame.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if the schema allows nulls, even if the column has none.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// The field's metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Its values.
    pub fn data(&self) -> &ColumnData<'a> {
        &self.data
    }

    pub(crate) fn into_owned_or_copy(self) -> Column<'static> {
        Column {
            name: self.name,
            nullable: self.nullable,
            metadata: self.metadata,
            data: self.data.into_owned_or_copy(),
        }
    }
}

impl<'a> ColumnData<'a> {
    /// `len` values of type `column_type` in `buffers`.
    ///
    /// Counts the nulls in the validity bitmap, and drops a bitmap without nulls. It reads nothing else:
    /// [`Frame::validate`](crate::model::Frame::validate), which every receiver calls, reads the rest.
    ///
    /// # Errors
    /// [`ColumnError`] if the type has another number of buffers, or if a buffer has another length than the type and
    /// `len` require.
    pub fn new(
        column_type: ColumnType,
        len: usize,
        mut buffers: Vec<Buffer<'a>>,
    ) -> Result<Self, ColumnError> {
        column_type.check()?;
        check_count(&column_type, &buffers)?;
        let null_count = match buffers.first_mut() {
            None => len,
            Some(validity) if validity.is_empty() => 0,
            Some(validity) => {
                check_length(0, validity, len, (len as u64).div_ceil(8))?;
                let nulls = len - count_ones(validity, len);
                if nulls == 0 {
                    // One value has one form: no nulls, no bitmap.
                    *validity = Buffer::default();
                }
                nulls
            }
        };
        Self::from_parts(column_type, len, null_count, buffers, None)
    }

    /// Values whose null count and dictionary depth are known already.
    pub(crate) fn from_parts(
        column_type: ColumnType,
        len: usize,
        null_count: usize,
        buffers: Vec<Buffer<'a>>,
        dictionary: Option<Box<Dictionary<'a>>>,
    ) -> Result<Self, ColumnError> {
        check_count(&column_type, &buffers)?;
        let data = Self::from_checked(column_type, len, null_count, buffers, dictionary);
        data.level().check_lengths()?;
        Ok(data)
    }

    /// Values that have been checked.
    pub(crate) fn from_checked(
        column_type: ColumnType,
        len: usize,
        null_count: usize,
        buffers: Vec<Buffer<'a>>,
        dictionary: Option<Box<Dictionary<'a>>>,
    ) -> Self {
        Self {
            column_type,
            len,
            null_count,
            buffers,
            dictionary,
        }
    }

    /// Makes the values codes, which stand for the values of `dictionary`.
    ///
    /// # Errors
    /// [`ColumnError`] if the codes are no integers, or if the dictionary has too many dictionaries inside.
    pub fn with_dictionary(mut self, dictionary: Dictionary<'a>) -> Result<Self, ColumnError> {
        if !self.column_type.is_integer() {
            let codes = self.column_type;
            return Err(ColumnError::Codes { codes });
        }
        self.dictionary = Some(Box::new(dictionary));
        let (depth, max) = (self.levels().count() - 1, Dictionary::MAX_DEPTH);
        if depth > max {
            return Err(ColumnError::DictionaryDepth { depth, max });
        }
        Ok(self)
    }

    /// The type of the values, or of the codes if there is a dictionary.
    pub fn column_type(&self) -> &ColumnType {
        &self.column_type
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of the values are null.
    pub fn null_count(&self) -> usize {
        self.null_count
    }

    /// Validity, then what the type has; without the buffers of the dictionary.
    pub fn buffers(&self) -> &[Buffer<'a>] {
        &self.buffers
    }

    /// The values that the codes stand for.
    pub fn dictionary(&self) -> Option<&Dictionary<'a>> {
        self.dictionary.as_deref()
    }

    /// These values, the values of their dictionary, and so on.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &Self> + Clone {
        std::iter::successors(Some(self), |data| {
            data.dictionary
                .as_ref()
                .map(|dictionary| &dictionary.values)
        })
    }

    /// Checks what lies in the buffers, those of the dictionary included; the lengths were checked when this was made.
    pub(crate) fn check_contents(&self) -> Result<(), ColumnError> {
        self.levels()
            .try_for_each(|data| data.level().check_contents())
    }

    /// These values without their dictionary, as the checks see them.
    fn level(&self) -> Level<'_> {
        let entries = self.dictionary.as_ref().map(|inner| inner.values.len);
        let mut level = Level::new(&self.column_type, self.len, self.null_count, entries);
        for (bytes, buffer) in level.buffers_mut().iter_mut().zip(&self.buffers) {
            *bytes = buffer;
        }
        level
    }

    fn into_owned_or_copy(self) -> ColumnData<'static> {
        let dictionary = self.dictionary.map(|dictionary| {
            let Dictionary { ordered, values } = *dictionary;
            Box::new(Dictionary {
                ordered,
                values: values.into_owned_or_copy(),
            })
        });
        let buffers = self.buffers.into_iter();
        ColumnData {
            column_type: self.column_type,
            len: self.len,
            null_count: self.null_count,
            buffers: buffers.map(Buffer::into_owned_or_copy).collect(),
            dictionary,
        }
    }
}

impl<'a> Dictionary<'a> {
    /// Most dictionaries inside one another.
    pub const MAX_DEPTH: usize = 2;

    /// A dictionary in which code `i` stands for value `i`, and whose order means nothing.
    pub fn new(values: ColumnData<'a>) -> Self {
        Self {
            ordered: false,
            values,
        }
    }

    /// Sets whether the order of the values means something. Default: false.
    #[must_use]
    pub fn with_ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// True if the order of the values means something.
    pub fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// The values; code `i` stands for value `i`.
    pub fn values(&self) -> &ColumnData<'a> {
        &self.values
    }
}

fn check_count(column_type: &ColumnType, buffers: &[Buffer<'_>]) -> Result<(), ColumnError> {
    let (found, expected) = (buffers.len(), column_type.storage().buffers());
    if found == expected {
        return Ok(());
    }
    Err(ColumnError::BufferCount {
        column_type: column_type.clone(),
        found,
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Buffer<'static> {
        vec![0; len].into()
    }

    #[test]
    fn buffers_must_fit_the_type_and_the_rows() {
        let new = |kind: ColumnType, buffers| ColumnData::new(kind, 9, buffers).map(drop);
        let empty = Buffer::default;
        assert_eq!(new(ColumnType::Null, vec![]), Ok(()));
        assert_eq!(new(ColumnType::Int16, vec![bytes(2), bytes(18)]), Ok(()));
        assert_eq!(
            new(ColumnType::Utf8, vec![empty(), bytes(40), empty()]),
            Ok(())
        );
        assert!(matches!(
            new(ColumnType::Int16, vec![bytes(18)]),
            Err(ColumnError::BufferCount {
                found: 1,
                expected: 2,
                ..
            })
        ));
        assert!(matches!(
            new(ColumnType::Int16, vec![bytes(1), bytes(18)]),
            Err(ColumnError::BufferLength {
                buffer: 0,
                expected: 2,
                ..
            })
        ));
        assert!(matches!(
            new(ColumnType::Bool, vec![empty(), bytes(1)]),
            Err(ColumnError::BufferLength {
                buffer: 1,
                expected: 2,
                ..
            })
        ));
        assert!(matches!(
            new(ColumnType::Decimal128(39, 0), vec![empty(), bytes(144)]),
            Err(ColumnError::Type(_))
        ));
    }

    #[test]
    fn dictionaries_have_integer_codes_and_a_limited_depth() {
        let codes =
            || ColumnData::new(ColumnType::Int8, 1, vec![Buffer::default(), bytes(1)]).unwrap();
        let floats = ColumnData::new(ColumnType::Float32, 1, vec![Buffer::default(), bytes(4)]);
        let refused = floats.unwrap().with_dictionary(Dictionary::new(codes()));
        assert!(matches!(refused, Err(ColumnError::Codes { .. })));
        let mut nested = codes();
        for _ in 0..2 {
            nested = codes().with_dictionary(Dictionary::new(nested)).unwrap();
        }
        assert!(matches!(
            codes().with_dictionary(Dictionary::new(nested)),
            Err(ColumnError::DictionaryDepth { depth: 3, max: 2 })
        ));
    }
}
